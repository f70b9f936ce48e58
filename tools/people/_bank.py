"""Fields of sources on the canonical array, for many heads, arrays and positions.

Made once with MNE's forward model and the package's mapping; the simulator then needs
neither. One entry is one head in one array at one position.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mne_megfm.sensors import canonical_array, compute_mapping
from mne_megfm.sensors._mapping import _tangents
from mne_megfm.simulation._forward import (
    PLACES,
    coil_average,
    lead_field,
    magnetic_dipole,
    make_array_info,
    make_head,
    sensor_scale,
    uniform_and_gradients,
)
from mne_megfm.simulation._participant import EYES, MUSCLES

#: Arrays and how often they are drawn.
ARRAYS = {
    "neuromag306": 5,
    "ctf275": 4,
    "ctf151": 2,
    "4d248": 2,
    "kit160": 2,
    "kit157": 1,
    "neuromag122": 1,
    "opm": 3,
}
N_COPIES = 6  # sites near each named place and side
N_ANYWHERE = 280
SPREAD = 0.006  # of the sites of a place (m)
N_COMPONENTS = 64
N_PLACES = 40
_AMPLITUDE, _DENSITY = 2.0e-9, 4.5e-15  # of the population's usual background


def named_sites() -> list[tuple[str, int]]:
    """List the named place and side of each named site, in their order."""
    return [
        (name, side) for name in PLACES for side in (-1, 1) for _ in range(N_COPIES)
    ]


def place_grid() -> np.ndarray:
    """Give the places at which activity is looked for, (40, 3) in m from the centre.

    The first half is on the left, the second is its mirror image.
    """
    step = np.arange(200) + 0.5
    z = 1.0 - 1.35 * step / 200
    angle = np.pi * (1.0 + np.sqrt(5.0)) * step
    unit = np.stack(
        [np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z], 1
    )
    unit = unit[unit[:, 0] < -0.12]
    chosen = [int(np.argmax(unit[:, 2]))]
    while len(chosen) < N_PLACES // 2:  # farthest-point sampling
        nearest = np.linalg.norm(unit[:, None] - unit[chosen][None], axis=2).min(1)
        chosen.append(int(nearest.argmax()))
    left = 0.066 * unit[chosen]
    return np.concatenate([left, left * [-1, 1, 1]])


def make_entry(seed: int) -> dict[str, np.ndarray]:
    """Compute one head in one array, in T on the canonical sensors."""
    rng = np.random.default_rng([16, seed])
    names = list(ARRAYS)
    weights = np.array(list(ARRAYS.values()), float)
    array = str(rng.choice(names, p=weights / weights.sum()))
    if array == "opm":
        array = f"opm{rng.choice([64, 96, 128, 192])}"
    info = make_array_info(array, head_pos="random", random_state=rng)
    n_bads = int(rng.integers(0, 9)) if len(info["chs"]) > 100 else 0
    bads = rng.choice(len(info["chs"]), n_bads, replace=False)
    info["bads"] = [info["ch_names"][ii] for ii in bads]
    head = make_head(rng, info)
    scale = head.radius / 0.076
    mirror = np.array([(side, 1.0, 1.0) for _, side in named_sites()])
    rel = np.array([PLACES[name] for name, _ in named_sites()]) * mirror * scale
    rel = rel + np.clip(rng.standard_normal(rel.shape), -2, 2) * SPREAD
    far = np.linalg.norm(rel, axis=1, keepdims=True)
    rel = rel * np.minimum(1.0, 0.97 * head.radius / far)
    unit = rng.standard_normal((4 * N_ANYWHERE, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    unit = unit[unit[:, 2] > -0.55][:N_ANYWHERE]
    deep = rng.random(len(unit)) < 0.25
    depth = np.where(
        deep, rng.uniform(0.35, 0.7, len(unit)), rng.uniform(0.7, 0.95, len(unit))
    )
    rel = np.concatenate([rel, unit * (depth * head.radius)[:, None]])
    eyes, muscles = head.origin + EYES * scale, head.origin + MUSCLES * scale
    grid = place_grid()
    points = np.concatenate([rel + head.origin, eyes, muscles])
    gain = lead_field(info, points, head)
    centred = replace(head, origin=canonical_array().origin)
    grid_gain = lead_field(info, grid + centred.origin, centred)
    mapping = compute_mapping(info, verbose="error")
    used = [info["ch_names"].index(name) for name in mapping.ch_names]
    M = mapping.to_canonical
    first, second = _tangents(rel)
    n = len(rel)
    tangent = np.stack(
        [np.einsum("cpk,pk->cp", gain[:, :n], axis) for axis in (first, second)], 2
    )
    first, second = _tangents(grid)
    grid_gain = np.stack(
        [np.einsum("cpk,pk->cp", grid_gain, axis) for axis in (first, second)], 2
    )
    lid = np.array([0.15, 0.2, 1.0]) + 0.15 * rng.standard_normal(3)
    gaze = np.array([1.0, 0.1, 0.1]) + 0.15 * rng.standard_normal(3)
    eye = gain[:, n : n + len(eyes)].sum(1) @ np.stack([lid, gaze], 1)
    ori = rng.standard_normal((len(muscles), 3))
    ori /= np.linalg.norm(ori, axis=1, keepdims=True)
    muscle = np.einsum("cpk,pk->cp", gain[:, -len(muscles) :], ori)
    chest = np.array([0.03, 0.02, -0.36]) + 0.03 * rng.standard_normal(3)
    heart = coil_average(info, magnetic_dipole(chest))
    room = coil_average(info, uniform_and_gradients)
    density = sensor_scale(info)[used] * np.exp(0.15 * rng.standard_normal(len(used)))
    noise = (M * density) @ (M * density).T
    return dict(
        array=array,
        pos=rel.astype(np.float32),
        gain=(M @ tangent[used].reshape(len(used), -1)).astype(np.float32),
        grid=(M @ grid_gain[used].reshape(len(used), -1)).astype(np.float32),
        noise=noise,
        artifacts=(M @ np.concatenate([eye, muscle, heart, room], 1)[used]).astype(
            np.float32
        ),
    )


def usual_covariance(entry: dict[str, np.ndarray]) -> np.ndarray:
    """Covariance of a usual background and sensor noise of an entry, (192, 192)."""
    gain = entry["gain"].astype(float)[:, -2 * N_ANYWHERE :] * _AMPLITUDE
    return gain @ gain.T + entry["noise"] * 125.0


def make_bank(
    entries: list[dict[str, np.ndarray]], like: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Project entries to the components in which people are simulated.

    Parameters
    ----------
    entries : list of dict
        As `make_entry` gives.
    like : dict of ndarray, optional
        A bank whose components and fields of places are taken.

    Returns
    -------
    bank : dict of ndarray
        ``whiten`` (64, 192) takes canonical signals (T) to components of about unit
        variance; all other fields are in these units per 10 nA m (``gain``), per A m
        (``place_gain``; eyes and muscles in ``artifacts``), A m^2 (heart) and T (room),
        and ``noise`` in their squares per Hz, times 1000, for usual sensors.
    """
    if like is None:
        usual = [usual_covariance(entry) for entry in entries]
        # arrays with much noise do not rule
        total = sum(one / one.trace() for one in usual) * usual[0].trace() / len(usual)
        values, vectors = np.linalg.eigh(total)
        values, vectors = values[::-1], vectors[:, ::-1]
        whiten = (vectors[:, :N_COMPONENTS] / np.sqrt(values[:N_COMPONENTS])).T
    else:
        whiten = like["whiten"].astype(float)
    grid = sum(entry["grid"].astype(float) for entry in entries) / len(entries)
    place_gain = (whiten @ grid).reshape(N_COMPONENTS, -1, 2)
    if like is not None:
        place_gain = like["place_gain"]
    pos = np.stack([entry["pos"] for entry in entries])
    gain = np.stack([whiten @ entry["gain"] for entry in entries])
    n = len(entries)
    return dict(
        whiten=whiten.astype(np.float32),
        places=place_grid().astype(np.float32),
        place_gain=place_gain.astype(np.float32),
        pos=pos.astype(np.float32),
        # of a moment of 10 nA m
        gain=(1e-8 * gain).reshape(n, N_COMPONENTS, -1, 2).astype(np.float16),
        noise=np.stack([whiten @ e["noise"] @ whiten.T * 1e3 for e in entries]).astype(
            np.float16
        ),
        artifacts=np.stack([whiten @ e["artifacts"] for e in entries]).astype(
            np.float32
        ),
    )
