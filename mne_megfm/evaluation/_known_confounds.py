"""Confounds that are known of each participant, and what they tell alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mne
import numpy as np
import pandas as pd
from mne.utils import warn
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline

from ._folds import Fold
from ._intervals import mean_and_interval
from ._network_classifier import TrialSignals
from ._residualise import confound_encoder
from ._running import FoldResult, Task
from ._samples import Samples
from ._tables import fold_table, prediction_table

#: Name of the pipeline that knows the confounds and no recording.
ALONE = "confounds alone"
ARRAY, TRIALS, SITE = "array", "number of trials", "site"
_MISSING = "n/a"
# as many whole numbers may be codes of categories
_MOST_CODES = 10
SCORES = ("confound", "kind", "metric", "value", "low", "high", "chance", "n", "note")
GROUPS = ("confound", "level", "group", "n", "share", "mean", "sd")


# -- what is given ---------------------------------------------------------------------
def check_confounds(
    confounds: Any, X: Any, groups: Any, names: Sequence | None
) -> pd.DataFrame:
    """Check a table of confounds, and settle which are numbers.

    Parameters
    ----------
    confounds : DataFrame | dict
        One row for each element of ``X``.
    X : list | Epochs
        The participants, as given to `compare`.
    groups : array-like | None
        Names of the participants; of the epochs, if ``X`` is one Epochs.
    names : sequence | None
        Names of the participants.

    Returns
    -------
    confounds : DataFrame
        One row for each participant: floats with NaN, and strings.

    Raises
    ------
    TypeError
        If it is no table.
    ValueError
        If the number of rows or their names do not fit, or a column has one value or
        none.
    """
    if isinstance(confounds, Mapping):
        confounds = pd.DataFrame(dict(confounds))
    if not isinstance(confounds, pd.DataFrame):
        raise TypeError(
            "Expected confounds as a DataFrame with one row for each participant, got "
            f"a {type(confounds).__name__}; pass participants[['age', 'sex']]."
        )
    if len(confounds) != len(X):
        raise ValueError(
            f"Expected confounds with one row for each element of X ({len(X)}), got "
            f"{len(confounds)}; give them in the order of X."
        )
    if names is not None and set(confounds.index) == set(names):
        if list(confounds.index) != list(names):
            raise ValueError(
                "Expected confounds in the order of names, got the same names in "
                "another order; pass confounds.loc[names]."
            )
    confounds = confounds.reset_index(drop=True)
    if isinstance(X, mne.BaseEpochs):
        first = pd.Series(groups).drop_duplicates().index
        confounds = confounds.iloc[first].reset_index(drop=True)
    if not confounds.shape[1]:
        raise ValueError("Expected a column of confounds at least, got none; name one.")
    return pd.DataFrame({str(name): _column(confounds, name) for name in confounds})


def _column(table: pd.DataFrame, name: Any) -> pd.Series:
    column = table[name]
    known = column.dropna()
    if known.nunique() < (1 if column.isna().any() else 2):
        raise ValueError(
            f"Expected confounds that differ among participants, got one value in "
            f"{name!r} ({known.iloc[0] if len(known) else 'all are missing'}); leave "
            "it out."
        )
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.astype(float)
        if np.isinf(values).any():
            raise ValueError(
                f"Expected finite numbers in {name!r}, got infinity; correct it."
            )
        whole = bool((known == np.round(known.astype(float))).all())
        if whole and 2 < known.nunique() <= min(_MOST_CODES, len(known) // 2):
            warn(
                f"The confound {name!r} has {known.nunique()} different whole numbers "
                "and is taken as a number, on a straight line. If they are codes (of "
                "sites, say), pass them as text: confounds[...].astype(str)."
            )
        return values
    text = column.astype(object).where(column.notna(), _MISSING)
    return text.astype(str)


def add_always_known(
    confounds: pd.DataFrame | None,
    samples: Samples,
    arrays: NDArray[np.str_],
    n_trials: NDArray[np.int_],
) -> pd.DataFrame:
    """Add array, number of trials and site, which are known without a table."""
    always = {
        ARRAY: pd.Series(arrays.astype(object)),
        TRIALS: pd.Series(n_trials.astype(float)),
    }
    if samples.sites is not None:
        always[SITE] = pd.Series(samples.sites.astype(str).astype(object))
    if confounds is None:
        return pd.DataFrame(always)
    given = confounds.iloc[samples.kept].reset_index(drop=True)
    new = {name: column for name, column in always.items() if name not in given}
    return pd.concat([given, pd.DataFrame(new)], axis=1)


# -- pipelines -------------------------------------------------------------------------
def check_residualised(
    pipelines: Mapping[str, BaseEstimator],
    confounds: pd.DataFrame,
    folds: Iterable[Fold],
    samples: Samples,
) -> dict[str, BaseEstimator]:
    """Leave out pipelines without features, and see that there are people enough.

    Raises
    ------
    ValueError
        If no pipeline is left, one has the name of that of confounds, or confounds are
        as many as training participants.
    """
    if ALONE in pipelines:
        raise ValueError(
            f"Expected other names of pipelines than {ALONE!r}, which is added with "
            "confounds; rename yours."
        )
    n_columns = sum(
        1 if column.dtype.kind == "f" else column.nunique()
        for _, column in confounds.items()
    )
    fewest = min(len(fold.train) for fold in folds)
    if n_columns >= fewest - 1:
        raise ValueError(
            f"Expected fewer columns of confounds than training participants "
            f"({fewest}), got {n_columns} (levels of categories count); leave some "
            "out, or join levels."
        )
    kept = {}
    for name, pipeline in pipelines.items():
        if has_features(pipeline):
            kept[name] = pipeline
        else:
            reason = "no features between recordings and classifier to residualise"
            samples.exclude("pipeline", name, reason)
    if not kept:
        raise ValueError(
            "Expected pipelines of a transformer and an estimator with confounds, got "
            f"{', '.join(pipelines)}; features are residualised between the two."
        )
    return kept


def has_features(pipeline: BaseEstimator) -> bool:
    """Tell whether the first step of a pipeline makes features for the others."""
    return (
        isinstance(pipeline, Pipeline)
        and len(pipeline.steps) > 1
        and hasattr(pipeline.steps[0][1], "transform")
        and not isinstance(pipeline.steps[0][1], TrialSignals)
    )


# -- confounds alone -------------------------------------------------------------------
def alone_pipeline(confounds: pd.DataFrame, classify: bool) -> Pipeline:
    """Give the pipeline that knows confounds and no recording."""
    head = LogisticRegression(max_iter=1000) if classify else Ridge()
    return make_pipeline(confound_encoder(confounds), head)


def alone_tasks(
    confounds: pd.DataFrame,
    samples: Samples,
    folds: Sequence[Fold],
    classes: NDArray | None,
) -> list[Task]:
    """Give a task for each confound that differs among participants."""
    metric = "pearson_r" if classes is None else "roc_auc"
    return [
        Task(
            name,
            alone_pipeline(confounds[[name]], classes is not None),
            None,
            confounds[[name]],
            samples.y,
            samples.groups,
            folds,
            {metric: None},
            classes,
        )
        for name in confounds
        if confounds[name].nunique(dropna=False) > 1
    ]


def score_table(
    confounds: pd.DataFrame,
    tasks: Sequence[Task],
    results: Sequence[list[FoldResult]],
    samples: Samples,
) -> pd.DataFrame:
    """Say how well each confound alone distinguishes the groups, a row each."""
    found = {
        task.name: (task, result) for task, result in zip(tasks, results, strict=True)
    }
    rows = []
    for name, column in confounds.items():
        kind = "number" if column.dtype.kind == "f" else "category"
        missing = column.isna() if kind == "number" else column == _MISSING
        n = samples.names[~missing.to_numpy()]
        row: dict[str, Any] = dict.fromkeys(SCORES, np.nan)
        row |= {"confound": name, "kind": kind, "n": len(np.unique(n)), "note": ""}
        if name not in found:
            row |= {"metric": "", "note": f"the same in all: {column.iloc[0]}"}
            rows.append(row)
            continue
        task, result = found[name]
        (metric,) = task.metrics
        row |= {"metric": metric, "chance": 0.0 if task.classes is None else 0.5}
        summary = mean_and_interval(
            fold_table([task], [result], samples),
            prediction_table([task], [result], samples),
            metric,
            task.classes,
        )
        row |= {"value": summary["mean"], "low": summary["low"]}
        rows.append(row | {"high": summary["high"]})
    return pd.DataFrame(rows, columns=list(SCORES))


def group_table(
    confounds: pd.DataFrame, samples: Samples, classes: NDArray | None
) -> pd.DataFrame:
    """Describe confounds by group: mean and SD of numbers, counts of categories."""
    labels = np.full(len(samples), "all") if classes is None else samples.y
    who = pd.DataFrame({"name": samples.names, "group": labels})
    once = ~who.duplicated().to_numpy()
    table, labels = confounds[once], labels[once]
    groups = ["all"] if classes is None else classes.tolist()
    rows = []
    for name, column in table.items():
        for group in groups:
            own = column[labels == group]
            row = {"confound": name, "level": "", "group": group, "n": own.count()}
            if column.dtype.kind == "f":
                rows.append(row | {"mean": own.mean(), "sd": own.std()})
                continue
            for level in sorted(column.unique()):
                n = int((own == level).sum())
                rows.append(row | {"level": level, "n": n, "share": n / len(own)})
    return pd.DataFrame(rows, columns=list(GROUPS))
