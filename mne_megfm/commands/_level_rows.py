"""Recordings to one row of features a participant, by the level over trials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from mne.utils import get_config, logger, use_log_level

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
from ._rows import read_source
from ._sources import Source

_MISSING, _MAP = "_missing", "_response_region"


@dataclass(frozen=True)
class DescribedParticipants:
    """Participants that the level over trials described, each by itself.

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
    """Tell whether a level over trials comes with weights."""
    return (weights_path(weights) / LEVEL).is_file()


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
) -> DescribedParticipants:
    """Describe the participants of recordings by the level over trials.

    Participants are shared out by joblib: ``joblib.parallel_config`` says among which
    processes, or which cluster. Several recordings of a state belong together.

    Parameters
    ----------
    sources : list of Source
        The recordings.
    params : dict
        Parameters of :class:`~mne_megfm.estimators.MEGFMTransformer`.
    n_jobs : int | None
        Participants at a time.
    reading : Reading
        How recordings are read.

    Returns
    -------
    described : DescribedParticipants
        The participants, in the order in which recordings first name them.

    Raises
    ------
    ValueError
        If no level comes with the weights.
    """
    if not has_level(params["weights"]):
        raise ValueError(
            f"Expected weights with a level over trials, got {params['weights']!r} "
            "without; take rows of epochs or windows, by which `mne-megfm classify` "
            "describes participants, too."
        )
    check_events(sources, reading, n_jobs)
    by_name = group_by_participant(sources)
    transformer = MEGFMTransformer(**params, unit="participant", participants="level")
    log_level = get_config("MNE_LOGGING_LEVEL", "WARNING")
    # the first one loads the weights, which are then copied to workers
    first, *others = by_name
    told = [_describe(transformer, first, by_name[first], reading, log_level)]
    told += Parallel(n_jobs=n_jobs)(
        delayed(_describe)(transformer, name, by_name[name], reading, log_level)
        for name in others
    )
    described = dict(zip(by_name, told, strict=True))
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
        try:
            inst = read_source(source, reading)
            for one in inst if isinstance(inst, list) else [inst]:
                rows = MEGSamples(one)
                states = np.full(len(rows), source.task) if source.task else rows.states
                for state in dict.fromkeys(states.tolist()):
                    participant.setdefault(state, []).append(rows[states == state])
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise type(error)(f"{source.relative}: {error}") from error
    return participant


def _describe(
    transformer: MEGFMTransformer,
    name: str,
    sources: list[Source],
    reading: Reading,
    log_level: str,
) -> LevelDescription:
    with use_log_level(log_level):  # which other processes do not inherit
        participant = read_participant(sources, reading)
        try:
            return transformer.describe([participant])[0]
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error


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
