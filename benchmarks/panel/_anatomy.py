"""Sensors, heads and sources of the panel, and their fields by MNE-Python."""

from __future__ import annotations

from functools import cache

import mne
import numpy as np
from mne.io.constants import FIFF
from mne.transforms import Transform, rotation
from numpy.typing import NDArray

ARRAYS = ("vectorview", "ctf275", "kit160")
SFREQ = 250.0
_ORIGIN = np.array([0.0, 0.0, 0.04])
_CORTEX = 0.072  # m from the origin, at most
_N_BACKGROUND = 140
# white noise over the root of Hz: T, or T/m for planar gradiometers
_NOISE = {"mag": 3e-15, "planar": 3e-13, "axial": 5e-15}
# Right-handed stimuli: SI is left. Places (m, head coordinates) and directions.
_SOURCES = {
    "auditory_left": ((-0.050, 0.004, 0.056), (0.0, 0.3, -1.0)),
    "auditory_right": ((0.050, 0.008, 0.056), (0.0, 0.3, -1.0)),
    "si": ((-0.038, 0.000, 0.088), (0.5, 1.0, 0.0)),
    "sii_left": ((-0.050, 0.012, 0.068), (0.0, 0.2, -1.0)),
    "sii_right": ((0.050, 0.014, 0.068), (0.0, 0.2, -1.0)),
    "mu_left": ((-0.034, -0.006, 0.092), (0.6, 1.0, 0.0)),
    "mu_right": ((0.034, -0.006, 0.092), (-0.6, 1.0, 0.0)),
    "beta_left": ((-0.030, 0.010, 0.097), (0.5, 1.0, 0.0)),
    "beta_right": ((0.030, 0.010, 0.097), (-0.5, 1.0, 0.0)),
    "alpha_left": ((-0.016, -0.058, 0.070), (0.4, 0.0, 1.0)),
    "alpha_left_parietal": ((-0.030, -0.044, 0.088), (1.0, 0.3, 0.0)),
    "alpha_right": ((0.016, -0.058, 0.070), (-0.4, 0.0, 1.0)),
    "alpha_right_parietal": ((0.030, -0.044, 0.088), (1.0, -0.3, 0.0)),
    "theta": ((0.006, 0.046, 0.088), (1.0, 0.0, 0.0)),
    "theta_left": ((-0.014, 0.040, 0.092), (1.0, 0.3, 0.0)),
    "frontal": ((0.036, 0.040, 0.080), (-0.5, 0.6, 0.6)),
    "parietal": ((0.038, -0.034, 0.086), (0.3, 1.0, 0.0)),
    "gamma_front": ((-0.020, 0.048, 0.078), (1.0, 0.2, 0.3)),
    "gamma_left": ((-0.054, -0.014, 0.066), (0.0, 1.0, 0.5)),
    "gamma_back": ((0.010, -0.052, 0.082), (1.0, 0.0, 0.2)),
}
#: Rows of the named sources; the background follows.
ROWS = {name: row for row, name in enumerate(_SOURCES)}
N_NAMED = len(_SOURCES)
N_SOURCES = N_NAMED + _N_BACKGROUND


@cache
def _sensors(array: str) -> mne.Info:
    """Make the sensors of an array, device coordinates."""
    if array == "kit160":
        return _rings()
    name = "neuromag" if array == "vectorview" else array
    info = mne.channels.read_meg_canonical_info(name)
    return mne.pick_info(info, mne.pick_types(info, meg=True))


def _rings() -> mne.Info:
    """Make 160 axial gradiometers in rings on an ellipsoid, as KIT has them."""
    counts = np.array([1, 6, 12, 18, 23, 27, 30, 32, 11])
    info = mne.create_info([f"MEG {i:03d}" for i in range(1, 161)], SFREQ, "mag")
    channels = iter(info["chs"])
    for ring, count in enumerate(counts):
        polar = np.deg2rad(14.5 * ring)
        # the last ring is at the back alone: there is a face in front
        arc = np.linspace(0, 2 * np.pi, count, endpoint=False) + 0.4 * ring
        if ring == len(counts) - 1:
            arc = np.linspace(1.15 * np.pi, 1.85 * np.pi, count)
        for azimuth in arc:
            unit = np.array(
                [
                    np.sin(polar) * np.cos(azimuth),
                    np.sin(polar) * np.sin(azimuth),
                    np.cos(polar),
                ]
            )
            axes = np.array([0.119, 0.132, 0.146])
            out = unit / axes
            out /= np.linalg.norm(out)
            side = np.cross(out, [0.3, 0.9, 0.3])
            side /= np.linalg.norm(side)
            channel = next(channels)
            place = unit * axes - [0.0, 0.0, 0.022]
            channel["loc"][:] = np.r_[place, side, np.cross(out, side), out]
            channel["coil_type"] = FIFF.FIFFV_COIL_KIT_GRAD
            channel["coord_frame"] = FIFF.FIFFV_COORD_DEVICE
    return info


def place_head(array: str, rng: np.random.Generator) -> mne.Info:
    """Put a head into the helmet of an array.

    Parameters
    ----------
    array : str
        One of ``ARRAYS``.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    info : mne.Info
        Sensors, with ``dev_head_t``; no sensor is nearer to the middle of the head
        than 0.1 m.
    """
    info = _sensors(array).copy()
    tilt = 0.33 if array == "kit160" else 0.15
    turn = np.array([tilt, 0.0, 0.0]) + rng.normal(0, 0.06, 3)
    trans = rotation(*turn)
    shift = rng.normal(0, [0.003, 0.005, 0.005])
    trans[:3, 3] = [0.0, 0.0, 0.060] + shift
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    for _ in range(20):
        away = places @ trans[:3, :3].T + trans[:3, 3] - _ORIGIN
        distance = np.linalg.norm(away, axis=1)
        nearest = int(distance.argmin())
        lacking = 0.100 - distance[nearest]
        if lacking <= 0:
            break
        trans[:3, 3] += away[nearest] / distance[nearest] * (lacking + 1e-4)
    with info._unlock():
        info["sfreq"], info["highpass"], info["lowpass"] = SFREQ, 0.0, SFREQ / 2
        info["dev_head_t"] = Transform("meg", "head", trans)
    return info


def usual_places() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give places and tangential directions of the named sources in a usual head."""
    places = np.array([place for place, _ in _SOURCES.values()])
    directions = np.array([direction for _, direction in _SOURCES.values()])
    return places, _tangential(places - _ORIGIN, directions)


def _tangential(places: NDArray, directions: NDArray) -> NDArray[np.float64]:
    """Make directions tangential at places around the origin, and of length 1."""
    radial = np.sum(places * directions, 1, keepdims=True)
    radial = radial / np.square(places).sum(1, keepdims=True)
    directions = directions - places * radial
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def draw_places(
    rng: np.random.Generator, forward: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw places and tangential directions of a person's sources.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    forward : float
        So much further to the front are the auditory sources (m).

    Returns
    -------
    places, directions : ndarray, shape (n_sources, 3)
        In m, and of length 1; head coordinates.
    """
    places = np.array([place for place, _ in _SOURCES.values()])
    directions = np.array([direction for _, direction in _SOURCES.values()])
    # brains differ as a whole, and each source by itself
    places = places + rng.normal(0, 0.003, 3) + rng.normal(0, 0.003, places.shape)
    places[:2, 1] += forward
    directions = directions + rng.normal(0, 0.25, directions.shape)
    out = rng.standard_normal((4 * _N_BACKGROUND, 3))
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    out = out[out[:, 2] > -0.3][:_N_BACKGROUND]
    depth = rng.uniform(0.045, _CORTEX, (len(out), 1))
    places = np.r_[places - _ORIGIN, out * depth]
    directions = np.r_[directions, rng.standard_normal(out.shape)]
    radius = np.linalg.norm(places, axis=1, keepdims=True)
    directions = _tangential(places, directions)
    return _ORIGIN + places * np.minimum(1.0, _CORTEX / radius), directions


def compute_fields(
    info: mne.Info, places: NDArray, directions: NDArray
) -> NDArray[np.float32]:
    """Compute the fields of unit dipoles in a sphere.

    Parameters
    ----------
    info : mne.Info
        The sensors, with the position of the head.
    places, directions : ndarray, shape (n_sources, 3)
        The dipoles, head coordinates.

    Returns
    -------
    fields : ndarray of float32, shape (n_channels, n_sources)
        In T/Am, or T/(Am m) for planar gradiometers.
    """
    solution = mne.make_forward_solution(
        info,
        trans=None,
        src=mne.setup_volume_source_space(
            pos={"rr": places, "nn": directions}, verbose="error"
        ),
        bem=mne.make_sphere_model(tuple(_ORIGIN), 0.09, verbose="error"),
        meg=True,
        eeg=False,
        mindist=0.0,
        on_inside="ignore",
        verbose="error",
    )["sol"]
    fields = solution["data"].reshape(len(info["chs"]), len(places), 3)
    order = [solution["row_names"].index(name) for name in info["ch_names"]]
    return np.einsum("csk,sk->cs", fields[order], directions).astype(np.float32)


def noise_levels(info: mne.Info) -> NDArray[np.float32]:
    """Give the white noise of each channel, over the root of Hz."""
    kinds = [
        "planar"
        if channel["unit"] == FIFF.FIFF_UNIT_T_M
        else "mag"
        if channel["coil_type"] == FIFF.FIFFV_COIL_VV_MAG_T3
        else "axial"
        for channel in info["chs"]
    ]
    return np.array([_NOISE[kind] for kind in kinds], dtype=np.float32)
