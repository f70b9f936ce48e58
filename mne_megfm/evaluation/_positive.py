"""The class that scores, sensitivity and probabilities are about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from ..estimators import MEGFMClassifier


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
        If there is no such class, or there are not two; if the estimators differ.
    """
    classes = np.unique(y)
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
