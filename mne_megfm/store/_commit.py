"""Files that are there as a whole or not at all, whenever the writer is killed."""

from __future__ import annotations

import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from uuid import uuid4

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
