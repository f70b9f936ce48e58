"""Maps of attention and of attribution, on the head and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from mne.transforms import Transform, apply_trans, invert_transform
from mne.utils import _validate_type
from numpy.typing import NDArray

from ..sensors import canonical_array
from ..sensors.geometry import read_geometry
from ._style import COLORS, PALE, bare, finish, open_axes

if TYPE_CHECKING:
    import pandas as pd

    from ..interpret import (
        AttentionTest,
        Attribution,
        Importance,
        NullDistribution,
        Occlusion,
    )

# -- attention -------------------------------------------------------------------------
# purple (less than even) to orange (more), distinct in all colour vision
ATTENTION_PALETTE = "PuOr_r"
MARK = {
    "marker": "*",
    "markersize": 13,
    "markerfacecolor": COLORS[2],
    "markeredgecolor": "black",
    "linewidth": 0,
}


def plot_attention(
    attention: AttentionTest | mne.Evoked | Mapping[str, AttentionTest | mne.Evoked],
    times: Sequence[float] | None = None,
    *,
    sources: Mapping[str, Any] | None = None,
    vmax: float | None = None,
    axes: Axes | Sequence[Axes] | NDArray | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot where attention lies, as topographies over time.

    Parameters
    ----------
    attention : AttentionTest | Evoked | dict of str to these
        From :func:`~mne_megfm.interpret.attention_test`; a row of topographies for
        each. Plain maps of :func:`~mne_megfm.interpret.attention` were not tested, and
        are grey.
    times : sequence of float | None
        Times to show (s), the same in each row; by default up to 6 of those of the
        maps, from the last before 0 s on, and all at which something stands out. Each
        map stands for 100 ms around its time.
    sources : dict of str to ndarray, shape (3,) | None
        Positions in head coordinates (m), for all rows; or a dict of such dicts, by
        row. A star marks the sensor nearest to each.
    vmax : float | None
        Attention where the colours end, on a scale of ratios that begins at
        ``1 / vmax``; by default no value is beyond.
    axes : Axes | sequence of Axes | None
        One for each topography, row after row. A new figure by default.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        The figure. White is even attention, orange more, purple less; what is within
        the band of surrogates is grey.

    Raises
    ------
    ValueError
        If the number of axes is not that of topographies, a time is not there, or
        attention is not positive.

    Examples
    --------
    See ``examples/plot_attention.py``.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    from ..interpret import AttentionTest

    _validate_type(attention, (mne.Evoked, AttentionTest, Mapping), "attention")
    given = attention if isinstance(attention, Mapping) else {"": attention}
    tests = {k: v for k, v in given.items() if isinstance(v, AttentionTest)}
    rows = {k: v.evoked if k in tests else v for k, v in given.items()}
    times = _times(rows, times, tests)
    values = np.concatenate([row.data[:, _at(row, times)] for row in rows.values()])
    if not values.min() > 0:
        raise ValueError(
            f"Expected attention above 0, got {values.min():.3g}; pass maps as they "
            "come, without a baseline correction."
        )
    most = max(values.max(), 1 / values.min(), 1.1) if vmax is None else vmax
    norm = LogNorm(1 / most, most)
    fig, flat = open_axes(
        axes,
        len(rows) * len(times),
        figsize=(1.7 * len(times) + 1.4, 2.3 * len(rows) + (0.9 if title else 0.6)),
        nrows=len(rows),
        ncols=len(times),
    )
    grid = np.array(flat).reshape(len(rows), len(times))
    for (name, evoked), line in zip(rows.items(), grid, strict=True):
        own = sources.get(name, sources) if sources else {}
        _plot_row(evoked, times, line, norm, own)
        note = _grey_within(tests.get(name), evoked, times, line)
        # of no size to the layout, which would widen the first topography
        line[0].annotate(
            note, (0.0, -0.12), xycoords="axes fraction", va="top", fontsize="small"
        ).set_in_layout(False)
        line[0].text(
            -0.12, 0.5, name, rotation=90, ha="right", va="center",
            transform=line[0].transAxes,
        )  # fmt: skip
    image = ScalarMappable(norm, ATTENTION_PALETTE)
    bar = fig.colorbar(image, ax=flat, shrink=0.8, aspect=25)
    bar.set_label("Attention (1: even)")
    step = 2 ** max(1, int(np.log2(most)))
    bar.set_ticks([1 / step, 1, step], labels=[f"1/{step}", "1", str(step)])
    bar.minorticks_off()
    return finish(fig, show, title)


def _grey_within(
    test: AttentionTest | None,
    evoked: mne.Evoked,
    times: NDArray[np.float64],
    axes: NDArray,
) -> str:
    """Take the colours from what is within chance; say in a line what stands out."""
    import matplotlib.pyplot as plt

    for column, ax in zip(_at(evoked, times), axes, strict=True):
        image = ax.images[0]
        rgba = image.to_rgba(image.get_array())
        inside = np.ones(rgba.shape[:2], bool)
        # between sensors the topography may exceed what all of them have
        if test is not None and test.null.significant[:, column].any():
            size = test.null.size[:, column] / test.null.threshold
            hidden, own = plt.subplots()
            other, _ = mne.viz.plot_topomap(
                size, evoked.info, axes=own, sensors=False, contours=0, show=False,
                sphere=_sphere(evoked), extrapolate="local",
            )  # fmt: skip
            inside = np.ma.filled(np.ma.masked_invalid(other.get_array()), 0.0) < 1.0
            plt.close(hidden)
        grey = rgba[..., :3] @ [0.299, 0.587, 0.114]
        rgba[inside, :3] = grey[inside, None]
        image.set_data(rgba)
    if test is None:
        return "Not tested against chance"
    null = test.null
    of = f"p < {null.alpha:g}, {null.family}, n = {test.n}"
    if null.significant.any():
        return f"Stands out above chance ({of})"
    return f"Nothing stands out above chance ({of}; smallest p {null.p_value:.2g})"


def _times(
    rows: Mapping[str, mne.Evoked],
    times: Sequence[float] | None,
    tests: Mapping[str, AttentionTest],
) -> NDArray[np.float64]:
    """Settle the times to show."""
    first = next(iter(rows.values()))
    if times is None:
        before = np.flatnonzero(first.times < 0)
        start = before[-1] if len(before) else 0
        shown = set(range(start, min(start + 6, len(first.times))))
        for test in tests.values():  # what stands out is never left out
            shown |= set(np.flatnonzero(test.null.significant.any(0)).tolist())
        return first.times[sorted(shown)]
    return np.atleast_1d(np.asarray(times, float))


def _at(evoked: mne.Evoked, times: NDArray[np.float64]) -> NDArray[np.intp]:
    """Find the maps of times, each of which lasts as long as they are apart."""
    apart = np.abs(evoked.times[:, None] - times)
    late = times[apart.min(0) > 0.51 / evoked.info["sfreq"]]
    if len(late):
        raise ValueError(
            f"Expected times between {evoked.times[0]:g} and {evoked.times[-1]:g} s, "
            f"got {late[0]:g}; choose times of the maps."
        )
    return apart.argmin(0)


def _plot_row(
    evoked: mne.Evoked,
    times: NDArray[np.float64],
    axes: NDArray,
    norm: Any,
    sources: Mapping[str, Any],
) -> None:
    """Plot the topographies of one map."""
    found = evoked.times[_at(evoked, times)]
    mask = np.zeros(evoked.data.shape, bool)
    origin = canonical_array().origin
    pos = read_geometry(evoked.info).pos - origin
    pos /= np.linalg.norm(pos, axis=1, keepdims=True)
    for source in sources.values():
        mask[(pos @ (np.asarray(source, float) - origin)).argmax()] = True
    evoked.plot_topomap(
        found, axes=list(axes), colorbar=False, show=False, scalings=1.0, units="",
        cmap=ATTENTION_PALETTE, cnorm=norm, sensors=False, contours=0, time_format="",
        mask=mask, mask_params=MARK, sphere=_sphere(evoked), extrapolate="local",
    )  # fmt: skip
    half = 500 / evoked.info["sfreq"]
    for ax, time in zip(axes, 1e3 * found, strict=True):
        ax.set_title(f"{time - half:.0f} to {time + half:.0f} ms", fontsize="medium")


def _sphere(evoked: mne.Evoked) -> NDArray[np.float64]:
    """Put the circle of the head where the sensors are, instead of far inside."""
    origin = canonical_array().origin
    distance = np.linalg.norm(read_geometry(evoked.info).pos - origin, axis=1)
    to_head = evoked.info["dev_head_t"] or Transform("meg", "head")
    centre = apply_trans(invert_transform(to_head), origin)
    return np.append(centre, distance.mean())


def plot_experts(
    experts: Mapping[str, mne.Evoked],
    reliability: pd.DataFrame | None = None,
    *,
    axes: Axes | Sequence[Axes] | NDArray | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot which regions each expert of a pooling serves.

    Parameters
    ----------
    experts : dict of str to Evoked
        From ``mne_megfm.interpret.expert_weights``, averaged over time here.
    reliability : DataFrame | None
        From ``mne_megfm.interpret.expert_reliability``, of the same experts. Maps whose
        correlation over seeds is not above chance are grey; all are without it.
    axes : Axes | sequence of Axes | None
        One for each expert. A new figure by default.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        The figure. White is what an expert has that serves all alike, orange more,
        purple less; the title of each tells its share of all tokens.

    Raises
    ------
    ValueError
        If the number of axes is not that of experts, or one has no reliability.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import expert_weights
    >>> from mne_megfm.viz import plot_experts
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=4,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> transformer = MEGFMTransformer(pooling="rwmoe", random_state=0).fit(epochs)
    >>> fig = plot_experts(expert_weights(transformer, epochs), show=False)
    """
    from matplotlib.colors import LogNorm

    if reliability is not None and not set(experts) <= set(reliability.index):
        raise ValueError(
            f"Expected the reliability of {', '.join(experts)}, got that of "
            f"{', '.join(map(str, reliability.index))}; compute it for these experts."
        )
    maps = {name: evoked.data.mean(1) for name, evoked in experts.items()}
    values = np.concatenate(list(maps.values()))
    norm = LogNorm(1 / (most := max(values.max(), 1 / values.min(), 1.1)), most)
    n_columns = min(4, len(experts))
    n_rows = -(-len(experts) // n_columns)
    # a grid may have places to spare
    n_axes = len(experts) if axes is not None else n_rows * n_columns
    fig, flat = open_axes(
        axes,
        n_axes,
        figsize=(1.9 * n_columns + 1.2, 2.3 * n_rows + 0.4),
        nrows=n_rows,
        ncols=n_columns,
    )
    for ax in flat[len(experts) :]:
        ax.set_axis_off()
    for (name, evoked), ax in zip(experts.items(), flat, strict=False):
        image, _ = mne.viz.plot_topomap(
            maps[name], evoked.info, axes=ax, cmap=ATTENTION_PALETTE, cnorm=norm,
            sensors=False, contours=0, show=False, sphere=_sphere(evoked),
            extrapolate="local",
        )  # fmt: skip
        known = reliability is not None and (
            reliability.loc[name, "correlation"] > reliability.loc[name, "chance"]
        )
        if not known:
            rgba = image.to_rgba(image.get_array())
            rgba[..., :3] = (rgba[..., :3] @ [0.299, 0.587, 0.114])[..., None]
            image.set_data(rgba)
        note = ""
        if reliability is not None:
            note = f"\nr = {reliability.loc[name, 'correlation']:.2f} over seeds"
        ax.set_title(f"{name}: {evoked.comment}{note}", fontsize="small")
    bar = fig.colorbar(ScalarMappable(norm, ATTENTION_PALETTE), ax=flat, shrink=0.8)
    bar.set_label("Gate of the expert (1: even)")
    step = 2 ** max(1, int(np.log2(most)))
    bar.set_ticks([1 / step, 1, step], labels=[f"1/{step}", "1", str(step)])
    bar.minorticks_off()
    return finish(fig, show, title)


# -- attribution -----------------------------------------------------------------------
#: Blue to red over white, distinct in all colour vision.
PALETTE = "RdBu_r"
#: What a field is shown in: factor and unit, by channel type of MNE.
# characters in a line of a title: what fits on the narrowest of these figures
_WIDEST = 76
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
    lines = [title, *wrap(str(score), _WIDEST)]
    fig.suptitle("\n".join(filter(None, lines)), fontsize="medium")
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
