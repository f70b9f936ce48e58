"""Participants, labels and groups that are compared on; who is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..inputs import MEGSamples, as_recordings
from ..inputs.duplicates import find_copies, warn_of_copies
from ..inputs.reading import raw_windows
from ..utils.validation import as_labels, check_groups, find_missing, shape_of


@dataclass
class Samples:
    """Participants with labels.

    Attributes
    ----------
    X : list
        The participants.
    y : ndarray, shape (n,)
        Their labels or numbers.
    names : ndarray, shape (n,)
        Who each is: their name, their group, or else the position in what was given.
    groups : ndarray of int, shape (n,) | None
        What must stay together; None where each element is a participant.
    sites : ndarray, shape (n,) | None
        Where each was recorded.
    excluded : list of dict
        What was left out: ``kind``, ``name`` and ``reason``.
    n_given : int
        How many participants were given.
    kept : list of int
        Place of each among those given, whatever was left out.
    """

    X: list
    y: NDArray
    names: NDArray
    groups: NDArray[np.int_] | None
    sites: NDArray | None
    excluded: list[dict]
    n_given: int
    kept: list[int]

    def __len__(self) -> int:
        return len(self.X)

    def states(self) -> list[set[str]]:
        """Find the states of each participant that are left."""
        recordings = as_recordings(self.X, verbose="error")
        return [
            set(recordings.states[recordings.elements == element].tolist())
            for element in range(len(self))
        ]

    def exclude(self, kind: str, name: Any, reason: str) -> None:
        """Note what is left out."""
        self.excluded.append({"kind": kind, "name": str(name), "reason": reason})

    def excluded_table(self) -> pd.DataFrame:
        """Make a table of what was left out."""
        return pd.DataFrame(self.excluded, columns=["kind", "name", "reason"])


class Sendable:
    """Recordings of a participant on their way to a worker.

    MNE's epochs on disk hold an open file, which does not pickle: they are loaded when
    they are sent to another process, and stay on disk otherwise.

    Parameters
    ----------
    recordings : dict | Epochs | None
        What an element of ``X`` is.
    """

    def __init__(self, recordings: Any) -> None:
        self.recordings = recordings

    def __reduce__(self) -> tuple:
        return Sendable, (_loaded(self.recordings),)


def _loaded(x: Any) -> Any:
    """Copy recordings with epochs in memory, where they are on disk."""
    if isinstance(x, Mapping):
        return {state: _loaded(one) for state, one in x.items()}
    if isinstance(x, list | tuple):
        return [_loaded(one) for one in x]
    if isinstance(x, mne.BaseEpochs) and not x.preload:
        with mne.utils.use_log_level("error"):
            return x[np.arange(len(x))].load_data()
    return x


def gather(
    X: Any, y: Any, groups: Any = None, sites: Any = None, names: Any = None
) -> Samples:
    """Check participants, and leave out those that cannot be used.

    Left out, and said so: participants without a label and those without any usable
    epoch; of the others, recordings without usable epochs.

    Raises
    ------
    ValueError
        If lengths differ, or the same recording is there under two names.
    """
    if names is not None and groups is not None:
        raise ValueError(
            "Expected names or groups, got both; groups name the participants."
        )
    if isinstance(X, mne.BaseEpochs):
        X, y, groups, sites = _split_epochs(X, y, groups, sites)
    if not isinstance(X, Sequence | np.ndarray) or isinstance(X, str | bytes):
        raise TypeError(
            "Expected X to be a list of participants (dicts from state to recording, "
            f"or Epochs), or Epochs with groups, got a {type(X).__name__}."
        )
    columns = {"y": y, "groups": groups, "sites": sites, "names": names}
    for name, values in columns.items():
        if values is None and name != "y":
            continue
        shape = shape_of(name, values, "participant")
        if shape != (len(X),):
            raise ValueError(
                f"Expected {name} with one value a participant ({len(X)}), got shape "
                f"{shape}; give one for each, in the order of X."
            )
        if name != "y":
            _check_complete(name, values)
        # NumPy would turn a NaN beside strings into a string
        columns[name] = (
            as_labels(values) if name == "y" else pd.Series(values).to_numpy()
        )
    y, groups, sites, names = columns.values()
    _check_finite(y)
    if names is None:
        names = np.arange(len(X)) if groups is None else groups
    elif len(np.unique(names)) < len(names):
        raise ValueError(
            "Expected names with one participant each, got some twice; pass them as "
            "groups, which stay together."
        )
    samples = Samples([], y, names, None, None, [], len(X), [])
    kept = samples.kept
    for position, element in enumerate(X):
        name = names[position]
        if pd.isna(y[position]):
            samples.exclude("participant", name, "no label (n/a)")
            continue
        element, empty = _without_empty(element)
        if element is None:
            samples.exclude("participant", name, "no usable epoch")
            continue
        for reason in empty:
            samples.exclude("recording", name, reason)
        samples.X.append(element)
        kept.append(position)
    if not kept:
        raise ValueError(
            f"Expected participants with a label and epochs, got none among {len(X)}; "
            "look at the labels and at epochs.drop_log."
        )
    samples.names, samples.y = (
        np.array(names[kept].tolist()),
        np.array(y[kept].tolist()),
    )
    numbers = check_groups(samples.names, len(kept), "participant")
    copies = find_copies(as_recordings(samples.X, verbose="error"), numbers)
    identical = [copy for copy in copies if copy.identical]
    if identical:
        one, other = kept[identical[0].one], kept[identical[0].other]
        raise ValueError(
            "Expected each participant once, got identical data in elements "
            f"{one} and {other} of X; leave one of them out, or give both the same "
            "group."
        )
    warn_of_copies(copies, kept)
    samples.groups = None if groups is None else numbers
    samples.sites = None if sites is None else np.array(sites[kept].tolist())
    return samples


def _check_finite(y: NDArray) -> None:
    """See that numbers are finite, or missing."""
    if any(isinstance(value, Real) and np.isinf(value) for value in y):
        raise ValueError("Expected finite numbers in y, got infinity; correct y.")


def _check_complete(name: str, values: Any) -> None:
    missing = find_missing(values)
    if len(missing):
        raise ValueError(
            f"Expected {name} without missing values, got {len(missing)}; name one "
            "for each participant."
        )


def _without_empty(element: Any) -> tuple[Any, list[str]]:
    """Leave out recordings without rows, and say why; None if that leaves nothing."""
    if not isinstance(element, Mapping):
        return (element if _n_rows(element) else None), []
    full, reasons = {}, []
    for state, inst in element.items():
        where = "state"
        if isinstance(inst, list | tuple):
            n_runs, inst = len(inst), [run for run in inst if _n_rows(run)]
            n_lost, usable = n_runs - len(inst), bool(inst)
            where = f"{n_lost} of {n_runs} runs of state" if usable else where
        else:
            usable = bool(_n_rows(inst))
            n_lost = 0
        if n_lost or not usable:
            reasons.append(f"no usable epoch in {where} {str(state)!r}")
        if usable:
            full[state] = inst
    return full or None, reasons


def _n_rows(inst: Any) -> int:
    if isinstance(inst, mne.BaseEpochs):
        return len(inst.drop_bad(verbose="error"))
    if isinstance(inst, mne.io.BaseRaw):
        return len(raw_windows(inst, 1.0, 0.0, True)[0])
    if isinstance(inst, MEGSamples | list | tuple):
        return len(inst)
    return 1  # what else it may be, as_recordings will say


def _split_epochs(epochs: mne.BaseEpochs, y: Any, groups: Any, sites: Any) -> tuple:
    """Split Epochs into participants, whose epochs have one label each."""
    if groups is None:
        raise ValueError(
            "Expected groups with Epochs, to know whose they are, got None; pass for "
            "instance groups=epochs.metadata['participant']."
        )
    table = {"y": y, "groups": groups} | ({} if sites is None else {"sites": sites})
    shapes = {name: np.shape(values) for name, values in table.items()}
    wrong = {name: s for name, s in shapes.items() if s != (len(epochs),)}
    if wrong:
        raise ValueError(
            f"Expected one value an epoch ({len(epochs)}), got shapes {wrong}; give "
            "one for each epoch that was not dropped."
        )
    for name in ("groups", "sites"):
        if name in table:
            _check_complete(name, table[name])
    table["y"] = as_labels(y)
    table = pd.DataFrame({n: pd.Series(v).to_numpy() for n, v in table.items()})
    X, rows = [], []
    for name, part in table.groupby("groups", sort=False):
        if len(part.drop_duplicates()) > 1:
            raise ValueError(
                f"Expected one label and one site for all epochs of {name!r}, got "
                "several; compare pipelines on epochs with scikit-learn and "
                "ParticipantSplit."
            )
        X.append(epochs[part.index.to_numpy()])
        rows.append(part.iloc[0])
    table = pd.DataFrame(rows)
    sites = table["sites"].to_numpy() if sites is not None else None
    return X, table["y"].to_numpy(), table["groups"].to_numpy(), sites
