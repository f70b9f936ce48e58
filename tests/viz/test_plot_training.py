"""Training curves against the history that they show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mne_megfm.pretraining import History
from mne_megfm.viz import plot_training


@pytest.fixture
def history():
    """Return three epochs, the second of which was best."""
    return History(
        epoch=[1, 2, 3],
        train_loss=[1.0, 0.8, 0.7],
        valid_loss=[0.9, 0.75, 0.8],
        lr=[1e-3, 5e-4, 1e-4],
        r2={"rest": [0.1, 0.2, 0.3], "all": [0.0, 0.2, 0.25]},
    )


def test_curves_are_the_history(history):
    losses, shares = plot_training(history, title="A run", show=False).axes
    lines = {line.get_label(): line for line in losses.get_lines()}
    np.testing.assert_array_equal(lines["training"].get_ydata(), history.train_loss)
    held_out = lines["held-out participants"]
    np.testing.assert_array_equal(held_out.get_ydata(), history.valid_loss)
    best = [x for x in losses.get_lines() if x.get_color() == "0.7"]
    assert [set(x.get_xdata()) for x in best] == [{2}]
    assert {x.get_label(): list(x.get_ydata()) for x in shares.lines} == history.r2


def test_axes_and_misuse(history):
    own, axes = plt.subplots(2, 1)
    assert plot_training(history, axes=axes, show=False) is own
    with pytest.raises(ValueError, match="axes as 2"):
        plot_training(history, axes=axes[:1], show=False)
    with pytest.raises(ValueError, match="got none; train first"):
        plot_training(History(), show=False)


def test_history_is_read_back(history, tmp_path):
    path = tmp_path / "history.csv"
    history.to_csv(path)
    assert History.from_csv(path) == history
    path.write_text("epoch,loss\n1,2.0\n")
    with pytest.raises(ValueError, match="columns epoch, train_loss.*got epoch, loss"):
        History.from_csv(path)
