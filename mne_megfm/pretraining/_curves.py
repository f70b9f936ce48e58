"""Losses as a table, a figure, and in TensorBoard."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from mne.utils import logger

from ._files import write_whole
from ._history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_curves(history: History, losses: Axes, shares: Axes) -> None:
    """Draw losses, and explained shares, against epochs."""
    losses.plot(history.epoch, history.train_loss, label="training")
    losses.plot(history.epoch, history.valid_loss, label="held-out participants")
    losses.axvline(history.best_epoch, color="0.7", lw=1, zorder=0)
    losses.set(xlabel="epoch", ylabel="loss")
    losses.legend(frameon=False)
    for name, values in history.r2.items():
        shares.plot(history.epoch, values, label=name)
    shares.set(xlabel="epoch", ylabel="R² of hidden signal, held out")
    if history.r2:
        shares.legend(frameon=False)


def write_curves(history: History, directory: Path) -> None:
    """Write ``history.csv`` and ``curves.png``."""
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    history.to_csv(directory / "history.csv")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    draw_curves(history, *figure.subplots(1, 2))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    write_whole(directory / "curves.png", out.getvalue())


def write_tensorboard(history: History, directory: Path) -> None:
    """Write the last epoch as TensorBoard events, where TensorBoard is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.debug("No TensorBoard: losses are in history.csv and curves.png alone.")
        return
    with SummaryWriter(directory) as writer:
        for name, values in history.columns.items():
            if name != "epoch":
                writer.add_scalar(name, values[-1], history.epoch[-1])
