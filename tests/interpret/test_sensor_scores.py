"""Tests of scores of reconstruction on sensors, and of their baselines."""

import mne
import numpy as np
import pytest

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import reconstruct, score_reconstruction
from mne_megfm.interpret._reconstruction_scores import (
    pca_prediction,
    sensor_interpolation,
    time_interpolation,
)
from mne_megfm.models import SpaceBlockMasking, TimeBlockMasking

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


@pytest.fixture(scope="module")
def epochs():
    """Return six epochs of two states on 64 sensors, one of them bad."""
    cohort = simulate_cohort(
        1,
        states=("rest", "auditory"),
        arrays=("opm64",),
        n_epochs=3,
        filters=(1.0, 40.0),
        random_state=8,
        verbose="error",
    )
    epochs = cohort[0].epochs()
    epochs.info["bads"] = [epochs.ch_names[5]]
    return epochs


@pytest.fixture(scope="module")
def transformer(epochs):
    """Return an untrained transformer: it averages interpolations."""
    return MEGFMTransformer(
        weights=None, config=SMALL, sample="epoch", random_state=0
    ).fit(epochs)


@pytest.mark.slow
def test_scores_are_those_of_the_reconstruction(transformer, epochs):
    """The model's scores, by hand, for each state; on hidden samples alone."""
    masks = {"it": SpaceBlockMasking()}
    table = score_reconstruction(
        epochs, transformer, masks=masks, random_state=2, on="sensors"
    )
    methods = ["model", "network", "wiener", "time", "interpolate_bads", "pca"]
    assert len(table) == 2 * len(methods)
    assert table["method"].unique().tolist() == methods
    got, hidden = reconstruct(
        epochs, transformer, masks["it"], random_state=2, return_mask=True
    )
    data = epochs.get_data(copy=False)
    mean = data.mean((0, 2))[:, None]
    for state in ("rest", "auditory"):
        at = hidden & (epochs.events[:, 2] == epochs.event_id[state])[:, None, None]
        truth, guess = (data - mean)[at], (got.get_data() - mean)[at]
        (row,) = table[(table.state == state) & (table.method == "model")].itertuples()
        error = np.linalg.norm(guess - truth) / np.linalg.norm(truth)
        assert row.sensors == "magnetometer"
        assert row.n_samples == at.sum()
        assert row.relative_error == pytest.approx(error)
        assert row.r2 == pytest.approx(1 - error**2)
        assert row.correlation == pytest.approx(np.corrcoef(truth, guess)[0, 1])
    by = table.groupby("method")["r2"].mean()
    assert np.isnan(by["time"])  # channels hidden all the time
    assert by["interpolate_bads"] > 0.3
    assert by["model"] > 0.3


def test_time_blocks_of_a_raw(transformer, epochs):
    """Rows of a Raw have a second; with all sensors hidden there are no neighbours."""
    raw = mne.io.RawArray(
        np.concatenate(list(epochs.get_data(copy=True)), -1), epochs.info
    )
    table = score_reconstruction(
        raw, transformer, masks={"it": TimeBlockMasking()}, on="sensors"
    )
    table = table.set_index("method")
    assert set(table["state"]) == {"rest"}
    assert np.isnan(table["r2"]["interpolate_bads"])
    assert np.isfinite(table["r2"].drop("interpolate_bads")).all()


def test_time_interpolation():
    """Lines are straight; channels without any visible sample stay unknown."""
    data = np.stack([np.arange(10.0), np.ones(10)])[None]
    hidden = np.zeros(data.shape, bool)
    hidden[0, 0, 3:6] = True
    hidden[0, 1] = True
    got = time_interpolation(np.where(hidden, 99.0, data), hidden)
    np.testing.assert_allclose(got[0, 0], data[0, 0])
    assert np.isnan(got[0, 1]).all()


def test_sensor_interpolation_is_mnes(epochs):
    """One set of channels for all rows is the same as by Epochs.interpolate_bads."""
    info = mne.pick_info(epochs.info, mne.pick_types(epochs.info, meg=True))
    data = epochs.get_data(info["ch_names"])
    hidden = np.zeros(data.shape, bool)
    hidden[:, 10:20] = True
    hidden[0, :, :7] = True
    given = np.where(hidden, 0.0, data)
    got = sensor_interpolation(given, hidden, info)
    marked = mne.EpochsArray(given, info, verbose="error")
    marked.info["bads"] = info["ch_names"][10:20]
    expected = marked.interpolate_bads(origin=(0, 0, 0.04), verbose="error").get_data()
    assert np.isnan(got[0, :, :7]).all()
    np.testing.assert_allclose(got[1:], expected[1:], rtol=1e-6, atol=1e-20)
    np.testing.assert_allclose(got[0, :, 7:], expected[0, :, 7:], rtol=1e-6, atol=1e-20)


def test_pca_finds_what_is_of_low_rank(rng):
    """Rows of rank 3 are predicted from half of their samples; noise is not."""
    data = (rng.standard_normal((30, 3)) @ rng.standard_normal((3, 80))).reshape(
        30, 8, 10
    )
    hidden = np.zeros(data.shape, bool)
    hidden[:, :, 5:] = True
    got = pca_prediction(data, hidden, 3)
    np.testing.assert_allclose(got, data, atol=1e-3)
    # a row is predicted without its own hidden samples
    changed = data.copy()
    changed[0, :, 5:] += 100.0
    other = pca_prediction(changed, hidden, 3)
    np.testing.assert_allclose(other[0], got[0], atol=1e-9)
    assert np.isnan(pca_prediction(data[:4], hidden[:4], 3)).all()


def test_nothing_hidden(transformer, epochs):
    """A mask that hides nothing is no score."""

    def nothing(n, n_patches, region_pos, generator):
        return SpaceBlockMasking()(n, n_patches, region_pos, generator) & False

    with pytest.raises(ValueError, match="'it' to hide some signal"):
        score_reconstruction(epochs, transformer, masks={"it": nothing}, on="sensors")
