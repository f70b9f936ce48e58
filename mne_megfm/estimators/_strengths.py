"""How strongly a person responds in each trial, by filters of the person's own."""

from __future__ import annotations

import torch
from torch import Tensor

# leading axes in space and time: what the others see of responses is mostly noise
_N_SPACE, _N_TIME = 16, 12
# directions in space that the average of a person is taken to have
_N_DIRECTIONS = 3
# white noise added to the person's, as a share of it
_WHITE = 0.1
# the axes of pretraining count as much as so many trials
_AXES_WORTH = 10


def trial_strengths(components: Tensor, expected: Tensor, joint: Tensor) -> Tensor:
    """Project each trial on the average of the others.

    Noise is made white over space and time by the person's other trials, and the
    projection is along the few directions in space in which their average is largest:
    denoising source separation [1]_ of one person. Where trials are few, their average
    is noise in part. So its share off the axes along which people of pretraining
    respond is weighted as the number of trials to `_AXES_WORTH`, and what the level
    expects of the person counts as one more trial. Nothing of a trial is in what it is
    projected on, or strengths of few trials would be those of their noise.

    Parameters
    ----------
    components : Tensor of float64, shape (n_trials, n_space, n_time)
        Trials on axes of space and of time, in units of a typical trial's noise.
    expected : Tensor of float64, shape (n_space, n_time)
        The response that the level expects, on the same axes.
    joint : Tensor of float64, shape (n_space, n_time, n_axes)
        Axes of both together, the leading ones.

    Returns
    -------
    strengths : Tensor of float64, shape (n_trials,)
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
