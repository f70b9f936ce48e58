"""From tesla to the network's scale, judged by the visible signal alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._config import ModelConfig
from ._fill import field_interpolation
from ._patches import sample_mask

GROSS_OFFSET = 3.0


class Scaled(NamedTuple):
    """Dimensionless windows and what brings them back to tesla."""

    windows: Tensor  # (n, n_sensors, n_times)
    offset: Tensor  # (n, n_sensors, 1), tesla
    unit: Tensor  # (n, 1, 1), tesla

    def to_tesla(self, windows: Tensor) -> Tensor:
        """Undo the scaling for windows of the same shape."""
        return windows * self.unit + self.offset


def scale_windows(
    windows: Tensor,
    hidden: Tensor,
    n_valid: Tensor,
    kernel: Tensor,
    config: ModelConfig,
) -> Scaled:
    """Bring windows to the network's scale without looking at hidden samples.

    One fixed physical scale serves all windows, since amplitude is information.
    Two exceptions keep odd recordings within what was trained: offsets of more
    than three times the remaining signal (unfiltered recordings) are taken away,
    and windows beyond ``config.max_rms`` are shrunk to it. Smaller offsets stay:
    after a baseline correction they are part of the response.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Field in tesla.
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Tokens that must not be looked at.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    kernel : Tensor, shape (n_sensors, n_sensors)
        Gram matrix for the offset of sensors that are hidden all the time.
    config : ModelConfig
        Sizes and scale.

    Returns
    -------
    scaled : Scaled
        Windows (zero where not recorded), offsets and unit.
    """
    seen = sample_mask(~hidden, n_valid, config)
    # tesla squared underflows in float32, so leave tesla before any square
    signal = windows / config.scale
    count = seen.sum(-1, keepdim=True)
    mean = torch.where(seen, signal, 0.0).sum(-1, keepdim=True) / count.clamp(min=1)
    total = count.sum((1, 2), keepdim=True).clamp(min=1)

    def rms(x: Tensor) -> Tensor:
        power = torch.where(seen, x, 0.0).square().sum((1, 2), keepdim=True)
        return (power / total).sqrt()

    gross = rms(mean.expand_as(signal)) > GROSS_OFFSET * rms(signal - mean)
    offset = torch.where(gross, mean, 0.0)
    unseen = (count == 0)[..., 0]
    if bool((gross[:, 0, 0] & unseen.any(1)).any()):
        shape = (len(windows), config.n_regions, 1, config.sensors_per_region, 1)
        lost = hidden.all(-1, keepdim=True)
        guess = field_interpolation(offset.reshape(shape), lost, kernel)
        offset = torch.where(unseen[..., None], guess.reshape(offset.shape), offset)
    time = torch.arange(windows.shape[-1], device=windows.device)
    recorded = (time < n_valid[:, None])[:, None]
    signal = torch.where(recorded, signal - offset, 0.0)
    shrink = (rms(signal) / config.max_rms).clamp(min=1.0)
    return Scaled(signal / shrink, offset * config.scale, shrink * config.scale)
