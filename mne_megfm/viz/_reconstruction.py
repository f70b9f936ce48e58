"""Masked reconstruction as traces and topographies."""

from __future__ import annotations

import mne
import numpy as np
from matplotlib.figure import Figure

from ..interpret import Reconstruction
from ..sensors import canonical_array

# blue and orange of Okabe & Ito (2008), told apart by all colour vision
ORIGINAL, PREDICTED, HIDDEN = "#0072B2", "#D55E00", "#E8E8E8"
FT = 1e15


def plot_reconstruction(
    reconstruction: Reconstruction,
    *,
    window: int = 0,
    n_traces: int = 6,
    title: str | None = None,
    show: bool = True,
) -> Figure:
    """Plot what was hidden in a window, and what was predicted.

    Parameters
    ----------
    reconstruction : Reconstruction
        From :func:`~mne_megfm.interpret.masked_reconstruction`.
    window : int
        Which window.
    n_traces : int
        Virtual sensors to show as traces, spread over the head.
    title : str | None
        Title of the figure.
    show : bool
        Whether to show the figure.

    Returns
    -------
    fig : Figure
        Traces (hidden parts shaded) and the field at the moment in hidden signal
        where it is strongest.

    Raises
    ------
    ValueError
        If there is no such window, or nothing is hidden in it.

    Examples
    --------
    See ``examples/demo.py``.
    """
    import matplotlib.pyplot as plt

    n_windows, n_sensors, n_times = reconstruction.original.shape
    if not -n_windows <= window < n_windows:
        raise ValueError(
            f"Expected a window below {n_windows}, got {window}; choose one of them."
        )
    if n_traces < 1:
        raise ValueError(
            f"Expected n_traces of 1 or more, got {n_traces}; 6 fill the figure well."
        )
    original = reconstruction.original[window] * FT
    predicted = reconstruction.reconstructed[window] * FT
    mask = reconstruction.mask[window]
    candidates = np.flatnonzero(mask.any(1))
    if not len(candidates):
        raise ValueError(
            f"Expected hidden signal in the window, got none in window {window}; "
            "choose another window or masking."
        )
    n_traces = min(n_traces, len(candidates))
    times = np.arange(n_times) / reconstruction.sfreq

    fig = plt.figure(figsize=(10, 6.5), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=[3, 1.3])
    picks = candidates[
        np.linspace(0, len(candidates) - 1, n_traces).round().astype(int)
    ]
    axes = left.subplots(n_traces, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for ax, pick in zip(axes, picks, strict=True):
        ax.fill_between(
            times, 0, 1, where=mask[pick], transform=ax.get_xaxis_transform(),
            color=HIDDEN, step="post", label="hidden from the model",
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
        ax.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("Time in the window (s)")
    axes[-1].set_xlim(times[0], times[-1])
    left.supylabel("Field at virtual magnetometers (fT)", fontsize="medium")
    axes[0].legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False
    )

    power = np.where(mask, original, 0.0)
    moment = int(np.square(power).sum(0).argmax())
    info = canonical_array().info(reconstruction.sfreq)
    tops = right.subplots(2, 1)
    limit = np.abs(original[:, moment]).max()
    for ax, (name, field) in zip(
        tops, (("original", original), ("predicted", predicted)), strict=True
    ):
        image, _ = mne.viz.plot_topomap(
            field[:, moment],
            info,
            axes=ax,
            show=False,
            vlim=(-limit, limit),
            contours=4,
            sensors=False,
        )
        ax.set_title(f"{name}, {times[moment] * 1e3:.0f} ms")
    right.colorbar(image, ax=list(tops), label="fT", shrink=0.5, location="bottom")
    if title:
        fig.suptitle(title)
    if show:
        plt.show()
    return fig
