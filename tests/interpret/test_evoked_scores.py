"""Tests of averages of reconstructed trials against true averages."""

import mne
import numpy as np
import pytest

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import reconstruct, score_reconstruction
from mne_megfm.interpret._reconstruction_scores import _average, _peak
from mne_megfm.models import TimeBlockMasking

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


@pytest.fixture(scope="module")
def epochs():
    """Return trials with sounds and with stimuli of a nerve."""
    cohort = simulate_cohort(
        1,
        states=("auditory", "somatosensory"),
        arrays=("opm64",),
        n_epochs=16,
        filters=(1.0, 40.0),
        random_state=8,
        verbose="error",
    )
    return cohort[0].epochs()


@pytest.mark.slow
def test_scores_are_those_of_hidden_trials(epochs):
    """The average of predictions, by hand; nothing visible enters it."""
    transformer = MEGFMTransformer(weights=None, config=SMALL, sample="epoch")
    transformer.set_params(random_state=0).fit(epochs)
    table = score_reconstruction(
        epochs, transformer, random_state=1, on="evoked"
    ).set_index(["state", "method"])
    got, hidden = reconstruct(
        epochs, transformer, TimeBlockMasking(), random_state=1, return_mask=True
    )
    for state, peak in (("auditory", "N100m"), ("somatosensory", "N20m")):
        at = epochs.events[:, 2] == epochs.event_id[state]
        for method, data in (("model", got), ("same trials", epochs)):
            guess = np.ma.array(data.get_data(copy=True)[at], mask=~hidden[at]).mean(0)
            truth = np.ma.array(epochs[state].average().data, mask=guess.mask)
            error = ((guess - truth) ** 2).sum() / (truth**2).sum()
            row = table.loc[state, method]
            assert row["r2"] == pytest.approx(1 - error)
            assert row["n_samples"] == guess.count()
        assert row["r2"] > table.loc[state, "time"]["r2"]  # of the same trials
        assert np.isfinite(row[f"{peak}_latency"])
        assert -1 <= row[f"{peak}_topography"] <= 1
    assert np.isnan(table.loc["auditory", "model"]["N20m_latency"])


def test_average_of_hidden_parts():
    """Each place has the mean of the trials that hid it."""
    data = np.arange(6.0).reshape(3, 1, 2)
    hidden = np.array([[[1, 0]], [[0, 0]], [[1, 0]]], bool)
    np.testing.assert_array_equal(_average(data, hidden), [[2.0, np.nan]])


def test_peak():
    """A response that comes 10 ms later, with another field, is told."""
    times = np.arange(0.0, 0.2, 0.01)
    field, other = np.array([1.0, -1.0, 2.0, 0.0]), np.array([1.0, 1.0, -1.0, 0.5])
    wave = np.exp(-0.5 * ((times - 0.1) / 0.02) ** 2)
    truth = field[:, None] * wave
    same = _peak("it", (0.07, 0.13), times, truth, 0.5 * np.roll(truth, 1, 1))
    assert same["it_latency"] == pytest.approx(0.01)
    assert same["it_topography"] == pytest.approx(1.0)
    away = _peak("it", (0.07, 0.13), times, truth, other[:, None] * wave)
    expected = np.corrcoef(field, other)[0, 1]
    assert away["it_topography"] == pytest.approx(expected)
    gone = _peak("it", (0.5, 0.6), times, truth, truth)
    assert np.isnan(list(gone.values())).all()


def test_misuse(epochs):
    """Averages have no trials."""
    with pytest.raises(TypeError, match="epochs must be"):
        score_reconstruction(
            mne.EvokedArray(np.zeros((64, 5)), epochs.info),
            MEGFMTransformer(),
            on="evoked",
        )


def test_parameters_of_other_scores(epochs):
    """What is of no use for what is scored is refused, not ignored."""
    for on, name in (
        ("sensors", "n_draws"),
        ("evoked", "n_draws"),
        ("sensors", "peaks"),
    ):
        with pytest.raises(ValueError, match=f"{name} for on=.* alone, got it for"):
            score_reconstruction(epochs, MEGFMTransformer(), on, **{name: {}})
    with pytest.raises(ValueError, match="'on' parameter"):
        score_reconstruction(epochs, MEGFMTransformer(), "channels")
