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

    Noise is made white over space and time by the person's own trials, and the
    projection is along the few directions in space in which their average is largest:
    denoising source separation [1]_ of one person. Where trials are few, their average
    is noise in part. So its share off the axes along which people of pretraining
    respond is weighted as n to `_AXES_WORTH`, and what the level expects of the person
    counts as one more trial.

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
        In standard deviations of the noise.

    References
    ----------
    .. [1] de Cheveigné & Simon (2008), "Denoising based on spatial filtering",
       J Neurosci Methods 171:331-339, section 2.3.
    """
    z, expected, joint = (
        values[..., :_N_SPACE, :_N_TIME] for values in (components, expected, joint)
    )
    n, n_space, n_time = z.shape
    axes = joint.reshape(n_space * n_time, -1)
    on_axes = axes @ torch.linalg.pinv(axes)
    own = n / (n + _AXES_WORTH)

    def denoise(mean: Tensor) -> Tensor:
        flat = mean.flatten(-2)
        known = flat @ on_axes.T
        return (known + own * (flat - known)).unflatten(-1, (n_space, n_time))

    rest = z - z.mean(0)
    in_space = _whitener(rest)
    in_time = _whitener((in_space @ rest).mT)

    def whiten(values: Tensor) -> Tensor:
        return in_space @ values @ in_time.mT

    total = z.sum(0) + expected
    average = whiten(denoise(total / (n + 1)))
    directions = torch.linalg.svd(average, full_matrices=False)[0][:, :_N_DIRECTIONS]
    template = (directions.mT @ whiten(denoise((total - z) / n))).flatten(1)
    trials = (directions.mT @ whiten(z)).flatten(1)
    return (trials * template).sum(1) / template.norm(dim=1).clamp(min=1e-6)


def _whitener(rest: Tensor) -> Tensor:
    """Find the matrix that makes noise of shape (n, n_rows, n_columns) white."""
    n, n_rows, n_columns = rest.shape
    identity = torch.eye(n_rows, dtype=rest.dtype)
    if n == 1:
        return identity
    noise = (rest @ rest.mT).sum(0) / ((n - 1) * n_columns)
    white = (_WHITE * noise.trace() / n_rows).clamp(min=1e-6) * identity
    return torch.linalg.inv(torch.linalg.cholesky(noise + white))
