"""Which recordings there are, in a BIDS data set or in a table of files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import pandas as pd
from mne.utils import logger

from ..utils.extras import needs_extra
from ..utils.tables import SUFFIXES, read_text
from .files import (
    KIT_EXTENSIONS,
    complete_kit,
    find_copies,
    find_same_signals,
    identify,
    later_parts,
    part_before,
    read_recording,
    whole_files,
)
from .settings import check_states

if TYPE_CHECKING:
    from mne.io import BaseRaw


_EXTENSIONS = {".fif", ".ds", *KIT_EXTENSIONS}
_BTI = ".pdf"  # mne-bids' name for a folder of a BTi/4D system
#: Files beside recordings that are none, by suffix or acquisition.
_BESIDE = {"markers", "headshape", "digitizer", "electrodes"}
_CALIBRATION = {"calibration", "crosstalk"}
_CONTINUED = "read with the first part of the recording"
#: What recordings went through, by proc or desc in their names, best first; others are
#: better than none, and what was made to fit an ICA is worst.
_PROCESSED = ("clean", "ica", "ssp", "filt", "tsss", "sss")
_FOR_ICA = "icafit"


@dataclass(frozen=True)
class Source:
    """A recording that may be prepared.

    Attributes
    ----------
    name : str
        Its name, which no other of the same source has.
    participant : str
        Whose it is.
    task : str
        What was done, in the words of the data set.
    path : Path
        File or folder.
    relative : str
        The same within the data set.
    site : str
        Where it was recorded.
    bids : BIDSPath, optional
        The same for mne-bids; without, the file is read as it is.
    bads : tuple of str
        Bad channels beyond those that the recording names.
    left_out : str
        Why it is not to be prepared, if so.
    broken : str
        Why it cannot be read, if that is known before.
    line : str
        Where a table lists it.
    is_guess : bool
        Whether the participant is the file itself, since nothing names one.
    """

    name: str
    participant: str
    task: str
    path: Path
    relative: str
    site: str = ""
    bids: Any = None
    bads: tuple[str, ...] = ()
    left_out: str = ""
    broken: str = ""
    line: str = ""
    is_guess: bool = False

    def __str__(self) -> str:
        return f"{self.relative} ({self.line})" if self.line else self.relative

    def read(self) -> Any:
        """Open the recording, without its data.

        Returns
        -------
        inst : Raw | Epochs | list of Evoked
            The recording, with bad channels, events and bad spans.

        Raises
        ------
        ValueError
            If it cannot be read, or has no channels that are to be bad.
        """
        if self.broken:
            raise ValueError(self.broken)
        if self.bids is None:
            inst = read_recording(self.path)
        else:
            inst = self._read_bids()
        for one in inst if isinstance(inst, list) else [inst]:
            missing = [name for name in self.bads if name not in one.ch_names]
            if missing:
                raise ValueError(
                    f"Expected bad channels that the recording has, got {missing[:3]}; "
                    "correct the table."
                )
            one.info["bads"] = sorted({*one.info["bads"], *self.bads})
        return inst

    def _read_bids(self) -> BaseRaw:
        from mne_bids import read_raw_bids

        with whole_files(self.path):
            # it writes out what participants.tsv says of a person, a diagnosis perhaps
            warnings.filterwarnings("ignore", "Unable to map the following column")
            raw = read_raw_bids(self.bids)
            _restore_bad_spans(raw, self.path)
        complete_kit(raw, self.path, self.bids)
        return raw

    def has_events_table(self) -> bool:
        """Tell whether there is an events.tsv, which lists all events."""
        if self.bids is None:
            return False
        found = self.bids.find_matching_sidecar("events", ".tsv", on_error="ignore")
        return found is not None

    def calibration(self) -> dict[str, Path]:
        """Find fine calibration and cross-talk files, for Maxwell filtering.

        Returns
        -------
        files : dict
            Those that there are, by their names in MNE.
        """
        if self.bids is None:
            return {}
        files = {
            "calibration": self.bids.meg_calibration_fpath,
            "cross_talk": self.bids.meg_crosstalk_fpath,
        }
        return {name: file for name, file in files.items() if file is not None}


def find_sources(
    root: Path | pd.DataFrame | Sequence[Path],
    states: dict[str, list[str]],
    *,
    prefix: str = "",
    site: str = "",
    epochs: bool = False,
) -> list[Source]:
    """List the recordings of a BIDS data set, of a table, or of files.

    Parameters
    ----------
    root : Path | DataFrame | sequence of Path
        Folder of the data set; or a table (or the path of one, CSV or TSV) with the
        columns file, participant and state (site, name and bads, with ; between, are
        optional); or files whose names have ``sub-<participant>`` and
        ``task-<state>``.
    states : dict
        Tasks of each state; others are left out. Without any, a task is a state.
    prefix : str
        What is put before the names of participants and recordings.
    site : str
        Site of recordings whose data set does not name one.
    epochs : bool
        Whether epochs of a data set of derivatives are taken, which are then preferred
        to continuous data of the same recording.

    Returns
    -------
    sources : list of Source
        All recordings, also those to leave out, with the states as their tasks.

    Raises
    ------
    ValueError
        If there are none, states are not clear, or a table lists a recording
        as of different participants.
    """
    if isinstance(root, pd.DataFrame):
        sources = _in_table(root, site)
        where = "the table"
    elif not isinstance(root, Path):
        sources = _in_names(root, site)
        where = "the list of files"
    elif root.is_dir():
        sources, where = _in_bids(root, site, epochs), str(root)
    elif root.is_file():
        sources, where = _in_table(read_text(root), site, root), str(root)
    else:
        raise FileNotFoundError(
            f"Expected a BIDS folder or a table of files, got {root}, which is not "
            "there."
        )
    if not sources:
        raise ValueError(
            f"Expected MEG recordings in {where}, got none; a BIDS data set has them "
            "in sub-*/meg or sub-*/ses-*/meg."
        )
    sources = read_once(sources)
    sources = [
        replace(s, name=prefix + s.name, participant=prefix + s.participant)
        for s in sources
    ]
    names = pd.Series([s.name for s in sources if not s.left_out])
    if names.duplicated().any():
        raise ValueError(
            f"Expected a name of its own for each recording, got "
            f"{names[names.duplicated()].iloc[0]!r} twice; tell them apart by a column "
            "'name'."
        )
    return name_states(sources, states)


def name_states(sources: list[Source], states: dict[str, list[str]]) -> list[Source]:
    """Turn tasks into states, and leave out those that have none."""
    if not states:
        return sources
    check_states(states)
    state_of = {task: state for state, tasks in states.items() for task in tasks}
    unknown = set(state_of) - {source.task for source in sources}
    if unknown:
        raise ValueError(
            f"Expected tasks that the data have, got {sorted(unknown)}; there are "
            f"{sorted({source.task for source in sources if source.task})}."
        )
    named = []
    for source in sources:
        if source.left_out:
            named.append(source)
        elif source.task in state_of:
            named.append(replace(source, task=state_of[source.task]))
        else:
            reason = f"task {source.task!r} is of no state asked for"
            named.append(replace(source, left_out=reason))
    return named


def list_files(paths: list[Path]) -> list[Source]:
    """List recordings by their files, whose names tell participant and task."""
    sources = []
    for path in paths:
        participant, task = _entity(path.name, "sub"), _entity(path.name, "task")
        sources.append(
            Source(
                name=path.name,
                participant=participant or _stem(path),
                task=task,
                path=path,
                relative=path.as_posix(),
                is_guess=not participant,
            )
        )
    return read_once(sources)


def list_recordings(
    paths: list[Path], states: dict[str, list[str]] | None = None
) -> list[Source]:
    """List recordings: files, or a BIDS data set or table of files.

    Of files, ``sub-<name>`` and ``task-<name>`` in the name tell participant and
    state; without, the participant is the file, and states are what the recording
    says (events, comment, or rest). ``states`` lists the tasks of each state.
    """
    states = states or {}
    if len(paths) == 1 and (
        paths[0].suffix in SUFFIXES or any(paths[0].glob("sub-*/"))
    ):
        return _usable(find_sources(paths[0], states, epochs=True))
    return _usable(name_states(list_files(paths), states))


def _usable(sources: list[Source]) -> list[Source]:
    for source in sources:
        if source.left_out:
            logger.info(f"Left out {source.relative}: {source.left_out}.")
    usable = [source for source in sources if not source.left_out]
    if not usable:
        raise ValueError(
            f"Expected recordings to read, got {len(sources)} that are all left out "
            f"({sources[0].relative}: {sources[0].left_out})."
        )
    return usable


def read_once(sources: list[Source]) -> list[Source]:
    """Leave out files listed twice, copies, and what is read with another file.

    Parameters
    ----------
    sources : list of Source
        Recordings by their files.

    Returns
    -------
    sources : list of Source
        The same, some with a reason to leave them out. Later parts of a recording
        whose first part is not among them cannot be read.

    Raises
    ------
    ValueError
        If a file, or the parts of a recording, are of different participants or tasks.
    """
    once = _leave_out_twins(sources)
    listed: dict[Hashable, Source] = {}
    read_with: dict[Hashable, Source] = {}
    for source in once:  # the first that is listed stands for all
        listed.setdefault(identify(source.path), source)
        for part in later_parts(source.path):
            read_with.setdefault(identify(part), source)
    joined = []
    for source in once:
        first = read_with.get(identify(source.path))
        if source.left_out:
            if source.left_out == _CONTINUED and first is None:
                reason = "by its name a later part, to which no file leads"
                source = replace(source, left_out=reason)
        elif first is not None:
            _check_same(first, source, "is read with it")
            source = replace(source, left_out=_CONTINUED)
        elif (folder := _folder_of(source, listed)) is not None:
            source = replace(source, left_out=f"a file of {folder}")
        elif (before := part_before(source.path)) is not None:
            source = replace(
                source,
                broken=f"Expected a recording with its first file, got a later part "
                f"that goes on from {before.name}; give the first file, with which MNE "
                "reads the others.",
            )
        joined.append(source)
    return joined


def _leave_out_twins(sources: list[Source]) -> list[Source]:
    """Leave out a file that is listed by two names, and copies of files."""
    taken: dict[Hashable, Source] = {}
    once = []
    for source in sources:
        if not source.left_out:
            twin = taken.setdefault(identify(source.path), source)
            if twin is not source:
                _check_same(twin, source, "is the same file")
                source = replace(source, left_out=f"the same file as {twin}")
        once.append(source)
    by_path = {source.path: source for source in taken.values()}
    for find, relation, reason in (
        (find_copies, "is a copy of it", "a copy of"),
        (find_same_signals, "has the same signals", "the same signals as"),
    ):
        first_of = find([s.path for s in once if not s.left_out])
        for number, source in enumerate(once):
            if not source.left_out and source.path in first_of:
                twin = by_path[first_of[source.path]]
                _check_same(twin, source, relation)
                once[number] = replace(source, left_out=f"{reason} {twin}")
    return once


def _folder_of(source: Source, listed: dict[Hashable, Source]) -> Source | None:
    """Find the recording, listed itself, that a file is within."""
    for parent in source.path.absolute().parents:
        folder = listed.get(identify(parent))
        if folder is not None:
            return folder
    return None


def _check_same(first: Source, other: Source, relation: str) -> None:
    """Refuse one recording under different participants or tasks."""
    guessed = first.is_guess or other.is_guess
    for what, one, two, unknown in (
        ("participant", first.participant, other.participant, guessed),
        ("state", first.task, other.task, not (first.task and other.task)),
    ):
        if one != two and not unknown:
            raise ValueError(
                f"Expected a recording to be of one {what}, got {first} of {one}, and "
                f"{other}, which {relation}, of {two}; correct one, or leave it out."
            )


def _entity(name: str, key: str) -> str:
    found = re.search(rf"(?:^|_){key}-([^_.]+)", name)
    if not found:
        return ""
    return f"sub-{found[1]}" if key == "sub" else found[1]


def _stem(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).stem


def _in_bids(root: Path, site: str, epochs: bool) -> list[Source]:
    with needs_extra("archive", "BIDS data sets"):
        import mne_bids
    sites = _participants_sites(root)
    sources, entities = [], []
    folders = [*root.glob("sub-*/meg"), *root.glob("sub-*/ses-*/meg")]
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        extension = path.suffix.lower()
        if path.is_dir() and not extension and (path / "config").is_file():
            extension = _BTI
        if path.name.startswith(".") or extension not in {*_EXTENSIONS, _BTI}:
            continue
        relative = path.relative_to(root).as_posix()
        subject = path.relative_to(root).parts[0]
        try:
            bids = mne_bids.get_bids_path_from_fname(path, check=False)
            bids.update(root=root, datatype="meg", extension=extension, check=False)
            if bids.subject is None:
                raise ValueError("no subject in it")
        except (KeyError, RuntimeError, ValueError) as error:
            reason = f"not a name that BIDS knows ({_first_line(error)})"
            sources.append(
                Source(path.stem, subject, "", path, relative, left_out=reason)
            )
            entities.append(None)
            continue
        if bids.suffix in _BESIDE or bids.acquisition in _CALIBRATION:
            continue
        # MNE reads on from the first part of a recording by itself
        name = bids.copy().update(split=None, suffix=None, extension=None).basename
        sources.append(
            Source(
                name=name,
                participant=subject,
                task=bids.task or "",
                path=path,
                relative=relative,
                site=sites.get(subject, site),
                bids=bids if bids.suffix == "meg" else None,
                left_out=_reason(bids, subject, epochs),
            )
        )
        entities.append(bids)
    return _with_first_parts(_choose_versions(sources, entities))


def _choose_versions(sources: list[Source], entities: list[Any]) -> list[Source]:
    """Take one version of each recording: epochs, then what is processed most."""
    keys = ("subject", "session", "task", "acquisition", "recording")
    candidates: dict[tuple, list[tuple[int, tuple, Any]]] = {}
    for number, (source, bids) in enumerate(zip(sources, entities, strict=True)):
        if bids is not None and not source.left_out:
            process = bids.processing or bids.description or ""
            ranks = {name: rank for rank, name in enumerate(_PROCESSED)}
            rank = ranks.get(process, len(ranks) + (not process))
            rank = len(ranks) + 2 if process == _FOR_ICA else rank
            order = (bids.suffix != "epo", rank, process, bids.suffix)
            key = tuple(getattr(bids, key) for key in keys)
            candidates.setdefault(key, []).append((number, order, bids.run))
    chosen = list(sources)
    for versions in candidates.values():
        for number, order, run in versions:
            better = [
                (other_order, other)
                for other, other_order, other_run in versions
                # epochs of all runs stand for each of them
                if other_order < order and other_run in (run, None)
            ]
            if better:
                taken = sources[min(better)[1]].relative
                reason = f"{taken} is taken, a later version of the same recording"
                chosen[number] = replace(sources[number], left_out=reason)
    return chosen


def _with_first_parts(sources: list[Source]) -> list[Source]:
    """Name the first part where it is missing, so that its recording fails."""
    begun = {source.name for source in sources if source.left_out != _CONTINUED}
    complete = []
    for source in sources:
        if source.name not in begun and source.bids is not None:
            begun.add(source.name)
            first = source.bids.copy().update(split="1".zfill(len(source.bids.split)))
            relative = Path(source.relative).with_name(first.basename).as_posix()
            path = source.path.with_name(first.basename)
            missing = {"path": path, "relative": relative, "bids": first}
            complete.append(replace(source, **missing, left_out=""))
        complete.append(source)
    return complete


def _reason(bids: Any, subject: str, epochs: bool) -> str:
    """Say why a file of a BIDS data set is no recording to prepare."""
    if f"sub-{bids.subject}" != subject:
        return f"its name says sub-{bids.subject} in the folder of {subject}"
    if bids.suffix == "epo" and not epochs:
        return "epochs, not a continuous recording"
    if bids.suffix not in {"meg", "raw", "epo"}:
        return f"a file of kind {bids.suffix!r}, not a recording"
    if bids.subject == "emptyroom" or bids.task in {"noise", "emptyroom"}:
        return "empty room"
    if bids.split is not None and int(bids.split) > 1:
        return _CONTINUED
    if bids.task is None:
        return "its name has no task"
    return ""


def _participants_sites(root: Path) -> dict[str, str]:
    """Look up in participants.tsv where each was recorded."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    table = read_text(path)
    if not {"participant_id", "site"} <= set(table.columns):
        return {}
    table = table.dropna(subset=["participant_id", "site"])
    return dict(zip(table.participant_id, table.site, strict=True))


def _in_table(table: pd.DataFrame, site: str, path: Path | None = None) -> list[Source]:
    """List the recordings of a table, whose files are relative to where it lies."""
    where = "the table" if path is None else str(path)
    missing = {"file", "participant", "state"} - set(table.columns)
    if missing:
        raise ValueError(
            f"Expected the columns file, participant and state in {where}, got "
            f"{', '.join(map(str, table.columns))}; add {', '.join(sorted(missing))}."
        )
    sources = []
    cells = table.astype(object).where(table.notna(), "").map(str)
    # lines are counted as in a file, after a line of names
    for number, row in enumerate(cells.to_dict("records"), 2):
        line = f"row {number - 1}" if path is None else f"line {number}"
        if not (row["file"] and row["participant"] and row["state"]):
            raise ValueError(
                f"Expected file, participant and state in {line} of {where}, got "
                f"{row['file']!r}, {row['participant']!r} and {row['state']!r}."
            )
        file = Path(row["file"]) if path is None else path.parent / row["file"]
        bads = map(str.strip, row.get("bads", "").split(";"))
        sources.append(
            Source(
                name=row.get("name") or f"{row['participant']}_{_stem(file)}",
                participant=row["participant"],
                task=row["state"],
                path=file,
                relative=row["file"],
                site=row.get("site") or site,
                bads=tuple(filter(None, bads)),
                line=f"{line} of {'the table' if path is None else path.name}",
            )
        )
    return sources


def _in_names(paths: Sequence[Path], site: str) -> list[Source]:
    """List recordings by their files, whose names must tell participant and state."""
    sources = [
        replace(source, name=_stem(source.path).removesuffix("_meg"), site=site)
        for source in list_files(list(paths))
    ]
    for source in sources:
        if source.is_guess or not source.task:
            raise ValueError(
                "Expected files whose names have sub-<participant> and task-<state>, "
                f"got {source.path.name}; give a table with the columns file, "
                "participant and state."
            )
    return sources


def _restore_bad_spans(raw: BaseRaw, path: Path) -> None:
    """Take back bad spans of the file itself, which mne-bids drops for events.tsv."""
    if path.suffix not in (".fif", ".ds"):  # others have none
        return
    extra = {"allow_maxshield": True} if path.suffix == ".fif" else {}
    plain = mne.io.read_raw(path, **extra)
    known = {(round(onset, 3), text) for onset, _, text in _spans(raw)}
    lost = [
        (onset, duration, text)
        for onset, duration, text in _spans(plain)
        if text.lower().startswith("bad") and (round(onset, 3), text) not in known
    ]
    if lost:
        onset, duration, text = zip(*_spans(raw), *lost, strict=True)
        raw.set_annotations(mne.Annotations(onset, duration, text))


def _spans(raw: BaseRaw) -> list[tuple[float, float, str]]:
    """Annotations from the first sample on; mne-bids may have set another date."""
    return [
        (a["onset"] - raw.first_time, a["duration"], a["description"])
        for a in raw.annotations
    ]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
