"""How unlike the participants of training a new one is.

The encoder's features saturate where it was never trained; these do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupKFold

from ..inputs import Recordings
from ._transformer import MEGFMTransformer
from .extraction import window_blocks
from .finetuning_modules import select_rows, spread_rows

_EDGES = (1.0, 4.0, 8.0, 13.0, 30.0, 60.0, np.inf)  # Hz
N_NUMBERS = len(_EDGES) + 1
_N_ROWS = 16


def signal_features(
    recordings: Recordings,
    sample: NDArray[np.int_],
    state: NDArray[np.int_],
    n_states: int,
    transformer: MEGFMTransformer,
) -> NDArray[np.float64]:
    """Summarise the canonical signals of each sample, state by state.

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
        neighbouring sensors have in common. NaN where a state is missing.
    """
    kept = spread_rows(sample, state, _N_ROWS)
    config = transformer.config_
    shape = (sample.max() + 1, n_states)
    total, count = np.zeros((*shape, N_NUMBERS)), np.zeros((*shape, 1))
    for block in window_blocks(
        select_rows(recordings, kept),
        transformer.sensor_mapping_,
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
    """Summarise windows in tesla, shape (n, n_sensors, n_times)."""
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


# features of the same samples, from several sources
Parts = Sequence[NDArray[np.floating]]

_N_FOLDS = 10
_MOST_SAMPLES = 1000
# samples for any fence, and for one by quartiles
_LEAST_SAMPLES, _QUARTILES_SAMPLES = 8, 20
_MOST_AXES = 20


class Novelty:
    """Distance from the training samples, as a share of them that lie as far.

    Features of the encoder, and plain numbers about the signals, are each scaled and
    rotated to their leading axes. The distance joins Mahalanobis distances [1]_ there,
    with shrunk covariance [2]_, and how far the sample lies off these axes. Distances
    of training samples from models that were fitted without them turn it into a share:
    (1 + number that lie as far) / (1 + number).

    Parameters
    ----------
    seed : int
        Seed of the folds.

    References
    ----------
    .. [1] Lee et al. (2018), "A simple unified framework for detecting
       out-of-distribution samples and adversarial attacks", NeurIPS, eq. 2; here with
       one mean for all classes.
    .. [2] Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional
       covariance matrices", J. Multivar. Anal. 88, 365-411.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, parts: Parts, groups: NDArray[np.int_]) -> Novelty:
        """Learn the distribution, and how far samples of its own lie."""
        if len(groups) > _MOST_SAMPLES:
            some = np.random.default_rng(self.seed).permutation(len(groups))
            some = some[:_MOST_SAMPLES]
            parts, groups = [part[some] for part in parts], groups[some]
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            raise ValueError(
                "Expected at least 2 participants, of which one shows how far others "
                f"may lie, got {n_groups}; add participants."
            )
        folds = GroupKFold(
            min(_N_FOLDS, n_groups), shuffle=True, random_state=self.seed
        )
        held_out = [
            _distance(_clouds([p[train] for p in parts]), [p[test] for p in parts])
            for train, test in folds.split(groups, groups=groups)
        ]
        self.held_out_ = np.sort(np.concatenate(held_out))
        self.clouds_ = _clouds(parts)
        return self

    def score(self, parts: Parts) -> NDArray[np.float64]:
        """Give the p-value of novelty of samples, in (0, 1]."""
        distance = _distance(self.clouds_, parts)
        n = len(self.held_out_)
        as_far = n - np.searchsorted(self.held_out_, distance, side="left")
        return (1 + as_far) / (1 + n)

    def is_far(self, parts: Parts) -> NDArray[np.bool_]:
        """Say which samples are far outliers (Tukey 1977, section 2D: outer fence).

        A share cannot be less than 1 / (n + 1), which one sample in so many has by
        chance; beyond three times the range of the middle half there is none. Of less
        than 20 training samples the quartiles say too little: the fence is as far
        beyond the furthest as that is from the nearest. Of less than 8 nothing is said.
        """
        n = len(self.held_out_)
        if n < _LEAST_SAMPLES:
            return np.zeros(len(parts[0]), dtype=bool)
        known = np.log(self.held_out_)
        fence = 2.0 * known[-1] - known[0]
        if n >= _QUARTILES_SAMPLES:
            low, high = np.quantile(known, [0.25, 0.75])
            fence = max(high + 3.0 * (high - low), known[-1])
        return np.log(_distance(self.clouds_, parts)) > fence


def _clouds(parts: Parts) -> list[_Cloud]:
    return [_Cloud(np.asarray(part, dtype=np.float64)) for part in parts]


def _distance(clouds: list[_Cloud], parts: Parts) -> NDArray[np.float64]:
    squares = [
        cloud.squared_distance(np.asarray(part, dtype=np.float64))
        for cloud, part in zip(clouds, parts, strict=True)
    ]
    return np.sqrt(sum(squares))


class _Cloud:
    """A cloud of samples: centre, leading axes, spread along and off these.

    What is missing (NaN) counts as average.
    """

    def __init__(self, X: NDArray[np.float64]) -> None:
        there = ~np.isnan(X)
        n = np.maximum(there.sum(axis=0), 1)
        self.centre = np.where(there, X, 0.0).sum(axis=0) / n
        square = np.where(there, X - self.centre, 0.0) ** 2
        scale = np.sqrt(square.sum(axis=0) / n)
        flat = scale <= 1e-6 * np.abs(self.centre)
        self.scale = np.where(flat, 1.0, scale)
        n_axes = max(1, min(_MOST_AXES, len(X) // 4, X.shape[1] - 1))
        _, _, axes = np.linalg.svd(self._scaled(X), full_matrices=False)
        self.axes = axes[:n_axes]
        along, off = self._project(X)
        self.precision = LedoitWolf(assume_centered=True).fit(along).precision_
        self.off = np.sqrt(np.mean(off**2)) or 1.0

    def _scaled(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.nan_to_num((X - self.centre) / self.scale, nan=0.0)

    def _project(self, X: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
        X = self._scaled(X)
        along = X @ self.axes.T
        off = np.linalg.norm(X - along @ self.axes, axis=1)
        return along, off

    def squared_distance(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        along, off = self._project(X)
        mahalanobis = np.einsum("ij,jk,ik->i", along, self.precision, along)
        return mahalanobis / len(self.axes) + (off / self.off) ** 2
