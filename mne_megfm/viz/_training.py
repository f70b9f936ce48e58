"""Losses of training."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..pretraining import History
from ..pretraining._curves import draw_curves
from ._style import bare, finish, open_axes


def plot_training(
    history: History,
    *,
    axes: Sequence[Axes] | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot losses and explained shares against the epochs of training.

    Parameters
    ----------
    history : History
        The ``history_`` of a :class:`~mne_megfm.MEGFMTransformer`, or of a run:
        ``History.from_csv("history.csv")``.
    axes : list of Axes | None
        Two axes to draw in. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        Losses, with a line at the epoch that was kept, and R² of hidden signal.

    Raises
    ------
    ValueError
        If there is no epoch in the history, or there are not two axes.

    Examples
    --------
    >>> from mne_megfm.pretraining import History
    >>> from mne_megfm.viz import plot_training
    >>> history = History([1, 2], [1.0, 0.8], [0.9, 0.7], [1e-3, 1e-4])
    >>> fig = plot_training(history, show=False)
    >>> fig.axes[0].get_xlabel()
    'epoch'
    """
    if not history.epoch:
        raise ValueError("Expected epochs in the history, got none; train first.")
    fig, axes = open_axes(axes, 2, figsize=(8, 3.2))
    draw_curves(history, *axes)
    for ax in axes:
        bare(ax)
    return finish(fig, show, title)
