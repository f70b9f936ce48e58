"""Rows of features to one row a participant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ._tables import read_table

_KEYS = ("participant", "state", "file", "row")


def describe_participants(frame: pd.DataFrame) -> pd.DataFrame:
    """Describe each participant by mean and spread of its rows, state by state.

    Parameters
    ----------
    frame : DataFrame
        Rows with a column participant, perhaps state, and features.

    Returns
    -------
    described : DataFrame
        One row a participant, by name; NaN where a state is missing.

    Raises
    ------
    ValueError
        If there are no participants or no features.
    """
    if "participant" not in frame:
        raise ValueError(
            "Expected a column participant in the table of features, got "
            f"{', '.join(map(str, frame.columns[:4]))}, ...; make it with `mne-megfm "
            "features`."
        )
    features = frame.drop(columns=[key for key in _KEYS if key in frame])
    words = features.select_dtypes(exclude="number").columns
    if len(words) or not features.shape[1]:
        raise ValueError(
            "Expected numbers in all columns but participant, state, file and row, got "
            f"{', '.join(words[:4]) or 'no other column'}; take away what is no "
            "feature."
        )
    states = frame["state"] if "state" in frame else pd.Series("all", frame.index)
    groups = features.astype(float).groupby([frame["participant"], states])
    both = pd.concat({"mean": groups.mean(), "spread": groups.std(ddof=0)}, axis=1)
    wide = both.unstack()  # noqa: PD010  (states to columns)
    wide.columns = [f"{state}_{kind}_{name}" for kind, name, state in wide.columns]
    return wide.sort_index(axis=1)


def read_labels(path: Path, column: str) -> pd.Series:
    """Read the label of each participant, as from a BIDS participants.tsv."""
    table = read_table(path)
    keys = [k for k in ("participant", "participant_id") if k in table]
    if not keys or column not in table:
        raise ValueError(
            f"Expected the columns participant (or participant_id) and {column} in "
            f"{path}, got {', '.join(map(str, table.columns))}; name the column of "
            "labels with --label."
        )
    labels = table.set_index(keys[0])[column].dropna()
    twice = labels.index[labels.index.duplicated()]
    if len(twice):
        raise ValueError(
            f"Expected one label a participant in {path}, got several of {twice[0]!r}; "
            "take away all but one."
        )
    return labels


def find_label(given: str | None, labels: Iterable[Any]) -> Any:
    """Find the label that is written so, be it a number or a text; None for None."""
    if given is None:
        return None
    known = {str(label): label for label in labels}
    if given not in known:
        raise ValueError(
            f"Expected --positive among the labels {', '.join(known)}, got {given!r}."
        )
    return known[given]
