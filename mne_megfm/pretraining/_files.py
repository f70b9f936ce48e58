"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from .._integrity import parse_sealed_json

PREFIX = ".writing-"


def write_whole(path: Path, data: bytes) -> None:
    """Write one file aside and move it into place; a crash leaves the old one."""
    aside = path.with_name(f"{PREFIX}{os.getpid()}-{path.name}")
    try:
        _write(aside, data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        # a name must not come to stand for data that a power cut loses
        os.fsync(file.fileno())


def write_together(directory: Path, files: Mapping[str, bytes], last: str) -> None:
    """Replace several files of a folder so that a crash loses neither old nor new.

    All are written into a folder aside, then moved one by one, the one that tells
    which belong together at last. If the moving is cut short, the rest stays aside,
    where :func:`find_together` finds it.
    """
    aside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))
    moving = False
    try:
        for name, data in files.items():
            _write(aside / name, data)
        moving = True
        for name in [*(name for name in files if name != last), last]:
            os.replace(aside / name, directory / name)
    except BaseException:
        if not moving:
            shutil.rmtree(aside, ignore_errors=True)
        raise
    for folder in directory.glob(f"{PREFIX}*/"):  # also of writers that crashed
        shutil.rmtree(folder, ignore_errors=True)


def sweep(directory: Path) -> None:
    """Remove the single files that killed writers left aside."""
    for path in directory.glob(f"{PREFIX}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


def find_together(
    directory: Path, table: str, names: Collection[str]
) -> dict[str, Path]:
    """Find files that belong together by their hashes, as a table of them says.

    The table is sealed JSON with an entry ``"sha256"``. The one in place counts; if it
    is damaged, or files in place are not those it lists, so does one that a crash left
    aside.

    Parameters
    ----------
    directory : Path
        The folder.
    table : str
        Name of the table.
    names : collection of str
        The files that it lists. No other file is looked at, whatever it says.

    Returns
    -------
    files : dict of Path
        The table and the files it lists, by name.

    Raises
    ------
    ValueError
        What is wrong with those in place, if there are no such files.
    """
    wrong = None
    for folder in (directory, *sorted(directory.glob(f"{PREFIX}*/"))):
        try:
            return _find(directory, folder, table, names)
        except (OSError, ValueError) as error:
            wrong = wrong or error
    raise ValueError(str(wrong)) from wrong


def _find(
    directory: Path, folder: Path, table: str, names: Collection[str]
) -> dict[str, Path]:
    """Find the files that the table of one folder lists, there or in place."""
    path = folder / table
    again = "the file is damaged: copy the checkpoint again."
    try:
        listed = parse_sealed_json(path.read_bytes()).get("sha256")
    except ValueError as error:
        raise ValueError(
            f"Expected JSON in {path}, got something else: {error}; {again}"
        ) from error
    if not isinstance(listed, dict) or set(listed) != set(names):
        raise ValueError(
            f"Expected the hashes of {' and '.join(names)} in {path}, got {listed!r}; "
            f"{again}"
        )
    found, wrong = {table: path}, []
    for name, digest in listed.items():
        places = (place / name for place in (directory, folder))
        at = next((p for p in places if p.is_file() and sha256(p) == digest), None)
        if at is None:
            wrong.append(name)
        else:
            found[name] = at
    if wrong:
        raise ValueError(
            f"Expected in {directory} the files whose hashes {table} has, got other "
            f"ones: {', '.join(wrong)}; damaged, or of another checkpoint: copy all "
            "files again."
        )
    return found


def sha256(path: Path) -> str:
    """Compute the hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
