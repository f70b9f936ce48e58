"""Random time courses against what was asked for."""

import numpy as np
import pytest
from scipy import fft
from scipy.signal import butter, sosfreqz, welch

from mne_megfm.simulation._brain import (
    bursts,
    filter_response,
    narrowband,
    power_law,
    slow_rows,
    spectral_noise,
)

SFREQ = 250.0


@pytest.mark.parametrize("exponent", [0.6, 1.2, 2.0])
def test_power_law_has_its_slope_and_size(rng, exponent):
    """Welch spectra fall with the exponent; the band has unit variance."""
    n_times = 30000
    freqs = fft.rfftfreq(n_times, 1 / SFREQ)
    rows = spectral_noise(rng, power_law(freqs, exponent, 0.05), n_times, 8)
    f, psd = welch(rows, SFREQ, nperseg=1000)
    band = (f >= 2) & (f <= 40)
    slope = np.polyfit(np.log(f[band]), np.log(psd.mean(0)[band]), 1)[0]
    assert abs(slope + exponent) < 0.08
    assert abs(psd.mean(0)[band].sum() * f[1] - 1.0) < 0.1


def test_rows_are_independent(rng):
    """Rows of one draw do not go together."""
    rows = spectral_noise(rng, np.ones(5001) / 70, 10000, 6)
    corr = np.corrcoef(rows) - np.eye(6)
    assert np.abs(corr).max() < 0.06


def test_narrowband_peaks_where_asked(rng):
    """The rhythm has its frequency, width and unit power."""
    z = narrowband(rng, 10.0, 1.0, 60000, SFREQ)
    assert abs(z.real.var() - 1.0) < 0.15
    f, psd = welch(z.real, SFREQ, nperseg=2000)
    mean = np.sum(f * psd) / psd.sum()
    assert abs(mean - 10.0) < 0.15
    assert abs(np.sqrt(np.sum((f - mean) ** 2 * psd) / psd.sum()) - 1.0) < 0.15


def test_bursts_are_where_they_say(rng):
    """The envelope is high at the onsets and near zero far from them."""
    envelope, onsets = bursts(rng, 0.5, (0.1, 0.2), 50000, SFREQ)
    assert 60 < len(onsets) < 140
    assert np.median(envelope[onsets]) > 0.5
    away = np.ones(50000, bool)
    for onset in onsets:
        away[max(onset - 150, 0) : onset + 150] = False
    assert envelope[away].max() < 1e-3


def test_slow_rows_are_continuous(rng):
    """Lines join the knots; a walk has no mean."""
    rows = slow_rows(rng, 5, 5000, 100, walk=True)
    assert rows.shape == (5, 5000)
    assert np.abs(np.diff(rows, axis=1)).max() < 0.05
    assert np.abs(rows.mean(axis=1)).max() < 0.2


def test_filters_are_butterworth_twice():
    """The response equals that of a 4th order filter run in both directions."""
    freqs = np.linspace(0.1, 100, 500)
    for kind, cut, args in (("high", 1.0, (1.0, None)), ("low", 40.0, (None, 40.0))):
        sos = butter(4, cut, kind, fs=10000.0, output="sos")
        truth = np.abs(sosfreqz(sos, freqs, fs=10000.0)[1]) ** 2
        np.testing.assert_allclose(filter_response(freqs, *args), truth, atol=2e-3)
