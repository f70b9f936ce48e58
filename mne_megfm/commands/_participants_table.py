"""Rows of features to one row a participant."""

from __future__ import annotations

import pandas as pd

from ._tables import KEYS

_MEAN, _SPREAD, _MISSING = "_mean_", "_spread_", "_missing"


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
    features = frame.drop(columns=[key for key in KEYS if key in frame])
    if not features.shape[1]:
        raise ValueError(
            "Expected features in columns beside participant, state, file and row, got "
            "no other column; make the table with `mne-megfm features`."
        )
    states = frame["state"] if "state" in frame else pd.Series("all", frame.index)
    groups = features.astype(float).groupby([frame["participant"], states])
    both = pd.concat({"mean": groups.mean(), "spread": groups.std(ddof=0)}, axis=1)
    wide = both.unstack()  # noqa: PD010  (states to columns)
    wide.columns = [f"{state}_{kind}_{name}" for kind, name, state in wide.columns]
    return wide.sort_index(axis=1)


def find_missing(described: pd.DataFrame) -> list[list[str]]:
    """Find which states each participant lacks, as far as columns tell.

    Parameters
    ----------
    described : DataFrame
        One row a participant, with columns ``<state>_missing`` or those of
        `describe_participants`.

    Returns
    -------
    missing : list of list of str
        States by participant; none of a table of other features.
    """
    marks = [name for name in described if name.endswith(_MISSING)]
    lacks = {name.removesuffix(_MISSING): described[name] > 0 for name in marks}
    if not marks:
        states = {name.partition(_MEAN)[0] for name in described if _MEAN in name}
        for state in sorted(states):
            own = [name for name in described if name.startswith(state + _MEAN)]
            lacks[state] = described[own].isna().all(axis=1)
    return [
        [state for state, lack in lacks.items() if lack.iloc[n]]
        for n in range(len(described))
    ]


def is_of_rows(columns: list[str]) -> bool:
    """Tell whether columns are those of `describe_participants`."""
    means = {name for name in columns if _MEAN in name}
    pairs = {name.replace(_MEAN, _SPREAD, 1) for name in means}
    return bool(means) and means | pairs == set(columns)
