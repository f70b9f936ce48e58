"""One run at a time in a folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ._ranks import Ranks

#: File of a run's folder that whoever holds it has locked; it says who that is.
LOCK = "lock"


@contextmanager
def hold(directory: Path | None, ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Hold the folder of a run; all processes that train together must call.

    The first of them has the lock. The system gives it back when that process ends in
    any way. A thread that has a folder may hold it once more.

    Parameters
    ----------
    directory : Path | None
        The folder; made if it is not there. Nothing is held for None.
    ranks : Ranks
        This process among the others.
    device : device
        Where they exchange numbers.

    Raises
    ------
    RuntimeError
        If another run has the folder.
    """
    if directory is None:
        yield
        return
    lock, holder = None, ""
    if ranks.first:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory.resolve() / LOCK
        holder = _holder(file)  # some versions of filelock empty a file that they try
        lock = FileLock(file, is_singleton=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            lock = None
        else:
            with suppress(OSError):  # of Windows, where a locked file cannot be written
                me = f"process {os.getpid()} on {platform.node()}"
                file.write_text(me, "utf-8")
    (n_holders,) = ranks.sum([float(lock is not None)], device)
    if not n_holders:
        raise RuntimeError(
            f"Expected no other run in {directory}, got one{holder}; wait "
            "until it ends, stop it and call again to continue it, or choose another "
            "folder."
        )
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _holder(file: Path) -> str:
    """Tell who has locked a file, where that is known."""
    try:
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" ({text})" if text else ""
