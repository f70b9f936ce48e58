"""One recording in one file: a safetensors file with notes in its header."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from safetensors.numpy import save

from ._coding import decode

SUFFIX = ".safetensors"
_NOTES = "recording"  # key of the notes among the header's metadata


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

    Returns
    -------
    content : bytes
        The file.
    """
    notes = notes | {"checksum": _checksum(values, coding)}
    arrays = {
        "coding": coding,
        "n_valid": n_valid.astype(np.int32),
        "start": start.astype(np.float64),
        "windows": values,
    }
    return save(arrays, metadata={_NOTES: json.dumps(notes)})


def _checksum(values: np.ndarray, coding: np.ndarray) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(values), digest_size=16)
    digest.update(np.ascontiguousarray(coding))
    return digest.hexdigest()


@dataclass(frozen=True)
class Shard:
    """Where the windows of a recording lie.

    Attributes
    ----------
    path : Path
        The file.
    notes : dict
        What is known of the recording.
    n_valid : ndarray of int32, shape (n,)
        Recorded samples of each window.
    start : ndarray of float64, shape (n,)
        Time of each window's first sample in s.
    shape : tuple of int
        Sensors and samples of a window.
    windows_at, coding_at : int
        First byte of the integers, and of scales and offsets.
    """

    path: Path
    notes: dict[str, Any]
    n_valid: np.ndarray
    start: np.ndarray
    shape: tuple[int, int]
    windows_at: int
    coding_at: int

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
            size = os.fstat(file.fileno()).st_size
            try:
                length = int.from_bytes(_read(file, 0, 8), "little")
                if length > size:
                    raise ValueError("its header goes beyond its end")
                header = json.loads(_read(file, 8, length))
                notes = json.loads(header.pop("__metadata__")[_NOTES])
                at = {k: 8 + length + v["data_offsets"][0] for k, v in header.items()}
                end = 8 + length + max(v["data_offsets"][1] for v in header.values())
                if end != size:
                    raise ValueError(f"it has {size} bytes where {end} belong")
                n, *shape = header["windows"]["shape"]
                return cls(
                    path,
                    notes,
                    np.frombuffer(_read(file, at["n_valid"], 4 * n), "<i4"),
                    np.frombuffer(_read(file, at["start"], 8 * n), "<f8"),
                    tuple(shape),
                    at["windows"],
                    at["coding"],
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"Expected a recording in {path}, got a damaged file ({error}); "
                    "delete it, and prepare the recording again."
                ) from error

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

    def is_intact(self) -> bool:
        """Tell whether the windows are those that were written."""
        with open(self.path, "rb", buffering=0) as file:
            return (
                _checksum(*self._read_run(file, 0, len(self)))
                == (self.notes["checksum"])
            )


def _read(file: FileIO, at: int, size: int) -> bytes:
    content = np.empty(size, np.uint8)
    _fill(file, at, content)
    return content.tobytes()


def _fill(file: FileIO, at: int, out: np.ndarray) -> None:
    """Fill an array with the bytes from a place on."""
    file.seek(at)
    view = memoryview(out).cast("B")
    while view:
        n = file.readinto(view)
        if not n:
            raise ValueError(f"{file.name} ends early")
        view = view[n:]
