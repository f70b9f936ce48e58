"""Tests of what is read once: `memory`, and `fit` of frozen weights."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mne_megfm import MEGFMClassifier, MEGFMTransformer, simulate_cohort
from mne_megfm.estimators.frozen import FrozenStep
from mne_megfm.models import MaskedSignalTransformer
from mne_megfm.participants import trials as of_participants

SMALL = {"d_model": 32, "n_layers": 1}


@pytest.fixture(scope="module")
def epochs():
    """Return twelve epochs of a simulated participant."""
    cohort = simulate_cohort(
        1, states=("auditory",), arrays=("opm64",), n_epochs=12, random_state=1
    )
    return cohort.epochs("auditory")[0]


@pytest.fixture(scope="module")
def participants(labelled):
    """Return three participants, each a dict of state to epochs."""
    return labelled[0][:3]


@pytest.fixture
def encoded(monkeypatch):
    """Return a list that gets the number of windows of each call of the encoder."""
    counts, encode = [], MaskedSignalTransformer.encode

    def counting(self, windows, *args, **kwargs):
        counts.append(len(windows))
        return encode(self, windows, *args, **kwargs)

    monkeypatch.setattr(MaskedSignalTransformer, "encode", counting)
    return counts


def test_same_epochs_are_encoded_once(epochs, encoded, tmp_path):
    """Predictions of all kinds share what was encoded, and are those without memory.

    Each epoch is encoded twice: as it is, and denoised.
    """
    y = np.arange(12) % 2
    params = {"weights": None, "config": SMALL, "random_state": 0}
    plain = MEGFMClassifier(**params).fit(epochs[:8], y[:8])
    kept = MEGFMClassifier(**params, memory=tmp_path).fit(epochs[:8], y[:8])
    del encoded[:]
    found = kept.predict_proba(epochs[8:])
    assert sum(encoded) == 2 * 4
    kept.predict(epochs[8:])
    kept.score(epochs[8:], y[8:])
    kept.novelty_p_values(epochs[8:])
    assert sum(encoded) == 2 * 4
    assert_allclose(found, plain.predict_proba(epochs[8:]), rtol=1e-5)
    # fit draws projections from random fields
    transformer = MEGFMTransformer(**params, memory=tmp_path).fit(epochs)
    del encoded[:]
    again = kept.transformer_.transform(epochs[8:])
    assert not encoded
    # other data, or other weights, are others
    changed = epochs.copy()
    changed._data[8:] *= 2
    assert not np.allclose(kept.transformer_.transform(changed[8:]), again)
    assert sum(encoded) == 2 * 4
    transformer.set_params(random_state=1).fit(epochs)
    del encoded[:]
    assert not np.allclose(transformer.transform(epochs[8:]), again)
    assert sum(encoded) == 2 * 4


def test_same_participants_are_read_once(participants, monkeypatch, tmp_path):
    """A participant is read once, alone or among others."""
    expected = MEGFMTransformer().fit(participants).transform(participants)
    kept = MEGFMTransformer(memory=tmp_path).fit(participants)
    assert_allclose(kept.transform(participants), expected, rtol=1e-5, atol=1e-6)

    def refuse(*args, **kwargs):
        raise AssertionError("read again")

    monkeypatch.setattr(of_participants, "iter_windows", refuse)
    assert_allclose(
        kept.transform(participants[::-1]), expected[::-1], rtol=1e-5, atol=1e-6
    )
    with pytest.raises(AssertionError, match="read again"):
        MEGFMTransformer().fit(participants).transform(participants)


def test_fit_of_participants_reads_nothing(participants, monkeypatch):
    """Frozen weights learn which states there are, without a look at their data."""
    frozen = FrozenStep(MEGFMTransformer())
    expected = frozen.fit(frozen.extract(participants))

    def refuse(*args, **kwargs):
        raise AssertionError("read")

    monkeypatch.setattr(of_participants, "iter_windows", refuse)
    fitted = MEGFMTransformer().fit(participants)
    assert fitted.states_ == expected.states_
    assert_array_equal(fitted.get_feature_names_out(), expected.get_feature_names_out())
    with pytest.raises(AssertionError, match="read"):
        MEGFMTransformer(aggregation="measures+evoked").fit(participants)
