"""Truth for the tests: Sarvas' formula and coil models written out here."""

from types import SimpleNamespace

import mne
import numpy as np
import pytest

ORIGIN = np.array([0.0, 0.0, 0.04])

# Side or diameter, and baseline (m), as the makers give them.
PLANAR = {3012: (0.0264, 0.0168), 3014: (0.0264, 0.0168), 2: (0.0279, 0.0162)}
AXIAL = {5001: (0.018, 0.05), 6001: (0.0155, 0.05)}
MAGNETOMETERS = {3024: 0.021, 3022: 0.0258, 4001: 0.023, 8101: 0.002, 2000: 0.0}


def _coil(coil_type):
    """Points in coil coordinates and their weights."""
    coil_type &= 0xFFFF
    if coil_type in PLANAR:
        side, baseline = PLANAR[coil_type]
        quarter = side / 4
        points = [[x, y, 0] for x in (1, -1) for y in (quarter, -quarter)]
        points = np.array(points) * [baseline / 2, 1, 1]
        return points, np.array([1, 1, -1, -1]) / (2 * baseline)
    size, baseline = AXIAL.get(coil_type, (MAGNETOMETERS.get(coil_type), None))
    ring = size / 4 * np.array([[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]])
    if baseline is None:
        return ring, np.full(4, 0.25)
    return np.r_[ring, ring + [0, 0, baseline]], np.repeat([0.25, -0.25], 4)


def _sarvas(points, rr, q):
    """Field of dipoles in a sphere: (n_points, n_dipoles, 3). Sarvas 1987, eq. 25."""
    r = (points - ORIGIN)[:, None]
    r0 = (rr - ORIGIN)[None]
    a_vec = r - r0
    a = np.linalg.norm(a_vec, axis=-1, keepdims=True)
    r_abs = np.linalg.norm(r, axis=-1, keepdims=True)
    ar = (a_vec * r).sum(-1, keepdims=True)
    f = a * (r_abs * a + r_abs**2 - (r0 * r).sum(-1, keepdims=True))
    grad = (a**2 / r_abs + ar / a + 2 * a + 2 * r_abs) * r
    grad = grad - (a + 2 * r_abs + ar / a) * r0
    qxr = np.cross(q[None], r0)
    return 1e-7 / f**2 * (f * qxr - (qxr * r).sum(-1, keepdims=True) * grad)


def _point_field(pos, ori, dipoles):
    return np.einsum("pdk,pk->pd", _sarvas(pos, dipoles.rr, dipoles.q), ori)


def _positions(info):
    picks = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
    loc = np.array([info["chs"][pick]["loc"] for pick in picks])
    trans = info["dev_head_t"]["trans"]
    pos = loc[:, :3] @ trans[:3, :3].T + trans[:3, 3]
    axes = loc[:, 3:].reshape(-1, 3, 3) @ trans[:3, :3].T
    return picks, pos, axes


def _coil_average(info, field):
    """What all MEG channels see of a field, given by points: (n_points, k, 3)."""
    picks, pos, axes = _positions(info)
    seen = []
    for row, pick in enumerate(picks):
        points, weights = _coil(int(info["chs"][pick]["coil_type"]))
        at = pos[row] + points @ axes[row]
        seen.append(weights @ (field(at) @ axes[row][2]))
    return np.array(seen)


def _coil_field(info, dipoles):
    """What all MEG channels see, without MNE's forward code."""
    return _coil_average(info, lambda at: _sarvas(at, dipoles.rr, dipoles.q))


def _external_field(info):
    """What all MEG channels see of three uniform fields and five gradients.

    A gradient field is B = M r with M symmetric and without trace, as curl and
    divergence are 0.
    """
    x, y, z = np.eye(3)
    uniform = np.array([x, y, z])
    pairs = [np.outer(a, b) + np.outer(b, a) for a, b in ((x, y), (x, z), (y, z))]
    diagonal = [np.diag([1, -1, 0]), np.diag([1, 1, -2])]
    tensors = np.array([*pairs, *diagonal], float)

    def field(at):
        same = np.broadcast_to(uniform, (len(at), 3, 3))
        return np.concatenate([same, np.einsum("kij,pj->pki", tensors, at)], axis=1)

    return _coil_average(info, field)


def _make_dipoles(rng, info=None, n=150):
    """Draw dipoles of 20 nAm in the upper head, 3 cm or more below the sensors."""
    unit = rng.normal(size=(4 * n, 3))
    unit[:, 2] = np.abs(unit[:, 2])
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    rr = ORIGIN + unit * rng.uniform(0.03, 0.08, (len(unit), 1))
    if info is not None:
        _, pos, _ = _positions(info)
        depth = np.linalg.norm(rr[:, None] - pos[None], axis=-1).min(1)
        rr, unit = rr[depth >= 0.03], unit[depth >= 0.03]
    rr, unit = rr[:n], unit[:n]
    q = np.cross(unit, rng.normal(size=rr.shape))
    q *= 20e-9 / np.linalg.norm(q, axis=1, keepdims=True)
    return SimpleNamespace(rr=rr, q=q)


def _correlation(a, b):
    a, b = a - a.mean(0), b - b.mean(0)
    return (a * b).sum(0) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)


def _relative_error(got, truth):
    return np.linalg.norm(got - truth, axis=0) / np.linalg.norm(truth, axis=0)


@pytest.fixture(scope="session")
def physics():
    """Fields of dipoles, computed without the code that is tested."""
    return SimpleNamespace(
        make_dipoles=_make_dipoles,
        point_field=_point_field,
        coil_field=_coil_field,
        external_field=_external_field,
        positions=_positions,
        correlation=_correlation,
        relative_error=_relative_error,
    )
