"""Tests of the figures of attribution and of importance."""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import pytest

from mne_megfm.datasets import make_array_info
from mne_megfm.viz import plot_attribution, plot_importance


@pytest.fixture
def pattern():
    """Return a map with a peak at 0.1 s."""
    info = make_array_info("opm64", 100.0, random_state=0)
    wave = np.exp(-0.5 * ((np.arange(50) / 100 - 0.3) / 0.03) ** 2)
    field = np.random.default_rng(0).standard_normal((64, 1))
    return mne.EvokedArray(1e-13 * field * wave, info, -0.2, "pattern", nave=20)


def test_attribution(pattern):
    """The time course is that of the map, topographies are at the strongest times."""
    fig = plot_attribution(pattern, n_times=2, title="Here", show=False)
    fig.canvas.draw()
    course = fig.axes[0]
    assert course.get_xlabel() == "Time (s)"
    assert course.get_ylabel() == "RMS over sensors (fT)"
    line = course.lines[0]
    np.testing.assert_allclose(line.get_xdata(), pattern.times)
    expected = 1e15 * np.sqrt(np.square(pattern.data).mean(0))
    np.testing.assert_allclose(line.get_ydata(), expected)
    titles = [ax.get_title() for ax in fig.axes[1:3]]
    assert "100 ms" in titles
    assert fig.get_suptitle() == "Here"


def test_attribution_in_axes(pattern):
    """Figures go where they are asked to; other methods have no unit of field."""
    fig, axes = plt.subplots(1, 3)
    pattern.comment = "smoothgrad"
    same = plot_attribution(pattern, [0.0, 0.1], axes=axes, show=False)
    assert same is fig
    assert axes[0].get_ylabel() == "RMS over sensors (units of the decision)"
    with pytest.raises(ValueError, match="Expected axes as 3"):
        plot_attribution(pattern, [0.0, 0.1], axes=axes[:2], show=False)
    with pytest.raises(ValueError, match="Expected times from"):
        plot_attribution(pattern, [3.0], show=False)


def test_importance():
    """Groups are sorted, with all folds as points and the mean as a bar."""
    table = pd.DataFrame(
        {
            "fold": [0, 0, 1, 1],
            "group": ["rest", "auditory"] * 2,
            "importance": [0.0, 0.2, 0.1, 0.4],
            "score": 0.8,
            "base": 0.5,
        }
    )
    fig = plot_importance(table, show=False)
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["rest", "auditory"]
    assert ax.get_xlabel() == "Importance"
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == pytest.approx([0.05, 0.3])
    _, other = plt.subplots()
    assert plot_importance(table, axes=other, show=False) is other.figure
    with pytest.raises(ValueError, match="Expected the columns"):
        plot_importance(table.drop(columns="group"), show=False)
