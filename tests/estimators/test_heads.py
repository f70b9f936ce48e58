"""Linear heads against scikit-learn written out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import brier_score_loss
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight

from mne_megfm.estimators import LogisticHead, RidgeHead
from mne_megfm.estimators._heads import fit_temperature


def make_data(rng, n=60, n_features=90, n_classes=2, shift=2.0):
    """Draw scaled, shifted features whose first columns tell the class."""
    X = rng.standard_normal((n, n_features))
    codes = rng.integers(n_classes, size=n)
    X[np.arange(n), codes] += shift
    X = X * np.logspace(-3, 3, n_features) + 5.0
    return X, np.array(["chronic", "control", "episodic"])[codes]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("n_features", [90, 10])
def test_logistic_is_scikit_learns(rng, n_classes, n_features):
    """Scaling, rotation and folding back change nothing about the solution."""
    X, y = make_data(rng, n_features=n_features, n_classes=n_classes)
    sample_weight = rng.uniform(0.5, 2.0, len(y))
    head = LogisticHead("balanced", random_state=0).fit(X, y, sample_weight)
    scaler = StandardScaler().fit(X, sample_weight=sample_weight)
    Z = scaler.transform(X) / np.sqrt(n_features)
    plain = LogisticRegression(C=head.C_, class_weight="balanced", tol=1e-10)
    plain.set_params(solver="newton-cholesky").fit(Z, y, sample_weight)
    decision = plain.decision_function(Z) / head.temperature_
    assert_allclose(head.decision_function(X), decision, rtol=2e-2, atol=2e-2)
    assert list(head.predict(X)) == list(plain.predict(Z))
    assert_allclose(head.predict_proba(X).sum(1), 1.0)
    assert head.coef_.shape == (1 if n_classes == 2 else 3, n_features)


def test_ridge_is_scikit_learns(rng):
    X, _ = make_data(rng)
    y = X[:, 0] * 2000.0 + rng.standard_normal(len(X))
    weight = rng.uniform(0.5, 2.0, len(y))
    head = RidgeHead(random_state=0).fit(X, y, weight)
    Z = StandardScaler().fit_transform(X) / np.sqrt(X.shape[1])
    plain = Ridge(head.alpha_).fit(Z, y, weight)
    assert_allclose(head.predict(X), plain.predict(Z), rtol=1e-6, atol=1e-8)


def test_strength_follows_what_generalises(rng):
    """Noise is answered by a strong penalty, a clear signal by a weak one."""
    X, y = make_data(rng)
    noise = rng.standard_normal(X.shape)
    clear = noise + 3.0 * (y == "control")[:, None]
    weak = LogisticHead(random_state=0).fit(clear, y)
    none = LogisticHead(random_state=0).fit(noise, y)
    assert none.predict_proba(noise)[:, 0].std() < 0.2
    assert weak.predict_proba(clear).max(1).min() > 0.9
    target = rng.standard_normal(len(y))
    assert RidgeHead(random_state=0).fit(noise, target).alpha_ > 1.0
    assert RidgeHead(random_state=0).fit(noise, noise.sum(1)).alpha_ < 1.0


def test_groups_stay_together(rng):
    """A feature that names the group must not look as if it told the class."""
    groups = np.repeat(np.arange(20), 10)
    y = np.repeat(rng.permutation([0, 1] * 10), 10)
    X = rng.standard_normal((20, 40))[groups] + 0.05 * rng.standard_normal((200, 40))
    apart = LogisticHead(random_state=0).fit(X, y)
    together = LogisticHead(random_state=0).fit(X, y, groups=groups)
    sure = [head.predict_proba(X).max(1).mean() for head in (apart, together)]
    assert sure[0] > 0.95 and sure[1] < 0.75


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_overconfidence(rng, factor):
    truth = 1.5 * rng.standard_normal(20_000)
    codes = (rng.uniform(size=len(truth)) < expit(truth)).astype(int)
    ones = np.ones(len(codes))
    temperature, loss = fit_temperature(factor * truth, codes, ones)
    assert_allclose(temperature, factor, rtol=0.05)
    p = expit(truth)
    assert loss == pytest.approx(
        -np.log(np.where(codes == 1, p, 1 - p)).mean(), abs=1e-3
    )


def test_temperature_is_scikit_learns(rng):
    X, y = make_data(rng, n=400, n_classes=3, shift=1.0)
    X = StandardScaler().fit_transform(X)
    model = LogisticRegression(C=100.0, max_iter=2000).fit(X[:100], y[:100])
    reference = CalibratedClassifierCV(FrozenEstimator(model), method="temperature")
    reference.fit(X[100:], y[100:])
    codes = np.searchsorted(model.classes_, y[100:])
    decision = model.decision_function(X[100:])
    temperature, _ = fit_temperature(decision, codes, np.ones(300))
    calibrator = reference.calibrated_classifiers_[0].calibrators[0]
    assert_allclose(1 / temperature, calibrator.beta_, rtol=0.05)


def test_probabilities_are_reliable(rng):
    """Of new samples given a chance p, a share p is of the class."""
    direction = rng.standard_normal(200) / np.sqrt(200)
    X = rng.standard_normal((3000, 200))
    y = (rng.uniform(size=len(X)) < expit(3.0 * X @ direction)).astype(int)
    train, test = slice(0, 150), slice(150, None)
    chance = LogisticHead(random_state=0).fit(X[train], y[train])
    chance = chance.predict_proba(X[test])[:, 1]
    shares, means = calibration_curve(y[test], chance, n_bins=5, strategy="quantile")
    assert np.abs(shares - means).max() < 0.15
    # far fewer samples than features: a fit without all this is much too sure
    plain = LogisticRegression(C=100.0, max_iter=1000).fit(X[train], y[train])
    sure = plain.predict_proba(X[test])[:, 1]
    brier = [brier_score_loss(y[test], p) for p in (chance, np.full(2850, 0.5), sure)]
    assert brier[0] < brier[1] < brier[2]
    shares, means = calibration_curve(y[test], sure, n_bins=5, strategy="quantile")
    assert np.abs(shares - means).max() > 0.2


def test_class_weight(rng):
    """Balanced weights make probabilities those of equally frequent classes."""
    X = rng.standard_normal((400, 3))
    y = (rng.uniform(size=400) < 0.1).astype(int)
    X[:, 0] += y
    weight = compute_sample_weight("balanced", y)
    balanced = LogisticHead("balanced", random_state=0).fit(X, y)
    balanced = balanced.predict_proba(X)[:, 1]
    assert np.average(balanced, weights=weight) == pytest.approx(0.5, abs=0.03)
    plain = LogisticHead(random_state=0).fit(X, y).predict_proba(X)[:, 1]
    assert plain.mean() == pytest.approx(y.mean(), abs=0.01)


@pytest.mark.parametrize("make", [LogisticHead, RidgeHead])
def test_no_weight_is_not_there(rng, make):
    X, y = make_data(rng)
    y = y if make is LogisticHead else X[:, 0]
    weight = np.r_[np.zeros(10), np.ones(50)]
    left_out = make(random_state=0).fit(X[10:], y[10:])
    assert_allclose(make(random_state=0).fit(X, y, weight).coef_, left_out.coef_)


def test_constant_features_and_rounding(rng):
    X, y = make_data(rng, n_features=20)
    padded = np.column_stack([X, np.full(len(y), 3.0), 1e8 + rng.uniform(size=len(y))])
    head = LogisticHead(random_state=0).fit(padded, y)
    assert (head.coef_[0, 20:] == 0).all()
    padded[:, 20:] = 0.0
    assert np.isfinite(head.decision_function(padded)).all()


@pytest.mark.parametrize(
    ("y", "groups", "match"),
    [
        (["a"] * 6, None, "at least 2 classes"),
        (["a"] * 5 + ["b"], None, "at least 2 participants of each class.*1 of 'b'"),
        (["a", "b"] * 3, [0, 1, 0, 1, 0, 1], "at least 2 participants"),
    ],
)
def test_too_few(rng, y, groups, match):
    with pytest.raises(ValueError, match=match):
        LogisticHead().fit(rng.standard_normal((6, 4)), np.array(y), groups=groups)


def test_too_few_for_ridge(rng):
    with pytest.raises(ValueError, match="at least 2 participants"):
        RidgeHead().fit(rng.standard_normal((4, 4)), np.arange(4), groups=np.zeros(4))


def test_a_weight_of_two_is_the_sample_twice(rng):
    """Where folds are the same: with everybody twice, in a group of their own."""
    X, _ = make_data(rng, n_features=12)
    y = X[:, 0] + rng.standard_normal(60)
    head = RidgeHead(random_state=0).fit(X, y, sample_weight=np.full(60, 2.0))
    coef, intercept = head.coef_, head.intercept_
    head.fit(np.repeat(X, 2, 0), np.repeat(y, 2), groups=np.repeat(np.arange(60), 2))
    assert_allclose(coef, head.coef_, rtol=1e-6)
    assert_allclose(intercept, head.intercept_, rtol=1e-6)


def test_scales_see_the_weights(rng):
    """A sample that weighs next to nothing does not set the scale of the others."""
    X, y = make_data(rng, n_features=12)
    expected = LogisticHead(random_state=0).fit(X[:-1], y[:-1])
    weight = np.ones(60)
    weight[-1] = 1e-12
    odd = X.copy()
    odd[-1] *= 1e4
    found = LogisticHead(random_state=0).fit(odd, y, weight)
    decisions = (head.decision_function(X[:-1]) for head in (found, expected))
    assert np.corrcoef(*decisions)[0, 1] > 0.95
