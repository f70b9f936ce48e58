"""Experiments of a few people, small enough to fit in seconds."""

import mne
import pytest

from mne_megfm.encoding import LatentSourceEncoder, select_stories
from mne_megfm.simulation import simulate_naturalistic


@pytest.fixture(scope="session")
def src(data_dir):
    return mne.read_source_spaces(
        data_dir / "headmodel" / "fsaverage5-ico3-src.fif", verbose="error"
    )


@pytest.fixture(scope="session")
def experiment(src):
    """Two people on small arrays, three stories, the last one heard three times."""
    return simulate_naturalistic(
        2,
        3,
        duration=60.0,
        arrays=("opm64", "kit157"),
        areas=4,
        n_repeats={"story3": 3},
        meg_snr=0.1,
        fmri_snr=1.0,
        src=src,
        random_state=11,
    )


@pytest.fixture(scope="session")
def training(experiment):
    """Stimulus and recordings of the first two stories."""
    stories = ["story1", "story2"]
    return (
        {s: experiment.stimulus[s] for s in stories},
        select_stories(experiment.recordings, stories),
    )


@pytest.fixture(scope="session")
def held_out(experiment):
    """Stimulus and recordings of the last story."""
    return (
        {"story3": experiment.stimulus["story3"]},
        select_stories(experiment.recordings, ["story3"]),
    )


@pytest.fixture(scope="session")
def fitted(training):
    """An encoder of MEG alone, trained for two epochs."""
    encoder = LatentSourceEncoder(
        modalities=("meg",), d_model=16, n_heads=2, n_layers=1, n_epochs=2
    )
    encoder.fit(*training)
    if not encoder.n_epochs_:  # all parts are to be trained, whether it helps or not
        encoder.partial_fit(*training, n_epochs=2)
    return encoder


@pytest.fixture(scope="session")
def joint(training):
    """An encoder of MEG and fMRI without a transformer."""
    pytest.importorskip("nilearn", reason="fMRI needs nilearn")
    return LatentSourceEncoder(n_layers=0, n_epochs=0).fit(*training)
