"""Tests of how much states and groups of features help."""

import importlib

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.estimators import Pretraining
from mne_megfm.estimators.frozen import FrozenStep
from mne_megfm.evaluation import compare
from mne_megfm.interpret import state_importance as importance_of
from mne_megfm.interpret._importance import _States

NAMES = ("size", "gain_early", "gain_late", "alpha", "copy")
SMALL = {"d_model": 32, "n_layers": 1, "n_decoder_layers": 1}
#: Ranks of three participants change by rounding, where two are alike.
SCORING = "neg_log_loss"
GROUPS = {"size": ["size"], "gain": ["gain"], "alpha": ["alpha"], "copy": ["copy"]}


def state_importance(*args, **kwargs):
    """Give the table of folds, with as few permutations as can be."""
    return importance_of(*args, n_permutations=1, alpha=0.5, **kwargs).table


class Described(TransformerMixin, BaseEstimator):
    """A step whose participants are dicts of numbers, in place of recordings."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return self._transform_extracted(X)

    calls = 0  # how many participants were read

    def _is_frozen(self):
        return True

    def _read_participants(self, X):
        type(self).calls += len(X)
        return [dict(x) for x in X]

    def _fit_extracted(self, extracted, y=None):
        return self

    def _transform_extracted(self, extracted):
        return np.array([[one.get(name, 0.0) for name in NAMES] for one in extracted])

    def get_feature_names_out(self):
        return np.array(NAMES, dtype=object)


@pytest.fixture
def numbers(rng):
    """Return participants, and a number that is linear in what they have."""
    X = rng.standard_normal((300, 5))
    X[:, 4] = X[:, 0]
    y = X[:, 0] + 2 * X[:, 1]
    return [dict(zip(NAMES, x, strict=True)) for x in X], y


def _mean(found):
    return found.groupby("group")["importance"].mean()


@pytest.mark.parametrize("groups", ["states", GROUPS])
def test_shapley_values_of_a_linear_model(numbers, groups):
    """For a linear model of independent features R² is shared as variance is."""
    X, y = numbers
    model = make_pipeline(Described(), LinearRegression())
    found = state_importance(model, X, y, groups=groups)
    assert sorted(found.columns) == ["base", "fold", "group", "importance", "score"]
    assert found["fold"].nunique() == 20
    mean = _mean(found)
    # y = x0 + 2 x1, and R² of a fold is 1 - sum of squares of what is left out
    gain = mean["gain"] if groups is GROUPS else mean["gain_early"] + mean["gain_late"]
    assert gain == pytest.approx(0.8, abs=0.05)
    # two that tell the same share what they tell
    assert mean["size"] == pytest.approx(0.1, abs=0.03)
    assert mean["copy"] == pytest.approx(mean["size"], abs=1e-2)
    assert mean["alpha"] == pytest.approx(0.0, abs=1e-2)


def test_shapley_values_are_efficient(numbers, rng):
    """Values of a fold add up to what all groups together gain."""
    X, y = numbers
    labels = np.where(y + rng.standard_normal(300) > 0, "migraine", "control")
    model = make_pipeline(Described(), LogisticRegression())
    found = state_importance(model, X, labels, groups={"gain": ["gain_early"]}, cv=3)
    assert sorted(found["group"].unique()) == ["gain", "other"]
    for _, fold in found.groupby("fold"):
        gained = fold["score"].iloc[0] - fold["base"].iloc[0]
        assert fold["importance"].sum() == pytest.approx(gained, abs=1e-12)
        # equal for all without features
        assert fold["base"].iloc[0] == 0.5


@pytest.mark.parametrize("groups", ["states", GROUPS])
def test_permutation(numbers, groups):
    """Permuting costs R² twice what the weights and the variance say."""
    X, y = numbers
    model = make_pipeline(Described(), LinearRegression())
    mean = _mean(state_importance(model, X, y, "permutation", groups=groups, cv=5))
    gain = "gain" if groups is GROUPS else "gain_early"
    # recordings are permuted once a fold, features ten times
    assert mean[gain] == pytest.approx(2 * 0.8, abs=0.15 if groups is GROUPS else 0.4)
    # least squares gives both copies half of the weight
    assert mean["size"] == pytest.approx(2 * 0.05, abs=0.04)
    assert mean["alpha"] == pytest.approx(0.0, abs=1e-2)
    again = _mean(state_importance(model, X, y, "permutation", groups=groups, cv=5))
    assert (mean == again).all()


def test_missing_states(numbers):
    """Participants without a state count; without any, they have the mean."""
    X, y = numbers
    X[0] = {"size": 1.0}
    model = make_pipeline(Described(), LinearRegression())
    for method in ("shapley", "permutation"):
        found = state_importance(model, X, y, method, cv=3)
        assert np.isfinite(found["importance"]).all()


@pytest.fixture(scope="module")
def cohort():
    """Return six participants in two states."""
    return simulate_cohort(
        6, states=("rest", "auditory"), arrays=("opm64",), n_epochs=3, random_state=0
    )


@pytest.fixture(scope="module")
def model():
    """Return a pipeline of the bundled weights."""
    return make_pipeline(MEGFMTransformer(), LogisticRegression())


@pytest.fixture(scope="module")
def shares(cohort, model):
    """Return the shares of states of the cohort."""
    X = [participant.recordings for participant in cohort]
    return state_importance(model, X, cohort.labels, cv=2, scoring=SCORING)


def test_cohort(cohort, model, shares):
    """States of a cohort are left out, whatever features are made of them."""
    found = shares
    assert found["group"].unique().tolist() == ["auditory", "rest"]
    gained = (found["score"] - found["base"]).groupby(found["fold"]).mean()
    shares = found.groupby("fold")["importance"].sum()
    np.testing.assert_allclose(shares, gained, atol=1e-12)
    joined = [participant.epochs() for participant in cohort]
    same = state_importance(model, joined, cohort.labels, cv=2, scoring=SCORING)
    np.testing.assert_allclose(same["importance"], found["importance"], atol=1e-5)
    assert found["importance"].abs().min() > 1e-3


@pytest.mark.slow
def test_recordings_are_read_once(cohort, monkeypatch):
    """And give what transform gives of participants with states of others."""
    X = [participant.recordings for participant in cohort]
    read, module = [], importlib.import_module("mne_megfm.participants.trials")
    plain = module.iter_windows
    monkeypatch.setattr(
        module, "iter_windows", lambda *a, **k: read.append(1) or plain(*a, **k)
    )
    model = make_pipeline(MEGFMTransformer(), LogisticRegression())
    for method in ("permutation", "shapley"):
        read.clear()
        importance_of(model, X, cohort.labels, method, cv=2, n_permutations=19)
        assert len(read) == 2 * len(X)  # states
    parts = _States(FrozenStep(MEGFMTransformer()), X)
    train, test = np.array([0, 1]), np.array([2, 3, 4, 5])
    parts.learn(train)
    (found,) = parts.permuted(test, "auditory", np.random.default_rng(2))
    other = np.random.default_rng(2).permutation(test)
    assert (other != test).any()
    swapped = [
        X[i] | {"auditory": X[j]["auditory"]} for i, j in zip(test, other, strict=True)
    ]
    transformer = MEGFMTransformer().fit([X[i] for i in train])
    np.testing.assert_allclose(found, transformer.transform(swapped), atol=1e-5)


def test_memory_of_a_comparison(cohort, model, shares, tmp_path, monkeypatch):
    """What `compare` has kept is not read again, and shares stay bit-equal."""
    X, y = [participant.recordings for participant in cohort], cohort.labels
    states = {"cv": 2, "scoring": SCORING}
    features = states | {"groups": {"responses": ["responses_"]}}
    expected = [shares, state_importance(model, X, y, **features)]
    none = {"n_permutations": 0, "n_random_weights": 0}
    compare(X, y, {"a": model}, cv=2, memory=tmp_path, **none)
    # other weights are read with
    other = make_pipeline(
        MEGFMTransformer(weights=None, config=SMALL, random_state=0),
        LogisticRegression(),
    )
    with monkeypatch.context() as context:
        context.setattr(MEGFMTransformer, "_read", None)
        for same, settings in zip(expected, (states, features), strict=True):
            found = state_importance(model, X, y, memory=tmp_path, **settings)
            pd.testing.assert_frame_equal(found, same, check_exact=True)
            with pytest.raises(TypeError):
                state_importance(other, X, y, memory=tmp_path, **settings)


def test_errors(numbers):
    """What does not fit is refused."""
    X, y = numbers
    model = make_pipeline(Described(), LinearRegression())
    with pytest.raises(TypeError, match="use mne_megfm.interpret.occlude"):
        state_importance(LinearRegression(), X, y)
    with pytest.raises(ValueError, match="one value a participant"):
        state_importance(model, X, y[:5])
    trained = make_pipeline(
        MEGFMTransformer(pretraining=Pretraining(max_epochs=1)), LinearRegression()
    )
    with pytest.raises(TypeError, match="with frozen weights"):
        state_importance(trained, X, y)
    with pytest.raises(ValueError, match="Expected groups to be"):
        state_importance(model, X, y, groups="time")
    with pytest.raises(ValueError, match="Expected features for group 'a'"):
        state_importance(model, X, y, groups={"a": ["nothing"]})
    with pytest.raises(ValueError, match="Expected 2 to 10 groups, got 1"):
        state_importance(model, [{"size": 1.0}] * 300, y)
    with pytest.raises(TypeError, match="dict from state to recording"):
        state_importance(model, [[1.0]] * 300, y)
    with pytest.raises(ValueError, match="Invalid value for the 'method'"):
        state_importance(model, X, y, "gain")
