"""Results of folds as tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._running import FoldResult, Task
from ._samples import Samples


def fold_table(
    tasks: Sequence[Task], results: Sequence[list[FoldResult]], samples: Samples
) -> pd.DataFrame:
    """One row a pipeline, fold and metric."""
    rows = []
    for task, found in zip(tasks, results, strict=True):
        for result in found:
            fold = result.fold
            shared = {
                "n_train": len(fold.train),
                "n_test": len(fold.test),
                "train": tuple(samples.names[fold.train].tolist()),
                "test": tuple(samples.names[fold.test].tolist()),
            }
            for metric, value in result.values.items():
                rows.append(
                    {
                        "pipeline": task.name,
                        "repeat": fold.repeat,
                        "fold": fold.number,
                        "metric": metric,
                        "value": value,
                        **shared,
                    }
                )
    return pd.DataFrame(rows)


def prediction_table(
    tasks: Sequence[Task], results: Sequence[list[FoldResult]], samples: Samples
) -> pd.DataFrame:
    """One row a pipeline, repeat and test participant."""
    tables = []
    for task, found in zip(tasks, results, strict=True):
        for result in found:
            fold, predictions = result.fold, result.predictions
            columns = {
                "pipeline": task.name,
                "participant": samples.names[fold.test],
                "repeat": fold.repeat,
                "fold": fold.number,
                "y_true": predictions.y,
                "y_pred": predictions.label,
            }
            if task.n_classes == 2:
                columns["score"] = predictions.score
                if predictions.proba is not None:
                    columns["proba"] = predictions.proba[:, 1]
            elif predictions.proba is not None:
                for column, label in enumerate(predictions.classes):
                    columns[f"proba_{label}"] = predictions.proba[:, column]
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def permutation_table(
    tasks: Sequence[Task], results: Sequence[list[FoldResult]], n_pipelines: int
) -> pd.DataFrame:
    """One row a pipeline and permutation: the first metric, averaged over folds."""
    rows = [
        {
            "pipeline": task.name,
            "permutation": number // n_pipelines,
            "metric": task.metrics[0],
            "value": _mean([result.values[task.metrics[0]] for result in found]),
        }
        for number, (task, found) in enumerate(zip(tasks, results, strict=True))
    ]
    return pd.DataFrame(rows, columns=["pipeline", "permutation", "metric", "value"])


def contributions(table: pd.DataFrame, metric: str) -> pd.Series:
    """Part a metric into what each participant contributes, averaged over repeats.

    For ROC AUC this is the share of the other class's participants, in the same fold,
    from whom a participant is told apart.
    """
    if metric == "roc_auc" and "score" in table:
        last = table["y_true"].max()
        parts = [
            _placements(fold, (fold["y_true"] == last).to_numpy())
            for _, fold in table.groupby(["repeat", "fold"])
        ]
        values = pd.concat(parts)
    elif metric == "brier" and "proba" in table:
        values = (table["proba"] - (table["y_true"] == table["y_true"].max())) ** 2
    elif metric == "balanced_accuracy":
        values = (table["y_true"] == table["y_pred"]).astype(float)
        share = table.groupby("y_true")["y_true"].transform("size") / len(table)
        values /= share * table["y_true"].nunique()
    elif metric == "mae":
        values = (table["y_true"] - table["y_pred"]).abs()
    else:
        raise ValueError(
            "Expected a metric that participants contribute to one by one (roc_auc and "
            "brier of two classes, balanced_accuracy, mae), got "
            f"{metric!r}; use test='corrected-t'."
        )
    return values.groupby(table["participant"]).mean()


def _placements(fold: pd.DataFrame, positive: NDArray[np.bool_]) -> pd.Series:
    score = fold["score"].to_numpy()
    values = np.full(len(fold), np.nan)
    if positive.any() and not positive.all():
        above = score[positive][:, None] - score[~positive]
        right = (above > 0) + 0.5 * (above == 0)
        values[positive], values[~positive] = right.mean(1), right.mean(0)
    return pd.Series(values, fold.index)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
