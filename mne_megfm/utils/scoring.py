"""Scores by name or as scikit-learn's scorers, of the positive class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn import metrics

#: Scores that are about one of two classes, and how they are made.
_OF_POSITIVE: dict[str, tuple[Callable, dict[str, Any]]] = {
    "precision": (metrics.precision_score, {}),
    "recall": (metrics.recall_score, {}),
    "f1": (metrics.f1_score, {}),
    "jaccard": (metrics.jaccard_score, {}),
    "average_precision": (
        metrics.average_precision_score,
        {"response_method": ("decision_function", "predict_proba")},
    ),
    "neg_brier_score": (
        metrics.brier_score_loss,
        {"response_method": "predict_proba", "greater_is_better": False},
    ),
}


def find_scorer(scoring: str | Callable, positive: Any = None) -> Callable:
    """Find a scorer of scikit-learn, of the positive class where it is about one.

    By their names alone, scores such as ``"recall"`` take the positive class to be 1.

    Parameters
    ----------
    scoring : str | callable
        A name that scikit-learn knows, or a scorer, which stays as it is.
    positive : object
        The positive class; None unless there are two.

    Returns
    -------
    scorer : callable
        From an estimator, features and labels to a number.

    Raises
    ------
    TypeError
        If it is no name and cannot be called.
    ValueError
        If scikit-learn knows no such name.
    """
    if callable(scoring):
        return scoring
    if not isinstance(scoring, str):
        raise TypeError(
            f"Expected scoring as a name or a scorer, got {scoring!r}; use a name of "
            "sklearn.metrics.get_scorer_names() or sklearn.metrics.make_scorer(...)."
        )
    if scoring not in metrics.get_scorer_names():
        raise ValueError(
            f"Expected scoring as a name that scikit-learn knows, got {scoring!r}; "
            "see sklearn.metrics.get_scorer_names()."
        )
    if positive is None or scoring not in _OF_POSITIVE:
        return metrics.get_scorer(scoring)
    function, how = _OF_POSITIVE[scoring]
    return metrics.make_scorer(function, pos_label=positive, **how)


def scorer_name(scoring: str | Callable) -> str:
    """Name a score, for tables.

    Parameters
    ----------
    scoring : str | callable
        What `find_scorer` takes.

    Returns
    -------
    name : str
        The name given, that of the function, or how the scorer was made.
    """
    if isinstance(scoring, str):
        return scoring
    return getattr(scoring, "__name__", None) or str(scoring)
