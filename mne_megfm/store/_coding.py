"""Windows as 16-bit integers, with a scale and an offset a sensor."""

from __future__ import annotations

import numpy as np

#: Integers from -LARGEST to LARGEST are used.
LARGEST = 32767
_BLOCK = 64  # windows that are in memory at double precision at a time


def encode(windows: np.ndarray, n_valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encode windows.

    Parameters
    ----------
    windows : array of float, shape (n, n_sensors, n_times)
        Field in T.
    n_valid : array of int, shape (n,)
        Recorded samples, from the first; what follows is not kept.

    Returns
    -------
    values : ndarray of int16, shape (n, n_sensors, n_times)
        The integers; zero where nothing was recorded.
    coding : ndarray of float32, shape (n, 2, n_sensors)
        Field that 1 stands for and field that 0 stands for, in T, for each window
        and sensor.

    Notes
    -----
    Scale and offset follow the range of each sensor in each window, so the error is
    at most range / 131068, however large the offset of the sensor or the artefact of
    another one. They cost 1.6 % of the size.
    """
    n, n_sensors, n_times = windows.shape
    values = np.empty(windows.shape, np.int16)
    coding = np.empty((n, 2, n_sensors), np.float32)
    for first in range(0, n, _BLOCK):
        part = slice(first, first + _BLOCK)
        data = windows[part].astype(np.float64)
        empty = np.arange(n_times) >= n_valid[part, None]
        # a window's first sample is always recorded
        data = np.where(empty[:, None], data[..., :1], data)
        low, high = data.min(-1), data.max(-1)
        coding[part, 0] = (high - low) / (2 * LARGEST)
        coding[part, 1] = (high + low) / 2
        # with the scale and the offset as they are stored; a constant has no scale
        scale, offset = coding[part].astype(np.float64).swapaxes(0, 1)
        scale = np.where(scale > 0, scale, 1.0)
        data -= offset[..., None]
        data /= scale[..., None]
        data = np.clip(np.rint(data), -LARGEST, LARGEST)
        values[part] = np.where(empty[:, None], 0, data)
    return values, coding


def decode(
    values: np.ndarray, coding: np.ndarray, n_valid: int, out: np.ndarray
) -> None:
    """Decode one window.

    Parameters
    ----------
    values : array of int16, shape (n_sensors, n_times)
        The integers.
    coding : array of float32, shape (2, n_sensors)
        Scale and offset in T.
    n_valid : int
        Recorded samples.
    out : array of float32, shape (n_sensors, n_times)
        Where the field in T goes to; zero where nothing was recorded.
    """
    np.multiply(values, coding[0, :, None], out=out)
    out += coding[1, :, None]
    out[:, n_valid:] = 0.0
