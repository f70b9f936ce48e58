"""Attribution over time and on the head, and what groups are worth."""

from __future__ import annotations

from collections.abc import Sequence

import mne
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mne.utils import _validate_type
from numpy.typing import NDArray

from ._style import COLORS, bare, finish, open_axes

#: Blue to red over white, told apart by all colour vision.
PALETTE = "RdBu_r"
#: What a field is shown in: factor and unit, by channel type of MNE.
_UNITS = {"mag": (1e15, "fT"), "grad": (1e13, "fT/cm")}
_APART = 0.1


def plot_attribution(
    attribution: mne.Evoked,
    times: Sequence[float] | None = None,
    *,
    n_times: int = 3,
    axes: Sequence[Axes] | NDArray | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot when and where decisions come from.

    Parameters
    ----------
    attribution : Evoked
        A map of :func:`~mne_megfm.interpret.attribute`. Of several kinds of channels,
        magnetometers are shown; pick others before.
    times : sequence of float | None
        Times of the topographies (s); by default the strongest ones that are at least
        100 ms apart.
    n_times : int
        How many, where ``times`` is None.
    axes : sequence of Axes | None
        One for the time course and one for each topography. A new figure by default.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        The root mean square over sensors, and topographies on one scale.

    Raises
    ------
    ValueError
        If the number of axes does not fit, or a time is not there.

    Examples
    --------
    See ``examples/plot_attribution.py``.
    """
    _validate_type(attribution, mne.Evoked, "attribution")
    kinds = attribution.get_channel_types(unique=True)
    kind = "mag" if "mag" in kinds else kinds[0]
    shown = attribution.copy().pick(kind)
    factor, unit = 1.0, "units of the decision"
    if attribution.comment == "pattern":
        factor, unit = _UNITS[kind]
    data, found = factor * shown.data, shown.times
    course = np.sqrt(np.square(data).mean(0))
    times = _strongest(course, found, n_times) if times is None else list(times)
    outside = [t for t in times if not found[0] - 1e-9 <= t <= found[-1] + 1e-9]
    if outside:
        raise ValueError(
            f"Expected times from {found[0]:g} to {found[-1]:g} s, got {outside}; "
            "choose others."
        )
    n = len(times)
    if axes is None:
        import matplotlib.pyplot as plt

        fig = plt.figure(figsize=(2.4 * max(n, 2), 4.6), layout="constrained")
        grid = fig.add_gridspec(2, n, height_ratios=[1, 1.3])
        axes = [fig.add_subplot(grid[0, :])]
        axes += [fig.add_subplot(grid[1, i]) for i in range(n)]
    else:
        fig, axes = open_axes(axes, 1 + n, figsize=(0, 0))
    top, *heads = axes
    top.plot(found, course, color=COLORS[0])
    top.set(xlabel="Time (s)", ylabel=f"RMS over sensors ({unit})")
    top.set_xlim(found[0], found[-1])
    top.set_ylim(0, None)
    bare(top)
    at = [int(np.abs(found - time).argmin()) for time in times]
    limit = np.abs(data[:, at]).max() or 1.0
    for ax, index in zip(heads, at, strict=True):
        top.axvline(found[index], color=COLORS[7], lw=0.8, ls=":")
        image, _ = mne.viz.plot_topomap(
            data[:, index],
            shown.info,
            axes=ax,
            cmap=PALETTE,
            vlim=(-limit, limit),
            contours=4,
            sensors=False,
            show=False,
        )
        ax.set_title(f"{found[index] * 1e3:.0f} ms")
    bar = fig.colorbar(image, ax=heads, shrink=0.8)
    bar.set_label(unit)
    return finish(fig, show, title)


def _strongest(
    course: NDArray[np.float64], times: NDArray[np.float64], n_times: int
) -> list[float]:
    """Find the strongest times that are some way apart, in their order."""
    left, chosen = course.copy(), []
    while len(chosen) < n_times and np.isfinite(left).any():
        time = float(times[np.where(np.isfinite(left), left, -1).argmax()])
        chosen.append(time)
        left[np.abs(times - time) < _APART] = np.nan
    return sorted(chosen)


def plot_importance(
    importance: pd.DataFrame,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot what states or groups of features are worth.

    Parameters
    ----------
    importance : DataFrame
        What :func:`~mne_megfm.interpret.state_importance` returns.
    axes : Axes | None
        Where to draw. A new figure by default.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        A bar for the mean of each group, the largest on top, and a point a fold.

    Raises
    ------
    ValueError
        If the table has other columns.

    Examples
    --------
    See ``examples/plot_attribution.py``.
    """
    if not {"group", "importance"} <= set(importance.columns):
        raise ValueError(
            "Expected the columns 'group' and 'importance', got "
            f"{list(importance.columns)}; pass what state_importance returns."
        )
    means = importance.groupby("group")["importance"].mean().sort_values()
    fig, (ax,) = open_axes(axes, 1, figsize=(6, 1.2 + 0.5 * len(means)))
    ax.barh(np.arange(len(means)), means, height=0.6, color=COLORS[5])
    for place, name in enumerate(means.index):
        values = importance.loc[importance["group"] == name, "importance"]
        # folds beside each other, so that equal ones can be counted
        spread = place + np.linspace(-0.2, 0.2, len(values))
        ax.plot(values, spread, "o", ms=3, color=COLORS[0], alpha=0.6)
    ax.axvline(0, color=COLORS[6], lw=0.8)
    ax.set_yticks(np.arange(len(means)), means.index)
    ax.set_xlabel("Importance")
    bare(ax)
    # bars from the largest on
    ax.set_ylim(-0.6, len(means) - 0.4)
    return finish(fig, show, title)
