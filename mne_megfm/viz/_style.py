"""What the figures share: colours, and where they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito (2008), distinct in all colour vision; their yellow is too light for
# lines on white
COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#7F7F7F",
)
MARKERS = "osD^vPX*<"
PALE = "#E8E8E8"


def look(number: int) -> dict[str, Any]:
    """Give the colour and marker of the n-th thing in a figure."""
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def open_axes(
    axes: Axes | Sequence[Axes] | None,
    n: int,
    *,
    figsize: tuple[float, float],
    **kwargs: Any,
) -> tuple[Figure, list[Axes]]:
    """Take the axes given, or make a figure with as many as are needed.

    Parameters
    ----------
    axes : Axes | list of Axes | None
        Where to draw; None makes a figure.
    n : int
        Axes that are needed.
    figsize : tuple of float
        Width and height of a new figure in inches.
    **kwargs : object
        Arguments of :func:`matplotlib.pyplot.subplots` for a new figure, where all
        axes are in one row unless it says otherwise.

    Returns
    -------
    fig : Figure
        The figure they belong to.
    axes : list of Axes
        The axes.

    Raises
    ------
    ValueError
        If there are too few or too many.
    """
    if axes is None:
        import matplotlib.pyplot as plt

        kwargs = {"nrows": 1, "ncols": n, "squeeze": False} | kwargs
        fig, made = plt.subplots(figsize=figsize, layout="constrained", **kwargs)
        return fig, list(made.ravel())
    given = [axes] if isinstance(axes, Axes) else list(np.ravel(axes))
    if len(given) != n or not all(isinstance(ax, Axes) for ax in given):
        raise ValueError(
            f"Expected axes as {n} matplotlib Axes, got {len(given)} of "
            f"{sorted({type(ax).__name__ for ax in given})}; pass axes=None for a new "
            "figure."
        )
    return given[0].get_figure(root=True), given


def finish(fig: Figure, show: bool, title: str | None = None) -> Figure:
    """Set the title, show the figure if that is asked for, and give it back."""
    if title:
        fig.suptitle(title)
    if show:
        import matplotlib.pyplot as plt

        plt.show()
    return fig


def bare(ax: Axes) -> None:
    """Take away the upper and the right edge."""
    ax.spines[["top", "right"]].set_visible(False)
