"""What chance gives: permuted labels, and verdicts in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ._folds import Fold, rare_states, split_participants
from ._intervals import inflation_of
from ._metrics import bounds_of, greater_is_better
from ._samples import Samples

#: With fewer participants of a class, a result above chance is called preliminary.
FEW = 20
#: With fewer permutations, no p-value is below 0.05.
ENOUGH = 19
#: With fewer permutations, their range holds less than 95 % of others.
FOR_A_RANGE = 39
#: Metrics of which there is a range by chance without permutations.
ANALYTIC = ("roc_auc", "balanced_accuracy", "pearson_r")


def null_range(permuted: ArrayLike) -> tuple[float, float]:
    """Give the range that holds 95 % of the results with permuted labels.

    NaN of fewer than 39 permutations.
    """
    known = np.asarray(permuted, dtype=float)
    known = known[~np.isnan(known)]
    if len(known) < FOR_A_RANGE:
        return np.nan, np.nan
    low = np.quantile(known, 0.025, method="lower")
    return float(low), float(np.quantile(known, 0.975, method="higher"))


def analytic_range(
    metric: str,
    predictions: pd.DataFrame,
    classes: NDArray | None,
    inflation: float,
) -> tuple[float, float]:
    """Give the range that holds 95 % of the results by chance, without permutations.

    Parameters
    ----------
    metric : str
        Which metric it is.
    predictions : DataFrame
        A row a repeat and test participant.
    classes : ndarray | None
        The classes; None for regression.
    inflation : float
        By what the variance is multiplied, since folds share training participants.

    Returns
    -------
    low, high : float
        NaN for metrics of which the variance by chance is not known.

    Notes
    -----
    The range is of one repeat of the folds: it holds more than 95 % of means over
    several, the more so the fewer training participants they share.

    In a fold, the variance by chance of an AUC is that of the Mann-Whitney statistic,
    ``(m + n + 1) / (12 m n)`` [1]_, and of a correlation ``1 / (n - 1)``; of a balanced
    accuracy of K classes it is ``(1 / K) (1 - 1 / K) / n`` of each class, summed and
    divided by K², the most that there can be with predictions that do not depend on
    the label. In simulations with 10 to 100 participants, 95 to 100 % of results by
    chance were inside.

    References
    ----------
    .. [1] Mann HB, Whitney DR (1947). On a test of whether one of two random variables
       is stochastically larger than the other. Ann Math Stat 18:50-60.
    """
    if metric not in ANALYTIC:
        return np.nan, np.nan
    folds = predictions.groupby(["repeat", "fold"])
    variances = folds[["participant", "y_true"]].apply(
        lambda fold: _chance_variance(metric, fold, classes)
    )
    # of a mean over folds, in the mean over repeats
    of_mean = variances.dropna().groupby("repeat").agg(lambda v: v.sum() / len(v) ** 2)
    if not len(of_mean):
        return np.nan, np.nan
    half = stats.norm.ppf(0.975) * np.sqrt(inflation * of_mean.mean())
    centre = {"roc_auc": 0.5, "pearson_r": 0.0}.get(metric)
    centre = 1.0 / len(classes) if centre is None else centre
    low, high = np.clip([centre - half, centre + half], *bounds_of(metric))
    return float(low), float(high)


def _chance_variance(metric: str, fold: pd.DataFrame, classes: NDArray | None) -> float:
    """Give the variance by chance in one fold; NaN where the metric is not defined."""
    n = fold["participant"].nunique()
    if metric == "pearson_r":
        return 1.0 / (n - 1) if n > 2 else np.nan
    of = fold.groupby("y_true")["participant"].nunique()
    counts = of.reindex(classes, fill_value=0).to_numpy(float)
    if not counts.all():
        return np.nan
    if metric == "roc_auc":
        # one against the rest: at most the mean, if these go together
        return float(np.mean((n + 1) / (12.0 * counts * np.maximum(n - counts, 1))))
    p = 1.0 / len(classes)
    return float(np.sum(p * (1.0 - p) / counts) * p**2)


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
    if n_permutations >= ENOUGH and p > 0.05:
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
    metric: str,
    folds: pd.DataFrame,
    predictions: pd.DataFrame,
    classes: NDArray | None,
    permuted: ArrayLike = (),
    share: float = 1.0,
) -> dict[str, float]:
    """Set the first repeat of the folds beside results by chance.

    Parameters
    ----------
    metric : str
        Which metric it is.
    folds, predictions : DataFrame
        Results of one pipeline.
    classes : ndarray | None
        The classes; None for regression.
    permuted : array-like
        Results with permuted labels.
    share : float
        Share of the training participants whose labels were used: the fewer, the less
        folds have in common.

    Returns
    -------
    summary : dict
        The mean ``permuted``, the range from ``null_low`` to ``null_high`` of the
        permutations or, with fewer than 39, the analytic one, and ``p_permuted``.
    """
    first = folds["value"][folds["repeat"] == 0]
    low, high = null_range(permuted)
    if np.isnan(low):
        more = share**2 * (inflation_of(folds, predictions) - 1.0)
        low, high = analytic_range(metric, predictions, classes, 1.0 + more)
    return {
        "permuted": float(pd.Series(permuted, dtype=float).mean()),
        "null_low": low,
        "null_high": high,
        "p_permuted": permutation_p(metric, float(first.mean()), permuted),
    }


def null_in_words(metric: str, n_permutations: int) -> str:
    """Say what a range by chance comes from."""
    by = {
        "roc_auc": "the Mann-Whitney variance",
        "balanced_accuracy": "the binomial variance",
        "pearson_r": "the variance 1 / (n - 1)",
    }.get(metric)
    if n_permutations >= FOR_A_RANGE:
        by = f"{n_permutations} permutations of the labels"
    elif by is None:
        return (
            "There is no range by chance of this metric without "
            f"{FOR_A_RANGE} permutations of the labels."
        )
    else:
        by += " of each fold, enlarged as folds share training participants"
        return f"The range by chance holds at least 95 % and is by {by}."
    return f"The range by chance holds 95 % and is by {by}."


def check_count(number: Any, name: str = "n_permutations") -> None:
    """See that a number of times is one."""
    if not isinstance(number, Integral) or number < 0:
        raise ValueError(
            f"Expected {name} as a whole number from 0, got {number!r}; choose 0 for "
            "none."
        )


# how often labels are permuted before that is given up
_N_TRIALS = 100


def permute_labels(
    samples: Samples,
    states: Sequence[set[str]],
    cv: Any,
    classify: bool,
    rng: np.random.Generator,
    fewest: int = 1,
) -> tuple[NDArray, list[Fold]]:
    """Permute labels, until they can be learnt from on the first repeat of folds.

    Folds follow labels where they are stratified. Elements of a participant who has one
    label keep one. Training folds have ``fewest`` participants of each class.

    Raises
    ------
    ValueError
        If no permutation leaves all classes and states in all training folds.
    """
    y, groups = samples.y, np.arange(len(samples))
    if samples.groups is not None:
        _, first = np.unique(samples.groups, return_index=True)
        if np.array_equal(y[first][samples.groups], y):
            y, groups = y[first], samples.groups
    why = None
    for _ in range(_N_TRIALS):
        permuted = rng.permutation(y)[groups]
        try:
            folds = split_participants(samples, permuted, cv, classify, fewest)
        except ValueError as error:  # a class is missing in training
            why = error
            continue
        folds = [fold for fold in folds if fold.repeat == 0]
        if not rare_states(states, folds):
            return permuted, folds
    raise ValueError(
        f"Expected labels that can be permuted, got none in {_N_TRIALS} trials with "
        "which each training fold has all classes and states; use fewer folds, or "
        "n_permutations=0."
    ) from why
