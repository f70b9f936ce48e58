"""How much a sample is like those of training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupKFold

# features of the same samples, from several sources
Parts = Sequence[NDArray[np.floating]]

_N_FOLDS = 10
_MOST_SAMPLES = 1000
# samples for any fence, and for one by quartiles
_LEAST_SAMPLES, _QUARTILES_SAMPLES = 8, 20
_MOST_AXES = 20


class Typicality:
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

    def fit(self, parts: Parts, groups: NDArray[np.int_]) -> Typicality:
        """Learn the distribution, and how far samples of its own lie."""
        if len(groups) > _MOST_SAMPLES:
            some = np.random.default_rng(self.seed).permutation(len(groups))
            some = some[:_MOST_SAMPLES]
            parts, groups = [part[some] for part in parts], groups[some]
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            raise ValueError(
                "Expected at least 2 participants, of which one tells how far others "
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
        """Give the typicality of samples, in (0, 1]."""
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
