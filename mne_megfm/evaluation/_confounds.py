"""What features reveal besides the labels: the array, the site, and who it is."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import joblib
import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from ..estimators import LogisticHead
from ..estimators.frozen import frozen_step
from ..inputs import as_recordings, describe_array
from ._folds import repeated_folds, split_participants
from ._intervals import mean_and_interval, wilson_interval
from ._network_classifier import TrialSignals
from ._running import FrozenFeatures, Task, make_task, parallel, run
from ._samples import Samples
from ._tables import fold_table, prediction_table

METRIC = "balanced_accuracy"
#: Fewer participants of an array or site are left out: they cannot be in all folds.
FEWEST = 3
_N_FOLDS = 5
COLUMNS = ("target", "pipeline", "value", "low", "high", "chance", "n", "note")
_PERSON = "person"


def arrays_of(samples: Samples) -> NDArray[np.str_]:
    """Name the array of each participant; several are joined."""
    recordings = as_recordings(samples.X, verbose="error")
    found: list[dict[str, None]] = [{} for _ in range(len(samples))]
    for recording in recordings:
        name = describe_array(recording.inst.info)
        found[recordings.elements[recording.index[0]]][name] = None
    return np.array(["; ".join(sorted(names)) for names in found])


def find_confounds(
    samples: Samples,
    pipelines: Mapping[str, BaseEstimator],
    frozen: FrozenFeatures,
    halves: bool,
    n_jobs: int | None,
    random_state: int,
) -> pd.DataFrame:
    """Measure how well features predict the array, the site and the person.

    Parameters
    ----------
    samples : Samples
        The participants.
    pipelines : dict
        Pipelines whose features are extracted by a frozen first step; others are left
        out, since they would have to be trained again.
    frozen : FrozenFeatures
        What was extracted of the participants.
    halves : bool
        Whether to find each participant again in the other half of the recordings,
        which takes an extraction of both halves.
    n_jobs : int | None
        Processes.
    random_state : int
        Seed of the folds.

    Returns
    -------
    confounds : DataFrame
        As in `Comparison`.
    """
    chosen = {
        name: pipeline
        for name, pipeline in pipelines.items()
        if (step := frozen_step(pipeline)) is not None
        and not isinstance(step, TrialSignals)
    }
    targets = {"array": arrays_of(samples)}
    if samples.sites is not None:
        targets["site"] = samples.sites.astype(str)
    rows = []
    for target, labels in targets.items():
        rows += _read_target(
            target, labels, samples, chosen, frozen, n_jobs, random_state
        )
    rows += _find_persons(samples, chosen, halves, n_jobs)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _untested(target: str, note: str, pipeline: str = "") -> dict[str, Any]:
    missing = dict.fromkeys(("value", "low", "high", "chance"), np.nan)
    return {"target": target, "pipeline": pipeline, **missing, "n": 0, "note": note}


def _read_target(
    target: str,
    labels: NDArray[np.str_],
    samples: Samples,
    pipelines: Mapping[str, BaseEstimator],
    frozen: FrozenFeatures,
    n_jobs: int | None,
    random_state: int,
) -> list[dict[str, Any]]:
    """Classify arrays or sites from the features, by cross-validation."""
    counts = pd.Series(samples.names).groupby(labels).nunique()
    known = counts[counts >= FEWEST]
    if len(counts) < 2:
        return [_untested(target, f"not tested: one {target} ({counts.index[0]})")]
    if len(known) < 2:
        return [
            _untested(
                target,
                f"not tested: of {len(counts)} {target}s, {len(known)} with "
                f"{FEWEST} participants or more",
            )
        ]
    kept = np.flatnonzero(np.isin(labels, known.index))
    note = "; ".join(f"{name} (n = {n})" for name, n in known.items())
    part = Samples(
        X=[samples.X[i] for i in kept],
        y=labels[kept],
        names=samples.names[kept],
        groups=None if samples.groups is None else samples.groups[kept],
        sites=None,
        excluded=[],
        n_given=len(kept),
        kept=list(range(len(kept))),
    )
    cv = repeated_folds(part, True, int(min(_N_FOLDS, known.min())), 1, random_state)
    try:
        folds = split_participants(part, part.y, cv, True)
    except ValueError as error:  # sessions of a person on several arrays
        return [_untested(target, f"not tested: {error}")]
    classes = np.unique(part.y)
    frozen = frozen.of_participants(kept)
    tasks = [
        make_task(
            name,
            _for_classes(pipeline, random_state),
            frozen,
            part,
            part.y,
            folds,
            {METRIC: None},
            classes,
        )
        for name, pipeline in pipelines.items()
    ]
    calls = (joblib.delayed(_run_or_say)(task) for task in tasks)
    found = parallel(calls, len(tasks), n_jobs, f"Fitting {target}s")
    rows = []
    for task, results in zip(tasks, found, strict=True):
        if isinstance(results, str):
            rows.append(_untested(target, f"not tested: {results}", task.name))
            continue
        row = mean_and_interval(
            fold_table([task], [results], part),
            prediction_table([task], [results], part),
            METRIC,
            classes,
        )
        rows.append(
            {
                "target": target,
                "pipeline": task.name,
                "value": row["mean"],
                "low": row["low"],
                "high": row["high"],
                "chance": 1.0 / len(classes),
                "n": len(np.unique(part.names)),
                "note": note,
            }
        )
    return rows


def _for_classes(pipeline: Pipeline, random_state: int) -> Pipeline:
    """Give the same pipeline, with a classifier where it ends with a regressor."""
    if is_classifier(pipeline):
        return pipeline
    head = LogisticHead(random_state=random_state)
    return Pipeline([*pipeline.steps[:-1], (pipeline.steps[-1][0], head)])


def _run_or_say(task: Task) -> Any:
    """Fit and measure, or say why that cannot be done with these classes.

    Classifiers may be set for the labels that they were made for, as by weights of
    their classes, or by how many iterations they need.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return run(task)
    except ValueError as error:
        return f"the classifier does not take these classes ({error})"


# -- people ----------------------------------------------------------------------------
def _find_persons(
    samples: Samples,
    pipelines: Mapping[str, BaseEstimator],
    halves: bool,
    n_jobs: int | None,
) -> list[dict[str, Any]]:
    """Look for each participant among the first halves of the recordings of all."""
    if not halves:
        return [_untested(_PERSON, "not tested: pass halves=True")]
    parts = [_halves(element) for element in samples.X]
    people = [number for number, part in enumerate(parts) if part is not None]
    if len(people) < 2:
        return [_untested(_PERSON, "not tested: recordings that cannot be halved")]
    split = replace(samples, X=[half for number in people for half in parts[number]])
    steps = {name: frozen_step(pipeline) for name, pipeline in pipelines.items()}
    frozen = FrozenFeatures(steps.values())
    frozen.keep(
        parallel(frozen.tasks(split.X), len(split.X), n_jobs, "Extracting halves")
    )
    names = samples.names[people]
    first, second = 2 * np.arange(len(people)), 2 * np.arange(len(people)) + 1
    rows = []
    for name, step in steps.items():
        y = np.zeros(len(split.X))  # frozen steps learn from no label
        features = frozen.features(step, first, second, y)
        share = find_again(*features, names)
        low, high = wilson_interval(share, len(people), 1.959964)
        rows.append(
            {
                "target": _PERSON,
                "pipeline": name,
                "value": share,
                "low": low,
                "high": high,
                "chance": float(np.mean([np.mean(names == one) for one in names])),
                "n": len(np.unique(names)),
                "note": "first half of each recording against the second",
            }
        )
    return rows


def find_again(
    first: NDArray[np.floating], second: NDArray[np.floating], names: Sequence
) -> float:
    """Give the share of rows whose nearest row on the other side has their name.

    Parameters
    ----------
    first, second : ndarray, shape (n, n_features)
        Features of two recordings of each of n participants.
    names : array-like, shape (n,)
        Who each is.

    Returns
    -------
    share : float
        Of rows of `second`. Features are scaled to unit variance over `first`, and the
        nearest is by Euclidean distance.
    """
    names = np.asarray(names)
    scaler = StandardScaler().fit(first)
    first, second = scaler.transform(first), scaler.transform(second)
    # squared distances, without what is the same for a row of `second`
    distance = np.square(first).sum(1) - 2.0 * second @ first.T
    return float(np.mean(names[distance.argmin(1)] == names))


def _halves(element: Any) -> tuple[Any, Any] | None:
    """Cut the recordings of a participant in the middle; None if there is none."""
    if not isinstance(element, Mapping):
        return _cut(element)
    parts = {state: _cut(inst) for state, inst in element.items()}
    parts = {state: part for state, part in parts.items() if part is not None}
    if not parts:
        return None
    return tuple(
        {state: part[side] for state, part in parts.items()} for side in (0, 1)
    )


def _cut(inst: Any) -> tuple[Any, Any] | None:
    if isinstance(inst, list | tuple):  # runs
        cut = [part for part in map(_cut, inst) if part is not None]
        return tuple([part[side] for part in cut] for side in (0, 1)) if cut else None
    if isinstance(inst, mne.BaseEpochs) and len(inst) > 1:
        middle = len(inst) // 2
        return inst[:middle], inst[middle:]
    if isinstance(inst, mne.io.BaseRaw) and inst.times[-1] >= 2.0:
        middle = inst.times[-1] / 2.0
        with mne.utils.use_log_level("error"):
            first = inst.copy().crop(0.0, middle, include_tmax=False)
            return first, inst.copy().crop(middle)
    return None
