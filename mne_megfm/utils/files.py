"""Files written completely or not at all, and hashes that show damage.

A file that is *sealed* has the SHA-256 of its own contents in an entry ``"digest"``,
made with zeros in the place of that entry. Any changed bit is found, in the entry, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase, BufferedWriter, FileIO, RawIOBase
from math import prod
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be deleted
    fcntl = None

#: Entry of a sealed file with the hash of the rest. It has to come first.
DIGEST = "digest"
_BLANK = "0" * 64
#: What stands for the hash until it is known.
UNSEALED = {DIGEST: _BLANK}
#: Bytes of a number, by its name in a safetensors header.
_ITEMSIZE = {
    **dict.fromkeys(("BOOL", "I8", "U8"), 1),
    **dict.fromkeys(("BF16", "F16", "I16", "U16"), 2),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F64", "I64", "U64"), 8),
}


def seal(content: bytes, *more: bytes, after: bytes = b"") -> bytes:
    """Put the hash of some contents into them.

    Parameters
    ----------
    content : bytes
        What has `UNSEALED` as its first entries.
    *more : bytes
        What else the hash is of.
    after : bytes
        What the entry comes after, where it is not the first.

    Returns
    -------
    sealed : bytes
        The same with the hash.
    """
    at = content.index(_BLANK.encode(), content.rindex(after) if after else 0)
    digest = _hash(content, at, *more).encode()
    return content[:at] + digest + content[at + len(_BLANK) :]


def check_seal(content: bytes, digest: Any, *more: bytes) -> None:
    """Compare contents with the hash in them.

    Parameters
    ----------
    content : bytes
        What `seal` gave.
    digest : str
        The entry with the hash, as read.
    *more : bytes
        What else the hash is of.

    Raises
    ------
    ValueError
        If they have changed since they were sealed.
    """
    fits = isinstance(digest, str) and len(digest) == len(_BLANK) and digest.isascii()
    at = content.find(digest.encode()) if fits else -1
    if at < 0 or _hash(content, at, *more) != digest:
        raise ValueError(f"its contents have changed since it was written ({DIGEST})")


def _hash(content: bytes, at: int, *more: bytes) -> str:
    view = memoryview(content)
    digest = hashlib.sha256(view[:at])
    digest.update(_BLANK.encode())
    for part in (view[at + len(_BLANK) :], *more):
        digest.update(part)
    return digest.hexdigest()


def sealed_json(content: dict[str, Any], indent: int = 2) -> bytes:
    """Write JSON with its own hash.

    Parameters
    ----------
    content : dict
        What to write.
    indent : int
        Spaces a level.

    Returns
    -------
    data : bytes
        The text.
    """
    text = json.dumps(UNSEALED | content, indent=indent) + "\n"
    return seal(text.encode())


def parse_sealed_json(data: bytes) -> dict[str, Any]:
    """Read what `sealed_json` wrote.

    Parameters
    ----------
    data : bytes
        The text.

    Returns
    -------
    content : dict
        What was written, without the hash.

    Raises
    ------
    ValueError
        If it is something else, or has changed.
    """
    content = parse_json(data)
    check_seal(data, content.pop(DIGEST, None))
    return content


def parse_json(data: bytes | str, finite: bool = False) -> dict[str, Any]:
    """Read a JSON object, whatever may be there in its place.

    Parameters
    ----------
    data : bytes | str
        The text.
    finite : bool
        Whether NaN and infinity, which Python alone takes for JSON, are refused.

    Returns
    -------
    content : dict
        The object.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        text = data.decode() if isinstance(data, bytes) else data
        content = json.loads(text, parse_constant=_refuse if finite else None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"it is not a JSON object, but {type(content).__name__}")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"it has {constant}")


@dataclass(frozen=True)
class Header:
    """What the header of a safetensors file says.

    Attributes
    ----------
    data : bytes
        The header with its length, as it is in the file.
    metadata : dict of str
        The notes in it.
    arrays : dict
        Type, shape and first byte (in the file) of each array, by name.
    """

    data: bytes
    metadata: dict[str, str]
    arrays: dict[str, tuple[str, tuple[int, ...], int]]

    @classmethod
    def read(cls, file: BufferedIOBase | RawIOBase, size: int) -> Header:
        """Read the header, and check that it describes the file to its last byte.

        Nothing is allocated that the header asks for: only what is in the file.

        Parameters
        ----------
        file : file object
            The file, open at its start.
        size : int
            Its size in bytes.

        Returns
        -------
        header : Header
            What it says.

        Raises
        ------
        ValueError
            If that does not fit the file.
        """
        length = file.read(8)
        n = int.from_bytes(length, "little")
        if len(length) < 8 or n > size - 8:
            raise ValueError("its header goes beyond its end")
        text = file.read(n)
        content = parse_json(text, finite=True)
        metadata = content.pop("__metadata__", {})
        if not isinstance(metadata, dict):
            raise ValueError("its header has no table of notes")
        arrays, pieces = {}, []
        for name, entry in content.items():
            dtype, shape, first, last = _parse_entry(name, entry)
            arrays[name] = dtype, shape, 8 + n + first
            pieces.append((8 + n + first, 8 + n + last))
        end = 8 + n
        for first, last in sorted(pieces):
            if first != end:
                raise ValueError("its arrays do not follow one another")
            end = last
        if end != size:
            raise ValueError(f"it has {size} bytes where {end} belong")
        return cls(length + text, metadata, arrays)


def _parse_entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Read what a header says of one array."""
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        first, last = entry["data_offsets"]
        itemsize = _ITEMSIZE[dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its header does not describe {name!r}") from error
    whole = all(type(n) is int and n >= 0 for n in (*shape, first, last))
    if not whole or last - first != itemsize * prod(shape):
        raise ValueError(f"the size of {name!r} is not that of its shape")
    return dtype, shape, first, last


#: Beginning of the names of files, and folders, that are being written.
PREFIX = ".writing-"


def open_part(folder: Path, prefix: str, suffix: str = "") -> tuple[Path, FileIO]:
    """Open a new file of this process' own, locked until it ends in any way.

    Parameters
    ----------
    folder : Path
        Where to.
    prefix, suffix : str
        Beginning and end of its name.

    Returns
    -------
    part : Path
        The file.
    file : file object
        The same, open for writing without a buffer.
    """
    while True:
        part = folder / f"{prefix}{uuid4().hex[:12]}{suffix}"
        file = open(part, "xb", buffering=0)  # noqa: SIM115
        if fcntl is None:
            return part, file
        # without locks on this file system, nothing is ever swept up
        with suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        if part.exists():  # not swept up before it was locked
            return part, file
        file.close()


def sweep(folder: Path, pattern: str = f"{PREFIX}*") -> None:
    """Delete files that killed writers have left; those of living ones are spared.

    Parameters
    ----------
    folder : Path
        Where to look.
    pattern : str
        Names of such files.
    """
    for part in folder.glob(pattern):
        with suppress(OSError):  # a folder; or of a living writer, or gone meanwhile
            if fcntl is None:
                part.unlink()
                continue
            with open(part, "r+b") as file:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()


def publish(part: Path, path: Path) -> None:
    """Give a written file its name, unless another has it.

    Parameters
    ----------
    part : Path
        The file; it may still be there after.
    path : Path
        Its name.

    Raises
    ------
    FileExistsError
        If there is such a file. It is not changed.
    """
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as exFAT
        if path.exists():
            raise FileExistsError(f"{path} is there already") from None
        os.rename(part, path)


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder last through a loss of power."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def written_whole(path: Path, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Open a file that is there as a whole once the block has ended, or not at all.

    Killed at any moment, it leaves what was there before. What killed writers left in
    the folder is removed.

    Parameters
    ----------
    path : Path
        The file.
    overwrite : bool
        Whether it replaces one that is there by then.

    Yields
    ------
    file : file object
        Open for writing of bytes.

    Raises
    ------
    FileExistsError
        If there is one, made perhaps by another process meanwhile, and ``overwrite``
        is False.
    OSError
        If it cannot be written. Nothing is left behind.
    """
    sweep(path.parent)
    part, raw = open_part(path.parent, PREFIX)
    try:
        with BufferedWriter(raw) as file:
            yield file
            file.flush()
            # a name must not come to stand for data that a power cut loses
            os.fsync(file.fileno())
            if not overwrite:
                _publish_new(part, path)
            elif fcntl is not None:  # locked, so that it is not swept up before
                os.replace(part, path)
        if overwrite and fcntl is None:
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def _publish_new(part: Path, path: Path) -> None:
    try:
        publish(part, path)
    except FileExistsError as error:
        raise FileExistsError(
            f"Expected a new file, got {path}, which exists now, though it did not "
            "when this began: was the same done twice at a time? It was left as it "
            "is; choose another name, or overwrite it."
        ) from error


def write_whole(path: Path, data: bytes, overwrite: bool = True) -> None:
    """Write a file as a whole; see `written_whole`."""
    with written_whole(path, overwrite) as file:
        file.write(data)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Wait until no other process writes to a folder in this way."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_together(
    directory: Path, files: Mapping[str, bytes], last: str, overwrite: bool = True
) -> None:
    """Replace several files of a folder so that a crash loses neither old nor new.

    All are written into a temporary folder, then moved one by one. The one that lists
    the others comes last. If the moving is interrupted, the rest stays in the temporary
    folder, where :func:`find_together` finds it. Of several processes that do this at
    a time, one comes after the other.

    Parameters
    ----------
    directory : Path
        The folder.
    files : dict of bytes
        Their contents, by name.
    last : str
        The one that lists the others.
    overwrite : bool
        Whether there may be other files.

    Raises
    ------
    FileExistsError
        If there are some and ``overwrite`` is False.
    OSError
        If they cannot be written. What was there stays.
    """
    with _alone(directory):
        if not overwrite and (found := next(directory.iterdir(), None)):
            raise FileExistsError(
                f"Expected no files in {directory}, got some ({found.name}); pass "
                "overwrite=True to replace the checkpoint, or choose another folder."
            )
        temporary = Path(tempfile.mkdtemp(prefix=PREFIX, dir=directory))
        moving = False
        try:
            for name, data in files.items():
                _write(temporary / name, data)
            moving = True
            for name in [*(name for name in files if name != last), last]:
                os.replace(temporary / name, directory / name)
        except BaseException:
            if not moving:
                shutil.rmtree(temporary, ignore_errors=True)
            raise
        for folder in directory.glob(f"{PREFIX}*/"):  # also of writers that crashed
            shutil.rmtree(folder, ignore_errors=True)
        sync_folder(directory)


def find_together(
    directory: Path, table: str, names: Collection[str]
) -> dict[str, Path]:
    """Find files that belong together by their hashes, as a table of them says.

    The table is sealed JSON with an entry ``"sha256"``. The one in place counts; if it
    is damaged, or files in place are not those it lists, so does one in a
    temporary folder that a crash left.

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
