"""Simulated participants as canonical windows with their trials in order."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from mne.utils import ProgressBar
from train_windows import ARRAYS, RANDOM_STATE, STATES, canonical_windows

from mne_megfm.simulation import simulate_participant

#: The windows of `train_windows` are of the participants before this number.
FIRST = 450
#: Field that is kept as 1, in T.
UNIT = 1e-12


def draw_settings(number: int) -> dict:
    """Draw how a participant's recordings are made.

    Everything that a laboratory may choose is varied, so that the participant encoder
    does not learn one protocol.

    Parameters
    ----------
    number : int
        Number of the participant.

    Returns
    -------
    settings : dict
        Keyword arguments of ``simulate_participant``.
    """
    rng = np.random.default_rng([RANDOM_STATE, number])
    present = rng.random(len(STATES)) > 0.15
    present[rng.integers(1, len(STATES))] = True
    return {
        "label": "migraine" if rng.random() < 0.5 else "control",
        "effect_size": rng.uniform(0.0, 2.0),
        "states": [state for state, p in zip(STATES, present, strict=True) if p],
        "n_epochs": {
            "rest": int(rng.integers(12, 31)),
            "auditory": int(rng.integers(15, 66)),
            "somatosensory": int(rng.integers(15, 66)),
        },
        "tmin": -0.004 * int(rng.integers(5, 101)),
        "isi_jitter": rng.uniform(0.0, 0.8),
        "train_length": int(rng.choice([5, 10, 20, 1000])),
        "train_gap": rng.uniform(0.5, 3.0),
        "brain": np.exp(0.3 * rng.standard_normal()),
        "noise": np.exp(0.3 * rng.standard_normal()),
        "artifacts": rng.uniform(0.3, 1.2),
        "array": ARRAYS[number % len(ARRAYS)],
        "filters": "random",
        "sfreq": 250.0,
    }


def simulate_windows(number: int) -> dict[str, np.ndarray]:
    """Simulate one participant and bring its recordings to windows, in order.

    Parameters
    ----------
    number : int
        Number of the participant.

    Returns
    -------
    arrays : dict
        ``<state>`` windows of shape (n, 192, 250) in units of ``UNIT``, float16, and
        ``<state>_times``, when they began, in s; ``tmin``, s.
    """
    settings = draw_settings(number)
    person = simulate_participant(number, random_state=RANDOM_STATE, **settings)
    out = {"tmin": np.array(settings["tmin"])}
    for state, epochs in person.recordings.items():
        windows = canonical_windows(epochs) / UNIT
        windows = windows - windows.mean((0, 2), keepdims=True)
        # saturated artefacts would be infinite at half precision
        out[state] = np.clip(windows, -3e4, 3e4).astype(np.float16)
        out[f"{state}_times"] = epochs.events[:, 0] / epochs.info["sfreq"]
    return out


def _write(number: int, path: Path) -> None:
    aside = path.with_suffix(".writing.npz")
    np.savez(aside, **simulate_windows(number))
    os.replace(aside, path)


def simulate_store(work: Path, n_participants: int, n_jobs: int = 1) -> list[Path]:
    """Simulate participants into one file each; those that are there stay.

    Parameters
    ----------
    work : Path
        Where to; made if it does not exist.
    n_participants : int
        How many.
    n_jobs : int
        Processes.

    Returns
    -------
    paths : list of Path
        The files.
    """
    work.mkdir(parents=True, exist_ok=True)
    numbers = range(FIRST, FIRST + n_participants)
    paths = {number: work / f"{number:05d}.npz" for number in numbers}
    lacking = [number for number in numbers if not paths[number].is_file()]
    with Parallel(n_jobs=n_jobs) as parallel:
        for start in ProgressBar(range(0, len(lacking), 4 * n_jobs), mesg="Simulating"):
            share = lacking[start : start + 4 * n_jobs]
            parallel(delayed(_write)(number, paths[number]) for number in share)
    return list(paths.values())


def read_person(path: Path) -> dict[str, np.ndarray]:
    """Read a participant back.

    Parameters
    ----------
    path : Path
        A file of `simulate_store`.

    Returns
    -------
    arrays : dict
        As of `simulate_windows`, windows in tesla and float32.
    """
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for name, values in arrays.items():
        if values.ndim == 3:
            arrays[name] = values.astype(np.float32) * np.float32(UNIT)
    return arrays
