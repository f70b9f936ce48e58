"""Anti-aliased polyphase resampling of pieces of a signal.

A row is resampled together with the samples around it, where the recording has
them, so that a piece comes out as if the whole signal had been resampled from
the row's first sample on.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import ceil, floor

import numpy as np

# Relative errors of the rate to try, and the largest of the two integers allowed:
# the filter has twenty times as many taps.
_RATE_TOLERANCES = [Fraction(1, 10**6), Fraction(1, 10**5), Fraction(1, 10**4)]
_MOST_STEPS = 10_000


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """Find the fraction of the smallest terms between two positive fractions."""
    whole = Fraction(floor(low))
    if whole == low:
        return whole
    if whole + 1 <= high:
        return whole + 1
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))


@lru_cache(maxsize=128)
def rate_ratio(sfreq_in: float, sfreq_out: float) -> tuple[int, int, float]:
    """Approximate a change of sampling rate by a ratio of small integers.

    Parameters
    ----------
    sfreq_in : float
        Sampling rate of the recording, in Hz.
    sfreq_out : float
        Sampling rate wanted, in Hz.

    Returns
    -------
    up : int
        Interpolation factor.
    down : int
        Decimation factor.
    error : float
        Relative error of the rate, ``up / down * sfreq_in / sfreq_out - 1``. At most
        1e-6 (1 us per second); 1e-5 or 1e-4 for rates that so nearly agree that
        more than 10 000 steps would be needed.

    Notes
    -----
    The simplest ratio within the tolerance is taken. Rounding of a rate, such as to
    the single precision that FIF files store, does not change it.

    Examples
    --------
    >>> from mne_megfm.inputs import rate_ratio
    >>> rate_ratio(1000.0, 250.0)
    (1, 4, 0.0)
    >>> up, down, error = rate_ratio(600.615, 250.0)
    >>> up, down, abs(error) < 1e-6
    (569, 1367, True)
    """
    exact = Fraction(sfreq_out) / Fraction(sfreq_in)
    for tolerance in _RATE_TOLERANCES:
        ratio = _simplest(exact * (1 - tolerance), exact * (1 + tolerance))
        if max(ratio.numerator, ratio.denominator) <= _MOST_STEPS:
            break
    return ratio.numerator, ratio.denominator, float(ratio / exact - 1)


def half_length(up: int, down: int) -> int:
    """Half the filter's length, in samples of the rate raised by ``up``."""
    return 10 * max(up, down)


def context_length(up: int, down: int) -> int:
    """Input samples on either side of a row that its output depends on."""
    if up == down:
        return 0
    return ceil(half_length(up, down) / up)


@lru_cache(maxsize=32)
def _design(up: int, down: int) -> np.ndarray:
    """Low-pass filter of `scipy.signal.resample_poly` (its default)."""
    from scipy.signal import firwin

    taps = 2 * half_length(up, down) + 1
    return up * firwin(taps, 1.0 / max(up, down), window=("kaiser", 5.0))


def resample_segment(
    x: np.ndarray, up: int, down: int, *, offset: int = 0, n_out: int
) -> np.ndarray:
    """Resample a segment, beginning at one of its samples.

    Parameters
    ----------
    x : ndarray, shape (n_channels, n_samples)
        The segment.
    up, down : int
        Change of rate, without a common factor.
    offset : int
        Sample of ``x`` at which the first output sample lies.
    n_out : int
        Number of output samples; those beyond the last input sample are
        extrapolated along a line.

    Returns
    -------
    y : ndarray, shape (n_channels, n_out)
        The resampled signal.

    Notes
    -----
    The line from the first to the last sample is taken out before filtering and
    put back afterwards. This is ``padtype="line"`` of
    `scipy.signal.resample_poly`, and more: the branches of a polyphase filter
    differ in gain by up to 7e-4, which would turn a static field of 1 nT, usual
    in recordings that nobody has filtered yet, into ripples of 700 fT.
    """
    from scipy.signal import upfirdn

    n_in = x.shape[-1]
    if up == down == 1 and offset + n_out <= n_in:
        return x[..., offset : offset + n_out]
    first = x[..., :1]
    slope = (x[..., -1:] - first) / max(n_in - 1, 1)
    rest = x - (first + slope * np.arange(n_in))

    taps = _design(up, down)
    centre = offset * up + half_length(up, down)
    shift = -centre % down  # zeros before the filter put the grid on ``offset``
    skip = (centre + shift) // down
    missing = (skip + n_out - 1) * down + 1 - ((n_in - 1) * up + len(taps) + shift)
    taps = np.pad(taps, (shift, max(missing, 0)))
    y = upfirdn(taps, rest, up, down, axis=-1)[..., skip : skip + n_out]
    return y + (first + slope * (offset + np.arange(n_out) * (down / up)))
