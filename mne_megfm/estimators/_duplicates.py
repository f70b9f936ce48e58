"""Finding participants that are there twice, whole or in part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from zlib import crc32

import numpy as np
from mne import channel_type
from numpy.typing import NDArray

from ..inputs import Recording, Recordings
from ..inputs._reading import read_rows

# a group of channels is known by its steepest moment in each span of so many seconds
_SPAN = 0.25
# and by its course so many seconds, and about so many samples, before and after
_AROUND, _N_AROUND = 0.05, 8
# groups of one kind of channel that are looked at, and about how many are in each
_N_GROUPS, _GROUP = 2, 8
_FEWEST = 4
# channels that changed most, in order: what is looked up
_N_NAMES = 6
# correlation of courses: copies differ by rounding alone
_SAME = 0.9999
# moments in common from which on it is no chance
_ENOUGH = 2


def check_duplicates(
    recordings: Recordings,
    groups: NDArray[np.int_],
    positions: Sequence[int] | None = None,
) -> None:
    """Refuse participants that are there twice under different names.

    One of them in training and the other in a test would make any result look good.
    Two elements are the same participant if a recording of both has the same data in
    its first row, or some moments in common. So copies are found that were saved once
    more, in another unit or with another baseline, and as a rule those that lack
    epochs, a few channels, all of one kind, or what was cropped. Those that were
    filtered or resampled are not, nor parts of recordings with fewer than four channels
    of a kind.

    Parameters
    ----------
    recordings : Recordings
        The recordings of all elements.
    groups : ndarray of int, shape (n_elements,)
        Numbers of the participants.
    positions : sequence of int, optional
        Where the elements are in the user's list; in that order by default.

    Raises
    ------
    ValueError
        If elements of different groups share a recording.
    """
    wholes: dict[bytes, int] = {}
    # by channels and shape: elements, and courses of theirs
    moments: dict[tuple, list[tuple[int, NDArray]]] = {}
    for recording in recordings:
        element = int(recordings.elements[recording.index[0]])
        first = recording.select(np.array([0]), recording.index[:1])
        for _, pieces in read_rows(first):
            key = np.ascontiguousarray(pieces[0].own).tobytes()
        shared: dict[int, set] = {}
        places: dict[tuple, list[tuple[int, int]]] = {}
        courses: dict[tuple, list[NDArray]] = {}
        for names, place, course in _moments(recording):
            places.setdefault((names, course.shape), []).append(place)
            courses.setdefault((names, course.shape), []).append(course.ravel())
        # not with its own: a state may be there twice
        own = {kind: np.stack(found) for kind, found in courses.items()}
        for kind, found in own.items():
            for other, known in moments.get(kind, ()):
                same = np.abs(_correlations(found, known)).max(1) > _SAME
                for number in np.flatnonzero(same):
                    shared.setdefault(other, set()).add(places[kind][number])
        for kind, found in own.items():
            moments.setdefault(kind, []).append((element, found))
        needed = min(_ENOUGH, len(set().union(*places.values())))
        copies = [other for other, alike in shared.items() if len(alike) >= needed]
        for other in (wholes.setdefault(key, element), *copies):
            if groups[other] != groups[element]:
                where = range(len(groups)) if positions is None else positions
                raise ValueError(
                    "Expected each participant once, got the same recording, or parts "
                    f"of it, in elements {where[other]} and {where[element]} of X; "
                    "leave one of them out, or give both the same group."
                )


def _correlations(some: NDArray, others: NDArray) -> NDArray[np.float32]:
    """Correlate courses in rows with others."""
    some, others = (rows.astype("f4") for rows in (some, others))
    some, others = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (some, others)
    )
    return some @ others.T


def _channel_groups(recording: Recording) -> list[NDArray[np.int_]]:
    """Give some groups of channels, which stay the same where others are missing."""
    kinds: dict[str, list[int]] = {}
    # by name: a copy may have them in another order
    for pick in sorted(recording.picks, key=recording.inst.ch_names.__getitem__):
        kinds.setdefault(channel_type(recording.inst.info, pick), []).append(int(pick))
    out = []
    for picks in kinds.values():
        # a power of two, which a few channels more or less seldom change
        n_groups = 2 ** max(int(np.log2(len(picks) / _GROUP + 1e-9)), 0)
        which = [crc32(recording.inst.ch_names[p].encode()) % n_groups for p in picks]
        chosen = [
            np.array(picks)[np.equal(which, group)]
            for group in range(min(n_groups, _N_GROUPS))
        ]
        out += [picks for picks in chosen if len(picks) >= _FEWEST]
    return out


def _moments(
    recording: Recording,
) -> Iterator[tuple[tuple[str, ...], tuple[int, int], NDArray]]:
    """Give moments: names of channels, row and second, courses of their group."""
    for picks in _channel_groups(recording):
        names = np.array(recording.inst.ch_names)[picks]
        for positions, pieces in read_rows(recording, picks=picks):
            for row, piece in zip(positions.tolist(), pieces, strict=True):
                for seconds, order, course in _steepest(piece.own, recording.sfreq):
                    yield tuple(names[order].tolist()), (row, int(seconds)), course


def _steepest(
    values: NDArray, sfreq: float
) -> Iterator[tuple[float, NDArray[np.intp], NDArray]]:
    """Give when channels change most, which of them most, and their courses."""
    span = max(round(_SPAN * sfreq), 1)
    around = max(round(_AROUND * sfreq), 4)
    thinned = max(around // _N_AROUND, 1)
    # of neither baseline nor offset
    steps = np.diff(values)
    steps = steps / (np.abs(steps).max() or 1.0)
    power, last = np.square(steps).sum(0), steps.shape[1] - around
    for start in range(around, last, span):
        at = start + int(power[start : min(start + span, last)].argmax())
        course = steps[:, at - around : at + around + 1]
        size = np.linalg.norm(course)
        # nothing, or a jump, which looks the same in everybody
        if size == 0 or power[at] > 0.5 * size**2:
            continue
        order = np.argsort(-np.abs(steps[:, at]), kind="stable")[:_N_NAMES]
        # many are kept: in a few bytes, the moment itself among them
        course = (course[:, around % thinned :: thinned] / size).astype("f2")
        yield at / sfreq, order, course
