"""Checks of labels, groups, weights and scorers, and the ``verbose`` parameter."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd
from mne.utils import use_log_level
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.utils import column_or_1d


# -- labels, groups, weights -----------------------------------------------------------
def check_labels(y: Any, n_samples: int, sample: str) -> NDArray:
    """Check that there is one label a sample, and none missing."""
    given, y = y, column_or_1d(y, warn=True)
    _check_length("y", y, n_samples, sample)
    missing = find_missing(given)
    if len(missing):
        raise ValueError(
            f"Expected a label for each {sample}, got none (NaN) for "
            f"{listed(missing)}; leave these out of X and y."
        )
    return y


def check_weights(
    sample_weight: Any, n_samples: int, sample: str
) -> NDArray[np.float64]:
    """Check weights; None stands for equal ones."""
    if sample_weight is None:
        return np.ones(n_samples)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        return np.full(n_samples, float(weight))
    weight = column_or_1d(weight)
    _check_length("sample_weight", weight, n_samples, sample)
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise ValueError(
            "Expected finite sample_weight of 0 or more, not all 0, got values from "
            f"{weight.min():g} to {weight.max():g}; correct them."
        )
    return weight


def check_groups(groups: Any, n_samples: int, sample: str) -> NDArray[np.int_]:
    """Give groups numbers; None makes each sample a group of its own."""
    if groups is None:
        return np.arange(n_samples)
    given, groups = groups, column_or_1d(groups)
    _check_length("groups", groups, n_samples, sample)
    missing = find_missing(given)
    if len(missing):
        raise ValueError(
            f"Expected a group for each {sample}, got none (NaN) for "
            f"{listed(missing)}; name the participant of each."
        )
    return np.unique(groups, return_inverse=True)[1]


def find_missing(values: Any) -> NDArray[np.int_]:
    """Find the positions without a value (NaN, None), in whatever holds them."""
    if not hasattr(values, "dtype"):
        # NumPy would turn a NaN beside strings into a string
        values = np.asarray(values, dtype=object)
    return np.flatnonzero(pd.isna(np.ravel(values)))


def _check_length(name: str, values: NDArray, n_samples: int, sample: str) -> None:
    if len(values) != n_samples:
        raise ValueError(
            f"Expected {name} with one value a {sample} ({n_samples}), got "
            f"{len(values)}; give one for each, in the order of X."
        )


def listed(positions: NDArray[np.int_]) -> str:
    """Name the first few positions."""
    shown = ", ".join(map(str, positions[:5]))
    return f"position {shown}" + (", ..." if len(positions) > 5 else "")


def use_verbose(method: Callable) -> Callable:
    """Run a method of an estimator at the log level of its ``verbose`` parameter.

    `mne.verbose` does this for functions; methods that scikit-learn calls cannot take
    an argument for it.
    """

    @wraps(method)
    def at_level(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.verbose is None:
            return method(self, *args, **kwargs)
        with use_log_level(self.verbose):
            return method(self, *args, **kwargs)

    return at_level


# -- scorers ---------------------------------------------------------------------------
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
