"""MEG arrays and heads, and the fields that the one measures of the other.

Neuromag-306 and the CTF systems come from MNE-Python's canonical geometries. The
others are built analytically: a lattice over an ellipsoidal helmet whose half
axes, rim and tilt are those of the real systems to within a few millimetres.
They are stand-ins for the real sensor positions, with the right coil type,
baseline, number, coverage and distance to the head.

Fields of sources in the head come from MNE-Python's forward model. Those of the
heart and of the surroundings, which it does not have, need only what tells
magnetometers, axial and planar gradiometers apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import Transform, apply_trans, invert_transform, rotation
from scipy.spatial import cKDTree

# -- arrays ----------------------------------------------------------------------------
# Where every array's sphere model of the head stands by default (head frame, m).
HEAD_ORIGIN = np.array([0.0, 0.0, 0.04])

# No sensor of a helmet may come closer to the head's centre than the scalp.
_MIN_DISTANCE = 0.098


class Helmet(NamedTuple):
    """Sites of sensors on a part of an ellipsoid, in the device frame (m)."""

    n_sites: int
    center: tuple[float, float, float]
    axes: tuple[float, float, float]
    fraction: float  # how much of the ellipsoid the sensors cover
    rise: float  # how much higher the rim is over the face (device +y) than the neck
    tilt: float  # rotation about x from device to head, in radians


_HELMETS = {
    "neuromag122": Helmet(
        61, (0.0, 0.018, -0.024), (0.113, 0.134, 0.139), 0.62, rise=0.15, tilt=0.15
    ),
    "kit157": Helmet(
        157, (0.0, 0.003, -0.022), (0.121, 0.1335, 0.150), 0.68, rise=0.0, tilt=0.43
    ),
    "kit160": Helmet(
        160, (0.0, 0.0, -0.022), (0.119, 0.133, 0.145), 0.70, rise=0.1, tilt=0.35
    ),
    "4d248": Helmet(
        248, (0.0, 0.025, -0.021), (0.112, 0.137, 0.139), 0.70, rise=0.0, tilt=0.43
    ),
}
_OPM_HELMET = Helmet(128, (0.0, 0.005, 0.0), (0.099, 0.114, 0.110), 0.60, 0.35, 0.0)

# MNE asks for a system before it plots; these are without a layout of their own, so
# that positions are used (values of `mne.io.kit.constants.KIT`, which is not public)
_KIT_SYSTEMS = {"kit157": 35, "kit160": 1001}

_CANONICAL = {"neuromag306": "neuromag", "ctf151": "ctf151", "ctf275": "ctf275"}

#: Names of the arrays that ``make_array_info`` knows. ``'opm'`` may carry a
#: number of sensors, as in ``'opm64'``.
ARRAYS = (
    "neuromag306",
    "neuromag122",
    "ctf151",
    "ctf275",
    "kit157",
    "kit160",
    "4d248",
    "opm",
)

_OPM_DEFAULT = 128
_OPM_RANGE = (32, 256)


def make_array_info(
    name: str,
    sfreq: float = 250.0,
    *,
    head_pos: str | np.ndarray | Transform | None = None,
    random_state: int | np.random.Generator | None = None,
) -> mne.Info:
    """Make the measurement info of an MEG array around a head.

    Parameters
    ----------
    name : str
        One of ``'neuromag306'``, ``'neuromag122'``, ``'ctf151'``, ``'ctf275'``,
        ``'kit157'``, ``'kit160'``, ``'4d248'``, ``'opm'``. ``'opm'`` means 128
        point magnetometers in a helmet on the scalp, ``'opm<n>'`` as many as it
        says (32 to 256).
    sfreq : float
        Sampling rate in Hz.
    head_pos : None | 'random' | array of shape (4, 4) | mne.transforms.Transform
        The transform from device to head (translations in m). None is a typical
        position for the array; ``'random'`` draws one around it.
    random_state : None | int | numpy.random.Generator
        Seed of the random head position.

    Returns
    -------
    info : mne.Info
        MEG channels only (no reference channels), with ``dev_head_t``.

    Raises
    ------
    ValueError
        If the array is not known, or `sfreq` or `head_pos` cannot be used.

    Notes
    -----
    Neuromag and CTF positions are those that MNE-Python ships; the helmets of
    the other arrays are ellipsoids of the right size, coverage and tilt.

    Examples
    --------
    >>> from mne_megfm.simulation import make_array_info
    >>> info = make_array_info("kit157", sfreq=500.0)
    >>> len(info["ch_names"]), info["sfreq"]
    (157, 500.0)
    """
    base, n_opm = _check_name(name)
    if not (np.isfinite(sfreq) and sfreq > 0):
        raise ValueError(f"Expected a positive sfreq in Hz, got {sfreq!r}.")
    # `Info.copy` is deep, so the cached one is never handed out.
    info = (_opm_info(n_opm) if base == "opm" else _array_info(base)).copy()
    with info._unlock():
        info["sfreq"] = float(sfreq)
        info["highpass"], info["lowpass"] = 0.0, float(sfreq) / 2.0
        info["dev_head_t"] = _head_transform(base, info, head_pos, random_state)
    return info


def _check_name(name: str) -> tuple[str, int]:
    """Return the base name and, for OPM arrays, the number of sensors."""
    found = re.fullmatch(r"opm(\d*)", name) if isinstance(name, str) else None
    if found:
        n_opm = int(found.group(1) or _OPM_DEFAULT)
        if not _OPM_RANGE[0] <= n_opm <= _OPM_RANGE[1]:
            raise ValueError(
                f"Expected an OPM array of {_OPM_RANGE[0]} to {_OPM_RANGE[1]} "
                f"sensors, got {name!r}."
            )
        return "opm", n_opm
    if name not in ARRAYS:
        raise ValueError(
            f"Expected the name of an MEG array, one of {', '.join(ARRAYS)} "
            f"(or 'opm<n>'), got {name!r}."
        )
    return name, 0


@cache
def _array_info(base: str) -> mne.Info:
    """Make the info of a built-in array without a head position (cached)."""
    if base in _CANONICAL:
        info = mne.channels.read_meg_canonical_info(_CANONICAL[base])
        return mne.pick_info(info, mne.pick_types(info.copy(), meg=True))
    pos, ori = _place_sites(_HELMETS[base])
    if base == "neuromag122":
        # Two orthogonal planar gradiometers at each site.
        pos, ori = np.repeat(pos, 2, axis=0), np.repeat(ori, 2, axis=0)
        names = [f"MEG {ii:03d}" for ii in range(1, len(pos) + 1)]
        info = _build_info(names, pos, ori, FIFF.FIFFV_COIL_NM_122, "grad")
        for ch in info["chs"][1::2]:
            ex, ey = ch["loc"][3:6].copy(), ch["loc"][6:9].copy()
            ch["loc"][3:6], ch["loc"][6:9] = ey, -ex
        return info
    if base == "4d248":
        names = [f"A{ii}" for ii in range(1, len(pos) + 1)]
        return _build_info(names, pos, ori, FIFF.FIFFV_COIL_MAGNES_MAG, "mag")
    names = [f"MEG {ii:03d}" for ii in range(1, len(pos) + 1)]
    info = _build_info(names, pos, ori, FIFF.FIFFV_COIL_KIT_GRAD, "mag")
    with info._unlock():
        info["kit_system_id"] = _KIT_SYSTEMS[base]
    return info


@lru_cache(maxsize=16)
def _opm_info(n_sensors: int) -> mne.Info:
    """Make a helmet of point magnetometers on the scalp (cached)."""
    pos, ori = _place_sites(_OPM_HELMET._replace(n_sites=n_sensors))
    names = [f"OPM{ii:03d}" for ii in range(1, n_sensors + 1)]
    return _build_info(names, pos, ori, FIFF.FIFFV_COIL_POINT_MAGNETOMETER, "mag")


def _place_sites(helmet: Helmet) -> tuple[np.ndarray, np.ndarray]:
    """Spread sites over an ellipsoid, without its lower part.

    Returns
    -------
    pos, ori : array of shape (n_sites, 3)
        Positions in m and outward normals, device frame.
    """
    n_all = int(round(helmet.n_sites / helmet.fraction))
    idx = np.arange(n_all) + 0.5
    z = 1.0 - 2.0 * idx / n_all
    phi = np.pi * (1.0 + np.sqrt(5.0)) * idx
    rho = np.sqrt(1.0 - z**2)
    unit = np.c_[rho * np.cos(phi), rho * np.sin(phi), z]
    # The device is tilted against the head; the rim rises towards the face.
    height = unit[:, 2] - unit[:, 1] * helmet.rise
    unit = unit[np.sort(np.argsort(-height)[: helmet.n_sites])]
    axes = np.asarray(helmet.axes)
    pos = unit * axes + np.asarray(helmet.center)
    ori = unit / axes
    ori /= np.linalg.norm(ori, axis=1, keepdims=True)
    return pos, ori


def _build_info(
    names: list[str], pos: np.ndarray, ori: np.ndarray, coil: int, ch_type: str
) -> mne.Info:
    """Make an info from positions and outward normals in the device frame."""
    info = mne.create_info(names, 1000.0, ch_type)
    for ch, rr, ez in zip(info["chs"], pos, ori, strict=True):
        ex = np.cross([0.0, 1.0, 0.0] if abs(ez[1]) < 0.9 else [1.0, 0.0, 0.0], ez)
        ex /= np.linalg.norm(ex)
        ch["loc"][:] = np.r_[rr, ex, np.cross(ez, ex), ez]
        ch["coil_type"] = coil
        ch["coord_frame"] = FIFF.FIFFV_COORD_DEVICE
    return info


def _head_transform(base, info, head_pos, random_state) -> Transform:
    """Return the checked device to head transform."""
    if isinstance(head_pos, Transform):
        return Transform("meg", "head", head_pos["trans"])
    if head_pos is not None and not isinstance(head_pos, str):
        trans = np.asarray(head_pos, float)
        if trans.shape != (4, 4) or not np.isfinite(trans).all():
            raise ValueError(
                "Expected head_pos to be a finite (4, 4) device to head transform, "
                f"got an array of shape {trans.shape}."
            )
        if np.linalg.norm(trans[:3, 3]) > 0.3:
            raise ValueError(
                "Expected head_pos with its translation in metres, got one of "
                f"{np.linalg.norm(trans[:3, 3]):.3g}; divide millimetres by 1000."
            )
        return Transform("meg", "head", trans)
    if head_pos not in (None, "random"):
        raise ValueError(
            "Expected head_pos to be None, 'random' or a (4, 4) transform, "
            f"got {head_pos!r}."
        )
    helmet = _OPM_HELMET if base == "opm" else _HELMETS.get(base)
    tilt = 0.15 if helmet is None else helmet.tilt
    shift = np.array([0.0, 0.0, 0.04 if base == "opm" else 0.062])
    angles = np.array([tilt, 0.0, 0.0])
    if head_pos == "random":
        rng = np.random.default_rng(random_state)
        # People slide about a centimetre in a helmet; OPM helmets sit tight.
        spread = 0.4 if base == "opm" else 1.0
        draw = np.clip(rng.standard_normal(6), -2.2, 2.2) * spread
        shift = shift + draw[:3] * [0.004, 0.006, 0.006]
        angles = angles + draw[3:] * [0.10, 0.06, 0.08]
    trans = np.eye(4)
    trans[:3, :3] = rotation(*angles)[:3, :3]
    trans[:3, 3] = shift
    pos = np.array([ch["loc"][:3] for ch in info["chs"]])
    # A head cannot go through the helmet: move it away from the nearest sensor.
    for _ in range(50):
        vec = apply_trans(trans, pos) - HEAD_ORIGIN
        dist = np.linalg.norm(vec, axis=1)
        near = int(dist.argmin())
        if dist[near] >= _MIN_DISTANCE:
            break
        trans[:3, 3] += vec[near] / dist[near] * (_MIN_DISTANCE - dist[near] + 5e-4)
    return Transform("meg", "head", trans)


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
    """Distinguish planar and axial gradiometers and magnetometers by the coil."""
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


# -- heads -----------------------------------------------------------------------------
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
