"""What a fitted pipeline says of recordings, as one number a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..estimators import MEGFMClassifier, MEGFMRegressor, MEGFMTransformer

_GRADIENTS_NEED = (
    "use method='occlusion' (of epochs) or mne_megfm.interpret.occlude (also of "
    "participants), which work with any pipeline"
)


def settle_target(pipeline: Any, classes: Any, target: Any = None) -> Any:
    """Settle the class whose decision is explained.

    Parameters
    ----------
    pipeline : estimator
        The pipeline, fitted or not.
    classes : array-like, shape (n_classes,)
        Its classes.
    target : label | None
        A class; None stands for the positive one of two: that of a `MEGFMClassifier`
        at the end of the pipeline, or else the second.

    Returns
    -------
    target : label
        The class.

    Raises
    ------
    ValueError
        If there is no such class, or several and none was named.
    """
    classes = np.asarray(classes)
    last = pipeline
    while isinstance(last, Pipeline):
        last = last.steps[-1][1]
    # regressors and ridge classifiers of scikit-learn have a flag of that name
    if target is None and isinstance(last, MEGFMClassifier):
        target = last.positive
    return classes.tolist()[_position(classes, target)]


def decide(pipeline: Any, X: Any, target: Any = None) -> NDArray[np.float64]:
    """Give the decision for ``target``, or the predicted number, of each sample.

    Parameters
    ----------
    pipeline : estimator
        Anything fitted with ``decision_function``, ``predict_proba`` (of which log odds
        are taken) or, for a regressor, ``predict``.
    X : Any
        What it takes.
    target : label | None
        A class; None stands for the second of two.

    Returns
    -------
    decision : ndarray, shape (n_samples,)
        The larger, the more it is the target.
    """
    if not is_classifier(pipeline):
        return _one_output(pipeline.predict(X))
    if hasattr(pipeline, "decision_function"):
        return _of_target(pipeline.decision_function(X), pipeline.classes_, target)
    proba = np.clip(pipeline.predict_proba(X), 1e-12, 1 - 1e-12)
    of = _position(pipeline.classes_, target)
    return np.log(proba[:, of]) - np.log1p(-proba[:, of])


def _one_output(values: Any) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 and values.shape[1] > 1:
        raise ValueError(
            f"Expected one number a sample, got {values.shape[1]}; fit a pipeline for "
            "each."
        )
    return values.reshape(len(values))


def _position(classes: NDArray, target: Any) -> int:
    """Find the column of a class."""
    if target is None and len(classes) == 2:
        return 1
    found = np.flatnonzero(classes == target) if target is not None else []
    if len(found) != 1:
        raise ValueError(
            f"Expected target to be one of the classes {classes.tolist()}, got "
            f"{target!r}; name the class whose decision is to be explained."
        )
    return int(found[0])


def _of_target(values: NDArray, classes: NDArray, target: Any) -> NDArray[np.float64]:
    of = _position(classes, target)
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 1:
        return values if of == 1 else -values
    return values[:, of]


@dataclass(frozen=True)
class SplitPipeline:
    """A fitted pipeline in two parts: its transformer, and the rest.

    Attributes
    ----------
    transformer : MEGFMTransformer
        What gives features.
    rest : Any
        What makes decisions of them.
    whole : Any
        The pipeline.
    """

    transformer: MEGFMTransformer
    rest: Any
    whole: Any

    def decide(self, features: NDArray, target: Any = None) -> NDArray[np.float64]:
        """Make decisions of features, as the pipeline does."""
        if isinstance(self.rest, Pipeline):
            first = self.rest[0]
        else:
            first = self.rest
        names = getattr(first, "feature_names_in_", None)
        if names is not None:
            features = pd.DataFrame(features, columns=names)
        return decide(self.rest, features, target)


class _TunedRest:
    """What follows the pooled features in a fine-tuned network."""

    def __init__(self, predictor: MEGFMClassifier | MEGFMRegressor) -> None:
        self.predictor = predictor

    def __sklearn_tags__(self) -> Any:
        return self.predictor.__sklearn_tags__()

    @property
    def classes_(self) -> NDArray:
        return self.predictor.classes_

    def _outputs(self, features: NDArray) -> NDArray:
        import torch

        network = self.predictor.network_
        with torch.inference_mode():
            values = torch.as_tensor(features).to(network.centre)
            return network.head(network.complete(values)).double().cpu().numpy()

    def decision_function(self, features: NDArray) -> NDArray:
        return self.predictor.task_.decision_function(self._outputs(features))

    def predict(self, features: NDArray) -> NDArray:
        return self.predictor.task_.predict(self._outputs(features))


class OutputsOnly(_TunedRest):
    """What follows the outputs of a fine-tuned network."""

    def _outputs(self, features: NDArray) -> NDArray:
        return features


def split_pipeline(pipeline: Any) -> SplitPipeline:
    """Part a fitted pipeline behind its transformer.

    Parameters
    ----------
    pipeline : Pipeline | MEGFMClassifier | MEGFMRegressor
        The pipeline.

    Returns
    -------
    parts : SplitPipeline
        The two parts.

    Raises
    ------
    TypeError
        If it does not begin with a transformer.
    """
    check_is_fitted(pipeline)
    if isinstance(pipeline, MEGFMClassifier | MEGFMRegressor):
        rest = pipeline.head_ if pipeline.strategy == "probe" else _TunedRest(pipeline)
        return SplitPipeline(pipeline.transformer_, rest, pipeline)
    steps = pipeline.steps if isinstance(pipeline, Pipeline) else []
    if len(steps) > 1 and isinstance(steps[0][1], MEGFMTransformer):
        return SplitPipeline(steps[0][1], pipeline[1:], pipeline)
    raise TypeError(
        "Expected a pipeline that begins with a MEGFMTransformer, a MEGFMClassifier or "
        f"a MEGFMRegressor, got {pipeline!r}; {_GRADIENTS_NEED}."
    )


def affine_head(
    decide: Callable[[NDArray], NDArray[np.float64]], n_features: int
) -> tuple[NDArray[np.float64], float]:
    """Find the weights of decisions that are affine in the features.

    Whatever the steps are (scaling, selection, projection, a linear model), together
    they are known by what they say of zero and of each axis. Whether they are affine
    is seen on features drawn at random.

    Parameters
    ----------
    decide : callable
        From features ``(n, n_features)`` to decisions ``(n,)``.
    n_features : int
        Number of features.

    Returns
    -------
    weights : ndarray, shape (n_features,)
        Weight of each feature.
    bias : float
        The decision at zero.

    Raises
    ------
    ValueError
        If decisions are not affine.
    """
    bias = float(decide(np.zeros((1, n_features)))[0])
    weights = np.empty(n_features)
    step = max(2**22 // n_features, 1)  # 32 MiB at a time
    for first in range(0, n_features, step):
        last = min(first + step, n_features)
        axes = np.zeros((last - first, n_features))
        axes[np.arange(last - first), np.arange(first, last)] = 1.0
        weights[first:last] = decide(axes) - bias
    rng = np.random.default_rng(0)
    tried = np.logspace(-2, 2, 9)[:, None] * rng.standard_normal((9, n_features))
    given, expected = decide(tried), tried @ weights + bias
    allowed = 1e-4 * (np.abs(tried) @ np.abs(weights) + np.abs(bias))
    if not np.all(np.abs(given - expected) <= allowed):
        raise ValueError(
            "Expected steps after the transformer that are linear (such as "
            "StandardScaler, PCA, LogisticRegression, LinearSVC, Ridge, "
            "LinearDiscriminantAnalysis), got decisions that are not; "
            f"{_GRADIENTS_NEED}."
        )
    return weights, bias
