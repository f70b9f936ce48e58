"""Reading rows from MNE objects, and gathering recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from mne import BaseEpochs, Evoked
from mne.io import BaseRaw
from mne.utils import verbose, warn

from ._recordings import Recording, Recordings
from .checks import (
    band_rms,
    check_channels,
    check_duration,
    check_rows,
    check_units,
    report_left_out,
    rms_about_line,
)

if TYPE_CHECKING:
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
    raw: BaseRaw, duration: float, overlap: float, reject_by_annotation: bool
) -> tuple[np.ndarray, int, np.ndarray]:
    """Cut a Raw into rows.

    Returns first samples, length in samples, and the BAD spans, as first sample
    and end, shape (n_spans, 2).
    """
    sfreq = raw.info["sfreq"]
    n_samples = min(max(round(duration * sfreq), 1), raw.n_times)
    hop = (duration - overlap) * sfreq
    # Each start is rounded by itself, so that rounding does not add up to a drift. The
    # last window may end half a sample late, which is rounding too, and is moved.
    last = raw.n_times - n_samples
    exact = np.arange(int(last / hop) + 2) * hop
    exact = exact[exact <= max(raw.n_times - duration * sfreq + 0.5, 0)]
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


_EXPECTED = (
    "Epochs, Raw, Evoked, MEGSamples or a list of these (an element may itself be "
    "a list, or a dict of state name to object or list of objects, for one "
    "participant)"
)


def as_recording(
    inst: Any,
    *,
    duration: float,
    overlap: float,
    reject_by_annotation: bool,
    state: str | None = None,
    where: str = "X",
) -> Recording:
    """One MNE object as a `Recording` of all its rows; data are not read."""
    check_channels(inst.info, where)
    spans = np.empty((0, 2), int)
    if isinstance(inst, BaseRaw):
        kind = "raw"
        rows, n_samples, spans = raw_windows(
            inst, duration, overlap, reject_by_annotation
        )
        empty = (
            "no window that is free of BAD annotations; check the annotations, "
            "shorten duration, or pass reject_by_annotation=False"
        )
    elif isinstance(inst, BaseEpochs):
        kind = "epochs"
        # MNE decides late which epochs to drop; their number is needed here. Like
        # Epochs.get_data this settles it in place.
        inst.drop_bad(verbose="ERROR")
        rows, n_samples = np.arange(len(inst)), len(inst.times)
        empty = "no epochs left; look at epochs.drop_log and leave it out"
    else:
        kind = "evoked"
        rows, n_samples, empty = np.zeros(1, int), len(inst.times), ""
    if len(rows) == 0:
        raise ValueError(
            f"Expected at least one row in {where}, got {inst!r} with {empty}."
        )
    index = np.arange(len(rows))
    return Recording(inst, kind, rows, n_samples, index, state, spans=spans)


def collect(X: Any, **settings: Any) -> tuple[list[tuple[int, Recording]], int, bool]:
    """Take the input apart into recordings, each with the number of its element.

    Returns the pairs, the number of elements and whether the input was a list.
    """
    if _is_single(X):
        parts = _parts(X, "X", None, settings)
        return [(0, part) for part in parts], 1, False
    elements = _as_list(X)
    if elements is None:
        raise TypeError(_wrong_type(X, "X"))
    if not elements:
        raise ValueError(
            f"Expected at least one row in X, got an empty list; pass {_EXPECTED}."
        )
    groups = [
        _element_parts(element, f"element {number} of X", settings)
        for number, element in enumerate(elements)
    ]
    numbers = [n for n, group in enumerate(groups) for _ in group]
    return list(zip(numbers, _stack(groups), strict=True)), len(elements), True


def _is_single(x: Any) -> bool:
    return isinstance(x, BaseRaw | BaseEpochs | Evoked) or hasattr(x, "_as_parts")


def _as_list(x: Any) -> list | None:
    if isinstance(x, np.ndarray):
        return x.tolist() if x.dtype == object and x.ndim == 1 else None
    return list(x) if isinstance(x, list | tuple) else None


def _stack(groups: Sequence[list[Recording]]) -> list[Recording]:
    """Count rows on from group to group, each of which starts at 0."""
    stacked, offset = [], 0
    for group in groups:
        stacked += [replace(part, index=part.index + offset) for part in group]
        offset += sum(len(part.rows) for part in group)
    return stacked


def _element_parts(x: Any, where: str, settings: dict) -> list[Recording]:
    """Take apart one element of a list: an object, or several of them."""
    if _is_single(x):
        return _parts(x, where, None, settings)
    if isinstance(x, Mapping):
        inner = [
            (str(state), one)
            for state, value in x.items()
            for one in (value if isinstance(value, list | tuple) else [value])
        ]
    else:
        inner = [(None, value) for value in _as_list(x) or ()]
        if not inner and _as_list(x) is None:
            raise TypeError(_wrong_type(x, where))
    if not inner:
        raise ValueError(
            f"Expected at least one recording in {where}, got an empty "
            f"{type(x).__name__}; leave the element out."
        )
    where = f"a recording of {where}"
    return _stack([_parts(value, where, state, settings) for state, value in inner])


def _parts(x: Any, where: str, state: str | None, settings: dict) -> list[Recording]:
    """Take apart one object: itself, or what a view stands on."""
    if isinstance(x, BaseRaw | BaseEpochs | Evoked):
        return [as_recording(x, state=state, where=where, **settings)]
    if not _is_single(x):
        raise TypeError(_wrong_type(x, where))
    parts = x._as_parts()  # a MEGSamples, which knows its windows
    if not parts:
        raise ValueError(
            f"Expected at least one row in {where}, got a MEGSamples without rows; "
            "leave it out."
        )
    return parts if state is None else [replace(part, state=state) for part in parts]


def _wrong_type(x: Any, where: str) -> str:
    """Say what was expected, what came, and how to get from there to here."""
    got, todo = f"a {type(x).__name__}", "see the documentation of as_recordings"
    if isinstance(x, np.ndarray):
        got = f"an array of shape {x.shape} and dtype {x.dtype}"
        todo = (
            "sensor positions are needed, so wrap the data as "
            "mne.EpochsArray(data, info) with the info of the recording"
        )
    elif isinstance(x, str) or hasattr(x, "__fspath__"):
        got = f"{str(x)!r}"
        todo = "read the file with mne.io.read_raw or mne.read_epochs"
    elif isinstance(x, Mapping):
        todo = "for one participant pass a list with the dict as its only element"
    elif x is None:
        got, todo = "None", "pass the recordings"
    return f"Expected {where} to be {_EXPECTED}, got {got}; {todo}."


@verbose
def as_recordings(
    X: Any,
    *,
    duration: float = 1.0,
    overlap: float = 0.0,
    reject_by_annotation: bool = True,
    verbose: bool | str | int | None = None,
) -> Recordings:
    """Bring MNE objects into one validated form.

    Parameters
    ----------
    X : Epochs | Raw | Evoked | MEGSamples | list | tuple | ndarray of object
        The recordings. An element of a list (or of a one-dimensional object array)
        may also be a list, or a dict from the name of a state to an object (or a
        list of objects: the runs of that state), for the recordings of one
        participant. A `Recordings` comes back as it is. Objects
        may be on disk (``preload=False``); Epochs whose bad epochs have not been
        dropped yet are settled in place, as `mne.Epochs.get_data` does.
    duration : float
        Length of a row of a Raw, in seconds. A Raw shorter than this is one
        shorter row; what is left over at the end of a longer one is not used.
    overlap : float
        Overlap of neighbouring rows of a Raw, in seconds.
    reject_by_annotation : bool
        Whether to leave out rows of a Raw that touch an annotation whose
        description begins with "bad" in any case.
    verbose : bool | str | int | None
        Verbosity, see `mne.verbose`.

    Returns
    -------
    recordings : Recordings
        The recordings, with a common numbering of their rows.

    Raises
    ------
    TypeError
        If ``X``, or an element of it, is none of the objects above.
    ValueError
        If a recording has no rows or no good MEG channel, or if some of its rows do
        not look like MEG in tesla (EEG relabelled, other units, z-scored values,
        NaN, all channels flat). The rest of the data is checked the same way when
        it is read, see `iter_windows`.

    Warns
    -----
    RuntimeWarning
        If single channels are more than five times as strong as their neighbours
        throughout (they are left out of the rows where they are; those of a few rows
        are logged), if signals are weaker than any
        sensor's noise, or if magnetometers and planar gradiometers do not fit together.

    Notes
    -----
    The windows and the rejection of a `MEGSamples` are its own; ``duration``,
    ``overlap`` and ``reject_by_annotation`` do not change them.

    Examples
    --------
    >>> import numpy as np, mne
    >>> from mne_megfm.inputs import as_recordings
    >>> info = mne.channels.read_meg_canonical_info("ctf151")
    >>> info = mne.pick_info(info, mne.pick_types(info, meg=True, ref_meg=False))
    >>> with info._unlock():
    ...     info["sfreq"] = 250.0
    >>> rng = np.random.default_rng(0)
    >>> data = 1e-13 * rng.standard_normal((3, len(info["ch_names"]), 100))
    >>> epochs = mne.EpochsArray(data, info, verbose=False)
    >>> as_recordings([epochs, epochs[:2]], verbose=False)
    <Recordings | 2 recordings, 5 rows, 2 elements>
    """
    if isinstance(X, Recordings):
        return X
    check_duration(duration, overlap)
    parts, n_elements, is_list = collect(
        X,
        duration=duration,
        overlap=overlap,
        reject_by_annotation=reject_by_annotation,
    )
    recordings = [part for _, part in parts]
    elements = np.empty(sum(len(part.rows) for part in recordings), int)
    for number, part in parts:
        elements[part.index] = number
    collected = Recordings(recordings, elements, n_elements, is_list)
    for recording in recordings:
        _check_some_rows(recording, collected.reported)
    return collected


def _check_some_rows(recording: Recording, reported: set[str], n_rows: int = 4) -> None:
    """Refuse data that are not MEG before any work is done on them."""
    n_rows = min(n_rows, len(recording.rows))
    some = np.linspace(0, len(recording.rows) - 1, n_rows).round().astype(int)
    head = recording.select(some, recording.index[some])
    left_out, total, rms = [], [], []
    for positions, pieces in read_rows(head):
        for where, piece in zip(positions, pieces, strict=True):
            left_out.append(check_rows(piece.own, head, head.index[where]))
            flat = left_out[-1][0]
            for values, found in (
                (total, rms_about_line(piece.own)),
                (rms, band_rms(piece.own, head.sfreq)),
            ):
                values.append(np.where(flat, np.nan, found))
    flat, far = np.swapaxes(left_out, 0, 1)
    throughout = far.mean(0) >= 0.5
    report_left_out(head, flat.any(0), throughout, reported, throughout=True)
    report_left_out(head, flat.any(0), far.any(0), reported)
    message = check_units(np.array(total), np.array(rms), head)
    if message:
        warn(message)
