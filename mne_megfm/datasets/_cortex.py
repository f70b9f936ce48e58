"""Sources on a cortical surface from a subjects folder."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
from mne.transforms import Transform, apply_trans, invert_transform
from scipy.spatial import cKDTree


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
