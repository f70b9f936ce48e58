"""Fitting pipelines on folds, in whatever process joblib chooses."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from mne.utils import use_log_level
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter
from tqdm import tqdm

from ._folds import Fold
from ._frozen import MISSING, FrozenFeatures, frozen_step
from ._metrics import Predictions, measure, predict
from ._samples import Samples, Sendable
from ._seen import weights_seen


class FoldResult(NamedTuple):
    """What one pipeline gave on one fold."""

    fold: Fold
    values: dict[str, float]
    predictions: Predictions
    seen: dict | None  # what the weights had seen


class Task(NamedTuple):
    """A pipeline to be fitted on folds."""

    name: str
    pipeline: BaseEstimator
    frozen: FrozenFeatures | None
    X: Any  # list, array or DataFrame; None where frozen features are enough
    y: NDArray
    groups: NDArray | None
    folds: Sequence[Fold]
    metrics: Sequence[str]
    classes: NDArray | None  # of two, the positive one last; None for regression


def make_task(
    name: str,
    pipeline: BaseEstimator,
    frozen: FrozenFeatures,
    samples: Samples,
    y: NDArray,
    folds: Sequence[Fold],
    metrics: Sequence[str],
    classes: NDArray | None,
) -> Task:
    """Gather what a worker needs, and no more."""
    step = frozen_step(pipeline)
    part = None if step is None else frozen.part(step)
    X = samples.X if step is None else None
    if isinstance(X, list):
        X = list(map(Sendable, X))
    return Task(name, pipeline, part, X, y, samples.groups, folds, metrics, classes)


def run(task: Task) -> list[FoldResult]:
    """Fit and measure a pipeline on each of the task's folds."""
    with use_log_level("error"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING, RuntimeWarning)
        return [_run_fold(task, fold) for fold in task.folds]


def _run_fold(task: Task, fold: Fold) -> FoldResult:
    y, train, test = task.y, fold.train, fold.test
    pipeline = task.pipeline
    try:
        if task.frozen is None:
            known, others = (_rows(task.X, side) for side in (train, test))
        else:
            step, pipeline = pipeline.steps[0][1], Pipeline(pipeline.steps[1:])
            known, others = task.frozen.features(step, train, test, y)
        fitted = clone(pipeline)
        fitted.fit(known, y[train], **_with_groups(fitted, task, train))
        variance = np.nan if task.classes is not None else float(np.var(y))
        predictions = predict(fitted, others, y[test], task.classes, variance)
    except Exception as error:
        error.add_note(
            f"In pipeline {task.name!r}, repeat {fold.repeat}, fold {fold.number}."
        )
        raise
    values = measure(predictions, task.metrics)
    leaves = [] if task.frozen is None else list(task.frozen.leaves.values())
    seen = weights_seen([*leaves, fitted])
    return FoldResult(fold, values, predictions, seen)


def _rows(X: Any, side: NDArray) -> Any:
    """Take some participants."""
    if isinstance(X, pd.DataFrame):
        return X.iloc[side]
    if isinstance(X, np.ndarray):
        return X[side]
    return [getattr(X[i], "recordings", X[i]) for i in side]


def _with_groups(pipeline: BaseEstimator, task: Task, train: NDArray) -> dict:
    """Hand groups to the last step, which may split again, where it takes them."""
    if task.groups is None:
        return {}
    last, prefix = pipeline, ""
    while isinstance(last, Pipeline):
        name, last = last.steps[-1]
        prefix += f"{name}__"
    if not has_fit_parameter(last, "groups"):
        return {}
    if get_config()["enable_metadata_routing"]:
        last.set_fit_request(groups=True)
        prefix = ""
    return {f"{prefix}groups": task.groups[train]}


def parallel(
    calls: Iterable[tuple], total: int, n_jobs: int | None, label: str, show: bool
) -> list[Any]:
    """Run delayed calls by the joblib backend in force, with a progress bar."""
    results = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(calls)
    return list(tqdm(results, label, total, disable=not show))
