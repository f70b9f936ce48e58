"""Small recordings and a small network."""

import pytest

from mne_megfm import MEGFMTransformer
from mne_megfm.simulation import simulate_cohort

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


@pytest.fixture(scope="session")
def cohort():
    """Four participants on three systems, two states, short epochs at 250 Hz."""
    return simulate_cohort(
        4,
        states=("auditory", "rest"),
        arrays=("neuromag306", "ctf151", "kit157"),
        n_epochs=8,
        filters=(0.5, 80.0),
        random_state=5,
    )


@pytest.fixture(scope="session")
def epochs(cohort):
    """Auditory epochs of the first participant."""
    return cohort.epochs("auditory")[0]


@pytest.fixture(scope="session")
def participants(cohort):
    """One dict of state to epochs for each participant."""
    return [
        {"auditory": auditory, "rest": rest}
        for auditory, rest in zip(
            cohort.epochs("auditory"), cohort.epochs("rest"), strict=True
        )
    ]


@pytest.fixture
def small():
    """An untrained transformer that is quick to fit."""
    return MEGFMTransformer(weights=None, config=SMALL, random_state=0)


@pytest.fixture(scope="session")
def labelled():
    """Eight participants on two systems, two states, with labels."""
    cohort = simulate_cohort(
        8,
        states=("auditory", "rest"),
        arrays=("ctf151", "kit157"),
        n_epochs=4,
        filters=(1.0, 40.0),
        random_state=6,
    )
    return [participant.recordings for participant in cohort], cohort.labels
