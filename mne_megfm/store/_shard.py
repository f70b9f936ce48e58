"""Files of a store: one file of windows, the settings, and how they are written."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from io import FileIO
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from safetensors.numpy import save

from ..utils.files import (
    DIGEST,
    UNSEALED,
    Header,
    check_seal,
    open_part,
    parse_json,
    parse_sealed_json,
    publish,
    seal,
    sealed_json,
    sweep as sweep_parts,
    sync_folder,
)

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
    part, file = open_part(path.parent, f".{path.name}.", PART)
    try:
        with file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
            os.fsync(file.fileno())
            publish(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Delete what killed writers have left; files still being written are spared.

    Parameters
    ----------
    folder : Path
        Where to look.
    """
    sweep_parts(folder, f".*{PART}")


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


#: Integers from -LARGEST to LARGEST are used.
LARGEST = 32767
_CODING_BLOCK = 64  # windows that are in memory at double precision at a time


def encode(windows: np.ndarray, n_valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encode windows.

    Parameters
    ----------
    windows : array of float, shape (n, n_sensors, n_times)
        Field in T.
    n_valid : array of int, shape (n,)
        Recorded samples, from the first; what follows is not kept.

    Returns
    -------
    values : ndarray of int16, shape (n, n_sensors, n_times)
        The integers; zero where nothing was recorded.
    coding : ndarray of float32, shape (n, 2, n_sensors)
        Field that 1 stands for and field that 0 stands for, in T, for each window
        and sensor.

    Notes
    -----
    Scale and offset follow the range of each sensor in each window, so the error is
    at most range / 131068, however large the offset of the sensor or the artefact of
    another one. They cost 1.6 % of the size.
    """
    n, n_sensors, n_times = windows.shape
    values = np.empty(windows.shape, np.int16)
    coding = np.empty((n, 2, n_sensors), np.float32)
    for first in range(0, n, _CODING_BLOCK):
        part = slice(first, first + _CODING_BLOCK)
        data = windows[part].astype(np.float64)
        empty = np.arange(n_times) >= n_valid[part, None]
        # a window's first sample is always recorded
        data = np.where(empty[:, None], data[..., :1], data)
        low, high = data.min(-1), data.max(-1)
        coding[part, 0] = (high - low) / (2 * LARGEST)
        coding[part, 1] = (high + low) / 2
        # with the scale and the offset as they are stored; a constant has no scale
        scale, offset = coding[part].astype(np.float64).swapaxes(0, 1)
        scale = np.where(scale > 0, scale, 1.0)
        data -= offset[..., None]
        data /= scale[..., None]
        data = np.clip(np.rint(data), -LARGEST, LARGEST)
        values[part] = np.where(empty[:, None], 0, data)
    return values, coding


def decode(
    values: np.ndarray, coding: np.ndarray, n_valid: int, out: np.ndarray
) -> None:
    """Decode one window.

    Parameters
    ----------
    values : array of int16, shape (n_sensors, n_times)
        The integers.
    coding : array of float32, shape (2, n_sensors)
        Scale and offset in T.
    n_valid : int
        Recorded samples.
    out : array of float32, shape (n_sensors, n_times)
        Where the field in T goes to; zero where nothing was recorded.
    """
    np.multiply(values, coding[0, :, None], out=out)
    out += coding[1, :, None]
    out[:, n_valid:] = 0.0


SUFFIX = ".safetensors"
_NOTES = "recording"  # key of the notes among the header's metadata
#: Type and number of axes of each array in a file.
_ARRAYS: dict[str, tuple[str, int]] = {
    "check": ("U32", 1),
    "coding": ("F32", 3),
    "n_valid": ("I32", 1),
    "start": ("F64", 1),
    "windows": ("I16", 3),
}
#: An array that a file may have besides.
_OPTIONAL: dict[str, tuple[str, int]] = {"targets": ("F32", 2)}
#: Arrays that are read when a file is opened; the hash in the header is of these, too.
_SMALL = ("check", "n_valid", "start", "targets")
#: What the notes have in any case, and of what type.
_KINDS = {
    **dict.fromkeys(("name", "participant", "state", "site", "array", "checksum"), str),
    "provenance": dict,
}
_DTYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "U32": "<u4"}
_AGAIN = "delete it, and prepare the recording again."
_BLOCK = 64  # windows that are looked at together


def file_name(name: str) -> str:
    """File of a recording: legible, legal everywhere and of bounded length."""
    # the hash tells apart what a file system may not: long names, upper and lower case
    digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    legible = quote(name, safe="")[:100]
    if legible[0] == ".":  # would hide the file
        legible = "_" + legible
    return f"{legible}.{digest}{SUFFIX}"


def shard_bytes(
    values: np.ndarray,
    coding: np.ndarray,
    n_valid: np.ndarray,
    start: np.ndarray,
    notes: dict[str, Any],
    targets: np.ndarray | None = None,
) -> bytes:
    """Contents of a recording's file.

    Parameters
    ----------
    values, coding : array
        See `encode`.
    n_valid : array of int, shape (n,)
        Recorded samples of each window.
    start : array of float, shape (n,)
        Time of each window's first sample in s.
    notes : dict
        What else is known of the recording.
    targets : array of float, shape (n, n_dims), optional
        What to predict of each window.

    Returns
    -------
    content : bytes
        The file.
    """
    arrays = {
        "check": np.array(
            [_check(v, c) for v, c in zip(values, coding, strict=True)], np.uint32
        ),
        "coding": coding,
        "n_valid": n_valid.astype(np.int32),
        "start": start.astype(np.float64),
        "windows": values,
    }
    if targets is not None:
        arrays["targets"] = np.ascontiguousarray(targets, np.float32)
    checksum = hashlib.blake2b(digest_size=16)
    for name in ("windows", "coding", "n_valid", "start", "targets"):
        if name in arrays:
            checksum.update(np.ascontiguousarray(arrays[name]))
    notes = UNSEALED | notes | {"checksum": checksum.hexdigest()}
    content = save(arrays, metadata={_NOTES: json.dumps(notes)})
    header = 8 + int.from_bytes(content[:8], "little")
    small = [arrays[name].tobytes() for name in _SMALL if name in arrays]
    sealed = seal(content[:header], *small)
    return sealed + content[header:]


def _check(values: np.ndarray, coding: np.ndarray) -> int:
    """Checksum of a window, quick enough to be compared at every reading."""
    return zlib.crc32(coding, zlib.crc32(values))


@dataclass(frozen=True)
class Shard:
    """Where the windows of a recording lie.

    Attributes
    ----------
    path : Path
        The file.
    notes : dict
        What is known of the recording.
    check : ndarray of uint32, shape (n,)
        Checksum of each window.
    n_valid : ndarray of int32, shape (n,)
        Recorded samples of each window.
    start : ndarray of float64, shape (n,)
        Time of each window's first sample in s.
    shape : tuple of int
        Sensors and samples of a window.
    windows_at, coding_at : int
        First byte of the integers, and of scales and offsets.
    targets : ndarray of float32, shape (n, n_dims) | None
        What to predict of each window, where that was given.
    """

    path: Path
    notes: dict[str, Any]
    check: np.ndarray
    n_valid: np.ndarray
    start: np.ndarray
    shape: tuple[int, int]
    windows_at: int
    coding_at: int
    targets: np.ndarray | None = None

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Read all but the windows, and check that these are there.

        Parameters
        ----------
        path : Path
            The file.

        Returns
        -------
        shard : Shard
            What it holds.

        Raises
        ------
        ValueError
            If the file is damaged.
        """
        with open(path, "rb", buffering=0) as file:
            try:
                header = Header.read(file, os.fstat(file.fileno()).st_size)
                kinds = {k: (kind, len(n)) for k, (kind, n, _) in header.arrays.items()}
                if kinds not in (_ARRAYS, _ARRAYS | _OPTIONAL):
                    raise ValueError(f"it has the arrays {kinds}")
                lengths = {shape[0] for _, shape, _ in header.arrays.values()}
                if len(lengths) > 1:
                    raise ValueError("its arrays are of several lengths")
                small = {}
                for name in [name for name in _SMALL if name in kinds]:
                    kind, shape, at = header.arrays[name]
                    small[name] = np.empty(shape, _DTYPES[kind])
                    _fill(file, at, small[name])
                notes = parse_json(str(header.metadata.get(_NOTES)))
                check_seal(header.data, notes.pop(DIGEST, None), *small.values())
                wrong = [
                    k for k, kind in _KINDS.items() if type(notes.get(k)) is not kind
                ]
                if wrong:
                    raise ValueError(f"its notes lack {', '.join(wrong)}")
                name = notes["name"]
                if path.name != file_name(name):
                    raise ValueError(f"it is the file of {name!r}")
            except ValueError as error:
                raise ValueError(
                    f"Expected a recording in {path}, got a damaged file: {error}; "
                    f"{_AGAIN}"
                ) from error
        windows, coding = header.arrays["windows"], header.arrays["coding"]
        return cls(
            path=path,
            notes=notes,
            shape=windows[1][1:],
            windows_at=windows[2],
            coding_at=coding[2],
            **small,
        )

    def __len__(self) -> int:
        return len(self.n_valid)

    def read(self, positions: np.ndarray, out: np.ndarray, rows: np.ndarray) -> None:
        """Read windows.

        Parameters
        ----------
        positions : array of int, shape (n,)
            Which of the recording's windows, in ascending order.
        out : array of float32, shape (m, n_sensors, n_times)
            Where they go to, in T.
        rows : array of int, shape (n,)
            Which rows of ``out``.

        Raises
        ------
        ValueError
            If a window is not the one that was written.
        """
        # opened for each batch: no limit of open files is met, and any process or
        # thread can read; buffering would only copy once more
        with open(self.path, "rb", buffering=0) as file:
            for run in np.split(
                np.arange(len(positions)), np.flatnonzero(np.diff(positions) != 1) + 1
            ):
                first, n = int(positions[run[0]]), len(run)
                values, coding = self._read_run(file, first, n)
                for i, j in enumerate(run):
                    self._compare(first + i, values[i], coding[i])
                    n_valid = int(self.n_valid[first + i])
                    decode(values[i], coding[i], n_valid, out[rows[j]])

    def _read_run(
        self, file: FileIO, first: int, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        n_sensors, n_times = self.shape
        values = np.empty((n, n_sensors, n_times), "<i2")
        coding = np.empty((n, 2, n_sensors), "<f4")
        _fill(file, self.windows_at + first * values[0].nbytes, values)
        _fill(file, self.coding_at + first * coding[0].nbytes, coding)
        return values, coding

    def _compare(self, number: int, values: np.ndarray, coding: np.ndarray) -> None:
        if _check(values, coding) != self.check[number]:
            raise ValueError(
                f"Expected the windows that were written in {self.path}, got a damaged "
                f"one (number {number}); {_AGAIN}"
            )

    def verify(self) -> None:
        """Read all windows and compare them with what was written.

        Raises
        ------
        ValueError
            If one is damaged.
        """
        with open(self.path, "rb", buffering=0) as file:
            for first in range(0, len(self), _BLOCK):
                n = min(_BLOCK, len(self) - first)
                values, coding = self._read_run(file, first, n)
                for i in range(n):
                    self._compare(first + i, values[i], coding[i])


def _fill(file: FileIO, at: int, out: np.ndarray) -> None:
    """Fill an array with the bytes from a place on."""
    file.seek(at)
    view = memoryview(out).cast("B")
    while view:
        n = file.readinto(view)
        if not n:
            raise ValueError(f"{file.name} ends early")
        view = view[n:]
