"""Files and settings of a store, each written completely or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from io import FileIO
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from uuid import uuid4

from ..utils.files import parse_json, parse_sealed_json, sealed_json

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be deleted
    fcntl = None  # type: ignore[assignment]

#: Ending of a file that is being written.
PART = ".part"


def commit(path: Path, content: bytes) -> None:
    """Write a new file; when this returns, it is on disk to stay.

    Parameters
    ----------
    path : Path
        The file, in a folder that exists.
    content : bytes
        What it holds.

    Raises
    ------
    FileExistsError
        If it is there already; it is not changed.
    OSError
        If it cannot be written. Nothing is left behind.
    """
    part, file = _open_part(path)
    try:
        with file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
            _publish(part, path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Delete what killed writers have left; files still being written are spared.

    Parameters
    ----------
    folder : Path
        Where to look.
    """
    for part in folder.glob(f".*{PART}"):
        with suppress(OSError):  # of a living writer, or another has been quicker
            if fcntl is None:
                part.unlink()
                continue
            with open(part, "r+b") as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()


def _open_part(path: Path) -> tuple[Path, FileIO]:
    """Open a hidden file of this process' own, locked until it ends in any way."""
    while True:
        part = path.with_name(f".{path.name}.{uuid4().hex[:12]}{PART}")
        file = open(part, "xb", buffering=0)  # noqa: SIM115
        if fcntl is None:
            return part, file
        # without locks on this file system, nothing is ever swept up
        with suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        if part.exists():  # not swept up before it was locked
            return part, file
        file.close()


def _publish(part: Path, path: Path) -> None:
    """Give a written file its name, unless another has it."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as exFAT
        if path.exists():
            raise FileExistsError(f"{path} is there already") from None
        os.rename(part, path)


def _sync_folder(folder: Path) -> None:
    """Make a new name in a folder last through a loss of power."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


#: Version of the layout on disk. Another one is refused.
VERSION = 2
FILE = "store.json"
_FORMAT = "mne-megfm window store"
#: Kind and largest value of each number that makes the form of a window.
_LIMITS = {
    "n_sensors": (Integral, 100_000),
    "n_times": (Integral, 1_000_000),
    "sfreq": (Real, 1e6),
}


def check_form(n_sensors: Any, n_times: Any, sfreq: Any) -> dict[str, Any]:
    """Check the form of windows.

    Parameters
    ----------
    n_sensors, n_times : int
        Sensors and samples of a window.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    form : dict
        The same as plain numbers.

    Raises
    ------
    ValueError
        If one of them is not a number in range.
    """
    form = {"n_sensors": n_sensors, "n_times": n_times, "sfreq": sfreq}
    for name, value in form.items():
        kind, most = _LIMITS[name]
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not (fits and 0 < value <= most):
            raise ValueError(
                f"Expected {name} to be a {'whole ' if kind is Integral else ''}number "
                f"above 0 and up to {most:g}, got {value!r}; correct it."
            )
    return {name: float(v) if name == "sfreq" else int(v) for name, v in form.items()}


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Make a folder a store.

    Parameters
    ----------
    folder : Path
        The folder.
    settings : dict
        Form of the windows.
    """
    content = {"format": _FORMAT, "version": VERSION} | settings
    commit(folder / FILE, sealed_json(content, indent=1))


def read_settings(folder: Path) -> dict[str, Any]:
    """Read what kind of store this is.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    settings : dict
        Form of the windows.

    Raises
    ------
    FileNotFoundError
        If the folder holds no store.
    ValueError
        If it holds one of another version, or something else.
    """
    file = folder / FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"Expected a window store in {folder}, got no {FILE}; make one with "
            "`mne-megfm prepare` or WindowStore.create."
        )
    data = file.read_bytes()
    try:
        content = parse_json(data)
        found = content.get("format"), content.get("version")
        if found == (_FORMAT, VERSION):
            content = parse_sealed_json(data)
    except ValueError as error:
        raise ValueError(
            f"Expected the settings of a window store in {file}, got something else: "
            f"{error}; the file is damaged or not ours. Copy {FILE} of an empty store "
            "of the same form here."
        ) from error
    if found != (_FORMAT, VERSION):
        raise ValueError(
            f"Expected {_FORMAT!r} of version {VERSION} in {file}, got {found[0]!r} of "
            f"version {found[1]!r}; use the mne-megfm that wrote it, or prepare the "
            "recordings again (unless the file is damaged: then copy it again)."
        )
    return check_form(*(content.get(name) for name in _LIMITS))
