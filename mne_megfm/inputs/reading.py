"""Recordings, their rows, and how these are read from MNE objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from mne import BaseEpochs, Evoked, Info, pick_types
from mne.io import BaseRaw
from mne.utils import warn

from ..utils.logs import verbose
from .checks import (
    band_rms,
    check_channels,
    check_drifts,
    check_duration,
    check_rows,
    check_units,
    drift_rms,
    report_left_out,
    rms_about_line,
    unit_scale,
)


# -- recordings ------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Recording:
    """Rows of one MNE object.

    Attributes
    ----------
    inst : instance of Epochs, Raw or Evoked
        The object, never copied.
    kind : {"epochs", "raw", "evoked"}
        What it is.
    rows : ndarray of int, shape (n_rows,)
        Indices of epochs, or first samples of the windows of a Raw (counted from
        its first sample, not from ``first_samp``), or 0 for an Evoked.
    n_samples : int
        Samples of a row, at the recording's own sampling rate.
    index : ndarray of int, shape (n_rows,)
        Positions of these rows among all rows of the input.
    state : str | None
        Name of the state, where the user gave one; otherwise each row has its own,
        see `states`.
    left_out : tuple of str
        Channels that are flat, or far stronger or weaker than their neighbours, in
        these rows; `info` counts them as bad.
    spans : ndarray of int, shape (n_spans, 2)
        First sample and end of the BAD spans of a Raw that rows keep clear of.
    """

    inst: Any
    kind: str
    rows: np.ndarray
    n_samples: int
    index: np.ndarray
    state: str | None = None
    left_out: tuple[str, ...] = ()
    spans: np.ndarray = field(default_factory=lambda: np.empty((0, 2), int))

    def __repr__(self) -> str:
        return (
            f"<Recording | {self.kind}, {len(self.rows)} rows of {self.n_samples} "
            f"samples at {self.sfreq:g} Hz>"
        )

    @property
    def sfreq(self) -> float:
        """Sampling rate of the recording, in Hz."""
        return float(self.inst.info["sfreq"])

    @property
    def tmin(self) -> float:
        """Time of a row's first sample, in seconds; 0 for a Raw."""
        return 0.0 if self.kind == "raw" else float(self.inst.times[0])

    @property
    def event_times(self) -> np.ndarray | None:
        """Times of the events of epochs, in s, shape (n_rows,); None for other rows.

        MNE counts ``events`` in samples of the rate at which epochs were cut, also
        after `mne.Epochs.resample` and `mne.Epochs.decimate`. Where epochs cut at
        different rates were joined, MNE keeps the first rate alone and warns: those
        times are wrong, without an error.
        """
        if self.kind != "epochs":
            return None
        # an array of one for epochs that were read from a file
        cut_at = float(np.ravel(self.inst._raw_sfreq)[0])
        return self.inst.events[self.rows, 0] / cut_at

    @cached_property
    def info(self) -> Info:
        """Measurement info, in which channels left out count as bad."""
        if not self.left_out:
            return self.inst.info
        info = self.inst.info.copy()
        new = [name for name in self.left_out if name not in info["bads"]]
        info["bads"] = info["bads"] + new
        return info

    @cached_property
    def picks(self) -> np.ndarray:
        """Indices of the good MEG channels, without reference channels."""
        return pick_types(self.info, meg=True, ref_meg=False, exclude="bads")

    @cached_property
    def scale(self) -> np.ndarray:
        """Factor that makes every good channel comparable in T, shape (n_picks,)."""
        return unit_scale(self.info, self.picks)

    @cached_property
    def ch_names(self) -> list[str]:
        """Names of the good MEG channels, in the order of `picks`."""
        return [self.inst.ch_names[pick] for pick in self.picks]

    @cached_property
    def states(self) -> np.ndarray:
        """Name of the state of every row.

        The name given by the user (key of a dict), else the event name of an
        epoch, the comment of an Evoked, or ``"rest"`` for a Raw.
        """
        n_rows = len(self.rows)
        if self.state is not None:
            return np.full(n_rows, self.state, dtype=object)
        if self.kind == "raw":
            return np.full(n_rows, "rest", dtype=object)
        if self.kind == "evoked":
            return np.full(n_rows, self.inst.comment or "evoked", dtype=object)
        # Of several names with one code the first stands, as in a forward look-up.
        names = {code: name for name, code in reversed(self.inst.event_id.items())}
        codes = self.inst.events[self.rows, 2]
        return np.array([names.get(c, str(c)) for c in codes], dtype=object)

    def select(self, positions: np.ndarray, index: np.ndarray) -> Recording:
        """Take some of the rows, in the order given.

        Parameters
        ----------
        positions : ndarray of int, shape (n,)
            Which of `rows` to take.
        index : ndarray of int, shape (n,)
            Their positions among all rows.

        Returns
        -------
        recording : Recording
            The same object with these rows.
        """
        return replace(self, rows=self.rows[positions], index=index)

    def alone(self) -> Recordings:
        """Give this recording as if it were all that is given.

        Returns
        -------
        alone : Recordings
            The same rows, numbered from 0.
        """
        return Recordings([self], np.zeros(len(self.rows), int), 1, False).alone()


class Recordings(Sequence):
    """Recordings with a common numbering of their rows.

    A sequence of `Recording`. Made by `as_recordings`.

    Parameters
    ----------
    recordings : list of Recording
        The recordings; their ``index`` together count the rows.
    elements : ndarray of int, shape (n_rows,)
        Element of the input list that each row belongs to.
    n_elements : int
        Number of elements; 1 where the input was no list.
    is_list : bool
        Whether the input was a list.

    Attributes
    ----------
    n_rows : int
        Number of rows of all recordings.
    elements : ndarray of int, shape (n_rows,)
        Element of the input list that each row belongs to.
    states : ndarray of str, shape (n_rows,)
        Name of the state of each row.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        elements: np.ndarray,
        n_elements: int,
        is_list: bool,
    ) -> None:
        self._recordings = tuple(recordings)
        # names of channels left out that a message has named already
        self.reported: set[str] = set()
        self.elements = elements
        self.n_elements = n_elements
        self.is_list = is_list

    def __len__(self) -> int:
        return len(self._recordings)

    def __getitem__(self, item):
        return self._recordings[item]

    def __iter__(self) -> Iterator[Recording]:
        return iter(self._recordings)

    def __repr__(self) -> str:
        return (
            f"<Recordings | {len(self)} recordings, {self.n_rows} rows, "
            f"{self.n_elements} elements>"
        )

    @property
    def n_rows(self) -> int:
        """Number of rows of all recordings."""
        return len(self.elements)

    @property
    def rows_per_element(self) -> np.ndarray:
        """Number of rows of each element of the input, shape (n_elements,)."""
        return np.bincount(self.elements, minlength=self.n_elements)

    def split_elements(self) -> Iterator[Recordings]:
        """Give the recordings of each element of the list, in its order.

        Yields
        ------
        element : Recordings
            Its recordings, whose rows keep their numbers.
        """
        groups: list[list[Recording]] = [[] for _ in range(self.n_elements)]
        for recording in self:
            groups[self.elements[recording.index[0]]].append(recording)
        for group in groups:
            yield Recordings(group, self.elements, 1, self.is_list)

    def alone(self) -> Recordings:
        """Give the recordings as if they were all that is given.

        Returns
        -------
        alone : Recordings
            The same recordings as one element, with rows numbered from 0.
        """
        parts, first = [], 0
        for recording in self:
            every = np.arange(len(recording.rows))
            parts.append(recording.select(every, first + every))
            first += len(every)
        return Recordings(parts, np.zeros(first, int), 1, self.is_list)

    @cached_property
    def states(self) -> np.ndarray:
        """Name of the state of each row, shape (n_rows,)."""
        states = np.empty(self.n_rows, dtype=object)
        for recording in self:
            states[recording.index] = recording.states
        return states.astype(str)


# -- reading ---------------------------------------------------------------------------
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
    if is_single(X):
        parts = _parts(X, "X", None, settings)
        return [(0, part) for part in parts], 1, False
    elements = as_list(X)
    if elements is None:
        raise TypeError(wrong_type(X, "X"))
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


def is_single(x: Any) -> bool:
    """Tell whether something is one object of MNE, or a view of some."""
    return isinstance(x, BaseRaw | BaseEpochs | Evoked) or hasattr(x, "_as_parts")


def as_list(x: Any) -> list | None:
    """Give the elements of a list, tuple or array of objects; None of anything else."""
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
    if is_single(x):
        return _parts(x, where, None, settings)
    if isinstance(x, Mapping):
        inner = [
            (str(state), one)
            for state, value in x.items()
            for one in (value if isinstance(value, list | tuple) else [value])
        ]
    else:
        inner = [(None, value) for value in as_list(x) or ()]
        if not inner and as_list(x) is None:
            raise TypeError(wrong_type(x, where))
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
    if not is_single(x):
        raise TypeError(wrong_type(x, where))
    parts = x._as_parts()  # a MEGSamples, which knows its windows
    if not parts:
        raise ValueError(
            f"Expected at least one row in {where}, got a MEGSamples without rows; "
            "leave it out."
        )
    return parts if state is None else [replace(part, state=state) for part in parts]


def wrong_type(x: Any, where: str) -> str:
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
        If single channels are far stronger or weaker than their neighbours
        throughout (they are left out of the rows where they are; those of a few rows
        are logged), if signals are weaker than any sensor's noise, if magnetometers and
        planar gradiometers do not fit together, or if drifts within rows are more than
        five times as strong as signals from 3 to 45 Hz.

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
        _check_once(recording, collected.reported)
    return collected


#: From recordings that were checked to the object and to what was reported of it.
_checked: ContextVar[dict[tuple, tuple[Any, set[str]]] | None] = ContextVar(
    "_checked", default=None
)


@contextmanager
def checked_once() -> Iterator[None]:
    """Within this block, a recording that is read again is not checked again.

    The recordings must not change meanwhile; what was kept is dropped at the end.

    Examples
    --------
    >>> from mne_megfm.inputs import as_recordings, checked_once
    >>> from mne_megfm.simulation import simulate_cohort
    >>> cohort = simulate_cohort(1, states=("rest",), n_epochs=2, random_state=0)
    >>> with checked_once():
    ...     as_recordings(cohort.epochs("rest"))
    ...     as_recordings(cohort.epochs("rest"))  # takes no time
    <Recordings | 1 recordings, 2 rows, 1 elements>
    <Recordings | 1 recordings, 2 rows, 1 elements>
    """
    if _checked.get() is not None:  # within such a block already
        yield
        return
    token = _checked.set({})
    try:
        yield
    finally:
        _checked.reset(token)


def _check_once(recording: Recording, reported: set[str]) -> None:
    """Check some rows, unless that was done in this block."""
    known = _checked.get()
    # the object is kept beside its id, which another one could get after it
    key = (id(recording.inst), recording.n_samples, recording.rows.tobytes())
    if known is not None and key in known:
        reported.update(known[key][1])
        return
    own = set(reported)
    _check_some_rows(recording, own)
    if known is not None:
        known[key] = (recording.inst, own - reported)
    reported.update(own)


def _check_some_rows(recording: Recording, reported: set[str], n_rows: int = 4) -> None:
    """Refuse data that are not MEG before any work is done on them."""
    n_rows = min(n_rows, len(recording.rows))
    some = np.linspace(0, len(recording.rows) - 1, n_rows).round().astype(int)
    head = recording.select(some, recording.index[some])
    left_out, total, rms, drift = [], [], [], []
    for positions, pieces in read_rows(head):
        for where, piece in zip(positions, pieces, strict=True):
            left_out.append(check_rows(piece.own, head, head.index[where]))
            flat = left_out[-1][0]
            for values, found in (
                (total, rms_about_line(piece.own)),
                (rms, band_rms(piece.own, head.sfreq)),
                (drift, drift_rms(piece.own)),
            ):
                values.append(np.where(flat, np.nan, found))
    flat, far = np.swapaxes(left_out, 0, 1)
    throughout = far.mean(0) >= 0.5
    report_left_out(head, flat.any(0), throughout, reported, throughout=True)
    report_left_out(head, flat.any(0), far.any(0), reported)
    rms = np.array(rms)
    for message in (
        check_units(np.array(total), rms, head),
        check_drifts(np.array(drift), rms, head),
    ):
        if message:
            warn(message)
