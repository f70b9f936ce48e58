"""Checks at the edge, that objects hold MEG in tesla."""

from __future__ import annotations

from collections import Counter
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from mne import Info, pick_types
from mne.utils import logger, warn

from ._amplitudes import FAR_ABOVE, far_above

if TYPE_CHECKING:
    from ._recordings import Recording

# Peak-to-peak range over a row, in T, that the median channel of a recording can
# have. Sensor noise alone is some 1e-14, ongoing activity some 1e-12, an unfiltered
# recording in a poorly shielded room 1e-9. A noise-free simulation may be small;
# EEG in volt begins at 1e-5 and anything in fT, pT or standard deviations near 1.
_SMALLEST, _LARGEST = 1e-17, 1e-7

# Gradients (T/m) are compared as differences (T) over the planar baseline, in m.
_BASELINE = 0.0168
_UNIT_T_PER_M = 201  # FIFF.FIFF_UNIT_T_M

# A channel whose range is below this share of its own size is a constant, stored.
_FLAT_RELATIVE, _FLAT_ABSOLUTE = 1e-9, 1e-19


def check_window(window: float, overlap: float) -> None:
    """Check length and overlap of the rows of a Raw, in seconds."""
    for name, value in (("window", window), ("overlap", overlap)):
        if not isinstance(value, Real) or isinstance(value, bool):
            raise TypeError(
                f"Expected {name} to be a number of seconds, got {value!r}; pass a "
                "float."
            )
    if not 0 < window < np.inf:
        raise ValueError(
            f"Expected window to be a positive number of seconds, got {window}; the "
            "default is 1.0."
        )
    if not 0 <= overlap < window:
        raise ValueError(
            f"Expected overlap in seconds, from 0 to less than window ({window}), got "
            f"{overlap}; choose a smaller overlap or a longer window."
        )


def check_channels(info: Info, where: str) -> None:
    """Check that there is at least one good MEG channel."""
    if len(pick_types(info, meg=True, ref_meg=False, exclude="bads")):
        return
    every = pick_types(info, meg=True, ref_meg=False, exclude=())
    if len(every):
        raise ValueError(
            f"Expected good MEG channels in {where}, got {len(every)} MEG channels "
            "that are all in info['bads']; check the list of bad channels."
        )
    kinds = Counter(info.get_channel_types())
    if "ref_meg" in kinds:
        raise ValueError(
            f"Expected MEG channels around the head in {where}, got none beside "
            f"{kinds['ref_meg']} reference channels, which record the room alone; pass "
            "the recording with its MEG channels."
        )
    got = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    raise ValueError(
        f"Expected MEG channels in {where}, got {got or 'no channels'}; pass a MEG "
        "recording (mne-megfm reads no EEG), or set the types of channels that are "
        "in truth MEG when you make the info."
    )


def check_rows(
    data: np.ndarray, recording: Recording, row: int
) -> tuple[np.ndarray, np.ndarray]:
    """Check one row and find channels to leave out of it.

    Parameters
    ----------
    data : ndarray, shape (n_channels, n_samples)
        Good MEG channels of the row.
    recording : Recording
        Where the row comes from.
    row : int
        Number of the row in the input, for messages.

    Returns
    -------
    flat : ndarray of bool, shape (n_channels,)
        Channels that do not change.
    far : ndarray of bool, shape (n_channels,)
        Channels that are far stronger than their neighbours, see `far_above`.

    Notes
    -----
    Both are settled for each row by itself, so that a row comes out the same whatever
    other rows are around.
    """
    if data.dtype.kind != "f":
        raise TypeError(
            f"Expected real data in row {row}, got {data.dtype}; transform signals, "
            "not spectra."
        )
    highest, lowest = data.max(axis=1), data.min(axis=1)
    extent = highest - lowest
    if not np.all(np.isfinite(extent)):
        names = np.array(recording.ch_names)[~np.isfinite(extent)]
        raise ValueError(
            f"Expected finite data, got NaN or infinity in row {row}, "
            f"{_shorten(names)}; annotate or drop that span, or mark the channels "
            "as bad."
        )
    size = np.maximum(np.abs(highest), np.abs(lowest))
    flat = extent <= np.maximum(_FLAT_RELATIVE * size, _FLAT_ABSOLUTE)
    if data.shape[1] == 1:  # a single sample says nothing about flatness
        flat = size == 0
        extent = size
    if flat.all():
        raise ValueError(
            f"Expected MEG signals in row {row}, got data in which every one of the "
            f"{len(flat)} good MEG channels is flat (constant); drop that epoch, or "
            "annotate that span as BAD."
        )
    middle = float(np.median((extent * recording.scale)[~flat]))
    if not _SMALLEST <= middle <= _LARGEST:
        guess = "far weaker than any sensor's noise"
        if middle > _LARGEST:
            guess = "z-scored data, EEG, or other units such as fT, pT or µV"
        raise ValueError(
            "Expected MEG in tesla (ranges of 1e-14 to 1e-9 T within a row), got a "
            f"median peak-to-peak of {middle:.2g} T in row {row}: this looks like "
            f"{guess}. Pass the signals in SI units and not standardised, as MNE "
            "reads them."
        )
    # beside neighbours most of which are flat, the others only seem strong
    if data.shape[1] == 1 or flat.mean() > 0.5:
        return flat, np.zeros_like(flat)
    return flat, far_above(data, recording)


def report_left_out(
    recording: Recording,
    flat: np.ndarray,
    far: np.ndarray,
    reported: set[str],
    throughout: bool = False,
) -> tuple[str, ...]:
    """Name channels that are left out of some rows, each once; give all names.

    An artefact of a few rows is logged, a channel that is wrong throughout warned of.
    """
    names = np.array(recording.ch_names)
    for which, say, words in (
        (flat, logger.info, "they are flat"),
        (
            far & ~flat,
            warn if throughout else logger.info,
            f"they are more than {FAR_ABOVE:g} times as strong as their neighbours",
        ),
    ):
        new = [name for name in names[which].tolist() if name not in reported]
        reported.update(new)
        if new:
            say(f"Ignored in rows where {words}: {_shorten(np.array(new))}")
    return tuple(names[flat | far].tolist())


def tell_left_out(recording: Recording, flat: np.ndarray, far: np.ndarray) -> str:
    """Say how many MEG channels are left out of rows and why; nothing if none is."""
    info, names = recording.info, np.array(recording.ch_names)
    every = pick_types(info, meg=True, ref_meg=False, exclude=())
    meg = np.array([info["ch_names"][pick] for pick in every])
    left_out = {
        "flat": names[flat],
        "far stronger than their neighbours": names[far & ~flat],
        "marked as bad": meg[np.isin(meg, info["bads"])],
    }
    texts = [
        f"{len(n)} are {why} ({_shorten(n, 3)})"
        for why, n in left_out.items()
        if len(n)
    ]
    return f"Of {len(meg)} MEG channels {', '.join(texts)}." if texts else ""


def unit_scale(info: Info, picks: np.ndarray) -> np.ndarray:
    """Factor to T for every channel, shape (n_picks,): baseline for gradients."""
    units = np.array([int(info["chs"][pick]["unit"]) for pick in picks])
    return np.where(units == _UNIT_T_PER_M, _BASELINE, 1.0)


def _shorten(names: np.ndarray, limit: int = 5) -> str:
    """Name a few, and say how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    noun = "channel" if len(names) == 1 else "channels"
    return f"{noun} {', '.join(names[:limit])}{more}"
