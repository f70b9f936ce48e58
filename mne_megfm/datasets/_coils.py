"""Coils as few points: enough for the fields of far sources.

Fields of sources in the head come from MNE-Python's forward model. Those of the
heart and of the surroundings, which it does not have, need only what tells
magnetometers, axial and planar gradiometers apart.
"""

from __future__ import annotations

from collections.abc import Callable

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import apply_trans

from ._arrays import HEAD_ORIGIN

# White noise of usual sensors, T/sqrt(Hz) (planar: T/m/sqrt(Hz)).
NOISE_DENSITY = {
    "planar": 3.0e-13,
    "mag": 4.5e-15,
    "axial": 5.0e-15,
    "opm": 13e-15,
}

# Baselines in m, along the x axis (planar) or the z axis (axial) of the coil.
_PLANAR = {2: 0.0165, 3011: 0.0168, 3012: 0.0168, 3013: 0.0168, 3014: 0.0168}
_AXIAL = {5001: 0.05, 6001: 0.05}


def coil_kind(ch: dict) -> str:
    """Tell planar and axial gradiometers and magnetometers apart by the coil."""
    coil = int(ch["coil_type"]) & 0xFFFF
    if coil in _PLANAR:
        return "planar"
    if coil in _AXIAL:
        return "axial"
    point = (FIFF.FIFFV_COIL_POINT_MAGNETOMETER, FIFF.FIFFV_COIL_QUSPIN_ZFOPM_MAG)
    return "opm" if coil in point else "mag"


def sensor_scale(info: mne.Info) -> np.ndarray:
    """Nominal noise density of each channel, T/sqrt(Hz) or T/m/sqrt(Hz)."""
    return np.array([NOISE_DENSITY[coil_kind(ch)] for ch in info["chs"]])


def coil_average(info: mne.Info, field: Callable) -> np.ndarray:
    """Integrate a field over the coils of all channels, coarsely.

    Parameters
    ----------
    info : mne.Info
        Sensors.
    field : callable
        Maps points of shape (n, 3) in head coordinates to fields of shape
        (n, 3, n_fields) in T.

    Returns
    -------
    gain : array of shape (n_channels, n_fields)
    """
    chs, trans = info["chs"], info["dev_head_t"]["trans"]
    loc = np.array([ch["loc"] for ch in chs])
    pos = apply_trans(trans, loc[:, :3])
    ex, ez = loc[:, 3:6] @ trans[:3, :3].T, loc[:, 9:12] @ trans[:3, :3].T
    coils = [int(ch["coil_type"]) & 0xFFFF for ch in chs]
    planar = np.array([_PLANAR.get(coil, 0.0) for coil in coils])[:, None]
    axial = np.array([_AXIAL.get(coil, 0.0) for coil in coils])[:, None]
    first, second = pos + ex * planar / 2, pos - ex * planar / 2 + ez * axial
    out = np.einsum("ck,ckf->cf", ez, field(first))
    other = np.einsum("ck,ckf->cf", ez, field(second))
    out = np.where((planar + axial) > 0, out - other, out)
    return out / np.where(planar > 0, planar, 1.0)


def magnetic_dipole(pos: np.ndarray) -> Callable:
    """Return the field of unit magnetic dipoles (x, y, z; A m^2) far outside."""

    def field(points: np.ndarray) -> np.ndarray:
        vec = points - pos
        dist = np.linalg.norm(vec, axis=1)[:, None, None]
        unit = vec[:, :, None] / dist
        return 1e-7 * (3 * unit * unit.transpose(0, 2, 1) - np.eye(3)) / dist**3

    return field


def uniform_and_gradients(points: np.ndarray) -> np.ndarray:
    """Return three uniform fields and the five gradients free of sources."""
    x, y, z = (points - HEAD_ORIGIN).T
    zero, one = np.zeros_like(x), np.ones_like(x)
    fields = [
        (one, zero, zero),
        (zero, one, zero),
        (zero, zero, one),
        (y, x, zero),
        (z, zero, x),
        (zero, z, y),
        (x, -y, zero),
        (-x / 2, -y / 2, z),
    ]
    return np.stack([np.stack(f, axis=1) for f in fields], axis=2)
