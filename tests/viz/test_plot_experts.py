"""Figures of experts: what is shown, in which colours."""

import mne
import numpy as np
import pandas as pd
import pytest

from mne_megfm.simulation import make_array_info
from mne_megfm.viz import plot_experts


@pytest.fixture
def experts():
    """Five experts, each with a share that goes from 0.5 to 2 over sensors."""
    info = make_array_info("opm64", sfreq=10.0)
    data = np.geomspace(0.5, 2.0, 64)[:, None] * np.ones((1, 4))
    return {
        f"expert{e:02d}": mne.EvokedArray(data, info, comment="20 % of tokens")
        for e in range(5)
    }


def _coloured(ax):
    rgba = ax.images[0].to_rgba(ax.images[0].get_array())[..., :3]
    return bool((np.ptp(rgba, axis=-1) > 0.05).any())


def test_reliable_experts_are_in_colour(experts):
    """What is not above chance over seeds is grey, and all of it without a test."""
    table = pd.DataFrame(
        {"correlation": [0.9, 0.2, 0.8, 0.1, 0.7], "chance": 0.5}, index=list(experts)
    )
    fig = plot_experts(experts, table, title="Experts", show=False)
    shown = [ax for ax in fig.axes if ax.images]
    assert [_coloured(ax) for ax in shown] == [True, False, True, False, True]
    assert shown[0].get_title() == "expert00: 20 % of tokens\nr = 0.90 over seeds"
    assert fig.get_suptitle() == "Experts"
    fig = plot_experts(experts, show=False)
    assert not any(_coloured(ax) for ax in fig.axes if ax.images)


def test_axes_and_refusals(experts):
    import matplotlib.pyplot as plt

    own, axes = plt.subplots(1, 5)
    assert plot_experts(experts, axes=axes, show=False) is own
    with pytest.raises(ValueError, match="axes as 5 matplotlib Axes, got 2"):
        plot_experts(experts, axes=axes[:2], show=False)
    table = pd.DataFrame({"correlation": [0.9], "chance": [0.5]}, index=["expert00"])
    with pytest.raises(ValueError, match="reliability of expert00, expert01"):
        plot_experts(experts, table, show=False)
