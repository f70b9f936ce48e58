"""Tables of what folds gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._folds import Fold
from ._metrics import trivial_values
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
            if task.classes is not None and len(task.classes) == 2:
                columns["score"] = predictions.score
                if predictions.proba is not None:
                    columns["proba"] = predictions.proba[:, 1]
            elif predictions.proba is not None:
                for column, label in enumerate(predictions.classes):
                    columns[f"proba_{label}"] = predictions.proba[:, column]
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def permutation_table(
    tasks: Sequence[Task], results: Sequence[list[FoldResult]]
) -> pd.DataFrame:
    """One row a pipeline, permutation and metric, averaged over folds.

    Tasks of a pipeline are in the order of permutations.
    """
    rows, counts = [], Counter()
    for task, found in zip(tasks, results, strict=True):
        for metric in task.metrics:
            rows.append(
                {
                    "pipeline": task.name,
                    "permutation": counts[task.name],
                    "metric": metric,
                    "value": _mean([result.values[metric] for result in found]),
                }
            )
        counts[task.name] += 1
    return pd.DataFrame(rows, columns=["pipeline", "permutation", "metric", "value"])


def trivial_table(
    y: NDArray, folds: Sequence[Fold], classes: NDArray | None
) -> dict[str, float]:
    """Average over folds what is reached without looking at features."""
    found = [trivial_values(y, fold.train, fold.test, classes) for fold in folds]
    return {name: _mean([values[name] for values in found]) for name in found[0]}


def count_participants(
    names: NDArray, y: NDArray, classes: NDArray | None
) -> dict[str, int]:
    """Count participants of each class, or of all in regression."""
    if classes is None:
        return {"participants": len(np.unique(names))}
    return {str(label): len(np.unique(names[y == label])) for label in sorted(classes)}


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def random_table(
    by_fold: pd.DataFrame, same: Mapping[int, str | None], others: pd.DataFrame
) -> pd.DataFrame:
    """Put the results of random weights together, a row a seed, fold and metric.

    Parameters
    ----------
    by_fold : DataFrame
        Results of the pipelines that are compared.
    same : dict
        From seed to the name of a pipeline among these that is the same, or None.
    others : DataFrame
        Results of the rest, with seeds as names.
    """
    parts = [
        by_fold[by_fold["pipeline"] == name].assign(pipeline=seed)
        for seed, name in same.items()
        if name is not None
    ]
    columns = ["pipeline", "repeat", "fold", "metric", "value"]
    parts += [others] if len(others) else []
    table = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    table = table[columns].rename(columns={"pipeline": "seed"})
    return table.reset_index(drop=True)
