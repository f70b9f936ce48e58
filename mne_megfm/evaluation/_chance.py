"""What results are without anything to find, and whether one is told from that."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ._metrics import greater_is_better

#: With fewer participants of a class, a result above chance is called preliminary.
FEW = 20
#: With fewer permutations, no p-value is below 0.05.
_ENOUGH = 19


def null_range(permuted: ArrayLike) -> tuple[float, float]:
    """Give the range that holds 95 % of the results with permuted labels.

    Of fewer than 40 permutations it is the range of all.
    """
    known = np.asarray(permuted, dtype=float)
    known = known[~np.isnan(known)]
    if not len(known):
        return np.nan, np.nan
    low = np.quantile(known, 0.025, method="lower")
    return float(low), float(np.quantile(known, 0.975, method="higher"))


def permutation_p(metric: str, observed: float, permuted: ArrayLike) -> float:
    """Give the share of permutations that are no worse, the observed one counted [1]_.

    Ties are ties, whatever the order in which folds were summed.

    References
    ----------
    .. [1] Phipson B, Smyth GK (2010). Permutation p-values should never be zero. Stat
       Appl Genet Mol Biol 9:39. doi:10.2202/1544-6115.1585
    """
    known = np.asarray(permuted, dtype=float)
    known = known[~np.isnan(known)]
    if np.isnan(observed) or not len(known):
        return np.nan
    gain = (known - observed) * (1.0 if greater_is_better(metric) else -1.0)
    rounding = 1e-9 * max(np.abs(known).max(), abs(observed))
    return float((1 + np.sum(gain >= -rounding)) / (1 + len(known)))


def judge(
    metric: str,
    low: float,
    high: float,
    chance: float,
    counts: Mapping[str, int],
    p: float = np.nan,
    n_permutations: int = 0,
) -> str:
    """Say in words whether a result is distinguished from chance.

    Parameters
    ----------
    metric : str
        Which metric it is.
    low, high : float
        Its 95 % confidence interval.
    chance : float
        Its value without anything to find.
    counts : dict
        Participants of each class; of regression, of all.
    p : float
        The p-value by permutation.
    n_permutations : int
        Permutations that it is of.

    Returns
    -------
    verdict : str
        A few words, and why.
    """
    few = min(counts.values()) < FEW
    cannot = "too few participants to tell" if few else "not distinguished from chance"
    if np.isnan(low):
        return f"{cannot}: there is no interval"
    if np.isnan(chance):
        return "without a chance level: see the interval"
    sign = 1.0 if greater_is_better(metric) else -1.0
    if low <= chance <= high:
        return f"{cannot}: the interval contains {chance:.3g} (chance)"
    if sign * low < sign * chance:
        return f"worse than chance ({chance:.3g})"
    if n_permutations >= _ENOUGH and p > 0.05:
        return f"{cannot}: permuted labels do as well (p = {p:.2g})"
    if few:
        return (
            f"better than chance ({chance:.3g}) in these participants, who are too few "
            "to tell by how much"
        )
    return f"better than chance ({chance:.3g})"


def listed_counts(counts: Mapping[str, int]) -> str:
    """List participants of each class."""
    return ", ".join(f"{count} {label}" for label, count in counts.items())


def null_summary(
    metric: str, folds: pd.DataFrame, permuted: ArrayLike
) -> dict[str, float]:
    """Set the first repeat of the folds beside results with permuted labels."""
    first = folds["value"][folds["repeat"] == 0]
    low, high = null_range(permuted)
    return {
        "permuted": float(pd.Series(permuted, dtype=float).mean()),
        "null_low": low,
        "null_high": high,
        "p_permuted": permutation_p(metric, float(first.mean()), permuted),
    }
