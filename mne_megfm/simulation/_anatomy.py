"""Heads: cortex, sources, lead fields."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import mne
import numpy as np
from mne.transforms import Transform, apply_trans, invert_transform
from scipy.spatial import cKDTree

from ._arrays import HEAD_ORIGIN


class Cortex:
    """A subject's cortical surface in head coordinates.

    Parameters
    ----------
    subjects_dir : path-like
        The folder of subjects (FreeSurfer's ``SUBJECTS_DIR``).
    subject : str
        The name of a folder in it. Its ``bem`` folder should hold a source space
        (``*-src.fif``); without one the white surface is used. A BEM solution
        (``*-bem-sol.fif``) is used where there is one; without, a sphere.
    trans : None | path-like | mne.transforms.Transform
        Transform between head and MRI. None: ``*-trans.fif`` in the subject's
        folder or its ``bem`` folder, MNE-Python's own for fsaverage, or an
        estimate from the subject's fiducials.

    Attributes
    ----------
    pos, normals : array of shape (n_vertices, 3)
        Vertices (m) and normals, head coordinates.
    bem : None | mne.bem.ConductorModel
        The BEM solution.
    """

    def __init__(
        self,
        subjects_dir: str | Path,
        subject: str,
        trans: str | Path | Transform | None = None,
    ):
        root = Path(subjects_dir) / subject
        if not root.is_dir():
            raise FileNotFoundError(
                f"Expected the folder of subject {subject!r} in {subjects_dir}, got "
                "none; give the folder that holds the subject's folder as "
                "subjects_dir."
            )
        self.trans = _read_trans(root, Path(subjects_dir), subject, trans)
        src = _read_source_space(root, Path(subjects_dir), subject)
        to_head = invert_transform(self.trans)
        self.pos = np.concatenate([apply_trans(to_head, s["rr"]) for s in src])
        normals = np.concatenate([s["nn"] for s in src]) @ to_head["trans"][:3, :3].T
        self.normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        if np.ptp(self.pos, axis=0).max() > 0.3:
            raise ValueError(
                "Expected a cortical surface in metres, got one of "
                f"{np.ptp(self.pos, axis=0).max():.3g} m across."
            )
        found = _find(root, "-bem-sol.fif")
        self.bem = None
        if found is not None:
            self.bem = mne.read_bem_solution(found, verbose="error")
        self._tree = cKDTree(self.pos)

    def sphere(self) -> tuple[np.ndarray, float]:
        """Fit a sphere to the surface: its origin (head, m) and radius (m)."""
        design = np.c_[2.0 * self.pos, np.ones(len(self.pos))]
        fit = np.linalg.lstsq(design, np.sum(self.pos**2, axis=1), rcond=None)[0]
        far = np.linalg.norm(self.pos - fit[:3], axis=1)
        return fit[:3], float(np.percentile(far, 98))

    def sample(
        self, rng: np.random.Generator, n_positions: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw vertices and their normals."""
        idx = rng.choice(len(self.pos), n_positions, replace=False)
        return self.pos[idx], self.normals[idx]

    def nearest(
        self, pos: np.ndarray, want: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the vertex near a place whose normal fits a direction best.

        Currents flow along the normal, outwards or inwards.
        """
        n_near = min(150, len(self.pos))
        dist, idx = self._tree.query(pos, k=n_near)
        cosine = self.normals[idx] @ (want / np.linalg.norm(want))
        best = np.argmax(np.abs(cosine) - dist / 0.02)
        normal = self.normals[idx[best]] * np.sign(cosine[best] or 1.0)
        return self.pos[idx[best]], normal

    def lead_field(self, info: mne.Info, pos: np.ndarray) -> np.ndarray:
        """Compute the field of dipoles in three directions with the BEM."""
        in_mri = apply_trans(self.trans, pos)
        unit = np.tile([0.0, 0.0, 1.0], (len(pos), 1))
        src = mne.setup_volume_source_space(
            pos=dict(rr=in_mri, nn=unit), verbose="error"
        )
        fwd = mne.make_forward_solution(
            info, self.trans, src, self.bem, eeg=False, mindist=0.0, verbose="error"
        )
        gain = fwd["sol"]["data"].reshape(len(info["chs"]), -1, 3)
        # Vertices of a coarse surface may lie outside the inner skull; the
        # nearest one inside stands for them.
        kept = fwd["src"][0]["vertno"]
        if len(kept) == 0:
            raise ValueError(
                "Expected sources inside the inner skull, got none; the transform "
                "between head and MRI and the BEM do not belong together."
            )
        return gain[:, cKDTree(pos[kept]).query(pos)[1]]


def _find(root: Path, ending: str) -> Path | None:
    """Find the first file with an ending in a subject's folders."""
    for folder in (root / "bem", root):
        for pattern in (f"*{ending}", f"*{ending}.gz"):
            found = sorted(folder.glob(pattern))
            if found:
                return found[0]
    return None


def _read_source_space(root: Path, subjects_dir: Path, subject: str):
    found = _find(root, "-src.fif")
    if found is not None:
        src = mne.read_source_spaces(found, verbose="error")
        if not all(s["type"] == "surf" for s in src):
            raise ValueError(
                f"Expected a surface source space, got {src.kind!r} in {found}."
            )
        return src
    if (root / "surf" / "lh.white").is_file():
        return mne.setup_source_space(
            subject, "all", subjects_dir=subjects_dir, add_dist=False, verbose="error"
        )
    raise FileNotFoundError(
        f"Expected a source space (*-src.fif) or surf/lh.white in {root}, got "
        "neither; make one with mne.setup_source_space and write it to the subject's "
        "bem folder."
    )


def _read_trans(root: Path, subjects_dir: Path, subject: str, trans) -> Transform:
    """Return the transform from head to MRI."""
    if trans is None:
        trans = _find(root, "-trans.fif")
        if trans is None and subject == "fsaverage":
            folder = Path(mne.__file__).parent / "data" / "fsaverage"
            trans = folder / "fsaverage-trans.fif"
    if trans is None:
        try:
            return mne.coreg.estimate_head_mri_t(subject, subjects_dir)
        except Exception as exc:
            raise FileNotFoundError(
                f"Expected a transform between head and MRI (*-trans.fif) in {root}, "
                "got none, nor fiducials to estimate it from; give trans=."
            ) from exc
    if not isinstance(trans, Transform):
        trans = mne.read_trans(trans)
    if trans["from"] == mne.io.constants.FIFF.FIFFV_COORD_MRI:
        trans = invert_transform(trans)
    return trans


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
