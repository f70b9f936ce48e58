"""Recordings read from files of any MEG system; files of one recording.

Where nothing tells where the head was, MNE takes the device for it, and mne-bids writes
the files that tell beside a recording but does not read them. Of a file that ends
early, MNE takes what is missing for zeros.
"""

from __future__ import annotations

import gc
import hashlib
import re
import shutil
import warnings
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from mne._fiff.open import _get_next_fname, fiff_open
from mne._fiff.tag import read_tag
from mne._fiff.tree import dir_tree_find
from mne.io.constants import FIFF
from mne.utils import use_log_level

if TYPE_CHECKING:
    from mne.io import BaseRaw
    from numpy.typing import NDArray


KIT_EXTENSIONS = {".con", ".sqd"}
#: Which block of a file has the samples.
_SAMPLES = 9


def complete_kit(raw: BaseRaw, path: Path, bids: Any = None) -> None:
    """Set where the head was in a recording of a KIT system, if it is one.

    What it tells itself stays; where nothing tells, ``dev_head_t`` is the identity,
    which ``device_to_head`` knows for what it is.

    Parameters
    ----------
    raw : Raw
        The recording as MNE or mne-bids has read it.
    path : Path
        Its file.
    bids : BIDSPath, optional
        The same for mne-bids; without, nothing is looked for beside it.

    Raises
    ------
    ValueError
        If the file ends before its recording does.
    """
    if path.suffix.lower() not in KIT_EXTENSIONS:
        return
    _check_length(raw, path)
    if raw.info["dig"]:
        return
    if bids is None:
        return
    markers = _markers(bids)
    points, shape = _digitised(bids, "ELP"), _digitised(bids, "HSP")
    if not (markers and points and shape):
        return
    with TemporaryDirectory() as folder:
        located = mne.io.read_raw_kit(
            path,
            mrk=[str(file) for file in markers],
            elp=_with_suffix(points, Path(folder), ".elp"),
            hsp=_with_suffix(shape, Path(folder), ".hsp"),
            stim=None,
        )
    with raw.info._unlock():
        for key in ("dig", "dev_head_t", "hpi_results"):
            raw.info[key] = located.info[key]


def _check_length(raw: BaseRaw, path: Path) -> None:
    facts = raw._raw_extras[0]
    start = int(facts["dirs"][_SAMPLES]["offset"])
    size = facts["dtype"].itemsize * facts["nchan"]
    n_there = (path.stat().st_size - start) // size
    if n_there < raw.n_times:
        raise ValueError(
            f"Expected {raw.n_times} samples, as the file says, got {n_there}; it is "
            "not all there: copy it again."
        )


def _beside(bids: Any, suffix: str) -> list[Any]:
    """List files of a kind in the folder of a recording that may belong to it."""
    from mne_bids import get_bids_path_from_fname

    files = sorted(bids.fpath.parent.glob(f"*_{suffix}.*"))
    paths = [get_bids_path_from_fname(f, check=False) for f in files if f.is_file()]
    return [path for path in paths if path.task in (None, bids.task)]


def _markers(bids: Any) -> list[Path]:
    """Find where coils were before and after: in this run, else in any."""
    of_run, of_any = [], []
    for path in _beside(bids, "markers"):
        # mne-bids writes the run, if there is one, into acq, as in acq-run01pre
        label = re.sub("(pre|post)$", "", path.acquisition or "")
        run = label.removeprefix("run") or path.run
        if run is None:
            of_any.append(path.fpath)
        elif run == bids.run:
            of_run.append(path.fpath)
    return of_run or of_any


def _digitised(bids: Any, what: str) -> Path | None:
    """Find points on the head: fiducials with coils (ELP), or its shape (HSP)."""
    files = [p.fpath for p in _beside(bids, "headshape") if p.acquisition == what]
    return files[0] if files else None


def _with_suffix(file: Path, folder: Path, suffix: str) -> str:
    """Name a file by its format, as MNE asks for, which mne-bids calls .pos."""
    if file.suffix != ".pos":
        return str(file)
    # Polhemus has two programs, and one of them marks fiducials like this
    is_isotrak = re.search(rb"^%F\s", file.read_bytes(), re.MULTILINE)
    named = folder / f"{file.stem}{suffix if is_isotrak else '.txt'}"
    shutil.copyfile(file, named)
    return str(named)


# MNE has no public way to ask what a FIF file holds without reading it, nor in which
# file epochs go on, nor what comes before a file; a test tells when these change


RAW, EPOCHS, AVERAGES = "raw", "epochs", "averages"
_BLOCKS = {
    EPOCHS: (FIFF.FIFFB_MNE_EPOCHS,),
    RAW: (
        FIFF.FIFFB_RAW_DATA,
        FIFF.FIFFB_CONTINUOUS_DATA,
        FIFF.FIFFB_IAS_RAW_DATA,
    ),
    AVERAGES: (FIFF.FIFFB_EVOKED,),
}
#: Smaller files hold no recording, and may be alike by chance: stubs, empty files.
_SMALLEST = 1024
#: So many bytes of both ends are compared before whole files are read.
_ENDS = 2**16
#: Pieces (s) of recordings that are compared, and by what share they differ at most if
#: they are the same but for rounding (16 bits).
_PIECE, _ROUNDING = 2.0, 0.03
_LATER = re.compile(r"(?:_split-(?P<split>\d+)_[^-]*|-(?P<number>\d+))\.fif(?:\.gz)?$")


def is_fif(path: Path) -> bool:
    """Tell whether a file is FIF, by its name."""
    return path.name.lower().endswith((".fif", ".fif.gz"))


def read_recording(path: Path) -> Any:
    """Open whatever MNE reads; data are not read.

    Parameters
    ----------
    path : Path
        File or folder. What FIF files hold is read from their content.

    Returns
    -------
    inst : Raw | Epochs | list of Evoked
        The recording. Data of internal active shielding are opened, too.

    Raises
    ------
    ValueError
        If there is no recording in it, or MNE does not know the format by the name.
    """
    if not path.exists():
        raise FileNotFoundError(f"Expected a recording in {path}, got no such file.")
    with whole_files(path):
        warnings.filterwarnings("ignore", "This filename .* does not conform")
        if not is_fif(path):
            return _read_other(path)
        kind = _kind(path)
        if kind == EPOCHS:
            return mne.read_epochs(path, preload=False)
        if kind == AVERAGES:
            return mne.read_evokeds(path)
        return mne.io.read_raw_fif(path, allow_maxshield="yes")


@contextmanager
def whole_files(path: Path) -> Iterator[None]:
    """Make a FIF file that ends early an error, where MNE warns and reads the rest.

    Parameters
    ----------
    path : Path
        The recording that is read, for the message. Its later parts may be meant.

    Raises
    ------
    ValueError
        If a file ends early.
    """
    # above this level mne.utils.warn is silent
    with use_log_level("warning"), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Invalid tag")
        try:
            yield
        except RuntimeWarning as warning:
            if not str(warning).startswith("Invalid tag"):
                raise
            raise ValueError(
                f"Expected a whole FIF file, got {path.name} (or a file in which it "
                f"goes on), which ends early ({warning}); copy or save it again."
            ) from warning


def _read_other(path: Path) -> Any:
    if path.is_dir() and not path.suffix:
        advice = "save the recording as FIF by MNE, or give the files in it"
        if any(path.glob("config")):
            advice = (
                "it looks like one of BTi/4D: save the recording by "
                "mne.io.read_raw_bti(...).save('x_raw.fif')"
            )
        raise ValueError(f"Expected a recording, got the folder {path}; {advice}.")
    try:
        raw = mne.io.read_raw(path)
    except ValueError as error:
        if "supported file type" not in str(error).lower():
            raise
        raise ValueError(
            f"Expected a file whose format MNE knows by its name (.fif, .ds, .con, "
            f".sqd, ...), got {path.name}; save the recording as FIF by MNE."
        ) from error
    except (OSError, RuntimeWarning, MemoryError):
        raise
    except Exception as error:  # readers fail in many ways on what is not theirs
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise ValueError(
            f"Expected a recording of the kind that the name {path.name} says, got a "
            f"file that MNE cannot read ({reason}); copy or save it again."
        ) from error
    complete_kit(raw, path)
    return raw


def _kind(path: Path) -> str:
    """Tell what a FIF file holds."""
    try:
        file, tree, _ = fiff_open(path.absolute())
    except (OSError, RuntimeWarning, MemoryError):
        raise
    except Exception as error:  # MNE fails in many ways on what is no FIF file
        raise ValueError(
            f"Expected a FIF file, got something else in {path.name} ({error}); save "
            "it again."
        ) from error
    file.close()
    for kind, blocks in _BLOCKS.items():
        if any(dir_tree_find(tree, block) for block in blocks):
            return kind
    raise ValueError(
        f"Expected a recording, epochs or averages, got none in {path.name}; give the "
        "file that has the data."
    )


def identify(path: Path) -> Hashable:
    """Give what is equal of two names of one file or folder, links among them."""
    try:
        status = path.stat()
    except OSError:  # not there; that is said when it is read
        return str(path.absolute())
    return status.st_dev, status.st_ino


def find_copies(paths: Sequence[Path]) -> dict[Path, Path]:
    """Find which files or folders have the same content as an earlier one.

    Only those of one size are read, and the whole of them only if both ends agree.

    Parameters
    ----------
    paths : sequence of Path
        Files, or folders that are one recording (.ds, BTi). Names do not matter, nor
        those within a folder. Hidden files and what is too small to be a recording
        are not compared.

    Returns
    -------
    first : dict of Path to Path
        From each copy to the first path with its content.
    """
    groups = [list(dict.fromkeys(paths))]
    for key in (_sizes, _ends, _contents):
        refined = defaultdict(list)
        for number, group in enumerate(groups):
            for path in group:
                try:
                    refined[number, key(path)].append(path)
                except OSError:  # that is said when it is read
                    continue
        groups = [group for group in refined.values() if len(group) > 1]
    return {path: first for first, *others in groups for path in others}


def find_same_signals(paths: Sequence[Path]) -> dict[Path, Path]:
    """Find which recordings have the same signals as an earlier one.

    So are found those that were saved again: packed, split, in other numbers (double,
    single, short) or in another format. Only headers are read, and three pieces of
    recordings of which kind, rate, length and number of channels are the same.

    Copies that were cropped, resampled or filtered, or that lack channels, are not
    found here: dates and head positions do not tell them from other people where data
    are anonymised and moved to one position. Of recordings in memory,
    `mne_megfm.evaluation.compare` and the estimators also find cropped ones, but not
    those that were resampled or filtered.

    Parameters
    ----------
    paths : sequence of Path
        Recordings. Those that cannot be read are not compared.

    Returns
    -------
    first : dict of Path to Path
        From each recording to the first one with its signals.
    """
    groups = defaultdict(list)
    for path in dict.fromkeys(paths):
        with _silent():
            found = _measure(path)
            if found is None:
                gc.collect()  # MNE leaves files open that it fails to read
        if found is not None:
            groups[found].append(path)
    first: dict[Path, Path] = {}
    for group in groups.values():
        known: list[tuple[Path, NDArray]] = []
        for path in group if len(group) > 1 else ():
            with _silent():
                pieces = _read_pieces(path)
                if pieces is None:
                    gc.collect()
            if pieces is None:
                continue
            for other, others in known:
                if _difference(pieces, others) < _ROUNDING:
                    first[path] = other
                    break
            else:
                known.append((path, pieces))
    return first


@contextmanager
def _silent() -> Iterator[None]:
    """Leave warnings to the reading of recordings that are kept."""
    with warnings.catch_warnings(), use_log_level("error"):
        warnings.simplefilter("ignore")
        yield


def _measure(path: Path) -> Hashable:
    """Give what recordings of the same signals have in common; None without any."""
    try:
        inst = read_recording(path)
    except Exception:  # whatever it is, reading the recording will say so
        return None
    inst = inst if isinstance(inst, list) else [inst]
    kind = "raw" if isinstance(inst[0], mne.io.BaseRaw) else type(inst[0]).__name__
    n_rows = len(inst[0]) if kind.startswith("Epochs") else len(inst)
    n_channels = len(mne.pick_types(inst[0].info, meg=True, ref_meg=False, exclude=()))
    sfreq = round(float(inst[0].info["sfreq"]), 3)
    return (kind, n_rows, n_channels, len(inst[0].times), sfreq) if n_channels else None


def _read_pieces(path: Path) -> NDArray | None:
    """Read start, middle and end of a recording, shape (n_channels, n_samples)."""
    try:
        inst = read_recording(path)
        one = inst[0] if isinstance(inst, list) else inst
        picks = mne.pick_types(one.info, meg=True, ref_meg=False, exclude=())
        if isinstance(one, mne.io.BaseRaw):
            n = min(int(_PIECE * one.info["sfreq"]) + 1, one.n_times)
            starts = sorted({0, (one.n_times - n) // 2, one.n_times - n})
            pieces = [one[picks, start : start + n][0] for start in starts]
        elif isinstance(one, mne.BaseEpochs):
            rows = sorted({0, len(one) // 2, len(one) - 1})
            pieces = list(one[rows].get_data(picks))
        else:
            pieces = [each.data[picks] for each in inst]
    except Exception:  # whatever it is, reading the recording will say so
        return None
    # jumps between pieces are none of the signals
    pieces = [piece - piece.mean(1, keepdims=True) for piece in pieces]
    return np.concatenate(pieces, axis=1)


def _difference(one: NDArray, other: NDArray) -> float:
    """Give the norm of the difference to that of the signal, median over channels."""
    size = np.linalg.norm(one, axis=1)
    change = np.linalg.norm(one - other, axis=1)
    told = size > 0
    return float(np.median(change[told] / size[told])) if told.any() else np.inf


def _sizes(path: Path) -> Hashable:
    sizes = sorted(file.stat().st_size for file in _list_content(path))
    # without a size of its own, a path has nothing to be compared by
    return (path.is_dir(), *sizes) if sum(sizes) >= _SMALLEST else path


def _ends(path: Path) -> Hashable:
    ends = []
    for file in _list_content(path):
        with open(file, "rb") as stream:
            digest = hashlib.sha256(stream.read(_ENDS))
            stream.seek(max(file.stat().st_size - _ENDS, 0))
            digest.update(stream.read())
        ends.append(digest.digest())
    return tuple(sorted(ends))


def _contents(path: Path) -> Hashable:
    contents = []
    for file in _list_content(path):
        with open(file, "rb") as stream:
            contents.append(hashlib.file_digest(stream, "sha256").digest())
    return tuple(sorted(contents))


def _list_content(path: Path) -> list[Path]:
    """List what a recording is made of: one file, or those of a folder."""
    if not path.is_dir():
        return [path]
    files = (file for file in path.rglob("*") if not file.name.startswith("."))
    return [file for file in files if file.is_file()]


def later_parts(path: Path) -> list[Path]:
    """List the files in which a recording goes on, as MNE reads them with the first."""
    parts: list[Path] = []
    while path is not None and path not in parts:
        parts.append(path)
        path = _neighbours(path)[0]
    return parts[1:]


def part_before(path: Path) -> Path | None:
    """Find the file that one goes on from, which need not be there.

    Raw files name it. Epochs do not: there it is the one whose name has the number
    before.
    """
    before = _neighbours(path)[1]
    found = _LATER.search(path.name)
    if before is not None or found is None:
        return before
    name, place = path.name, "split" if found["split"] else "number"
    start, end = found.span(place)
    number = int(found[place]) - 1
    if place == "split" or number > 0:
        name = f"{name[:start]}{number:0{end - start}d}{name[end:]}"
    else:
        name = name[: start - 1] + name[end:]
    before = path.absolute().with_name(name)
    following = _neighbours(before)[0]
    is_next = following is not None and identify(following) == identify(path)
    return before if is_next or _is_later(found) else None


def _is_later(found: re.Match[str]) -> bool:
    """Tell whether a name says so much, as those of split files by MNE do."""
    if found["split"]:
        return int(found["split"]) > 1
    return found.string[: found.start()].endswith(("-epo", "_epo"))


def _neighbours(path: Path) -> tuple[Path | None, Path | None]:
    """Read which files a FIF file names as the next one and the one before."""
    if not (is_fif(path) and path.is_file()):
        return None, None
    with warnings.catch_warnings(), use_log_level("error"):
        warnings.simplefilter("ignore")  # said when it is read
        try:
            file, tree, _ = fiff_open(path.absolute())
            with file:
                following = _get_next_fname(file, path.absolute(), tree)
                before = _name_before(file, tree)
        except Exception:  # whatever it is, reading the file will say so
            return None, None
    return following, None if before is None else path.absolute().with_name(before)


def _name_before(file: Any, tree: dict[str, Any]) -> str | None:
    for node in dir_tree_find(tree, FIFF.FIFFB_REF):
        tags = {entry.kind: entry.pos for entry in node["directory"]}
        if not {FIFF.FIFF_REF_ROLE, FIFF.FIFF_REF_FILE_NAME} <= set(tags):
            continue
        role = read_tag(file, tags[FIFF.FIFF_REF_ROLE]).data.item()
        if role == FIFF.FIFFV_ROLE_PREV_FILE:
            return Path(read_tag(file, tags[FIFF.FIFF_REF_FILE_NAME]).data).name
    return None
