"""Participants as a classifier takes them: one row each, of recordings or a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pandas as pd

from ._level_rows import describe_by_level, find_states, has_level
from ._options import Reading
from ._participants_table import describe_participants, is_of_rows
from ._rows import extract_rows, list_recordings
from ._sources import Source
from ._tables import KEYS, SUFFIXES, read_features, read_names

#: What participants are described by: one row each, as it is; or statistics of rows.
PARTICIPANTS, ROWS = "participants", "rows"
DEFAULT_WEIGHTS = "megfm-tiny"
_WORDS = {
    PARTICIPANTS: "one row of features each",
    ROWS: "mean and spread of rows of epochs or windows",
}
_FROM_RECORDINGS = {
    PARTICIPANTS: "the participant encoder, from recordings",
    ROWS: "from recordings, since these weights have no participant encoder",
}


@dataclass(frozen=True)
class Described:
    """Participants, a row each.

    Attributes
    ----------
    frame : DataFrame
        Features by name of the participant.
    kind : {"participants", "rows"}
        What they are described by.
    source : str
        Where that comes from, in words.
    weights : str
        Weights of the features.
    reading : Reading
        How recordings were read.
    """

    frame: pd.DataFrame
    kind: str
    source: str
    weights: str
    reading: Reading

    def summary(self) -> str:
        """Say by what participants are described."""
        return (
            f"{len(self.frame)} participants are described by {_WORDS[self.kind]}: "
            f"{self.source}, weights {self.weights}."
        )


def describe(
    data: Path,
    weights: str | None,
    reading: Reading,
    n_jobs: int = 1,
    strict: bool = False,
) -> Described:
    """Describe participants, from a table of features or from recordings.

    Parameters
    ----------
    data : Path
        A table of features, or recordings.
    weights : str | None
        Weights for recordings; None for those of the table, or the bundled ones.
    reading : Reading
        How recordings are read.
    n_jobs : int
        Recordings or participants at a time.
    strict : bool
        Whether a recording that fails is an error.

    Returns
    -------
    described : Described
        The participants.
    """
    table = _read_features(data)
    if table is not None:
        return _describe_table(table, weights)
    weights = weights or DEFAULT_WEIGHTS
    sources = list_recordings([data], reading.states)
    frame, kind = describe_sources(
        sources, {"weights": weights}, n_jobs, reading, strict
    )
    return Described(frame, kind, _FROM_RECORDINGS[kind], weights, reading)


def describe_sources(
    sources: list[Source],
    params: dict[str, Any],
    n_jobs: int,
    reading: Reading,
    strict: bool,
) -> tuple[pd.DataFrame, str]:
    """Describe the participants of recordings, a row each.

    By the participant encoder where one comes with the weights, else, and that is
    said, by mean and spread of rows.

    Parameters
    ----------
    sources : list of Source
        The recordings.
    params : dict
        Parameters of :class:`~mne_megfm.estimators.MEGFMTransformer`.
    n_jobs : int
        Recordings or participants at a time.
    reading : Reading
        How recordings are read.
    strict : bool
        Whether a recording that fails is an error.

    Returns
    -------
    frame : DataFrame
        Features by name of the participant.
    kind : {"participants", "rows"}
        What they are described by.
    """
    if has_level(params["weights"]):
        described = describe_by_level(sources, params, n_jobs, reading, strict)
        return described.to_rows(), PARTICIPANTS
    rows = extract_rows(sources, params, n_jobs, reading, strict)
    return describe_participants(rows), ROWS


def describe_as(
    data: Path,
    content: dict[str, Any],
    reading: Reading,
    n_jobs: int = 1,
    strict: bool = False,
) -> pd.DataFrame:
    """Describe participants as a classifier knows them.

    Parameters
    ----------
    data : Path
        A table of features, or recordings.
    content : dict
        What the file of the classifier holds.
    reading : Reading
        How recordings are read.
    n_jobs : int
        Recordings or participants at a time.
    strict : bool
        Whether a recording that fails is an error.

    Returns
    -------
    frame : DataFrame
        The features that the classifier was fitted on, by name of the participant.

    Raises
    ------
    ValueError
        If the data are of another kind or of other weights, or have other states.
    """
    kind, weights, columns = content["kind"], content["weights"], content["columns"]
    table = _read_features(data)
    if table is not None:
        told = _describe_table(table, table.attrs.get("weights", weights))
        if (told.kind, told.weights) != (kind, weights):
            raise ValueError(
                f"Expected participants described by {_WORDS[kind]} (weights "
                f"{weights}), as the classifier was fitted on, got {_WORDS[told.kind]} "
                f"(weights {told.weights}) in {data}; " + _advice(kind)
            )
        frame = told.frame
        return _match(frame, columns, data) if kind == ROWS else _same(frame, columns)
    sources = list_recordings([data], reading.states)
    params = {"weights": weights}
    if kind == ROWS:
        rows = extract_rows(sources, params, n_jobs, reading, strict)
        return _match(describe_participants(rows), columns, data)
    states = find_states(columns)
    if not states:
        raise ValueError(
            "Expected a table of participants, as the classifier was fitted on "
            f"features such as {columns[0]}, which are not those of the participant "
            f"encoder, got recordings ({data}); make the same table of them."
        )
    described = describe_by_level(sources, params, n_jobs, reading, strict)
    return _same(described.to_rows(states), columns)


def _read_features(data: Path) -> pd.DataFrame | None:
    """Read a table of features; None for recordings, or a table that lists them."""
    if data.is_dir() or data.suffix.lower() not in SUFFIXES:
        return None
    names = read_names(data)
    lists_files = "file" in names and "row" not in names
    return None if lists_files else read_features(data)


def _describe_table(table: pd.DataFrame, weights: str | None) -> Described:
    own = table.attrs.get("weights")
    if own and weights and own != weights:
        raise ValueError(
            f"Expected features of weights {weights}, got a table of weights {own}; "
            "leave out --weights, or make the table again."
        )
    weights = own or weights or DEFAULT_WEIGHTS
    reading = Reading(**table.attrs.get("reading", {}))
    of_rows = [key for key in KEYS[1:] if key in table]
    if "participant" in table and not of_rows and table["participant"].is_unique:
        frame = table.set_index("participant")
        if not frame.shape[1]:
            raise ValueError(
                "Expected features in columns beside participant, got no other column; "
                "make the table with `mne-megfm features --participants`."
            )
        kind = ROWS if is_of_rows(frame.columns.tolist()) else PARTICIPANTS
        return Described(frame, kind, "as in the table", weights, reading)
    frame = describe_participants(table)
    return Described(frame, ROWS, "from the table", weights, reading)


def _advice(kind: str) -> str:
    if kind == ROWS:
        return "use a table of `mne-megfm features` with these weights."
    return (
        "use recordings, or a table of `mne-megfm features --participants` with these "
        "weights."
    )


def _same(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Check that participants have the features of fit."""
    if set(frame.columns) != set(columns):
        known, got = find_states(columns), find_states(frame.columns)
        raise ValueError(
            f"Expected {len(columns)} features, in the states "
            f"{', '.join(known) or 'of fit'}, as the classifier was fitted on, got "
            f"{frame.shape[1]} in {', '.join(got) or 'none'}; give the recordings "
            "instead of a table: missing states are then filled in."
        )
    return frame[columns]


def _match(frame: pd.DataFrame, columns: list[str], data: Path) -> pd.DataFrame:
    """Take the features of fit, aloud where some are missing or not known."""
    common = frame.columns.isin(columns)
    if not common.any():
        raise ValueError(
            f"Expected features such as {columns[0]} in {data}, got "
            f"{frame.columns[0]}, ...; compute them with the weights and states "
            "that the classifier was fitted on."
        )
    if not common.all():
        extra = frame.columns[~common]
        click.echo(
            f"{len(extra)} features are not known from fit and left out ({extra[0]}, "
            "...).",
            err=True,
        )
    matched = frame.reindex(columns=columns)
    lacking = matched.columns[matched.isna().all()]
    if len(lacking):
        click.echo(
            f"{len(lacking)} features are filled in for all ({lacking[0]}, ...).",
            err=True,
        )
    return matched
