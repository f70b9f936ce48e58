"""Results of a comparison: points of folds, intervals, differences."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
    >>> cohort = simulate_cohort(12, states=("auditory",), n_epochs=6, random_state=0)
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
