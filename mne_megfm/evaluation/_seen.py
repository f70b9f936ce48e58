"""What the parts of a fitted pipeline had seen before, and in, ``fit``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

# where scikit-learn keeps what an estimator of estimators has fitted
_FITTED = ("best_estimator_", "estimator_", "estimator")
_LISTS = ("steps", "transformer_list", "estimators_", "calibrated_classifiers_")


#: What `WeightsSeen` shows of other entries, in characters.
_SHOWN = 60


class WeightsSeen(dict):
    """What weights had seen: all of it as a dict, the main things when printed."""

    def __repr__(self) -> str:
        return "; ".join(self.parts())

    def parts(self) -> list[str]:
        """Tell the main things one by one."""
        rest = dict(self)
        parts = []
        if "data" in rest:
            parts.append(_data_set(rest))
        for key, name in (("level", "participant encoder"), ("fitted_on", "then")):
            if isinstance(own := rest.pop(key, None), dict):
                parts.append(f"{name}: {WeightsSeen(own)!r}")
            elif own is not None:
                parts.append(f"{key} {_cut(own)}")
        if "untrained" in rest:
            seed = rest.pop("untrained").get("seed")
            parts.append(f"nothing (random weights, seed {seed})")
        if tuned := rest.pop("fine_tuned_on_labels", None):
            parts.append(f"labels of training folds ({_cut(tuned)})")
        if not parts:
            parts = [f"{key} {_cut(value)}" for key, value in rest.items()]
        return parts


def _data_set(training: dict) -> str:
    """Name a data set, with participants, hours and states."""
    last = (training.get("stages") or [{}])[-1]
    counts = training.get("counts") or last.get("counts") or []
    states = training.get("states") or sorted({one["state"] for one in counts})
    hours = training.get("hours", last.get("hours"))
    texts = [str(training["data"])]
    if "participants" in training:
        texts.append(f"{training['participants']} participants")
    if hours is not None:
        texts.append(f"{hours:g} hours")
    if states:
        texts.append(f"states {', '.join(map(str, states))}")
    name = training.get("name")
    return f"{name} ({', '.join(texts)})" if name else ", ".join(texts)


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def weights_seen(parts: Iterable[BaseEstimator]) -> WeightsSeen | None:
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
        return WeightsSeen(found[0][1]) if found else None
    named = enumerate(found, 1)
    return WeightsSeen({f"{name} {n}": WeightsSeen(one) for n, (name, one) in named})


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
