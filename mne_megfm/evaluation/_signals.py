"""Recordings to arrays of trials, each recording mapped and resampled once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..estimators import CanonicalFrontend
from ..inputs import Recording, Recordings, iter_windows, rate_ratio

SFREQ = 250.0
# Rows are cut like those of the model: an end point of MNE's epochs is left out.
_PATCH = 25

_shared: ContextVar[dict | None] = ContextVar("shared trials", default=None)


class Trials(NamedTuple):
    """Rows of one state of one participant, in the order of recording."""

    data: NDArray[np.float32]  # (n_trials, n_channels, n_times)
    tmin: float  # time of the first sample, s; 0 where nothing is time-locked
    locked: bool  # whether the rows follow an event


class OwnSensors:
    """Keep a recording on its own MEG channels.

    Bad and flat channels are filled in from the canonical array, so that recordings
    of one system have the same channels.
    """

    def __init__(self) -> None:
        self.frontend = CanonicalFrontend()

    def __call__(self, recording: Recording) -> tuple[np.ndarray, list[str]]:
        """Give the matrix to all MEG channels and the good channels it takes."""
        mapping = self.frontend.mapping(recording)
        matrix = mapping.from_canonical @ mapping.to_canonical
        names = list(mapping.ch_names)
        all_names = list(mapping.all_ch_names)
        matrix[[all_names.index(name) for name in names]] = np.eye(len(names))
        return matrix, names


PROJECTIONS = {"canonical": CanonicalFrontend(), "sensors": OwnSensors()}


@contextmanager
def shared_trials() -> Iterator[None]:
    """Within this block, a recording that is asked for again is not mapped again.

    The recordings must not change meanwhile; what was kept is dropped at the end.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def trials_by_state(
    recordings: Recordings, space: str = "canonical"
) -> list[dict[str, Trials]]:
    """Map each participant's recordings and sort the rows by state.

    Parameters
    ----------
    recordings : Recordings
        Participants as elements.
    space : {"canonical", "sensors"}
        On which channels.

    Returns
    -------
    participants : list of dict
        For each participant its states. A Raw, and any state named rest, is not
        time-locked.

    Raises
    ------
    ValueError
        If a state of a participant has rows of different lengths.
    """
    participants: list[dict] = [{} for _ in range(recordings.n_elements)]
    for recording in recordings:
        data = _project(recording, space)
        states = recording.states.astype(str)
        found = participants[recordings.elements[recording.index[0]]]
        for state in dict.fromkeys(states.tolist()):
            locked = recording.kind != "raw" and state.lower() != "rest"
            part = Trials(data[states == state], recording.tmin, locked)
            if state in found:
                part = _append(found[state], part, state)
            found[state] = part
    return participants


def _append(first: Trials, second: Trials, state: str) -> Trials:
    """Put two recordings of a state together."""
    if first.data.shape[1:] != second.data.shape[1:]:
        raise ValueError(
            f"Expected rows of one length and array in state {state!r}, got channels x "
            f"samples {first.data.shape[1:]} and {second.data.shape[1:]} of one "
            "participant; crop them, or give the recordings states of their own."
        )
    return first._replace(data=np.concatenate([first.data, second.data]))


def _project(recording: Recording, space: str) -> NDArray[np.float32]:
    """Rows of a recording at 250 Hz, shape (n_rows, n_channels, n_times)."""
    kept = _shared.get()
    key = (id(recording.inst), space, recording.state, recording.rows.tobytes())
    if kept is not None and key in kept:
        return kept[key]
    up, down, _ = rate_ratio(recording.sfreq, SFREQ)
    n_patches = -(-recording.n_samples * up // (down * _PATCH))
    n_rows = len(recording.rows)
    single = recording.select(np.arange(n_rows), np.arange(n_rows))
    blocks = list(
        iter_windows(
            Recordings([single], np.zeros(n_rows, int), 1, False),
            PROJECTIONS[space],
            sfreq=SFREQ,
            n_times=n_patches * _PATCH,
            patch=_PATCH,
        )
    )
    n_valid = int(blocks[0].n_valid[0])
    data = np.concatenate([block.data[:, :, :n_valid] for block in blocks])
    if kept is not None:
        kept[key] = data
    return data
