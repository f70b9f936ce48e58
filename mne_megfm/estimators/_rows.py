"""Rows to fine-tune on: some of each state of each sample, anew in every epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ..inputs import Recordings
from ..pretraining import WindowArray
from ._extraction import window_blocks
from ._network import Batch
from ._transformer import MEGFMTransformer


class RowStore:
    """Windows of some rows of each state of each sample, in memory.

    Parameters
    ----------
    recordings : Recordings
        The recordings.
    sample : ndarray of int, shape (n_rows,)
        Sample that each row is of.
    state : ndarray of int, shape (n_rows,)
        State of each row.
    n_rows : int
        Rows of each state of a sample that are kept at most, evenly spread over time.
    transformer : MEGFMTransformer
        The fitted transformer, for its array and windows.
    """

    def __init__(
        self,
        recordings: Recordings,
        sample: NDArray[np.int_],
        state: NDArray[np.int_],
        n_rows: int,
        transformer: MEGFMTransformer,
    ) -> None:
        config = transformer.config_
        kept = spread_rows(sample, state, n_rows)
        self.sample, self.state = sample[kept], state[kept]
        thinned = select_rows(recordings, kept)
        blocks = list(
            window_blocks(
                thinned, transformer.frontend_, config, transformer.batch_size
            )
        )
        # in pT, half precision holds what MEG has
        values = [(block.data / 1e-12).astype(np.float16) for block in blocks]
        self.windows = WindowArray(
            np.concatenate(values),
            unit=1e-12,
            n_valid=np.concatenate([block.n_valid for block in blocks]),
        )
        self.row = np.concatenate([block.row for block in blocks])
        self.start = np.concatenate([block.start for block in blocks])
        self.n_patches = [
            int(self.start[self.state[self.row] == s].max()) + config.n_patches
            for s in range(state.max() + 1)
        ]
        self._windows_of = np.split(
            np.argsort(self.row, kind="stable"),
            np.cumsum(np.bincount(self.row, minlength=len(kept)))[:-1],
        )
        self.rows_of = _rows_by(self.sample, self.state)

    def batch(self, rows: Sequence[NDArray[np.int_]]) -> Batch:
        """Gather the windows of some rows of some samples."""
        flat = np.concatenate(rows)
        windows = [self._windows_of[row] for row in flat]
        index = np.concatenate(windows)
        data, n_valid = self.windows.take(index)
        numbers = [
            np.repeat(np.arange(len(flat)), [len(w) for w in windows]),
            np.repeat(np.arange(len(rows)), [len(r) for r in rows]),
        ]
        row, sample = (torch.as_tensor(n) for n in numbers)
        return Batch(
            windows=data,
            n_valid=n_valid,
            start=torch.as_tensor(self.start[index]),
            row=row,
            sample=sample,
            state=torch.as_tensor(self.state[flat]),
            n_samples=len(rows),
        )


class RowDraws(Dataset):
    """Samples of a store, each seen through some of its rows.

    Parameters
    ----------
    store : RowStore
        The windows.
    samples : ndarray of int
        Samples of this data set.
    targets, weights : Tensor, shape (n_samples_in_store,)
        What to predict, and how much each counts.
    n_rows : int
        Rows of each state.
    seed : int | None
        Seed of the draws; None takes the same rows always, evenly spread.
    """

    def __init__(
        self,
        store: RowStore,
        samples: NDArray[np.int_],
        targets: Tensor,
        weights: Tensor,
        n_rows: int,
        seed: int | None = None,
    ) -> None:
        self.store = store
        self.samples = samples
        self.targets = targets
        self.weights = weights
        self.n_rows = n_rows
        self._rng = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple:
        sample, picked = int(self.samples[index]), []
        for rows in self.store.rows_of[sample]:
            if self._rng is None:
                picked.append(_spread(rows, self.n_rows))
            else:
                n_rows = min(self.n_rows, len(rows))
                picked.append(self._rng.choice(rows, n_rows, replace=False))
        return np.concatenate(picked), self.targets[sample], self.weights[sample]

    def collate(self, items: Sequence[tuple]) -> tuple[Batch, tuple]:
        """Make a batch."""
        rows, targets, weights = zip(*items, strict=True)
        return self.store.batch(rows), (torch.stack(targets), torch.stack(weights))


def _rows_by(sample: NDArray[np.int_], state: NDArray[np.int_]) -> list[list]:
    """List, for each sample, the rows of each state that it has."""
    rows = [[] for _ in range(sample.max() + 1)]
    order = np.lexsort((state, sample))  # stable: rows stay in their order
    changes = (np.diff(sample[order]) != 0) | (np.diff(state[order]) != 0)
    for group in np.split(order, np.flatnonzero(changes) + 1):
        rows[sample[group[0]]].append(group)
    return rows


def spread_rows(
    sample: NDArray[np.int_], state: NDArray[np.int_], n_rows: int
) -> NDArray[np.int_]:
    """Choose at most so many rows of each state of each sample, evenly spread."""
    chosen = [_spread(r, n_rows) for rows in _rows_by(sample, state) for r in rows]
    return np.sort(np.concatenate(chosen))


def _spread(rows: NDArray[np.int_], n_rows: int) -> NDArray[np.int_]:
    """Take at most so many rows, evenly spread."""
    n_rows = min(n_rows, len(rows))
    return rows[np.linspace(0, len(rows) - 1, n_rows).round().astype(int)]


def select_rows(recordings: Recordings, kept: NDArray[np.int_]) -> Recordings:
    """Restrict recordings to some rows, numbered anew."""
    number = np.full(recordings.n_rows, -1)
    number[kept] = np.arange(len(kept))
    parts = []
    for recording in recordings:
        at = np.flatnonzero(number[recording.index] >= 0)
        if len(at):
            parts.append(recording.select(at, number[recording.index[at]]))
    elements = recordings.elements[kept]
    return Recordings(parts, elements, recordings.n_elements, recordings.is_list)
