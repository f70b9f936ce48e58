"""What is measured on a person's responses and spectrum, under names of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models import BANDS

#: Measures of the responses of a state.
RESPONSE_MEASURES = ("size", "strength", "habituation", "recovery")
#: Measures of the spectrum of all states together.
BAND_MEASURES = ("alpha-frequency", "theta", "beta")

#: Rough mean and spread over adults, along axes of most power, for levels that have
#: seen nobody.
USUAL_RESPONSES = (0.0, -1.0, 0.0, 0.0), (0.6, 0.7, 0.1, 0.15)
USUAL_BANDS = (10.0, 0.25, 0.5), (1.0, 0.3, 0.4)

# axes of the response that dynamics are measured on: the others hold mostly noise
_N_AXES = 32
# weight of the covariance of the person's own trials against white noise
_OWN_NOISE = 0.5
# smallest size, as a share of what noise alone would give the average
_LEAST = 0.5
# spread over people of relative decline and recovery, to which few trials are shrunk
_DECLINE, _RECOVERY = 0.25, 0.5
_FREQS = torch.tensor([(a + b) / 2 for a, b in BANDS], dtype=torch.float64)
_THETA, _ALPHA, _BETA = (
    (low <= _FREQS) & (high >= _FREQS) for low, high in ((4, 6), (6, 13), (15, 30))
)
# where there is nothing but the background
_OUTSIDE = (_FREQS < 5) | ((_FREQS > 12) & (_FREQS < 15))
_N_STRONGEST = 4  # regions


def measure_responses(response: Tensor, recent: Tensor, expected: Tensor) -> Tensor:
    """Measure size and dynamics of the responses of a state.

    Each trial is projected on the mean of the others, to which the level's expectation
    is added as one more trial, by a matched filter for the person's own noise [1]_.
    The projections are then explained by a mean, a linear decline over the recording
    and recovery from recent stimuli, by ridge regression: with few trials both are
    near zero rather than anything.

    Parameters
    ----------
    response : Tensor, shape (n_trials, n_response)
        Coefficients of the responses in order of time.
    recent : Tensor, shape (n_trials, 2)
        How many stimuli came shortly before; NaN where not known.
    expected : Tensor, shape (n_response,)
        The response that the level expects of the person.

    Returns
    -------
    measures : Tensor of float64, shape (4,)
        See `RESPONSE_MEASURES`. Habituation is positive where responses decline;
        size and strength are logarithms.

    References
    ----------
    .. [1] Kay (1993), "Fundamentals of statistical signal processing: estimation
       theory", eq. 6.5 (generalised least squares).
    """
    z, expected = (
        torch.as_tensor(values)[..., :_N_AXES].double()
        for values in (response, expected)
    )
    recent = torch.as_tensor(recent)[:, 0].double()
    n, n_axes = z.shape
    total = z.sum(0) + expected
    mean = total / (n + 1)
    rest = z - z.mean(0)
    noise = rest.T @ rest / max(n - 1, 1)
    level = (noise.trace() / n_axes).clamp(min=1e-3) if n > 1 else z.new_tensor(1.0)
    white = torch.eye(n_axes, dtype=z.dtype)
    filters = torch.linalg.inv((1 - _OWN_NOISE) * noise + _OWN_NOISE * level * white)
    others = (total - z) / n
    weights = others @ filters
    gain = (others * weights).sum(1).clamp(min=1e-9).sqrt()
    strength = (z * weights).sum(1) / gain

    course = torch.linspace(-1, 1, n, dtype=z.dtype) if n > 1 else z.new_zeros(1)
    fresh = (-2.0 * recent.nan_to_num(0.0)).exp()
    design = torch.stack([torch.ones_like(course), course, fresh - fresh.mean()], 1)
    spread = strength.std(correction=0).clamp(min=0.3)
    base = strength.mean().clamp(min=0.3)
    ridge = torch.stack(
        [z.new_tensor(1e-9), (_DECLINE * base) ** -2, (_RECOVERY * base) ** -2]
    )
    fit = torch.linalg.solve(
        design.T @ design / spread**2 + ridge.diag(), design.T @ strength / spread**2
    )
    by_chance = level * n_axes * n / (n + 1) ** 2
    size = mean @ mean - by_chance
    return torch.stack(
        [
            0.5 * size.clamp(min=_LEAST * by_chance).log(),
            fit[0].clamp(min=0.2).log(),
            -fit[1] / base,
            fit[2] / base,
        ]
    )


def measure_bands(log_spectrum: Tensor) -> Tensor:
    """Measure rhythms above the 1/f background.

    Parameters
    ----------
    log_spectrum : Tensor, shape (n_regions, n_bands)
        A person's mean log power.

    Returns
    -------
    measures : Tensor of float64, shape (3,)
        See `BAND_MEASURES`: centre of alpha in Hz over all regions, and by how much
        theta and beta exceed the background (log) where they are strongest.
    """
    log_spectrum = torch.as_tensor(log_spectrum).double()
    design = torch.stack([torch.ones_like(_FREQS), _FREQS.log()], 1)
    line = torch.linalg.pinv(design[_OUTSIDE]) @ log_spectrum[:, _OUTSIDE].T
    above = log_spectrum - (design @ line).T
    power = above[:, _ALPHA].expm1().clamp(min=0.0) + 1e-6
    excess = torch.stack([above[:, _THETA].mean(1), above[:, _BETA].mean(1)])
    return torch.cat(
        [
            ((power * _FREQS[_ALPHA]).sum() / power.sum())[None],
            excess.topk(_N_STRONGEST).values.mean(1),
        ]
    )
