"""Resampling against scipy's on the whole signal, and against closed forms."""

import mne
import numpy as np
import pytest
from scipy.signal import resample_poly

from mne_megfm.inputs import iter_windows, rate_ratio, resampling_matrix
from mne_megfm.inputs.windows import context_length, resample_segment

RATES = [1000.0, 1200.0, 600.615, 678.17, 2034.5, 250.0, 200.0, 100.0]


@pytest.mark.parametrize("sfreq", [*RATES, 1017.25, 5000.0, 249.9, 1000 / 3])
def test_rate_ratio(sfreq):
    up, down, error = rate_ratio(sfreq, 250.0)
    assert np.gcd(up, down) == 1
    assert error == pytest.approx(up / down * sfreq / 250.0 - 1, abs=1e-15)
    assert abs(error) <= 1e-6


@pytest.mark.parametrize("sfreq", [250.01, 250.0003, 3.14159, 10_000 / 7.01, 1e5])
def test_rate_ratio_bound(sfreq):
    up, down, error = rate_ratio(sfreq, 250.0)
    assert 1 <= max(up, down) <= 10_000
    assert abs(error) <= (1e-4 if abs(sfreq - 250) < 1 else 1e-6)


@pytest.mark.parametrize("sfreq", [*RATES, 1017.25, 508.6275, 1000 / 3])
def test_rate_ratio_in_single_precision(sfreq):
    one, other = rate_ratio(sfreq, 250.0), rate_ratio(float(np.float32(sfreq)), 250.0)
    assert one[:2] == other[:2]


@pytest.mark.parametrize("sfreq", RATES)
def test_whole_signal_equals_scipy(sfreq, rng):
    up, down, _ = rate_ratio(sfreq, 250.0)
    x = rng.standard_normal((3, 700))
    x[:, [0, -1]] = 0.0  # so that the line taken out is nothing
    expected = resample_poly(x, up, down, axis=-1, padtype="line")
    got = resample_segment(x, up, down, n_out=expected.shape[-1])
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sfreq", [200.0, 256.0, 128.0, 250.0])
def test_matrix_is_what_scipy_computes(sfreq, rng):
    x = rng.standard_normal((3, 250))
    x[:, [0, -1]] = 0.0  # as above
    up, down, _ = rate_ratio(250.0, sfreq)
    expected = resample_poly(x, up, down, axis=-1)
    got = x @ resampling_matrix(250, 250.0, sfreq)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sfreq", RATES)
def test_lines_stay_lines(sfreq):
    """A static field and a drift get through, whatever the branches' gains."""
    up, down, _ = rate_ratio(sfreq, 250.0)
    x = 1e-9 * (3.0 + np.arange(500)[np.newaxis] / 100)
    n_out = 500 * up // down
    expected = 1e-9 * (3.0 + np.arange(n_out) * down / up / 100)
    got = resample_segment(x, up, down, n_out=n_out)[0]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("sfreq", RATES)
def test_piece_with_context_equals_whole(sfreq, rng):
    """A piece from the middle is what the whole signal gives from there on."""
    up, down, _ = rate_ratio(sfreq, 250.0)
    n_in, start = round(sfreq), 3000
    x = rng.standard_normal((2, 3 * start))
    n_out = n_in * up // down
    margin = context_length(up, down)
    x[:, [start - margin, start + n_in + margin - 1]] = 0.0  # no line to take out
    piece = x[:, start - margin : start + n_in + margin]
    got = resample_segment(piece, up, down, offset=margin, n_out=n_out)
    # The signal from `start` on, with its first samples where the filter settles
    whole = resample_poly(x[:, start:], up, down, axis=-1)[:, :n_out]
    settle = 12 if up < down else -(-10 * up // down) + 1
    np.testing.assert_allclose(got[:, settle:], whole[:, settle:], atol=1e-12)
    if start % down == 0:  # the grids agree: equal from the first sample
        exact = resample_poly(x, up, down, axis=-1)[:, start * up // down :][:, :n_out]
        np.testing.assert_allclose(got, exact, atol=1e-12)


def _signal(kind, times):
    if kind == "sine":
        return np.sin(2 * np.pi * 10.0 * times + 0.3)
    # A narrow response that peaks at 103 ms, as an evoked field does, on a slow wave
    peak = np.exp(-0.5 * ((times - 0.103) / 0.012) ** 2)
    return peak + 0.01 * np.cos(2 * np.pi * 0.3 * (times - 0.103))


# the windows before and after the response hold the slow wave alone
@pytest.mark.filterwarnings("ignore:Drifts within rows")
@pytest.mark.parametrize("sfreq", RATES)
@pytest.mark.parametrize("as_kind", ["epochs", "raw"])
@pytest.mark.parametrize("kind", ["sine", "peak"])
def test_amplitude_and_latency(sfreq, as_kind, kind, make_info, pick_first):
    info = make_info(sfreq, n_mag=1)
    tmin = round(-0.2 * sfreq) / sfreq
    if as_kind == "raw":  # three windows; look at the second
        times = np.arange(round(3 * sfreq)) / sfreq
        begin = round(sfreq) / sfreq
        shifted = times - begin - 0.2
        raw = mne.io.RawArray(1e-12 * _signal(kind, shifted)[np.newaxis], info)
        inst, row, begin = raw, 1, -0.2
    else:
        times = tmin + np.arange(round(sfreq) + 1) / sfreq
        data = 1e-12 * _signal(kind, times)[np.newaxis, np.newaxis]
        inst, row = mne.EpochsArray(data, info, tmin=tmin, baseline=None), 0
        begin = tmin
    (block,) = iter_windows(inst, pick_first)
    got = block.data[block.row == row][0, 0] * 1e12
    assert block.n_valid[block.row == row] == 250
    new_times = begin + np.arange(250) / 250.0
    expected = _signal(kind, new_times)
    inner = slice(None) if as_kind == "raw" else slice(15, -15)
    np.testing.assert_allclose(got[inner], expected[inner], atol=0.005)
    if kind == "peak":
        # Between samples: the top of a parabola through the three highest
        top = np.argmax(got)
        low, high, after = got[top - 1 : top + 2]
        shift = 0.5 * (low - after) / (low - 2 * high + after)
        latency = new_times[top] + shift / 250.0
        assert latency == pytest.approx(0.103, abs=2e-4)


@pytest.mark.parametrize("sfreq", [1000.0, 1200.0, 600.615, 2034.5])
@pytest.mark.parametrize("as_kind", ["epochs", "raw"])
def test_no_aliases(sfreq, as_kind, make_info, pick_first):
    """What lies above the new Nyquist frequency vanishes by 40 dB and more."""
    info = make_info(sfreq, n_mag=1)
    times = np.arange(round(3 * sfreq)) / sfreq
    sine = 1e-12 * np.sqrt(2) * np.sin(2 * np.pi * 200.0 * times)[np.newaxis]
    if as_kind == "raw":
        inst, inner = mne.io.RawArray(sine, info), slice(None)
    else:
        inst = mne.EpochsArray(sine[np.newaxis], info)
        inner = slice(15, -15)
    blocks = list(iter_windows(inst, pick_first))
    data = np.concatenate([block.data[:, 0] for block in blocks])
    if as_kind == "raw":
        data = data[1:2]  # ends of the recording have no context
    rms = np.sqrt(np.mean(data.ravel()[inner].astype(float) ** 2)) / 1e-12
    assert 20 * np.log10(rms) < -40


def test_static_field_makes_no_ripple(make_info, pick_first):
    """An offset of 1 nT leaves a signal of 100 fT as it is."""
    info = make_info(600.615, n_mag=1)
    times = np.arange(1802) / 600.615
    signal = 1e-13 * np.sin(2 * np.pi * 10.0 * times)
    plain, lifted = (
        next(iter_windows(mne.io.RawArray(x[np.newaxis], info), pick_first)).data
        for x in (signal, signal + 1e-9)
    )
    # Single precision resolves 6e-17 T beside 1 nT
    np.testing.assert_allclose(lifted - 1e-9, plain, rtol=0, atol=1.5e-16)
