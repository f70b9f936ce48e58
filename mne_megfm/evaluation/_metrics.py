"""Scores by name, and the class that counts as positive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr
from sklearn.base import BaseEstimator
from sklearn.metrics import (
    balanced_accuracy_score,
    get_scorer_names,
    mean_absolute_error,
    roc_auc_score,
)
from sklearn.utils.multiclass import type_of_target

from ..estimators import MEGFMClassifier
from ..utils.validation import find_scorer, scorer_name


class Predictions(NamedTuple):
    """What a fitted pipeline says of the participants of one test fold."""

    y: NDArray  # (n,), the truth
    label: NDArray  # (n,), predicted labels or numbers
    score: NDArray | None  # (n,) with two classes, (n, n_classes) with more
    proba: NDArray | None  # (n, n_classes)
    classes: NDArray | None  # in the order of the columns; of two, positive last
    variance: float = np.nan  # of numbers, over all participants and not this fold


def predict(
    estimator: BaseEstimator,
    features: object,
    y: NDArray,
    classes: NDArray | None,
    variance: float = np.nan,
) -> Predictions:
    """Ask a fitted pipeline for all that metrics take.

    Scores and probabilities come in the order of `classes`, whatever the estimator's.
    """
    label = estimator.predict(features)
    if classes is None:
        return Predictions(y, label, None, None, None, variance)
    known = list(estimator.classes_)
    if set(known) != set(classes.tolist()):
        raise ValueError(
            f"Expected {len(classes)} classes among the training participants of each "
            f"fold, got {known}; use fewer folds, or join classes."
        )
    order = [known.index(name) for name in classes.tolist()]
    proba = score = None
    if hasattr(estimator, "predict_proba"):
        proba = estimator.predict_proba(features)[:, order]
    if hasattr(estimator, "decision_function"):
        score = estimator.decision_function(features)
        if score.ndim == 2:
            score = score[:, order]
        elif order == [1, 0]:
            score = -score
    elif proba is not None:
        score = proba[:, 1] if len(order) == 2 else proba
    return Predictions(y, label, score, proba, classes)


def _roc_auc(p: Predictions) -> float:
    if len(p.classes) == 2:
        return roc_auc_score(p.y == p.classes[1], p.score)
    return roc_auc_score(p.y, p.proba, multi_class="ovr", labels=p.classes)


def _balanced_accuracy(p: Predictions) -> float:
    return balanced_accuracy_score(p.y, p.label)


def _sensitivity(p: Predictions) -> float:
    return float(np.mean(p.label[p.y == p.classes[1]] == p.classes[1]))


def _specificity(p: Predictions) -> float:
    return float(np.mean(p.label[p.y == p.classes[0]] == p.classes[0]))


def _brier(p: Predictions) -> float:
    """Mean squared error of probabilities, summed over more than two classes."""
    if len(p.classes) == 2:
        return float(np.mean((p.proba[:, 1] - (p.y == p.classes[1])) ** 2))
    truth = p.y[:, None] == p.classes
    return float(np.mean(np.sum((p.proba - truth) ** 2, axis=1)))


def _r2(p: Predictions) -> float:
    """Share of the variance over all participants that is explained.

    By the variance of a fold of few participants, R² would have no finite mean.
    """
    return 1.0 - float(np.mean((p.y - p.label) ** 2)) / p.variance


def _mae(p: Predictions) -> float:
    return mean_absolute_error(p.y, p.label)


def _pearson_r(p: Predictions) -> float:
    if np.ptp(p.label) == 0.0:  # a constant correlates with nothing
        return 0.0
    return float(pearsonr(p.y, p.label).statistic)


class Metric(NamedTuple):
    """A metric and what it needs; without that, a fold has the value NaN."""

    function: Callable[[Predictions], float]
    needs: str = "label"
    all_classes: bool = False  # whether it needs all classes in the test fold
    of_class: int | None = None  # or one of them
    n_least: int = 1
    greater: bool = True  # whether more is better
    bounds: tuple[float, float] = (0.0, 1.0)  # values that it can have


BINARY = {
    "roc_auc": Metric(_roc_auc, "score", True),
    "balanced_accuracy": Metric(_balanced_accuracy, all_classes=True),
    "sensitivity": Metric(_sensitivity, of_class=1),
    "specificity": Metric(_specificity, of_class=0),
    "brier": Metric(_brier, "proba", greater=False),
}
MULTICLASS = {
    "roc_auc": Metric(_roc_auc, "proba", True),
    "balanced_accuracy": Metric(_balanced_accuracy, all_classes=True),
    "brier": Metric(_brier, "proba", greater=False, bounds=(0.0, 2.0)),
}
REGRESSION = {
    "r2": Metric(_r2, bounds=(-np.inf, 1.0)),
    "mae": Metric(_mae, greater=False, bounds=(0.0, np.inf)),
    # of two participants it is -1 or 1
    "pearson_r": Metric(_pearson_r, n_least=3, bounds=(-1.0, 1.0)),
}


_OURS = BINARY | MULTICLASS | REGRESSION
_SCORER = Metric(lambda _: np.nan, bounds=(-np.inf, np.inf))


#: What is asked for: a name, a scorer, several of them, or scorers by name.
Scoring = str | Callable | Sequence[str | Callable] | Mapping[str, str | Callable]


def find_metrics(
    scoring: Scoring | None, classes: NDArray | None
) -> dict[str, Callable | None]:
    """Settle which metrics are reported.

    Parameters
    ----------
    scoring : str | callable | list | dict | None
        Names of ours or of scikit-learn, or scorers; None for all of ours.
    classes : ndarray | None
        The classes, of two the positive one last; None for regression.

    Returns
    -------
    metrics : dict
        From name to a scorer of scikit-learn, or to None for a metric of ours.

    Raises
    ------
    TypeError
        If one is neither a name nor callable.
    ValueError
        If there are none, or a name is unknown to us and to scikit-learn.
    """
    known = metrics_of(0 if classes is None else len(classes))
    if scoring is None:
        return dict.fromkeys(known)
    if isinstance(scoring, Mapping):
        named = dict(scoring)
        if taken := [name for name in named if name in _OURS and name != named[name]]:
            raise ValueError(
                f"Expected names of scorers that are not those of our metrics, got "
                f"{taken}; choose other names."
            )
    else:
        one = isinstance(scoring, str) or callable(scoring)
        named = {scorer_name(s): s for s in ([scoring] if one else list(scoring))}
    if not named:
        raise ValueError(
            f"Expected scoring with one metric at least, got {scoring!r}; None takes "
            f"{list(known)}."
        )
    positive = classes[1] if classes is not None and len(classes) == 2 else None
    found: dict[str, Callable | None] = {}
    for name, metric in named.items():
        ours = isinstance(metric, str) and metric == name and name in known
        other = isinstance(metric, str) and metric not in known
        if other and (metric in _OURS or metric not in get_scorer_names()):
            tasks = {0: "regression", 2: "two classes"}
            task = tasks.get(0 if classes is None else len(classes), "several classes")
            raise ValueError(
                f"Expected scoring among {list(known)} for {task}, or another name of "
                f"sklearn.metrics.get_scorer_names(), got {metric!r}; use these, a "
                "scorer, or None for all of ours."
            )
        found[name] = None if ours else find_scorer(metric, positive)
    return found


def metrics_of(n_classes: int) -> dict[str, Metric]:
    """Give the metrics of a task; `n_classes` is 0 for regression."""
    return {0: REGRESSION, 2: BINARY}.get(n_classes, MULTICLASS)


def _metric(name: str) -> Metric:
    """Look a metric up, whatever the task; of a scorer, more is better."""
    return _OURS.get(name, _SCORER)


def is_ours(name: str) -> bool:
    """Say whether a metric is one of ours, of which more is known than of a scorer."""
    return name in _OURS


def trivial_values(
    y: NDArray, train: NDArray, test: NDArray, classes: NDArray | None
) -> dict[str, float]:
    """Measure what is said without looking at features, on one fold.

    That is the mean of the training participants, or the share of each class among
    them, for all. It has no sensitivity and no specificity.
    """
    n = len(test)
    if classes is None:
        mean = np.full(n, y[train].mean())
        trivial = Predictions(y[test], mean, None, None, None, float(np.var(y)))
        return measure(trivial, list(REGRESSION))
    shares = np.array([np.mean(y[train] == label) for label in classes])
    label = np.full(n, classes[np.argmax(shares)])
    score = np.zeros(n)
    proba = np.tile(shares, (n, 1))
    names = [
        name
        for name, metric in metrics_of(len(classes)).items()
        if metric.of_class is None
    ]
    return measure(Predictions(y[test], label, score, proba, classes), names)


def bounds_of(name: str) -> tuple[float, float]:
    """Give the least and greatest value of a metric, whatever the task."""
    return _metric(name).bounds


_LABELS = {
    "roc_auc": "ROC AUC",
    "balanced_accuracy": "balanced accuracy",
    "brier": "Brier score",
    "r2": "R²",
    "mae": "mean absolute error",
    "pearson_r": "Pearson r",
}


def label_of(name: str, classes: NDArray | None) -> str:
    """Name a metric for people, with the class that it is of."""
    metric = metrics_of(0 if classes is None else len(classes)).get(name, _SCORER)
    label = _LABELS.get(name, name)
    return label if metric.of_class is None else f"{label} ({classes[metric.of_class]})"


def undefined(name: str) -> str:
    """Say what a metric lacks where it has no value, whatever the task."""
    metric = _metric(name)
    if metric.n_least > 1:
        return f"each fold needs {metric.n_least} test participants; use fewer folds"
    if metric.needs == "proba":
        return "the estimator gives no probabilities"
    return "a class is missing in each fold; use fewer folds"


def greater_is_better(name: str) -> bool:
    """Say whether more of a metric is better, whatever the task."""
    return _metric(name).greater


def measure(predictions: Predictions, names: Sequence[str]) -> dict[str, float]:
    """Compute metrics of a test fold; NaN where one is not defined."""
    values = {}
    n_classes = 0 if predictions.classes is None else len(predictions.classes)
    for name in names:
        metric = metrics_of(n_classes)[name]
        defined = getattr(predictions, metric.needs) is not None and is_defined(
            metric, predictions.y, predictions.classes
        )
        values[name] = float(metric.function(predictions)) if defined else np.nan
    return values


def is_defined(metric: Metric, y: NDArray, classes: NDArray | None) -> bool:
    """Say whether a metric has a value on test participants of these labels."""
    return len(y) >= metric.n_least and (
        classes is None
        or (
            (not metric.all_classes or len(np.unique(y)) == len(classes))
            and (metric.of_class is None or classes[metric.of_class] in y)
        )
    )


def order_classes(
    y: NDArray, positive: Any = None, estimators: Iterable[BaseEstimator] = ()
) -> NDArray:
    """Sort the classes, and put the positive one of two last.

    Parameters
    ----------
    y : ndarray, shape (n_participants,)
        Labels.
    positive : object
        The positive class; None for the one that the estimators agree on, or else the
        last in sorted order.
    estimators : iterable of estimator
        Pipelines; those that end with a `MEGFMClassifier` may name the class.

    Returns
    -------
    classes : ndarray, shape (n_classes,)
        The classes.

    Raises
    ------
    ValueError
        If labels are numbers that are not whole, there is no such class, or there are
        not two; if the estimators differ.
    """
    classes = np.unique(y)
    if type_of_target(y) == "continuous":
        raise ValueError(
            f"Expected labels of classes for a classifier, got numbers such as "
            f"{classes[0]:g}; for numbers to predict, take regressors."
        )
    if positive is None:
        named = {
            last.positive: None
            for last in map(_last_step, estimators)
            # regressors and ridge classifiers of scikit-learn have a flag of that name
            if isinstance(last, MEGFMClassifier) and last.positive is not None
        }
        if len(named) > 1:
            raise ValueError(
                f"Expected classifiers of one positive class, got {list(named)}; pass "
                "positive."
            )
        positive = next(iter(named), None)
    if positive is None:
        return classes
    if len(classes) != 2:
        raise ValueError(
            f"Expected two classes with positive={positive!r}, got {classes.tolist()}; "
            "leave it out."
        )
    if positive not in classes.tolist():
        raise ValueError(
            f"Expected positive among the labels {classes.tolist()}, got {positive!r}."
        )
    return classes if classes[1] == positive else classes[::-1]


def _last_step(estimator: BaseEstimator) -> BaseEstimator:
    while hasattr(estimator, "steps"):
        estimator = estimator.steps[-1][1]
    return estimator


def choose_classes(
    y: NDArray,
    positive: Any,
    pipelines: Mapping[str, BaseEstimator] | None,
    classify: bool,
) -> NDArray | None:
    """Put the positive class last; None for regression, which has none."""
    if classify:
        return order_classes(y, positive, (pipelines or {}).values())
    if positive is not None:
        raise ValueError(
            f"Expected positive=None with numbers to predict, got {positive!r}; leave "
            "it out."
        )
    return None
