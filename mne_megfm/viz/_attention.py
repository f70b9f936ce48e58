"""Attention on the head, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mne.transforms import Transform, apply_trans, invert_transform
from mne.utils import _validate_type
from numpy.typing import NDArray

from ..sensors import canonical_array
from ..sensors.geometry import read_geometry
from ._style import COLORS, finish, open_axes

if TYPE_CHECKING:
    from ..interpret import AttentionTest


# purple (less than even) to orange (more), distinct in all colour vision
PALETTE = "PuOr_r"
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
    image = ScalarMappable(norm, PALETTE)
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
        cmap=PALETTE, cnorm=norm, sensors=False, contours=0, time_format="",
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
