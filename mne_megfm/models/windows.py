"""Windows to train on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..utils.splits import split_groups


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

    def __post_init__(self) -> None:
        n, _, n_times = self.values.shape
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

    def split(self, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Split windows in two so that no recording is in both.

        Parameters
        ----------
        fraction : float
            Share of the recordings in the second part, at least one.
        seed : int
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
        return split_groups(self.recording, fraction, seed)
