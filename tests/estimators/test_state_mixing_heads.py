"""Heads that mix the states of a participant: what they learn, and of what."""

import pickle

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import erf
from sklearn.base import clone, is_classifier
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV

from mne_megfm import MEGFMClassifier, MEGFMRegressor
from mne_megfm.estimators import (
    LogisticHead,
    RidgeHead,
    StateMixingClassifier,
    StateMixingRegressor,
)
from mne_megfm.estimators.finetuning import ClassificationTask, RegressionTask
from mne_megfm.models import StateMixingPredictor
from mne_megfm.plugins import resolve

from .conftest import SMALL

BOTH = pytest.mark.parametrize("kind", [StateMixingClassifier, StateMixingRegressor])


@pytest.fixture(scope="module")
def states():
    """What is said by whether two states agree in sign, and by neither alone."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    sign = rng.choice([-1.0, 1.0], 400)
    X = 0.3 * rng.standard_normal((400, 2, 4))
    X[:, 0, 0] += sign
    X[:, 1, 1] += sign * np.where(y, 1, -1)
    return X, y


def _targets(kind, y):
    return y if kind is StateMixingClassifier else 40.0 + 10.0 * y


@BOTH
def test_learns_what_no_state_says_alone(kind, states):
    X, y = states
    y = _targets(kind, y)
    head = kind(
        lr=1e-2, max_epochs=25, patience=25, state_dropout=0.0, random_state=0
    ).fit(X[:300], y[:300])
    predicted = head.predict(X[300:])
    if kind is StateMixingClassifier:
        assert (predicted == y[300:]).mean() > 0.9
        assert_allclose(head.predict_proba(X[300:]).sum(1), 1.0)
    else:
        assert np.corrcoef(predicted, y[300:])[0, 1] > 0.8


@BOTH
def test_begins_as_the_linear_head_on_the_mean_state(kind, states):
    """Of states around their own means, over those that are there."""
    X, y = states[0][:80].copy(), _targets(kind, states[1][:80]).astype(float)
    X[::5, 1] = np.nan
    X[:, 1] += 30.0  # the mean of a state alone says which states there are
    head = kind(lr=1e-12, max_epochs=1, random_state=0).fit(X, y)
    seed = head.task_.seed
    if kind is StateMixingClassifier:
        task = ClassificationTask(np.unique(y), None, seed)
        linear = LogisticHead(random_state=seed)
    else:
        task, linear = RegressionTask(seed), RidgeHead(random_state=seed)
    train, _ = task.split(y, np.arange(len(y)), 0.2)
    means = np.nanmean(X - np.nanmean(X[train], 0), 1)
    axes = PCA().fit(means[train])
    means = means @ axes.components_.T / np.sqrt(axes.explained_variance_.sum())
    means *= np.sqrt(len(train) / (len(train) - 1))
    linear.fit(means[train], y[train])
    if kind is StateMixingClassifier:
        expected = linear.decision_function(means)
        got = head.decision_function(X) * head.task_.temperature
    else:
        expected, got = linear.predict(means), head.predict(X)
    assert_allclose(got, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def _network(**params):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = StateMixingPredictor(
            torch.randn(3, 5), torch.randn(4, 5), 2, 8, 3, 2, **params
        )
        for parameter in network.parameters():  # some are zero at the start
            torch.nn.init.normal_(parameter, std=0.3)
    return network.double()


def test_cascade_against_its_definition():
    """One state after another, by softmax and matrices in float64."""
    network = _network().eval()
    rng = np.random.default_rng(1)
    states = rng.standard_normal((6, 3, 5))
    seen = rng.random((6, 3)) > 0.4
    seen[:, 1] = True
    with torch.inference_mode():
        got = network(torch.from_numpy(states), torch.from_numpy(seen)).numpy()
    w = {k: v.numpy() for k, v in network.state_dict().items()}

    def norm(x, name):
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x):
        return x * (1 + erf(x / np.sqrt(2))) / 2

    for row, there, out in zip(states, seen, got, strict=True):
        projected = {s: w["axes"] @ (row[s] - w["centre"][s]) for s in range(3)}
        token = w["start"][0, 0]
        for s in np.flatnonzero(there):
            keys = w[f"enter.{s}.weight"] @ projected[s] + w[f"enter.{s}.bias"]
            keys = keys.reshape(3, 8)
            name = f"attention.{s}"
            weight, bias = w[f"{name}.in_proj_weight"], w[f"{name}.in_proj_bias"]
            q, k, v = (
                x @ weight[i : i + 8].T + bias[i : i + 8]
                for i, x in ((0, norm(token, f"query.{s}")), (8, keys), (16, keys))
            )
            found = []
            for h in (slice(0, 4), slice(4, 8)):
                score = np.exp(k[:, h] @ q[h] / 2)
                found.append(score @ v[:, h] / score.sum())
            found = np.concatenate(found) @ w[f"{name}.out_proj.weight"].T
            token = token + found + w[f"{name}.out_proj.bias"]
            inner = norm(token, f"mlp.{s}.0") @ w[f"mlp.{s}.1.weight"].T
            inner = gelu(inner + w[f"mlp.{s}.1.bias"])
            token = token + inner @ w[f"mlp.{s}.3.weight"].T + w[f"mlp.{s}.3.bias"]
        mean = np.mean([projected[s] for s in np.flatnonzero(there)], 0)
        expected = w["linear.weight"] @ mean + w["linear.bias"]
        expected = expected + w["correction.weight"] @ norm(token, "norm")
        assert_allclose(out, expected, rtol=1e-9)


def test_what_is_missing_changes_nothing():
    network = _network().eval()
    states, seen = torch.randn(4, 3, 5).double(), torch.ones(4, 3, dtype=torch.bool)
    seen[:, 2] = False
    other = states.clone()
    other[:, 2] = 1e6
    with torch.inference_mode():
        assert torch.equal(network(states, seen), network(other, seen))


def test_states_left_out_in_training():
    """The share that is asked for, never all, and never one that was missing."""
    network = _network(state_dropout=0.4).train()
    seen = torch.ones(20_000, 3, dtype=torch.bool)
    seen[:, 0] = torch.arange(20_000) % 2 == 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        kept = network._drop(seen)
    assert kept.any(1).all() and not (kept & ~seen).any()
    # of two states 1 and 2 one stays: left out are 0.4 less half of what both are
    share = kept[~seen[:, 0]][:, 1:].double().mean()
    assert share == pytest.approx(0.6 + 0.4**2 / 2, abs=0.01)


@BOTH
def test_same_seed_same_head(kind, states):
    X, y = states[0][:40].copy(), _targets(kind, states[1][:40])
    X[3, 0] = np.nan
    head = kind(max_epochs=3, lr=1e-2, patience=3, random_state=3)
    one, two = clone(head).fit(X, y), clone(head).fit(X, y)
    method = "decision_function" if is_classifier(head) else "predict"
    said = getattr(one, method)(X)
    assert_array_equal(getattr(two, method)(X), said)
    again = pickle.loads(pickle.dumps(one))
    assert_array_equal(getattr(again, method)(X), said)
    alone = np.concatenate([getattr(one, method)(x[None]) for x in X])
    assert_array_equal(alone, said)


def test_refusals(states):
    X, y = states
    with pytest.raises(ValueError, match="multiple of n_heads, got 32 and 5"):
        StateMixingClassifier(n_heads=5).fit(X[:40], y[:40])
    gone = X[:40].copy()
    gone[:, 1] = np.nan
    with pytest.raises(ValueError, match="got none with state number 1"):
        StateMixingClassifier().fit(gone, y[:40])
    with pytest.raises(ValueError, match="'state_dropout' parameter"):
        StateMixingRegressor(state_dropout=1.0).fit(X, y)
    head = StateMixingClassifier(max_epochs=1, random_state=0).fit(X[:40], y[:40])
    with pytest.raises(ValueError, match="at least one a sequence"):
        head.predict(np.full((1, 2, 4), np.nan))


def test_named_head_is_of_the_task():
    assert is_classifier(resolve("heads", "mixing", class_weight="balanced"))
    regressor = resolve("heads", "mixing", task="regression", random_state=1)
    assert isinstance(regressor, StateMixingRegressor) and regressor.random_state == 1


# -- in estimators ---------------------------------------------------------------------
@pytest.fixture(scope="module")
def people():
    """Eight participants with rows of two states, of whom one lacks a state."""
    from mne_megfm.simulation import make_array_info

    rng = np.random.default_rng(0)
    info = make_array_info("opm32", sfreq=250.0)

    def epochs(n):
        data = 1e-13 * rng.standard_normal((n, len(info["chs"]), 250))
        return mne.EpochsArray(data, info, tmin=-0.2, verbose="error")

    X = [{"rest": epochs(3 + i % 3), "auditory": epochs(3)} for i in range(8)]
    del X[2]["auditory"]
    return X


def _small(make, **params):
    drawn = {"weights": None, "config": SMALL, "pooling": "mean", "random_state": 0}
    return make(head="mixing", **drawn | params)


def test_states_are_means_and_spreads_of_rows(people):
    """A step for each state: columns of ``aggregation="mean_std"``, NaN if missing."""
    regressor = _small(MEGFMRegressor).fit(people, np.linspace(20, 60, 8))
    steps = regressor.transformer_.transform(people)
    assert steps.shape == (8, 2, 64) and np.isnan(steps[2, 0]).all()
    other = clone(regressor.transformer_).set_params(aggregation="mean_std")
    with mne.utils.use_log_level("error"):
        table = other.fit(people).transform(people)
    names = list(other.get_feature_names_out())
    for i, state in enumerate(("auditory", "rest")):
        of_state = [
            n for n, name in enumerate(names)
            if name.startswith(f"{state}_") and not name.endswith("_missing")
        ]  # fmt: skip
        there = [n for n in range(8) if state in people[n]]
        assert_allclose(steps[there, i], table[np.ix_(there, of_state)], rtol=1e-5)
    said = regressor.predict(people)
    assert np.isfinite(said).all()
    again = pickle.loads(pickle.dumps(regressor))
    assert_array_equal(again.predict(people), said)
    assert regressor.novelty_p_values(people).shape == (8,)
    with pytest.raises(ValueError, match="states of the training data .*'visual'"):
        regressor.predict([{"visual": people[0]["rest"]}])


@pytest.mark.slow
def test_grid_search(people):
    grid = {"head": ["logistic", "mixing", "ssm"]}
    search = GridSearchCV(_small(MEGFMClassifier), grid, cv=2, error_score="raise")
    with mne.utils.use_log_level("error"):
        search.fit(people + people[:4], np.arange(12) % 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
