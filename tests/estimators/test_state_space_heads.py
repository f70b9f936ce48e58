"""Heads that go through the rows of a participant: what they learn, and of what."""

import pickle

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.model_selection import GridSearchCV

from mne_megfm import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer
from mne_megfm.estimators import (
    LogisticHead,
    Pretraining,
    RidgeHead,
    StateSpaceClassifier,
    StateSpaceRegressor,
)
from mne_megfm.estimators.finetuning import ClassificationTask, RegressionTask
from mne_megfm.plugins import resolve

from .conftest import SMALL

BOTH = pytest.mark.parametrize("kind", [StateSpaceClassifier, StateSpaceRegressor])


@pytest.fixture(scope="module")
def sequences():
    """Sequences of 5 to 12 steps, whose course rises or falls around a mean of 0."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = np.full((120, 12, 3), np.nan)
    for x, label in zip(X, y, strict=True):
        n = rng.integers(5, 13)
        course = np.linspace(-1, 1, n) * (1 if label else -1)
        x[:n] = course[:, None] * [1.0, -0.5, 0.3] + 0.3 * rng.standard_normal((n, 3))
        x[:n] -= x[:n].mean(0) - 0.2 * rng.standard_normal(3)
    return X, y


def _targets(kind, y):
    return y if kind is StateSpaceClassifier else 40.0 + 10.0 * y


@BOTH
def test_learns_from_order_what_no_mean_tells(kind, sequences):
    X, y = sequences
    y = _targets(kind, y)
    head = kind(lr=1e-2, max_epochs=40, patience=40, random_state=0)
    head.fit(X[:90], y[:90])
    losses = head.history_["valid_loss"]
    assert losses.min() < 0.5 * losses[0]
    predicted = head.predict(X[90:])
    if kind is StateSpaceClassifier:
        assert (predicted == y[90:]).mean() > 0.9
        proba = head.predict_proba(X[90:])
        assert_allclose(proba.sum(1), 1.0)
        assert_array_equal(proba.argmax(1), predicted)
        assert_array_equal(head.decision_function(X[90:]) > 0, predicted)
    else:
        assert np.corrcoef(predicted, y[90:])[0, 1] > 0.8


@BOTH
def test_begins_as_the_linear_head_on_means(kind, sequences):
    """Without training it is the linear head on the mean steps of those trained on."""
    X, y = sequences
    y, seed = _targets(kind, y).astype(float), None
    head = kind(lr=1e-12, max_epochs=1, random_state=0).fit(X, y)
    seed = head.task_.seed
    means = np.nanmean(X, axis=1)
    if kind is StateSpaceClassifier:
        task = ClassificationTask(np.unique(y), None, seed)
        linear = LogisticHead(random_state=seed)
    else:
        task, linear = RegressionTask(seed), RidgeHead(random_state=seed)
    train, _ = task.split(y, np.arange(len(y)), 0.2)
    # of three features all axes are kept: the linear head does not see rotations
    centred = means - means[train].mean(0)
    common = np.sqrt((centred[train] ** 2).sum() / len(train))
    linear.fit(centred[train] / common, y[train])
    if kind is StateSpaceClassifier:
        expected = linear.decision_function(centred / common)
        got = head.decision_function(X) * head.task_.temperature
    else:
        expected, got = linear.predict(centred / common), head.predict(X)
    assert_allclose(got, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@BOTH
def test_padding_and_company_change_nothing(kind, sequences):
    """What is said of a sequence is the same bit by bit, alone and with padding."""
    X, y = sequences
    head = kind(max_epochs=2, random_state=0).fit(X[:40], _targets(kind, y[:40]))
    together = head.predict(X[40:60])
    alone = [head.predict(X[[i]])[0] for i in range(40, 60)]
    assert_array_equal(together, alone)
    more = np.pad(X[40:60], ((0, 0), (0, 7), (0, 0)), constant_values=np.nan)
    assert_array_equal(head.predict(more), together)
    # a table has one step each
    table = X[:40, 0]
    head.fit(table, _targets(kind, y[:40]))
    assert_array_equal(head.predict(table), head.predict(table[:, None]))


@BOTH
def test_same_seed_same_head(kind, sequences):
    X, y = sequences
    X, y = X[:40], _targets(kind, y[:40])
    head = kind(max_epochs=3, random_state=3)
    one, two = clone(head).fit(X, y), clone(head).fit(X, y)
    other = clone(head).set_params(random_state=4).fit(X, y)
    method = "decision_function" if is_classifier(head) else "predict"
    said = getattr(one, method)(X)
    assert_array_equal(getattr(two, method)(X), said)
    assert not np.array_equal(getattr(other, method)(X), said)
    again = pickle.loads(pickle.dumps(one))
    assert_array_equal(getattr(again, method)(X), said)
    # samples of weight 0 are as if not given
    weight = np.r_[np.ones(30), np.zeros(10)]
    with_zeros = clone(head).fit(X, y, sample_weight=weight)
    without = clone(head).fit(X[:30], y[:30])
    assert_array_equal(getattr(with_zeros, method)(X), getattr(without, method)(X))


@BOTH
def test_causal_head_does_not_look_ahead(kind, sequences):
    X, y = sequences
    head = kind(causal=True, max_epochs=2, random_state=0)
    head.fit(X[:40], _targets(kind, y[:40]))
    assert all(block.back is None for block in head.network_.blocks)
    both = clone(head).set_params(causal=False).fit(X[:40], _targets(kind, y[:40]))
    assert all(block.back is not None for block in both.network_.blocks)
    # later steps change nothing at earlier ones, unless the head looks both ways
    steps = torch.randn(1, 6, X.shape[2], generator=torch.Generator().manual_seed(0))
    changed = steps.clone()
    changed[:, -1] += 10.0
    seen = torch.ones(1, 6, dtype=torch.bool)
    for network, same in ((head.network_, True), (both.network_, False)):
        with torch.inference_mode():
            for parameter in network.parameters():
                parameter.add_(0.1)  # at the start of training some are zero
            one, two = (network.running(x, seen)[:, :-1] for x in (steps, changed))
        assert torch.equal(one, two) is same


@BOTH
def test_sequences_of_prediction(kind, sequences):
    X, y = sequences
    head = kind(max_epochs=1, random_state=0).fit(X[:40], _targets(kind, y[:40]))
    assert head.n_features_in_ == X.shape[2]
    for wrong in (X[:3, :, :-1], X[:0]):
        with pytest.raises(ValueError, match=f"of {X.shape[2]} features, one sequence"):
            head.predict(wrong)


def test_refusals(sequences):
    X, y = sequences
    head = StateSpaceClassifier(random_state=0)
    for wrong in (X[:, :, 0, None, None], X[..., 0, 0]):
        with pytest.raises(ValueError, match="sequences of shape .* got . dimensions"):
            head.fit(wrong, y)
    holes, empty = X.copy(), X.copy()
    holes[3, 2, 1], empty[3] = np.inf, np.nan
    for wrong in (holes, empty):
        with pytest.raises(ValueError, match="finite steps, at least one a sequence"):
            head.fit(wrong, y)
    with pytest.raises(ValueError, match="3 participants of each class"):
        head.fit(X[:4], y[:4])
    with pytest.raises(ValueError, match="4 participants"):
        StateSpaceRegressor().fit(X[:3], y[:3])
    with pytest.raises(ValueError, match="'d_state' parameter"):
        StateSpaceRegressor(d_state=0).fit(X, y)


def test_named_head_is_of_the_task():
    classifier = resolve("heads", "ssm", class_weight="balanced", random_state=1)
    assert is_classifier(classifier) and classifier.class_weight == "balanced"
    regressor = resolve("heads", "ssm", task="regression", random_state=1)
    assert is_regressor(regressor) and regressor.random_state == 1
    with pytest.raises(ValueError, match="suits MEGFMClassifier"):
        MEGFMClassifier(head=StateSpaceRegressor())._make_head(0)
    assert hasattr(MEGFMClassifier(head="ssm"), "predict_proba")


# -- in estimators ---------------------------------------------------------------------
def _small(make, **params):
    drawn = {"weights": None, "config": SMALL, "random_state": 0}
    return make(head="ssm", **drawn | params)


@pytest.fixture(scope="module")
def people():
    """Eight participants with 3 to 5 rows of two states, of which one lacks a state."""
    from mne_megfm.simulation import make_array_info

    rng = np.random.default_rng(0)
    info = make_array_info("opm32", sfreq=250.0)

    def epochs(n):
        data = 1e-13 * rng.standard_normal((n, len(info["chs"]), 250))
        return mne.EpochsArray(data, info, tmin=-0.2, verbose="error")

    X = [{"rest": epochs(3 + i % 3), "auditory": epochs(3)} for i in range(8)]
    del X[2]["auditory"]
    return X


def test_sequences_are_the_rows_in_their_order(people):
    """The head gets the features of all epochs, state after state, as recorded."""
    regressor = _small(MEGFMRegressor, pooling="mean")
    regressor.fit(people, np.linspace(20, 60, 8))
    steps = regressor.transformer_.transform(people)
    assert steps.shape == (8, 8, 32)
    rows = MEGFMTransformer(
        None, config=SMALL, random_state=regressor.transformer_.random_state,
        sample="epoch", pooling="mean", sensor_mapping="canonical",
    )  # fmt: skip
    rows.fit(people[0]["rest"])
    for sequence, person in zip(steps, people, strict=True):
        expected = [
            rows.transform(person[s]) for s in ("auditory", "rest") if s in person
        ]
        expected = np.concatenate(expected)
        assert_allclose(sequence[: len(expected)], expected, rtol=1e-4, atol=1e-5)
        assert np.isnan(sequence[len(expected) :]).all()
    with pytest.raises(ValueError, match="states of the training data .*'visual'"):
        regressor.predict([{"visual": people[0]["rest"]}])


@pytest.mark.slow
def test_together(people, tmp_path):
    """Local masking, experts and state spaces: fit, predict, clone, pickle, save."""
    ages = np.linspace(20, 60, 8)
    regressor = _small(
        MEGFMRegressor,
        masking=Pretraining(1, masking="local"),
        pooling="rwmoe",
        batch_size=16,
    ).fit(people, ages)
    assert regressor.transformer_.pretraining.masking == "local"
    assert len(regressor.transformer_.history_.epoch) == 1
    said = regressor.predict(people)
    assert said.shape == (8,) and np.isfinite(said).all()
    alone = np.concatenate([regressor.predict([x]) for x in people])
    assert_allclose(alone, said, rtol=1e-5)  # batches of windows are rounded apart
    assert_array_equal(clone(regressor).fit(people, ages).predict(people), said)
    again = pickle.loads(pickle.dumps(regressor))
    assert_array_equal(again.predict(people), said)
    assert_array_equal(regressor.to_pipeline().fit(people, ages).predict(people), said)
    assert regressor.novelty_p_values(people).shape == (8,)
    # the encoder with its experts comes back bit by bit, and is not fitted again
    path = regressor.save_pretrained(tmp_path / "mine")
    loaded = MEGFMRegressor(path, pooling="rwmoe", head="ssm", random_state=0)
    loaded.fit(people, ages)
    before, after = (r.transformer_.pooling_.state_dict() for r in (regressor, loaded))
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert_array_equal(array, after[name])
    assert_array_equal(
        loaded.transformer_.transform(people), regressor.transformer_.transform(people)
    )


def test_masking_alone_pretrains():
    """A masking by name is that of a pretraining with the other defaults."""
    settings = MEGFMRegressor(masking="local")._settle_pretraining()
    assert settings.get_params() == Pretraining(masking="local").get_params()
    assert MEGFMRegressor()._settle_pretraining() is None
    given = MEGFMRegressor(masking=Pretraining())
    given.set_params(masking__max_epochs=3)
    assert given._settle_pretraining().max_epochs == 3


def test_epochs_are_sequences_of_one_row(people):
    epochs = people[0]["rest"][[0, 1, 2] * 4]
    classifier = _small(MEGFMClassifier, pooling="mean")
    classifier.fit(epochs, np.arange(12) % 2)
    assert classifier.predict_proba(epochs).shape == (12, 2)


@pytest.mark.slow
def test_grid_search(people):
    grid = {
        "head": ["ssm", StateSpaceRegressor(d_state=2, random_state=0)],
        "pooling": ["mean", "rwmoe"],
    }
    search = GridSearchCV(_small(MEGFMRegressor), grid, cv=2, error_score="raise")
    with mne.utils.use_log_level("error"):
        search.fit(people, np.linspace(20, 60, 8))
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_rows_of_other_lengths_need_a_pooling_over_time(people):
    X = [dict(x) for x in people]
    for x in X:
        data = x["rest"].get_data(copy=False)
        twice = np.concatenate([data, data], 2)
        x["rest"] = mne.EpochsArray(twice, x["rest"].info, tmin=-0.2, verbose="error")
    y = np.linspace(20, 60, 8)
    with pytest.raises(ValueError, match="as many features .* 'rwmoe', 'space' or"):
        _small(MEGFMRegressor, pooling="tokens").fit(X[:2] + X[3:], y[:7])
    _small(MEGFMRegressor, pooling="mean").fit(X, y).predict(X)
