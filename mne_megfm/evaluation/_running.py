"""Folds run in parallel; features of frozen weights are computed once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import joblib
import numpy as np
import pandas as pd
from mne.utils import ProgressBar, use_log_level
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.validation import has_fit_parameter

from ..estimators.frozen import FrozenStep, digest, frozen_step
from ..inputs import checked_once
from ._folds import Fold
from ._metrics import Predictions, measure, predict
from ._participant_features import shared_trials
from ._provenance import provenance
from ._residualise import Residualiser
from ._samples import Samples, Sendable

MISSING = ".*recordings are missing.*"


def parallel(
    calls: Iterable[tuple], total: int, n_jobs: int | None, label: str
) -> list[Any]:
    """Run delayed calls by the joblib backend in force, with a progress bar."""
    results = []
    with ProgressBar(total, mesg=label) as bar:
        for result in joblib.Parallel(n_jobs=n_jobs, return_as="generator")(calls):
            results.append(result)
            bar.update(len(results))
    return results


def _leaves(step: BaseEstimator) -> Iterator[BaseEstimator]:
    if isinstance(step, FeatureUnion):
        for _, part in step.transformer_list:
            yield from _leaves(part)
    else:
        yield step


def _key(leaf: BaseEstimator) -> str:
    return joblib.hash((type(leaf), leaf.get_params()))


class FrozenFeatures:
    """What the frozen steps of several pipelines extract from participants.

    Steps with equal parameters share theirs, so that a grid of classifiers on the same
    features costs one extraction.

    Parameters
    ----------
    steps : iterable of estimator
        What `frozen_step` gave.
    memory : path-like | joblib.Memory | None
        Where extracted features are kept for later calls.

    Attributes
    ----------
    leaves : dict
        From a hash of its parameters to a transformer.
    table : dict
        From the same hash to what was extracted, one entry a participant.
    """

    def __init__(self, steps: Iterable[BaseEstimator], memory: Any = None) -> None:
        leaves = {_key(leaf): leaf for step in steps for leaf in _leaves(step)}
        self.leaves = {key: FrozenStep(leaf, memory) for key, leaf in leaves.items()}
        self.table: dict[str, list] = {}
        self._with_memory = memory is not None

    def tasks(self, X: list) -> Iterator:
        """Give delayed calls, one a participant, whose results go to `keep`."""
        for participant in X:
            call = joblib.delayed(_extract)
            yield call(self.leaves, Sendable(participant), self._with_memory)

    def keep(self, results: Iterable[dict]) -> None:
        """Keep what the calls returned, in the order of participants."""
        results = list(results)
        self.table = {key: [row[key] for row in results] for key in self.leaves}

    def part(self, step: BaseEstimator) -> FrozenFeatures:
        """Restrict to what one step needs, to send that to a worker."""
        keys = list(map(_key, _leaves(step)))
        part = FrozenFeatures(())
        part.leaves = {key: self.leaves[key] for key in keys}
        part.table = {key: self.table[key] for key in keys}
        return part

    def of_participants(self, numbers: NDArray[np.int_]) -> FrozenFeatures:
        """Restrict to some participants, in the order given."""
        part = FrozenFeatures(())
        part.leaves = self.leaves
        part.table = {
            key: [rows[number] for number in numbers]
            for key, rows in self.table.items()
        }
        return part

    def is_empty(self, step: BaseEstimator) -> bool:
        """Find whether a part of a step extracts nothing from any participant."""
        return any(not any(self.table[_key(leaf)]) for leaf in _leaves(step))

    def features(
        self, step: BaseEstimator, train: NDArray, test: NDArray, y: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Fit a step on training participants; give their features and the others'."""
        if isinstance(step, FeatureUnion):
            parts = [
                self.features(part, train, test, y) for _, part in step.transformer_list
            ]
            return tuple(np.hstack(columns) for columns in zip(*parts, strict=True))
        leaf, table = self.leaves[_key(step)], self.table[_key(step)]
        known, others = ([table[i] for i in side] for side in (train, test))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", MISSING, RuntimeWarning)
            fitted = leaf.fit(known, y[train])
            return leaf.transform(fitted, known), leaf.transform(fitted, others)


def _extract(
    leaves: dict[str, FrozenStep], sent: Sendable, with_memory: bool
) -> dict[str, Any]:
    """Extract from a participant by all transformers, in a worker."""
    X = [sent.recordings]
    with use_log_level("error"), checked_once(), shared_trials():
        digests = list(map(digest, X)) if with_memory else None
        return {key: leaf.extract(X, digests)[0] for key, leaf in leaves.items()}


def extract(
    samples: Samples,
    pipelines: Iterable[BaseEstimator],
    n_jobs: int | None,
    memory: str | joblib.Memory | None,
) -> FrozenFeatures:
    """Extract from all participants by the frozen steps of all pipelines, once."""
    steps = map(frozen_step, pipelines)
    with use_log_level("error"):
        frozen = FrozenFeatures([step for step in steps if step is not None], memory)
    if frozen.leaves:
        calls = frozen.tasks(samples.X)
        frozen.keep(parallel(calls, len(samples), n_jobs, "Extracting"))
    return frozen


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
    metrics: Mapping[str, Callable | None]  # a scorer, or None for one of ours
    classes: NDArray | None  # of two, the positive one last; None for regression
    confounds: pd.DataFrame | None = None  # to be taken out of the features


def make_task(
    name: str,
    pipeline: BaseEstimator,
    frozen: FrozenFeatures,
    samples: Samples,
    y: NDArray,
    folds: Sequence[Fold],
    metrics: Mapping[str, Callable | None],
    classes: NDArray | None,
    confounds: pd.DataFrame | None = None,
) -> Task:
    """Gather what a worker needs, and no more."""
    step = frozen_step(pipeline)
    part = None if step is None else frozen.part(step)
    X = samples.X if step is None else None
    if isinstance(X, list):
        X = list(map(Sendable, X))
    return Task(
        name, pipeline, part, X, y, samples.groups, folds, metrics, classes, confounds
    )


def run(task: Task) -> list[FoldResult]:
    """Fit and measure a pipeline on each of the task's folds."""
    with use_log_level("error"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING, RuntimeWarning)
        return [_run_fold(task, fold) for fold in task.folds]


def _run_fold(task: Task, fold: Fold) -> FoldResult:
    y, train, test = task.y, fold.train, fold.test
    pipeline, first = task.pipeline, []
    try:
        if task.frozen is None:
            known, others = (_rows(task.X, side) for side in (train, test))
            if task.confounds is not None:
                first = [clone(pipeline.steps[0][1])]
                pipeline = Pipeline(pipeline.steps[1:])
                known = first[0].fit_transform(known, y[train])
                others = first[0].transform(others)
        else:
            step, pipeline = pipeline.steps[0][1], Pipeline(pipeline.steps[1:])
            known, others = task.frozen.features(step, train, test, y)
        if task.confounds is not None:
            own, new = (task.confounds.iloc[side] for side in (train, test))
            residualiser = Residualiser(known, own)
            known = residualiser.transform(known, own)
            others = residualiser.transform(others, new)
        fitted = clone(pipeline)
        fitted.fit(known, y[train], **_with_groups(fitted, task, train))
        variance = np.nan if task.classes is not None else float(np.var(y))
        predictions = predict(fitted, others, y[test], task.classes, variance)
        scored = {
            name: float(scorer(fitted, others, y[test]))
            for name, scorer in task.metrics.items()
            if scorer is not None
        }
    except Exception as error:
        error.add_note(
            f"In pipeline {task.name!r}, repeat {fold.repeat}, fold {fold.number}."
        )
        raise
    ours = [name for name in task.metrics if name not in scored]
    values = measure(predictions, ours) | scored
    values = {name: values[name] for name in task.metrics}
    leaves = (
        first
        if task.frozen is None
        else [leaf.step for leaf in task.frozen.leaves.values()]
    )
    seen = provenance([*leaves, fitted])
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
