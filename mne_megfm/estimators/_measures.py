"""What is measured on a person's responses and spectrum, under names of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models import BANDS, TrialInputs
from ..pretraining import limit_trials
from ._strengths import trial_strengths

#: Measures of the responses of a state.
RESPONSE_MEASURES = ("size", "strength", "habituation", "recovery")
#: Measures of the spectrum of all states together.
BAND_MEASURES = ("alpha-frequency", "theta", "beta")

#: Rough mean and spread over adults, along axes of most power, for levels that have
#: seen nobody.
USUAL_RESPONSES = (-0.5, -0.15, 0.0, 0.0), (0.7, 0.65, 0.12, 0.2)
USUAL_BANDS = (10.0, 0.25, 0.5), (0.8, 0.3, 0.4)

# axes of the response that size is measured on: the others hold mostly noise
_N_AXES = 16
# smallest size, as a share of what noise alone would give the average
_LEAST = 0.5
# spread over people of relative decline and recovery, to which few trials are shrunk
_DECLINE, _RECOVERY = 0.25, 0.5
# smallest mean strength, in standard deviations of the noise
_WEAKEST = 0.5
_FREQS = torch.tensor([(a + b) / 2 for a, b in BANDS], dtype=torch.float64)
_THETA, _ALPHA, _BETA = (
    (low <= _FREQS) & (high >= _FREQS) for low, high in ((4, 6), (8, 13), (15, 30))
)
# where there is nothing but the background
_OUTSIDE = (_FREQS < 5) | ((_FREQS > 12) & (_FREQS < 15))
_N_STRONGEST = 4  # regions


def measure_responses(
    components: Tensor, recent: Tensor, expected: Tensor, inputs: TrialInputs
) -> Tensor:
    """Measure size and dynamics of the responses of a state.

    Size is that of the average along the axes of pretraining, less what noise gives it.
    Strengths of trials, along filters of the person's own (see `trial_strengths`), are
    explained by a mean, a linear decline over the recording and recovery from recent
    stimuli, by ridge regression [1]_: with few trials both are near zero rather than
    anything.

    Parameters
    ----------
    components : Tensor, shape (n_trials, n_space, n_time)
        Responses on the axes of space and time, in order of time.
    recent : Tensor, shape (n_trials, 2)
        How many stimuli came shortly before; NaN where not known.
    expected : Tensor, shape (n_response,)
        Coefficients of the response that the level expects of the person.
    inputs : TrialInputs
        The axes.

    Returns
    -------
    measures : Tensor of float64, shape (4,)
        See `RESPONSE_MEASURES`. Habituation is positive where responses decline;
        size and strength are logarithms.

    References
    ----------
    .. [1] Hoerl & Kennard (1970), "Ridge regression: biased estimation for
       nonorthogonal problems", Technometrics 12:55-67, eq. 2.3.
    """
    joint = inputs.joint.double()
    # a typical trial's noise is 1 on each of the joint axes
    unit = joint.square().sum(0).mean().rsqrt()
    components = torch.as_tensor(components).double() / unit
    joint = (joint * unit)[:, :_N_AXES]
    expected = torch.as_tensor(expected)
    expected = inputs.components_of(expected[None])[0].double() / unit
    recent = torch.as_tensor(recent)[:, 0].double()
    shape = components.shape[1:]
    components = limit_trials(components.flatten(1)).unflatten(1, shape)
    strength = trial_strengths(components, expected, joint.unflatten(0, shape))

    n = len(strength)
    course = torch.linspace(-1, 1, n).double() if n > 1 else strength.new_zeros(1)
    fresh = (-2.0 * recent.nan_to_num(0.0)).exp()
    design = torch.stack([torch.ones_like(course), course, fresh - fresh.mean()], 1)
    spread = strength.std(correction=0).clamp(min=0.3)
    base = strength.mean().clamp(min=_WEAKEST)
    ridge = torch.stack(
        [base.new_tensor(1e-9), (_DECLINE * base) ** -2, (_RECOVERY * base) ** -2]
    )
    fit = torch.linalg.solve(
        design.T @ design / spread**2 + ridge.diag(), design.T @ strength / spread**2
    )
    return torch.stack(
        [
            _log_size(components.flatten(1) @ joint, expected.flatten() @ joint),
            fit[0].clamp(min=_WEAKEST).log(),
            -fit[1] / base,
            fit[2] / base,
        ]
    )


def _log_size(z: Tensor, expected: Tensor) -> Tensor:
    """Give the log size of the average, less what noise gives it."""
    n, n_axes = z.shape
    mean = (z.sum(0) + expected) / (n + 1)
    noise = n_axes * z.new_tensor(1.0)
    if n > 1:
        noise = (z - z.mean(0)).square().sum().clamp(min=1e-3) / (n - 1)
    by_chance = noise * n / (n + 1) ** 2
    return 0.5 * (mean @ mean - by_chance).clamp(min=_LEAST * by_chance).log()


def measure_bands(log_spectrum: Tensor) -> Tensor:
    """Measure rhythms above the 1/f background.

    Parameters
    ----------
    log_spectrum : Tensor, shape (n_regions, n_bands)
        A person's mean log power.

    Returns
    -------
    measures : Tensor of float64, shape (3,)
        See `BAND_MEASURES`: centre of gravity of 8 to 13 Hz over all regions [1]_, in
        Hz, and by how much theta and beta exceed the background (log) where they are
        strongest.

    References
    ----------
    .. [1] Klimesch, Schimke & Pfurtscheller (1993), "Alpha frequency, cognitive load
       and memory performance", Brain Topogr 5:241-251 (gravity frequency).
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
