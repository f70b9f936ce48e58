"""Reading rows in blocks of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from mne.io import BaseRaw

    from ._recordings import Recording

# Bytes of float64 that one read may bring into memory. Large enough that the cost
# of a call is nothing beside it, small enough that a few copies do not matter.
_BLOCK_BYTES = 2**26


class Piece(NamedTuple):
    """A row, with the samples around it that the recording has.

    Attributes
    ----------
    data : ndarray, shape (n_channels, n_samples)
        Row and context.
    offset : int
        First sample of the row.
    n_samples : int
        Length of the row.
    """

    data: np.ndarray
    offset: int
    n_samples: int

    @property
    def own(self) -> np.ndarray:
        """The row alone."""
        return self.data[:, self.offset : self.offset + self.n_samples]


def raw_windows(
    raw: BaseRaw, window: float, overlap: float, reject_by_annotation: bool
) -> tuple[np.ndarray, int, np.ndarray]:
    """Cut a Raw into rows.

    Returns first samples, length in samples, and the BAD spans, as first sample
    and end, shape (n_spans, 2).
    """
    sfreq = raw.info["sfreq"]
    n_samples = min(max(round(window * sfreq), 1), raw.n_times)
    hop = (window - overlap) * sfreq
    # Each start is rounded by itself, so that rounding does not add up to a drift. The
    # last window may end half a sample late, which is rounding too, and is moved.
    last = raw.n_times - n_samples
    exact = np.arange(int(last / hop) + 2) * hop
    exact = exact[exact <= max(raw.n_times - window * sfreq + 0.5, 0)]
    starts = np.minimum(np.round(exact).astype(int), last)
    spans = _bad_spans(raw) if reject_by_annotation else np.empty((0, 2), int)
    for onset, end in spans:
        # The end is no part of a span, and a span of no length (the boundary that
        # mne.concatenate_raws marks) lies before its sample.
        starts = starts[(starts >= end) | (starts + n_samples <= onset)]
    return starts, n_samples, spans


def _bad_spans(raw: BaseRaw) -> np.ndarray:
    """First sample and end of every span annotated as bad."""
    spans = []
    for annotation in raw.annotations:
        if annotation["description"].lower().startswith("bad"):
            onset = (annotation["onset"] - raw.first_time) * raw.info["sfreq"]
            end = onset + annotation["duration"] * raw.info["sfreq"]
            # A millionth of a sample is rounding of seconds, not a further sample.
            first, stop = int(np.round(onset)), int(np.ceil(end - 1e-6))
            spans.append(np.clip((first, stop), 0, raw.n_times))
    return np.array(spans, int).reshape(-1, 2)


def read_rows(
    recording: Recording, *, context: int = 0, picks: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, list[Piece]]]:
    """Read all rows, block by block.

    Parameters
    ----------
    recording : Recording
        The recording.
    context : int
        Samples wanted on either side of a row. Only a Raw has any, and none beyond
        its ends or in a span marked as bad.
    picks : ndarray of int | None
        Channels to read; None for the good MEG channels.

    Yields
    ------
    positions : ndarray of int, shape (n,)
        Which of ``recording.rows`` these are.
    pieces : list of Piece
        The rows; their data are only valid until the next block is read.
    """
    picks = recording.picks if picks is None else picks
    if recording.kind == "evoked":
        data = recording.inst.data[picks]
        for position in range(len(recording.rows)):
            yield np.array([position]), [Piece(data, 0, recording.n_samples)]
    elif recording.kind == "epochs":
        yield from _read_epochs(recording, picks)
    else:
        yield from _read_raw(recording, picks, context)


def _read_epochs(
    recording: Recording, picks: np.ndarray
) -> Iterator[tuple[np.ndarray, list[Piece]]]:
    n_channels, n_samples = len(picks), recording.n_samples
    step = max(_BLOCK_BYTES // (8 * n_channels * n_samples), 1)
    for first in range(0, len(recording.rows), step):
        rows = recording.rows[first : first + step]
        if len(rows) > 1 and np.all(np.diff(rows) == 1):
            rows = slice(rows[0], rows[-1] + 1)  # MNE takes a view of these
        data = recording.inst.get_data(
            picks=picks, item=rows, copy=False, verbose="ERROR"
        )
        positions = np.arange(first, first + len(data))
        yield positions, [Piece(epoch, 0, n_samples) for epoch in data]


def _read_raw(
    recording: Recording, picks: np.ndarray, context: int
) -> Iterator[tuple[np.ndarray, list[Piece]]]:
    raw, n_samples = recording.inst, recording.n_samples
    begin = recording.rows
    end = begin + n_samples
    # Context stops at the ends of the recording and at BAD spans, whose artefacts
    # and jumps would ring into the row.
    lows = np.sort(np.r_[0, recording.spans[:, 1]])
    highs = np.sort(np.r_[recording.spans[:, 0], raw.n_times])
    low = lows[np.searchsorted(lows, begin, side="right") - 1]
    high = highs[np.searchsorted(highs, end)]
    low = np.maximum(low, begin - context)
    high = np.minimum(high, end + context)

    limit = max(_BLOCK_BYTES // (8 * len(picks)), 1)
    first = 0
    while first < len(begin):
        # Rows in order (so that both of their bounds are, too) and close together are
        # read in one go.
        stop, wanted = first + 1, high[first] - low[first]
        while stop < len(begin) and begin[stop] >= begin[stop - 1]:
            span = high[stop] - low[first]
            wanted += high[stop] - low[stop]
            if span > limit or span > 2 * wanted:
                break
            stop += 1
        start = low[first]
        data = raw.get_data(
            picks=picks,
            start=int(start),
            stop=int(high[stop - 1]),
            verbose="ERROR",
        )
        yield (
            np.arange(first, stop),
            [
                Piece(
                    data[:, low[i] - start : high[i] - start],
                    int(begin[i] - low[i]),
                    n_samples,
                )
                for i in range(first, stop)
            ],
        )
        first = stop
