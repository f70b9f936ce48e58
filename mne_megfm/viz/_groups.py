"""Figures of two or more groups beside each other, and of single people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import mne
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mne.utils import use_log_level
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.signal import find_peaks

from ..sensors import canonical_array
from ._style import COLORS, bare, finish, look, open_axes

if TYPE_CHECKING:
    from ..evaluation import Comparison

_FEMTO = 1e15
#: Fewer people a group say nothing about clusters.
_LEAST_TESTED = 5
_N_PERMUTATIONS = 999


def plot_group_averages(
    averages: Mapping[str, Sequence[mne.Evoked]],
    times: Sequence[float] | None = None,
    *,
    random_state: int = 0,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot averages of two groups of people, their topographies and the difference.

    Parameters
    ----------
    averages : dict of str to list of Evoked
        From the name of each of two groups to the averages of its people, one Evoked
        each, on the same sensors and times, such as those of
        :class:`~mne_megfm.CanonicalSensors`.
    times : sequence of float | None
        Times of topographies (s). None takes up to three peaks of the field of all
        people after 0 s.
    random_state : int
        Seed of the permutations.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        Above, the global field power (standard deviation over sensors) of people:
        means of groups with 95 % intervals; times at which groups differ are shaded.
        Beneath, mean signals of all sensors of each group, and topographies of both
        and of the first minus the second.

    Raises
    ------
    ValueError
        If there are not two groups, one is empty, or sensors or times differ.

    Notes
    -----
    Times from 0 s on are tested by a cluster permutation test of field power
    (:func:`mne.stats.permutation_cluster_test`, 999 permutations, clusters at p < 0.05
    shaded) if there are five people a group. It tells that groups differ somewhere, and
    not where exactly a difference begins or ends. Noise adds to field power: people
    with fewer trials have more of it. Topographies are not tested.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm import CanonicalSensors, simulate_cohort
    >>> from mne_megfm.viz import plot_group_averages
    >>> cohort = simulate_cohort(4, states=("auditory",), n_epochs=3, random_state=0)
    >>> sensors, groups = CanonicalSensors(), {"migraine": [], "control": []}
    >>> for epochs, label in zip(cohort.epochs("auditory"), cohort.labels):
    ...     groups[label].append(sensors.transform_inst(epochs.average()))
    >>> fig = plot_group_averages(groups, times=[0.1], show=False)
    """
    import matplotlib.pyplot as plt

    groups = {str(name): list(part) for name, part in averages.items()}
    _check_groups(groups)
    first = next(iter(groups.values()))[0]
    data = {name: np.stack([one.data for one in part]) for name, part in groups.items()}
    means = {name: part.mean(0) for name, part in data.items()}
    if times is None:
        times = _peaks(np.concatenate(list(data.values())).mean(0), first.times)
    at = first.time_as_index(times, use_rounding=True)
    fig = plt.figure(figsize=(5.2, 4.2 + 1.35 * len(at)), layout="constrained")
    grid = fig.add_gridspec(2 + len(at), 6, height_ratios=[1.9, 1.2, *[1.2] * len(at)])
    power = fig.add_subplot(grid[0, :])
    _plot_power(power, {k: v.std(1) for k, v in data.items()}, first.times, at)
    _shade_clusters(power, data, first.times, random_state)
    most = max(np.abs(mean).max() for mean in means.values()) * _FEMTO
    for column, (name, mean) in enumerate(means.items()):
        ax = fig.add_subplot(grid[1, 3 * column : 3 * column + 3])
        ax.plot(first.times * 1e3, mean.T * _FEMTO, lw=0.4, color=_line(name, means)[0])
        ax.set_title(f"{name} (n = {len(groups[name])})", fontsize="medium")
        ax.set(xlabel="Time (ms)", ylim=(-1.05 * most, 1.05 * most))
        ax.set_ylabel("Sensors (fT)" if column == 0 else "")
        bare(ax)
    _plot_topographies(fig, grid, means, first, at)
    return finish(fig, show, title)


def _line(name: str, names: Iterable[str]) -> tuple[str, str]:
    """Give a group the colour that it has in maps of people, and a style."""
    place = sorted(map(str, names)).index(str(name))
    return COLORS[place % len(COLORS)], "-" if place else "--"


def _check_groups(groups: Mapping[str, list[mne.Evoked]]) -> None:
    if len(groups) != 2 or not all(groups.values()):
        counts = {name: len(part) for name, part in groups.items()}
        raise ValueError(
            f"Expected two groups with an Evoked or more each, got {counts}; pass a "
            "dict from two names to lists."
        )
    first, *others = [one for part in groups.values() for one in part]
    for one in others:
        if one.ch_names != first.ch_names or not (
            len(one.times) == len(first.times) and np.allclose(one.times, first.times)
        ):
            raise ValueError(
                "Expected averages on the same sensors and times, got "
                f"{len(first.ch_names)} x {len(first.times)} and {len(one.ch_names)} x "
                f"{len(one.times)}; map them by CanonicalSensors, and crop them."
            )


def _peaks(mean: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray:
    """Find up to three peaks of the field of all people after 0 s, in order."""
    power = mean.std(0)
    after = np.flatnonzero(times >= 0.0)
    after = after if len(after) else np.arange(len(times))
    apart = max(1, int(0.04 / np.diff(times[:2])[0]))
    found, _ = find_peaks(power[after], distance=apart)
    if not len(found):
        found = np.array([power[after].argmax()])
    highest = found[np.argsort(-power[after][found], kind="stable")][:3]
    return times[after[np.sort(highest)]]


def _plot_power(
    ax: Axes,
    power: Mapping[str, NDArray[np.float64]],
    times: NDArray[np.float64],
    at: NDArray[np.int_],
) -> None:
    """Draw means of groups with 95 % intervals."""
    for name, part in power.items():
        mean, half = _mean_and_half(part * _FEMTO)
        color, style = _line(name, power)
        ax.plot(times * 1e3, mean, style, color=color, label=name)
        ax.fill_between(times * 1e3, mean - half, mean + half, color=color, alpha=0.2)
    for index in at:
        ax.axvline(times[index] * 1e3, color="0.6", lw=0.6, ls=":", zorder=0)
    ax.set(xlabel="Time (ms)", ylabel="Global field power (fT)")
    ax.legend(frameon=False, title="mean, 95 % interval")
    bare(ax)


def _shade_clusters(
    ax: Axes,
    data: Mapping[str, NDArray[np.float64]],
    times: NDArray[np.float64],
    seed: int,
) -> None:
    """Shade times at which the field power of groups differs, and say what was done."""
    after = times >= 0.0
    parts = [part.std(1)[:, after] for part in data.values()]
    if min(map(len, parts)) < _LEAST_TESTED or after.sum() < 2:
        ax.set_title("Difference not tested: too few people", fontsize="medium")
        return
    with use_log_level("error"):
        _, clusters, p_values, _ = mne.stats.permutation_cluster_test(
            parts, n_permutations=_N_PERMUTATIONS, out_type="mask", seed=seed
        )
    found = 0
    for (span,), p in zip(clusters, p_values, strict=True):
        if p < 0.05:
            found += 1
            part = times[after][span] * 1e3
            ax.axvspan(part[0], part[-1], color="0.85", zorder=0, lw=0)
    p = f"smallest p = {p_values.min():.2g}" if len(p_values) else "no clusters"
    text = "Shaded: groups differ" if found else "No difference shown"
    ax.set_title(f"{text} (cluster test, {p})", fontsize="medium")


def _plot_topographies(
    fig: Figure,
    grid: object,
    means: Mapping[str, NDArray[np.float64]],
    first: mne.Evoked,
    at: NDArray[np.int_],
) -> None:
    """Draw both groups and the difference at each time, all on one scale."""
    one, other = means.values()
    columns = {**means, "difference": one - other}
    most = max(np.abs(part[:, at]).max() for part in columns.values()) * _FEMTO
    axes = []
    for row, index in enumerate(at):
        for column, (name, part) in enumerate(columns.items()):
            ax = fig.add_subplot(grid[2 + row, 2 * column : 2 * column + 2])
            image, _ = mne.viz.plot_topomap(
                part[:, index] * _FEMTO, first.info, axes=ax, show=False,
                vlim=(-most, most), cmap="RdBu_r", sensors=False, contours=0,
                sphere=_sphere(first), extrapolate="local",
            )  # fmt: skip
            sphere = _sphere(first)
            if sphere is not None:  # no more room than sensors take
                reach = 1.35 * sphere[3]
                ax.set(
                    xlim=(sphere[0] - reach, sphere[0] + reach),
                    ylim=(sphere[1] - reach, sphere[1] + reach),
                )
            if row == 0:
                ax.set_title(name, fontsize="medium")
            if column == 0:
                label = f"{first.times[index] * 1e3:.0f} ms"
                ax.set_ylabel(label, rotation=0, ha="right", va="center")
            axes.append(ax)
    bar = fig.colorbar(image, ax=axes, shrink=0.7, aspect=18)
    bar.set_label("fT")


def _sphere(evoked: mne.Evoked) -> NDArray[np.float64] | None:
    """Put the circle of the head where canonical sensors are; else leave it to MNE."""
    array = canonical_array()
    if evoked.ch_names != array.ch_names:
        return None
    return np.append(array.origin, array.radius)


def _mean_and_half(
    values: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the mean of people and half of its 95 % interval, none for a single one."""
    n = len(values)
    if n < 2:
        return values.mean(0), np.full(values.shape[1:], np.nan)
    half = stats.t.ppf(0.975, n - 1) * values.std(0, ddof=1) / np.sqrt(n)
    return values.mean(0), half


def plot_group_spectra(
    spectra: Mapping[str, ArrayLike],
    freqs: ArrayLike,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot mean spectra of groups with 95 % intervals.

    Parameters
    ----------
    spectra : dict of str to array-like, shape (n_people, n_freqs)
        From the name of each group to the power spectral densities of its people
        (T²/Hz), one row each.
    freqs : array-like, shape (n_freqs,)
        Frequencies (Hz).
    axes : Axes | None
        Where to draw. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        A line a group: the mean over people of the logarithm of power.

    Raises
    ------
    ValueError
        If shapes do not fit, or power is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.viz import plot_group_spectra
    >>> freqs = np.arange(1, 41)
    >>> spectra = {name: 1e-28 * np.ones((3, 40)) / freqs for name in ("a", "b")}
    >>> fig = plot_group_spectra(spectra, freqs, show=False)
    >>> fig.axes[0].get_xlabel()
    'Frequency (Hz)'
    """
    freqs = np.asarray(freqs, float)
    fig, (ax,) = open_axes(axes, 1, figsize=(5.2, 3.4))
    for name, values in spectra.items():
        values = np.asarray(values, float)
        if values.ndim != 2 or values.shape[1] != len(freqs) or not (values > 0).all():
            raise ValueError(
                f"Expected positive spectra of shape (n_people, {len(freqs)}), got "
                f"shape {values.shape} for {name!r}; pass one row a person, in T²/Hz."
            )
        mean, half = _mean_and_half(10.0 * np.log10(values * _FEMTO**2))
        color, style = _line(name, spectra)
        ax.plot(freqs, mean, style, color=color, label=f"{name} (n = {len(values)})")
        ax.fill_between(freqs, mean - half, mean + half, color=color, alpha=0.2)
    ax.set(xlabel="Frequency (Hz)", ylabel="Power (dB, 0: 1 fT²/Hz)")
    ax.legend(frameon=False, title="mean, 95 % interval")
    bare(ax)
    return finish(fig, show, title)


def plot_group_differences(
    differences: pd.DataFrame,
    n: int = 15,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot effect sizes of the features that differ most between two groups.

    Parameters
    ----------
    differences : DataFrame
        From :func:`~mne_megfm.evaluation.group_differences`.
    n : int
        How many features, from the top.
    axes : Axes | None
        Where to draw. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        Hedges' g with its interval, one row a feature; filled where the difference is
        significant after correction for all features of the table.

    Raises
    ------
    ValueError
        If no feature could be compared.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.evaluation import group_differences
    >>> from mne_megfm.viz import plot_group_differences
    >>> features = np.random.default_rng(0).standard_normal((10, 3))
    >>> table = group_differences(features, ["a"] * 5 + ["b"] * 5)
    >>> fig = plot_group_differences(table, show=False)
    """
    shown = differences.dropna(subset="g").head(n)
    if not len(shown):
        raise ValueError(
            "Expected features with an effect size, got none; they need two values a "
            "group, and variance."
        )
    fig, (ax,) = open_axes(axes, 1, figsize=(5.2, 1.1 + 0.27 * len(shown)))
    rows = np.arange(len(shown))
    for row, found in zip(rows, shown.itertuples(), strict=True):
        sure = found.p_corrected <= 0.05
        color = COLORS[1] if sure else "0.45"
        ax.plot([found.low, found.high], [row, row], color=color, lw=1.5)
        ax.plot(found.g, row, "o", color=color, mfc=color if sure else "white")
    ax.axvline(0.0, color="0.5", lw=1, ls=":", zorder=0)
    ax.set_yticks(rows, [_short(name) for name in shown.index])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    one, _ = _compared(differences)
    ax.set_xlabel(f"Hedges' g, 95 % interval\nabove 0: higher in {_short(one, 30)}")
    bare(ax)
    return finish(fig, show, title)


def _compared(differences: pd.DataFrame) -> list[str]:
    """Name the groups of a table of differences, the positive one first."""
    return [name[5:] for name in differences if name.startswith("mean_")]


def _short(name: object, most: int = 32) -> str:
    name = str(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"


def plot_scores(
    comparison: Comparison,
    metric: str | None = None,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot the mean of each pipeline with its interval, beside chance.

    Parameters
    ----------
    comparison : Comparison
        From :func:`~mne_megfm.evaluation.compare`.
    metric : str | None
        Which metric; None for the first.
    axes : Axes | None
        Where to draw. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        One row a pipeline, the pretrained model in another colour; beneath, if there
        are any, the draws of random weights in its network and their mean.

    Raises
    ------
    ValueError
        If the metric was not computed.

    See Also
    --------
    plot_comparison : The same with folds and differences.

    Examples
    --------
    See ``examples/plot_compare.py``.
    """
    table = comparison.summary(metric)
    name = comparison.metrics[0] if metric is None else metric
    chance = comparison.trivial.get(name, np.nan)
    model = comparison.settings.get("model")
    names = [_short(one, 28) for one in table.index]
    drawn = comparison.random_weights
    if len(drawn):
        drawn = drawn[drawn["metric"] == name].groupby("seed")["value"].mean()
        names.append(f"random weights, {len(drawn)} draws")
    fig, (ax,) = open_axes(axes, 1, figsize=(5.2, 1.1 + 0.34 * len(names)))
    if len(drawn):
        row = len(table)
        ax.plot(drawn, np.full(len(drawn), row), "o", ms=4, color="0.6", mec="none")
        ax.plot(drawn.mean(), row, "D", ms=7, color="0.4", mec="white")
    for row, (pipeline, found) in enumerate(table.iterrows()):
        color = COLORS[1] if pipeline == model else COLORS[0]
        if not np.isnan(found["low"]):
            ax.plot(found[["low", "high"]], [row, row], color=color, lw=2)
        ax.plot(found["mean"], row, "D", ms=7, color=color, mec="white")
    if not np.isnan(chance):
        ax.axvline(chance, color="0.4", lw=1, ls=":", zorder=0)
        ax.annotate(
            "chance", (chance, 1.0), xycoords=ax.get_xaxis_transform(), color="0.3",
            textcoords="offset points", xytext=(3, -2), va="top", fontsize="small",
        )  # fmt: skip
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.7)
    ax.set_xlabel(f"{comparison.label(metric)}, mean and 95 % interval")
    bare(ax)
    return finish(fig, show, title)


def plot_people(
    people: pd.DataFrame,
    threshold: float = 0.5,
    *,
    positive: str = "the positive class",
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot the probability of each person, by group.

    Parameters
    ----------
    people : DataFrame
        One row a person, its index their names: ``label``, ``probability``, and where
        there are several of each, ``lowest`` and ``highest``.
    threshold : float
        Where the decision changes.
    positive : str
        What the probability is of.
    axes : Axes | None
        Where to draw. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        One row a group; a dot a person at the probability, with a line from the lowest
        to the highest.

    Examples
    --------
    >>> import pandas as pd
    >>> from mne_megfm.viz import plot_people
    >>> people = pd.DataFrame({"label": ["a", "b"], "probability": [0.2, 0.7]})
    >>> fig = plot_people(people, positive="b", show=False)
    >>> fig.axes[0].get_xlabel()
    'Probability of b, out of fold'
    """
    labels = sorted(people["label"].unique(), key=str)
    fig, (ax,) = open_axes(axes, 1, figsize=(5.2, 1.0 + 1.1 * len(labels)))
    for row, label in enumerate(labels):
        part = people[people["label"] == label].sort_values("probability")
        # side by side in their row, in order, so that no two hide each other
        heights = row + np.linspace(-0.36, 0.36, len(part) + 2)[1:-1]
        style = look(row)
        if "lowest" in part:
            ends = part[["lowest", "highest"]].to_numpy().T
            ax.plot(ends, [heights] * 2, color=style["color"], lw=0.8, alpha=0.5)
        ax.plot(part["probability"], heights, ls="", ms=5, **style)
    ax.axvline(threshold, color="0.4", lw=1, ls=":", zorder=0)
    ax.set_yticks(range(len(labels)), [_short(label, 20) for label in labels])
    ax.set(xlim=(-0.02, 1.02), ylim=(len(labels) - 0.5, -0.5))
    ax.set_xlabel(f"Probability of {positive}, out of fold")
    bare(ax)
    return finish(fig, show, title)


def plot_decision_curve(
    curve: pd.DataFrame,
    *,
    axes: Axes | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot the net benefit of acting on a model, on all and on none.

    Parameters
    ----------
    curve : DataFrame
        From the method ``decision_curve`` of a
        :class:`~mne_megfm.evaluation.Comparison`: one row a threshold, its index, with
        ``model``, ``all`` and ``none``.
    axes : Axes | None
        Where to draw. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        A line for each.

    Examples
    --------
    >>> import pandas as pd
    >>> from mne_megfm.viz import plot_decision_curve
    >>> curve = pd.DataFrame(
    ...     {
    ...         "threshold": [0.1, 0.5],
    ...         "model": [0.4, 0.3],
    ...         "all": [0.4, 0.0],
    ...         "none": 0.0,
    ...     }
    ... )
    >>> fig = plot_decision_curve(curve, show=False)
    >>> fig.axes[0].get_ylabel()
    'Net benefit'
    """
    fig, (ax,) = open_axes(axes, 1, figsize=(5.2, 3.4))
    looks = {
        "model": (COLORS[1], "-", "the model"),
        "all": (COLORS[0], "--", "all people"),
        "none": ("0.3", ":", "no person"),
    }
    for name, (color, style, label) in looks.items():
        ax.plot(curve.index, curve[name], style, color=color, label=label)
    most = max(curve[["model", "all"]].max())
    ax.set(xlim=(0, 1))
    if most > 0:
        ax.set_ylim(-0.25 * most, 1.1 * most)
    ax.set(xlabel="Probability from which on one acts", ylabel="Net benefit")
    ax.legend(frameon=False, title="acting on")
    bare(ax)
    return finish(fig, show, title)
