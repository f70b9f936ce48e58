"""Features of participants for the shell."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from mne.utils import logger, use_log_level

from ..archive.reading import check_events, read_source
from ..archive.settings import PLAIN, Reading
from ..archive.sources import Source, list_recordings
from ..estimators import MEGFMTransformer
from ..estimators.frozen import FrozenStep
from ..inputs import MEGSamples
from ..models import STATES, state_kind
from ..participants.features import ParticipantMeasures
from ..utils.tables import KEYS, SUFFIXES, read_features, read_names
from ..weights import PARTICIPANT_ENCODER, weights_path
from ._rows import (
    Failure,
    extract_rows,
    report_failures,
    run_each,
)

_MEAN, _SPREAD, _MISSING = "_mean_", "_spread_", "_missing"


def summarise_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Summarise each participant by mean and spread of its rows, state by state.

    Parameters
    ----------
    frame : DataFrame
        Rows with a column participant, perhaps state, and features.

    Returns
    -------
    summary : DataFrame
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


def find_missing(frame: pd.DataFrame) -> list[list[str]]:
    """Find which states each participant lacks, as far as columns tell.

    Parameters
    ----------
    frame : DataFrame
        One row a participant, with columns ``<state>_missing`` or those of
        `summarise_rows`.

    Returns
    -------
    missing : list of list of str
        States by participant; none of a table of other features.
    """
    marks = [name for name in frame if name.endswith(_MISSING)]
    lacks = {name.removesuffix(_MISSING): frame[name] > 0 for name in marks}
    if not marks:
        states = {name.partition(_MEAN)[0] for name in frame if _MEAN in name}
        for state in sorted(states):
            own = [name for name in frame if name.startswith(state + _MEAN)]
            lacks[state] = frame[own].isna().all(axis=1)
    return [
        [state for state, lack in lacks.items() if lack.iloc[n]]
        for n in range(len(frame))
    ]


def is_of_rows(columns: list[str]) -> bool:
    """Tell whether columns are those of `summarise_rows`."""
    means = {name for name in columns if _MEAN in name}
    pairs = {name.replace(_MEAN, _SPREAD, 1) for name in means}
    return bool(means) and means | pairs == set(columns)


_MAP = "_response_region"


@dataclass(frozen=True)
class ExtractedParticipants:
    """What the transformer extracted of participants, each by itself.

    Attributes
    ----------
    transformer : MEGFMTransformer
        The transformer; its weights are frozen.
    extracted : dict of ParticipantMeasures
        What was extracted, by name.
    """

    transformer: MEGFMTransformer
    extracted: dict[str, ParticipantMeasures]

    def to_rows(self, states: Mapping[str, bool] | None = None) -> pd.DataFrame:
        """Make a row of features of each participant.

        Parameters
        ----------
        states : dict | None
            States that there shall be, and whether there are responses in them; None
            for those of these participants.

        Returns
        -------
        frame : DataFrame
            A row a participant, by name.

        Raises
        ------
        ValueError
            If a participant has another state.
        """
        names, extracted = zip(*self.extracted.items(), strict=True)
        aggregator = copy.copy(self.transformer.aggregator_)
        if states is None:
            aggregator.fit(extracted)
        else:
            aggregator.know(states)
        features = aggregator.transform(extracted)
        index = pd.Index(names, name="participant")
        return pd.DataFrame(features, index, aggregator.names())


def has_participant_encoder(weights: str) -> bool:
    """Tell whether a participant encoder comes with weights; say so if none does."""
    if (weights_path(weights) / PARTICIPANT_ENCODER.weights).is_file():
        return True
    logger.warning(
        f"Weights {weights} have no participant encoder: features of "
        "participants are mean and spread of their rows, state by state. `mne-megfm "
        "pretrain --weights` keeps the encoder of the weights it goes on from."
    )
    return False


def find_states(columns: Iterable[str]) -> dict[str, bool]:
    """Find which states rows are of, and whether there are responses in them."""
    columns = list(columns)
    states = [c.removesuffix(_MISSING) for c in columns if c.endswith(_MISSING)]
    return {
        state: any(column.startswith(state + _MAP) for column in columns)
        for state in states
    }


def extract_by_encoder(
    sources: list[Source],
    params: dict[str, Any],
    n_jobs: int | None = 1,
    reading: Reading = PLAIN,
    strict: bool = False,
) -> ExtractedParticipants:
    """Extract features of the participants of recordings by the encoder.

    Participants are shared out by joblib. Several recordings of a state belong
    together. Recordings that fail are named and left out; the others of their
    participants are used. Too little memory is an error.

    Parameters
    ----------
    sources : list of Source
        The recordings.
    params : dict
        Parameters of :class:`~mne_megfm.estimators.MEGFMTransformer`, with weights
        that have a participant encoder.
    n_jobs : int | None
        Participants at a time.
    reading : Reading
        How recordings are read.
    strict : bool
        Whether a recording that fails is an error.

    Returns
    -------
    extracted : ExtractedParticipants
        The participants, in the order in which recordings first name them.

    Raises
    ------
    ClickException
        If all recordings fail, one does and that is to be an error, or memory does not
        suffice for one.
    """
    check_events(sources, reading, n_jobs)
    by_name = group_by_participant(sources)
    settings = tuple(sorted(params.items()))
    _load.cache_clear()  # weights of this name may have changed
    frozen = _load(settings)
    tasks = [(settings, name, own, reading) for name, own in by_name.items()]
    results = run_each(_extract_in_worker, tasks, n_jobs, "Participants")
    extracted = {
        name: result.extracted
        for name, result in zip(by_name, results, strict=True)
        if result.extracted is not None
    }
    failures = [failure for result in results for failure in result.failures]
    report_failures(failures, len(extracted), strict)
    _tell_what_lacks_stimuli(extracted)
    return ExtractedParticipants(frozen.step, extracted)


def group_by_participant(sources: list[Source]) -> dict[str, list[Source]]:
    """Put the recordings of each participant together, by name."""
    by_name: dict[str, list[Source]] = {}
    for source in sources:
        by_name.setdefault(source.participant, []).append(source)
    return by_name


def read_participant(
    sources: list[Source], reading: Reading
) -> dict[str, list[MEGSamples]]:
    """Read the recordings of one participant, by state.

    Recordings without a named state are split by the state in the file itself.
    """
    participant: dict[str, list[MEGSamples]] = {}
    for source in sources:
        inst = read_source(source, reading)
        for one in inst if isinstance(inst, list) else [inst]:
            rows = MEGSamples(one)
            states = np.full(len(rows), source.task) if source.task else rows.states
            for state in dict.fromkeys(states.tolist()):
                participant.setdefault(state, []).append(rows[states == state])
    return participant


@dataclass(frozen=True)
class Outcome:
    """How it went with one participant.

    Attributes
    ----------
    sources : list of Source
        Recordings that could be used.
    recordings : dict | None
        They, by state; None if there are none.
    extracted : dict | None
        What the transformer extracted from them; None if there are none.
    failures : list of Failure
        Recordings that could not be used, and why.
    """

    sources: list[Source]
    recordings: dict[str, list[MEGSamples]] | None
    extracted: Any
    failures: list[Failure]


def extract_one(
    frozen: FrozenStep, name: str, sources: list[Source], reading: Reading
) -> Outcome:
    """Extract features of a participant from the recordings that can be used.

    Parameters
    ----------
    frozen : FrozenStep
        The transformer.
    name : str
        The participant.
    sources : list of Source
        The recordings.
    reading : Reading
        How they are read.

    Returns
    -------
    outcome : Outcome
        How it went. Whatever fails is part of it.
    """
    try:
        recordings = read_participant(sources, reading)
        return Outcome(sources, recordings, frozen.extract([recordings])[0], [])
    except Exception as error:  # one bad recording takes no other down
        files = ", ".join(source.relative for source in sources)
        failure = Failure.of(name, files, error)
    if len(sources) == 1:
        return Outcome([], None, None, [failure])
    # data are read late, and what fails does not say which recording it was
    each = [extract_one(frozen, name, [source], reading) for source in sources]
    good = [source for outcome in each for source in outcome.sources]
    failures = [failure for outcome in each for failure in outcome.failures]
    if not failures:  # each by itself can be used, but not together
        return Outcome([], None, None, [failure])
    if not good:
        return Outcome([], None, None, failures)
    rest = extract_one(frozen, name, good, reading)
    return replace(rest, failures=failures + rest.failures)


@lru_cache(maxsize=1)
def _load(settings: tuple[tuple[str, Any], ...]) -> FrozenStep:
    """Load the transformer, once in each process."""
    transformer = MEGFMTransformer(
        **dict(settings), sample="participant", aggregation="auto"
    )
    with use_log_level("WARNING"):
        return FrozenStep(transformer)


def _extract_in_worker(
    settings: tuple[tuple[str, Any], ...],
    name: str,
    sources: list[Source],
    reading: Reading,
) -> Outcome:
    """Extract in a worker, which need not send recordings back.

    Nor are weights sent there: they are larger than messages of a cluster should be.
    """
    outcome = extract_one(_load(settings), name, sources, reading)
    return replace(outcome, recordings=None)


def _tell_what_lacks_stimuli(extracted: Mapping[str, ParticipantMeasures]) -> None:
    """Say which recordings give no responses, though their state has stimuli."""
    without: dict[str, list[str]] = {}
    for name, entry in extracted.items():
        for state, measures in entry.items():
            if measures is None and STATES[state_kind(state)] != "rest":
                without.setdefault(state, []).append(name)
    for state, names in without.items():
        logger.warning(
            f"No responses in {state} of {len(names)} participants ({names[0]}, ...), "
            "whose recordings are continuous: cut them by --events."
        )


#: What rows of participants are: features each, as they are; or statistics of rows.
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
class Participants:
    """Participants, a row each.

    Attributes
    ----------
    frame : DataFrame
        Features by name of the participant.
    kind : {"participants", "rows"}
        What their rows are.
    source : str
        Where that comes from, in words.
    weights : str
        Weights of the features.
    reading : Reading
        How recordings were read.
    covariates : tuple of str
        Columns of a table that are no features, and were left out.
    """

    frame: pd.DataFrame
    kind: str
    source: str
    weights: str
    reading: Reading
    covariates: tuple[str, ...] = ()

    def summary(self) -> str:
        """Say what the features are."""
        return (
            f"Features of {len(self.frame)} participants: {_WORDS[self.kind]} "
            f"({self.source}; weights {self.weights})."
        )


def get_features(
    data: Path,
    weights: str | None,
    reading: Reading,
    n_jobs: int = 1,
    strict: bool = False,
    covariates: Iterable[str] = (),
) -> Participants:
    """Get features of participants, from a table or from recordings.

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
    covariates : iterable of str
        Columns of a table that are no features.

    Returns
    -------
    extracted : Participants
        The participants.
    """
    table = _read_features(data, covariates)
    if table is not None:
        return _from_table(table, weights)
    weights = weights or DEFAULT_WEIGHTS
    sources = list_recordings([data], reading.states)
    frame, kind = extract_participants(
        sources, {"weights": weights}, n_jobs, reading, strict
    )
    return Participants(frame, kind, _FROM_RECORDINGS[kind], weights, reading)


def extract_participants(
    sources: list[Source],
    params: dict[str, Any],
    n_jobs: int,
    reading: Reading,
    strict: bool,
) -> tuple[pd.DataFrame, str]:
    """Extract features of the participants of recordings, a row each.

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
        What the rows are.
    """
    if has_participant_encoder(params["weights"]):
        extracted = extract_by_encoder(sources, params, n_jobs, reading, strict)
        return extracted.to_rows(), PARTICIPANTS
    rows = extract_rows(sources, params, n_jobs, reading, strict)
    return summarise_rows(rows), ROWS


def features_as(
    data: Path,
    content: dict[str, Any],
    reading: Reading,
    n_jobs: int = 1,
    strict: bool = False,
) -> pd.DataFrame:
    """Get the features of participants that a classifier was fitted on.

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
    table = _read_features(data, content["covariates"])
    if table is not None:
        given = _from_table(table, table.attrs.get("weights", weights))
        if (given.kind, given.weights) != (kind, weights):
            raise ValueError(
                f"Expected participants with {_WORDS[kind]} (weights "
                f"{weights}), as the classifier was fitted on, got "
                f"{_WORDS[given.kind]} (weights {given.weights}) in {data}; "
                + _advice(kind)
            )
        frame = given.frame
        return _match(frame, columns, data) if kind == ROWS else _same(frame, columns)
    sources = list_recordings([data], reading.states)
    params = {"weights": weights}
    if kind == ROWS:
        rows = extract_rows(sources, params, n_jobs, reading, strict)
        return _match(summarise_rows(rows), columns, data)
    states = find_states(columns)
    if not states:
        raise ValueError(
            "Expected a table of participants, as the classifier was fitted on "
            f"features such as {columns[0]}, which are not those of the participant "
            f"encoder, got recordings ({data}); make the same table of them."
        )
    extracted = extract_by_encoder(sources, params, n_jobs, reading, strict)
    return _same(extracted.to_rows(states), columns)


def _read_features(data: Path, covariates: Iterable[str]) -> pd.DataFrame | None:
    """Read a table of features; None for recordings, or a table that lists them."""
    if data.is_dir() or data.suffix.lower() not in SUFFIXES:
        return None
    names = read_names(data)
    lists_files = "file" in names and "row" not in names
    if lists_files:
        return None
    table = read_features(data, covariates)
    if table.attrs["covariates"]:
        click.echo(
            f"Not taken as features: {', '.join(table.attrs['covariates'])}, which "
            "describe participants."
        )
    return table


def _from_table(table: pd.DataFrame, weights: str | None) -> Participants:
    own = table.attrs.get("weights")
    if own and weights and own != weights:
        raise ValueError(
            f"Expected features of weights {weights}, got a table of weights {own}; "
            "leave out --weights, or make the table again."
        )
    weights = own or weights or DEFAULT_WEIGHTS
    reading = Reading(**table.attrs.get("reading", {}))
    covariates = tuple(table.attrs["covariates"])
    of_rows = [key for key in KEYS[1:] if key in table]
    if "participant" in table and not of_rows and table["participant"].is_unique:
        frame = table.set_index("participant")
        if not frame.shape[1]:
            raise ValueError(
                "Expected features in columns beside participant, got no other column; "
                "make the table with `mne-megfm features --participants`."
            )
        kind = ROWS if is_of_rows(frame.columns.tolist()) else PARTICIPANTS
        words = "as in the table"
    else:
        frame, kind, words = summarise_rows(table), ROWS, "from the table"
    return Participants(frame, kind, words, weights, reading, covariates)


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
