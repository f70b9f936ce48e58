"""The common source space: what belongs to it, and which sources are neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class SourceSpace:
    """Which sources there are.

    Attributes
    ----------
    kind : str
        ``'surface'``, ``'volume'``, or ``'regions'``, whose places are not known.
    vertices : list of array of int
        Vertices in use, of each hemisphere or volume.
    subject : str | None
        The subject that they are of.
    positions : array of shape (n_sources, 3)
        In MRI coordinates, m; NaN for regions.
    """

    kind: str
    vertices: list[NDArray[np.int_]]
    subject: str | None
    positions: NDArray[np.float64]

    @property
    def n_sources(self) -> int:
        """How many places there are."""
        return sum(map(len, self.vertices))

    @classmethod
    def of_regions(cls, n_regions: int) -> SourceSpace:
        """Make one of regions, for fMRI of people without forward solutions."""
        places = np.full((n_regions, 3), np.nan)
        return cls("regions", [np.arange(n_regions)], None, places)

    @classmethod
    def of(cls, forward: mne.Forward) -> SourceSpace:
        """Read it from a forward solution.

        Parameters
        ----------
        forward : mne.Forward
            The solution.

        Returns
        -------
        space : SourceSpace
            Its sources.
        """
        src = forward["src"]
        kinds = {s["type"] for s in src}
        if kinds == {"surf"} and len(src) == 2:
            kind = "surface"
        elif kinds <= {"vol", "discrete"}:
            kind = "volume"
        else:
            raise ValueError(
                "Expected a source space of two hemispheres, or of volumes, got "
                f"{src.kind!r} of {len(src)} parts; make one with "
                "mne.setup_source_space or mne.setup_volume_source_space."
            )
        vertices = [np.array(s["vertno"]) for s in src]
        # a forward solution has its sources in head coordinates
        to_mri = forward["mri_head_t"]
        if to_mri["from"] != mne.io.constants.FIFF.FIFFV_COORD_HEAD:
            to_mri = mne.transforms.invert_transform(to_mri)
        places = np.vstack([s["rr"][s["vertno"]] for s in src])
        if int(src[0]["coord_frame"]) == mne.io.constants.FIFF.FIFFV_COORD_HEAD:
            places = mne.transforms.apply_trans(to_mri, places)
        return cls(kind, vertices, src[0].get("subject_his_id"), places)

    def check_same(self, other: SourceSpace, name: str) -> None:
        """Check that a person has the sources of the others.

        Parameters
        ----------
        other : SourceSpace
            That of the person.
        name : str
            The person, for the message.

        Raises
        ------
        ValueError
            If they differ.
        """
        same = self.kind == other.kind and len(self.vertices) == len(other.vertices)
        if same and all(map(np.array_equal, self.vertices, other.vertices)):
            return
        raise ValueError(
            f"Expected the source space of the other people for {name!r} "
            f"({_counted(self)}), got another ({_counted(other)}); compute all forward "
            "solutions with one source space of fsaverage."
        )

    def same_places(self, other: SourceSpace) -> bool:
        """Whether sources are of one subject, at the same places to a millimetre."""
        away = np.linalg.norm(self.positions - other.positions, axis=1)
        return bool(away.max() < 1e-3)


def _counted(space: SourceSpace) -> str:
    counts = " + ".join(str(len(v)) for v in space.vertices)
    return f"{space.kind}, {counts} sources"


def morph_forward(
    forward: mne.Forward, morph: mne.SourceMorph, src: mne.SourceSpaces
) -> mne.Forward:
    """Carry a person's forward solution over to the source space of all people.

    Sources of the person are the morphed sources of all, so that the lead field is
    that of the person times the morph.

    Parameters
    ----------
    forward : mne.Forward
        Of the person's own surface source space.
    morph : mne.SourceMorph
        From `src` to the person's source space, as ``mne.compute_source_morph(src,
        "fsaverage", subject, spacing=[s["vertno"] for s in forward["src"]])`` makes it.
    src : mne.SourceSpaces
        The source space of all people.

    Returns
    -------
    forward : mne.Forward
        Of `src`, for currents along the normals of the person's cortex.

    Raises
    ------
    ValueError
        If the morph does not go from `src` to the sources of `forward`.

    Examples
    --------
    See :doc:`/guide/stories`, which has one.
    """
    own, common = ([s["vertno"] for s in x] for x in (forward["src"], src))
    ends = (("from", morph.src_data["vertices_from"], common),)
    ends += (("to", morph.vertices_to, own),)
    for end, found, wanted in ends:
        same = len(found) == len(wanted) and all(map(np.array_equal, found, wanted))
        if morph.kind != "surface" or not same:
            raise ValueError(
                f"Expected a morph {end} {' + '.join(str(len(v)) for v in wanted)} "
                f"sources, got one {end} {' + '.join(str(len(v)) for v in found)} "
                "others; compute it from src, with spacing=[s['vertno'] for s in "
                "forward['src']]."
            )
    out = mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=True, copy=True, verbose="error"
    )
    matrix = out["sol"]["data"] @ morph.morph_mat
    out["sol"] = {**out["sol"], "data": matrix, "ncol": matrix.shape[1]}
    out["src"], out["nsource"] = src.copy(), matrix.shape[1]
    for s in out["src"]:
        # as in every forward solution
        mne.transform_surface_to(s, "head", out["mri_head_t"], copy=False)
    for key, values in (("source_rr", "rr"), ("source_nn", "nn")):
        out[key] = np.vstack([s[values][s["vertno"]] for s in out["src"]])
    return out


def laplacian(src: Sequence[dict[str, Any]]) -> sparse.csr_array:
    """Compute the graph Laplacian over sources, of mean diagonal 1.

    Sources of a surface are neighbours where their parts of the full surface touch
    (each vertex belongs to the source that is nearest along the surface). Sources of a
    volume are neighbours within 1.01 times the grid's spacing.

    Parameters
    ----------
    src : mne.SourceSpaces
        The source space.

    Returns
    -------
    laplacian : sparse array of shape (n_sources, n_sources)
        Degrees minus adjacency, over the mean degree.
    """
    blocks = [
        _surface_adjacency(s) if s["type"] == "surf" else _grid_adjacency(s)
        for s in src
    ]
    adjacency = sparse.csr_array(sparse.block_diag(blocks))
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    out = sparse.diags_array(degree) - adjacency
    return sparse.csr_array(out / max(degree.mean(), 1e-12))


def smoothing(src: Sequence[dict[str, Any]], extent: float) -> sparse.csr_array:
    """Compute the operator whose inverse smooths over neighbouring sources.

    Parameters
    ----------
    src : mne.SourceSpaces
        The source space.
    extent : float
        How far smoothing reaches, in m.

    Returns
    -------
    operator : sparse array of shape (n_sources, n_sources)
        The identity plus the Laplacian times 2 n `extent`^2 / d^2, with n the dimension
        of the source space and d^2 the mean squared distance of neighbours.

    Notes
    -----
    On a regular mesh this is 1 - `extent`^2 times the Laplace operator. White noise
    through its inverse is a Matern field (Lindgren et al. 2011, J R Stat Soc B
    73:423-498, eq. 2).
    """
    operator = laplacian(src)
    points = np.vstack([s["rr"][s["vertno"]] for s in src])
    pairs = sparse.coo_array(sparse.triu(operator, 1))
    square = np.sum((points[pairs.row] - points[pairs.col]) ** 2, axis=1).mean()
    n_dimensions = 2 if src[0]["type"] == "surf" else 3
    weight = 2 * n_dimensions * extent**2 / square
    return sparse.csr_array(sparse.eye_array(len(points)) + weight * operator)


def _surface_adjacency(hemisphere: dict[str, Any]) -> sparse.csr_array:
    tris, rr, used = (hemisphere[k] for k in ("tris", "rr", "vertno"))
    edges = np.vstack([tris[:, [0, 1]], tris[:, [1, 2]], tris[:, [2, 0]]])
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    length = np.linalg.norm(rr[edges[:, 0]] - rr[edges[:, 1]], axis=1)
    graph = sparse.coo_array((length, edges.T), shape=(len(rr),) * 2).tocsr()
    _, _, nearest = dijkstra(
        graph, directed=False, indices=used, min_only=True, return_predecessors=True
    )
    order = np.full(len(rr), -1)
    order[used] = np.arange(len(used))
    a, b = (order[nearest[edges[:, k]]] for k in (0, 1))
    touching = a != b
    return _symmetric(a[touching], b[touching], len(used))


def _grid_adjacency(volume: dict[str, Any]) -> sparse.csr_array:
    points = volume["rr"][volume["vertno"]]
    tree = cKDTree(points)
    spacing = np.median(tree.query(points, 2)[0][:, 1])
    pairs = tree.query_pairs(1.01 * spacing, output_type="ndarray")
    return _symmetric(pairs[:, 0], pairs[:, 1], len(points))


def _symmetric(a: NDArray, b: NDArray, n: int) -> sparse.csr_array:
    both = np.r_[a, b], np.r_[b, a]
    out = sparse.coo_array((np.ones(len(both[0])), both), shape=(n, n)).tocsr()
    out.data[:] = 1.0
    return out


def source_estimate(data: NDArray, space: SourceSpace, sfreq: float) -> Any:
    """Make a source estimate of MNE-Python.

    Parameters
    ----------
    data : array of shape (n_sources, n_times) or (n_sources, 3, n_times)
        Currents in A m.
    space : SourceSpace
        The sources.
    sfreq : float
        Rate in Hz.

    Returns
    -------
    stc : mne.SourceEstimate | mne.VectorSourceEstimate | mne.VolSourceEstimate
        Of the kind that fits.
    """
    vertices = [np.array(v) for v in space.vertices]
    keys = {"tmin": 0.0, "tstep": 1.0 / sfreq, "subject": space.subject}
    if space.kind == "surface":
        kind = mne.VectorSourceEstimate if data.ndim == 3 else mne.SourceEstimate
        return kind(data, vertices, **keys)
    kind = mne.VolVectorSourceEstimate if data.ndim == 3 else mne.VolSourceEstimate
    return kind(data, vertices, **keys)
