"""Continuous recordings cut to epochs around events."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import mne
import numpy as np

if TYPE_CHECKING:
    from mne.io import BaseRaw


def cut_epochs(
    raw: BaseRaw, wanted: Collection[str], tmin: float, tmax: float
) -> mne.Epochs:
    """Cut a recording around events.

    Parameters
    ----------
    raw : Raw
        The recording.
    wanted : collection of str
        Names of events, or parts of names between slashes; ``*`` for all.
    tmin, tmax : float
        Start and end of an epoch from its event, in s; the end is not part of it.

    Returns
    -------
    epochs : Epochs
        The epochs, neither baseline-corrected nor read yet.

    Raises
    ------
    ValueError
        If the recording has no such events.
    """
    events, event_id = _find_events(raw)
    chosen = {
        name: code
        for name, code in event_id.items()
        if "*" in wanted or name in wanted or set(name.split("/")) & set(wanted)
    }
    if not chosen:
        raise ValueError(
            f"Expected events {', '.join(wanted)}, got a recording with "
            f"{', '.join(event_id) or 'none'}."
        )
    return mne.Epochs(
        raw,
        events,
        chosen,
        tmin=tmin,
        # up to the last sample before the next window would begin
        tmax=tmax - 1 / raw.info["sfreq"],
        baseline=None,
        proj=False,
        event_repeated="drop",
    )


def _find_events(raw: BaseRaw) -> tuple[np.ndarray, dict[str, int]]:
    """Find events in annotations, as events.tsv becomes, or in stimulus channels."""
    events, event_id = mne.events_from_annotations(raw)
    if not event_id and "stim" in raw:
        events = mne.find_events(raw, shortest_event=1)
        event_id = {str(code): int(code) for code in np.unique(events[:, 2])}
    return events, event_id
