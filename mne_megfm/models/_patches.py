"""Windows to patches and back, and what a mask over tokens means for them.

A window is ``(n, n_sensors, n_times)``; its patches are ``(n, n_regions,
n_patches, sensors_per_region, patch_length)``. A mask is ``(n, n_regions,
n_patches)`` and True where the signal is hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._config import ModelConfig


def to_patches(windows: Tensor, config: ModelConfig) -> Tensor:
    """Cut windows into one patch a region and time step.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Windows on the canonical array.
    config : ModelConfig
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


def from_patches(patches: Tensor, config: ModelConfig) -> Tensor:
    """Undo :func:`to_patches`.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The patches.
    config : ModelConfig
        The sizes.

    Returns
    -------
    windows : Tensor, shape (n, n_sensors, n_times)
        The windows that they were cut from.
    """
    return patches.transpose(2, 3).reshape(
        len(patches), config.n_sensors, config.n_times
    )


def valid_patches(n_valid: Tensor, config: ModelConfig) -> Tensor:
    """Say which patches hold any recorded sample.

    Parameters
    ----------
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    config : ModelConfig
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


def sample_mask(tokens: Tensor, n_valid: Tensor, config: ModelConfig) -> Tensor:
    """Spread a mask over tokens to samples, leaving out what was not recorded.

    Parameters
    ----------
    tokens : Tensor of bool, shape (n, n_regions, n_patches)
        A mask over tokens.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    config : ModelConfig
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
