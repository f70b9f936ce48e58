"""What the parts of a fitted pipeline had seen before, and in, ``fit``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

# where scikit-learn keeps what an estimator of estimators has fitted
_FITTED = ("best_estimator_", "estimator_", "estimator")
_LISTS = ("steps", "transformer_list", "estimators_", "calibrated_classifiers_")


def weights_seen(parts: Iterable[BaseEstimator]) -> dict | None:
    """Find what the weights in these estimators had seen; None without weights.

    Of several weights that had seen different things, there is an entry each, by the
    name of the estimator and its number.
    """
    found: list[tuple[str, dict]] = []
    for part in parts:
        for name, training in _walk(part):
            if all(training != other for _, other in found):
                found.append((name, training))
    if len(found) < 2:
        return found[0][1] if found else None
    return {f"{name} {number}": one for number, (name, one) in enumerate(found, 1)}


def fitted_before(pipeline: BaseEstimator) -> list[str]:
    """Name the estimators that come fitted, and are not fitted anew in folds."""
    values = [pipeline, *pipeline.get_params(deep=True).values()]
    frozen = [value for value in values if isinstance(value, FrozenEstimator)]
    return sorted({type(value.estimator).__name__ for value in frozen})


def _walk(estimator: Any) -> Iterator[tuple[str, dict]]:
    training = getattr(estimator, "training_", None)
    if training is not None:
        yield type(estimator).__name__, training
        return
    for attribute in _FITTED:
        if hasattr(estimator, attribute):
            yield from _walk(getattr(estimator, attribute))
            break
    for attribute in _LISTS:
        for part in getattr(estimator, attribute, ()):
            yield from _walk(part[1] if isinstance(part, tuple) else part)
