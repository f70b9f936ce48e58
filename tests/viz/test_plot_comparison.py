"""Figures of comparisons against the numbers that they show."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score, roc_curve

from mne_megfm.evaluation import LearningCurve
from mne_megfm.viz import (
    plot_comparison,
    plot_learning_curve,
    plot_reliability,
    plot_roc,
)


def _legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# -- pipelines beside each other -------------------------------------------------------
def test_folds_are_paired(comparison):
    """Pale lines join the results of one fold; points are results of one pipeline."""
    left, _ = plot_comparison(comparison, show=False).axes
    values = comparison.values()
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == comparison.pipelines == ["<good>", "poor"]
    joined = [x.get_xdata() for x in left.get_lines() if x.get_color() == "0.8"]
    assert_allclose(joined, values.to_numpy())
    points = [x for x in left.get_lines() if x.get_marker() == "o"]
    for row, (line, name) in enumerate(zip(points, names, strict=True)):
        assert_allclose(line.get_xdata(), values[name])
        assert set(line.get_ydata()) == {row}


@pytest.mark.parametrize("metric", ["roc_auc", "brier"])
def test_intervals_are_those_of_the_summary(comparison, metric):
    """Of values, cut where the metric ends, and of differences, with p-values."""
    fig = plot_comparison(comparison, metric, title="Folds", show=False)
    left, right = fig.axes
    table = comparison.summary(metric)
    bars = [x.get_xdata() for x in left.get_lines() if x.get_linewidth() == 2]
    assert_allclose(bars, table[["low", "high"]])
    assert 0.0 <= np.min(bars) and np.max(bars) <= 1.0
    row = table.loc["<good>"]
    (bar,) = [x.get_xdata() for x in right.get_lines() if x.get_linewidth() == 2]
    assert_allclose(bar, row[["difference_low", "difference_high"]].astype(float))
    texts = " ".join(text.get_text() for text in right.texts)
    assert "reference" in texts
    p = re.search(r"p [=<] ([\d.]+)", texts)
    assert float(p[1]) == pytest.approx(max(row["p_value"], 0.001), abs=6e-4)
    assert fig.get_suptitle() == "Folds"


def test_given_axes(comparison):
    """Two axes for a comparison, one for ROC curves; others are refused."""
    own, axes = plt.subplots(1, 2)
    assert plot_comparison(comparison, axes=axes, show=False) is own
    assert plot_roc(comparison, axes=own.add_subplot(), show=False) is own
    with pytest.raises(ValueError, match="axes as 2 matplotlib Axes, got 1"):
        plot_comparison(comparison, axes=axes[0], show=False)
    with pytest.raises(ValueError, match="axes as 1 .* got 1 of .*str"):
        plot_roc(comparison, axes=["left"], show=False)
    with pytest.raises(ValueError, match="a metric that was computed"):
        plot_comparison(comparison, "r2", show=False)


# -- learning curves -------------------------------------------------------------------
def test_learning_curve(rng):
    """Means at each size with intervals that end at 1."""
    rows = [
        {
            "pipeline": name, "size": size, "repeat": 0, "fold": fold,
            "metric": "roc_auc", "n_train": int(40 * size), "n_test": 10,
            "value": value, "train": tuple(range(int(40 * size))),
        }
        for name, level in (("a", 0.9), ("b", 0.6))
        for size in (0.5, 1.0)
        for fold, value in enumerate(np.clip(rng.normal(level, 0.1, 5), 0, 1))
    ]  # fmt: skip
    people = np.arange(50)
    tested = pd.DataFrame(
        {
            "participant": people, "repeat": 0, "fold": people // 10,
            "y_true": np.where(people % 2, "migraine", "control"),
        }
    )  # fmt: skip
    predictions = pd.concat(
        tested.assign(pipeline=name, size=size)
        for name in ("a", "b")
        for size in (0.5, 1.0)
    )
    curve = LearningCurve(
        folds=pd.DataFrame(rows),
        predictions=predictions,
        excluded=pd.DataFrame(),
        metrics=["roc_auc"],
        labels={"control": 25, "migraine": 25},
        classes=["control", "migraine"],
        trivial={"roc_auc": 0.5},
    )
    (ax,) = plot_learning_curve(curve, show=False).axes
    table = curve.summary()
    assert _legend(ax) == ["95 % by chance", "a", "b"]
    assert ax.get_ylabel() == "ROC AUC"
    assert "tested on 25 control, 25 migraine" in ax.get_xlabel()
    for name, bars in zip(["a", "b"], ax.containers, strict=True):
        line, _, (ends,) = bars
        assert_allclose(line.get_ydata(orig=False), table.loc[name]["mean"])
        # pipelines stand beside each other, near their size
        assert_allclose(line.get_xdata(orig=False), [20, 40], atol=0.5)
        found = np.array([x[:, 1] for x in ends.get_segments()], dtype=float)
        assert_allclose(found, table.loc[name][["low", "high"]])
        assert np.max(found) <= 1.0
    first, second = (bars[0].get_xdata(orig=False) for bars in ax.containers)
    assert (first < second).all()
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["20", "40"]


# -- ROC curves ------------------------------------------------------------------------
def test_roc_has_the_area_that_it_states(comparison):
    """The area under the curve drawn is the mean of scikit-learn's AUCs of folds."""
    (ax,) = plot_roc(comparison, show=False).axes
    lines = {x.get_label().partition(":")[0]: x for x in ax.get_lines()}
    table = comparison.predictions
    for name in comparison.pipelines:
        areas, heights = [], []
        for _, fold in table[table["pipeline"] == name].groupby(["repeat", "fold"]):
            truth = fold["y_true"] == "migraine"
            fpr, tpr, _ = roc_curve(truth, fold["score"], drop_intermediate=False)
            areas.append(roc_auc_score(truth, fold["score"]))
            # with four controls a fold, 0.1 is on a flat stretch of all curves
            heights.append(tpr[fpr <= 0.1 * np.ones(len(fpr))].max())
        x, y = lines[name].get_data()
        assert_allclose(np.trapezoid(y, x), np.mean(areas), atol=1e-12)
        assert_allclose(y[np.flatnonzero(x == 0)[-1]], np.mean(heights))
        low, high = comparison.summary().loc[name, ["low", "high"]]
        text = f"{name}: {np.mean(areas):.2f} ({low:.2f} to {high:.2f})"
        assert text in _legend(ax)
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert (np.diff(y) >= 0).all()
    assert "16 control, 16 migraine" in ax.get_legend().get_title().get_text()


@pytest.mark.parametrize("tied", [False, True])
def test_mean_roc_of_unequal_folds(comparison, tied):
    """Five of a class in a fold or three, with ties or none: the area is the mean."""
    rng = np.random.default_rng(1)
    table = comparison.predictions.query("pipeline == 'poor'").copy()
    table["score"] = rng.standard_normal(len(table))
    if tied:
        table["score"] = table["score"].round()
    table["fold"] = np.arange(len(table)) % 3
    other = type(comparison)(**{**vars(comparison), "predictions": table})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other, "metrics", ["brier"])
        (ax,) = plot_roc(other, ["poor"], show=False).axes
    line = next(x for x in ax.get_lines() if x.get_label().startswith("poor"))
    areas = [
        roc_auc_score(fold["y_true"] == "migraine", fold["score"])
        for _, fold in table.groupby(["repeat", "fold"])
    ]
    x, y = line.get_data()
    assert_allclose(np.trapezoid(y, x), np.mean(areas), atol=1e-12)


def test_roc_of_one_pipeline_has_its_folds(comparison):
    (ax,) = plot_roc(comparison, ["poor"], show=False).axes
    assert len([x for x in ax.get_lines() if x.get_color() == "0.8"]) == 8
    assert len(_legend(ax)) == 1


# -- reliability -----------------------------------------------------------------------
def test_reliability_is_that_of_scikit_learn(comparison):
    ax, below = plot_reliability(comparison, n_bins=4, show=False).axes
    lines = {x.get_label().partition(":")[0]: x for x in ax.get_lines()}
    for name in comparison.pipelines:
        part = comparison.predictions.query("pipeline == @name")
        truth = (part["y_true"] == "migraine").to_numpy()
        found, told = calibration_curve(
            truth, part["proba"], n_bins=4, strategy="quantile"
        )
        assert_allclose(lines[name].get_data(), (told, found))
        brier = brier_score_loss(truth, part["proba"])
        assert f"{name}: {brier:.3f}" in _legend(ax)
    assert "migraine" in below.get_xlabel() and "migraine" in ax.get_ylabel()


def test_legend_of_reliability_covers_nothing(comparison):
    """It stands above the axes, and within the figure."""
    fig = plot_reliability(comparison, title="Reliability", show=False)
    fig.canvas.draw()
    ax, _ = fig.axes
    legend = ax.get_legend().get_window_extent()
    assert legend.y0 >= ax.get_window_extent().y1
    assert legend.y1 <= fig.bbox.y1
    assert not legend.overlaps(fig._suptitle.get_window_extent())


@pytest.mark.parametrize("plot", [plot_roc, plot_reliability])
def test_what_cannot_be_plotted(comparison, plot):
    """Unknown pipelines, several classes, regression."""
    with pytest.raises(ValueError, match="a list of pipelines among .*got 'poor'"):
        plot(comparison, "poor", show=False)
    with pytest.raises(ValueError, match="a list of pipelines among .*'none'"):
        plot(comparison, ["none"], show=False)
    columns = {"score": "decisions", "proba": "probabilities"}
    known = comparison.predictions
    for change in (known.drop(columns=list(columns)), known.assign(y_true="a")):
        other = type(comparison)(**{**vars(comparison), "predictions": change})
        with pytest.raises(ValueError, match="about two classes"):
            plot(other, show=False)


def test_pipelines_without_probabilities(comparison):
    """They are left out, and refused when asked for."""
    known = comparison.predictions.copy()
    known.loc[known["pipeline"] == "poor", "proba"] = np.nan
    other = type(comparison)(**{**vars(comparison), "predictions": known})
    ax, _ = plot_reliability(other, show=False).axes
    assert len(_legend(ax)) == 1
    with pytest.raises(ValueError, match="with probabilities, got .'poor'. without"):
        plot_reliability(other, ["poor"], show=False)
    with pytest.raises(ValueError, match="n_bins of 2 or more"):
        plot_reliability(other, n_bins=1, show=False)
