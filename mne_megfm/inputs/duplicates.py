"""Finding participants that are there twice, completely or in part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
from mne import channel_type
from mne.utils import warn
from numpy.typing import NDArray

from .reading import Recording, Recordings, read_rows
from .windows import rate_ratio, resample_segment

# a group of channels is known by its steepest moment in each span of so many seconds
_SPAN = 0.25
# and by its course so many seconds, and about so many samples, before and after
_AROUND, _N_AROUND = 0.05, 8
# groups of one kind of channel that are looked at, and about how many are in each
_N_GROUPS, _GROUP = 2, 8
_FEWEST = 4
# channels that changed most, in order: what is looked up
_N_NAMES = 6
# correlation of courses: copies differ by rounding alone, ...
_SAME = 0.9999
# ... or, at different sampling rates, by filters; and that in so many moments
_SAME_RESAMPLED = 0.999
_SHARE = 0.3
# stimuli that follow each other more quickly (s) are none
_CLOSEST = 0.1
# moments in common from which on it is no chance
_ENOUGH = 2


class Copies(NamedTuple):
    """Two elements of a list that share a recording.

    Attributes
    ----------
    one, other : int
        Their positions.
    identical : bool
        Whether the first rows are the same to the last bit; otherwise moments of the
        signals are the same but for scale and rounding.
    """

    one: int
    other: int
    identical: bool


def find_copies(recordings: Recordings, groups: NDArray[np.int_]) -> list[Copies]:
    """Find participants that are there twice under different names.

    One of them in training and the other in a test would make any result look good.
    Two elements may be the same participant if a recording of both has the same data in
    its first row, or some moments in common. So copies are found that were saved once
    more, in another unit or with another baseline, and as a rule those that lack
    epochs, a few channels, all of one kind, or what was cropped, and those decimated or
    resampled by a whole number. Those that were filtered much, or resampled so that
    samples lie between those of the other, are not, nor parts of recordings with fewer
    than four channels of a kind. Moments are those of signals without the mains; what
    comes again in a recording (other interference of the room, stimulation) is no mark
    of it.

    Parameters
    ----------
    recordings : Recordings
        The recordings of all elements.
    groups : ndarray of int, shape (n_elements,)
        Numbers of the participants.

    Returns
    -------
    copies : list of Copies
        Pairs of elements of different groups.
    """
    found: dict[tuple[int, int], bool] = {}
    wholes: dict[bytes, int] = {}
    # by channels and shape: elements, and courses of theirs
    moments: dict[tuple, list[tuple[int, NDArray]]] = {}
    for recording in recordings:
        element = int(recordings.elements[recording.index[0]])
        first = recording.select(np.array([0]), recording.index[:1])
        for _, pieces in read_rows(first):
            key = np.ascontiguousarray(pieces[0].own).tobytes()
        shared: dict[int, set] = {}
        own = _own_moments(recording)
        for kind, (courses, places) in own.items():
            for other, known in moments.get(kind, ()):
                same = np.abs(_correlations(courses, known)).max(1) > _SAME
                for number in np.flatnonzero(same):
                    shared.setdefault(other, set()).add(places[number])
        # after that, since a state may be there twice
        for kind, (courses, _) in own.items():
            moments.setdefault(kind, []).append((element, courses))
        alike = [other for other, places in shared.items() if len(places) >= _ENOUGH]
        for other in (wholes.setdefault(key, element), *alike):
            if groups[other] != groups[element]:
                pair = (min(other, element), max(other, element))
                found[pair] = found.get(pair, False) or wholes[key] == other
    for pair in _resampled_copies(recordings, groups):
        found.setdefault(pair, False)
    return [Copies(*pair, identical) for pair, identical in sorted(found.items())]


def _resampled_copies(
    recordings: Recordings, groups: NDArray[np.int_]
) -> Iterator[tuple[int, int]]:
    """Find recordings that share many moments at the lowest of all sampling rates.

    Filters make these less alike than those of copies at one rate, so their share must
    be large, too.
    """
    rates = [recording.sfreq for recording in recordings]
    if max(rates) < 1.001 * min(rates):
        return
    # by channels and shape: recordings, and courses of theirs
    moments: dict[tuple, list[tuple[int, NDArray]]] = {}
    sizes: list[int] = []
    for number, recording in enumerate(recordings):
        shared: dict[int, set] = {}
        own = _own_moments(recording, min(rates))
        sizes.append(len({place for _, places in own.values() for place in places}))
        for kind, (courses, places) in own.items():
            for other, known in moments.get(kind, ()):
                same = np.abs(_correlations(courses, known)).max(1) > _SAME_RESAMPLED
                for at in np.flatnonzero(same):
                    shared.setdefault(other, set()).add(places[at])
            moments.setdefault(kind, []).append((number, courses))
        for other, places in shared.items():
            pair = sorted(
                int(recordings.elements[recordings[i].index[0]])
                for i in (other, number)
            )
            enough = max(_ENOUGH, _SHARE * min(sizes[number], sizes[other]))
            if groups[pair[0]] != groups[pair[1]] and len(places) >= enough:
                if rates[number] != rates[other]:
                    yield pair[0], pair[1]


def warn_of_copies(copies: Sequence[Copies], positions: Sequence[int]) -> None:
    """Warn of participants that may be there twice.

    Parameters
    ----------
    copies : sequence of Copies
        What `find_copies` gives.
    positions : sequence of int
        Where the elements are in the user's list.
    """
    if not copies:
        return
    pairs = ", ".join(
        f"{positions[c.one]} and {positions[c.other]}" for c in copies[:5]
    )
    more = f" and {len(copies) - 5} more pairs" if len(copies) > 5 else ""
    warn(
        "The same recording, or parts of it, seem to be there under different names, "
        f"in elements {pairs}{more} of X. One of them in training and the other in a "
        "test makes results look better than they are: leave one out, or give both the "
        "same group. If they are of different people, this warning can be ignored."
    )


def _own_moments(
    recording: Recording, sfreq: float | None = None
) -> dict[tuple, tuple[NDArray, list[tuple[int, int]]]]:
    """Give the moments that come once in a recording: courses, row and second.

    Those of the recording as it is, or at another sampling rate.
    """
    enough = _SAME if sfreq is None else _SAME_RESAMPLED
    found: dict[tuple, list[tuple[NDArray, tuple[int, int], float]]] = {}
    starts = recording.event_times
    if starts is None:
        starts = recording.rows / recording.sfreq
    if len(starts) > 1 and np.diff(np.sort(starts)).min() < _CLOSEST:
        # numbers of epochs, not times: of an array, or where runs were joined
        starts = np.arange(len(starts)) * (recording.n_samples / recording.sfreq)
    for names, (row, second), course in _moments(recording, sfreq):
        at = float(starts[row]) + second
        found.setdefault((names, course.shape), []).append(
            (course.ravel(), (row, int(second)), at)
        )
    own = {}
    for kind, entries in found.items():
        courses, places, times = zip(*entries, strict=True)
        courses, times = np.stack(courses), np.array(times)
        again = np.abs(_correlations(courses, courses)) > enough
        # overlapping rows have the same moment
        again &= np.abs(times[:, None] - times) > _AROUND
        once = np.flatnonzero(~again.any(1))
        if len(once):
            own[kind] = courses[once], [places[i] for i in once]
    return own


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
    recording: Recording, sfreq: float | None
) -> Iterator[tuple[tuple[str, ...], tuple[int, float], NDArray]]:
    """Give moments: names of channels, row and second, courses of their group."""
    sfreq = recording.sfreq if sfreq is None else sfreq
    up, down, _ = rate_ratio(recording.sfreq, sfreq)
    n_out = recording.n_samples * up // down
    for picks in _channel_groups(recording):
        names = np.array(recording.inst.ch_names)[picks]
        for positions, pieces in read_rows(recording, picks=picks):
            for row, piece in zip(positions.tolist(), pieces, strict=True):
                values = resample_segment(piece.own, up, down, n_out=n_out)
                values = _without_mains(values, sfreq)
                for second, order, course in _steepest(values, sfreq):
                    yield tuple(names[order].tolist()), (row, second), course


def _without_mains(values: NDArray, sfreq: float) -> NDArray:
    """Average over whole periods of 50 and of 60 Hz, twice each.

    This is the same for a row and for a part of it, but for what its ends lose.
    """
    for mains in (50.0, 60.0):
        period = round(sfreq / mains)
        for _ in range(2 * (period > 1)):
            total = np.cumsum(values - values[:, :1], axis=1)
            values = total[:, period:] - total[:, :-period]
    return values


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
        # nothing, or a jump, which looks the same in all
        if size == 0 or power[at] > 0.5 * size**2:
            continue
        order = np.argsort(-np.abs(steps[:, at]), kind="stable")[:_N_NAMES]
        # many are kept: in a few bytes, the moment itself among them
        course = (course[:, around % thinned :: thinned] / size).astype("f2")
        yield at / sfreq, order, course
