"""Simulate cohorts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from joblib import Parallel, delayed

from ._simulate import LABELS, STATES, Participant, simulate_participant


@dataclass
class Cohort:
    """A simulated cohort."""

    participants: list[Participant]
    settings: dict = field(repr=False)

    @property
    def labels(self) -> np.ndarray:
        return np.array([p.label for p in self.participants])

    def epochs(self, state: str | None = None) -> list:
        return [p.epochs(state) for p in self.participants]


def simulate_cohort(
    n_participants: int = 20,
    *,
    patients: float = 0.5,
    arrays=("neuromag306",),
    random_state: int | None = None,
    n_jobs: int = 1,
    **kwargs,
) -> Cohort:
    labels, names = [], []
    counts = dict.fromkeys(LABELS, 0)
    for ii in range(n_participants):
        label = LABELS[int(np.floor((ii + 1) * patients) > np.floor(ii * patients))]
        cycle, place = divmod(counts[label], len(arrays))
        key = (1_000_000 + cycle, LABELS.index(label))
        rng = np.random.default_rng(np.random.SeedSequence(random_state, spawn_key=key))
        counts[label] += 1
        labels.append(label)
        names.append(arrays[rng.permutation(len(arrays))[place]])
    people = Parallel(n_jobs=n_jobs)(
        delayed(simulate_participant)(
            ii, labels[ii], array=names[ii], random_state=random_state, **kwargs
        )
        for ii in range(n_participants)
    )
    return Cohort(people, dict(random_state=random_state, **kwargs))
