"""Heads by name: built-in, and of another package."""

import mne
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mne_megfm import MEGFMClassifier, MEGFMRegressor
from mne_megfm.estimators import LogisticHead, RidgeHead
from mne_megfm.plugins import KINDS, _registry, register
from mne_megfm.simulation import make_array_info

SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}
NEAREST = """
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import KNeighborsClassifier

class Part(KNeighborsClassifier):
    def __init__(self, n_neighbors=1, random_state=None):
        super().__init__(n_neighbors)
        self.random_state = random_state
"""


@pytest.fixture(scope="module")
def epochs():
    """Eight epochs, of which every second has stronger signals."""
    rng = np.random.default_rng(0)
    info = make_array_info("ctf151", sfreq=250.0)
    data = 1e-13 * rng.standard_normal((8, 151, 50))
    data[1::2] *= 3.0
    return mne.EpochsArray(data, info, verbose="error")


def made(kind, **params):
    return kind(weights=None, config=SMALL, random_state=0, **params)


def test_names_are_the_built_in_heads(epochs):
    classifier = made(MEGFMClassifier, class_weight="balanced").fit(epochs, [0, 1] * 4)
    assert classifier.get_params()["head"] == "logistic"
    assert type(classifier.head_) is LogisticHead
    assert classifier.head_.class_weight == "balanced"
    ages = np.linspace(30, 60, 8)
    regressor = made(MEGFMRegressor).fit(epochs, ages)
    assert regressor.get_params()["head"] == "ridge"
    assert type(regressor.head_) is RidgeHead
    given = RidgeHead(random_state=regressor.head_.random_state)
    again = made(MEGFMRegressor, head=given).fit(epochs, ages)
    assert_array_equal(again.predict(epochs), regressor.predict(epochs))


def test_of_another_package(epochs, install, monkeypatch):
    module = install("near-heads", "nearest", NEAREST, kind="heads")
    # entry points are looked up once, and other tests may have done so before
    fresh = _registry.Registry(KINDS["heads"])
    monkeypatch.setitem(_registry._REGISTRIES, "heads", fresh)
    classifier = made(MEGFMClassifier, head="nearest")
    assert hasattr(classifier, "predict_proba")
    assert not hasattr(classifier, "decision_function")
    classifier.fit(epochs, list("abcdabcd"))
    assert type(classifier.head_).__module__ == module
    assert classifier.head_.random_state is not None  # it takes a seed
    assert classifier.predict(epochs).tolist() == list("abcdabcd")


def test_heads_that_do_not_suit(epochs):
    y = [0, 1] * 4
    with pytest.raises(
        ValueError, match="name of a head.*'logistic', 'mixing', 'ridge'.*'svm'"
    ):
        made(MEGFMClassifier, head="svm").fit(epochs, y)
    with pytest.raises(ValueError, match="suits MEGFMClassifier, got 'ridge'"):
        made(MEGFMClassifier, head="ridge").fit(epochs, y)
    with pytest.raises(ValueError, match="suits MEGFMRegressor, got LogisticHead"):
        made(MEGFMRegressor, head=LogisticHead()).fit(epochs, y)
    with register("heads", "no-head", lambda: len):
        with pytest.raises(TypeError, match="method.*'fit', 'predict', got <built-in"):
            made(MEGFMClassifier, head="no-head").fit(epochs, y)
