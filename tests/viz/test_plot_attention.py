"""Tests of the figure of attention."""

import matplotlib.pyplot as plt
import mne
import numpy as np
import pytest

from mne_megfm.sensors import canonical_array
from mne_megfm.viz import plot_attention

SOURCE = {"lh": (-0.05, 0.01, 0.06)}


@pytest.fixture(scope="module")
def attention():
    """Return positive maps at ten times."""
    data = np.exp(np.random.default_rng(0).standard_normal((192, 10)))
    info = canonical_array().info(10.0)
    return mne.EvokedArray(data, info, tmin=-0.2, verbose="error")


def test_rows_and_times(attention):
    """There is a topography for each row and time, and a bar around even attention."""
    rows = {"auditory": attention, "somatosensory": attention}
    fig = plot_attention(rows, sources=SOURCE, title="Simulated", show=False)
    *maps, bar = fig.axes
    assert len(maps) == 2 * 6
    assert maps[0].get_title() == "-150 to -50 ms"
    low, high = bar.get_ylim()
    assert low * high == pytest.approx(1.0)
    assert high == pytest.approx(
        max(attention.data.max(), 1 / attention.data.min()), rel=0.5
    )
    # the star stands on the sensor next to the source
    stars = [line for line in maps[0].lines if line.get_marker() == "*"]
    assert len(stars) == 1
    assert stars[0].get_xdata()[0] < 0


def test_axes_and_times_of_the_caller(attention):
    """Axes are taken, as many as there are times."""
    fig, axes = plt.subplots(1, 2)
    got = plot_attention(attention, [0.0, 0.1], axes=axes, vmax=4, show=False)
    assert got is fig
    assert axes[1].get_title() == "50 to 150 ms"
    with pytest.raises(ValueError, match="axes as 3"):
        plot_attention(attention, [0.0, 0.1, 0.2], axes=axes, show=False)


def test_wrong_input(attention):
    """Times without a map and maps without a ratio are refused."""
    with pytest.raises(ValueError, match="times between -0.2 and 0.7 s, got 2"):
        plot_attention(attention, [0.0, 2.0], show=False)
    with pytest.raises(ValueError, match="attention above 0"):
        plot_attention(attention.copy().apply_baseline((None, 0)), show=False)
    with pytest.raises(TypeError, match="attention must be"):
        plot_attention([attention], show=False)
