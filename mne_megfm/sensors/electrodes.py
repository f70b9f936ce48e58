"""Electrodes of the 10-05 system beside the canonical array: who is nearest to whom."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import mne
import numpy as np
from numpy.typing import NDArray

from ._mapping import canonical_array

#: Other names of electrodes that are there (T3 is T7), and places of references.
_LEFT_OUT = {"T3", "T4", "T5", "T6", "A1", "A2", "M1", "M2"}


@lru_cache(maxsize=1)
def _electrodes() -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    """Give names, positions (m) as in the montage, and angles from sensors (rad)."""
    montage = mne.channels.make_standard_montage("colin27_1005")
    kept = [name for name in montage.ch_names if name.upper() not in _LEFT_OUT]
    standard = montage.get_positions()["ch_pos"]
    in_head = mne.channels.transform_to_head(montage).get_positions()["ch_pos"]
    array = canonical_array()
    sides = [
        np.array([in_head[name] for name in kept]) - array.origin,
        array.pos - array.origin,
    ]
    to_electrode, to_sensor = (
        side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides
    )
    angles = np.arccos(np.clip(to_sensor @ to_electrode.T, -1.0, 1.0))
    positions = np.array([standard[name] for name in kept])
    positions.setflags(write=False)
    angles.setflags(write=False)
    return tuple(name.upper() for name in kept), positions, angles


def electrode_names() -> tuple[str, ...]:
    """Name the electrodes of the 10-05 system, in upper case.

    Returns
    -------
    names : tuple of str
        Without references on ears and mastoids, and without second names such as T3.
    """
    return _electrodes()[0]


def _columns(names: Iterable[str] | None) -> NDArray[np.intp]:
    """Find electrodes by name, in any case; unknown names are an error."""
    known = _electrodes()[0]
    if names is None:
        return np.arange(len(known))
    number = {name: i for i, name in enumerate(known)}
    wanted = [name.upper() for name in names]
    unknown = [name for name in wanted if name not in number]
    if unknown or not wanted:
        raise ValueError(
            "Expected names of electrodes of the 10-05 system, without those of "
            f"references and old names such as T3, got {', '.join(unknown) or 'none'}; "
            "correct them."
        )
    return np.array([number[name] for name in wanted])


def nearest_electrodes(
    names: Iterable[str] | None = None,
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Find the electrode nearest to each canonical sensor.

    The nearest is that of the smallest great-circle angle, seen from the centre of the
    canonical sphere in head coordinates. Electrodes are those of the standard montage
    ``colin27_1005`` of MNE, brought to head coordinates by its fiducials.

    Parameters
    ----------
    names : iterable of str | None
        Electrodes to choose from, in upper or lower case; None stands for all of the
        10-05 system. Of several at one place, the first is taken.

    Returns
    -------
    nearest : list of str, length n_sensors
        Name of the electrode, in upper case.
    pos : ndarray, shape (n_sensors, 3)
        Its position (m), in the coordinates of the montage.
    angle : ndarray, shape (n_sensors,)
        Great-circle angle to it (rad).

    Raises
    ------
    ValueError
        If a name is not known.

    Examples
    --------
    >>> from mne_megfm.sensors import nearest_electrodes
    >>> nearest, pos, angle = nearest_electrodes(["Cz", "Oz"])
    >>> len(nearest), set(nearest) == {"CZ", "OZ"}
    (192, True)
    """
    known, positions, angles = _electrodes()
    columns = _columns(names)
    best = columns[angles[:, columns].argmin(1)]
    rows = np.arange(len(best))
    return [known[i] for i in best], positions[best], angles[rows, best]


def nearest_sensors(names: Iterable[str]) -> NDArray[np.intp]:
    """Find the canonical sensor nearest to each electrode.

    Parameters
    ----------
    names : iterable of str
        Electrodes of the 10-05 system, in upper or lower case.

    Returns
    -------
    sensors : ndarray of int, shape (n_names,)
        Numbers of the sensors, see `nearest_electrodes` for what is nearest.

    Raises
    ------
    ValueError
        If a name is not known.

    Examples
    --------
    >>> from mne_megfm.sensors import nearest_sensors
    >>> nearest_sensors(["Cz", "Oz"]).shape
    (2,)
    """
    return _electrodes()[2][:, _columns(names)].argmin(0)
