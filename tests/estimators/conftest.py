"""A small network, and people on small arrays."""

import pytest

from mne_megfm import MEGFMTransformer, simulate_cohort

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


@pytest.fixture
def small():
    """An untrained transformer that is quick to fit."""
    return MEGFMTransformer(weights=None, config=SMALL, random_state=0)


@pytest.fixture(scope="session")
def labelled():
    """Eight participants on two systems of few sensors, two states, with labels."""
    cohort = simulate_cohort(
        8,
        states=("auditory", "rest"),
        arrays=("opm64", "opm32"),
        n_epochs=4,
        filters=(1.0, 40.0),
        random_state=6,
    )
    return [participant.recordings for participant in cohort], cohort.labels


@pytest.fixture(scope="session")
def without_encoder(labelled, tmp_path_factory):
    """Weights whose features of participants are means and spreads of rows."""
    transformer = MEGFMTransformer(
        None, config=SMALL, aggregation="mean_std", random_state=0
    )
    path = tmp_path_factory.mktemp("weights") / "mine"
    return {
        "weights": transformer.fit(labelled[0]).save_pretrained(path),
        "config": None,
    }
