"""The regressor on participants and on epochs."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVR

from mne_megfm import MEGFMRegressor, MEGFMTransformer, MEGSamples, simulate_cohort

from .conftest import SMALL


@pytest.fixture
def probe():
    """A regressor that is quick to fit."""
    return MEGFMRegressor(weights=None, config=SMALL, random_state=0)


@pytest.fixture(scope="session")
def ages():
    return np.array([31.0, 25.0, 47.0, 52.0, 38.0, 60.0, 44.0, 29.0])


@pytest.mark.slow
def test_probe_is_frozen_features_and_ridge(probe, labelled, ages):
    X, _ = labelled
    assert probe.fit(X, ages) is probe
    features = MEGFMTransformer(
        weights=None, config=SMALL, random_state=probe.transformer_.random_state
    ).fit_transform(X)
    head = clone(probe.head_).fit(features, ages)
    assert_array_equal(probe.predict(X), head.predict(features))
    assert probe.score(X, ages) == r2_score(ages, probe.predict(X))


# one of the epochs has an artefact
# axes of responses leave out most of what is loud in the background
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:. of 80 epochs are unlike those of training")
@pytest.mark.parametrize(("pooling", "least"), [("tokens", 0.8), ("projection", 0.5)])
def test_finds_what_is_there(pooling, least):
    """The amplitude of epochs can be told from their features."""
    cohort = simulate_cohort(
        1, states=("auditory",), arrays=("ctf151",), n_epochs=160, random_state=3
    )
    epochs = cohort.epochs("auditory")[0]
    factors = np.random.default_rng(0).permutation(np.linspace(0.4, 1.6, len(epochs)))
    epochs._data *= factors[:, None, None]  # louder and softer
    X = MEGSamples(epochs)
    model = MEGFMRegressor(pooling=pooling, random_state=0)
    model.fit(X[::2], factors[::2])
    assert np.corrcoef(model.predict(X[1::2]), factors[1::2])[0, 1] > least


@pytest.mark.slow
def test_scikit_learn_around_it(probe, labelled, ages):
    X, _ = labelled
    probe.fit(X, ages)
    assert_array_equal(
        pickle.loads(pickle.dumps(probe)).predict(X),
        clone(probe).fit(X, ages).predict(X),
    )
    scores = cross_val_score(probe, X, ages, cv=2, scoring="neg_mean_absolute_error")
    assert np.isfinite(scores).all()
    probe.set_params(head=SVR()).fit(X, ages, sample_weight=np.ones(8))
    assert probe.predict(X).shape == (8,)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "requires y to be passed"),
        ([1.0] * 6, "one value a participant .8., got 6"),
        ([1.0, np.nan] * 4, "none .NaN. for position 1, 3, 5, 7"),
        ([1.0, np.inf] * 4, "finite numbers in y"),
        (["old", "young"] * 4, "numbers in y, got 'old'; for labels use"),
    ],
)
def test_targets_that_do_not_do(probe, labelled, y, match):
    with pytest.raises(ValueError, match=match):
        probe.fit(labelled[0], y)
