"""Which recordings there are, in a BIDS data set or in a table of files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import pandas as pd

from . import _kit
from ._tables import read_text

if TYPE_CHECKING:
    from mne.io import BaseRaw

_EXTENSIONS = {".fif", ".ds", *_kit.EXTENSIONS}
_BTI = ".pdf"  # mne-bids' name for a folder of a BTi/4D system
#: Files beside recordings that are none, by suffix or acquisition.
_BESIDE = {"markers", "headshape", "digitizer", "electrodes"}
_CALIBRATION = {"calibration", "crosstalk"}
_CONTINUED = "read with the first part of the recording"
_INSTALL = "pip install 'mne-megfm[archive]'"


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

    def read(self) -> BaseRaw:
        """Open the recording, without its data.

        Returns
        -------
        raw : Raw
            The recording, with bad channels, events and bad spans.
        """
        if self.bids is None:
            # whether MaxShield data can be used is settled by who prepares them
            extra = {"allow_maxshield": True} if self.path.suffix == ".fif" else {}
            raw = mne.io.read_raw(self.path, **extra)
        else:
            from mne_bids import read_raw_bids

            raw = read_raw_bids(self.bids)
            _restore_bad_spans(raw, self.path)
        _kit.complete(raw, self.path, self.bids)
        missing = [name for name in self.bads if name not in raw.ch_names]
        if missing:
            raise ValueError(
                f"Expected bad channels that the recording has, got {missing[:3]}; "
                "correct the table."
            )
        raw.info["bads"] = sorted({*raw.info["bads"], *self.bads})
        return raw

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
    root: Path, states: dict[str, list[str]], *, prefix: str = "", site: str = ""
) -> list[Source]:
    """List the recordings of a BIDS data set or of a table.

    Parameters
    ----------
    root : Path
        Folder of the data set, or a table (CSV or TSV) with the columns file,
        participant and state; site, name and bads (with ; between) are optional.
    states : dict
        Tasks of each state; others are left out. Without any, a task is a state.
    prefix : str
        What is put before the names of participants and recordings.
    site : str
        Site of recordings whose data set does not tell.

    Returns
    -------
    sources : list of Source
        All recordings, also those to leave out, with the states as their tasks.

    Raises
    ------
    ValueError
        If there are none, or states are not told clearly.
    """
    if root.is_dir():
        sources = _in_bids(root, site)
    elif root.is_file():
        sources = _in_table(root, site)
    else:
        raise FileNotFoundError(
            f"Expected a BIDS folder or a table of files, got {root}, which is not "
            "there."
        )
    if not sources:
        raise ValueError(
            f"Expected MEG recordings in {root}, got none; a BIDS data set has them in "
            "sub-*/meg or sub-*/ses-*/meg."
        )
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


def _in_bids(root: Path, site: str) -> list[Source]:
    try:
        import mne_bids
    except ImportError as error:
        raise ImportError(
            f"Expected mne-bids to read BIDS data sets, got none ({error}); {_INSTALL}."
        ) from error
    sites = _participants_sites(root)
    sources = []
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
                bids=bids,
                left_out=_reason(bids, subject),
            )
        )
    return _with_first_parts(sources)


def _with_first_parts(sources: list[Source]) -> list[Source]:
    """Name the first part where it is missing, so that its recording fails."""
    begun = {source.name for source in sources if source.left_out != _CONTINUED}
    complete = []
    for source in sources:
        if source.name not in begun:
            begun.add(source.name)
            first = source.bids.copy().update(split="1".zfill(len(source.bids.split)))
            relative = Path(source.relative).with_name(first.basename).as_posix()
            path = source.path.with_name(first.basename)
            missing = {"path": path, "relative": relative, "bids": first}
            complete.append(replace(source, **missing, left_out=""))
        complete.append(source)
    return complete


def _reason(bids: Any, subject: str) -> str:
    """Say why a file of a BIDS data set is no recording to prepare."""
    if f"sub-{bids.subject}" != subject:
        return f"its name says sub-{bids.subject} in the folder of {subject}"
    if bids.suffix != "meg":
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


def _in_table(path: Path, site: str) -> list[Source]:
    table = read_text(path)
    missing = {"file", "participant", "state"} - set(table.columns)
    if missing:
        raise ValueError(
            f"Expected the columns file, participant and state in {path}, got "
            f"{', '.join(table.columns)}; add {', '.join(sorted(missing))}."
        )
    sources = []
    for number, row in enumerate(table.fillna("").to_dict("records"), 2):
        if not (row["file"] and row["participant"] and row["state"]):
            raise ValueError(
                f"Expected file, participant and state in line {number} of {path}, got "
                f"{row['file']!r}, {row['participant']!r} and {row['state']!r}."
            )
        file = path.parent / row["file"]
        sources.append(
            Source(
                name=row.get("name") or f"{row['participant']}_{file.stem}",
                participant=row["participant"],
                task=row["state"],
                path=file,
                relative=row["file"],
                site=row.get("site") or site,
                bads=tuple(
                    filter(None, map(str.strip, row.get("bads", "").split(";")))
                ),
            )
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
