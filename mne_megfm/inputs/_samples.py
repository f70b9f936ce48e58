"""A view of MNE objects that scikit-learn can cut into rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from mne import pick_types
from mne.utils import use_log_level

from .checks import check_duration
from .reading import Recording, collect, read_rows


class MEGSamples:
    """Light view of recordings as rows, for scikit-learn.

    scikit-learn cuts `mne.Epochs` into a list of single epochs, copying each one.
    A view is cut without touching the data, which are read where they are needed.

    Parameters
    ----------
    inst : Epochs | Raw | Evoked | MEGSamples | list of these
        The recordings. The rows of a list are the rows of its elements, one after
        the other.
    duration : float
        Length of a row of a Raw, in seconds. A Raw shorter than this is one
        shorter row; what is left over at the end of a longer one is not used.
    overlap : float
        Overlap of neighbouring rows of a Raw, in seconds.
    reject_by_annotation : bool
        Whether to leave out rows of a Raw that touch an annotation whose
        description begins with "bad" in any case.

    Attributes
    ----------
    shape : tuple of int
        Number of rows, of MEG channels (bad ones included, reference channels not)
        and of samples. Where recordings differ, the last two are those of the
        first row.
    ch_names : list of str
        Names of these channels (of the first row).
    states : ndarray of str, shape (n_rows,)
        State of each row: the name of its event, the comment of an Evoked, or
        ``"rest"`` for a window of a Raw.

    See Also
    --------
    as_recordings : The same recordings, as streamed by the estimators.

    Notes
    -----
    Indexing by an integer gives a view of one row, not the row's data; use
    ``np.asarray(view)`` for these, in T (T/m for planar gradiometers).

    The objects are shared, not copied: what is later done to them in place shows.
    A view pickles, with a copy of only those epochs that it looks at.

    Examples
    --------
    >>> import numpy as np, mne
    >>> from mne_megfm.inputs import MEGSamples
    >>> info = mne.create_info(["MEG 1", "MEG 2"], 250.0, "mag")
    >>> rng = np.random.default_rng(0)
    >>> data = 1e-13 * rng.standard_normal((10, 2, 100))
    >>> X = MEGSamples(mne.EpochsArray(data, info, verbose=False))
    >>> X.shape, X[2:5].shape, X[[0, 7]].shape, X[-1].shape
    ((10, 2, 100), (3, 2, 100), (2, 2, 100), (1, 2, 100))
    >>> np.array_equal(X[[0, 7]], data[[0, 7]])
    True
    """

    def __init__(
        self,
        inst: Any,
        *,
        duration: float = 1.0,
        overlap: float = 0.0,
        reject_by_annotation: bool = True,
    ) -> None:
        check_duration(duration, overlap)
        parts, _, _ = collect(
            inst,
            duration=duration,
            overlap=overlap,
            reject_by_annotation=reject_by_annotation,
        )
        sources = [part for _, part in parts]
        n_rows = sum(len(part.rows) for part in sources)
        source, row = np.empty(n_rows, int), np.empty(n_rows, int)
        for number, part in enumerate(sources):
            source[part.index] = number
            row[part.index] = np.arange(len(part.rows))
        self._set(tuple(sources), source, row)

    def _set(
        self, sources: tuple[Recording, ...], source: np.ndarray, row: np.ndarray
    ) -> None:
        self._sources = sources
        self._source = source  # for every row: which of the sources, ...
        self._row = row  # ... and which of that source's rows

    def _as_parts(self) -> list[Recording]:
        """Give the recordings with the rows of this view, counted within it."""
        numbers, first = np.unique(self._source, return_index=True)
        parts = []
        for number in numbers[np.argsort(first)]:
            index = np.flatnonzero(self._source == number)
            parts.append(self._sources[number].select(self._row[index], index))
        return parts

    def __len__(self) -> int:
        return len(self._row)

    def __repr__(self) -> str:
        kinds = sorted({self._sources[number].kind for number in set(self._source)})
        n_rows, n_channels, n_times = self.shape
        return (
            f"<MEGSamples | {n_rows} rows ({', '.join(kinds) or 'none'}), "
            f"{n_channels} MEG channels x {n_times} samples>"
        )

    @property
    def _first(self) -> Recording:
        return self._sources[self._source[0] if len(self) else 0]

    @property
    def ndim(self) -> int:
        """Number of dimensions, 3."""
        return 3

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, MEG channels and samples of the first row."""
        return len(self), len(_meg_picks(self._first)), self._first.n_samples

    @property
    def ch_names(self) -> list[str]:
        """Names of the MEG channels of the first row."""
        return [self._first.inst.ch_names[pick] for pick in _meg_picks(self._first)]

    @property
    def states(self) -> np.ndarray:
        """State of each row, shape (n_rows,)."""
        states = np.empty(len(self), dtype=object)
        for part in self._as_parts():
            states[part.index] = part.states
        return states.astype(str)

    def groups(self, column: str) -> np.ndarray:
        """Take a column of the epochs' metadata, one value for each row.

        Parameters
        ----------
        column : str
            Name of the column, for instance of the participant.

        Returns
        -------
        groups : ndarray, shape (n_rows,)
            The values, for ``groups`` of scikit-learn's cross-validation.

        Raises
        ------
        ValueError
            If a recording has no metadata, or no such column.
        """
        found: list[Any] = [None] * len(self)
        for part in self._as_parts():
            metadata = getattr(part.inst, "metadata", None)
            if metadata is None:
                raise ValueError(
                    f"Expected epochs with metadata, got {part.inst!r} without; set "
                    "epochs.metadata, or make the groups yourself."
                )
            if column not in metadata:
                raise ValueError(
                    f"Expected a column of the metadata, got {column!r}; there are "
                    f"{', '.join(map(str, metadata.columns))}."
                )
            values = metadata[column].to_numpy()[part.rows]
            for position, value in zip(part.index, values, strict=True):
                found[position] = value
        return np.array(found)

    def __getitem__(self, key: Any) -> MEGSamples:
        rows = self._resolve(key)
        view = object.__new__(type(self))
        view._set(self._sources, self._source[rows], self._row[rows])
        return view

    def _resolve(self, key: Any) -> np.ndarray | slice:
        """Rows that a key of scikit-learn or NumPy stands for."""
        if isinstance(key, tuple):  # X[key, ...] or X[key, :, :]
            rest = key[1:]
            if not key or any(k is not Ellipsis and k != slice(None) for k in rest):
                raise IndexError(
                    f"Expected an index of rows alone, got {key!r}; use "
                    "np.asarray(X) to index channels and samples."
                )
            key = key[0]
        if key is Ellipsis or isinstance(key, slice):
            return slice(None) if key is Ellipsis else key
        rows = np.asarray(key)
        if rows.size == 0 and rows.dtype.kind == "f":  # an empty list
            rows = rows.astype(int)
        if rows.ndim > 1 or rows.dtype.kind not in "iub":
            raise IndexError(
                "Expected an integer, a slice, or a list or array of integers or "
                f"booleans, got {key!r}."
            )
        if rows.dtype.kind == "b":
            if rows.shape != (len(self),):
                raise IndexError(
                    f"Expected a mask of {len(self)} rows, got shape {rows.shape}."
                )
            return np.flatnonzero(rows)
        rows = np.atleast_1d(rows).astype(int)
        wrong = rows[(rows < -len(self)) | (rows >= len(self))]
        if len(wrong):
            raise IndexError(
                f"Expected rows from {-len(self)} to {len(self) - 1}, got {wrong[0]}."
            )
        return rows

    def __iter__(self) -> Iterator[MEGSamples]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(
                "Expected copy=None or True, got False; the data of a MEGSamples are "
                "always read into a new array."
            )
        parts = self._as_parts()
        names, shape = self.ch_names, self.shape
        for part in parts:
            picks = _meg_picks(part)
            if part.n_samples != shape[2] or names != [
                part.inst.ch_names[pick] for pick in picks
            ]:
                raise ValueError(
                    "Expected rows with the same MEG channels and length for an "
                    f"array, got {len(picks)} channels x {part.n_samples} samples "
                    f"beside {shape[1]} x {shape[2]}, or other names; take the "
                    "recordings one by one, or use the canonical array."
                )
        data = np.empty(shape, dtype=float if dtype is None else dtype)
        for part in parts:
            for positions, pieces in read_rows(part, picks=_meg_picks(part)):
                for position, piece in zip(positions, pieces, strict=True):
                    data[part.index[position]] = piece.own
        return data

    def __getstate__(self) -> dict[str, Any]:
        used, source = np.unique(self._source, return_inverse=True)
        row, sources = self._row.copy(), []
        for number, old in enumerate(used):
            mine = source == number
            packed, row[mine] = _pack(self._sources[old], row[mine])
            sources.append(packed)
        if not sources:  # a view without rows still says what they would be
            sources = [_pack(self._sources[0], np.zeros(1, int))[0]]
        return {"sources": tuple(sources), "source": source, "row": row}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(state["sources"], state["source"], state["row"])


def _meg_picks(recording: Recording) -> np.ndarray:
    return pick_types(recording.inst.info, meg=True, ref_meg=False, exclude=())


def _pack(source: Recording, row: np.ndarray) -> tuple[Recording, np.ndarray]:
    """Make a source that pickles, with some rows, and give their new numbers."""
    if source.kind != "epochs":
        return source, row
    kept, new = np.unique(row, return_inverse=True)
    epochs = source.inst
    if len(kept) == len(epochs) and epochs.preload:
        return source, row
    # Epochs on disk hold an open reader, which does not pickle.
    with use_log_level("ERROR"):
        epochs = epochs[source.rows[kept]].load_data()
    rows = np.arange(len(kept))
    return replace(source, inst=epochs, rows=rows, index=rows), new
