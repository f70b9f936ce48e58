"""A small cohort of participants on two systems."""

import pytest

from mne_megfm.simulation import simulate_cohort


@pytest.fixture(scope="session")
def cohort():
    """Twelve participants: auditory epochs and rest, half of them patients."""
    return simulate_cohort(
        12,
        states=("auditory", "rest"),
        arrays=("opm64", "kit157"),
        n_epochs=9,
        filters=(1.0, 40.0),
        head_pos=None,  # one mapping of sensors for each system
        effect_size=1.5,
        random_state=901,
    )


@pytest.fixture(scope="session")
def participants(cohort):
    """One dict of state to epochs for each participant."""
    return [participant.recordings for participant in cohort.participants]


@pytest.fixture(scope="session")
def brief(participants):
    """Return the same participants with the first trials of each state alone."""
    return [{state: epochs[:4] for state, epochs in x.items()} for x in participants]
