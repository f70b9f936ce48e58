"""Linear heads on frozen features, with calibrated probabilities."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.utils import compute_sample_weight
from sklearn.utils.validation import check_is_fitted

# wide enough for any honest correction, and decisions keep their order within
_COOLEST, _HOTTEST = 0.05, 20.0


def as_logits(decision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give binary decisions two columns, whose softmax is the logistic function."""
    if decision.ndim == 2:
        return decision
    return np.stack([-decision / 2, decision / 2], axis=1)


def fit_temperature(
    decision: NDArray[np.float64],
    codes: NDArray[np.int_],
    weight: NDArray[np.float64],
) -> tuple[float, float]:
    """Find the temperature that makes held-out decisions most likely.

    One number that all decisions are divided by [1]_: it changes no ranking, and needs
    few participants. Labels are taken as a little uncertain, the less the more there
    are of a class [2]_: otherwise a few that are classified without error would make
    probabilities of 0 and 1.

    Parameters
    ----------
    decision : array, shape (n,) or (n, n_classes)
        Decisions about samples that their model was not fitted on.
    codes : array of int, shape (n,)
        Numbers of their classes.
    weight : array, shape (n,)
        Their weights.

    Returns
    -------
    temperature : float
        At most 20, which decisions no better than chance get.
    loss : float
        Weighted log loss at this temperature.

    References
    ----------
    .. [1] Guo et al. (2017), "On calibration of modern neural networks", ICML,
       section 4.2.
    .. [2] Platt (1999), "Probabilistic outputs for support vector machines", section
       2.2.
    """
    logits = as_logits(decision)
    n_classes = logits.shape[1]
    counts = np.bincount(codes, minlength=n_classes)
    sure = (counts + 1) / (counts + 2)
    wanted = np.repeat(((1 - sure) / (n_classes - 1))[codes, None], n_classes, axis=1)
    wanted[np.arange(len(codes)), codes] = sure[codes]

    def loss(log_t: float) -> float:
        log_proba = log_softmax(logits / np.exp(log_t), axis=1)
        return -float(np.average((wanted * log_proba).sum(1), weights=weight))

    bounds = (np.log(_COOLEST), np.log(_HOTTEST))
    best = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(best.x)), float(best.fun)


_STRENGTHS = np.logspace(-3.0, 4.0, 8)
_N_FOLDS = 5
# all features by one number, which keeps the weight they came with, or each to unit
# variance; what comes later must be better by this much, or noise would choose
_SCALINGS = ("common", "each")
_CLEARLY = 0.02


def count_groups(y: NDArray, groups: NDArray) -> list[int]:
    """Count the groups of each class, of which the inner folds need two."""
    classes = np.unique(y).tolist()
    counts = [len(np.unique(groups[y == label])) for label in classes]
    if min(counts) < 2:
        advice = "add participants or join classes."
        if y.dtype.kind in "iuf" and len(classes) > 2:
            advice += (
                " Whole numbers are taken as classes: for numbers to predict, such as "
                "ages in years, use MEGFMRegressor or RidgeHead."
            )
        raise ValueError(
            "Expected at least 2 participants of each class, to choose the "
            f"regularisation, got {min(counts)} of {classes[int(np.argmin(counts))]!r};"
            f" {advice}"
        )
    return counts


def balance(
    codes: NDArray[np.int_],
    y: NDArray,
    weight: NDArray[np.float64],
    class_weight: str | dict | None,
) -> NDArray[np.float64]:
    """Multiply weights by those of the classes; balanced ones see the weights."""
    if class_weight == "balanced":
        of_class = np.bincount(codes, weight)
        return weight * of_class.mean() / of_class[codes]
    return weight * compute_sample_weight(class_weight, y)


def take_weighted(
    X: NDArray, y: NDArray, sample_weight: NDArray | None, groups: NDArray | None
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Fill in defaults, and leave out samples without weight, as if not given."""
    y = np.asarray(y)
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight)
    groups = np.arange(len(y)) if groups is None else np.asarray(groups)
    used = weight > 0
    return np.asarray(X)[used], y[used], weight[used].astype(float), groups[used]


def _prepare(
    X: NDArray[np.floating], weight: NDArray[np.float64], scaling: str
) -> tuple[NDArray[np.float64], Callable]:
    """Scale features, and rotate them where they outnumber the samples.

    A penalty on the sum of squares does not see rotations, so the solution is the
    same, and each fit costs what samples cost, not what features cost. The function
    that comes with the result expresses a solution in terms of the features as given.
    """
    X = np.asarray(X, dtype=np.float64)
    # as of samples that are there as often as their weights say
    mean = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average(np.square(X - mean), axis=0, weights=weight))
    # a column that is constant has no information, and rounding is not a spread
    flat = scale <= 1e-6 * np.abs(mean)
    # rows get a norm near 1 whatever the number of features, so that one range of
    # strengths serves all
    total = np.sqrt(np.sum(scale**2, where=~flat))
    if scaling == "common" and total > 0:
        scale = np.full_like(scale, total)
    else:
        scale = np.where(flat, 1.0, scale) * np.sqrt(X.shape[1])
    X = np.where(flat, 0.0, (X - mean) / scale)
    axes = None
    if X.shape[1] > len(X):
        left, strength, axes = np.linalg.svd(X, full_matrices=False)
        X = left * strength

    def undo(coef: NDArray, intercept: NDArray) -> tuple[NDArray, NDArray]:
        coef = np.where(flat, 0.0, (coef if axes is None else coef @ axes) / scale)
        return coef, intercept - coef @ mean

    return X, undo


class _LinearHead(BaseEstimator):
    """What both heads have: coefficients."""

    def _decide(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        check_is_fitted(self)
        return np.asarray(X, dtype=np.float64) @ self.coef_.T + self.intercept_


class LogisticHead(ClassifierMixin, _LinearHead):
    """Calibrated logistic regression, its strength chosen on held-out participants.

    Features are scaled by one number, which keeps the weight that they were given by
    their maker, or to unit variance each where that is clearly better (the measure
    below by 2 %). Scaling and the strength of the penalty
    are those with the least log loss in an inner cross-validation that keeps groups
    together; the same held-out decisions give the temperature that probabilities are
    calibrated with [1]_.

    Parameters
    ----------
    class_weight : {"balanced"} | dict | None
        Weights of the classes, as in scikit-learn. Probabilities are those of a
        population in which the classes are as frequent as weighted: with None as in
        training, with ``"balanced"`` all equally.
    random_state : int | None
        Seed of the inner folds.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels.
    coef_ : ndarray, shape (n_classes or 1, n_features)
        Coefficients in terms of the features as given, after calibration.
    intercept_ : ndarray, shape (n_classes or 1,)
        Intercepts.
    C_ : float
        The chosen inverse strength, for scaled features divided by the square root of
        their number.
    scaling_ : str
        ``"each"`` or ``"common"``.
    temperature_ : float
        What decisions were divided by.

    References
    ----------
    .. [1] Guo et al. (2017), "On calibration of modern neural networks", ICML,
       section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.estimators import LogisticHead
    >>> X = np.random.default_rng(0).standard_normal((40, 100))
    >>> y = np.where(X[:, :30].sum(1) > 0, "migraine", "control")
    >>> LogisticHead(random_state=0).fit(X, y).predict_proba(X).shape
    (40, 2)
    """

    def __init__(
        self,
        class_weight: str | dict | None = None,
        random_state: int | None = None,
    ) -> None:
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(
        self,
        X: NDArray[np.floating],
        y: NDArray,
        sample_weight: NDArray[np.floating] | None = None,
        groups: NDArray | None = None,
    ) -> LogisticHead:
        """Choose the strength, fit and calibrate.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_features)
            Features.
        y : ndarray, shape (n_samples,)
            Labels.
        sample_weight : ndarray, shape (n_samples,), optional
            Weights. As for scikit-learn's linear models, a weight of 2 counts as the
            sample twice: larger weights for all make the penalty count for less, and
            a weight of 0 leaves a sample out.
        groups : ndarray, shape (n_samples,), optional
            What must stay together in the inner folds; each sample for itself by
            default.

        Returns
        -------
        self : LogisticHead
            The fitted head.

        Raises
        ------
        ValueError
            If there is one class only, or a class with fewer than two groups.
        """
        X, y, weight, groups = take_weighted(X, y, sample_weight, groups)
        self.classes_, codes = np.unique(y, return_inverse=True)
        prepared = {scaling: _prepare(X, weight, scaling) for scaling in _SCALINGS}
        weight = balance(codes, y, weight, self.class_weight)
        folds = self._folds(codes, groups)
        held_out = np.concatenate([test for _, test in folds])
        best, self.scaling_ = np.finfo(float).max, _SCALINGS[0]
        for scaling, C in product(_SCALINGS, _STRENGTHS):
            X, _ = prepared[scaling]
            model = LogisticRegression(C=C, max_iter=1000)
            decision = np.concatenate(
                [
                    model.fit(X[train], codes[train], weight[train]).decision_function(
                        X[test]
                    )
                    for train, test in folds
                ]
            )
            temperature, loss = fit_temperature(
                decision, codes[held_out], weight[held_out]
            )
            # a stronger penalty is kept unless a weaker one is better
            margin = 1e-4 if scaling == self.scaling_ else _CLEARLY * best
            if loss < best - margin:
                best, self.C_, self.temperature_ = loss, float(C), temperature
                self.scaling_ = scaling
        X, undo = prepared[self.scaling_]
        model = LogisticRegression(C=self.C_, tol=1e-6, max_iter=10_000)
        model.fit(X, codes, weight)
        self.coef_, self.intercept_ = undo(
            model.coef_ / self.temperature_, model.intercept_ / self.temperature_
        )
        return self

    def _folds(self, codes: NDArray[np.int_], groups: NDArray) -> list[tuple]:
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise ValueError(
                "Expected at least 2 classes in y, got one class: "
                f"{self.classes_.tolist()[0]!r}; give samples of each."
            )
        counts = count_groups(self.classes_[codes], groups)
        splitter = StratifiedGroupKFold(
            min(_N_FOLDS, *counts), shuffle=True, random_state=self.random_state
        )
        # groups of mixed labels can leave a fold empty, or its training without a class
        folds = [
            (train, test)
            for train, test in splitter.split(codes, codes, groups)
            if len(test) and len(np.unique(codes[train])) == n_classes
        ]
        if not folds:
            raise ValueError(
                "Expected participants that can be split with all classes on the "
                f"training side, got none in {len(np.unique(groups))} groups; add "
                "participants."
            )
        return folds

    def decision_function(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute calibrated decisions.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_features)
            Features.

        Returns
        -------
        decision : ndarray, shape (n_samples,) or (n_samples, n_classes)
            Log odds of ``classes_[1]`` with two classes, else logits.
        """
        decision = self._decide(X)
        return decision[:, 0] if len(self.classes_) == 2 else decision

    def predict_proba(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute calibrated probabilities.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_features)
            Features.

        Returns
        -------
        proba : ndarray, shape (n_samples, n_classes)
            One column a class, in the order of ``classes_``.
        """
        return softmax(as_logits(self.decision_function(X)), axis=1)

    def predict(self, X: NDArray[np.floating]) -> NDArray:
        """Predict the most likely label.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_features)
            Features.

        Returns
        -------
        labels : ndarray, shape (n_samples,)
            The labels.
        """
        return self.classes_[as_logits(self.decision_function(X)).argmax(1)]


class RidgeHead(RegressorMixin, _LinearHead):
    """Ridge regression, its strength chosen on held-out participants.

    Features are scaled by one number, which keeps the weight that they were given by
    their maker, or to unit variance each where that is clearly better (the measure
    below by 2 %). Scaling and the strength of the penalty
    are those with the least squared error in an inner cross-validation that keeps
    groups together.

    Parameters
    ----------
    random_state : int | None
        Seed of the inner folds.

    Attributes
    ----------
    coef_ : ndarray, shape (1, n_features)
        Coefficients in terms of the features as given.
    intercept_ : ndarray, shape (1,)
        The intercept.
    alpha_ : float
        The chosen strength, for scaled features divided by the square root of their
        number.
    scaling_ : str
        ``"each"`` or ``"common"``.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.estimators import RidgeHead
    >>> X = np.random.default_rng(0).standard_normal((40, 100))
    >>> RidgeHead(random_state=0).fit(X, X[:, 0]).predict(X).shape
    (40,)
    """

    def __init__(self, random_state: int | None = None) -> None:
        self.random_state = random_state

    def fit(
        self,
        X: NDArray[np.floating],
        y: NDArray[np.floating],
        sample_weight: NDArray[np.floating] | None = None,
        groups: NDArray | None = None,
    ) -> RidgeHead:
        """Choose the strength and fit.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_features)
            Features.
        y : ndarray, shape (n_samples,)
            Targets.
        sample_weight : ndarray, shape (n_samples,), optional
            Weights. As for scikit-learn's linear models, a weight of 2 counts as the
            sample twice: larger weights for all make the penalty count for less, and
            a weight of 0 leaves a sample out.
        groups : ndarray, shape (n_samples,), optional
            What must stay together in the inner folds; each sample for itself by
            default.

        Returns
        -------
        self : RidgeHead
            The fitted head.

        Raises
        ------
        ValueError
            If there are fewer than two groups.
        """
        X, y, weight, groups = take_weighted(X, y, sample_weight, groups)
        y = y.astype(np.float64)
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            raise ValueError(
                "Expected at least 2 participants, to choose the regularisation, got "
                f"{n_groups}; add participants."
            )
        splitter = GroupKFold(
            min(_N_FOLDS, n_groups), shuffle=True, random_state=self.random_state
        )
        folds = list(splitter.split(y, groups=groups))
        prepared = {scaling: _prepare(X, weight, scaling) for scaling in _SCALINGS}
        best, self.scaling_ = np.finfo(float).max, _SCALINGS[0]
        for scaling, alpha in product(_SCALINGS, 1.0 / _STRENGTHS):
            X, _ = prepared[scaling]
            predicted = np.empty(len(y))
            for train, test in folds:
                model = Ridge(alpha).fit(X[train], y[train], weight[train])
                predicted[test] = model.predict(X[test])
            loss = float(np.average((y - predicted) ** 2, weights=weight))
            margin = 0.0 if scaling == self.scaling_ else _CLEARLY * best
            if loss < best - margin:
                best, self.alpha_, self.scaling_ = loss, float(alpha), scaling
        X, undo = prepared[self.scaling_]
        model = Ridge(self.alpha_).fit(X, y, weight)
        self.coef_, self.intercept_ = undo(
            model.coef_[None], np.array([model.intercept_])
        )
        return self

    def predict(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Predict targets.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_features)
            Features.

        Returns
        -------
        targets : ndarray, shape (n_samples,)
            The targets.
        """
        return self._decide(X)[:, 0]
