"""Finding participants that are there twice, whole or in part."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..inputs import Recording, Recordings
from ..inputs._reading import read_rows

# a row is known by its steepest moment in each span of so many seconds
_SPAN = 1.0
# by the channels that change most then, and the course of the first of them
_N_NAMES, _N_COURSES = 8, 4
_AROUND = 25  # samples on either side
# correlation of the courses: copies differ by rounding alone
_SAME = 0.9999


def check_duplicates(recordings: Recordings, groups: NDArray[np.int_]) -> None:
    """Refuse participants that are there twice under different names.

    One of them in training and the other in a test would make any result look good.
    Two elements are the same participant if a recording of both has the same data in
    its first row, or any moment in common: so copies are found that lack some epochs or
    channels, are cropped, saved once more, in another unit, or have another baseline;
    not those that were filtered or resampled.

    Parameters
    ----------
    recordings : Recordings
        The recordings of all elements.
    groups : ndarray of int, shape (n_elements,)
        Numbers of the participants.

    Raises
    ------
    ValueError
        If elements of different groups share a recording.
    """
    wholes: dict[bytes, int] = {}
    moments: dict[tuple[str, ...], list[tuple[int, NDArray]]] = {}
    for recording in recordings:
        element = int(recordings.elements[recording.index[0]])
        first = recording.select(np.array([0]), recording.index[:1])
        for _, pieces in read_rows(first):
            key = np.ascontiguousarray(pieces[0].own).tobytes()
        _compare(wholes.setdefault(key, element), element, groups)
        found = list(_moments(recording))
        for names, courses in found:
            for other, known in moments.get(names, ()):
                if abs(np.vdot(known, courses)) > _SAME:
                    _compare(other, element, groups)
        # not its own: a state may be there twice
        for names, courses in found:
            moments.setdefault(names, []).append((element, courses))


def _moments(recording: Recording) -> Iterator[tuple[tuple[str, ...], NDArray]]:
    """Give the steepest moments of the rows: names of channels, and their courses."""
    names, span = np.array(recording.ch_names), max(round(_SPAN * recording.sfreq), 1)
    for _, pieces in read_rows(recording):
        for piece in pieces:
            # of neither baseline nor offset
            steps = np.diff(piece.own)
            power = np.square(steps / (np.abs(steps).max() or 1.0)).sum(0)
            for start in range(0, len(power), span):
                at = start + int(power[start : start + span].argmax())
                if power[at] == 0 or not _AROUND <= at < len(power) - _AROUND:
                    continue
                order = np.argsort(-np.abs(steps[:, at]), kind="stable")[:_N_NAMES]
                courses = steps[order[:_N_COURSES], at - _AROUND : at + _AROUND + 1]
                courses = courses / np.linalg.norm(courses)
                yield tuple(names[order].tolist()), courses.astype(np.float32)


def _compare(one: int, other: int, groups: NDArray[np.int_]) -> None:
    if one != other and groups[one] != groups[other]:
        raise ValueError(
            "Expected each participant once, got the same recording, or parts of it, "
            f"in elements {one} and {other} of X; leave one of them out, or give both "
            "the same group."
        )
