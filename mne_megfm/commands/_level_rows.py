"""Recordings to one row of features a participant, by the participant encoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from mne.utils import logger, use_log_level

from ..estimators import MEGFMTransformer
from ..estimators._level import LevelDescription
from ..estimators._level_features import ParticipantLevel
from ..inputs import MEGSamples
from ..models import STATES
from ..pretraining import state_kind
from ..pretraining._level_checkpoint import LEVEL
from ..weights import weights_path
from ._epochs import check_events
from ._options import PLAIN, Reading
from ._outcomes import Failure, report_failures, run_each
from ._rows import read_source
from ._sources import Source

_MISSING, _MAP = "_missing", "_response_region"


@dataclass(frozen=True)
class DescribedParticipants:
    """Participants that the participant encoder described, each by itself.

    Attributes
    ----------
    transformer : MEGFMTransformer
        Who described them; its weights are frozen.
    descriptions : dict of LevelDescription
        What was said, by name.
    """

    transformer: MEGFMTransformer
    descriptions: dict[str, LevelDescription]

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
        names, descriptions = zip(*self.descriptions.items(), strict=True)
        level = ParticipantLevel(self.transformer.level_)
        if states is None:
            level.fit(descriptions)
        else:
            level.know(states)
        features = level.transform(descriptions)
        index = pd.Index(names, name="participant")
        return pd.DataFrame(features, index, level.names())


def has_level(weights: str) -> bool:
    """Tell whether a participant encoder comes with weights; say so if none does."""
    if (weights_path(weights) / LEVEL).is_file():
        return True
    logger.warning(
        f"Weights {weights} have no participant encoder: participants are described by "
        "mean and spread of their rows, state by state. `mne-megfm pretrain --weights` "
        "keeps the encoder of the weights it goes on from."
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


def describe_by_level(
    sources: list[Source],
    params: dict[str, Any],
    n_jobs: int | None = 1,
    reading: Reading = PLAIN,
    strict: bool = False,
) -> DescribedParticipants:
    """Describe the participants of recordings by the participant encoder.

    Participants are shared out by joblib. Several recordings of a state belong
    together. Recordings that fail are named and left out, their participants are
    described by the others.

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
    described : DescribedParticipants
        The participants, in the order in which recordings first name them.

    Raises
    ------
    ClickException
        If all recordings fail, or one does and that is to be an error.
    """
    check_events(sources, reading, n_jobs)
    by_name = group_by_participant(sources)
    transformer = MEGFMTransformer(**params, unit="participant", participants="level")
    tasks = [(transformer, name, own, reading) for name, own in by_name.items()]
    # weights are loaded with the first who can be read, and then copied to workers
    results: list[Outcome] = []
    with use_log_level("WARNING"):
        while len(results) < len(tasks) and not hasattr(transformer, "model_"):
            results.append(_describe(*tasks[len(results)]))
    n_done = len(results)
    results += run_each(_describe, tasks[n_done:], n_jobs, "Participants", n_done)
    described = {
        name: result.description
        for name, result in zip(by_name, results, strict=True)
        if result.description is not None
    }
    failures = [failure for result in results for failure in result.failures]
    report_failures(failures, len(described), strict)
    _tell_what_lacks_stimuli(described)
    return DescribedParticipants(transformer, described)


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

    Recordings whose state nothing tells are parted by what they say themselves.
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
    description : dict | None
        What the transformer says of them; None if there is none.
    failures : list of Failure
        Recordings that could not be used, and why.
    """

    sources: list[Source]
    recordings: dict[str, list[MEGSamples]] | None
    description: Any
    failures: list[Failure]


def describe_one(
    transformer: MEGFMTransformer, name: str, sources: list[Source], reading: Reading
) -> Outcome:
    """Describe a participant by the recordings that can be used.

    Parameters
    ----------
    transformer : MEGFMTransformer
        Who describes.
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
        description = transformer.describe([recordings])[0]
        return Outcome(sources, recordings, description, [])
    except Exception as error:  # one bad recording takes no other down
        files = ", ".join(source.relative for source in sources)
        failure = Failure.of(name, files, error)
    if len(sources) == 1:
        return Outcome([], None, None, [failure])
    # data are read late, and what fails does not say which recording it was
    each = [describe_one(transformer, name, [source], reading) for source in sources]
    good = [source for outcome in each for source in outcome.sources]
    failures = [failure for outcome in each for failure in outcome.failures]
    if not failures:  # each by itself can be used, but not together
        return Outcome([], None, None, [failure])
    if not good:
        return Outcome([], None, None, failures)
    rest = describe_one(transformer, name, good, reading)
    return replace(rest, failures=failures + rest.failures)


def _describe(
    transformer: MEGFMTransformer, name: str, sources: list[Source], reading: Reading
) -> Outcome:
    """Describe in a worker, which need not send recordings back."""
    return replace(describe_one(transformer, name, sources, reading), recordings=None)


def _tell_what_lacks_stimuli(described: Mapping[str, LevelDescription]) -> None:
    """Say which recordings give no responses, though their state has stimuli."""
    without: dict[str, list[str]] = {}
    for name, entry in described.items():
        for state, measures in entry.items():
            if measures is None and STATES[state_kind(state)] != "rest":
                without.setdefault(state, []).append(name)
    for state, names in without.items():
        logger.warning(
            f"No responses in {state} of {len(names)} participants ({names[0]}, ...), "
            "whose recordings are continuous: cut them by --events."
        )
