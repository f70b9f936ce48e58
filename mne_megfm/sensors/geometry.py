"""Where sensors are, what they measure, and where the head was."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import joblib
import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import Transform, apply_trans, invert_transform
from mne.utils import _validate_type, logger, warn
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from ..inputs.device import (
    NOISE,
    active_projs,
    coil_kind,
    device_to_head,
    separations,
)

#: Centre of the sphere model and of the canonical shell in head coordinates (m).
ORIGIN = (0.0, 0.0, 0.04)
MIN_CHANNELS = 20
FEW_CHANNELS = 30
#: Nearest and farthest that a coil can be from the centre of a head (m).
NEAREST, FARTHEST = 0.045, 0.3

#: Sensors nearer than this (m) are at one place: vector magnetometers and the triplets
#: of Neuromag have up to three there, which look in different directions.
_ONE_PLACE, _MOST_AT_ONE_PLACE = 1e-3, 3
# more sensors at wrong places than this share cannot be left out
_MOST_SHARED = 0.25
_warned: dict[str, Any] = {"filters": None, "recordings": set()}


@dataclass(frozen=True, eq=False)
class Geometry:
    """The coils of a recording.

    Attributes
    ----------
    names : tuple of str
        MEG channels that have a position, references not among them.
    good : ndarray of bool, shape (n_names,)
        Which of them are not marked as bad, and have a place of their own.
    loc : ndarray, shape (n_channels, 12)
        MNE's ``loc`` in head coordinates, of ``picks``.
    picks : ndarray of int, shape (n_channels,)
        Channels of the info that the lead field needs: those in ``names``, and the
        references where gradient compensation was applied.
    is_reference : ndarray of bool, shape (n_channels,)
        Which of ``picks`` are references.
    kinds : list of str
        Kind of coil of each of ``names``.
    key : str
        Hash of everything that a mapping depends on.
    warning : str
        What is to be said when a mapping is made for it, if anything.
    """

    names: tuple[str, ...]
    good: NDArray[np.bool_]
    loc: NDArray[np.float64]
    picks: NDArray[np.intp]
    is_reference: NDArray[np.bool_]
    kinds: list[str]
    key: str
    warning: str = ""

    @property
    def pos(self) -> NDArray[np.float64]:
        """Positions of ``names`` in head coordinates (m)."""
        return self.loc[~self.is_reference, :3]

    @property
    def noise(self) -> NDArray[np.float64]:
        """Nominal noise of ``names`` (T or T/m)."""
        return np.array([NOISE[kind] for kind in self.kinds])

    @property
    def system(self) -> str:
        """The good coils in words."""
        counts = Counter(
            kind for kind, good in zip(self.kinds, self.good, strict=True) if good
        )
        return ", ".join(
            f"{counts[kind]} {kind}s" for kind in NOISE if counts[kind] > 0
        )


def read_geometry(info: mne.Info) -> Geometry:
    """Check an info and bring its MEG coils into head coordinates.

    Parameters
    ----------
    info : mne.Info
        Measurement info with MEG channels.

    Returns
    -------
    geometry : Geometry
        Its coils.

    Raises
    ------
    ValueError
        If there are too few usable MEG channels or their positions cannot be right.
    """
    _validate_type(info, mne.Info, "info", extra="(as in inst.info)")
    meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
    if len(meg) == 0:
        types = ", ".join(sorted(set(info.get_channel_types()))) or "none"
        raise ValueError(
            f"Expected MEG channels in info, got channel types: {types}. Pass a "
            "recording with magnetometers or gradiometers, and set their types with "
            "inst.set_channel_types if they are named otherwise."
        )
    raw_loc = np.array([info["chs"][pick]["loc"] for pick in meg], float)
    has_position = np.isfinite(raw_loc).all(1) & (raw_loc[:, :3] != 0).any(1)
    names = np.array([info["ch_names"][pick] for pick in meg])
    good = ~np.isin(names, info["bads"])
    _check_channels(names, good, has_position)

    # a bad channel without a position cannot be mapped back to, and is not needed
    meg, names, good = meg[has_position], names[has_position], good[has_position]
    references = _compensation_references(info, meg)
    picks = np.sort(np.r_[meg, references])
    is_reference = np.isin(picks, references)
    loc = _to_head(info, picks, is_reference)
    kinds = [coil_kind(info["chs"][pick]) for pick in meg]
    _check_positions(loc[~is_reference][good], names[good])
    shared, warning = _shared_places(
        loc[~is_reference][good], names[good], np.array(kinds)[good]
    )
    good[good] = ~shared
    return Geometry(
        names=tuple(names.tolist()),
        good=good,
        loc=loc,
        picks=picks,
        is_reference=is_reference,
        kinds=kinds,
        key=_key(info, picks, good),
        warning=warning,
    )


def _listed(names: NDArray[np.str_]) -> str:
    """Write down the first few names."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5].tolist()) + more


def _check_channels(
    names: NDArray[np.str_], good: NDArray[np.bool_], has_position: NDArray[np.bool_]
) -> None:
    """Refuse what is too little to map from."""
    n_good = int(good.sum())
    if n_good == 0:
        raise ValueError(
            f"Expected good MEG channels, got {len(names)} that are all marked as "
            "bad; correct info['bads']."
        )
    lost = names[good & ~has_position]
    if len(lost):
        raise ValueError(
            "Expected a position and orientation for every good MEG channel, got "
            f"none (NaN or zero) for {len(lost)} of {n_good}: {_listed(lost)}. Read "
            "the recording with MNE's own reader, set ch['loc'] in info['chs'], or "
            "mark these channels as bad."
        )
    if n_good < MIN_CHANNELS:
        raise ValueError(
            f"Expected at least {MIN_CHANNELS} good MEG channels to estimate "
            f"the field around the head, got {n_good}; use more channels of the "
            "recording, or another sensor mapping."
        )
    if n_good < FEW_CHANNELS:
        warn(
            f"Only {n_good} good MEG channels: the field around the head is "
            "estimated roughly at best.",
            RuntimeWarning,
        )


def _check_positions(loc: NDArray[np.float64], names: NDArray[np.str_]) -> None:
    """Refuse positions that cannot be around a head."""
    distance = np.linalg.norm(loc[:, :3] - np.array(ORIGIN), axis=1)
    far, near = distance > FARTHEST, distance < NEAREST
    if far.any():
        middle = float(np.median(distance))
        unit = {1: "cm", 2: "mm"}.get(round(np.log10(middle / 0.115)) - 1)
        advice = (
            f"they look like {unit}, convert them to m"
            if unit
            else "check dev_head_t and the units, or mark the channels as bad"
        )
        raise ValueError(
            f"Expected MEG sensors within {FARTHEST} m of the head's centre, got "
            f"{far.sum()} of {len(far)} farther away (median {middle:.3g} m): "
            f"{_listed(names[far])}; {advice}."
        )
    if near.any():
        raise ValueError(
            "Expected MEG sensors outside the head, got "
            f"{near.sum()} of {len(near)} within {NEAREST} m of its centre at "
            f"{ORIGIN} m: {_listed(names[near])}; check dev_head_t and the units, or "
            "mark the channels as bad."
        )
    axes = loc[:, 3:].reshape(-1, 3, 3)
    skew = np.abs(axes @ axes.transpose(0, 2, 1) - np.eye(3)).max((1, 2)) > 0.05
    if skew.any():
        raise ValueError(
            "Expected three perpendicular unit vectors as the orientation of every "
            f"MEG sensor, got others for {_listed(names[skew])}; set the last nine "
            "numbers of ch['loc'] or mark the channels as bad."
        )


def _shared_places(
    loc: NDArray[np.float64], names: NDArray[np.str_], kinds: NDArray[np.str_]
) -> tuple[NDArray[np.bool_], str]:
    """Find sensors whose position cannot be theirs, since others have it; name them."""
    apart = cdist(loc[:, :3], loc[:, :3])
    together = apart < _ONE_PLACE
    crowded = together.sum(1) > _MOST_AT_ONE_PLACE
    np.fill_diagonal(together, False)
    one, other = np.nonzero(together & (kinds[:, None] == kinds))
    # of magnetometers and axial gradiometers the normal alone gives the direction
    turned = np.abs(loc[one, 3:] - loc[other, 3:])
    turned[kinds[one] != "planar gradiometer", :6] = 0.0
    same = np.zeros_like(crowded)
    same[one[turned.max(1, initial=0.0) < 0.05]] = True
    shared = crowded | same
    if not shared.any():
        return shared, ""
    np.fill_diagonal(together, True)
    n_places = len(np.unique(together[shared], axis=0))
    found = f"{shared.sum()} at {n_places} places ({_listed(names[shared])})"
    if shared.sum() > _MOST_SHARED * len(shared):
        raise ValueError(
            f"Expected a place of its own for every MEG sensor, got {found} of "
            f"{len(shared)}; read the recording with MNE's own reader, or set "
            "ch['loc'] in info['chs']."
        )
    return shared, (
        f"MEG sensors share place and direction, which no two can: {found}. They are "
        "left out like bad channels; correct ch['loc'] in info['chs'] if you know it."
    )


def _compensation_references(info: mne.Info, meg: NDArray[np.intp]) -> NDArray[np.intp]:
    """Pick the references that the lead field needs, where there are any."""
    grade = max(int(info["chs"][pick]["coil_type"]) >> 16 for pick in meg)
    references = mne.pick_types(info, meg=False, ref_meg=True, exclude=())
    if grade == 0:
        return references[:0]
    if len(info["comps"]) == 0 or len(references) == 0:
        # third-order compensation changes the field of the brain by as much as half
        warn(
            f"Gradient compensation of grade {grade} has been applied, but the "
            "reference channels are no longer there to say what it did: the mapping "
            "ignores it. Keep them until after this step, as in "
            "raw.pick(['meg', 'ref_meg']).",
            RuntimeWarning,
        )
        return references[:0]
    return references


def _to_head(
    info: mne.Info, picks: NDArray[np.intp], is_reference: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Bring coil positions and orientations into head coordinates."""
    loc = np.array([info["chs"][pick]["loc"] for pick in picks], float)
    frames = np.array([int(info["chs"][pick]["coord_frame"]) for pick in picks])
    for frame in np.unique(frames):
        at = frames == frame
        if frame == FIFF.FIFFV_COORD_HEAD:
            continue
        if frame in (FIFF.FIFFV_COORD_DEVICE, FIFF.FIFFV_COORD_UNKNOWN):
            trans = device_to_head(info)
            if trans is None:
                _warn_unknown_position(info)
                trans = _guess_head_position(loc[at & ~is_reference, :3])
        elif frame == FIFF.FIFFV_MNE_COORD_CTF_HEAD and info["ctf_head_t"] is not None:
            trans = info["ctf_head_t"]
            if trans["from"] == FIFF.FIFFV_COORD_HEAD:
                trans = invert_transform(trans)
        else:
            raise ValueError(
                "Expected MEG sensors in device or head coordinates, got coordinate "
                f"frame {frame}; read the recording with MNE's own reader."
            )
        axes = loc[at, 3:].reshape(-1, 3)
        loc[at, :3] = apply_trans(trans, loc[at, :3])
        loc[at, 3:] = apply_trans(trans, axes, move=False).reshape(-1, 9)
    return loc


def _warn_unknown_position(info: mne.Info) -> None:
    """Warn of an unknown head position, once for each recording.

    Mappings are asked for in fit and transform, and for each set of flat channels.
    """
    if logger.level > logging.WARNING:
        return
    if _warned["filters"] is not warnings.filters:  # as Python's own registries do
        _warned.update(filters=warnings.filters, recordings=set())
    places = [ch["loc"] for ch in info["chs"]]
    ids = [info[key] for key in ("meas_date", "meas_id", "file_id", "subject_info")]
    recording = joblib.hash((info["ch_names"], places, [str(one) for one in ids]))
    if recording in _warned["recordings"]:
        return
    _warned["recordings"].add(recording)
    is_none = info["dev_head_t"] is None
    reason = (
        "is None" if is_none else "is the identity, and there are no digitised points"
    )
    warn(
        f"The head position is not known (info['dev_head_t'] {reason}): the sphere "
        f"through the sensors is put around {ORIGIN} m in head coordinates, without "
        "turning it. Set info['dev_head_t'] if you have it; for KIT recordings pass "
        "mrk, elp and hsp to mne.io.read_raw_kit.",
        RuntimeWarning,
    )


def _guess_head_position(pos: NDArray[np.float64]) -> Transform:
    """Put the helmet's centre where the centre of a head is."""
    # sphere through the sensors by linear least squares: 2 p.c + (r^2 - c^2) = p^2
    system = np.c_[2 * pos, np.ones(len(pos))]
    centre = np.linalg.lstsq(system, (pos**2).sum(1), rcond=None)[0][:3]
    shift = np.eye(4)
    shift[:3, 3] = np.array(ORIGIN) - centre
    return Transform("meg", "head", shift)


def _key(info: mne.Info, picks: NDArray[np.intp], good: NDArray[np.bool_]) -> str:
    """Hash what the mapping depends on, and nothing else."""
    chs = [info["chs"][pick] for pick in picks]
    transforms = [info["dev_head_t"], info["ctf_head_t"]]
    # FIF files keep single precision: what is read back is the same geometry
    return joblib.hash(
        (
            mne.__version__,
            # one string and arrays, which joblib hashes quicker than lists
            "\n".join(ch["ch_name"] for ch in chs),
            np.array([(ch["coil_type"], ch["coord_frame"]) for ch in chs], int),
            np.array([ch["loc"] for ch in chs], np.float32),
            [np.float32(trans["trans"]) for trans in transforms if trans is not None],
            good,
            [
                ("\n".join(proj["data"]["col_names"]), np.float32(proj["data"]["data"]))
                for proj in active_projs(info)
            ],
            [
                (int(comp["kind"]), np.float32(comp["data"]["data"]))
                for comp in info["comps"]
            ],
            [
                (int(record["in_order"]), np.asarray(record["components"], int))
                for record in separations(info)
            ],
        )
    )
