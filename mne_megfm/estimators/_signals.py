"""Plain numbers about signals: how large, at what frequencies, how smooth over space.

The encoder's features saturate where it was never trained; these do not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..inputs import Recordings
from ._extraction import window_blocks
from ._rows import select_rows, spread_rows
from ._transformer import MEGFMTransformer

_EDGES = (1.0, 4.0, 8.0, 13.0, 30.0, 60.0, np.inf)  # Hz
N_NUMBERS = len(_EDGES) + 1
_N_ROWS = 16


def describe_signals(
    recordings: Recordings,
    sample: NDArray[np.int_],
    state: NDArray[np.int_],
    n_states: int,
    transformer: MEGFMTransformer,
) -> NDArray[np.float64]:
    """Describe the canonical signals of each sample, state by state.

    Parameters
    ----------
    recordings : Recordings
        The recordings.
    sample, state : ndarray of int, shape (n_rows,)
        Sample and state of each row; up to 16 rows of each are looked at.
    n_states : int
        Number of states.
    transformer : MEGFMTransformer
        The fitted transformer, for its array and windows.

    Returns
    -------
    numbers : ndarray, shape (n_samples, n_states * 8)
        Means over rows of logarithms: power, shares of power in six bands, share that
        neighbouring sensors have in common. NaN where a state is lacking.
    """
    kept = spread_rows(sample, state, _N_ROWS)
    config = transformer.config_
    shape = (sample.max() + 1, n_states)
    total, count = np.zeros((*shape, N_NUMBERS)), np.zeros((*shape, 1))
    for block in window_blocks(
        select_rows(recordings, kept),
        transformer.frontend_,
        config,
        transformer.batch_size,
    ):
        numbers = _numbers(block.data, config.n_regions, config.sfreq)
        row = kept[block.row]
        np.add.at(total, (sample[row], state[row]), numbers)
        np.add.at(count, (sample[row], state[row]), 1.0)
    mean = np.full(total.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.reshape(len(mean), -1)


def _numbers(
    windows: NDArray[np.float32], n_regions: int, sfreq: float
) -> NDArray[np.float64]:
    """Describe windows in tesla, shape (n, n_sensors, n_times)."""
    windows = windows / np.float32(1e-12)  # squares of tesla underflow
    windows = windows - windows.mean(axis=2, keepdims=True)
    power = np.mean(windows**2, axis=(1, 2), dtype=np.float64)
    spectrum = np.square(np.abs(np.fft.rfft(windows, axis=2))).sum(axis=1)
    freqs = np.fft.rfftfreq(windows.shape[2], 1 / sfreq)
    bands = [
        spectrum[:, (freqs >= low) & (freqs < high)].sum(axis=1)
        for low, high in zip(_EDGES[:-1], _EDGES[1:], strict=True)
    ]
    shares = np.stack(bands, axis=1) / spectrum[:, 1:].sum(axis=1, keepdims=True)
    of_regions = windows.reshape(len(windows), n_regions, -1, windows.shape[2])
    common = np.mean(of_regions.mean(axis=2) ** 2, axis=(1, 2)) / power
    # filters can leave next to nothing in a band: a floor keeps logarithms tame
    return np.log(np.column_stack([power, shares + 1e-4, common]))
