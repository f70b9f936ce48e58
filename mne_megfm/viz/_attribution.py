"""Attribution over time and on the head, and what groups are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mne.utils import _validate_type
from numpy.typing import NDArray

from ._style import COLORS, PALE, bare, finish, open_axes

if TYPE_CHECKING:
    from ..interpret import Attribution, Importance, NullDistribution, Occlusion


#: Blue to red over white, distinct in all colour vision.
PALETTE = "RdBu_r"
#: What a field is shown in: factor and unit, by channel type of MNE.
_UNITS = {"mag": (1e15, "fT"), "grad": (1e13, "fT/cm")}


def plot_attribution(
    attribution: Attribution | mne.Evoked,
    times: Sequence[float] | None = None,
    *,
    state: str | None = None,
    n_times: int = 3,
    axes: Sequence[Axes] | NDArray | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot when and where decisions come from; what is within chance is grey.

    Parameters
    ----------
    attribution : Attribution | Evoked
        What :func:`~mne_megfm.interpret.attribute` returns. A plain map of
        ``mne_megfm.interpret.decision_map`` was not tested, and is grey. Of
        several kinds of channels, that of the largest ``z`` is shown (of a plain map,
        magnetometers).
    times : sequence of float | None
        Times of the topographies (s); by default the strongest peaks above the
        threshold, and none where nothing stands out.
    state : str | None
        Which of several maps; None takes that of the largest ``z``.
    n_times : int
        How many topographies at most, where ``times`` is None.
    axes : sequence of Axes | None
        One for the time course and one for each topography. A new figure by default.
    title : str | None
        Title of the figure, above the held-out score.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        The root mean square over sensors with its pointwise band by chance, coloured at
        times when a sensor exceeds the family-wise threshold, and topographies on one
        scale, coloured where they exceed it.

    Raises
    ------
    ValueError
        If the number of axes does not fit, or a time or state is not there.

    Examples
    --------
    See ``examples/plot_attribution.py``.
    """
    from ..interpret import Attribution

    _validate_type(attribution, (mne.Evoked, Attribution), "attribution")
    tested = isinstance(attribution, Attribution)
    if tested:
        state = _state_of(attribution, state)
        evoked, null = attribution.maps[state], attribution.null[state]
    else:
        evoked, null = attribution, None
    types = np.array(evoked.get_channel_types())
    kind = "mag" if "mag" in types else types[0]
    if tested:
        kind = types[int(np.abs(null.z).max(1).argmax())]
    picks = np.flatnonzero(types == kind)
    shown = evoked.copy().pick(picks)
    factor, unit = 1.0, "SD of the decision" if tested else "units of the decision"
    if evoked.comment == "pattern":
        factor, unit = _UNITS[kind]
    data, found = factor * shown.data, shown.times
    course = np.sqrt(np.square(data).mean(0))
    significant = np.zeros(data.shape, bool)
    if tested:
        significant = null.significant[picks]
    if times is None:
        times = _peak_times(attribution, state, n_times) if tested else []
    times = list(times)
    outside = [t for t in times if not found[0] - 1e-9 <= t <= found[-1] + 1e-9]
    if outside:
        raise ValueError(
            f"Expected times from {found[0]:g} to {found[-1]:g} s, got {outside}; "
            "choose others."
        )
    n = len(times)
    if axes is None:
        import matplotlib.pyplot as plt

        height = 4.9 if n else 3.2
        fig = plt.figure(figsize=(max(2.4 * n, 6.4), height), layout="constrained")
        grid = fig.add_gridspec(
            2 if n else 1, max(n, 1), height_ratios=[1, 1.3] if n else None
        )
        axes = [fig.add_subplot(grid[0, :])]
        axes += [fig.add_subplot(grid[1, i]) for i in range(n)]
    else:
        fig, axes = open_axes(axes, 1 + n, figsize=(0, 0))
    top, *heads = axes
    above = significant.any(0)
    if tested:
        rms = np.sqrt(np.square(factor * null.null[:, picks]).mean(1))
        low, high = np.quantile(rms, [null.alpha / 2, 1 - null.alpha / 2], axis=0)
        top.fill_between(
            found, low, high, color=PALE, lw=0, label="by chance, each time"
        )
    top.plot(found, course, color=COLORS[7], lw=1.2)
    if above.any():
        top.plot(
            found, np.where(above, course, np.nan), color=COLORS[1], lw=2.2,
            marker=".", ms=4, label=f"a sensor above chance (p < {null.alpha:g})",
        )  # fmt: skip
    if tested:
        top.legend(frameon=False, fontsize="small", loc="upper right")
    if found[0] < 0 < found[-1]:
        top.axvline(0, color=COLORS[7], lw=0.8)
    top.set(xlabel="Time from the event (s)", ylabel=f"RMS over sensors\n({unit})")
    top.set_xlim(found[0], found[-1])
    top.set_ylim(0, None)
    bare(top)
    at = [int(np.abs(found - time).argmin()) for time in times]
    limit = np.abs(data[:, at]).max(initial=0.0) or 1.0
    for ax, index in zip(heads, at, strict=True):
        top.axvline(found[index], color=COLORS[7], lw=0.8, ls=":")
        size = np.zeros(len(picks))
        # between sensors the topography may exceed what all of them have
        if significant[:, index].any():
            size = np.abs(null.z[picks, index]) / null.threshold
        _topography(data[:, index], size, shown.info, ax, limit)
        ax.set_title(f"{found[index]:.3f} s")
    if heads:
        image = ScalarMappable(Normalize(-limit, limit), PALETTE)
        bar = fig.colorbar(image, ax=heads, shrink=0.8)
        of = f"; positive: for {attribution.direction}" if tested else ""
        bar.set_label(f"{unit}{of}")
    note = _said(null, above) if tested else "Not tested against chance"
    top.set_title(note, fontsize="small", loc="left")
    if tested:
        return _finish_tested(fig, title, attribution.score, show)
    return finish(fig, show, title)


def _state_of(attribution: Attribution, state: str | None) -> str:
    if state is None:
        sizes = {s: np.abs(null.z).max() for s, null in attribution.null.items()}
        return max(sizes, key=sizes.get)
    if state not in attribution.maps:
        raise ValueError(
            f"Expected state as one of {list(attribution.maps)}, got {state!r}; choose "
            "one of these."
        )
    return state


def _said(null: NullDistribution, above: NDArray[np.bool_]) -> str:
    """Say in a line whether something stands out."""
    of = f"p < {null.alpha:g}, {null.family}"
    if above.any():
        return f"Stands out above chance\n({of})"
    return f"Nothing stands out above chance\n({of}; smallest p {null.p_value:.2g})"


def _peak_times(attribution: Attribution, state: str, n_times: int) -> list[float]:
    peaks = attribution.peaks
    peaks = peaks[peaks["state"] == state]
    strongest = peaks.loc[peaks["z"].abs().sort_values(ascending=False).index]
    return sorted(strongest["time"].head(n_times))


def _topography(
    values: NDArray[np.float64],
    size: NDArray[np.float64],
    info: mne.Info,
    ax: Axes,
    limit: float,
) -> None:
    """Draw a topography, in colours where ``size`` is 1 or more."""
    given = {"axes": ax, "sensors": False, "show": False, "contours": 0}
    other, _ = mne.viz.plot_topomap(size, info, vlim=(0, 1), **given)
    inside = np.ma.filled(np.ma.masked_invalid(other.get_array()), 0.0) < 1.0
    ax.clear()
    image, _ = mne.viz.plot_topomap(
        values, info, cmap=PALETTE, vlim=(-limit, limit), **given
    )
    rgba = image.to_rgba(image.get_array())
    # as light as the colours, but without them
    grey = rgba[..., :3] @ [0.299, 0.587, 0.114]
    rgba[inside, :3] = grey[inside, None]
    image.set_data(rgba)


def plot_occlusion(
    occlusion: Occlusion,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot what decisions lose without each part; what is within chance is grey.

    Parameters
    ----------
    occlusion : Occlusion
        What :func:`~mne_megfm.interpret.occlude` returns.
    axes : Axes | None
        Where to draw. A new figure by default.
    title : str | None
        Title of the figure, above the held-out score.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        A bar for each part, and the family-wise band of chance.

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    See ``examples/plot_attribution.py``.
    """
    from ..interpret import Occlusion

    _validate_type(occlusion, Occlusion, "occlusion")
    summary = occlusion.summary
    fig, (ax,) = open_axes(axes, 1, figsize=(6.4, 3.6))
    places = np.arange(len(summary))
    colors = np.where(occlusion.null.significant, COLORS[1], COLORS[7])
    ax.bar(places, summary["lost"], width=0.8, color=colors)
    steps = np.r_[places - 0.5, len(summary) - 0.5]
    for side in ("low", "high"):
        values = summary[side].to_numpy()
        label = "chance, over all parts" if side == "high" else None
        ax.stairs(values, steps, baseline=None, color="black", ls=":", label=label)
    ax.axhline(0, color=COLORS[7], lw=0.8)
    names = [f"{x:.1f}" if isinstance(x, float) else str(x) for x in summary.index]
    ax.set_xticks(places, names, rotation=90 if len(names) > 12 else 0)
    labels = {"times": "Start of 100 ms, from the event (s)", "regions": "Region"}
    ax.set(
        xlabel=labels.get(occlusion.over, occlusion.over.capitalize()),
        ylabel="Evidence lost\n(SD of the decision)",
    )
    ax.legend(frameon=False, fontsize="small")
    ax.set_title(_said(occlusion.null, occlusion.null.significant), fontsize="small")
    bare(ax)
    return _finish_tested(fig, title, occlusion.score, show)


def _finish_tested(fig: Figure, title: str | None, score: Any, show: bool) -> Figure:
    """Put the held-out score below the title."""
    fig.suptitle("\n".join(filter(None, [title, str(score)])), fontsize="medium")
    return finish(fig, show)


def plot_importance(
    importance: Importance,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot what states or groups of features are worth; within chance is grey.

    Parameters
    ----------
    importance : Importance
        What :func:`~mne_megfm.interpret.state_importance` returns.
    axes : Axes | None
        Where to draw. A new figure by default.
    title : str | None
        Title of the figure, above the held-out score.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        A bar for the mean of each group, the largest on top, a point a fold, and the
        family-wise band of chance.

    Raises
    ------
    TypeError
        If it is something else.

    Examples
    --------
    See ``examples/plot_attribution.py``.
    """
    from ..interpret import Importance

    _validate_type(importance, Importance, "importance")
    table, summary = importance.table, importance.summary
    summary = summary.assign(out=importance.null.significant).sort_values("mean")
    means = summary["mean"]
    fig, (ax,) = open_axes(axes, 1, figsize=(6.4, 1.9 + 0.5 * len(means)))
    colors = np.where(summary["out"], COLORS[5], COLORS[7])
    places = np.arange(len(means))
    ax.barh(places, means, height=0.6, color=colors)
    for side in ("low", "high"):
        label = "chance, over all groups" if side == "high" else None
        ax.vlines(summary[side], places - 0.4, places + 0.4, "black", ":", label=label)
    for place, name in enumerate(means.index):
        values = table.loc[table["group"] == name, "importance"]
        # folds beside each other, so that equal ones can be counted
        spread = place + np.linspace(-0.2, 0.2, len(values))
        ax.plot(values, spread, "o", ms=3, color=COLORS[0], alpha=0.6)
    ax.axvline(0, color=COLORS[6], lw=0.8)
    ax.set_yticks(np.arange(len(means)), means.index)
    ax.set_xlabel("Importance")
    ax.legend(frameon=False, fontsize="small", loc="lower right")
    ax.set_title(_said(importance.null, summary["out"].to_numpy()), fontsize="small")
    bare(ax)
    # bars from the largest on
    ax.set_ylim(-0.6, len(means) - 0.4)
    return _finish_tested(fig, title, importance.score, show)
