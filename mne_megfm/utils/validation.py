"""Checks of labels, groups, weights and scorers, and the ``verbose`` parameter."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from numbers import Real
from typing import Any, cast

import numpy as np
import pandas as pd
from mne.utils import use_log_level
from numpy.typing import NDArray
from pandas.api.extensions import ExtensionDtype
from sklearn import metrics
from sklearn.utils import column_or_1d

from .logs import Function


# -- labels, groups, weights -----------------------------------------------------------
def check_labels(y: Any, n_samples: int, sample: str) -> NDArray:
    """Check that there is one label a sample, all of one type, and none missing."""
    y = _as_row(y, sample)
    _check_length("y", y, n_samples, sample)
    missing = find_missing(y)
    if len(missing):
        raise ValueError(
            f"Expected a label for each {sample}, got none (NaN) for "
            f"{listed(missing)}; leave these out of X and y."
        )
    return column_or_1d(as_labels(y))


def _as_row(y: Any, sample: str) -> Any:
    """Give labels one dimension, as scikit-learn does for a column."""
    n_dims = len(shape_of("y", y, sample))
    if n_dims == 1:
        return y
    if n_dims == 2 and isinstance(y, list | tuple):
        y = np.array(y, dtype=object)
    return column_or_1d(y, warn=True)


def shape_of(name: str, values: Any, sample: str) -> tuple[int, ...]:
    """Give the shape of one value a sample, or of several; not of uneven lists."""
    try:
        return np.shape(values)
    except ValueError as error:
        raise ValueError(
            f"Expected {name} with one value a {sample}, got lists of different "
            "lengths; give one for each, in the order of X."
        ) from error


def as_labels(y: Any) -> NDArray:
    """Give labels the type that they have one by one, whatever holds them.

    NumPy would make text of 1 beside "a", and 1.0 of 1 beside a missing one; objects
    and types of pandas hide what scikit-learn needs to know.

    Parameters
    ----------
    y : array-like, shape (n_samples,)
        Names, numbers or truth values, some of which may be missing.

    Returns
    -------
    labels : ndarray, shape (n_samples,)
        The same. With missing ones among them, of objects, unless they are NaN in an
        array of numbers.

    Raises
    ------
    ValueError
        If some are names and others numbers, or one is neither.
    """
    if not isinstance(y, list | tuple):
        is_of_pandas = isinstance(getattr(y, "dtype", None), ExtensionDtype)
        y = pd.Series(y) if is_of_pandas else np.asarray(y)
        if y.dtype.kind in "biufU" and not is_of_pandas:
            return y
        y = y.tolist() if y.dtype.kind in "bifuO" else list(y)
    first_of: dict[str, Any] = {}
    for value in y:
        if not _is_missing(value):
            first_of.setdefault(_kind(value), value)
    if len(first_of) > 1:
        one, other, *_ = first_of.values()
        raise ValueError(
            f"Expected labels of one type, got {one!r} beside {other!r}; turn all of "
            "them into text, or all into numbers."
        )
    labels = np.array(y, dtype=object)
    complete = not len(find_missing(labels))
    return np.array(y) if complete and "names" not in first_of else labels


def _kind(label: Any) -> str:
    if isinstance(label, str):
        return "names"
    if isinstance(label, bool | np.bool_):
        return "truth values"
    if isinstance(label, Real):
        return "numbers"
    raise ValueError(
        f"Expected names or numbers in y, got {label!r}; turn labels into text, and "
        "dates into numbers."
    )


def _is_missing(label: Any) -> bool:
    missing = pd.isna(label)
    return isinstance(missing, bool | np.bool_) and bool(missing)


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


def check_embeddings(
    embeddings: Any, n_samples: int | None, name: str = "embeddings"
) -> NDArray[np.float64]:
    """Check that there is one embedding a sample, of finite numbers.

    Parameters
    ----------
    embeddings : array-like, shape (n_samples, n_dims)
        The embeddings.
    n_samples : int | None
        How many there should be; None for any number.
    name : str
        What they are called in messages.

    Returns
    -------
    embeddings : ndarray, shape (n_samples, n_dims)
        The same.

    Raises
    ------
    ValueError
        If they have another shape, or are not finite numbers.
    """
    rows = "n_samples" if n_samples is None else str(n_samples)
    expected = f"Expected {name} to be finite numbers of shape ({rows}, n_dims)"
    try:
        values = np.asarray(embeddings, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{expected}, got {type(embeddings).__name__} ({error}); give a row of "
            "numbers for each sample."
        ) from error
    if values.ndim != 2 or not values.size or n_samples not in (None, len(values)):
        raise ValueError(
            f"{expected}, got shape {values.shape}; give a row for each sample, in the "
            "order of X."
        )
    wrong = np.flatnonzero(~np.isfinite(values).all(1))
    if len(wrong):
        raise ValueError(
            f"{expected}, got NaN or infinity for {listed(wrong)}; leave these out."
        )
    return values


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


def use_verbose(method: Function) -> Function:
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

    return cast(Function, at_level)


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
