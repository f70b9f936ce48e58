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


def paired_differences(
    own: pd.DataFrame, other: pd.DataFrame, metric: str
) -> pd.Series:
    """Part the difference of two pipelines in a metric over participants.

    Their mean is the difference, if folds are of equal make-up. To change the sign of
    one is to exchange what the two pipelines say of that participant, in all sessions.

    Parameters
    ----------
    own, other : DataFrame
        Predictions of the two pipelines on the same folds, row by row.
    metric : str
        Which metric.

    Returns
    -------
    differences : Series
        One a participant, averaged over repeats.

    Notes
    -----
    An AUC is a mean over pairs of a patient and a control, so exchanging the scores
    of one moves all its pairs. Scores are ranked in each fold, since those of two
    pipelines are not comparable otherwise [1]_. With ``K`` 1 where a patient ranks
    above a control and 1/2 for ties, pair (i, j) adds ``K(own, own) - K(other,
    other)`` as it is, ``K(own, other) - K(other, own)`` with j exchanged, and minus
    these with i exchanged: with signs s it is ``s_i u + s_j v``, where u and v are
    half the sum and half the difference of the two. So the exchange of scores is a
    flip of signs.

    References
    ----------
    .. [1] Bandos AI, Rockette HE, Gur D (2005). A permutation test sensitive to
       differences in areas for comparing ROC curves from a paired design. Stat Med
       24:2873-2893, section 2. doi:10.1002/sim.2149
    """
    # one person may have several rows in a fold: rows belong together by their order
    own, other = own.reset_index(drop=True), other.reset_index(drop=True)
    if metric == "roc_auc" and "score" in own:
        last = own["y_true"].max()
        both = own.assign(score_other=other["score"])
        values = pd.concat(
            _exchanges(fold, (fold["y_true"] == last).to_numpy())
            for _, fold in both.groupby(["repeat", "fold"])
        )
    else:
        values = _contributions(own, metric) - _contributions(other, metric)
    n_people, n_rows = own["participant"].nunique(), len(own) / own["repeat"].nunique()
    summed = values.groupby([own["participant"], own["repeat"]]).sum(min_count=1)
    return summed.groupby("participant").mean() * n_people / n_rows


def _exchanges(fold: pd.DataFrame, positive: NDArray[np.bool_]) -> pd.Series:
    """Say what exchanging each participant's ranks takes from the AUC of a fold."""
    values = np.full(len(fold), np.nan)
    if positive.any() and not positive.all():
        own, other = fold["score"].rank(), fold["score_other"].rank()
        own, other = own.to_numpy(), other.to_numpy()

        def above(first: NDArray, second: NDArray) -> NDArray[np.float64]:
            gap = first[positive][:, None] - second[~positive]
            return (gap > 0) + 0.5 * (gap == 0)

        straight = above(own, own) - above(other, other)
        crossed = above(own, other) - above(other, own)
        # shares of the fold, so that their mean and not their sum is the difference
        n = len(fold)
        values[positive] = n / positive.sum() * (straight + crossed).mean(1) / 2
        values[~positive] = n / (~positive).sum() * (straight - crossed).mean(0) / 2
    return pd.Series(values, fold.index)


def _contributions(table: pd.DataFrame, metric: str) -> pd.Series:
    """Part a metric that is a mean over samples."""
    if metric == "brier" and "proba" in table:
        values = (table["proba"] - (table["y_true"] == table["y_true"].max())) ** 2
    elif metric == "balanced_accuracy":
        values = (table["y_true"] == table["y_pred"]).astype(float)
        share = table.groupby("y_true")["y_true"].transform("size") / len(table)
        values /= share * table["y_true"].nunique()
    elif metric == "mae":
        values = (table["y_true"] - table["y_pred"]).abs()
    else:
        raise ValueError(
            "Expected a metric that can be parted over participants (roc_auc and "
            "brier of two classes, balanced_accuracy, mae), got "
            f"{metric!r}; use test='corrected-t'."
        )
    return values


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan
