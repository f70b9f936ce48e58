"""Windows: cut into patches and scaled, and gathered to train on.

A window is ``(n, n_sensors, n_times)``; its patches are ``(n, n_regions,
n_patches, sensors_per_region, patch_length)``. A mask is ``(n, n_regions,
n_patches)`` and True where the signal is hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ._interpolation import field_interpolation

if TYPE_CHECKING:
    from .backbone import BackboneConfig


# -- patches ---------------------------------------------------------------------------
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


# -- training data ---------------------------------------------------------------------
@dataclass
class WindowBatch:
    """Windows of a batch, and what is known of them.

    What is not known is None.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Canonical field in tesla.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    mask : Tensor of bool, shape (n, n_regions, n_patches), optional
        Tokens to hide.
    scored : Tensor of bool, shape (n, n_regions, n_patches), optional
        Hidden tokens that a loss of hidden signal is of; all of them by default.
    participant, recording, state, array : Tensor of int, shape (n,), optional
        Numbers of the participant, the recording, its state and its sensor array: the
        same number for the same one in all batches of a run.
    start : Tensor of float, shape (n,), optional
        Time of the first sample in its recording, in s.
    targets : Tensor, shape (n, ...), optional
        What to predict of each window, where the data bring that.
    view : WindowBatch, optional
        The same windows with another draw of augmentation and masks; for objectives
        with ``n_views = 2``.
    names : dict of tuple of str
        For ``"participant"``, ``"state"`` and ``"array"`` the name that each number
        stands for.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import WindowBatch
    >>> windows, n_valid = torch.zeros(2, 192, 250), torch.tensor([250, 200])
    >>> batch = WindowBatch(windows, n_valid, state=torch.tensor([0, 1]))
    >>> len(batch), batch.participant is None
    (2, True)
    """

    windows: Tensor
    n_valid: Tensor
    mask: Tensor | None = None
    scored: Tensor | None = None
    participant: Tensor | None = None
    recording: Tensor | None = None
    state: Tensor | None = None
    array: Tensor | None = None
    start: Tensor | None = None
    targets: Tensor | None = None
    view: WindowBatch | None = None
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.windows)


@dataclass
class WindowArray:
    """Canonical windows in memory or memory-mapped, at half precision.

    Parameters
    ----------
    values : array, shape (n_windows, n_sensors, n_times)
        The windows in units of ``unit``; float16 holds them well if ``unit`` is
        near their amplitude (tesla themselves would underflow).
    unit : float
        Field in tesla that is stored as 1.
    n_valid : array of int, shape (n_windows,), optional
        Recorded samples of each window; all by default.
    recording : array of int, shape (n_windows,), optional
        Which recording (or participant) each window is from, for splits; each
        window is its own by default.
    state : array of str, shape (n_windows,), optional
        State of each window, to report on each by itself.
    participant : array of str, shape (n_windows,), optional
        Whom each window is of.
    array : array of str, shape (n_windows,), optional
        Sensor array that each window was recorded with.
    start : array of float, shape (n_windows,), optional
        Time of the first sample in its recording, in s.
    targets : array, shape (n_windows, ...), optional
        Numbers to predict of each window, for objectives that do so.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.models import WindowArray
    >>> windows = WindowArray(np.ones((3, 192, 250), np.float16), unit=1e-12)
    >>> data, n_valid = windows.take([0, 2])
    >>> data.shape, n_valid.tolist()
    (torch.Size([2, 192, 250]), [250, 250])
    """

    values: np.ndarray
    unit: float = 1e-12
    n_valid: np.ndarray | None = None
    recording: np.ndarray | None = None
    state: np.ndarray | None = None
    participant: np.ndarray | None = None
    array: np.ndarray | None = None
    start: np.ndarray | None = None
    targets: np.ndarray | None = None

    def __post_init__(self) -> None:
        n, _, n_times = self.values.shape
        for name in ("participant", "array", "start", "targets"):
            known = getattr(self, name)
            if known is not None and len(known) != n:
                raise ValueError(
                    f"Expected {name} of each of {n} windows, got {len(known)}; give "
                    "one value a window."
                )
        if self.n_valid is None:
            self.n_valid = np.full(n, n_times)
        if self.recording is None:
            self.recording = np.arange(n)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, index: np.ndarray | list[int]) -> tuple[Tensor, Tensor]:
        """Read windows.

        Parameters
        ----------
        index : array of int, shape (n,)
            Which.

        Returns
        -------
        windows : Tensor, shape (n, n_sensors, n_times)
            Field in tesla, float32.
        n_valid : Tensor of int, shape (n,)
            Recorded samples.
        """
        index = np.asarray(index)
        # memory-mapped files read fastest in their own order
        order = np.argsort(index, kind="stable")
        data = np.empty((len(index), *self.values.shape[1:]), np.float32)
        data[order] = self.values[index[order]]
        data *= self.unit
        return torch.from_numpy(data), torch.as_tensor(self.n_valid[index])

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Read batches of windows one after the other.

        Parameters
        ----------
        batches : iterable of array of int
            Windows of each batch.

        Returns
        -------
        batches : iterator of tuple of Tensor
            Windows and recorded samples of each batch, in order; see `take`.
        """
        return map(self.take, batches)
