"""Tests of the figures of attribution and of importance."""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pandas as pd
import pytest

from mne_megfm.interpret import HeldOutScore, Importance, null_distributions
from mne_megfm.simulation import make_array_info
from mne_megfm.viz import plot_attribution, plot_importance


@pytest.fixture
def pattern():
    """Return a map with a peak at 0.1 s."""
    info = make_array_info("opm64", 100.0, random_state=0)
    wave = np.exp(-0.5 * ((np.arange(50) / 100 - 0.3) / 0.03) ** 2)
    field = np.random.default_rng(0).standard_normal((64, 1))
    return mne.EvokedArray(1e-13 * field * wave, info, -0.2, "pattern", nave=20)


def test_plain_map(pattern):
    """A map without a test has no peaks of its own, and is grey."""
    fig = plot_attribution(pattern, show=False)
    assert len(fig.axes) == 1
    assert fig.axes[0].get_title(loc="left") == "Not tested against chance"
    fig = plot_attribution(pattern, [0.1], show=False)
    colors = fig.axes[1].images[0].get_array()[..., :3]
    assert np.ptp(colors, axis=-1).max() < 1e-6


def test_attribution(pattern):
    """The time course is that of the map."""
    fig = plot_attribution(pattern, [0.0, 0.1], title="Here", show=False)
    fig.canvas.draw()
    course = fig.axes[0]
    assert course.get_xlabel() == "Time from the event (s)"
    assert course.get_ylabel() == "RMS over sensors\n(fT)"
    line = course.lines[0]
    np.testing.assert_allclose(line.get_xdata(), pattern.times)
    expected = 1e15 * np.sqrt(np.square(pattern.data).mean(0))
    np.testing.assert_allclose(line.get_ydata(), expected)
    titles = [ax.get_title() for ax in fig.axes[1:3]]
    assert "0.100 s" in titles
    assert fig.get_suptitle() == "Here"


def test_attribution_in_axes(pattern):
    """Figures go where they are asked to; other methods have no unit of field."""
    fig, axes = plt.subplots(1, 3)
    pattern.comment = "smoothgrad"
    same = plot_attribution(pattern, [0.0, 0.1], axes=axes, show=False)
    assert same is fig
    assert axes[0].get_ylabel() == "RMS over sensors\n(units of the decision)"
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
    maps = np.random.default_rng(0).standard_normal((40, 2))
    maps[0] = [0.0, 40.0]  # in the order of the table: rest, auditory
    null = null_distributions({"": maps}, "max over 2 states", 0.05)[""]
    score = HeldOutScore("roc_auc", 0.8, 0.1, 2, 20, "participants", 0.5, 0.01)
    found = Importance(table, null, score)
    fig = plot_importance(found, show=False)
    (ax,) = fig.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["rest", "auditory"]
    assert ax.get_xlabel() == "Importance"
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == pytest.approx([0.05, 0.3])
    _, other = plt.subplots()
    assert plot_importance(found, axes=other, show=False) is other.figure
    colors = [bar.get_facecolor()[:3] for bar in ax.patches]
    assert np.ptp(colors[0]) == 0 and np.ptp(colors[1]) > 0.1
    assert str(score) == " ".join(fig.get_suptitle().split())
    with pytest.raises(TypeError, match="importance must be"):
        plot_importance(table, show=False)
