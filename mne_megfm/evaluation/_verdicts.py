"""Verdicts on results: beside chance, and the four gates.

A gate is a claim of what pretraining is good for, and fails unless it is shown: nothing
passes that was not computed. Rates at which the first two gates pass where there is
nothing to show, in simulations (ridge discriminant on ten normal features of which some
differ between the classes, or on their random projections in place of random weights; 4
x 5 stratified folds, 200 cohorts; nominal: 0.025):

===========================================  =====  =====
participants                                    24    100
===========================================  =====  =====
strongest of two baselines, all three equal  0.000  0.000
strongest of two, one far weaker             0.015  0.005
random weights, three seeds                  0.005  0.015
===========================================  =====  =====

(``tests/evaluation/test_gates.py`` has the simulations, with fewer cohorts.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ._intervals import corrected_interval, inflation_of, mean_and_error
from ._metrics import bounds_of, greater_is_better

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


# -- gates -----------------------------------------------------------------------------
PASSED, NOT_PASSED, NOT_TESTED = "passed", "not passed", "not tested"
LEVEL = 0.95

BASELINE = "better than the strongest baseline"
RANDOM = "better than random weights"
PERMUTED = "better than permuted labels"
OVERLAP = "no overlap with pretraining"

# networks beside that of windows, by their key in a provenance
_NETWORKS = ("participant_encoder", "posterior")


class Gate(NamedTuple):
    """One gate: whether it is passed, by how much, and why."""

    result: str
    reason: str
    gain: float = np.nan
    low: float = np.nan
    high: float = np.nan


class Design(NamedTuple):
    """What the interval of a mean over folds depends on."""

    ratio: float  # test participants for each one in training
    n_repeats: int
    few: bool  # whether a class has too few participants to tell


def not_tested(reason: str) -> Gate:
    """Say why a gate was not tested."""
    return Gate(NOT_TESTED, reason)


def judge_gain(gain: float, low: float, high: float, words: str, few: bool) -> Gate:
    """Pass a gate if the whole interval of the gain is above 0."""
    if np.isnan(low):
        why = f"{words}; there is no interval, as folds do not differ or are too few"
        return Gate(NOT_PASSED, why, gain, low, high)
    words += f" (95 % interval {low:+.3f} to {high:+.3f})"
    if low > 0.0:
        less = ", in participants who are too few to tell by how much" if few else ""
        return Gate(PASSED, words + less, gain, low, high)
    if high < 0.0:
        return Gate(NOT_PASSED, words, gain, low, high)
    cannot = "too few participants to tell" if few else "may be none"
    return Gate(NOT_PASSED, f"{words}: {cannot}", gain, low, high)


def compared(gain: float, name: str) -> str:
    """Say by how much the model is better than something else, or worse."""
    return f"{gain:+.3f} compared with {name}"


def strongest_baseline(
    gains: Mapping[str, NDArray[np.floating]], design: Design
) -> Gate:
    """Test whether a pipeline is better than all baselines, so than the strongest.

    Parameters
    ----------
    gains : dict of str to ndarray, shape (n_folds,)
        For each baseline how much better the pipeline is, fold by fold.
    design : Design
        Of the folds.

    Returns
    -------
    gate : Gate
        The gain over the baseline that it is least ahead of, with an interval of 95 %.

    Notes
    -----
    No baseline is picked: better than the strongest is better than each. The
    test is an intersection-union test [1]_: each baseline is tested at the full level
    by the corrected resampled t-test, and only if all these tests say "better" is the
    gate passed. If one baseline is as good as the pipeline, its test alone passes in
    2.5 % of cases at most, whatever the others do, so that there is nothing to correct
    for, however many baselines there are. The lower end of the interval is thus the
    least of those of all baselines. The upper end is the least of those at a level
    divided by their number (Bonferroni), since any of them may be too low.

    What is compared is what was measured on all test participants; training folds are
    not asked which baseline is strongest, which would take an inner cross-validation
    of each.

    References
    ----------
    .. [1] Berger RL (1982). Multiparameter hypothesis testing and acceptance sampling.
       Technometrics 24:295-300. doi:10.1080/00401706.1982.10487790
    """
    if not gains:
        return not_tested("there is no baseline among the pipelines")
    lows, highs, means = [], [], {}
    narrower = 1.0 - (1.0 - LEVEL) / len(gains)
    for name, gain in gains.items():
        given = (gain, design.ratio)
        means[name], low, _ = corrected_interval(*given, n_repeats=design.n_repeats)
        _, _, high = corrected_interval(*given, narrower, n_repeats=design.n_repeats)
        lows.append(low)
        highs.append(high)
    name = min(means, key=means.get)
    # one without an interval leaves none: it may be the strongest
    low, high = float(np.min(lows)), float(np.min(highs))
    words = compared(means[name], name)
    words += f", the strongest of {len(gains)}" if len(gains) > 1 else ", the only one"
    return judge_gain(means[name], low, high, words, design.few)


def random_weights(gains: NDArray[np.floating], design: Design) -> Gate:
    """Test whether a pipeline is better than the same one with random weights.

    Parameters
    ----------
    gains : ndarray, shape (n_seeds, n_folds)
        How much better the pipeline is than each of several draws of the weights.
    design : Design
        Of the folds.

    Returns
    -------
    gate : Gate
        The mean gain with an interval of 95 %. Not tested with fewer than two seeds.

    Notes
    -----
    Two things vary: participants, and the draw of the weights. The variance of the mean
    gain is the sum of that of the corrected resampled t-test, of the mean over seeds,
    and of ``(1 + 1 / n_seeds) s²``, where ``s`` is the standard deviation of the mean
    results of seeds: were the pretrained weights one more draw, they would differ from
    the mean of the others by so much. Degrees of freedom are those of Satterthwaite
    [1]_.

    References
    ----------
    .. [1] Satterthwaite FE (1946). An approximate distribution of estimates of variance
       components. Biometrics Bull 2:110-114. doi:10.2307/3002019
    """
    n = len(gains)
    if n < 2:
        return not_tested(
            f"it takes two draws of random weights, got {n}"
            if n
            else "nothing was computed with random weights, which takes a frozen model "
            "and n_random_weights of 2 or more"
        )
    mean, error, freedom = mean_and_error(gains.mean(0), design.ratio, design.n_repeats)
    by_seed = np.nanmean(gains, axis=1)
    if np.isnan(error):
        low = high = np.nan
    else:
        parts = [error**2, (1.0 + 1.0 / n) * by_seed.var(ddof=1)]
        total = sum(parts)
        freedom = total**2 / (parts[0] ** 2 / freedom + parts[1] ** 2 / (n - 1))
        half = stats.t.ppf(0.5 + LEVEL / 2.0, freedom) * np.sqrt(total)
        low, high = float(mean - half), float(mean + half)
    words = compared(mean, f"the mean of {n} draws of random weights")
    return judge_gain(mean, low, high, words, design.few)


def permuted_labels(
    row: pd.Series, metric: str, chance: float, n: int, few: bool
) -> Gate:
    """Test whether a pipeline is better than with permuted labels.

    Parameters
    ----------
    row : Series
        Its row of the summary.
    metric : str
        What was measured.
    chance : float
        What is reached without looking at features.
    n : int
        How often labels were permuted.
    few : bool
        Whether a class has too few participants to tell.

    Returns
    -------
    gate : Gate
        Passed if 5 % of permutations at most are no worse, and the interval of the mean
        does not hold what is reached without looking at features. Not tested with fewer
        than 19 permutations.
    """
    if n < ENOUGH:
        got = f"permuted {n} times" if n else "not permuted"
        return not_tested(
            f"labels were {got}; p = 0.05 takes {ENOUGH} times "
            f"(n_permutations={ENOUGH})"
        )
    sign = 1.0 if greater_is_better(metric) else -1.0
    p = float(row["p_permuted"])
    gain = sign * float(row["mean"] - row["permuted"])
    words = compared(gain, f"permuted labels, p = {p:.2g} of {n} permutations")
    low, high = sorted(sign * (row[["low", "high"]].to_numpy(float) - row["permuted"]))
    unlike = np.isnan(chance) or sign * row["low" if sign > 0 else "high"] > sign * (
        chance
    )
    if p <= 0.05 and unlike:
        less = ", in participants who are too few to tell by how much" if few else ""
        return Gate(PASSED, words + less, gain, low, high)
    if p <= 0.05:
        words += f", but its interval contains {chance:.3g} (chance)"
    cannot = "too few participants to tell" if few else "may be chance"
    return Gate(NOT_PASSED, f"{words}: {cannot}", gain, low, high)


def no_overlap(before: Mapping[str, Any] | None, fitted_before: Sequence[str]) -> Gate:
    """Say whether weights may have seen the participants, by what is known of them.

    Parameters
    ----------
    before : dict | None
        What the weights had seen before the comparison; None if that is not known.
    fitted_before : list of str
        What the pipeline holds that was fitted before the comparison.

    Returns
    -------
    gate : Gate
        Passed if the weights had seen simulated recordings alone, or nothing. Otherwise
        it is not known, and so not tested: a checkpoint names the data that it was
        trained on, and no participant.
    """
    if fitted_before:
        return not_tested(
            f"not known: {', '.join(fitted_before)} fitted before the comparison, "
            "perhaps on these participants"
        )
    if before is None:
        return not_tested("not known: the weights do not say what they had seen")
    unknown = list(dict.fromkeys(_not_simulated(before)))
    if unknown:
        return not_tested(
            f"not known: pretrained on {'; '.join(unknown)}. See that none of these "
            "participants is among them"
        )
    if before:
        return Gate(PASSED, "pretrained on simulated recordings alone")
    return Gate(PASSED, "pretrained on training participants of each fold alone")


def _not_simulated(seen: Mapping[str, Any]) -> Iterator[str]:
    """Name what weights had seen that may be people."""
    if "random_weights" in seen:
        return
    own = {key: value for key, value in seen.items() if not isinstance(value, Mapping)}
    for key, value in seen.items():
        if key == "fitted_on":
            yield "the recordings of an earlier fit"
        elif key == "fine_tuned_on_labels":
            yield "recordings and labels of an earlier fit"
        elif key in _NETWORKS and not value:
            yield f"data without a name ({key.replace('_', ' ')})"
        elif isinstance(value, Mapping) and (key in _NETWORKS or not own):
            yield from _not_simulated(value)
    if own and not str(own.get("data", "")).startswith("simulated"):
        name = own.get("data") or own.get("name") or "data without a name"
        n = own.get("participants")
        yield f"{name} ({n} participants)" if n else str(name)
