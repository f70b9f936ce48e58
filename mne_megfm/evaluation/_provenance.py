"""What the weights of a pipeline had seen, and the same ones drawn at random."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import joblib
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator

from ..estimators import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer
from ..estimators.frozen import frozen_step
from ..plugins import backbone_config
from ..weights import PARTICIPANT_ENCODER, POSTERIOR, read_config, weights_path

#: Aggregations whose features are hand-made measures alone.
HAND_MADE = ("measures", "measures+evoked")
_WITH_WEIGHTS = MEGFMTransformer | MEGFMClassifier | MEGFMRegressor


def networks(pipeline: BaseEstimator) -> list[BaseEstimator]:
    """List the estimators of this package in a pipeline that have weights."""
    parts = [pipeline, *pipeline.get_params(deep=True).values()]
    found = {id(part): part for part in parts if isinstance(part, _WITH_WEIGHTS)}
    return list(found.values())


def is_hand_made(pipeline: BaseEstimator) -> bool:
    """Find whether features are hand-made measures, though the estimator has weights.

    Measures of few trials are shrunk towards what pretrained weights predict; they are
    counted among the baselines all the same, which makes these stronger.
    """
    parts = networks(pipeline)
    return bool(parts) and all(
        isinstance(part, MEGFMTransformer) and part.aggregation in HAND_MADE
        for part in parts
    )


def is_pretrained(pipeline: BaseEstimator) -> bool:
    """Find whether a pipeline has weights that were trained without labels.

    Before the comparison, or by ``pretraining`` or ``masking`` inside `fit`.
    """
    return not is_hand_made(pipeline) and any(
        part.weights is not None
        or getattr(part, "pretraining", None) is not None  # of transformers
        or getattr(part, "masking", None) is not None  # of predictors
        for part in networks(pipeline)
    )


def is_baseline(pipeline: BaseEstimator, seen: Mapping[str, Any] | None) -> bool:
    """Find whether features are hand-made, or of a network that folds alone train.

    Parameters
    ----------
    pipeline : estimator
        The pipeline.
    seen : dict | None
        What its weights had seen; None without weights, or if not known.
    """
    return is_hand_made(pipeline) or (seen is None and not networks(pipeline))


def with_random_weights(transformer: MEGFMTransformer, seed: int) -> MEGFMTransformer:
    """Copy a transformer with random weights in a network of the same sizes.

    The kinds of features are the same, also where ``aggregation="auto"`` takes what
    the weights have networks for.

    Parameters
    ----------
    transformer : MEGFMTransformer
        With weights that exist.
    seed : int
        Seed of the random weights.

    Returns
    -------
    copy : MEGFMTransformer
        Not fitted.
    """
    copy = clone(transformer)
    if transformer.weights is None:
        return copy.set_params(random_state=seed)
    path = weights_path(transformer.weights)
    saved = read_config(path)
    backbone = saved["backbone"]
    usual = backbone_config(backbone)
    own = type(usual).from_dict(saved["model"])
    copy.set_params(
        weights=None,
        random_state=seed,
        # as short as may be: where nothing differs, it is the default
        config=None if own == usual else saved["model"],
        backbone=None if usual == backbone_config() else backbone,
    )
    if transformer.aggregation == "auto":
        measures, parameters = (
            (path / part.config).is_file() for part in (PARTICIPANT_ENCODER, POSTERIOR)
        )
        if not (measures and parameters):
            copy.set_params(aggregation="measures" if measures else "mean_std")
    return copy


def random_controls(
    pipeline: BaseEstimator, seeds: list[int]
) -> Iterator[tuple[int, BaseEstimator]]:
    """Give the same pipeline with random weights, one a seed.

    None for pipelines that are not a frozen transformer and what follows it: to train
    those again for each seed takes as long as they do.
    """
    if frozen_step(pipeline) is None or fitted_before(pipeline):
        return
    for seed in seeds:
        copy = clone(pipeline)
        for name, part in copy.get_params(deep=True).items():
            if isinstance(part, MEGFMTransformer):
                copy.set_params(**{name: with_random_weights(part, seed)})
        yield seed, copy


def key_of(pipeline: BaseEstimator) -> str:
    """Tell pipelines apart by their class and parameters."""
    return joblib.hash((type(pipeline), pipeline.get_params(deep=True)))


# entries of a provenance that `fit` makes, of what it trains on in each fold
_OF_FIT = ("fitted_on", "fine_tuned_on_labels")


def seen_before(
    pipeline: BaseEstimator, seen: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Say what weights had seen before the comparison, without what folds trained.

    Parameters
    ----------
    pipeline : estimator
        The pipeline, not fitted.
    seen : dict | None
        What its weights had seen after a fold, as `provenance` gives.

    Returns
    -------
    before : dict | None
        Empty if they were random; None if it is not known.
    """
    if seen is None:
        return None
    before = _without_fit(seen)
    for part in networks(pipeline):
        if part.weights is None:
            continue
        training = read_config(weights_path(part.weights))["training"]
        if not training:
            return None
        # which may come from an earlier fit
        before |= {key: training[key] for key in _OF_FIT if key in training}
    return before


def _without_fit(seen: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_fit(value) if isinstance(value, Mapping) else value
        for key, value in seen.items()
        if key not in _OF_FIT
    }


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
        """List the main things, one text each."""
        rest = dict(self)
        parts = []
        if "data" in rest:
            parts.append(_data_set(rest))
        for key, name in (
            ("participant_encoder", "participant encoder"),
            ("posterior", "posterior encoder"),
            ("fitted_on", "then"),
        ):
            if isinstance(own := rest.pop(key, None), dict):
                parts.append(f"{name}: {WeightsSeen(own)!r}")
            elif own is not None:
                parts.append(f"{key} {_cut(own)}")
        if "random_weights" in rest:
            seed = rest.pop("random_weights").get("random_state")
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


def provenance(parts: Iterable[BaseEstimator]) -> WeightsSeen | None:
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
    """Name the estimators that come fitted, and are not fitted again in folds."""
    values = [pipeline, *pipeline.get_params(deep=True).values()]
    frozen = [value for value in values if isinstance(value, FrozenEstimator)]
    return sorted({type(value.estimator).__name__ for value in frozen})


def _walk(estimator: Any) -> Iterator[tuple[str, dict]]:
    training = getattr(estimator, "provenance_", None)
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
