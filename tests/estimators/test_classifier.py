"""The classifier on participants and on epochs."""

import pickle

import mne
import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_score,
    cross_validate,
)

from mne_megfm import MEGFMClassifier, MEGFMTransformer, MEGSamples
from mne_megfm.estimators import LogisticHead
from mne_megfm.weights import load_checkpoint, read_config, weights_path

from .conftest import SMALL


@pytest.fixture
def probe(without_encoder):
    """A classifier that is quick to fit: participants are means of their rows."""
    return MEGFMClassifier(**without_encoder, random_state=0)


def test_probe_is_frozen_features_and_a_linear_head(labelled):
    X, y = labelled
    classifier = MEGFMClassifier(random_state=0).fit(X, y)
    # the encoder is untouched, bit by bit
    loaded = load_checkpoint(weights_path("megfm-tiny")).state_dict()
    kept = classifier.transformer_.model_.state_dict()
    assert kept.keys() == loaded.keys()
    assert all(torch.equal(kept[name], loaded[name]) for name in loaded)
    parts = {"participant_encoder", "posterior"}
    of_windows = {k: v for k, v in classifier.provenance_.items() if k not in parts}
    assert of_windows == read_config(weights_path("megfm-tiny"))["training"]
    # and the whole is what the parts say
    features = MEGFMTransformer().fit_transform(X)
    head = clone(classifier.head_).fit(features, y)
    assert_array_equal(classifier.predict_proba(X), head.predict_proba(features))


def test_labels_and_shapes(probe, labelled):
    X, y = labelled
    assert probe.fit(X, y) is probe
    assert probe.sample_ == "participant"
    assert probe.classes_.tolist() == ["control", "migraine"]
    proba, decision = probe.predict_proba(X), probe.decision_function(X)
    assert proba.shape == (len(X), 2) and decision.shape == (len(X),)
    assert_allclose(proba[:, 1], 1 / (1 + np.exp(-decision)))
    assert_array_equal(probe.predict(X), probe.classes_[(decision > 0).astype(int)])
    assert probe.score(X, y) == np.mean(probe.predict(X) == y)


@pytest.mark.slow
def test_three_classes(probe, labelled):
    X, _ = labelled
    y = np.array([30, 10, 20] * 3)[: len(X)]
    probe.fit(X, y)
    assert probe.classes_.tolist() == [10, 20, 30]
    assert probe.decision_function(X).shape == (len(X), 3)
    assert_allclose(probe.predict_proba(X).sum(1), 1.0)
    assert set(probe.predict(X)) <= {10, 20, 30}


def test_epochs(probe, epochs):
    y = ["a", "b"] * 4
    groups = np.arange(8) // 2
    probe.fit(epochs, y, groups=groups)
    assert probe.sample_ == "epoch"
    assert probe.predict(MEGSamples(epochs)[:3]).shape == (3,)
    single = probe.predict_proba(epochs[2])
    assert_allclose(single, probe.predict_proba(epochs)[[2]], atol=1e-5)


def test_weights_and_groups_reach_the_head(labelled):
    class Spy(LogisticHead):
        def fit(self, X, y, sample_weight=None, groups=None):
            self.seen_ = sample_weight, groups
            return super().fit(X, y, sample_weight, groups)

    X, y = labelled
    classifier = MEGFMClassifier(weights=None, config=SMALL, head=Spy())
    weight = np.array([1.0, 3.0, 2.0, 0.5] * 2)
    names = np.array(["eve", "ann", "bob", "dan"] * 2)
    classifier.fit(X, y, sample_weight=weight, groups=names)
    assert_array_equal(classifier.head_.seen_[0], weight)
    assert_array_equal(classifier.head_.seen_[1], [3, 0, 1, 2] * 2)


def test_routing_of_groups(probe, labelled):
    X, y = labelled
    groups = np.arange(len(y)) // 2
    with sklearn.config_context(enable_metadata_routing=True):
        routed = probe.set_fit_request(groups=True, sample_weight=True)
        routed.set_score_request(sample_weight=False)
        result = cross_validate(
            routed,
            X,
            y,
            cv=GroupKFold(2),
            params={"groups": groups, "sample_weight": np.ones(len(y))},
            error_score="raise",
        )
    assert np.isfinite(result["test_score"]).all()


@pytest.mark.slow
def test_missing_states_degrade_gracefully(probe, labelled):
    X, y = labelled
    probe.fit(X, y)
    full = probe.decision_function(X)
    lacking = [X[0], {"auditory": X[1]["auditory"]}, *X[2:]]
    with pytest.warns(RuntimeWarning, match="1 recordings are missing"):
        decision = probe.decision_function(lacking)
    others = np.arange(len(X)) != 1
    assert_allclose(decision[others], full[others], atol=1e-5)
    assert np.isfinite(decision).all() and decision[1] != full[1]
    with pytest.warns(RuntimeWarning, match="1 recordings are missing"):
        probe.fit(lacking, y)
    assert np.isfinite(probe.decision_function(X)).all()


@pytest.mark.slow
def test_head_of_ones_own(labelled):
    X, y = labelled
    forest = RandomForestClassifier(5, random_state=0)
    classifier = MEGFMClassifier(weights=None, config=SMALL, head=forest)
    assert hasattr(classifier, "predict_proba")
    assert not hasattr(classifier, "decision_function")
    classifier.fit(X, y)
    assert not hasattr(forest, "estimators_")  # a clone was fitted
    assert set(classifier.predict(X)) <= {"control", "migraine"}
    assert np.isfinite(cross_val_score(classifier, X, y, cv=2, scoring="roc_auc")).all()


@pytest.mark.slow
def test_scikit_learn_around_it(probe, labelled):
    X, y = labelled
    probe.fit(X, y)
    again = pickle.loads(pickle.dumps(probe))
    assert_array_equal(again.predict_proba(X), probe.predict_proba(X))
    assert_array_equal(clone(probe).fit(X, y).predict_proba(X), probe.predict_proba(X))
    assert clone(probe).get_params() == probe.get_params()
    search = GridSearchCV(
        probe, {"class_weight": ["balanced", None]}, cv=2, n_jobs=2, error_score="raise"
    ).fit(X, y)
    assert search.predict(X).shape == (len(X),)
    assert "MEGFMClassifier" in probe._repr_html_()


def test_unfitted(probe, labelled):
    for use in (probe.predict, probe.predict_proba, probe.decision_function):
        with pytest.raises(NotFittedError):
            use(labelled[0])
    assert not hasattr(probe, "provenance_")


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"strategy": "freeze"}, "strategy"),
        ({"class_weight": "even"}, "class_weight"),
        ({"head": "svm"}, "head"),
        ({"unit": "trial"}, "unit"),
        ({"pooling": "median"}, "'projection'"),
    ],
)
def test_parameters(probe, labelled, params, match):
    with pytest.raises(ValueError, match=match):
        probe.set_params(**params).fit(*labelled)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "requires y to be passed"),
        (["a"] * 8, "at least 2 classes in y, got one class: 'a'"),
        (["a", "b"] * 3, "one value a participant .8., got 6"),
        ([0.0, 1.0, np.nan, 1.0] * 2, "none .NaN. for position 2, 6"),
        (["a", "b", None, "b"] * 2, "none .NaN. for position 2, 6"),
        (np.linspace(0, 1, 8), "Unknown label type"),
        (["a"] * 7 + ["b"], "at least 2 participants of each class"),
    ],
)
def test_labels_that_do_not_do(probe, labelled, y, match):
    with pytest.raises(ValueError, match=match):
        probe.fit(labelled[0], y)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"sample_weight": np.ones(3)}, "sample_weight with one value a participant"),
        ({"sample_weight": -np.ones(8)}, "finite sample_weight of 0 or more"),
        ({"sample_weight": np.zeros(8)}, "not all 0"),
        ({"groups": [1, 2]}, "groups with one value a participant"),
        ({"groups": ["a", None] * 4}, "Expected a group for each participant"),
    ],
)
def test_weights_and_groups_that_do_not_do(probe, labelled, given, match):
    with pytest.raises(ValueError, match=match):
        probe.fit(*labelled, **given)


@pytest.mark.slow
def test_a_participant_twice(probe, labelled):
    X, y = labelled
    match = "same recording, or parts of it.*in elements 2 and 5"
    with pytest.warns(RuntimeWarning, match=match):
        probe.fit([*X[:5], X[2], *X[6:]], y)
    copied = {state: epochs.copy() for state, epochs in X[2].items()}
    with pytest.warns(RuntimeWarning, match=match):
        probe.fit([*X[:5], copied, *X[6:]], y)
    # two recordings of one person are fine, if they are said to be: no warning
    groups = [0, 1, 2, 3, 4, 2, 6, 7]
    probe.fit([*X[:5], copied, *X[6:]], np.array(y), groups=groups)


def test_not_mne(probe):
    with pytest.raises(TypeError, match="Expected X to be Epochs, Raw"):
        probe.fit(np.zeros((10, 306, 250)), np.arange(10) % 2)
    info = mne.create_info(20, 250.0, "eeg")
    eeg = mne.EpochsArray(np.ones((2, 20, 250)), info)
    with pytest.raises(ValueError, match="MEG"):
        probe.fit(eeg, [0, 1])
