"""From signals on a recording's own sensors to a decision, as one torch module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..estimators._extraction import window_blocks
from ..estimators._network import Batch, TunedNetwork
from ..inputs import Recording, Recordings
from ._decisions import SplitPipeline, affine_head


@dataclass(frozen=True, eq=False)
class Row:
    """A row on its own sensors, as the network takes it.

    Attributes
    ----------
    signal : ndarray of float32, shape (n_channels, n_times)
        Good channels of the recording at the model's rate (T or T/m); those that are
        flat in this row are 0.
    matrix : ndarray of float32, shape (n_canonical, n_channels)
        To the canonical array; 0 for flat channels.
    starts : tuple of int
        First patch of each window.
    n_valid : tuple of int
        Recorded samples of each window.
    """

    signal: NDArray[np.float32]
    matrix: NDArray[np.float32]
    starts: tuple[int, ...]
    n_valid: tuple[int, ...]


class _OwnSensors:
    """A way to no other array, which remembers what the frontend would have done."""

    def __init__(self, frontend: Any, names: list[str]) -> None:
        self.frontend = frontend
        self.names = {name: i for i, name in enumerate(names)}
        self.matrix: NDArray[np.float32] | None = None

    def __call__(self, recording: Recording) -> tuple[NDArray, list[str]]:
        matrix, used = self.frontend(recording)
        at = [self.names[name] for name in used]
        self.matrix = np.zeros((len(matrix), len(self.names)), np.float32)
        self.matrix[:, at] = matrix
        return np.eye(len(self.names))[:, at], used


def iter_rows(recording: Recording, transformer: Any) -> Iterator[Row]:
    """Read the rows of a recording at the model's rate, on its own sensors.

    They go through the steps of the estimators in their order but for the mapping,
    which commutes with resampling.

    Parameters
    ----------
    recording : Recording
        The recording.
    transformer : MEGFMTransformer
        The fitted transformer.

    Yields
    ------
    row : Row
        One row after the other.
    """
    config = transformer.config_
    for position in range(len(recording.rows)):
        one = recording.select(np.array([position]), np.zeros(1, int))
        own = _OwnSensors(transformer.frontend_, recording.ch_names)
        single = Recordings([one], np.zeros(1, int), 1, False)
        blocks = list(window_blocks(single, own, config, transformer.batch_size, False))
        data = np.concatenate([block.data for block in blocks])
        starts, n_valid = (
            tuple(np.concatenate([getattr(b, name) for b in blocks]).tolist())
            for name in ("start", "n_valid")
        )
        ends = [s * config.patch_length + n for s, n in zip(starts, n_valid)]  # noqa: B905
        signal = np.zeros((data.shape[1], max(ends)), np.float32)
        for window, start, end in zip(data, starts, ends, strict=True):
            first = start * config.patch_length
            signal[:, first:end] = window[:, : end - first]
        yield Row(signal, own.matrix, starts, n_valid)


class RowNetwork(nn.Module):
    """A fitted epoch-wise pipeline as a function of signals on sensors.

    Parameters
    ----------
    parts : SplitPipeline
        The fitted pipeline.
    target : label | None
        Class whose decision is computed.
    """

    def __init__(self, parts: SplitPipeline, target: Any = None) -> None:
        super().__init__()
        self.transformer = transformer = parts.transformer
        self.config = transformer.config_
        tuned = getattr(parts.whole, "network_", None)
        self.network = tuned or TunedNetwork(
            transformer.model_,
            transformer.pooling_,
            [""],
            [transformer.n_patches_],
            spread=False,
        )
        weights, bias = affine_head(
            lambda features: parts.decide(features, target),
            transformer.n_features_out_,
        )
        device = transformer.model_.token_mean.device
        self.weights = torch.as_tensor(weights, dtype=torch.float32, device=device)
        self.bias = bias
        self.row: Row | None = None
        self.matrix: Tensor | None = None

    def look_at(self, row: Row) -> None:
        """Take the matrix and the windows of a row for what comes next."""
        n_patches = max(row.starts) + self.config.n_patches
        if n_patches != self.network.n_patches[0]:
            step = self.config.patch_length / self.config.sfreq
            raise ValueError(
                f"Expected rows of {self.network.n_patches[0] * step:.1f} s as in fit, "
                f"got {n_patches * step:.1f} s; crop all epochs to the same length."
            )
        self.row = row
        self.matrix = torch.from_numpy(row.matrix).to(self.weights)

    def forward(self, signals: Tensor) -> Tensor:
        """Compute decisions.

        Parameters
        ----------
        signals : Tensor, shape (n, n_channels, n_times)
            Signals on the sensors of the row that is looked at (T or T/m).

        Returns
        -------
        decisions : Tensor, shape (n,)
            As the pipeline has them.
        """
        canonical = self.matrix @ signals
        canonical = canonical - canonical.mean(-1, keepdim=True)  # as rows are centred
        config, row = self.config, self.row
        windows = []
        for start, n_valid in zip(row.starts, row.n_valid, strict=True):
            first = start * config.patch_length
            window = canonical[..., first : first + n_valid]
            windows.append(nn.functional.pad(window, (0, config.n_times - n_valid)))
        n, device = len(signals), signals.device
        number = torch.arange(n, device=device)
        batch = Batch(
            windows=torch.stack(windows, 1).flatten(0, 1),
            n_valid=torch.tensor(row.n_valid, device=device).repeat(n),
            start=torch.tensor(row.starts, device=device).repeat(n),
            row=number.repeat_interleave(len(row.starts)),
            sample=number,
            state=torch.zeros_like(number),
            n_samples=n,
        )
        return self.network.describe(batch) @ self.weights + self.bias


def own_info(recording: Recording, sfreq: float) -> mne.Info:
    """Describe the good channels of a recording at the model's rate."""
    info = mne.pick_info(recording.inst.info, recording.picks, verbose="error")
    with info._unlock():
        info["sfreq"] = sfreq
        info["lowpass"] = min(info["lowpass"] or sfreq / 2, sfreq / 2)
    return info
