"""A folder of windows: written recording by recording, and the order of reading."""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._shard import (
    SUFFIX,
    Shard,
    check_form,
    commit,
    encode,
    file_name,
    read_settings,
    shard_bytes,
    sweep,
    write_settings,
)

if TYPE_CHECKING:
    import pandas as pd


# -- the folder ------------------------------------------------------------------------
def check_recording(
    windows: np.ndarray,
    name: str,
    participant: str,
    n_valid: np.ndarray | None,
    start: np.ndarray | None,
    targets: np.ndarray | None,
    store: WindowStore,
) -> tuple[np.ndarray, np.ndarray]:
    """Check what is to be appended, and fill in defaults.

    Parameters
    ----------
    windows, name, participant, n_valid, start, targets
        See `WindowStore.append`.
    store : WindowStore
        Where it is to go.

    Returns
    -------
    n_valid, start : ndarray
        As they are to be written.

    Raises
    ------
    ValueError
        If something does not fit.
    """
    for key, text in (("name", name), ("participant", participant)):
        if not isinstance(text, str) or not text:
            raise ValueError(f"Expected {key} to be a text, got {text!r}.")
    n = len(windows)
    if n == 0 or windows.shape[1:] != (store.n_sensors, store.n_times):
        raise ValueError(
            f"Expected windows of shape (n, {store.n_sensors}, {store.n_times}) with "
            f"n of at least 1, got {windows.shape} for {name!r}."
        )
    if windows.dtype.kind != "f" or not np.isfinite(windows).all():
        raise ValueError(
            f"Expected finite windows in T, got {windows.dtype} with NaN or "
            f"infinity, or no floats, for {name!r}."
        )
    n_valid = np.full(n, store.n_times) if n_valid is None else np.asarray(n_valid)
    if n_valid.shape != (n,) or n_valid.min() < 1 or n_valid.max() > store.n_times:
        raise ValueError(
            f"Expected n_valid to be {n} numbers from 1 to {store.n_times}, got "
            f"{n_valid!r} for {name!r}."
        )
    if start is None:
        start = np.arange(n) * (store.n_times / store.sfreq)
    start = np.asarray(start)
    if start.shape != (n,):
        raise ValueError(
            f"Expected start to be {n} times in s, got shape {start.shape}."
        )
    if targets is not None:
        fits = targets.ndim == 2 and len(targets) == n and targets.shape[1] > 0
        if (
            not fits
            or targets.dtype.kind not in "fiu"
            or not np.isfinite(targets).all()
        ):
            raise ValueError(
                f"Expected targets to be finite numbers of shape ({n}, n_dims), got "
                f"{targets.dtype} of shape {targets.shape} for {name!r}; give a row "
                "for each window."
            )
    return n_valid, start


_FOLDER = "recordings"


class WindowStore:
    """Canonical windows of many recordings, in a folder.

    Each recording is one file, which is there as a whole or not at all: a writer may
    be killed at any moment, and several may write at a time. What has been written is
    never changed. Windows are read from disk when they are asked for.

    Made by :meth:`create` and :meth:`open`.

    Parameters
    ----------
    path : path-like
        The folder of a store that exists.
    mode : {"r", "a"}
        Whether to read alone, or to append as well.

    Attributes
    ----------
    path : Path
        The folder.
    mode : str
        See above.
    n_sensors : int
        Sensors of a window.
    n_times : int
        Samples of a window.
    sfreq : float
        Sampling rate in Hz.

    See Also
    --------
    ShardSampler : The order of reading, for one process or several.

    Notes
    -----
    Windows are 16-bit integers with a scale and an offset for each sensor in each
    window, in safetensors files [1]_. Rounding changes a sample by at most 1/131068 of
    the range of its sensor in the window. Recordings are in the order of their names,
    whatever the order in which they were written.

    Every window has a checksum, which is compared whenever the window is read. What
    else is in a file is covered by a hash in its header, which is compared on opening.
    So a changed bit is an error wherever it is.

    References
    ----------
    .. [1] The safetensors format, https://github.com/huggingface/safetensors

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> from mne_megfm.store import WindowStore
    >>> windows = 1e-13 * np.random.default_rng(0).standard_normal((5, 192, 250))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = WindowStore.create(f"{folder}/store")
    ...     store.append(windows, name="s1-rest", participant="s1", state="rest")
    ...     data, n_valid = store.take([4, 0])
    ...     print(
    ...         store, data.shape, n_valid, np.abs(data[1] - windows[0]).max() < 1e-17
    ...     )
    <WindowStore | 5 windows, 1 recordings, 1 participants> (2, 192, 250) [250 250] True
    """

    def __init__(self, path: str | os.PathLike, mode: str = "r") -> None:
        if mode not in ("r", "a"):
            raise ValueError(f"Expected mode to be 'r' or 'a', got {mode!r}.")
        self.path = Path(path).expanduser()
        self.mode = mode
        settings = read_settings(self.path)
        self.n_sensors: int = settings["n_sensors"]
        self.n_times: int = settings["n_times"]
        self.sfreq: float = settings["sfreq"]
        if mode == "a":
            sweep(self.path)
            sweep(self._folder)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike,
        *,
        n_sensors: int = 192,
        n_times: int = 250,
        sfreq: float = 250.0,
    ) -> WindowStore:
        """Make an empty store.

        Parameters
        ----------
        path : path-like
            The folder; made if it is not there, and empty if it is.
        n_sensors : int
            Sensors of a window.
        n_times : int
            Samples of a window.
        sfreq : float
            Sampling rate in Hz.

        Returns
        -------
        store : WindowStore
            The store, to append to.

        Raises
        ------
        FileExistsError
            If there is something in the folder.
        ValueError
            If a number is out of range.
        """
        settings = check_form(n_sensors, n_times, sfreq)
        path = Path(path).expanduser()
        (path / _FOLDER).mkdir(parents=True, exist_ok=True)
        # what a killed call of this function leaves does not count
        sweep(path)
        found = {p.name for p in path.iterdir()} | {
            f"{_FOLDER}/{p.name}" for p in (path / _FOLDER).iterdir()
        }
        if found != {_FOLDER}:
            raise FileExistsError(
                f"Expected a new or empty folder for the store, got {path} with "
                f"{', '.join(sorted(found - {_FOLDER})[:3])}; choose another one, or "
                "open the store that is there."
            )
        write_settings(path, settings)
        return cls(path, "a")

    @classmethod
    def open(cls, path: str | os.PathLike, mode: str = "r") -> WindowStore:
        """Open a store.

        Parameters
        ----------
        path : path-like
            Its folder.
        mode : {"r", "a"}
            Whether to read alone, or to append as well.

        Returns
        -------
        store : WindowStore
            The store.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it is damaged, or of another version.
        """
        store = cls(path, mode)
        store._shards  # noqa: B018  (damaged files are found now)
        return store

    @property
    def _folder(self) -> Path:
        return self.path / _FOLDER

    def __repr__(self) -> str:
        names = self._participants_of_recordings
        return (
            f"<WindowStore | {len(self)} windows, {len(names)} recordings, "
            f"{len(set(names))} participants>"
        )

    def __getstate__(self) -> dict[str, Any]:
        # another process reads again what it needs
        return {k: self.__dict__[k] for k in ("path", "mode", *_SHAPE)}

    # -- writing ---------------------------------------------------------------------

    def append(
        self,
        windows: np.ndarray,
        *,
        name: str,
        participant: str,
        state: str,
        n_valid: np.ndarray | None = None,
        start: np.ndarray | None = None,
        site: str = "",
        array: str = "",
        dev_head_t: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        """Write one recording. When this returns, it is on disk to stay.

        Parameters
        ----------
        windows : array of float, shape (n, n_sensors, n_times)
            Field in T.
        name : str
            Name of the recording, which no other has.
        participant : str
            Whose it is.
        state : str
            State, such as ``"rest"``.
        n_valid : array of int, shape (n,), optional
            Recorded samples of each window; all by default.
        start : array of float, shape (n,), optional
            Time of each window's first sample in the recording, in s; one window
            after the other by default.
        site : str
            Where it was recorded.
        array : str
            Sensors that it was recorded with.
        dev_head_t : array, shape (4, 4), optional
            Position of the head.
        targets : array of float, shape (n, n_dims), optional
            What to predict of each window, such as the embedding of an image that was
            shown, for objectives that do so. Kept as float32.
        provenance : dict, optional
            Where the windows come from, as JSON can hold: files, their hashes,
            versions, parameters.

        Raises
        ------
        FileExistsError
            If there is a recording of this name.
        ValueError
            If the store is open for reading alone, or the data do not fit.
        OSError
            If it cannot be written; the store stays as it was.
        """
        if self.mode != "a":
            raise ValueError(
                f"Expected a store that is open with mode='a', got {self.mode!r}; open "
                "it so to append."
            )
        windows = np.asarray(windows)
        targets = None if targets is None else np.asarray(targets)
        n_valid, start = check_recording(
            windows, name, participant, n_valid, start, targets, self
        )
        notes = {
            "name": name,
            "participant": participant,
            "state": state,
            "site": site,
            "array": array,
            "dev_head_t": None
            if dev_head_t is None
            else np.asarray(dev_head_t).tolist(),
            "provenance": provenance or {},
        }
        values, coding = encode(windows, n_valid)
        content = shard_bytes(values, coding, n_valid, start, notes, targets)
        commit(self._folder / file_name(name), content)
        for cached in _CACHED:
            self.__dict__.pop(cached, None)

    def __contains__(self, name: str) -> bool:
        return (self._folder / file_name(name)).is_file()

    # -- reading ---------------------------------------------------------------------

    @cached_property
    def _shards(self) -> list[Shard]:
        shards = [self._open(path) for path in self.files]
        return sorted(shards, key=lambda shard: shard.notes["name"])

    @property
    def files(self) -> list[Path]:
        """The file of each recording, in the order of their names."""
        return sorted(p for p in self._folder.glob(f"*{SUFFIX}") if p.name[0] != ".")

    def _open(self, path: Path) -> Shard:
        shard = Shard.open(path)
        if shard.shape != (self.n_sensors, self.n_times):
            raise ValueError(
                f"Expected windows of {self.n_sensors} sensors and {self.n_times} "
                f"samples in {path}, got {shard.shape}; delete it."
            )
        return shard

    @cached_property
    def _first(self) -> np.ndarray:
        """First window of each recording, and the end."""
        return np.concatenate([[0], np.cumsum([len(s) for s in self._shards])]).astype(
            np.int64
        )

    @property
    def _participants_of_recordings(self) -> list[str]:
        return [shard.notes["participant"] for shard in self._shards]

    def __len__(self) -> int:
        return int(self._first[-1])

    @cached_property
    def recording(self) -> np.ndarray:
        """Number of the recording of each window, its row in ``table``."""
        return np.repeat(np.arange(len(self._shards)), np.diff(self._first))

    @cached_property
    def participant(self) -> np.ndarray:
        """Name of the participant of each window."""
        return np.array(self._participants_of_recordings, dtype=str)[self.recording]

    @cached_property
    def state(self) -> np.ndarray:
        """State of each window."""
        states = np.array([s.notes["state"] for s in self._shards], dtype=str)
        return states[self.recording]

    @cached_property
    def n_valid(self) -> np.ndarray:
        """Recorded samples of each window."""
        return np.concatenate([np.empty(0, int), *(s.n_valid for s in self._shards)])

    @cached_property
    def start(self) -> np.ndarray:
        """Time of each window's first sample in its recording, in s."""
        return np.concatenate([np.empty(0), *(s.start for s in self._shards)])

    @cached_property
    def targets(self) -> np.ndarray | None:
        """What to predict of each window; None unless all recordings have that.

        Shape (n_windows, n_dims).
        """
        found = [s.targets for s in self._shards]
        if not found or any(x is None for x in found):
            return None
        sizes = sorted({x.shape[1] for x in found})
        if len(sizes) > 1:
            raise ValueError(
                f"Expected targets of one size in {self.path}, got {sizes[0]} and "
                f"{sizes[-1]} numbers a window; make a store of each."
            )
        return np.concatenate(found)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each recording.

        Name, participant, state, site, array, number of windows, recorded time in s,
        hash of the windows, and what the provenance says in plain words or numbers.
        """
        import pandas as pd

        keys = ["name", "participant", "state", "site", "array"]
        rows = []
        for shard in self._shards:
            row = {key: shard.notes[key] for key in keys}
            row["n_windows"] = len(shard)
            row["seconds"] = float(shard.n_valid.sum() / self.sfreq)
            row["checksum"] = shard.notes["checksum"]
            for key, value in shard.notes["provenance"].items():
                if isinstance(value, str | int | float):
                    row.setdefault(key, value)
            rows.append(row)
        columns = [*keys, "n_windows", "seconds", "checksum"]
        return pd.DataFrame(rows, columns=None if rows else columns)

    def notes(self, name: str) -> dict[str, Any]:
        """Return all that is known of a recording.

        Parameters
        ----------
        name : str
            Its name.

        Returns
        -------
        notes : dict
            What was given to :meth:`append`, with ``dev_head_t`` and provenance.

        Raises
        ------
        KeyError
            If there is no such recording.
        """
        if name not in self:
            raise KeyError(f"Expected a recording of the store, got {name!r}.")
        return self._open(self._folder / file_name(name)).notes

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all windows, and of whose they are.

        Equal for equal contents: windows with their times, names, participants and
        states of the recordings.
        """
        keys = ("name", "participant", "state", "checksum")
        lines = [json.dumps([s.notes[key] for key in keys]) for s in self._shards]
        text = "\n".join([f"{self.n_sensors} {self.n_times} {self.sfreq}", *lines])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def take(self, index: np.ndarray | list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Read windows.

        Parameters
        ----------
        index : array of int, shape (n,)
            Which, in any order.

        Returns
        -------
        windows : ndarray of float32, shape (n, n_sensors, n_times)
            Field in T; zero where nothing was recorded.
        n_valid : ndarray of int, shape (n,)
            Recorded samples.

        Raises
        ------
        IndexError
            If there is no such window.
        ValueError
            If one has changed since it was written.
        """
        index = np.asarray(index, dtype=np.int64)
        if len(index) and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(
                f"Expected windows from 0 to {len(self) - 1}, got {index.min()} to "
                f"{index.max()}."
            )
        out = np.empty((len(index), self.n_sensors, self.n_times), np.float32)
        rows = np.argsort(index, kind="stable")
        ordered = index[rows]
        owner = self.recording[ordered]
        for part in np.split(
            np.arange(len(index)), np.flatnonzero(np.diff(owner) != 0) + 1
        ):
            if len(part):
                number = int(owner[part[0]])
                positions = ordered[part] - self._first[number]
                self._shards[number].read(positions, out, rows[part])
        return out, self.n_valid[index]

    def stream(
        self, batches: Iterable[np.ndarray], *, ahead: int = 2
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read batches of windows before they are asked for.

        Parameters
        ----------
        batches : iterable of array of int
            Windows of each batch, as from ``ShardSampler.epoch``.
        ahead : int
            Batches that are read at a time, each by a thread, while the one before
            is in use. 0 reads when asked.

        Yields
        ------
        windows, n_valid : ndarray
            Each batch, in order; see :meth:`take`.
        """
        if ahead < 1:
            yield from map(self.take, batches)
            return
        # settled before threads look at it
        self.n_valid, self.recording  # noqa: B018
        with ThreadPoolExecutor(ahead) as pool:
            waiting: deque = deque()
            try:
                for batch in batches:
                    waiting.append(pool.submit(self.take, batch))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def split(
        self, fraction: float, random_state: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Split windows in two so that no participant is in both.

        Parameters
        ----------
        fraction : float
            Share of the participants in the second part, at least one.
        random_state : int
            Seed of the draw.

        Returns
        -------
        first : array of int
            Windows of the first part.
        second : array of int
            Windows of the second part; with one participant, the last windows.

        Raises
        ------
        ValueError
            If there is but one window.
        """
        return split_groups(self.participant, fraction, random_state)

    def damaged(self, files: Iterable[Path] | None = None) -> list[str]:
        """Read everything and compare it with what was written.

        A store can be opened for this with ``WindowStore(path)``, where
        :meth:`open` finds that a header is damaged.

        Parameters
        ----------
        files : iterable of Path, optional
            Which of the :attr:`files` to read; all by default.

        Returns
        -------
        damaged : list of str
            Recordings that have changed since, or cannot be read: their names, and of
            those whose header is damaged the file's name.
        """
        damaged = []
        for path in self.files if files is None else files:
            name = path.name
            try:
                shard = self._open(path)
                name = shard.notes["name"]
                shard.verify()
            except (OSError, ValueError):
                damaged.append(name)
        return damaged


_SHAPE = ("n_sensors", "n_times", "sfreq")
_CACHED = tuple(
    name
    for name, value in vars(WindowStore).items()
    if isinstance(value, cached_property)
)


# -- what is held out, and the order of reading ----------------------------------------
def split_groups(
    groups: np.ndarray, fraction: float, random_state: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split samples in two so that no group is in both.

    Parameters
    ----------
    groups : array, shape (n,)
        Group of each sample.
    fraction : float
        Share of the groups in the second part, at least one.
    random_state : int
        Seed of the draw.

    Returns
    -------
    first : array of int
        Samples of the first part.
    second : array of int
        Samples of the second part; with a single group, its last samples.

    Raises
    ------
    ValueError
        If there is but one sample.
    """
    if len(groups) < 2:
        raise ValueError(
            f"Expected at least 2 windows to split, got {len(groups)}; give more data."
        )
    names = np.unique(groups)
    if len(names) == 1:
        everything = np.arange(len(groups))
        n_second = _share(fraction, len(groups))
        return everything[:-n_second], everything[-n_second:]
    chosen = np.random.default_rng(random_state).permutation(names)
    chosen = chosen[: _share(fraction, len(names))]
    second = np.isin(groups, chosen)
    return np.flatnonzero(~second), np.flatnonzero(second)


def _share(fraction: float, n: int) -> int:
    """Count a share of n that leaves at least one on both sides."""
    return min(max(1, round(fraction * n)), n - 1)


class ShardSampler:
    """Batches of windows in random order, shared out among ranks.

    In an epoch each window comes exactly once. What is in a batch depends on
    ``random_state`` and epoch alone: the shares of all ranks, put together in the order
    of the ranks, are the batch that a single process would get. (With ``groups``, in
    another order.)

    Parameters
    ----------
    index : int | array of int, shape (n,)
        The windows to go through, or how many there are.
    batch_size : int
        Windows in a batch at most, over all ranks. Batches are as equal in size as
        the number of windows allows, so that none is left with a few.
    random_state : int
        Seed of the order.
    rank : int
        Which share this process gets.
    world_size : int
        Number of processes.
    block : int
        Neighbouring windows that stay together. 1 mixes everything; more spares a
        disk on which finding a place is slow, for batches that are less mixed.
    groups : array of int, shape (n,), optional
        A number for each window, such as that of its participant. Windows then come
        with another one of their group, drawn in each epoch; a window that is the only
        one of its group comes alone. At the ends of a rank's share, a pair may be
        divided.

    Raises
    ------
    ValueError
        If a number is out of range, there are fewer windows in a batch than ranks, or
        there are ``groups`` and blocks.

    Examples
    --------
    >>> from mne_megfm.store import ShardSampler
    >>> one = ShardSampler(10, 4, random_state=7)
    >>> [batch.tolist() for batch in one.epoch(1)]
    [[9, 0, 8, 6], [7, 1, 3], [4, 2, 5]]
    >>> two = ShardSampler(10, 4, random_state=7, rank=1, world_size=2)
    >>> [batch.tolist() for batch in two.epoch(1)]
    [[8, 6], [3], [5]]
    """

    def __init__(
        self,
        index: int | Sequence[int] | np.ndarray,
        batch_size: int,
        *,
        random_state: int = 0,
        rank: int = 0,
        world_size: int = 1,
        block: int = 1,
        groups: np.ndarray | None = None,
    ) -> None:
        self.index = np.arange(index) if isinstance(index, Integral) else index
        self.index = np.asarray(self.index, dtype=np.int64)
        for name, value in (
            ("batch_size", batch_size),
            ("world_size", world_size),
            ("block", block),
        ):
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(
                    f"Expected {name} to be an integer of at least 1, got {value!r}."
                )
        if not isinstance(rank, Integral) or not 0 <= rank < world_size:
            raise ValueError(
                f"Expected rank to be from 0 to {world_size - 1}, got {rank!r}."
            )
        self.batch_size = batch_size
        self.random_state = random_state
        self.rank = rank
        self.world_size = world_size
        if groups is not None and (block > 1 or len(groups) != len(self.index)):
            raise ValueError(
                f"Expected a group for each of {len(self.index)} windows and block=1, "
                f"got {len(groups)} and {block}; change one of them."
            )
        self.block = block
        self.groups = groups
        if not len(self.index) or len(self.index) // len(self) < world_size:
            raise ValueError(
                f"Expected at least one window a batch for each of {world_size} "
                f"ranks, got {len(self.index)} windows in batches of {batch_size}; "
                "give more data or a larger batch_size, or use fewer processes."
            )

    def __len__(self) -> int:
        return -(-len(self.index) // self.batch_size)

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """Go through the windows once.

        Parameters
        ----------
        number : int
            Number of the epoch; each has its own order.

        Returns
        -------
        batches : iterator of array of int
            This rank's windows in each batch.
        """
        rng = np.random.default_rng([self.random_state, number])
        if self.groups is not None:
            order = self._in_pairs(rng)
        elif self.block == 1:
            order = rng.permutation(self.index)
        else:
            cuts = np.arange(self.block, len(self.index), self.block)
            blocks = np.split(self.index, cuts)
            order = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
        for batch in np.array_split(order, len(self)):
            share = np.array_split(batch, self.world_size)[self.rank]
            if self.groups is not None:  # neighbours share masks: pairs must not
                share = np.random.default_rng(
                    [self.random_state, number, int(share[0])]
                ).permutation(share)
            yield share

    def _in_pairs(self, rng: np.random.Generator) -> np.ndarray:
        """Order windows at random, each next to another one of its group."""
        drawn = rng.permutation(len(self.index))
        drawn = drawn[np.argsort(self.groups[drawn], kind="stable")]
        group = self.groups[drawn]
        starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
        sizes = np.diff(np.r_[starts, len(group)])
        place = np.arange(len(group)) - np.repeat(starts, sizes)
        # of a group of an odd size, the last three stay together
        size = np.repeat(sizes, sizes)
        first = (place % 2 == 0) & ((place == 0) | (place < size - 1))
        pairs = np.split(self.index[drawn], np.flatnonzero(first)[1:])
        return np.concatenate([pairs[i] for i in rng.permutation(len(pairs))])
