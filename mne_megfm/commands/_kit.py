"""What MNE-Python and mne-bids leave out of recordings of KIT systems.

Where nothing tells where the head was, MNE takes the device for it, and mne-bids writes
the files that tell beside a recording but does not read them. Of a file that ends
early, MNE takes what is missing for zeros.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import mne

if TYPE_CHECKING:
    from mne.io import BaseRaw

EXTENSIONS = {".con", ".sqd"}
#: Which block of a file has the samples.
_SAMPLES = 9


def complete(raw: BaseRaw, path: Path, bids: Any = None) -> None:
    """Set where the head was in a recording of a KIT system, if it is one.

    What it tells itself stays; where nothing tells, ``dev_head_t`` is the identity,
    which :func:`mne_megfm.sensors.device_to_head` knows for what it is.

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
    if path.suffix.lower() not in EXTENSIONS:
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
