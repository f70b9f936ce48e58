"""Splits that no participant straddles."""

from __future__ import annotations

import numpy as np


def split_groups(
    groups: np.ndarray, fraction: float, random_state: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split samples in two so that no group is in both.

    Parameters
    ----------
    groups : array, shape (n,)
        Group of each sample.
    fraction : float
        Share of the groups in the second part, at least one.
    random_state : int
        Seed of the draw.

    Returns
    -------
    first : array of int
        Samples of the first part.
    second : array of int
        Samples of the second part; with a single group, its last samples.

    Raises
    ------
    ValueError
        If there is but one sample.
    """
    if len(groups) < 2:
        raise ValueError(
            f"Expected at least 2 windows to split, got {len(groups)}; give more data."
        )
    names = np.unique(groups)
    if len(names) == 1:
        everything = np.arange(len(groups))
        n_second = _share(fraction, len(groups))
        return everything[:-n_second], everything[-n_second:]
    chosen = np.random.default_rng(random_state).permutation(names)
    chosen = chosen[: _share(fraction, len(names))]
    second = np.isin(groups, chosen)
    return np.flatnonzero(~second), np.flatnonzero(second)


def _share(fraction: float, n: int) -> int:
    """Count a share of n that leaves at least one on both sides."""
    return min(max(1, round(fraction * n)), n - 1)
