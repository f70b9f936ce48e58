"""Figures of comparisons and predictions.

Curves are drawn by scikit-learn's displays. What is added here is how curves of folds
become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ._style import COLORS, bare, finish, look, open_axes

if TYPE_CHECKING:
    from ..evaluation import Comparison, LearningCurve


def plot_comparison(
    comparison: Comparison,
    metric: str | None = None,
    *,
    axes: Sequence[Axes] | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot pipelines beside each other, fold by fold, and their differences.

    Parameters
    ----------
    comparison : Comparison
        From :func:`~mne_megfm.evaluation.compare`.
    metric : str | None
        Which metric; None for the first.
    axes : list of Axes | None
        Two axes to draw in. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        Left, one row a pipeline: its value in each fold, those of one fold joined by a
        line, and the mean with its 95 % interval. Right, the difference to the
        reference, with its interval and p-value.

    Raises
    ------
    ValueError
        If the metric was not computed, or there are not two axes.

    Notes
    -----
    Intervals are those of ``comparison.summary(metric)``. Folds overlap, so that points
    lie closer together than new participants would. Grey bars are what 95 % of
    permutations of the labels have; beneath are the participants of each class, and
    whether the first pipeline is distinguished from chance.

    Examples
    --------
    See ``examples/plot_compare.py``.
    """
    table, values = comparison.summary(metric), comparison.values(metric)
    metric = comparison.metrics[0] if metric is None else metric
    name = comparison.label(metric)
    chance = comparison.trivial.get(metric, np.nan)
    n = len(table)
    fig, (left, right) = open_axes(
        axes, 2, figsize=(9, 1.4 + 0.5 * n), sharey=True, width_ratios=[1.5, 1]
    )
    rows = np.arange(n)
    left.plot(values.to_numpy().T, rows, color="0.8", lw=0.6, zorder=1)
    for row, pipeline in enumerate(table.index):
        color = COLORS[1] if pipeline == comparison.reference else COLORS[0]
        kind = "reference" if pipeline == comparison.reference else "pipeline"
        left.plot(
            values[pipeline], np.full(len(values), row), "o", ms=4, color=color,
            alpha=0.35, mec="none", zorder=2,
        )  # fmt: skip
        found = table.loc[pipeline]
        if not np.isnan(found.get("null_low", np.nan)):
            left.barh(
                row, found["null_high"] - found["null_low"], 0.5, found["null_low"],
                color="0.9", zorder=0,
            )  # fmt: skip
        _interval(left, row, found["mean"], found["low"], found["high"], color)
        if kind == "reference":
            right.text(0, row, " reference", color=color, va="center")
            continue
        cells = found["difference"], found["difference_low"], found["difference_high"]
        _interval(right, row, *cells, color)
        right.annotate(
            _p_text(found["p_value"]), (1, row), (4, 0), color="0.3", va="center",
            xycoords=right.get_yaxis_transform(), textcoords="offset points",
        )  # fmt: skip
    if not np.isnan(chance):
        left.axvline(chance, color="0.5", lw=1, ls=":", zorder=0)
    right.axvline(0, color=COLORS[1], lw=1, ls=":", zorder=0)
    left.set_yticks(rows, table.index)
    left.set_ylim(n - 0.5, -0.5)
    verdict = comparison.verdicts(metric).iloc[0]
    left.set_xlabel(
        f"{name} (folds; mean and 95 % interval)\nn = {_counts(comparison)}\n"
        + fill(f"{table.index[0]}: {verdict}", 60)
    )
    right.set_xlabel("difference to the reference")
    for ax in (left, right):
        bare(ax)
    right.tick_params(left=False, labelleft=False)
    return finish(fig, show, title)


def plot_learning_curve(
    curve: LearningCurve,
    metric: str | None = None,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot results against the number of labelled participants.

    Parameters
    ----------
    curve : LearningCurve
        From :func:`~mne_megfm.evaluation.learning_curve`.
    metric : str | None
        Which metric; None for the first.
    axes : Axes | None
        Where to draw. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        A line a pipeline with the mean over folds, and bars for 95 % intervals.

    Raises
    ------
    ValueError
        If the metric was not computed, or there are several axes.

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import default_pipelines, learning_curve
    >>> from mne_megfm.viz import plot_learning_curve
    >>> cohort = simulate_cohort(
    ...     12, states=("auditory",), arrays=("opm64",), n_epochs=6, random_state=0
    ... )
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> pipelines = {"dynamics": default_pipelines()["trial dynamics"]}
    >>> curve = learning_curve(X, cohort.labels, pipelines, train_sizes=(0.5, 1), cv=3)
    >>> fig = plot_learning_curve(curve, show=False)
    >>> fig.axes[0].get_ylabel()
    'ROC AUC'
    """
    table = curve.summary(metric)
    chance = curve.trivial.get(curve.metrics[0] if metric is None else metric, np.nan)
    fig, (ax,) = open_axes(axes, 1, figsize=(7, 4.2))
    names = table.index.get_level_values("pipeline").unique()
    sizes = table["n_train"].to_numpy()
    # side by side, or the bars of one size hide each other
    step = 0.012 * max(np.ptp(sizes), 1.0)
    for number, name in enumerate(names):
        part = table.loc[name]
        x = part["n_train"] + step * (number - (len(names) - 1) / 2)
        spread = [part["mean"] - part["low"], part["high"] - part["mean"]]
        ax.errorbar(
            x, part["mean"], yerr=spread, label=name, lw=1.5, ms=5, elinewidth=0.8,
            **look(number),
        )  # fmt: skip
    if not np.isnan(chance):
        ax.axhline(chance, color="0.5", lw=1, ls=":", zorder=0)
    first = table.loc[names[0]]
    if first["null_low"].notna().any():  # the same for all, as it is of the folds
        ax.fill_between(
            first["n_train"], first["null_low"], first["null_high"], color="0.92",
            zorder=0, label="95 % by chance",
        )  # fmt: skip
    verdict = first["verdict"].iloc[-1]
    ax.set(
        xlabel=f"Labelled participants (tested on {_counts(curve)})\n"
        + fill(f"{names[0]}, all labels: {verdict}", 80),
        ylabel=curve.label(metric),
    )
    ax.set_xticks(sorted({round(size) for size in sizes}))
    _legend_beside(ax, len(names))
    bare(ax)
    return finish(fig, show, title)


def _counts(result: Comparison | LearningCurve) -> str:
    """List participants of each class."""
    return ", ".join(f"{n} {label}" for label, n in result.labels.items())


def _interval(
    ax: Axes, row: int, mean: float, low: float, high: float, color: str
) -> None:
    """Draw a mean with its interval; without one where there are too few folds."""
    if not np.isnan(low):
        ax.plot([low, high], [row, row], color=color, lw=2, solid_capstyle="butt")
    ax.plot(mean, row, "D", ms=7, color=color, mec="white", zorder=3)


def _p_text(p: float) -> str:
    if pd.isna(p):
        return "cannot be tested"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _legend_beside(ax: Axes, n: int) -> None:
    """Put the legend within the axes if it is short, and beside them otherwise."""
    if n <= 3:
        ax.legend(frameon=False)
    else:
        ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


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
        Groups of equal size that probabilities are divided into.
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
