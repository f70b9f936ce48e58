"""Windows cut into patches and scaled.

A window is ``(n, n_sensors, n_times)``; its patches are ``(n, n_regions,
n_patches, sensors_per_region, patch_length)``. A mask is ``(n, n_regions,
n_patches)`` and True where the signal is hidden.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._config import BackboneConfig
from ._interpolation import field_interpolation


def to_patches(windows: Tensor, config: BackboneConfig) -> Tensor:
    """Cut windows into one patch a region and time step.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Windows on the canonical array.
    config : BackboneConfig
        The sizes.

    Returns
    -------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The patches.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import ModelConfig, to_patches
    >>> to_patches(torch.zeros(2, 192, 250), ModelConfig()).shape
    torch.Size([2, 24, 10, 8, 25])
    """
    n = len(windows)
    return windows.reshape(
        n,
        config.n_regions,
        config.sensors_per_region,
        config.n_patches,
        config.patch_length,
    ).transpose(2, 3)


def from_patches(patches: Tensor, config: BackboneConfig) -> Tensor:
    """Undo :func:`to_patches`.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The patches.
    config : BackboneConfig
        The sizes.

    Returns
    -------
    windows : Tensor, shape (n, n_sensors, n_times)
        The windows that they were cut from.
    """
    return patches.transpose(2, 3).reshape(
        len(patches), config.n_sensors, config.n_times
    )


def valid_patches(n_valid: Tensor, config: BackboneConfig) -> Tensor:
    """Say which patches hold any recorded sample.

    Parameters
    ----------
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    config : BackboneConfig
        The sizes.

    Returns
    -------
    recorded : Tensor of bool, shape (n, n_patches)
        False for patches of padding alone.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import ModelConfig, valid_patches
    >>> valid_patches(torch.tensor([51]), ModelConfig(n_patches=4)).tolist()
    [[True, True, True, False]]
    """
    starts = torch.arange(config.n_patches, device=n_valid.device)
    return starts * config.patch_length < n_valid[:, None]


def sample_mask(tokens: Tensor, n_valid: Tensor, config: BackboneConfig) -> Tensor:
    """Spread a mask over tokens to samples, leaving out what was not recorded.

    Parameters
    ----------
    tokens : Tensor of bool, shape (n, n_regions, n_patches)
        A mask over tokens.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    config : BackboneConfig
        The sizes.

    Returns
    -------
    samples : Tensor of bool, shape (n, n_sensors, n_times)
        The same mask over sensors and samples.
    """
    samples = tokens.repeat_interleave(config.sensors_per_region, 1)
    samples = samples.repeat_interleave(config.patch_length, 2)
    time = torch.arange(config.n_times, device=tokens.device)
    return samples & (time < n_valid[:, None])[:, None]


GROSS_OFFSET = 3.0


class Scaled(NamedTuple):
    """Dimensionless windows and what brings them back to tesla.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Windows at the network's scale, zero where not recorded.
    offset : Tensor, shape (n, n_sensors, 1)
        What was taken away, in tesla.
    unit : Tensor, shape (n, 1, 1)
        Field in tesla that became 1.
    """

    windows: Tensor
    offset: Tensor
    unit: Tensor

    def to_tesla(self, windows: Tensor) -> Tensor:
        """Undo the scaling.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Windows at the network's scale.

        Returns
        -------
        windows : Tensor, shape (n, n_sensors, n_times)
            The same in tesla.
        """
        return windows * self.unit + self.offset

    def from_tesla(self, windows: Tensor) -> Tensor:
        """Scale other windows alike.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Windows in tesla.

        Returns
        -------
        windows : Tensor, shape (n, n_sensors, n_times)
            The same at the network's scale.
        """
        return (windows - self.offset) / self.unit


def scale_windows(
    windows: Tensor,
    hidden: Tensor,
    n_valid: Tensor,
    kernel: Tensor,
    config: BackboneConfig,
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
    config : BackboneConfig
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
    everything = bool(seen.all())
    mean = signal if everything else torch.where(seen, signal, 0.0)
    mean = mean.sum(-1, keepdim=True) / count.clamp(min=1)
    total = count.sum((1, 2), keepdim=True).clamp(min=1)

    # sum x^2 = sum (x - mean)^2 + count mean^2, without cancellation
    around = signal - mean
    around = around if everything else torch.where(seen, around, 0.0)
    moving = around.square().sum((1, 2), keepdim=True)
    still = (count * mean.square()).sum((1, 2), keepdim=True)

    gross = still > GROSS_OFFSET**2 * moving
    offset = torch.where(gross, mean, 0.0)
    unseen = (count == 0)[..., 0]
    if bool((gross[:, 0, 0] & unseen.any(1)).any()):
        shape = (len(windows), config.n_regions, 1, config.sensors_per_region, 1)
        lost = hidden.all(-1, keepdim=True)
        guess = field_interpolation(offset.reshape(shape), lost, kernel)
        offset = torch.where(unseen[..., None], guess.reshape(offset.shape), offset)
    if bool(gross.any()):
        signal = signal - offset
    if not everything:
        time = torch.arange(windows.shape[-1], device=windows.device)
        signal = torch.where((time < n_valid[:, None])[:, None], signal, 0.0)
    rms = ((moving + torch.where(gross, 0.0, still)) / total).sqrt()
    shrink = (rms / config.max_rms).clamp(min=1.0)
    return Scaled(signal / shrink, offset * config.scale, shrink * config.scale)
