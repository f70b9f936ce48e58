"""Fine-tuning on participants: the participant encoder is what is trained."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from mne_megfm import MEGFMClassifier, MEGFMRegressor
from mne_megfm.estimators import (
    FineTuning,
    LogisticHead,
    RidgeHead,
    finetuning as _tuning,
)
from mne_megfm.estimators.finetuning import (
    ClassificationTask,
    RegressionTask,
    Tuning,
    fine_tune,
)
from mne_megfm.estimators.finetuning_modules import ParticipantDraws
from mne_megfm.models import ParticipantConfig, ParticipantTransformer
from mne_megfm.participants import PersonTrials

BOTH = pytest.mark.parametrize("strategy", ["lora", "finetune"])


def tuned(strategy, make=MEGFMClassifier, **params):
    """Make an estimator with bundled weights that is quick to fine-tune."""
    quick = {"max_epochs": 2, "n_epochs_per_state": 2, "lora_rank": 2}
    known = FineTuning().get_params()
    settings = quick | {name: params.pop(name) for name in known if name in params}
    finetuning = None if strategy == "probe" else FineTuning(**settings)
    params = {"random_state": 0} | params
    return make(strategy=strategy, finetuning=finetuning, **params)


@pytest.fixture(scope="module", params=["lora", "finetune"])
def fitted(request, labelled):
    return tuned(request.param).fit(*labelled)


# -- what is learnt -----------------------------------------------------------------
def planted_people(rng, y):
    """Trials whose first coefficients go together in one class, apart in the other.

    All means and spreads of coefficients are those of the other class.
    """
    people = []
    for label in y:
        z = rng.standard_normal((40, 48)).astype(np.float32)
        sign = 1 if label else -1
        z[:, 1] = sign * z[:, 0] + 0.1 * rng.standard_normal(40)
        spectra = np.zeros((40, 24, 19), np.float32)
        people.append(PersonTrials.of_state("auditory", z, spectra))
    return people


@BOTH
def test_learns_from_trials_what_features_do_not_tell(rng, strategy, monkeypatch):
    y = np.arange(80) % 2
    people = planted_people(rng, y)
    train, test = np.arange(60), np.arange(60, 80)
    features = rng.standard_normal((80, 3)).astype(np.float32)
    torch.manual_seed(0)
    level = ParticipantTransformer(ParticipantConfig(d_model=32, n_layers=2))
    before = {name: values.clone() for name, values in level.state_dict().items()}
    transformer = SimpleNamespace(sample_="participant", participant_encoder_=level)
    monkeypatch.setattr(_tuning, "read_people", lambda *_: people[:60])
    task = ClassificationTask(np.array([0, 1]), None, 0)
    rank = 4 if strategy == "lora" else None
    network, history = fine_tune(
        transformer,
        None,
        features[train],
        task,
        (y[train], np.ones(60), train),
        Tuning(rank, 8, 0.2, 40, 1e-2 if rank else 3e-3, 1.0, 40, 0),
    )
    assert history["valid_loss"].min() < history["valid_loss"][0] - 0.2
    draws = ParticipantDraws(
        people, features, test, torch.zeros(80), torch.zeros(80), level
    )
    with torch.inference_mode():
        outputs = network(draws.collate([draws[i] for i in range(20)])[0]).numpy()
    assert roc_auc_score(y[test], outputs[:, 1] - outputs[:, 0]) > 0.9
    # the level that was given is not touched
    assert all(torch.equal(before[n], v) for n, v in level.state_dict().items())


def test_only_what_should_be_is_trained(fitted):
    before = fitted.transformer_.participant_encoder_.state_dict()
    after = fitted.network_.encoder.state_dict()
    adapters = {name for name in after if name.endswith((".down", ".up"))}
    plain = {n.replace(".base.", "."): v for n, v in after.items() if n not in adapters}
    changed = {name for name in before if not torch.equal(plain[name], before[name])}
    if fitted.strategy == "lora":
        assert not changed and len(adapters) == 3 * 4 * 2
    else:
        assert {"blocks.0.attention.qkv.weight", "token", "norm.weight"} <= changed
        assert not any(n.startswith(("inputs", "head", "decoder")) for n in changed)
        assert not adapters


def test_draws_at_least_half_of_the_trials(rng):
    """Each state keeps half of its trials, in order, and few trials are all taken."""
    spectra = np.zeros((20, 24, 19), np.float32)
    z = np.tile(np.arange(20.0, dtype=np.float32)[:, None], (1, 48))
    person = PersonTrials.join(
        [
            PersonTrials.of_state("auditory", z, spectra),
            PersonTrials.of_state("rest", None, spectra[:3]),
        ]
    )
    level = ParticipantTransformer(ParticipantConfig(d_model=32, n_layers=1))
    draws = ParticipantDraws(
        [person],
        np.zeros((1, 1)),
        np.zeros(1, int),
        torch.zeros(1),
        torch.ones(1),
        level,
        n_rows=4,
        seed=0,
    )
    seen = [draws[0][0] for _ in range(20)]
    assert all((person.kind == 0).sum() == 3 for person in seen)
    at = [person.position[person.kind == 1].tolist() for person in seen]
    assert all(len(p) == 10 and (np.diff(p) > 0).all() for p in at)
    assert len({tuple(p) for p in at}) > 10


# -- contracts ----------------------------------------------------------------------
def test_starts_from_the_probe(labelled):
    """With a rate of nearly 0, it is the linear head on frozen features."""
    X, y = labelled
    classifier = tuned("finetune", lr=1e-12).fit(X, y)
    seed = classifier.task_.seed
    task = ClassificationTask(classifier.classes_, None, seed)
    train, _ = task.split(y, np.arange(8), 0.2)
    features = classifier.transformer_.transform(X).astype(float)
    head = LogisticHead(random_state=seed).fit(features[train], y[train])
    # the head's own temperature belongs to the probe
    plain = features @ head.coef_[0] + head.intercept_[0]
    assert_allclose(
        classifier.decision_function(X),
        plain / classifier.task_.temperature,
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "strategy", ["lora", pytest.param("finetune", marks=pytest.mark.slow)]
)
def test_repeats_and_pickles(labelled, strategy):
    X, y = labelled
    torch.manual_seed(1)
    classifier = tuned(strategy, max_epochs=1).fit(X, y)
    expected = classifier.predict_proba(X)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert_array_equal(clone(classifier).fit(X, y).predict_proba(X), expected)
    assert torch.equal(torch.get_rng_state(), state)
    again = pickle.loads(pickle.dumps(classifier))
    assert_array_equal(again.predict_proba(X), expected)


def test_participants_are_decided_by_themselves(fitted, labelled):
    X, _ = labelled
    whole = fitted.decision_function(X)
    assert_allclose(fitted.decision_function(X[::-1])[::-1], whole, atol=1e-4)
    assert_allclose(fitted.decision_function(X[3:4]), whole[3:4], atol=1e-4)


def test_a_missing_state_is_no_obstacle(fitted, labelled):
    X, _ = labelled
    lacking = [{"auditory": X[0]["auditory"]}, *X[1:]]
    with pytest.warns(RuntimeWarning, match="1 recordings are missing"):
        decision = fitted.decision_function(lacking)
    assert np.isfinite(decision).all()
    assert_allclose(decision[1:], fitted.decision_function(X)[1:], atol=1e-4)


@BOTH
def test_regression_starts_from_the_probe(labelled, strategy):
    X, _ = labelled
    y = np.linspace(20, 80, len(X))
    regressor = tuned(strategy, MEGFMRegressor, lr=1e-12).fit(X, y)
    task = RegressionTask(regressor.task_.seed)
    train, _ = task.split(y, np.arange(8), 0.2)
    features = regressor.transformer_.transform(X).astype(float)
    head = RidgeHead(random_state=task.seed).fit(
        features[train], (y[train] - y.mean()) / y.std()
    )
    expected = head.predict(features) * y.std() + y.mean()
    assert_allclose(regressor.predict(X), expected, rtol=1e-3)


def test_a_tuned_encoder_is_not_saved_as_weights(fitted, tmp_path):
    with pytest.raises(ValueError, match="keep the whole estimator"):
        fitted.save_pretrained(tmp_path / "mine")
    assert not list(tmp_path.iterdir())
