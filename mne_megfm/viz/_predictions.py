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

_GRID = np.linspace(0.0, 1.0, 101)


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
        A curve a pipeline. The legend has mean and standard deviation of the area
        over folds; of a single pipeline, curves of folds are shown as well.

    Raises
    ------
    ValueError
        If a pipeline was not compared, or there are not two classes with scores.

    Notes
    -----
    Decisions of different folds come from different models and are not on one scale, so
    curves are averaged over folds at each false positive rate [1]_, not decisions
    pooled.

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
    fig, (ax,) = open_axes(axes, 1, figsize=(5.2, 5.2))
    for number, name in enumerate(names):
        rates, areas = [], []
        part = table[table["pipeline"] == name].dropna(subset=["score"])
        for _, fold in part.groupby(["repeat", "fold"]):
            if fold["y_true"].nunique() < 2:  # no curve is defined
                continue
            fpr, tpr, _ = roc_curve(fold["y_true"] == positive, fold["score"])
            areas.append(auc(fpr, tpr))
            rates.append(_step_up(fpr, tpr))
            if len(names) == 1:
                ax.plot(fpr, tpr, color="0.8", lw=0.7, zorder=1)
        if not rates:
            raise ValueError(
                "Expected decisions and test folds with both classes, got none for "
                f"{name!r}; use stratified folds and a classifier that decides."
            )
        mean = np.concatenate([[0.0], np.mean(rates, axis=0)])
        label = f"{name}: {np.mean(areas):.2f} (SD {np.std(areas, ddof=1):.2f})"
        if len(areas) == 1:
            label = f"{name}: {areas[0]:.2f}"
        display = RocCurveDisplay(
            fpr=np.concatenate([[0.0], _GRID]), tpr=mean, pos_label=positive
        )
        display.plot(ax=ax, name=label)
        display.line_.set(color=look(number)["color"], label=label, lw=1.8)
    ax.plot([0, 1], [0, 1], color="0.5", lw=1, ls=":", zorder=0)
    ax.set(xlabel="False positive rate", ylabel=f"True positive rate ({positive})")
    ax.legend(
        frameon=False, fontsize="small", title="area under the curve", loc="upper left",
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
        Above, the share of the last class among participants against the probability
        that they were given, with the mean Brier score in the legend; below, how
        probabilities are spread.

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
    ax.legend(frameon=False, fontsize="small", title="Brier score", loc="upper left")
    below.set(xlabel=f"Probability of {positive} told", ylabel="Predictions")
    for one in (ax, below):
        bare(one)
    return finish(fig, show, title)


def _step_up(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Read a ROC curve on the common grid, at the top of vertical steps."""
    last = np.r_[fpr[1:] != fpr[:-1], True]
    return np.interp(_GRID, fpr[last], tpr[last])


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
    classes = sorted(table["y_true"].unique())
    if column not in table or table[column].isna().all() or len(classes) != 2:
        what = {"score": "decisions", "proba": "probabilities"}[column]
        raise ValueError(
            f"Expected {what} about two classes, got {len(classes)} classes and "
            f"columns {list(table.columns)}; compare classifiers of two classes."
        )
    return table, classes[-1]
