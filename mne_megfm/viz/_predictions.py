"""Predictions for held-out participants: ROC curves and reliability.

Curves are drawn by scikit-learn's displays. What is added here is how curves of folds
become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ._style import bare, finish, look, open_axes

if TYPE_CHECKING:
    from ..evaluation import Comparison


def plot_roc(
    comparison: Comparison,
    pipelines: Sequence[str] | None = None,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot ROC curves of pipelines, averaged over folds.

    Parameters
    ----------
    comparison : Comparison
        From :func:`~mne_megfm.evaluation.compare`, of two classes.
    pipelines : list of str | None
        Which pipelines; None for all.
    axes : Axes | None
        Where to draw. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        A curve a pipeline, whose area is the mean AUC of the legend, with its 95 %
        interval if the AUC is a metric of the comparison; of a single pipeline, curves
        of folds are shown as well.

    Raises
    ------
    ValueError
        If a pipeline was not compared, or there are not two classes with scores.

    Notes
    -----
    Decisions of different folds come from different models and are not on one scale, so
    curves are averaged over folds at each false positive rate [1]_, not decisions
    pooled. They are steps, with slopes where decisions tie, and are averaged as such: a
    mean curve jumps where one of a fold does.

    References
    ----------
    .. [1] Fawcett T (2006). An introduction to ROC analysis. Pattern Recognit Lett
       27:861-874, section 8.1. doi:10.1016/j.patrec.2005.10.010

    Examples
    --------
    See ``examples/plot_compare.py``.
    """
    from sklearn.metrics import RocCurveDisplay, auc, roc_curve

    names = _names(comparison, pipelines)
    table, positive = _binary(comparison, "score")
    intervals = comparison.summary("roc_auc") if "roc_auc" in comparison.metrics else {}
    fig, (ax,) = open_axes(axes, 1, figsize=(5.2, 5.2))
    for number, name in enumerate(names):
        curves, areas = [], []
        part = table[table["pipeline"] == name].dropna(subset=["score"])
        for _, fold in part.groupby(["repeat", "fold"]):
            if fold["y_true"].nunique() < 2:  # no curve is defined
                continue
            fpr, tpr, _ = roc_curve(fold["y_true"] == positive, fold["score"])
            areas.append(auc(fpr, tpr))
            curves.append((fpr, tpr))
            if len(names) == 1:
                ax.plot(fpr, tpr, color="0.8", lw=0.7, zorder=1)
        if not curves:
            raise ValueError(
                "Expected decisions and test folds with both classes, got none for "
                f"{name!r}; use stratified folds and a classifier that decides."
            )
        label = f"{name}: {np.mean(areas):.2f}"
        if len(intervals) and not np.isnan(intervals.loc[name, "low"]):
            low, high = intervals.loc[name, ["low", "high"]]
            label += f" ({low:.2f} to {high:.2f})"
        fpr, tpr = _mean_curve(curves)
        display = RocCurveDisplay(fpr=fpr, tpr=tpr, pos_label=positive)
        display.plot(ax=ax, name=label)
        display.line_.set(color=look(number)["color"], label=label, lw=1.8)
    ax.plot([0, 1], [0, 1], color="0.5", lw=1, ls=":", zorder=0)
    ax.set(xlabel="False positive rate", ylabel=f"True positive rate ({positive})")
    counts = ", ".join(f"{n} {label}" for label, n in comparison.labels.items())
    ax.legend(
        frameon=False, fontsize="small", loc="upper left",
        title=f"area under the curve (95 % interval); n = {counts}",
        bbox_to_anchor=(0.0, -0.13),
    )  # fmt: skip
    bare(ax)
    return finish(fig, show, title)


def plot_reliability(
    comparison: Comparison,
    pipelines: Sequence[str] | None = None,
    *,
    n_bins: int = 5,
    axes: Sequence[Axes] | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot how often what was called likely came true.

    Parameters
    ----------
    comparison : Comparison
        From :func:`~mne_megfm.evaluation.compare`, of two classes.
    pipelines : list of str | None
        Which pipelines; None for all that give probabilities.
    n_bins : int
        Groups of equal size that probabilities are parted into.
    axes : list of Axes | None
        Two axes to draw in. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        Above, the share of the positive class among participants against the
        probability that they were given, with the mean Brier score in the legend;
        below, how probabilities are spread.

    Raises
    ------
    ValueError
        If a pipeline was not compared or gives no probabilities, or there are not two
        classes.

    Notes
    -----
    Test participants of all folds and repeats are pooled: probabilities, other than
    decisions, claim to be on one scale. A participant counts once a repeat.

    Examples
    --------
    See ``examples/plot_compare.py``.
    """
    from sklearn.calibration import CalibrationDisplay

    names = _names(comparison, pipelines)
    table, positive = _binary(comparison, "proba")
    known = table.dropna(subset=["proba"])["pipeline"].unique()
    without = [name for name in names if name not in known]
    if pipelines is None:
        names = [name for name in names if name in known]
    elif without:
        raise ValueError(
            f"Expected pipelines with probabilities, got {without} without; end them "
            "with a classifier that has predict_proba."
        )
    if n_bins < 2:
        raise ValueError(f"Expected n_bins of 2 or more, got {n_bins}.")
    fig, (ax, below) = open_axes(
        axes, 2, figsize=(5.2, 6.2), nrows=2, ncols=1, sharex=True,
        height_ratios=[3, 1],
    )  # fmt: skip
    for number, name in enumerate(names):
        part = table[table["pipeline"] == name]
        truth = (part["y_true"] == positive).to_numpy()
        brier = np.mean((part["proba"] - truth) ** 2)
        label, style = f"{name}: {brier:.3f}", look(number)
        CalibrationDisplay.from_predictions(
            truth, part["proba"], n_bins=n_bins, strategy="quantile", ax=ax,
            name=label, ref_line=False, lw=1.5, ms=5, **style,
        )  # fmt: skip
        below.hist(
            part["proba"], np.linspace(0, 1, 21), histtype="step", lw=1.5,
            color=style["color"],
        )  # fmt: skip
    ax.plot([0, 1], [0, 1], color="0.5", lw=1, ls=":", zorder=0)
    ax.set(xlabel="", ylabel=f"Share of {positive} found", xlim=(0, 1), ylim=(0, 1))
    ax.legend(
        frameon=False, fontsize="small", title="Brier score",
        loc="lower left", bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2,  # above
    )  # fmt: skip
    below.set(xlabel=f"Probability of {positive}", ylabel="Predictions")
    for one in (ax, below):
        bare(one)
    return finish(fig, show, title)


def _mean_curve(
    curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average ROC curves at each false positive rate, without rounding off steps.

    Between the rates at which one of the curves has a corner all are straight, so that
    means of the heights just before and just after these rates say all.
    """
    grid = np.unique(np.concatenate([fpr for fpr, _ in curves]))
    ends = [[], []]
    for fpr, tpr in curves:
        first, last = np.r_[True, np.diff(fpr) > 0], np.r_[np.diff(fpr) > 0, True]
        # before a rate the lower end of a vertical step, after it the upper one;
        # between corners, on the line from an upper end to the next lower one
        rise = np.searchsorted(fpr[first], grid, side="left")
        left, x = np.maximum(rise - 1, 0), fpr[first]
        corner = x[np.minimum(rise, len(x) - 1)] == grid
        width = np.maximum(x[np.minimum(rise, len(x) - 1)] - x[left], 1e-300)
        low, high = tpr[first], tpr[last]
        to = low[np.minimum(rise, len(x) - 1)]
        between = high[left] + (to - high[left]) * (grid - x[left]) / width
        ends[0].append(np.where(corner, to, between))
        ends[1].append(np.where(corner, high[np.minimum(rise, len(x) - 1)], between))
    before, after = (np.mean(side, axis=0) for side in ends)
    return np.repeat(grid, 2), np.column_stack([before, after]).ravel()


def _names(comparison: Comparison, pipelines: Sequence[str] | None) -> list[str]:
    if pipelines is None:
        return comparison.pipelines
    unknown = [name for name in pipelines if name not in comparison.pipelines]
    if unknown or isinstance(pipelines, str):
        raise ValueError(
            f"Expected a list of pipelines among {comparison.pipelines}, got "
            f"{pipelines!r}."
        )
    return list(pipelines)


def _binary(comparison: Comparison, column: str) -> tuple[pd.DataFrame, object]:
    """Give the predictions of two classes, and the class that scores speak of."""
    table = comparison.predictions
    classes = table["y_true"].unique()
    if column not in table or table[column].isna().all() or len(classes) != 2:
        what = {"score": "decisions", "proba": "probabilities"}[column]
        raise ValueError(
            f"Expected {what} about two classes, got {len(classes)} classes and "
            f"columns {list(table.columns)}; compare classifiers of two classes."
        )
    return table, comparison.positive
