"""What the info of a recording says of the device: coils, head position, filters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import Transform
from mne.utils import _validate_type

# The kind of a coil is its geometry, and a FIFF coil type stands for one geometry
# (area, baseline and direction of the baseline). The channel type does not say:
# 'grad' in MNE goes by the unit, and axial gradiometers are commonly 'mag'.
_PLANAR = {
    FIFF.FIFFV_COIL_NM_122,
    FIFF.FIFFV_COIL_VV_PLANAR_W,
    FIFF.FIFFV_COIL_VV_PLANAR_T1,
    FIFF.FIFFV_COIL_VV_PLANAR_T2,
    FIFF.FIFFV_COIL_VV_PLANAR_T3,
    FIFF.FIFFV_COIL_VV_PLANAR_T4,
}
_AXIAL = {
    FIFF.FIFFV_COIL_NM_MCG_AXIAL,
    FIFF.FIFFV_COIL_AXIAL_GRAD_5CM,
    FIFF.FIFFV_COIL_MAGNES_GRAD,
    FIFF.FIFFV_COIL_CTF_GRAD,
    FIFF.FIFFV_COIL_KIT_GRAD,
    FIFF.FIFFV_COIL_BABY_GRAD,
    FIFF.FIFFV_COIL_ARTEMIS123_GRAD,
    FIFF.FIFFV_COIL_KRISS_GRAD,
    FIFF.FIFFV_COIL_COMPUMEDICS_ADULT_GRAD,
    FIFF.FIFFV_COIL_COMPUMEDICS_PEDIATRIC_GRAD,
}
# Without information on where the head was, MNE's readers of these systems give the
# identity, which no measurement gives.
_IDENTITY_IF_UNKNOWN = {
    FIFF.FIFFV_COIL_KIT_GRAD,
    FIFF.FIFFV_COIL_MAGNES_MAG,
    FIFF.FIFFV_COIL_MAGNES_GRAD,
}
#: Noise that makes sensors of different kinds comparable: T, but T/m for planar
#: gradiometers (5 fT/cm).
NOISE = {"planar gradiometer": 5e-13, "axial gradiometer": 2e-14, "magnetometer": 2e-14}


def device_to_head(info: mne.Info) -> Transform | None:
    """Get the head position of a recording, where it is known.

    Parameters
    ----------
    info : mne.Info
        Measurement info of the recording.

    Returns
    -------
    trans : Transform | None
        ``info["dev_head_t"]``. None if the head position is not known: there is none,
        or it is the identity that MNE's readers of KIT and BTi/4D recordings give when
        there are no marker coils or no head shape (such a recording has no digitised
        points either).

    Examples
    --------
    >>> from mne_megfm.simulation import make_array_info
    >>> from mne_megfm.inputs import device_to_head
    >>> info = make_array_info("kit160")
    >>> device_to_head(info) is info["dev_head_t"]
    True
    >>> info["dev_head_t"] = None
    >>> device_to_head(info) is None
    True
    """
    trans = info["dev_head_t"]
    if trans is None or info["dig"] or not np.array_equal(trans["trans"], np.eye(4)):
        return trans
    meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
    coils = {int(info["chs"][pick]["coil_type"]) & 0xFFFF for pick in meg}
    return None if coils & _IDENTITY_IF_UNKNOWN else trans


def is_maxwell_filtered(info: mne.Info) -> bool:
    """Find whether signal-space separation has been applied to a recording.

    Parameters
    ----------
    info : mne.Info
        Measurement info of the recording.

    Returns
    -------
    filtered : bool
        Whether a record of ``info["proc_history"]`` has the expansion of a signal-space
        separation, with its order and components. The record without content that
        internal active shielding leaves is none, nor is that of the temporal extension
        alone (``st_only=True``), nor one that is there in part.

    Examples
    --------
    >>> from mne_megfm.simulation import make_array_info
    >>> from mne_megfm.inputs import is_maxwell_filtered
    >>> is_maxwell_filtered(make_array_info("neuromag306"))
    False
    """
    return bool(separations(info))


def separations(info: mne.Info) -> list[dict[str, Any]]:
    """List the ``sss_info`` of each signal-space separation that has been applied."""
    return [record["max_info"]["sss_info"] for record in separation_records(info)]


def separation_records(info: mne.Info) -> list[dict[str, Any]]:
    """List the records of each signal-space separation that has been applied.

    Recordings made with internal active shielding carry a record without content
    before any separation, and MaxFilter 3 writes one beside that of the separation.
    One that lacks the order or the components of the expansion is none, either: nothing
    tells what is left of the data.
    """
    return [record for record in info["proc_history"] or () if _is_whole(record)]


def _is_whole(record: Mapping[str, Any]) -> bool:
    separation = (record.get("max_info") or {}).get("sss_info") or {}
    order, components = (separation.get(key) for key in ("in_order", "components"))
    return order is not None and components is not None and bool(np.any(components))


def active_projs(info: mne.Info) -> list[mne.Projection]:
    """Get the projectors that have been applied to the data."""
    return [proj for proj in info["projs"] if proj["active"]]


def coil_kind(ch: dict[str, Any]) -> str:
    """Find the kind of a coil from its type."""
    coil_type = int(ch["coil_type"]) & 0xFFFF  # the upper bits are the compensation
    if coil_type in _PLANAR:
        return "planar gradiometer"
    return "axial gradiometer" if coil_type in _AXIAL else "magnetometer"


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
    >>> from mne_megfm.inputs import describe_array
    >>> from mne_megfm.sensors import canonical_array
    >>> info = canonical_array().info(250.0)
    >>> info["bads"] = info["ch_names"][:3]
    >>> describe_array(info)
    '192 magnetometers'
    """
    _validate_type(info, mne.Info, "info", extra="(as in inst.info)")
    picks = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
    counts = Counter(coil_kind(info["chs"][pick]) for pick in picks)
    return ", ".join(f"{counts[kind]} {kind}s" for kind in NOISE if counts[kind])
