"""Which pipelines are pretrained, and the same ones with random weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import joblib
from sklearn.base import BaseEstimator, clone

from ..estimators import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer
from ..plugins import backbone_config
from ..weights import PARTICIPANT_ENCODER, POSTERIOR, read_config, weights_path
from ._running import frozen_step
from ._samples import fitted_before

#: What aggregations describe participants by measures alone, and by nothing learnt.
HAND_MADE = ("measures", "measures+evoked")
_WITH_WEIGHTS = MEGFMTransformer | MEGFMClassifier | MEGFMRegressor


def networks(pipeline: BaseEstimator) -> list[BaseEstimator]:
    """List the estimators of this package in a pipeline that have weights."""
    parts = [pipeline, *pipeline.get_params(deep=True).values()]
    found = {id(part): part for part in parts if isinstance(part, _WITH_WEIGHTS)}
    return list(found.values())


def is_hand_made(pipeline: BaseEstimator) -> bool:
    """Find whether features are hand-made measures, though the estimator has weights.

    Measures of few trials lean on what pretrained weights expect; they are counted
    among the baselines all the same, which makes these stronger.
    """
    parts = networks(pipeline)
    return bool(parts) and all(
        isinstance(part, MEGFMTransformer) and part.aggregation in HAND_MADE
        for part in parts
    )


def is_pretrained(pipeline: BaseEstimator) -> bool:
    """Find whether a pipeline has weights that were trained without labels.

    Before the comparison, or by ``pretraining`` inside `fit`.
    """
    return not is_hand_made(pipeline) and any(
        part.weights is not None or part.pretraining is not None
        for part in networks(pipeline)
    )


def is_baseline(pipeline: BaseEstimator, seen: Mapping[str, Any] | None) -> bool:
    """Find whether features are hand-made, or of a network that folds alone train.

    Parameters
    ----------
    pipeline : estimator
        The pipeline.
    seen : dict | None
        What its weights had seen; None without weights that tell.
    """
    return is_hand_made(pipeline) or (seen is None and not networks(pipeline))


def with_random_weights(transformer: MEGFMTransformer, seed: int) -> MEGFMTransformer:
    """Copy a transformer with random weights in a network of the same sizes.

    Participants are described in the same way, also where ``aggregation="auto"`` takes
    what the weights have networks for.

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
