"""MEG arrays, their coils and what these measure.

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
from functools import cache, lru_cache

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import Transform, apply_trans, rotation

# Where every array's sphere model of the head stands by default (head frame, m).
HEAD_ORIGIN = np.array([0.0, 0.0, 0.04])

# No sensor of a helmet may come closer to the head's centre than the scalp.
_MIN_DISTANCE = 0.098

# Ellipsoidal helmets in the device frame. `fraction`: how much of the ellipsoid
# the sensors cover; `rise`: how much higher the rim is over the face (device +y)
# than over the neck; `tilt`: rotation about x from device to head, in radians.
_HELMETS = {
    "neuromag122": dict(
        n_sites=61,
        center=(0.0, 0.018, -0.024),
        axes=(0.113, 0.134, 0.139),
        fraction=0.62,
        rise=0.15,
        tilt=0.15,
    ),
    "kit157": dict(
        n_sites=157,
        center=(0.0, 0.003, -0.022),
        axes=(0.121, 0.1335, 0.150),
        fraction=0.68,
        rise=0.0,
        tilt=0.43,
    ),
    "kit160": dict(
        n_sites=160,
        center=(0.0, 0.0, -0.022),
        axes=(0.119, 0.133, 0.145),
        fraction=0.70,
        rise=0.1,
        tilt=0.35,
    ),
    "4d248": dict(
        n_sites=248,
        center=(0.0, 0.025, -0.021),
        axes=(0.112, 0.137, 0.139),
        fraction=0.70,
        rise=0.0,
        tilt=0.43,
    ),
}

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
    helmet = _HELMETS[base]
    pos, ori = _helmet(**helmet)
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
    pos, ori = _helmet(
        n_sites=n_sensors,
        center=(0.0, 0.005, 0.0),
        axes=(0.099, 0.114, 0.110),
        fraction=0.60,
        rise=0.35,
        tilt=0.0,
    )
    names = [f"OPM{ii:03d}" for ii in range(1, n_sensors + 1)]
    return _build_info(names, pos, ori, FIFF.FIFFV_COIL_POINT_MAGNETOMETER, "mag")


def _helmet(
    n_sites: int,
    center: tuple,
    axes: tuple,
    fraction: float,
    rise: float,
    tilt: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Spread sites over an ellipsoid, without its lower part.

    Returns
    -------
    pos, ori : array of shape (n_sites, 3)
        Positions in m and outward normals, device frame.
    """
    n_all = int(round(n_sites / fraction))
    idx = np.arange(n_all) + 0.5
    z = 1.0 - 2.0 * idx / n_all
    phi = np.pi * (1.0 + np.sqrt(5.0)) * idx
    rho = np.sqrt(1.0 - z**2)
    unit = np.c_[rho * np.cos(phi), rho * np.sin(phi), z]
    # The device is tilted against the head; the rim rises towards the face.
    keep = np.sort(np.argsort(unit[:, 1] * rise - unit[:, 2])[:n_sites])
    unit = unit[keep]
    axes = np.asarray(axes)
    pos = unit * axes + np.asarray(center)
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
    tilt = _HELMETS.get(base, {}).get("tilt", 0.0 if base == "opm" else 0.15)
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
