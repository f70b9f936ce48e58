"""Random time courses, many rows at a time."""

from __future__ import annotations

import numpy as np
from scipy import fft


def spectral_noise(
    rng: np.random.Generator, amplitude: np.ndarray, n_times: int, n_rows: int
) -> np.ndarray:
    """Draw Gaussian noise with a given amplitude spectrum.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    amplitude : array of shape (n_freqs,) or (n_rows, n_freqs)
        Amplitude at the frequencies of ``rfft`` of `n_times` samples, scaled so
        that the sum of squares over the positive frequencies is the variance.
    n_times, n_rows : int
        Size of the result. `n_times` should be a good FFT length.

    Returns
    -------
    x : array of shape (n_rows, n_times), float32
    """
    n_freqs = n_times // 2 + 1
    re_im = rng.standard_normal((n_rows, n_freqs, 2), dtype=np.float32)
    spec = re_im.view(np.complex64)[..., 0]
    # With norm="forward" a bin a (re + i im) becomes a wave of variance 4 a^2.
    spec *= (0.5 * np.asarray(amplitude)).astype(np.float32)
    spec[:, 0] = 0.0
    return fft.irfft(spec, n_times, axis=1, norm="forward", overwrite_x=True)


def power_law(
    freqs: np.ndarray, exponent: float, knee: float, band: tuple = (2.0, 40.0)
) -> np.ndarray:
    """Amplitude of 1/f noise with a knee, of unit variance in a band.

    ``power ~ (knee**2 + f**2) ** (-exponent / 2)``.
    """
    amp = (knee**2 + freqs**2) ** (-exponent / 4.0)
    inside = (freqs >= band[0]) & (freqs <= band[1])
    if not inside.any():
        inside = freqs > 0
    return amp / np.sqrt(np.sum(amp[inside] ** 2))


def narrowband(
    rng: np.random.Generator, freq: float, width: float, n_times: int, sfreq: float
) -> np.ndarray:
    """Draw a waxing and waning rhythm as an analytic signal of unit power.

    Parameters
    ----------
    freq, width : float
        Peak and standard deviation of the spectral peak in Hz.

    Returns
    -------
    z : array of shape (n_times,), complex64
        ``z.real`` has variance 1, ``abs(z)`` is its envelope.
    """
    freqs = np.arange(n_times) * (sfreq / n_times)
    amp = np.exp(-0.25 * ((freqs - freq) / width) ** 2)
    amp[n_times // 2 :] = 0.0
    amp /= np.sqrt(np.sum(amp**2))
    re_im = rng.standard_normal((n_times, 2), dtype=np.float32)
    spec = re_im.view(np.complex64)[:, 0] * amp.astype(np.float32)
    return fft.ifft(spec, norm="forward", overwrite_x=True)


def bursts(
    rng: np.random.Generator,
    rate: float,
    duration: tuple[float, float],
    n_times: int,
    sfreq: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an envelope of Gaussian bursts.

    Parameters
    ----------
    rate : float
        Bursts a second.
    duration : tuple of two floats
        Shortest and longest full width at half maximum in s.

    Returns
    -------
    envelope : array of shape (n_times,), float32
        Sum of bursts of height about one.
    onsets : array of shape (n_bursts,)
        Centres of the bursts in samples.
    """
    envelope = np.zeros(n_times, np.float32)
    n_bursts = rng.poisson(rate * n_times / sfreq)
    centres = np.sort(rng.integers(0, n_times, n_bursts))
    widths = rng.uniform(*duration, n_bursts) * sfreq / 2.355
    heights = rng.gamma(4.0, 0.25, n_bursts)
    for centre, width, height in zip(centres, widths, heights, strict=True):
        start, stop = max(0, int(centre - 4 * width)), int(centre + 4 * width) + 1
        t = np.arange(start, min(stop, n_times))
        envelope[t] += height * np.exp(-0.5 * ((t - centre) / width) ** 2)
    return envelope, centres


def slow_rows(
    rng: np.random.Generator, n_rows: int, n_times: int, step: int, walk: bool
) -> np.ndarray:
    """Draw slow rows: noise (or a random walk) at knots, joined by lines.

    Returns
    -------
    x : array of shape (n_rows, n_times), float32
        Rows of unit variance at the knots (walks: of zero mean as well).
    """
    n_knots = n_times // step + 2
    knots = rng.standard_normal((n_rows, n_knots), dtype=np.float32)
    if walk:
        np.cumsum(knots, axis=1, out=knots)
        knots -= knots.mean(axis=1, keepdims=True)
        knots /= knots.std(axis=1, keepdims=True) + 1e-6
    frac = (np.arange(step, dtype=np.float32) / step)[None, None]
    left, right = knots[:, :-1, None], knots[:, 1:, None]
    rows = left + (right - left) * frac
    return rows.reshape(n_rows, -1)[:, :n_times]


def filter_rows(
    rows: np.ndarray, sfreq: float, l_freq: float | None, h_freq: float | None
) -> np.ndarray:
    """Filter rows forward and backward (zero phase, Butterworth-shaped)."""
    n_fft = fft.next_fast_len(rows.shape[1], real=True)
    spec = fft.rfft(rows, n_fft, axis=1)
    spec *= filter_response(fft.rfftfreq(n_fft, 1.0 / sfreq), l_freq, h_freq)
    return fft.irfft(spec, n_fft, axis=1, overwrite_x=True)[:, : rows.shape[1]]


def filter_response(
    freqs: np.ndarray, l_freq: float | None, h_freq: float | None
) -> np.ndarray:
    """Squared magnitude of 4th order Butterworth filters at frequencies."""
    gain = np.ones(len(freqs), np.float32)
    if l_freq is not None:
        with np.errstate(divide="ignore"):
            gain /= 1.0 + (l_freq / np.maximum(freqs, 1e-12)) ** 8
        gain[freqs == 0] = 0.0
    if h_freq is not None:
        gain /= 1.0 + (freqs / h_freq) ** 8
    return gain
