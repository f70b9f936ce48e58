"""What is measured on a person's responses and spectrum, under names of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..models import BANDS

#: Measures of the responses of a state.
RESPONSE_MEASURES = ("size", "strength", "habituation", "recovery")
#: Measures of the spectrum of all states together.
BAND_MEASURES = ("alpha-frequency", "theta", "beta")

#: Rough mean and spread over adults, for levels that have seen nobody.
USUAL_RESPONSES = (-2.0, 0.5, 0.0, 0.0), (0.5, 0.7, 0.1, 0.25)
USUAL_BANDS = (10.0, 0.25, 0.5), (1.0, 0.3, 0.4)

# axes of the response that dynamics are measured on: the others hold mostly noise
_N_AXES = 32
# weight of the covariance of the person's own trials against white noise
_OWN_NOISE = 0.5
# spread over people of relative decline and recovery, to which few trials are shrunk
_DECLINE, _RECOVERY = 0.25, 0.5
_FREQS = np.array([(a + b) / 2 for a, b in BANDS])


def measure_responses(
    response: NDArray, recent: NDArray, expected: NDArray
) -> NDArray[np.float64]:
    """Measure size and dynamics of the responses of a state.

    Each trial is projected on the mean of the others, to which the level's expectation
    is added as one more trial, by a matched filter for the person's own noise [1]_.
    The projections are then explained by a mean, a linear decline over the recording
    and recovery from recent stimuli, by ridge regression: with few trials both are
    near zero rather than anything.

    Parameters
    ----------
    response : ndarray, shape (n_trials, n_response)
        Coefficients of the responses in order of time.
    recent : ndarray, shape (n_trials, 2)
        How many stimuli came shortly before; NaN where not known.
    expected : ndarray, shape (n_response,)
        The response that the level expects of the person.

    Returns
    -------
    measures : ndarray, shape (4,)
        See `RESPONSE_MEASURES`. Habituation is positive where responses decline;
        size and strength are logarithms.

    References
    ----------
    .. [1] Kay (1993), "Fundamentals of statistical signal processing: estimation
       theory", eq. 6.5 (generalised least squares).
    """
    z = response[:, :_N_AXES].astype(np.float64)
    expected = expected[:_N_AXES].astype(np.float64)
    n, n_axes = z.shape
    total = z.sum(0) + expected
    mean = total / (n + 1)
    rest = z - z.mean(0)
    noise = rest.T @ rest / max(n - 1, 1)
    level = max(np.trace(noise) / n_axes, 1e-3) if n > 1 else 1.0
    filters = np.linalg.inv(
        (1 - _OWN_NOISE) * noise + _OWN_NOISE * level * np.eye(n_axes)
    )
    others = (total - z) / n
    weights = others @ filters
    gain = np.sqrt(np.maximum((others * weights).sum(1), 1e-9))
    strength = (z * weights).sum(1) / gain

    course = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
    fresh = np.exp(-2.0 * np.where(np.isnan(recent[:, 0]), 0.0, recent[:, 0]))
    design = np.stack([np.ones(n), course, fresh - fresh.mean()], 1)
    spread = max(strength.std(), 0.3)
    base = max(strength.mean(), 0.3)
    ridge = np.diag([1e-9, 1 / (_DECLINE * base) ** 2, 1 / (_RECOVERY * base) ** 2])
    fit = np.linalg.solve(
        design.T @ design / spread**2 + ridge, design.T @ strength / spread**2
    )
    size = mean @ mean - level * n_axes * n / (n + 1) ** 2
    return np.array(
        [
            0.5 * np.log(max(size, 0.02)),
            np.log(max(fit[0], 0.2)),
            -fit[1] / base,
            fit[2] / base,
        ]
    )


def measure_bands(log_spectrum: NDArray) -> NDArray[np.float64]:
    """Measure rhythms above the 1/f background.

    Parameters
    ----------
    log_spectrum : ndarray, shape (n_regions, n_bands)
        A person's mean log power.

    Returns
    -------
    measures : ndarray, shape (3,)
        See `BAND_MEASURES`: centre of alpha in Hz over all regions, and by how much
        theta and beta exceed the background (log) where they are strongest.
    """
    log_freqs = np.log(_FREQS)
    outside = np.flatnonzero((_FREQS < 5) | ((_FREQS > 12) & (_FREQS < 15)))
    design = np.stack([np.ones_like(log_freqs), log_freqs], 1)
    line, *_ = np.linalg.lstsq(design[outside], log_spectrum[:, outside].T, rcond=None)
    above = log_spectrum - (design @ line).T
    alpha = (_FREQS >= 6) & (_FREQS <= 13)
    power = np.maximum(np.exp(above[:, alpha]) - 1, 0.0) + 1e-6
    theta, beta = (_FREQS >= 4) & (_FREQS <= 6), (_FREQS >= 15) & (_FREQS <= 30)
    strongest = slice(-4, None)
    return np.array(
        [
            (power * _FREQS[alpha]).sum() / power.sum(),
            np.sort(above[:, theta].mean(1))[strongest].mean(),
            np.sort(above[:, beta].mean(1))[strongest].mean(),
        ]
    )
