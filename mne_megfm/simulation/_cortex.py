"""The template cortex that comes with nilearn, and heads around it."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import mne
import numpy as np
from mne.transforms import Transform, apply_trans, invert_transform
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from ..utils.extras import needs_extra

_TEMPLATE = Path(mne.__file__).parent / "data" / "fsaverage"


@lru_cache(maxsize=4)
def template_source_space(spacing: str = "ico3") -> mne.SourceSpaces:
    """Make a source space on the fsaverage5 cortex, without a download.

    Parameters
    ----------
    spacing : str
        As in ``mne.setup_source_space``; ``'ico3'`` is 642 sources a hemisphere.

    Returns
    -------
    src : mne.SourceSpaces
        Sources on the white surface, in MRI coordinates of fsaverage.

    Raises
    ------
    ImportError
        If nilearn is not installed, whose surfaces are used.
    """
    use = "the surfaces of fsaverage5 (or give src=, a surface source space)"
    with needs_extra("encoding", use):
        import nilearn.datasets
        import nilearn.surface
    meshes = nilearn.datasets.fetch_surf_fsaverage("fsaverage5")
    with tempfile.TemporaryDirectory() as folder:
        surf = Path(folder) / "fsaverage" / "surf"
        surf.mkdir(parents=True)
        for hemi, side in (("lh", "left"), ("rh", "right")):
            for name in ("white", "sphere"):
                mesh = nilearn.surface.load_surf_mesh(meshes[f"{name}_{side}"])
                mne.write_surface(surf / f"{hemi}.{name}", *map(np.asarray, mesh))
        return mne.setup_source_space(
            "fsaverage",
            spacing,
            subjects_dir=folder,
            add_dist=False,
            verbose="error",
        )


def template_trans() -> Transform:
    """Read the transform from head to MRI of fsaverage, which MNE ships."""
    trans = mne.read_trans(_TEMPLATE / "fsaverage-trans.fif")
    return trans if trans["from"] == 4 else invert_transform(trans)


@lru_cache(maxsize=1)
def _skull() -> NDArray:
    """Read the points of the inner skull of fsaverage, in head coordinates (m)."""
    surface = mne.read_bem_surfaces(
        _TEMPLATE / "fsaverage-inner_skull-bem.fif", verbose="error"
    )[0]
    return apply_trans(invert_transform(template_trans()), surface["rr"])


def template_sphere(shift: tuple[float, float, float] = (0.0, 0.0, 0.0)):
    """Fit a sphere to the inner skull of fsaverage, as a conductor for MEG.

    Parameters
    ----------
    shift : tuple of float
        Moves its centre, in m.

    Returns
    -------
    sphere : mne.bem.ConductorModel
        In head coordinates.
    """
    points = _skull()
    design = np.c_[2 * points, np.ones(len(points))]
    centre = np.linalg.lstsq(design, np.sum(points**2, axis=1), rcond=None)[0][:3]
    return mne.make_sphere_model(centre + shift, None, verbose="error")


def mesh_distances(
    hemisphere: dict, start: int, limit: float = np.inf
) -> NDArray[np.float64]:
    """Measure along the cortex from one of its vertices to the used ones.

    Parameters
    ----------
    hemisphere : dict
        One surface of a source space.
    start : int
        A vertex of it.
    limit : float
        How far to go, in m.

    Returns
    -------
    distances : array of shape (n_used,)
        In m, infinite beyond the limit.
    """
    tris, rr = hemisphere["tris"], hemisphere["rr"]
    edges = np.vstack([tris[:, [0, 1]], tris[:, [1, 2]], tris[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    length = np.linalg.norm(rr[edges[:, 0]] - rr[edges[:, 1]], axis=1)
    shape = (len(rr), len(rr))
    graph = sparse.coo_array((length, edges.T), shape=shape).tocsr()
    found = dijkstra(graph, directed=False, indices=int(start), limit=limit)
    return found[hemisphere["vertno"]]
