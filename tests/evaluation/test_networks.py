"""Networks on trials, with a small one in place of braindecode's."""

import importlib.util
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline

from mne_megfm import CanonicalSensors
from mne_megfm.estimators import RidgeHead
from mne_megfm.evaluation import (
    NetworkClassifier,
    TrialSignals,
    compare,
    default_pipelines,
)


class PowerNetwork(torch.nn.Module):
    """Logits that are linear in the power of each channel."""

    def __init__(self, n_chans, n_outputs, n_times, sfreq):
        super().__init__()
        self.sizes = n_chans, n_outputs, n_times, sfreq
        self.drop = torch.nn.Dropout(0.1)
        self.linear = torch.nn.Linear(n_chans, n_outputs)

    def forward(self, x):
        return self.linear(self.drop(x.square().mean(-1)))


def made(**params):
    settings = {"lr": 0.05, "max_epochs": 20, "random_state": 0}
    return NetworkClassifier(PowerNetwork, **settings | params)


def trials(n, rng, labels=("control", "migraine")):
    """Trials of participants; one channel is stronger in patients, by state."""
    y = np.array(labels)[np.arange(n) % len(labels)]
    X = []
    for label in y:
        rest = rng.standard_normal((6, 4, 40))
        evoked = rng.standard_normal((5, 4, 30))
        rest[:, 1] *= 1.0 + 0.5 * (label == "migraine")
        evoked[:, 2] *= 1.0 + 0.5 * (label == "migraine")
        X.append({"rest": rest, "tones": evoked})
    return X, y


def test_finds_what_was_planted_and_nothing_else(rng):
    X, y = trials(40, rng)
    new, truth = trials(40, rng)
    fitted = made().fit(X, y)
    assert fitted.networks_["rest"].sizes == (4, 2, 40, 125.0)
    assert roc_auc_score(truth == "migraine", fitted.decision_function(new)) > 0.95
    assert_array_equal(
        fitted.predict(new), fitted.classes_[fitted.predict_proba(new).argmax(1)]
    )
    odds = np.exp(fitted.decision_function(new))
    assert_allclose(fitted.predict_proba(new)[:, 1], odds / (1 + odds))
    for history in fitted.history_.values():
        assert history["valid_loss"].idxmin() > 0
    # without the planted channels, held-out participants say that nothing was learnt
    blind = [{"rest": x["rest"][:, [0, 3]]} for x in X]
    unseen = [{"rest": x["rest"][:, [0, 3]]} for x in new]
    auc = roc_auc_score(truth, made().fit(blind, y).decision_function(unseen))
    assert 0.25 < auc < 0.75


def test_decision_is_the_mean_over_trials_then_states(rng):
    X, y = trials(20, rng)
    fitted = made(max_epochs=2).fit(X, y)
    expected = []
    for state, network in fitted.networks_.items():
        data = X[3][state] / fitted.scales_[state]
        with torch.inference_mode():
            logits = network(torch.from_numpy(data.astype(np.float32))).numpy()
        expected.append((logits[:, 1] - logits[:, 0]).mean() / fitted.task_.temperature)
    both = fitted.decision_function([X[3]])
    assert_allclose(both, [np.mean(expected)], rtol=1e-4)
    # a state that is missing is left out of the mean, of any participant
    lacking = [{"tones": X[3]["tones"]}, X[5]]
    found = fitted.decision_function(lacking)
    assert_allclose(found[0], expected[1], rtol=1e-4)
    assert_allclose(found[1], fitted.decision_function([X[5]])[0], rtol=1e-6)
    with pytest.raises(ValueError, match=r"state of \['rest', 'tones'\].*element 1"):
        fitted.predict([X[0], {"other": X[0]["rest"]}])


def test_missing_states_in_training(rng):
    X, y = trials(24, rng)
    for number in range(6):
        del X[number]["tones"]
    X[2]["once"] = X[2]["rest"]  # nobody else has it: there is nothing to learn
    fitted = made().fit(X, y)
    assert sorted(fitted.networks_) == ["rest", "tones"]
    new, truth = trials(20, rng)
    assert roc_auc_score(truth == "migraine", fitted.decision_function(new)) > 0.9


def test_held_out_participants_stop_training_and_do_not_train(rng):
    """Nonsense in held-out participants changes what is kept, not what is learnt."""
    X, y = trials(20, rng)
    first = made(patience=20).fit(X, y)
    _, valid = first.task_.split(y, np.arange(20), 0.2)
    for number in valid:
        X[number] = {state: 0.1 * data for state, data in X[number].items()}
    other = made(patience=20).fit(X, y)
    for state in first.history_:
        before, after = first.history_[state], other.history_[state]
        assert_array_equal(before["train_loss"], after["train_loss"])
        assert (before["valid_loss"] != after["valid_loss"]).all()


def test_the_seed_decides(rng):
    X, y = trials(20, rng)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = made(max_epochs=2).fit(X, y)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)  # what others draw makes no difference
    again = clone(first).fit(X, y)
    assert_array_equal(first.decision_function(X), again.decision_function(X))
    other = made(max_epochs=2, random_state=1).fit(X, y)
    assert not np.allclose(first.decision_function(X), other.decision_function(X))
    kept = pickle.loads(pickle.dumps(first))
    assert_array_equal(first.decision_function(X), kept.decision_function(X))


def test_three_classes_and_sessions(rng):
    X, y = trials(30, rng, ("chronic", "control", "migraine"))
    fitted = made(max_epochs=2).fit(X, y, groups=np.arange(30) // 3)
    assert fitted.predict_proba(X).shape == (30, 3)
    assert_allclose(fitted.predict_proba(X).sum(1), 1.0)


def test_bad_input(rng):
    X, y = trials(20, rng)
    with pytest.raises(ValueError, match="name of a network.*'eegnet'.*'resnet'"):
        NetworkClassifier("resnet").fit(X, y)
    with pytest.raises(ValueError, match="at least 3 participants of each class"):
        made().fit(X[:4], y[:4])
    own = [{str(number): x["rest"]} for number, x in enumerate(X)]
    with pytest.raises(ValueError, match="got none among 20 participants"):
        made().fit(own, y)


def test_trials_are_canonical_signals(participants):
    steps = TrialSignals(decim=5, max_trials=4)
    found = steps.fit_transform(participants[:3])
    epochs = participants[1]["auditory"]
    kept = epochs[[0, 3, 5, 8]]  # evenly spread over nine
    assert epochs.info["sfreq"] == 250.0 and steps.sfreq_ == 50.0
    expected = CanonicalSensors().fit_transform(kept)[:, :, :250]
    expected = expected.reshape(4, 192, 50, 5).mean(-1) * 1e12
    size = expected.std()
    assert_allclose(found[1]["auditory"], expected, atol=2e-3 * size, rtol=2e-3)
    # states that training did not have are left out
    steps.fit([{"rest": x["rest"]} for x in participants[:2]])
    assert sorted(steps.transform(participants[:1])[0]) == ["rest"]
    short = {"rest": participants[0]["rest"].copy().crop(tmax=0.5)}
    with pytest.raises(ValueError, match="one length in state 'rest'"):
        steps.fit([participants[1], short])


def test_in_compare(participants, cohort):
    """As scikit-learn has it, with a state missing for some."""
    X = [dict(x) for x in participants]
    del X[1]["auditory"], X[4]["rest"]
    pipeline = make_pipeline(TrialSignals(decim=5), made(max_epochs=2))
    cv = StratifiedKFold(2)
    y = cohort.labels
    result = compare(X, y, {"net": pipeline}, cv=cv, n_permutations=0)
    expected = cross_validate(
        pipeline, X, y, cv=cv, scoring="roc_auc", error_score="raise"
    )
    assert_allclose(result.values()["net"], expected["test_score"])


def test_names_of_default_pipelines():
    if importlib.util.find_spec("braindecode") is None:
        with pytest.raises(ImportError, match=r"mne-megfm\[braindecode\]"):
            default_pipelines(networks=["eegnet"])
    with pytest.raises(ValueError, match="name of a network"):
        default_pipelines(networks=["resnet"])
    with pytest.raises(ValueError, match=r"networks=\(\) with a regressor"):
        default_pipelines(RidgeHead(), networks=["eegnet"])
