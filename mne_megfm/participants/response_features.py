"""Response features: single-trial amplitudes, habituation, recovery."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models import BANDS, TrialInputs
from .trials import limit_trials

# leading axes in space and time: what the others see of responses is mostly noise
_N_SPACE, _N_TIME = 16, 12
# directions in space that the average of a person is taken to have
_N_DIRECTIONS = 3
# white noise added to the person's, as a share of it
_WHITE = 0.1
# prior weight of the components of pretraining, in trials
_AXES_WORTH = 10


def single_trial_amplitudes(
    components: Tensor, expected: Tensor, joint: Tensor
) -> Tensor:
    """Project each trial on the average of the others.

    Trials are whitened over space and time by the noise of the person's other trials,
    and projected on the few spatial directions in which the average of the others is
    largest: denoising source separation [1]_ of one person. With few trials, this
    average is partly noise. So its part outside of the components of pretraining is
    weighted by the number of trials, with a prior weight of `_AXES_WORTH`, and the
    encoder's prediction counts as one more trial. A trial never enters the template
    that it is projected on; otherwise amplitudes of few trials would be those of
    their noise.

    Parameters
    ----------
    components : Tensor of float64, shape (n_trials, n_space, n_time)
        Trials on axes of space and of time, in units of a typical trial's noise.
    expected : Tensor of float64, shape (n_space, n_time)
        The response that the participant encoder predicts, on the same axes.
    joint : Tensor of float64, shape (n_space, n_time, n_axes)
        Axes of both together, the leading ones.

    Returns
    -------
    amplitudes : Tensor of float64, shape (n_trials,)
        In standard deviations of the noise; of a typical trial's for up to two trials.

    References
    ----------
    .. [1] de Cheveigné & Simon (2008), "Denoising based on spatial filtering",
       J Neurosci Methods 171:331-339, section 2.3.
    """
    z, expected = (
        values[..., :_N_SPACE, :_N_TIME] for values in (components, expected)
    )
    n, n_space, n_time = z.shape
    axes = joint[:_N_SPACE, :_N_TIME].flatten(0, 1)
    others = ((z.sum(0) + expected - z) / n).flatten(1)
    known = others @ axes @ torch.linalg.pinv(axes)
    own = (n - 1) / (n - 1 + _AXES_WORTH)
    others = (known + own * (others - known)).unflatten(1, (n_space, n_time))

    in_space, in_time = _whiteners(z)
    template = in_space @ others @ in_time.mT
    directions = torch.linalg.svd(template, full_matrices=False)[0][..., :_N_DIRECTIONS]
    template = (directions.mT @ template).flatten(1)
    trials = (directions.mT @ in_space @ z @ in_time.mT).flatten(1)
    return (trials * template).sum(1) / template.norm(dim=1).clamp(min=1e-6)


def _whiteners(z: Tensor) -> tuple[Tensor, Tensor]:
    """Find for each trial what makes the noise of the others white, (n, size, size)."""
    n, n_space, n_time = z.shape
    if n < 3:
        identities = (torch.eye(size).to(z) for size in (n_space, n_time))
        return tuple(one.expand(n, -1, -1) for one in identities)
    mean = (z.sum(0) - z) / (n - 1)
    # of the others around their mean: all, less the trial, less the mean
    noise = (z @ z.mT).sum(0) - z @ z.mT - (n - 1) * (mean @ mean.mT)
    in_space = _inverse_root(noise / ((n - 2) * n_time))
    inner = in_space.mT @ in_space
    pairs = torch.einsum("nst,nuv->sutv", z, z)
    noise = torch.einsum("nsu,sutv->ntv", inner, pairs)
    noise = noise - z.mT @ inner @ z - (n - 1) * (mean.mT @ inner @ mean)
    return in_space, _inverse_root(noise / ((n - 2) * n_space))


def _inverse_root(noise: Tensor) -> Tensor:
    """Find the matrices that whiten noise of these covariances."""
    level = noise.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    white = (_WHITE * level).clamp(min=1e-6) * torch.eye(noise.shape[-1]).to(noise)
    return torch.linalg.inv(torch.linalg.cholesky(noise + white))


#: Measures of the responses of a state.
RESPONSE_MEASURES = ("amplitude", "trial_amplitude", "habituation", "recovery")
#: Measures of the spectrum of all states together.
BAND_MEASURES = ("alpha-frequency", "theta", "beta")

#: Rough mean and spread over adults, along axes of most power, for participant
#: encoders with random weights.
USUAL_RESPONSES = (-0.5, -0.15, 0.0, 0.0), (0.7, 0.65, 0.12, 0.2)
USUAL_BANDS = (10.0, 0.25, 0.5), (0.8, 0.3, 0.4)

# axes of the response that its amplitude is measured on: the others hold mostly noise
_N_AXES = 16
# smallest amplitude, as a share of what noise alone would give the average
_LEAST = 0.5
# spread over people of relative decline and recovery, to which few trials are shrunk
_DECLINE, _RECOVERY = 0.25, 0.5
# smallest mean single-trial amplitude, in standard deviations of the noise
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
    """Measure amplitude and dynamics of the responses of a state.

    ``amplitude`` is that of the average on the components of pretraining, less
    the part that noise gives it. Single-trial amplitudes, by filters of the person's
    own (see `single_trial_amplitudes`), are explained by a mean
    (``trial_amplitude``), a linear decline over the recording and recovery from recent
    stimuli, by ridge regression [1]_: with few trials decline and recovery are near
    zero.

    Parameters
    ----------
    components : Tensor, shape (n_trials, n_space, n_time)
        Responses on the axes of space and time, in order of time.
    recent : Tensor, shape (n_trials, 2)
        How many stimuli came shortly before; NaN where not known.
    expected : Tensor, shape (n_response,)
        Coefficients of the response that the encoder predicts for the person.
    inputs : TrialInputs
        The axes.

    Returns
    -------
    measures : Tensor of float64, shape (4,)
        See `RESPONSE_MEASURES`. Habituation is positive if responses decline; the
        amplitudes are logarithms.

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
    amplitude = single_trial_amplitudes(components, expected, joint.unflatten(0, shape))

    n = len(amplitude)
    course = torch.linspace(-1, 1, n).double() if n > 1 else amplitude.new_zeros(1)
    fresh = (-2.0 * recent.nan_to_num(0.0)).exp()
    design = torch.stack([torch.ones_like(course), course, fresh - fresh.mean()], 1)
    spread = amplitude.std(correction=0).clamp(min=0.3)
    base = amplitude.mean().clamp(min=_WEAKEST)
    ridge = torch.stack(
        [base.new_tensor(1e-9), (_DECLINE * base) ** -2, (_RECOVERY * base) ** -2]
    )
    fit = torch.linalg.solve(
        design.T @ design / spread**2 + ridge.diag(), design.T @ amplitude / spread**2
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
