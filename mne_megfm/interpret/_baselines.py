"""What hidden sensor data would be by plainer means than a model."""

from __future__ import annotations

import mne
import numpy as np
from numpy.typing import NDArray

#: Origin of the sphere for ``interpolate_bads``, in head coordinates (m).
ORIGIN = (0.0, 0.0, 0.04)
_FOLDS = 5


def time_interpolation(
    data: NDArray[np.float64], hidden: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Put straight lines between the visible samples of each channel.

    ``data`` and ``hidden`` have the shape (n_rows, n_channels, n_times) throughout this
    module. Where a channel is hidden in all of a row, nothing can be said (NaN).
    """
    out, time = data.copy(), np.arange(data.shape[-1])
    for one, away in zip(out, hidden, strict=True):
        for row, gone in zip(one, away, strict=True):
            if gone.all():
                row[:] = np.nan
            elif gone.any():
                row[gone] = np.interp(time[gone], time[~gone], row[~gone])
    return out


def sensor_interpolation(
    data: NDArray[np.float64], hidden: NDArray[np.bool_], info: mne.Info
) -> NDArray[np.float64]:
    """Interpolate hidden channels from the visible ones by ``interpolate_bads``.

    Where all channels are hidden, nothing can be said (NaN).
    """
    out = data.copy()
    columns = hidden.transpose(0, 2, 1)
    sets, which = np.unique(
        columns.reshape(-1, columns.shape[-1]), axis=0, return_inverse=True
    )
    which = which.reshape(columns.shape[:2])
    for number, bad in enumerate(sets):
        rows, times = np.nonzero(which == number)
        if bad.all():
            out[rows, :, times] = np.nan
        elif bad.any():
            raw = mne.io.RawArray(data[rows, :, times].T, info, verbose="error")
            raw.info["bads"] = np.array(info["ch_names"])[bad].tolist()
            raw.interpolate_bads(origin=ORIGIN, verbose="error")
            out[rows, :, times] = raw.get_data().T
    return out


def pca_prediction(
    data: NDArray[np.float64], hidden: NDArray[np.bool_], n_components: int
) -> NDArray[np.float64]:
    """Predict hidden samples by probabilistic PCA over channels and times.

    Axes are those of whole rows (nothing hidden: an advantage) that are not predicted,
    in five folds. With weights W of the axes and the noise variance s², as by Tipping
    and Bishop (1999), J R Stat Soc B 61, 611-622, a row is W z + mean, with
    z = (W'W + s² I)^-1 W' (x - mean) over its visible samples.

    Axes are at most half as many as the rows that they come from. With fewer than five
    rows, nothing can be said (NaN).
    """
    n = len(data)
    out = np.full(data.shape, np.nan)
    if n < _FOLDS:
        return out
    flat, gone, new = (x.reshape(n, -1) for x in (data, hidden, out))
    for fold in range(_FOLDS):
        test = np.arange(n) % _FOLDS == fold
        train = flat[~test]
        mean = train.mean(0)
        _, size, axes = np.linalg.svd(train - mean, full_matrices=False)
        k = min(n_components, len(train) // 2)
        variance = size**2 / (len(train) - 1)
        noise = variance[k:].sum() / (flat.shape[1] - k)
        gain = np.sqrt(np.maximum(variance[:k] - noise, 0.0))
        weights = gain[:, None] * axes[:k]
        for row in np.flatnonzero(test):
            seen = ~gone[row]
            part = weights[:, seen]
            inner = part @ part.T + noise * np.eye(k)
            code = np.linalg.solve(inner, part @ (flat[row] - mean)[seen])
            new[row] = np.where(seen, flat[row], code @ weights + mean)
    return out
