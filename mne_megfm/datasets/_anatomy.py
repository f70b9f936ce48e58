"""A person's head: where the sources are and what the sensors see of them."""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import apply_trans

from ._arrays import HEAD_ORIGIN

# Mean places of sources in a head with its centre at HEAD_ORIGIN, right side, in
# m relative to that centre (x right, y front, z up), after the group means that
# the papers in `_evoked.py` give; the left side is their mirror image.
PLACES = {
    "auditory": (0.050, 0.008, 0.020),
    "si": (0.040, -0.004, 0.049),
    "sii": (0.049, 0.004, 0.029),
    "alpha": (0.022, -0.058, 0.028),
    "occipital": (0.010, -0.066, 0.010),
    "mu": (0.040, -0.006, 0.048),
    "beta": (0.036, 0.008, 0.050),
    "frontal_beta": (0.034, 0.040, 0.040),
    "midline_theta": (0.006, 0.048, 0.042),
    "temporal_theta": (0.055, 0.004, 0.002),
}


@dataclass
class Head:
    """A person's head model and sources.

    Attributes
    ----------
    origin : array of shape (3,)
        Centre of the head (and of the sphere model) in head coordinates, m.
    radius : float
        Radius of the brain in m.
    background : array of shape (n_positions, 3)
        Positions of background sources in head coordinates, m.
    background_ori : array of shape (2, n_positions, 3)
        Orientations, two at each position in a sphere; on a cortex the normal
        twice.
    cortex : None | Cortex
        The cortical surface that sources lie on.
    """

    origin: np.ndarray
    radius: float
    background: np.ndarray
    background_ori: np.ndarray
    cortex: object = None

    def place(
        self,
        rng: np.random.Generator,
        name: str,
        side: int,
        direction: tuple | None = None,
        spread: float = 0.004,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Put a source near its usual place.

        Parameters
        ----------
        name : str
            A key of ``PLACES``.
        side : int
            1 for the right hemisphere, -1 for the left.
        direction : tuple | None
            Usual direction of its current (right side); None for any.
        spread : float
            Standard deviation of its position in m.

        Returns
        -------
        pos, ori : array of shape (3,)
            Position (head coordinates, m) and unit orientation.
        """
        mirror = np.array([side, 1.0, 1.0])
        rel = np.array(PLACES[name]) * mirror * (self.radius / 0.076)
        rel = rel + np.clip(rng.standard_normal(3), -2, 2) * spread
        noise = rng.standard_normal(3)
        if direction is None:
            want = noise
        else:
            want = np.array(direction, float) * mirror
            want = want / np.linalg.norm(want) + 0.15 * noise
        rel = self._inside(rel)
        if self.cortex is not None:
            return self.cortex.nearest(rel + self.origin, want)
        return rel + self.origin, tangential(rel[None], want[None])[0]

    def _inside(self, rel: np.ndarray) -> np.ndarray:
        """Pull a position back into the brain."""
        return rel * min(1.0, 0.97 * self.radius / np.linalg.norm(rel))


def make_head(
    rng: np.random.Generator, info: mne.Info, cortex=None, n_positions: int = 220
) -> Head:
    """Draw a person's head that fits under the sensors of `info`."""
    sensors = apply_trans(
        info["dev_head_t"], np.array([ch["loc"][:3] for ch in info["chs"]])
    )
    origin = HEAD_ORIGIN + np.clip(rng.standard_normal(3), -2, 2) * 0.003
    nearest = np.linalg.norm(sensors - origin, axis=1).min()
    radius = float(np.clip(0.076 + 0.003 * rng.standard_normal(), 0.068, 0.083))
    radius = min(radius, nearest - 0.018)
    unit = rng.standard_normal((3 * n_positions, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    # The brain has no parts far below the sphere's centre at the front and back.
    unit = unit[unit[:, 2] > -0.55][:n_positions]
    deep = rng.random(len(unit)) < 0.3
    depth = np.where(
        deep, rng.uniform(0.3, 0.78, len(unit)), rng.uniform(0.78, 0.98, len(unit))
    )
    pos = unit * depth[:, None] * radius
    first = tangential(pos, rng.standard_normal(pos.shape))
    second = np.cross(unit, first)
    head = Head(origin, radius, pos + origin, np.stack([first, second]), cortex)
    if cortex is not None:
        head.background, normals = cortex.sample(rng, n_positions)
        head.background_ori = np.stack([normals, normals])
    return head


def tangential(rel: np.ndarray, ori: np.ndarray) -> np.ndarray:
    """Remove the radial part of orientations (silent in a sphere)."""
    unit = rel / np.linalg.norm(rel, axis=1, keepdims=True)
    ori = ori - np.sum(ori * unit, axis=1, keepdims=True) * unit
    return ori / np.linalg.norm(ori, axis=1, keepdims=True)


def lead_field(info: mne.Info, pos: np.ndarray, head: Head) -> np.ndarray:
    """Compute the field of dipoles in three directions.

    Parameters
    ----------
    info : mne.Info
        Sensors.
    pos : array of shape (n_positions, 3)
        Positions in head coordinates, m.
    head : Head
        The head model.

    Returns
    -------
    gain : array of shape (n_channels, n_positions, 3)
        In T / (A m) (planar gradiometers: T/m / (A m)).
    """
    if head.cortex is not None and head.cortex.bem is not None:
        return head.cortex.lead_field(info, pos)
    unit = np.tile([0.0, 0.0, 1.0], (len(pos), 1))
    src = mne.setup_volume_source_space(pos=dict(rr=pos, nn=unit), verbose="error")
    sphere = mne.make_sphere_model(head.origin, head_radius=None, verbose="error")
    fwd = mne.make_forward_solution(
        info, None, src, sphere, meg=True, eeg=False, mindist=0.0, verbose="error"
    )
    return fwd["sol"]["data"].reshape(len(info["chs"]), len(pos), 3)


# Coils as few points, enough for fields of far sources: baseline in m, along the
# x axis (planar) or the z axis (axial) of the coil.
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


def coil_average(info: mne.Info, field) -> np.ndarray:
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


def magnetic_dipole(pos: np.ndarray):
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
