"""Windows to train on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..utils.splits import split_groups


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

    def split(
        self, fraction: float, random_state: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Split windows in two so that no recording is in both.

        Parameters
        ----------
        fraction : float
            Share of the recordings in the second part, at least one.
        random_state : int
            Seed of the draw.

        Returns
        -------
        first : array of int
            Windows of the first part.
        second : array of int
            Windows of the second part; with a single recording, its last windows.

        Raises
        ------
        ValueError
            If there is but one window.
        """
        return split_groups(self.recording, fraction, random_state)
