"""A person's head: where the sources are and what the sensors see of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import mne
import numpy as np
from mne.transforms import apply_trans

from ._arrays import HEAD_ORIGIN
from ._cortex import Cortex

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
    cortex: Cortex | None = None

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
    rng: np.random.Generator,
    info: mne.Info,
    cortex: Cortex | None = None,
    n_positions: int = 220,
) -> Head:
    """Draw a person's head that fits under the sensors of `info`."""
    sensors = apply_trans(
        info["dev_head_t"], np.array([ch["loc"][:3] for ch in info["chs"]])
    )
    if cortex is not None:
        origin, radius = cortex.sphere()
        pos, normals = cortex.sample(rng, n_positions)
        return Head(origin, radius, pos, np.stack([normals, normals]), cortex)
    origin = HEAD_ORIGIN + np.clip(rng.standard_normal(3), -2, 2) * 0.003
    nearest = np.linalg.norm(sensors - origin, axis=1).min()
    radius = float(np.clip(0.076 + 0.003 * rng.standard_normal(), 0.068, 0.083))
    radius = min(radius, nearest - 0.018)
    unit = rng.standard_normal((3 * n_positions, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    # Nothing far below the sphere's centre: there are face and neck.
    unit = unit[unit[:, 2] > -0.55][:n_positions]
    deep = rng.random(len(unit)) < 0.3
    depth = np.where(
        deep, rng.uniform(0.3, 0.70, len(unit)), rng.uniform(0.70, 0.94, len(unit))
    )
    pos = unit * depth[:, None] * radius
    first = tangential(pos, rng.standard_normal(pos.shape))
    second = np.cross(unit, first)
    return Head(origin, radius, pos + origin, np.stack([first, second]))


def tangential(rel: np.ndarray, ori: np.ndarray) -> np.ndarray:
    """Remove the radial part of orientations (silent in a sphere)."""
    unit = rel / np.linalg.norm(rel, axis=1, keepdims=True)
    ori = ori - np.sum(ori * unit, axis=1, keepdims=True) * unit
    return ori / np.linalg.norm(ori, axis=1, keepdims=True)


def lead_field(
    info: mne.Info, pos: np.ndarray, head: Head, n_outside: int = 0
) -> np.ndarray:
    """Compute the field of dipoles in three directions.

    Parameters
    ----------
    info : mne.Info
        Sensors.
    pos : array of shape (n_positions, 3)
        Positions in head coordinates, m.
    head : Head
        The head model.
    n_outside : int
        How many of the last positions are outside the skull: there the sphere is
        used even if the head has a BEM.

    Returns
    -------
    gain : array of shape (n_channels, n_positions, 3)
        In T / (A m) (planar gradiometers: T/m / (A m)).
    """
    if head.cortex is not None and head.cortex.bem is not None:
        n_inside = len(pos) - n_outside
        gain = head.cortex.lead_field(info, pos[:n_inside])
        if n_outside == 0:
            return gain
        ball = replace(head, cortex=None)
        return np.hstack([gain, lead_field(info, pos[n_inside:], ball)])
    unit = np.tile([0.0, 0.0, 1.0], (len(pos), 1))
    src = mne.setup_volume_source_space(pos=dict(rr=pos, nn=unit), verbose="error")
    model = mne.make_sphere_model(head.origin, head_radius=None, verbose="error")
    # Head and MRI coordinates are the same without an MRI.
    fwd = mne.make_forward_solution(
        info, None, src, model, meg=True, eeg=False, mindist=0.0, verbose="error"
    )
    return fwd["sol"]["data"].reshape(len(info["chs"]), len(pos), 3)
