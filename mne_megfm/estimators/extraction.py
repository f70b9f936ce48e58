"""Windows of recordings to tokens: the sensor mapping, then the encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..inputs import Recordings, WindowBlock, centre_windows, iter_windows
from ..models import Backbone, BackboneConfig, WindowArray, valid_patches


class RowTokens(NamedTuple):
    """Tokens of rows of equal length."""

    row: np.ndarray  # (n,)
    tokens: Tensor  # (n, n_regions, n_patches, d_model), centred
    recorded: Tensor  # (n, n_patches), bool


def window_blocks(
    recordings: Recordings,
    sensor_mapping: Callable,
    config: BackboneConfig,
    batch_size: int,
    centre_rows: bool = True,
) -> Iterator[WindowBlock]:
    """Stream the windows that a model of this configuration takes.

    Rows are without their mean: an offset of the recording is no signal. Where parts
    of a row are to be hidden, its mean would reveal the mean of what is hidden: then
    ``centre_rows=False``.
    """
    return iter_windows(
        recordings,
        sensor_mapping,
        sfreq=config.sfreq,
        n_times=config.n_times,
        patch=config.patch_length,
        # half a window: each patch of a long row is seen with context on both sides
        overlap=config.n_patches // 2,
        batch_size=batch_size,
        centre_rows=centre_rows,
    )


def gather_windows(
    recordings: Recordings,
    sensor_mapping: Callable,
    config: BackboneConfig,
    batch_size: int = 64,
) -> WindowArray:
    """Read all windows into memory (192 kB each), to train on or to score.

    They are without the mean over their recording, as those of a window store are.
    """
    blocks = list(
        window_blocks(recordings, sensor_mapping, config, batch_size, centre_rows=False)
    )
    row = np.concatenate([block.row for block in blocks])
    data = np.concatenate([block.data for block in blocks])
    n_valid = np.concatenate([block.n_valid for block in blocks])
    for recording in recordings:
        if len(recording.rows) > 1:  # the mean of a single row reveals what is hidden
            mine = np.isin(row, recording.index)
            centre_windows(data, n_valid, mine)
    # what may not be split between training and validation: a list element
    # (a participant), or else a row
    group = recordings.elements if recordings.is_list else np.arange(recordings.n_rows)
    start = np.concatenate([block.start for block in blocks])
    return WindowArray(
        data,
        unit=1.0,
        n_valid=n_valid,
        recording=group[row],
        participant=group[row].astype(str) if recordings.is_list else None,
        start=start * config.patch_length / config.sfreq,
    )


def iter_row_tokens(
    recordings: Recordings,
    sensor_mapping: Callable,
    model: Backbone,
    *,
    batch_size: int,
) -> Iterator[RowTokens]:
    """Encode rows; the windows of a long row are joined on its patches.

    Where windows of a row overlap, their tokens are averaged.
    """
    config = model.config
    device = next(model.parameters()).device
    held: tuple | None = None
    for block in window_blocks(recordings, sensor_mapping, config, batch_size):
        n_valid = torch.as_tensor(block.n_valid, device=device)
        data = torch.from_numpy(block.data).to(device)
        valid = None if bool((n_valid == config.n_times).all()) else n_valid
        with torch.inference_mode():
            tokens = model.encode(data, valid).float() - model.token_mean
        recorded = valid_patches(n_valid, config)
        tokens = tokens * recorded[:, None, :, None]
        part = (block.row, block.start, tokens.cpu(), recorded.cpu())
        if held is not None:
            part = (
                np.concatenate([held[0], part[0]]),
                np.concatenate([held[1], part[1]]),
                torch.cat([held[2], part[2]]),
                torch.cat([held[3], part[3]]),
            )
        # a row ends where the next begins; the last may go on in the next block
        firsts = np.flatnonzero(part[1] == 0)
        yield from _join(part, firsts)
        held = tuple(column[firsts[-1] :] for column in part)
    if held is not None:
        yield from _join(held, np.array([0, len(held[0])]))


@dataclass(frozen=True)
class PooledRows:
    """The encoder and the pooling of rows, as aggregators use them.

    Attributes
    ----------
    model : Backbone
        The window encoder.
    pooling : Pooling
        How tokens become features.
    sensor_mapping : callable
        How recordings reach its array.
    batch_size : int
        Windows at a time.
    """

    model: Backbone
    pooling: nn.Module
    sensor_mapping: Callable
    batch_size: int

    def features(
        self, recordings: Recordings
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Encode and pool rows; gives their numbers and features, a few at a time."""
        device = self.model.kernel.device
        for row, tokens, recorded in iter_row_tokens(
            recordings,
            self.sensor_mapping,
            self.model,
            batch_size=self.batch_size,
        ):
            with torch.inference_mode():
                pooled = self.pooling(
                    tokens.to(device), recorded.to(device), self.model
                )
            yield row, pooled.cpu().numpy()

    def names(self, n_patches: int) -> list[str]:
        """Name the features of rows of so many patches."""
        config = self.model.config
        seconds = config.patch_length / config.sfreq
        return self.pooling.names(config.n_regions, n_patches, config.d_model, seconds)


def _join(part: tuple, firsts: np.ndarray) -> Iterator[RowTokens]:
    """Join the windows of the rows that begin at ``firsts``, but for the last."""
    row, start, tokens, recorded = part
    lengths = np.diff(firsts)
    if not len(lengths):
        return
    if (lengths == 1).all():
        at = firsts[:-1]
        yield RowTokens(row[at], tokens[at], recorded[at])
        return
    for first, length in zip(firsts[:-1], lengths, strict=True):
        span = slice(first, first + length)
        n, step = int(start[span].max()) + tokens.shape[2], tokens.shape[2]
        total = torch.zeros(tokens.shape[1], n, tokens.shape[3])
        count = torch.zeros(n)
        for offset, window, inside in zip(
            start[span], tokens[span], recorded[span], strict=True
        ):
            total[:, offset : offset + step] += window
            count[offset : offset + step] += inside
        joined = total / count.clamp(min=1)[:, None]
        yield RowTokens(row[[first]], joined[None], (count > 0)[None])
