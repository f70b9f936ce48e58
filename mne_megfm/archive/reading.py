"""Recordings read, filtered and cut to epochs around events."""

from __future__ import annotations

import re
import sys
import unicodedata
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from joblib import Parallel, delayed
from mne.io.constants import FIFF
from mne.utils import logger, use_log_level, warn
from numpy.typing import NDArray

from ..inputs import device_to_head, is_maxwell_filtered
from ..sensors.geometry import ORIGIN
from .settings import Filters, Reading, SettingsError
from .sources import Source

if TYPE_CHECKING:
    from mne.io import BaseRaw


# -- recordings ------------------------------------------------------------------------


def clean(
    raw: BaseRaw, filters: Filters, calibration: dict[str, Path] | None = None
) -> BaseRaw:
    """Filter a recording, but for what it went through already.

    Parameters
    ----------
    raw : Raw
        The recording, which is changed: MEG and trigger channels remain.
    filters : Filters
        What is asked for.
    calibration : dict | None
        Files of fine calibration and cross-talk, by their names in
        :func:`mne.preprocessing.maxwell_filter`.

    Returns
    -------
    raw : Raw
        The recording, in memory if anything was filtered.

    Raises
    ------
    ValueError
        If there are no MEG channels, Maxwell filtering is needed and not asked for, or
        an edge of a filter is not below half of the sampling rate.
    """
    info = raw.info
    _check_edges(raw, filters)
    meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
    if len(meg) == 0:
        types = ", ".join(sorted(set(info.get_channel_types())))
        raise ValueError(
            f"Expected MEG channels, got a recording with {types or 'no channels'} "
            "alone; leave it out."
        )
    was_separated = is_maxwell_filtered(info)
    if info.get("maxshield") and not was_separated and not filters.maxwell:
        raise ValueError(
            "Expected a recording without internal active shielding (MaxShield), got "
            "one that Maxwell filtering has not cleaned yet; pass maxwell=True (in the "
            "shell --maxwell), or filter it first by mne.preprocessing.maxwell_filter."
        )
    raw.pick(mne.pick_types(info, meg=True, ref_meg=True, stim=True, exclude=()))
    if filters.maxwell and not was_separated:
        in_head = device_to_head(info) is not None
        _drop_partial_separations(raw.info)
        raw = mne.preprocessing.maxwell_filter(
            raw.load_data(),
            origin="auto" if not in_head or _has_headshape(info) else ORIGIN,
            coord_frame="head" if in_head else "meg",
            st_duration=filters.st_duration,
            ignore_ref=not raw.compensation_grade,
            **calibration or {},
        )
    good = mne.pick_types(raw.info, meg=True, ref_meg=False, exclude="bads")
    half = raw.info["sfreq"] / 2
    highpass, lowpass = filters.highpass, filters.lowpass
    # what the recording went through already is not to be done again
    if highpass is not None and raw.info["highpass"] >= highpass:
        highpass = None
    if lowpass is not None and raw.info["lowpass"] <= lowpass:
        lowpass = None
    if filters.notch is not None:
        harmonics = np.arange(filters.notch, half, filters.notch)
        raw.load_data().notch_filter(harmonics, good)
    if highpass is not None or lowpass is not None:
        raw.load_data().filter(highpass, lowpass, good)
    return raw


def _check_edges(raw: BaseRaw, filters: Filters) -> None:
    """Refuse filters that would do nothing, as MNE does."""
    half = raw.info["sfreq"] / 2
    for name in ("highpass", "lowpass", "notch"):
        value = getattr(filters, name)
        if value is not None and value >= half:
            file = Path(raw.filenames[0]).name if raw.filenames[0] else "a recording"
            raise ValueError(
                f"Expected {name} below half of the sampling rate of {file}, which is "
                f"{half:g} Hz, got {value:g} Hz; choose a lower one, leave it out, or "
                "read this recording by itself."
            )


def check_unfiltered(inst: Any, filters: Filters) -> None:
    """Refuse to filter what has been cut or averaged already."""
    asked = [
        name
        for name in ("highpass", "lowpass", "notch", "maxwell")
        if getattr(filters, name)
    ]
    if asked:
        raise ValueError(
            f"Expected a continuous recording for {', '.join(asked)}, got {inst!r}, "
            "which has been cut already; leave these filters out, or give the "
            "continuous recording."
        )


def _drop_partial_separations(info: mne.Info) -> None:
    """Make records of no separation, whole or not, ones that MNE's filter reads."""
    steps = ("sss_info", "max_st", "sss_ctc", "sss_cal")
    with info._unlock():
        info["proc_history"] = [
            {**record, "max_info": {step: known.get(step) or {} for step in steps}}
            for record in info["proc_history"] or ()
            for known in [{**(record.get("max_info") or {}), "sss_info": {}}]
        ]


def _has_headshape(info: mne.Info) -> bool:
    """Tell whether there are points on the head to fit a sphere to."""
    kinds = [int(point["kind"]) for point in info["dig"] or ()]
    return kinds.count(FIFF.FIFFV_POINT_EXTRA) > 10


def read_source(source: Source, reading: Reading) -> Any:
    """Read a recording, with the bad channels of its table, filter and cut it.

    Parameters
    ----------
    source : Source
        The recording.
    reading : Reading
        How recordings are read.

    Returns
    -------
    inst : Raw | Epochs | list of Evoked
        The recording.

    Raises
    ------
    ValueError
        If what is to be filtered or cut has been cut already, or has no such events.
    """
    inst = source.read()
    is_raw = isinstance(inst, mne.io.BaseRaw)
    with use_log_level("warning"):
        if is_raw:
            inst = clean(inst, reading, source.calibration())
        else:
            check_unfiltered(inst, reading)
    wanted = reading.events.get(source.task)
    if wanted is None:
        return inst
    if isinstance(inst, list):
        raise ValueError(
            f"Expected a continuous recording or epochs for events, got {inst!r}; "
            f"leave {source.task} out of events."
        )
    if is_raw:
        own = source.has_events_table()
        return cut_epochs(
            inst, wanted, reading.tmin, reading.tmax, only_annotations=own
        )
    return select_epochs(inst, wanted)


# -- epochs ----------------------------------------------------------------------------
#: Samples of events, by name.
Events = Mapping[str, NDArray[np.int64]]
ALL = "*"
# as mne.events_from_annotations has it
_NO_EVENT = re.compile("bad|edge", re.IGNORECASE)
# how MNE writes characters beyond Latin-1 to FIF files; it does not turn them back
_REFERENCE = re.compile("&#([0-9]{1,7});")
#: Annotations and triggers so far apart (s), or one sample, are the same events.
_SAME = 0.002

#: Up to so many participants are counted one by one, more are summed up.
_MOST_LINES = 20


@dataclass(frozen=True)
class _Counts:
    """What a recording has of the events that were asked for.

    Attributes
    ----------
    counts : dict
        How many there are, by name.
    missing : list of str
        Which of those wanted there are not.
    there : list of str
        Names of all events of the recording.
    """

    counts: dict[str, int]
    missing: list[str]
    there: list[str]


def check_events(
    sources: list[Source], reading: Reading, n_jobs: int | None = 1
) -> None:
    """See that there are the states and events that are to be cut, and count them.

    Parameters
    ----------
    sources : list of Source
        The recordings.
    reading : Reading
        How recordings are read.
    n_jobs : int | None
        Recordings at a time.

    Raises
    ------
    SettingsError
        If there are no recordings of a state.
    ValueError
        If none of them has one of its events.
    """
    states = {source.task for source in sources if source.task}
    unknown = sorted(set(reading.events) - states)
    if unknown:
        raise SettingsError(
            f"Expected events of states that there are ({', '.join(sorted(states))}), "
            f"got {', '.join(unknown)}; correct the state."
        )
    for state, wanted in reading.events.items():
        own = [source for source in sources if source.task == state]
        counted = Parallel(n_jobs=n_jobs)(
            delayed(_count_events)(source, wanted) for source in own
        )
        _report_events(state, wanted, [s.participant for s in own], counted)


def _count_events(source: Source, wanted: list[str]) -> _Counts | None:
    """Count the events of a recording; None if it cannot be read, as is said later."""
    with warnings.catch_warnings(), use_log_level("error"):
        warnings.simplefilter("ignore")
        try:
            inst = source.read()
            if isinstance(inst, list):
                return None
            own = source.has_events_table()
            chosen, missing = choose_events(inst, wanted, only_annotations=own)
            counts = {name: len(samples) for name, samples in chosen.items()}
            return _Counts(counts, missing, event_names(inst))
        except (OSError, RuntimeError, TypeError, ValueError):
            return None


def cut_epochs(
    raw: BaseRaw,
    wanted: Collection[str],
    tmin: float,
    tmax: float,
    *,
    only_annotations: bool = False,
) -> mne.Epochs:
    """Cut a recording around events.

    Parameters
    ----------
    raw : Raw
        The recording.
    wanted : collection of str
        Names of events, or parts of names between slashes; ``*`` for all.
    tmin, tmax : float
        Start and end of an epoch from its event, in s; the end is not part of it.
    only_annotations : bool
        Whether annotations are all events that there are, as with an events.tsv;
        otherwise ``*`` is an error where a trigger channel has others.

    Returns
    -------
    epochs : Epochs
        The epochs, neither baseline-corrected nor read yet. Events at the same sample
        are one epoch, whose name has the names of all of them.

    Raises
    ------
    ValueError
        If the recording has none of these events.
    """
    chosen, missing = choose_events(raw, wanted, only_annotations=only_annotations)
    _say_missing(raw, chosen, missing)
    rows = np.array(
        [
            (sample, 0, code)
            for code, samples in enumerate(chosen.values(), 1)
            for sample in samples
        ]
    )
    with use_log_level("warning"):
        return mne.Epochs(
            raw,
            rows[np.argsort(rows[:, 0], kind="stable")],
            dict(zip(chosen, range(1, len(chosen) + 1), strict=True)),
            tmin=tmin,
            # up to the last sample before the next window would begin
            tmax=tmax - 1 / raw.info["sfreq"],
            baseline=None,
            proj=False,
            # one row of data is one trial, and keeps all that is known of it
            event_repeated="merge",
        )


def select_epochs(epochs: mne.BaseEpochs, wanted: Collection[str]) -> mne.BaseEpochs:
    """Take those of some epochs that were cut around events.

    Parameters
    ----------
    epochs : Epochs
        The epochs, whose times stay.
    wanted : collection of str
        Names of events, or parts of names between slashes; ``*`` for all.

    Returns
    -------
    epochs : Epochs
        Those of these events.

    Raises
    ------
    ValueError
        If there are none of these events.
    """
    chosen, missing = choose_events(epochs, wanted)
    _say_missing(epochs, chosen, missing)
    codes = [epochs.event_id[name] for name in chosen]
    return epochs[np.flatnonzero(np.isin(epochs.events[:, 2], codes))]


def _report_events(
    state: str,
    wanted: Collection[str],
    participants: Sequence[str],
    counted: Sequence[_Counts | None],
) -> None:
    """Say how many events each participant has, and who has fewer kinds than others.

    Parameters
    ----------
    state : str
        The state of the recordings.
    wanted : collection of str
        Events that were asked for.
    participants : sequence of str
        Whose the recordings are.
    counted : sequence of _Counts | None
        What each recording has; None where that is not known.

    Raises
    ------
    ValueError
        If an event that was asked for is in none of the recordings.
    """
    known = [counts for counts in counted if counts is not None]
    there = list(dict.fromkeys(name for counts in known for name in counts.there))
    nowhere = [name for name in wanted if all(name in c.missing for c in known)]
    if known and nowhere:
        raise ValueError(
            f"Expected events of {state} that recordings have, got "
            f"{', '.join(nowhere)}, which are in none of {len(known)}; "
            f"{closest(nowhere, there)}, there are {listed(there)}."
        )
    by_name: dict[str, Counter[str]] = {}
    for participant, counts in zip(participants, counted, strict=True):
        if counts is not None:
            by_name.setdefault(participant, Counter()).update(counts.counts)
    kinds = sorted({name for counts in by_name.values() for name in counts})
    if len(by_name) <= _MOST_LINES:
        lines = [
            f"  {participant}: {listed([f'{counts[kind]} {kind}' for kind in kinds])}"
            for participant, counts in by_name.items()
        ]
    else:
        lines = []
        for kind in kinds:
            numbers = [counts[kind] for counts in by_name.values() if counts[kind]]
            lines.append(
                f"  {kind}: {min(numbers)} to {max(numbers)} (median "
                f"{np.median(numbers):g}) in {len(numbers)} of {len(by_name)} "
                "participants"
            )
    logger.info("\n".join([f"Events of {state}:", *lines]))
    for kind in kinds:
        without = [name for name, counts in by_name.items() if not counts[kind]]
        if without:
            logger.warning(f"No {kind} in {state} of {', '.join(without)}.")


def choose_events(
    inst: BaseRaw | mne.BaseEpochs,
    wanted: Collection[str],
    *,
    only_annotations: bool = False,
) -> tuple[Events, list[str]]:
    """Look up events by name: among annotations, and if not there among triggers.

    Parameters
    ----------
    inst : Raw | Epochs
        The recording; epochs have only the events that they were cut around.
    wanted : collection of str
        Names of events, or parts of names between slashes; ``*`` for all.
    only_annotations : bool
        Whether annotations are all events that there are.

    Returns
    -------
    chosen : dict
        Samples of the events that there are, by name.
    missing : list of str
        Which of those wanted there are not.

    Raises
    ------
    ValueError
        If ``*`` is wanted, and annotations and trigger channel differ.
    """
    groups = _event_groups(inst)
    chosen: dict[str, NDArray[np.int64]] = {}
    missing = []
    for name in wanted:
        if name == ALL:
            found = _all_events(inst, groups, only_annotations)
        else:
            tags = _tags(name)
            matches = [
                {n: at for n, at in events.items() if tags <= _tags(n)}
                for events in groups
            ]
            found = next(filter(None, matches), {})
        if not found:
            missing.append(name)
        chosen |= {n: at for n, at in found.items() if n not in chosen}
    return chosen, missing


def event_names(inst: BaseRaw | mne.BaseEpochs) -> list[str]:
    """List the names of all events of a recording."""
    return list(dict.fromkeys(name for group in _event_groups(inst) for name in group))


def listed(names: Collection[str], most: int = 12) -> str:
    """Write down names of events, the first few of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(list(names)[:most])}{more}" if names else "no events"


def closest(missing: Collection[str], there: Collection[str]) -> str:
    """Advise to correct names, with those that come nearest."""
    near = [n for name in missing for n in get_close_matches(name, there, 1)]
    return f"correct the name ({', '.join(near)}?)" if near else "correct the name"


def _say_missing(inst: Any, chosen: Events, missing: list[str]) -> None:
    """Name events that a recording does not have; without any it is an error."""
    if not missing:
        return
    files = inst.filenames if hasattr(inst, "filenames") else [inst.filename]
    file = Path(files[0]).name if files[0] else "a recording"
    there = event_names(inst)
    message = (
        f"{', '.join(missing)} in {file}, got {listed(there)}; "
        f"{closest(missing, there)}, or leave out what it does not have."
    )
    if not chosen:
        raise ValueError(f"Expected events {message}")
    warn(f"Expected also events {message}", RuntimeWarning)


def _event_groups(inst: BaseRaw | mne.BaseEpochs) -> list[Events]:
    """Find events, those of annotations (as events.tsv becomes) before triggers."""
    if isinstance(inst, mne.BaseEpochs):
        names = {code: name for name, code in inst.event_id.items()}
        return [_by_name(inst.events, names)]
    groups: list[Events] = []
    with use_log_level("warning"):
        texts = [text for text in inst.annotations.description if not _is_mark(text)]
        if texts:
            names = dict(enumerate(dict.fromkeys(map(_as_typed, texts)), 1))
            code_of = {name: code for code, name in names.items()}
            codes = {text: code_of[_as_typed(text)] for text in texts}
            events, _ = mne.events_from_annotations(inst, codes)
            groups.append(_by_name(events, names))
        if "stim" in inst:
            events = mne.find_events(inst, shortest_event=1)
            codes = np.unique(events[:, 2]).tolist()
            groups.append(_by_name(events, {code: str(code) for code in codes}))
    return [group for group in groups if group]


def _tags(name: str) -> set[str]:
    """Give the parts of a name between slashes."""
    return {_as_typed(part) for part in name.split("/")}


def _as_typed(text: str) -> str:
    """Give the name of an annotation as one would type it, however it was saved."""
    text = _REFERENCE.sub(_character, text)
    # some systems write accents as characters of their own
    return unicodedata.normalize("NFC", text).strip()


def _character(found: re.Match[str]) -> str:
    code = int(found[1])
    # only those that MNE writes so: others are the user's own text
    return chr(code) if 0xFF < code <= sys.maxunicode else found[0]


def _is_mark(text: str) -> bool:
    """Tell whether an annotation is of a bad span or of an edge, and no event."""
    return _NO_EVENT.match(text) is not None


def _by_name(events: NDArray[np.int64], names: Mapping[int, str]) -> Events:
    found = {
        name: np.unique(events[events[:, 2] == code, 0]) for code, name in names.items()
    }
    return {name: samples for name, samples in found.items() if len(samples)}


def _all_events(inst: Any, groups: list[Events], only_annotations: bool) -> Events:
    """Take all events, where it is clear which they are."""
    if len(groups) < 2 or only_annotations:
        return groups[0] if groups else {}
    annotated, triggers = groups
    samples = np.concatenate(list(annotated.values()))
    apart = np.concatenate(list(triggers.values()))[:, None] - samples
    tolerance = max(1, int(_SAME * inst.info["sfreq"]))
    if np.abs(apart).min(axis=1).max() <= tolerance:
        return annotated  # the same events, with names
    annotated, triggers = (
        listed([f"{name} ({len(at)})" for name, at in group.items()])
        for group in groups
    )
    raise ValueError(
        f"Expected names of events instead of {ALL}, since annotations ({annotated}) "
        f"and the trigger channel ({triggers}) differ; name those to cut around."
    )
