"""Figures of reconstructions and of training."""

from __future__ import annotations

from collections.abc import Sequence

import mne
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..interpret import Reconstruction
from ..pretraining import History, draw_curves
from ..sensors import canonical_array
from ._style import COLORS, PALE, bare, finish, open_axes

ORIGINAL, PREDICTED = COLORS[:2]
FT = 1e15
KINDS = ("all", "traces", "butterfly", "topomap", "spectra")


def plot_reconstruction(
    reconstruction: Reconstruction,
    *,
    kind: str = "all",
    window: int = 0,
    n_traces: int = 6,
    axes: Axes | Sequence[Axes] | None = None,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot what was hidden in a window, and what was predicted.

    Parameters
    ----------
    reconstruction : Reconstruction
        From :func:`~mne_megfm.interpret.reconstruct`.
    kind : {"all", "traces", "butterfly", "topomap", "spectra"}
        What to show. ``"traces"``: some sensors, hidden parts shaded.
        ``"butterfly"``: the hidden signal of all sensors, and what was predicted of
        it. ``"topomap"``: the field at the moment in hidden signal where it is
        strongest. ``"spectra"``: of the hidden signal of all windows, of its
        prediction and of their difference. ``"all"``: all of these.
    window : int
        Which window.
    n_traces : int
        Virtual sensors to show as traces, spread over the head.
    axes : Axes | list of Axes | None
        Where to draw a single kind: as many axes as there are traces, two for
        butterflies and topographies, one for spectra. None makes a figure.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        The figure.

    Raises
    ------
    ValueError
        If there is no such window or kind, if nothing is hidden in the window, or if
        the number of axes is wrong.

    Notes
    -----
    Spectra are of signals that are 0 where nothing was hidden. Cutting smears power
    over frequencies, of all three lines alike.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import reconstruct
    >>> from mne_megfm.models import TimeBlockMasking
    >>> from mne_megfm.viz import plot_reconstruction
    >>> cohort = simulate_cohort(
    ...     1, states=("rest",), arrays=("opm64",), n_epochs=1, random_state=0
    ... )
    >>> epochs = cohort.epochs("rest")[0]
    >>> model = MEGFMTransformer().fit(epochs)
    >>> result = reconstruct(epochs, model, TimeBlockMasking(), on="canonical")
    >>> fig = plot_reconstruction(result, kind="spectra", show=False)
    >>> fig.axes[0].get_xlabel()
    'Frequency (Hz)'
    """
    n_windows = len(reconstruction.original)
    if kind not in KINDS:
        raise ValueError(f"Expected kind among {KINDS}, got {kind!r}.")
    if not -n_windows <= window < n_windows:
        raise ValueError(
            f"Expected a window below {n_windows}, got {window}; choose one of them."
        )
    if n_traces < 1:
        raise ValueError(
            f"Expected n_traces of 1 or more, got {n_traces}; 6 fill the figure well."
        )
    if not reconstruction.mask[window].any():
        raise ValueError(
            f"Expected hidden signal in the window, got none in window {window}; "
            "choose another window or masking."
        )
    picks = _spread_picks(reconstruction.mask[window], n_traces)
    if kind == "all":
        if axes is not None:
            raise ValueError(
                "Expected no axes for kind='all', which makes its own figure; choose "
                f"one of {KINDS[1:]}."
            )
        return finish(_draw_all(reconstruction, window, picks), show, title)
    if kind == "traces":
        fig, axes = open_axes(
            axes, len(picks), figsize=(7, 0.5 + len(picks)), nrows=len(picks), ncols=1,
            sharex=True, sharey=True,
        )  # fmt: skip
        _draw_traces(axes, reconstruction, window, picks)
        axes[len(axes) // 2].annotate(
            "Field (fT)", (0, 0.5), (-70, 0), xycoords="axes fraction",
            textcoords="offset points", rotation=90, ha="center", va="center",
        )  # fmt: skip
    elif kind == "butterfly":
        fig, axes = open_axes(axes, 2, figsize=(8, 3), sharex=True, sharey=True)
        _draw_butterfly(axes, reconstruction, window)
    elif kind == "topomap":
        fig, axes = open_axes(axes, 2, figsize=(6, 3))
        image = _draw_topomaps(axes, reconstruction, window)
        fig.colorbar(image, ax=axes, label="fT", shrink=0.7)
    else:
        fig, axes = open_axes(axes, 1, figsize=(5, 3.5))
        _draw_spectra(axes[0], reconstruction)
    return finish(fig, show, title)


def _spread_picks(mask: NDArray[np.bool_], n: int) -> NDArray[np.intp]:
    """Choose sensors with hidden signal, spread over the head."""
    candidates = np.flatnonzero(mask.any(1))
    n = min(n, len(candidates))
    return candidates[np.linspace(0, len(candidates) - 1, n).round().astype(int)]


def _draw_all(result: Reconstruction, window: int, picks: NDArray[np.intp]) -> Figure:
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(10, 9.5), layout="constrained")
    top, bottom = fig.subfigures(2, 1, height_ratios=[2.1, 1])
    left, right = top.subfigures(1, 2, width_ratios=[3, 1.3])
    rows = left.subplots(len(picks), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    _draw_traces(rows, result, window, picks)
    left.supylabel("Field at virtual magnetometers (fT)", fontsize="medium")
    maps = right.subplots(2, 1)
    image = _draw_topomaps(maps, result, window)
    right.colorbar(image, ax=list(maps), label="fT", shrink=0.5, location="bottom")
    left, right = bottom.subfigures(1, 2, width_ratios=[2, 1])
    _draw_butterfly(left.subplots(1, 2, sharex=True, sharey=True), result, window)
    _draw_spectra(right.subplots(), result)
    return fig


def _times(result: Reconstruction) -> NDArray[np.float64]:
    return np.arange(result.original.shape[-1]) / result.sfreq


def _draw_traces(
    axes: Sequence[Axes], result: Reconstruction, window: int, picks: NDArray[np.intp]
) -> None:
    times, mask = _times(result), result.mask[window]
    original, predicted = (
        data[window] * FT for data in (result.original, result.reconstructed)
    )
    for ax, pick in zip(axes, picks, strict=True):
        ax.fill_between(
            times, 0, 1, where=mask[pick], transform=ax.get_xaxis_transform(),
            color=PALE, step="post", label="hidden from the model",
        )  # fmt: skip
        ax.plot(times, original[pick], color=ORIGINAL, lw=1.4, label="original")
        ax.plot(
            times,
            np.where(mask[pick], predicted[pick], np.nan),
            color=PREDICTED,
            lw=1.4,
            ls="--",
            label="predicted",
        )
        ax.set_ylabel(f"V{pick:03d}", rotation=0, ha="right", va="center")
        bare(ax)
    axes[-1].set_xlabel("Time in the window (s)")
    axes[-1].set_xlim(times[0], times[-1])
    axes[0].legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False
    )


def _draw_butterfly(axes: Sequence[Axes], result: Reconstruction, window: int) -> None:
    mask, times = result.mask[window], _times(result)
    rows = mask.any(1)
    pairs = (
        ("original", result.original, ORIGINAL),
        ("predicted", result.reconstructed, PREDICTED),
    )
    for ax, (name, data, color) in zip(axes, pairs, strict=True):
        hidden = np.where(mask, data[window] * FT, np.nan)[rows]
        ax.plot(times, hidden.T, color=color, lw=0.5, alpha=0.5)
        ax.set(title=f"hidden signal, {name}", xlabel="Time in the window (s)")
        ax.set_xlim(times[0], times[-1])
        bare(ax)
    axes[0].set_ylabel("Field (fT)")


def _draw_topomaps(axes: Sequence[Axes], result: Reconstruction, window: int) -> object:
    original = result.original[window] * FT
    hidden = np.where(result.mask[window], original, 0.0)
    moment = int(np.square(hidden).sum(0).argmax())
    info = canonical_array().info(result.sfreq)
    limit = np.abs(original[:, moment]).max()
    pairs = (("original", original), ("predicted", result.reconstructed[window] * FT))
    for ax, (name, field) in zip(axes, pairs, strict=True):
        image, _ = mne.viz.plot_topomap(
            field[:, moment],
            info,
            axes=ax,
            show=False,
            vlim=(-limit, limit),
            contours=4,
            sensors=False,
        )
        ax.set_title(f"{name}, {moment / result.sfreq * 1e3:.0f} ms")
    return image


def _draw_spectra(ax: Axes, result: Reconstruction) -> None:
    n_times = result.original.shape[-1]
    taken = result.mask.any(-1)
    mask = result.mask[taken]
    original, predicted = (
        np.where(mask, data[taken].astype(float) * FT, 0.0)
        for data in (result.original, result.reconstructed)
    )
    taper = np.hanning(n_times + 2)[1:-1]
    freqs = np.fft.rfftfreq(n_times, 1.0 / result.sfreq)
    lines = (
        ("original", original, ORIGINAL, "-"),
        ("predicted", predicted, PREDICTED, "--"),
        ("difference", original - predicted, COLORS[7], ":"),
    )
    for name, data, color, style in lines:
        power = np.square(np.abs(np.fft.rfft(data * taper))).mean(0)
        power *= 2.0 / (result.sfreq * np.square(taper).sum())
        ax.plot(freqs[1:], np.sqrt(power[1:]), color=color, ls=style, label=name)
    ax.set(
        xlabel="Frequency (Hz)",
        ylabel="Amplitude (fT/√Hz)",
        title="hidden signal, all windows",
        yscale="log",
        xlim=(0, freqs[-1]),
    )
    ax.legend(frameon=False)
    bare(ax)


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
