"""The data section: who was recorded, how long, with what, and who was left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..inputs import Recordings, as_recordings
from ..sensors import describe_array


def describe_data(
    X: Any, y: Any = None, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Tell what was recorded of each participant.

    Parameters
    ----------
    X : list of dict | list of Epochs | Epochs | Raw
        The participants, or one recording.
    y : array-like, shape (n_participants,) | None
        Their labels.
    names : list of str | None
        Their names; None for numbers.

    Returns
    -------
    table : DataFrame
        One row a participant: ``label`` where given, ``array``, ``bad channels`` (the
        most in a recording), ``minutes`` of rows, and the number of rows (epochs, or
        windows of 1 s) of each state.

    Raises
    ------
    ValueError
        If lengths differ.
    """
    recordings = as_recordings(X, verbose="error")
    n = recordings.n_elements
    for what, values in (("y", y), ("names", names)):
        if values is not None and len(values) != n:
            raise ValueError(
                f"Expected {what} with one value a participant ({n}), got "
                f"{len(values)}; give one for each, in the order of X."
            )
    index = pd.Index(range(1, n + 1) if names is None else names, dtype=object)
    table = pd.DataFrame(index=index.rename("participant"))
    if y is not None:
        table["label"] = named_labels(y)
    table["array"] = _arrays(recordings)
    table["bad channels"] = _n_bads(recordings)
    seconds = np.zeros(n)
    for recording in recordings:
        length = recording.n_samples / recording.sfreq
        np.add.at(seconds, recordings.elements[recording.index], length)
    table["minutes"] = seconds / 60.0
    counts = pd.crosstab(recordings.elements, recordings.states)
    counts = counts.reindex(range(n), fill_value=0)
    return pd.concat([table, counts.set_index(table.index)], axis=1)


def named_labels(y: Any) -> list[str]:
    """Write labels as texts; a missing one is ``n/a``, as in BIDS."""
    return ["n/a" if pd.isna(label) else str(label) for label in y]


def states_of(table: pd.DataFrame) -> pd.Index:
    """Name the states that a table of participants has columns of."""
    return table.columns[table.columns.get_loc("minutes") + 1 :]


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Count participants by label and array, with what they have of each state."""
    by = [name for name in ("label", "array") if name in table]
    states = states_of(table)
    groups = table.groupby(by, sort=True)
    out = groups.size().rename("participants").to_frame()
    out["bad channels, median"] = groups["bad channels"].median()
    for state in states:
        out[f"{state}: participants"] = groups[state].agg(lambda n: int((n > 0).sum()))
        out[f"{state}: rows, median"] = groups[state].agg(_median_of_present)
    return out.reset_index()


def _median_of_present(counts: pd.Series) -> float:
    present = counts[counts > 0]
    return float(present.median()) if len(present) else 0.0


def _arrays(recordings: Recordings) -> list[str]:
    """Name the array of each participant by its coils, which channel types do not."""
    found: list[dict] = [{} for _ in range(recordings.n_elements)]
    for recording in recordings:
        if len(recording.index):
            element = recordings.elements[recording.index[0]]
            found[element][describe_array(recording.inst.info)] = None
    return ["; ".join(systems) for systems in found]


def _n_bads(recordings: Recordings) -> NDArray[np.int_]:
    """Count the bad MEG channels of each participant, in the recording with most."""
    counts = np.zeros(recordings.n_elements, int)
    for recording in recordings:
        info = recording.inst.info
        meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
        n_bads = len(set(info["bads"]) & {info["ch_names"][pick] for pick in meg})
        np.maximum.at(counts, recordings.elements[recording.index], n_bads)
    return counts
