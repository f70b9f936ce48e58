"""Recordings read, filtered and cut to epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.utils import use_log_level

from ..sensors import device_to_head, is_maxwell_filtered
from .epochs import cut_epochs, select_epochs
from .settings import Filters, Reading
from .sources import Source

if TYPE_CHECKING:
    from mne.io import BaseRaw


#: Centre of the expansion without a head shape, in head coordinates (m).
HEAD_ORIGIN = (0.0, 0.0, 0.04)


def clean(
    raw: BaseRaw, filters: Filters, calibration: dict[str, Path] | None = None
) -> BaseRaw:
    """Filter a recording, but for what it went through already.

    Parameters
    ----------
    raw : Raw
        The recording, which is changed: MEG and trigger channels remain.
    filters : Filters
        What is asked for.
    calibration : dict | None
        Files of fine calibration and cross-talk, by their names in
        :func:`mne.preprocessing.maxwell_filter`.

    Returns
    -------
    raw : Raw
        The recording, in memory if anything was filtered.

    Raises
    ------
    ValueError
        If there are no MEG channels, Maxwell filtering is needed and not asked for, or
        an edge of a filter is not below half of the sampling rate.
    """
    info = raw.info
    _check_edges(raw, filters)
    meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
    if len(meg) == 0:
        types = ", ".join(sorted(set(info.get_channel_types())))
        raise ValueError(
            f"Expected MEG channels, got a recording with {types or 'no channels'} "
            "alone; leave it out."
        )
    was_separated = is_maxwell_filtered(info)
    if info.get("maxshield") and not was_separated and not filters.maxwell:
        raise ValueError(
            "Expected a recording without internal active shielding (MaxShield), got "
            "one that Maxwell filtering has not cleaned yet; pass maxwell=True (in the "
            "shell --maxwell), or filter it first by mne.preprocessing.maxwell_filter."
        )
    raw.pick(mne.pick_types(info, meg=True, ref_meg=True, stim=True, exclude=()))
    if filters.maxwell and not was_separated:
        in_head = device_to_head(info) is not None
        raw = mne.preprocessing.maxwell_filter(
            raw.load_data(),
            origin="auto" if not in_head or _has_headshape(info) else HEAD_ORIGIN,
            coord_frame="head" if in_head else "meg",
            st_duration=filters.st_duration,
            ignore_ref=not raw.compensation_grade,
            **calibration or {},
        )
    good = mne.pick_types(raw.info, meg=True, ref_meg=False, exclude="bads")
    half = raw.info["sfreq"] / 2
    highpass, lowpass = filters.highpass, filters.lowpass
    # what the recording went through already is not to be done again
    if highpass is not None and raw.info["highpass"] >= highpass:
        highpass = None
    if lowpass is not None and raw.info["lowpass"] <= lowpass:
        lowpass = None
    if filters.notch is not None:
        harmonics = np.arange(filters.notch, half, filters.notch)
        raw.load_data().notch_filter(harmonics, good)
    if highpass is not None or lowpass is not None:
        raw.load_data().filter(highpass, lowpass, good)
    return raw


def _check_edges(raw: BaseRaw, filters: Filters) -> None:
    """Refuse filters that would do nothing, as MNE does."""
    half = raw.info["sfreq"] / 2
    for name in ("highpass", "lowpass", "notch"):
        value = getattr(filters, name)
        if value is not None and value >= half:
            file = Path(raw.filenames[0]).name if raw.filenames[0] else "a recording"
            raise ValueError(
                f"Expected {name} below half of the sampling rate of {file}, which is "
                f"{half:g} Hz, got {value:g} Hz; choose a lower one, leave it out, or "
                "read this recording by itself."
            )


def check_unfiltered(inst: Any, filters: Filters) -> None:
    """Refuse to filter what has been cut or averaged already."""
    asked = [
        name
        for name in ("highpass", "lowpass", "notch", "maxwell")
        if getattr(filters, name)
    ]
    if asked:
        raise ValueError(
            f"Expected a continuous recording for {', '.join(asked)}, got {inst!r}, "
            "which has been cut already; leave these filters out, or give the "
            "continuous recording."
        )


def _has_headshape(info: mne.Info) -> bool:
    """Tell whether there are points on the head to fit a sphere to."""
    kinds = [int(point["kind"]) for point in info["dig"] or ()]
    return kinds.count(FIFF.FIFFV_POINT_EXTRA) > 10


def read_source(source: Source, reading: Reading) -> Any:
    """Read a recording, with the bad channels of its table, filter and cut it.

    Parameters
    ----------
    source : Source
        The recording.
    reading : Reading
        How recordings are read.

    Returns
    -------
    inst : Raw | Epochs | list of Evoked
        The recording.

    Raises
    ------
    ValueError
        If what is to be filtered or cut has been cut already, or has no such events.
    """
    inst = source.read()
    is_raw = isinstance(inst, mne.io.BaseRaw)
    with use_log_level("warning"):
        if is_raw:
            inst = clean(inst, reading, source.calibration())
        else:
            check_unfiltered(inst, reading)
    wanted = reading.events.get(source.task)
    if wanted is None:
        return inst
    if isinstance(inst, list):
        raise ValueError(
            f"Expected a continuous recording or epochs for events, got {inst!r}; "
            f"leave {source.task} out of events."
        )
    if is_raw:
        own = source.has_events_table()
        return cut_epochs(
            inst, wanted, reading.tmin, reading.tmax, only_annotations=own
        )
    return select_epochs(inst, wanted)
