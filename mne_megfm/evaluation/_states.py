"""States that too few participants have to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import mne

from ..inputs import as_recordings
from ._folds import Fold
from ._samples import Samples


def find_states(samples: Samples) -> list[set[str]]:
    """Find the states of each participant."""
    recordings = as_recordings(samples.X, verbose="error")
    return [
        set(recordings.states[recordings.elements == element].tolist())
        for element in range(len(samples))
    ]


def rare_states(states: Sequence[set[str]], folds: Iterable[Fold]) -> set[str]:
    """Find the states of test participants that nobody in training has."""
    rare: set[str] = set()
    for fold in folds:
        known = set.union(*(states[i] for i in fold.train))
        rare |= set.union(*(states[i] for i in fold.test)) - known
    return rare


def exclude_rare_states(samples: Samples, folds: Iterable[Fold]) -> None:
    """Leave out states that some training fold lacks, where a test fold has them.

    Raises
    ------
    ValueError
        If a participant has no other state.
    """
    states = find_states(samples)
    rare = rare_states(states, folds)
    for position, own in enumerate(states):
        if not own & rare:
            continue
        name, element = samples.names[position], samples.X[position]
        can_part = isinstance(element, Mapping | mne.BaseEpochs)
        if not own - rare or not can_part:
            raise ValueError(
                "Expected states that participants of every training fold have (of "
                f"every size, in a learning curve), got {sorted(own & rare)} for "
                f"{name}; rename the states alike, leave that recording out, or use "
                "fewer folds or larger train_sizes."
            )
        for state in sorted(own & rare):
            reason = f"too few participants have the state {state!r}"
            samples.exclude("recording", name, reason)
        if isinstance(element, Mapping):
            kept = {s: inst for s, inst in element.items() if str(s) not in rare}
        else:
            kept = element[sorted(own - rare)]
        samples.X[position], samples.places[position] = kept, None
