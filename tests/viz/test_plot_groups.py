"""Figures of groups: what is drawn is what was given."""

import dataclasses

import mne
import numpy as np
import pandas as pd
import pytest

from mne_megfm.evaluation import group_differences
from mne_megfm.sensors import canonical_array
from mne_megfm.viz import (
    plot_decision_curve,
    plot_group_averages,
    plot_group_differences,
    plot_group_spectra,
    plot_people,
    plot_scores,
)

TIMES = np.arange(-0.1, 0.3, 0.01)


def _groups(rng, gain, n=6):
    """Return averages of two groups with one response at 100 ms, larger in one."""
    info = canonical_array().info(100.0)
    pattern = rng.standard_normal(192)
    shape = np.exp(-(((TIMES - 0.1) / 0.02) ** 2))
    groups = {"migraine": [], "control": []}
    for name, own in zip(groups, (gain, 1.0), strict=True):
        for _ in range(n):
            data = own * np.outer(pattern, shape) + 0.2 * rng.standard_normal((192, 40))
            groups[name].append(mne.EvokedArray(1e-13 * data, info, -0.1))
    return groups


def test_group_averages(rng):
    """The field power of groups is drawn, and the peak is found in the topographies."""
    groups = _groups(rng, 3.0)
    fig = plot_group_averages(groups, show=False)
    power = fig.axes[0]
    lines = {line.get_label(): line for line in power.lines}
    for name, part in groups.items():
        expected = np.mean([one.data.std(0) for one in part], axis=0) * 1e15
        np.testing.assert_allclose(lines[name].get_ydata(), expected)
    assert "Shaded: groups differ (cluster test, p" not in power.get_title()
    assert power.get_title().startswith("Shaded: groups differ")
    labels = [ax.get_ylabel() for ax in fig.axes]
    assert "100 ms" in labels
    titles = [ax.get_title() for ax in fig.axes]
    assert {"migraine", "control", "difference"} <= set(titles)
    # the group that is named last, sorted, has the colour that it has in maps
    assert lines["migraine"].get_color() == "#D55E00"


def test_nothing_is_shaded_where_groups_are_alike(rng):
    """Nor is anything tested with a few people."""
    fig = plot_group_averages(_groups(rng, 1.0), times=[0.1], show=False)
    assert fig.axes[0].get_title().startswith("No difference shown")
    fig = plot_group_averages(_groups(rng, 3.0, n=4), times=[0.1], show=False)
    assert "not tested: too few people" in fig.axes[0].get_title()


def test_group_averages_must_fit(rng):
    groups = _groups(rng, 1.0, n=2)
    with pytest.raises(ValueError, match="Expected two groups"):
        plot_group_averages({"migraine": groups["migraine"]}, show=False)
    groups["control"][0] = groups["control"][0].copy().crop(0.0)
    with pytest.raises(ValueError, match="same sensors and times"):
        plot_group_averages(groups, show=False)


def test_group_spectra(rng):
    """Means are of decibels, in fT."""
    freqs = np.arange(1.0, 31.0)
    spectra = {name: 1e-28 * rng.uniform(1, 2, (5, 30)) for name in ("b", "a")}
    fig = plot_group_spectra(spectra, freqs, show=False)
    for name, line in zip(spectra, fig.axes[0].lines, strict=True):
        expected = np.mean(10 * np.log10(spectra[name] * 1e30), axis=0)
        np.testing.assert_allclose(line.get_ydata(), expected)
    with pytest.raises(ValueError, match="positive spectra of shape"):
        plot_group_spectra({"a": spectra["a"][:, 1:]}, freqs, show=False)


def test_group_differences(rng):
    """Rows are the features of the table; those that are significant are filled."""
    features = rng.standard_normal((30, 4))
    features[:15, 2] += 5.0
    table = group_differences(features, ["x"] * 15 + ["a"] * 15, names=list("pqrs"))
    fig = plot_group_differences(table, 3, show=False)
    (ax,) = fig.axes
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == list(table.index[:3]) and names[0] == "r"
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([dot.get_xdata()[0] for dot in dots], table["g"][:3])
    filled = [dot.get_markerfacecolor() != "white" for dot in dots]
    assert filled == (table["p_corrected"][:3] <= 0.05).tolist()
    assert "higher in x" in ax.get_xlabel()
    with pytest.raises(ValueError, match="an effect size, got none"):
        plot_group_differences(table.assign(g=np.nan), show=False)


def test_people():
    """Each person is a dot at the probability."""
    people = pd.DataFrame(
        {
            "label": list("abba"),
            "probability": [0.2, 0.7, 0.4, 0.1],
            "lowest": [0.1, 0.6, 0.3, 0.0],
            "highest": [0.3, 0.8, 0.6, 0.2],
        }
    )
    (ax,) = plot_people(people, positive="b", show=False).axes
    dots = [line.get_xdata() for line in ax.lines if line.get_linestyle() == "None"]
    np.testing.assert_allclose(dots, [[0.1, 0.2], [0.4, 0.7]])


def test_scores(comparison):
    """Means of all pipelines, beside chance."""
    (ax,) = plot_scores(comparison, show=False).axes
    dots = [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "D"]
    expected = comparison.values("roc_auc").mean()
    np.testing.assert_allclose(dots, expected)
    assert ax.get_xlabel().startswith("ROC AUC")
    with pytest.raises(ValueError, match="Expected a metric"):
        plot_scores(comparison, "r2", show=False)


def test_scores_of_random_weights(comparison):
    """The mean of all draws stands beside the model, as in the words."""
    drawn = pd.DataFrame(
        {
            "seed": [1, 1, 2, 2, 1],
            "metric": ["roc_auc"] * 4 + ["brier"],
            "value": [0.5, 0.7, 0.6, 0.8, 9.0],
        }
    )
    found = dataclasses.replace(comparison, random_weights=drawn)
    (ax,) = plot_scores(found, "roc_auc", show=False).axes
    n = len(comparison.summary("roc_auc"))
    row = [line for line in ax.lines if np.all(np.array(line.get_ydata()) == n)]
    dots, mean = (line.get_xdata() for line in row)
    np.testing.assert_allclose(dots, [0.6, 0.7])
    np.testing.assert_allclose(mean, 0.65)
    assert ax.get_yticklabels()[-1].get_text() == "random weights, 2 draws"


def test_decision_curve(comparison):
    """Lines are the columns of the table."""
    curve = comparison.decision_curve("poor")
    (ax,) = plot_decision_curve(curve, show=False).axes
    for line, name in zip(ax.lines, ("model", "all", "none"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), curve[name])
