"""The name of an array, whatever channels of it are bad."""

from __future__ import annotations

from collections import Counter

import mne
from mne.utils import _validate_type

from ._geometry import NOISE, _coil_kind


def describe_array(info: mne.Info) -> str:
    """Say in words of which coils an array is made, good and bad ones.

    Parameters
    ----------
    info : mne.Info
        Measurement info with MEG channels.

    Returns
    -------
    array : str
        Number and kind of all MEG channels but references. Bad channels count, so that
        two recordings by one system have one name.

    Examples
    --------
    >>> from mne_megfm.sensors import canonical_array, describe_array
    >>> info = canonical_array().info(250.0)
    >>> info["bads"] = info["ch_names"][:3]
    >>> describe_array(info)
    '192 magnetometers'
    """
    _validate_type(info, mne.Info, "info", extra="(as in inst.info)")
    picks = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
    counts = Counter(_coil_kind(info["chs"][pick]) for pick in picks)
    return ", ".join(f"{counts[kind]} {kind}s" for kind in NOISE if counts[kind])
