"""Places of attention on the head, and from there to sensors."""

from __future__ import annotations

from functools import lru_cache

import mne
import numpy as np
from mne.io.constants import FIFF
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..sensors import CanonicalArray, canonical_array, compute_mapping
from ..sensors._geometry import read_geometry

#: Spread of a place on the canonical shell (m): half of the distance of regions.
SPREAD = 0.03
#: Regions between which attention is put halfway: neighbours, up to the distance
#: of the two poles of a deep source (m).
NEAR, FAR = 0.04, 0.13
#: Sensors closer than this are at one place (m).
SAME_PLACE = 2e-3
#: Tilt of turned heads (rad): the regions of all turns then cover the shell densely.
TILT = np.deg2rad(10.0)


def unit_vectors(
    pos: NDArray[np.float64], origin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give directions of positions as seen from the centre of the head.

    Parameters
    ----------
    pos : ndarray, shape (n, 3)
        Positions in head coordinates (m).
    origin : ndarray, shape (3,)
        The centre (m).

    Returns
    -------
    unit : ndarray, shape (n, 3)
        Unit vectors.
    """
    rel = pos - origin
    return rel / np.linalg.norm(rel, axis=-1, keepdims=True)


def angles(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute angles between all pairs of unit vectors.

    Parameters
    ----------
    one, other : ndarray, shape (n, 3), (m, 3)
        Unit vectors.

    Returns
    -------
    angles : ndarray, shape (n, m)
        In rad.
    """
    return np.arccos(np.clip(one @ other.T, -1.0, 1.0))


@lru_cache(maxsize=4)
def turned_heads(n_turns: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Turn the head under the canonical array.

    Parameters
    ----------
    n_turns : int
        How many turns about the vertical axis, in even steps; the first is none. The
        others are tilted a little, each to another side.

    Returns
    -------
    rotations : ndarray, shape (n_turns, 3, 3)
        From the head to the turned head.
    matrices : ndarray, shape (n_turns, n_sensors, n_sensors)
        From the field of the head to the field of the turned head.
    """
    array = canonical_array()
    steps = np.arange(n_turns)[:, None]
    turn = 2 * np.pi * steps / n_turns * [0.0, 0.0, 1.0]
    side = np.pi * (1.0 + np.sqrt(5.0)) * steps
    tilt = TILT * np.hstack([np.cos(side), np.sin(side), 0.0 * side])
    tilt[0] = 0.0
    about = Rotation.from_rotvec(turn) * Rotation.from_rotvec(tilt)
    rotations = about.as_matrix()
    matrices = np.empty((n_turns, array.n_sensors, array.n_sensors), np.float32)
    matrices[0] = np.eye(array.n_sensors)
    for rotation, matrix in zip(rotations[1:], matrices[1:], strict=True):
        info = array.info(1.0)
        trans = np.eye(4)
        trans[:3, :3] = rotation
        trans[:3, 3] = array.origin - rotation @ array.origin
        # the array turned with the head, as seen from where it stands
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", trans)
        matrix[:] = compute_mapping(info, verbose="error").to_canonical
    return rotations, matrices


def region_places(
    array: CanonicalArray, between: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Say where attention of regions, or between two of them, is put.

    Parameters
    ----------
    array : CanonicalArray
        The array.
    between : bool
        Whether places are halfway between two regions.

    Returns
    -------
    places : ndarray, shape (n_places, 3)
        Directions from the centre of the array.
    used : ndarray of bool, shape (n_regions,) or (n_regions, n_regions)
        Which regions, or pairs, these are.
    """
    unit = unit_vectors(array.region_pos, array.origin)
    if not between:
        return unit, np.ones(len(unit), bool)
    apart = array.radius * angles(unit, unit)
    used = (apart > NEAR) & (apart < FAR)
    first, second = np.nonzero(used)
    return unit_vectors(unit[first] + unit[second], np.zeros(3)), used


def spread_matrix(
    targets: NDArray[np.float64],
    places: NDArray[np.float64],
    rotations: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Compute the weights that bring values at places to targets.

    A target has the mean of all places of all turns, weighted by a Gaussian of their
    distance on the shell (Nadaraya 1964): even attention stays even, wherever
    targets are and however many there are.

    Parameters
    ----------
    targets : ndarray, shape (n_targets, 3)
        Directions of sensors from the centre.
    places : ndarray, shape (n_places, 3)
        Directions of places in the turned heads.
    rotations : ndarray, shape (n_turns, 3, 3)
        From the head to the turned heads.

    Returns
    -------
    weights : ndarray, shape (n_targets, n_turns, n_places)
        Sums to 1 for each target.
    """
    width = SPREAD / canonical_array().radius
    # rows times a rotation are turned back
    turned = np.concatenate([places @ rotation for rotation in rotations])
    exponent = -0.5 * np.square(angles(targets, turned) / width)
    # far from all places the nearest decides, instead of 0 / 0
    weights = np.exp(exponent - exponent.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return weights.reshape(len(targets), len(rotations), len(places))


def sensor_info(info: mne.Info, sfreq: float) -> tuple[mne.Info, NDArray[np.float64]]:
    """Keep the places of the sensors of an info, for maps that are no field.

    Parameters
    ----------
    info : mne.Info
        Measurement info.
    sfreq : float
        Sampling rate of the maps (Hz).

    Returns
    -------
    info : mne.Info
        One channel for each place with a sensor, the magnetometer where there are
        several; bad ones too, since a map by place needs no signal. They count as
        point magnetometers, so that MNE plots all arrays alike and merges nothing, and
        have no projectors or compensation.
    pos : ndarray, shape (n_channels, 3)
        Their positions in head coordinates (m).
    """
    geometry = read_geometry(info)
    planar = np.array([kind.startswith("planar") for kind in geometry.kinds])
    kept: list[int] = []
    for index in np.argsort(planar, kind="stable"):
        apart = np.linalg.norm(geometry.pos[kept] - geometry.pos[index], axis=1)
        if not (apart < SAME_PLACE).any():
            kept.append(int(index))
    kept.sort()
    picks = [info["ch_names"].index(geometry.names[index]) for index in kept]
    with mne.utils.use_log_level("error"):
        info = mne.pick_info(info, picks)
    for ch in info["chs"]:
        ch["coil_type"] = FIFF.FIFFV_COIL_POINT_MAGNETOMETER
        ch["unit"] = FIFF.FIFF_UNIT_T
    with info._unlock():
        info.update(
            sfreq=sfreq, highpass=0.0, lowpass=sfreq / 2, bads=[], projs=[], comps=[]
        )
    return info, geometry.pos[kept]
