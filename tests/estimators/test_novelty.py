"""How much a sample is like those of training."""

import numpy as np
import pytest
from scipy.stats import kstest

from mne_megfm import MEGFMClassifier, MEGSamples
from mne_megfm.estimators import FineTuning
from mne_megfm.estimators.novelty import Novelty, _numbers

from .conftest import SMALL


def draw(rng, n, n_features=300):
    """Draw features with few strong axes and many weak ones."""
    axes = np.random.default_rng(0).standard_normal((12, n_features))
    strength = np.linspace(3.0, 0.5, 12)
    noise = 0.5 * rng.standard_normal((n, n_features))
    return (rng.standard_normal((n, 12)) * strength) @ axes + noise


@pytest.mark.parametrize("n_train", [40, 200])
def test_own_kind_is_spread_evenly(rng, n_train):
    typicality = Novelty().fit([draw(rng, n_train)], np.arange(n_train))
    values = typicality.score([draw(rng, 400)])
    assert values.min() >= 1 / (n_train + 1) and values.max() <= 1
    # a sample of n_train distances is what it is compared with
    assert kstest(values, "uniform").statistic < 0.06 + 1.36 / np.sqrt(n_train)
    assert typicality.is_far([draw(rng, 400)]).mean() < 0.005


def test_other_kinds_are_low(rng):
    typicality = Novelty().fit([draw(rng, 60)], np.arange(60))
    new = draw(rng, 20)
    elsewhere = {
        "shifted": new + 8.0,
        "louder": 5.0 * new,
        "off the axes": new + 6.0 * rng.standard_normal(new.shape),
    }
    for name, values in elsewhere.items():
        assert (typicality.score([values]) == 1 / 61).all(), name
        assert typicality.is_far([values]).all(), name


def test_groups_stay_together(rng):
    """Copies of a person must not make that person look near."""
    people = draw(rng, 20)
    groups = np.repeat(np.arange(20), 5)
    X = people[groups] + 0.01 * rng.standard_normal((100, 300))
    new = draw(rng, 200)
    together = Novelty().fit([X], groups).score([new])
    apart = Novelty().fit([X], np.arange(100)).score([new])
    assert together.mean() > 0.3 and apart.mean() < 0.1


def test_what_is_missing_is_no_reason_to_be_far(rng):
    X = draw(rng, 60)
    X[:20, 100:] = np.nan
    typicality = Novelty().fit([X], np.arange(60))
    lacking = draw(rng, 200)
    lacking[:, 100:] = np.nan
    assert typicality.score([lacking]).mean() > 0.2
    assert not typicality.is_far([lacking]).any()
    assert (typicality.score([lacking + 8.0]) == 1 / 61).all()


def test_parts_are_both_looked_at(rng):
    first, second = draw(rng, 60), rng.standard_normal((60, 8))
    typicality = Novelty().fit([first, second], np.arange(60))
    new = [draw(rng, 20), rng.standard_normal((20, 8))]
    assert (typicality.score([new[0], new[1] + 9.0]) == 1 / 61).all()
    assert (typicality.score([new[0] + 9.0, new[1]]) == 1 / 61).all()
    assert typicality.score(new).mean() > 0.3


def test_signals_in_plain_numbers(rng):
    """Power, shares of bands and what neighbours share, of signals made to measure."""
    times = np.arange(250) / 250.0
    wave = 2e-12 * np.sin(2 * np.pi * 10.0 * times)
    common = np.tile(wave, (1, 192, 1)).astype(np.float32)
    noise = 1e-12 * rng.standard_normal((1, 192, 250)).astype(np.float32)
    numbers = np.exp(_numbers(np.concatenate([common, noise]), 24, 250.0))
    np.testing.assert_allclose(numbers[0, 0], 2.0, rtol=1e-3)  # mean square in pT
    np.testing.assert_allclose(numbers[0, 1:7], [0, 0, 1, 0, 0, 0], atol=2e-4)
    np.testing.assert_allclose(numbers[0, 7], 1.0, rtol=1e-3)
    width = np.array([3, 4, 5, 17, 30, 66]) / 125
    np.testing.assert_allclose(numbers[1, 1:7], width, rtol=0.1, atol=1e-3)
    np.testing.assert_allclose(numbers[1, 7], 1 / 8, rtol=0.1)


@pytest.mark.parametrize("n_train", [6, 8, 12, 19])
def test_few_samples(rng, n_train):
    """Nothing is said of others by six; eight know what is very far."""
    for _ in range(20):
        typicality = Novelty().fit([draw(rng, n_train)], np.arange(n_train))
        assert not typicality.is_far([draw(rng, 50)]).any()
    far = typicality.is_far([1e3 + draw(rng, 3)])
    assert (far == (n_train >= 8)).all()


def test_one_participant_tells_nothing(rng):
    with pytest.raises(ValueError, match="at least 2 participants"):
        Novelty().fit([draw(rng, 6)], np.zeros(6))


def change(X, function):
    """Make participants with other data."""
    changed = []
    for participant in X:
        copied = {state: epochs.copy() for state, epochs in participant.items()}
        for epochs in copied.values():
            epochs._data = function(epochs._data)
        changed.append(copied)
    return changed


def test_recordings_from_elsewhere(labelled, rng):
    """Trained on some participants; others, wrong scales and noise are compared."""
    X, y = labelled
    classifier = MEGFMClassifier(weights=None, config=SMALL, random_state=0)
    classifier.fit(X[:6], y[:6])
    own = classifier.novelty_p_values(X[6:])
    assert own.shape == (2,) and own.max() > 1 / 7
    for function in (
        lambda data: 10.0 * data,
        lambda data: data.std() * rng.standard_normal(data.shape),
    ):
        assert (classifier.novelty_p_values(change(X[6:], function)) == 1 / 7).all()


@pytest.mark.parametrize("strategy", ["probe", "lora"])
def test_predicting_warns(labelled, strategy):
    epochs = [participant["auditory"] for participant in labelled[0]]
    X = MEGSamples(epochs)
    classifier = MEGFMClassifier(
        weights=None,
        config=SMALL,
        strategy=strategy,
        finetuning=None if strategy == "probe" else FineTuning(max_epochs=1),
        random_state=0,
    )
    classifier.fit(X[:28], np.arange(28) // 4 % 2, groups=np.arange(28) // 4)
    classifier.predict(X[28:])  # no warning
    mains = 3e-9 * np.sin(2 * np.pi * 50.0 * epochs[7].times)
    room = np.random.default_rng(0).standard_normal((len(epochs[7].ch_names), 1))
    louder = epochs[7].copy()
    louder._data += room * mains
    with pytest.warns(RuntimeWarning, match=r"4 of 4 epochs.*position 0, 1, 2, 3"):
        classifier.predict(louder)
