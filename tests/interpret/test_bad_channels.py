"""Tests of bad channels filled by two maps together."""

import mne
import numpy as np
import pytest

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.inputs import as_recordings
from mne_megfm.interpret import _reconstruct as module, reconstruct
from mne_megfm.interpret._sensor_predictor import SensorPredictor

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}


@pytest.fixture(scope="module")
def epochs():
    """Return epochs of 64 optically pumped magnetometers, some of them bad."""
    cohort = simulate_cohort(
        1,
        states=("rest",),
        arrays=("opm64",),
        n_epochs=4,
        random_state=3,
        verbose="error",
    )
    epochs = cohort.epochs("rest")[0]
    epochs.info["bads"] = [epochs.ch_names[i] for i in (4, 30, 51)]
    return epochs


@pytest.fixture(scope="module")
def transformer(epochs):
    """Return an untrained transformer; its weights have no part in this."""
    return MEGFMTransformer(weights=None, config=SMALL, random_state=0).fit(epochs)


@pytest.fixture
def predictor(epochs, transformer):
    """Return the way from these sensors to the canonical array and back."""
    return SensorPredictor(transformer, as_recordings(epochs)[0])


def _masks(predictor, epochs):
    bad = np.isin(predictor.names, epochs.info["bads"])
    return bad, ~bad


def test_mnes_map_is_mnes(predictor, epochs):
    """The map does with all signals what ``interpolate_bads`` does with them."""
    bad, used = _masks(predictor, epochs)
    matrix = module.mne_map(predictor, bad, used)
    good = epochs.get_data(list(np.array(predictor.names)[used]))
    expected = epochs.copy().interpolate_bads(
        mode="accurate", origin=module.ORIGIN, reset_bads=False, verbose="error"
    )
    expected = expected.get_data(list(np.array(predictor.names)[bad]))
    np.testing.assert_allclose(matrix @ good, expected, rtol=1e-6, atol=1e-19)


def test_canonical_map_is_the_mappings(predictor, epochs):
    """The other map goes by the canonical array of the channels that are used."""
    bad, used = _masks(predictor, epochs)
    mapping = predictor.mapping(())
    expected = mapping.from_canonical[bad] @ mapping.to_canonical
    got = module.canonical_map(predictor, bad, used)
    np.testing.assert_allclose(got, expected)


@pytest.mark.parametrize("better", ["canonical_map", "mne_map"])
def test_the_better_map_wins(predictor, epochs, monkeypatch, better):
    """If one of them is of no use, good channels tell, and it has next to no weight."""
    bad, used = _masks(predictor, epochs)
    worse = {"canonical_map": "mne_map", "mne_map": "canonical_map"}[better]
    plain = getattr(module, worse)
    rng = np.random.default_rng(0)

    def useless(*args):
        return rng.permutation(plain(*args).ravel()).reshape(plain(*args).shape)

    monkeypatch.setattr(module, worse, useless)
    data = np.concatenate(list(epochs.get_data(np.array(predictor.names)[used])), -1)
    data -= data.mean(1, keepdims=True)
    got = module.stacked_maps(predictor, bad, used, data @ data.T)
    best = getattr(module, better)(predictor, bad, used)
    apart = np.linalg.norm((got - best) @ data) / np.linalg.norm(best @ data)
    assert apart < 0.25


def test_weights_are_least_squares(predictor, epochs, monkeypatch):
    """Without a prior the weight is that of least squares on the channels left out."""
    bad, used = _masks(predictor, epochs)
    monkeypatch.setattr(module, "_RIDGE", 0.0)
    seen = []
    for name in ("canonical_map", "mne_map"):
        plain = getattr(module, name)

        def keep(predictor, gone, kept, plain=plain, name=name):
            seen.append((name, gone, kept, plain(predictor, gone, kept)))
            return seen[-1][-1]

        monkeypatch.setattr(module, name, keep)
    data = np.concatenate(list(epochs.get_data(np.array(predictor.names))), -1)
    data -= data.mean(1, keepdims=True)
    got = module.stacked_maps(predictor, bad, used, data[used] @ data[used].T)
    *rounds, (_, _, _, first), (_, _, _, second) = seen
    assert len(rounds) == 6
    x, y = [], []
    for (_, gone, kept, p), (_, _, _, q) in zip(rounds[::2], rounds[1::2], strict=True):
        assert not (gone & kept).any() and not (gone & bad).any()
        x.append(((p - q) @ data[kept]).ravel())
        y.append((data[gone] - q @ data[kept]).ravel())
    weight = np.linalg.lstsq(np.concatenate(x)[:, None], np.concatenate(y))[0][0]
    weight = np.clip(weight, 0, 1)
    np.testing.assert_allclose(got, weight * first + (1 - weight) * second, rtol=1e-6)


def test_filled(transformer, epochs):
    """Bad channels are filled in epochs and averages, and what is bad is not used."""
    filled = reconstruct(epochs, transformer, fill_bads=True)
    assert filled.info["bads"] == []
    at = [epochs.ch_names.index(name) for name in epochs.info["bads"]]
    changed = epochs.copy()
    changed.get_data(copy=False)[:, at] = 3e-10
    other = reconstruct(changed, transformer, fill_bads=True)
    np.testing.assert_array_equal(filled.get_data(), other.get_data())
    # as near as MNE's (within a tenth)
    errors = {}
    theirs = epochs.copy().interpolate_bads(origin=module.ORIGIN, verbose="error")
    truth = epochs.get_data(copy=False)[:, at]
    for name, one in (("ours", filled), ("theirs", theirs)):
        error = one.get_data()[:, at] - truth
        errors[name] = np.sum((error - error.mean((0, 2), keepdims=True)) ** 2)
    assert errors["ours"] < 1.1 * errors["theirs"]
    average = reconstruct(epochs.average(picks="all"), transformer, fill_bads=True)
    assert isinstance(average, mne.Evoked) and average.info["bads"] == []
    assert np.isfinite(average.data).all()
