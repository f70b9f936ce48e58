"""Recordings and their rows, the form that everything else works with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from mne import Info, pick_types

from .checks import unit_scale


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
        Channels that are flat, or far stronger than their neighbours, in these rows;
        `info` counts them as bad.
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
        times are wrong, and nothing tells.
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
