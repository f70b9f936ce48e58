"""Intervals and tests of scores.

Folds alone say too little: where all have the same value, their variance is 0. Here the
number of participants sets the least width, by the interval that the metric would have
on so many independent participants, with their number divided by `inflation`, since
participants of different folds train each other's models.

Coverage of 95 % intervals of the mean over folds, in simulations (ridge discriminant
on 1, 10 or 50 normal features, five stratified folds, true AUC of 0.5 to 0.9, lowest of
nine cells of 100 to 500 cohorts; the truth is the AUC on new participants, for the last
three rows the mean of the estimates):

====================================  ======  ======  ======  ======  ======  ======
participants                              10      24     100      10      24     100
repeats of the folds                       1       1       1       4       4       4
====================================  ======  ======  ======  ======  ======  ======
corrected resampled t, folds alone      0.39    0.87    0.92    0.59    0.86    0.86
Newcombe (AUC), n as it is              0.79    0.77    0.83    0.81    0.84    0.85
Newcombe (AUC), n / inflation           0.92    0.94    0.95    0.94    0.96    0.97
the same, Student's t for normal        0.93    0.95    0.97    0.98    0.96    0.97
the wider of this and of folds          0.93    0.97    0.98    0.98    0.96    0.97
Wilson (balanced accuracy), wider       0.98    0.97    0.98    0.98    0.97    0.98
====================================  ======  ======  ======  ======  ======  ======

Taken is the wider one: intervals of participants know nothing of sites that differ.
Three classes, several sessions a participant, sites left out, and R², absolute error
and Pearson's r of regression held 95 %, less the error of the simulation, with 10, 24
and 100 participants (sites: 5; Pearson's r takes folds of three participants or more).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from ._metrics import bounds_of, is_ours


def corrected_interval(
    values: NDArray[np.floating],
    ratio: float,
    level: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    n_repeats: int = 1,
) -> tuple[float, float, float]:
    """Give the mean of resampled results, with a corrected confidence interval.

    Training sets of cross-validation overlap, so results of folds are correlated and
    their plain variance is too small. With ``J`` results of variance ``s²`` and
    ``ratio`` test samples a training sample, the variance of the mean is taken as
    ``(1 / J + ratio) s²`` [1]_.

    Parameters
    ----------
    values : ndarray, shape (n_results,)
        Results of folds; NaN is left out.
    ratio : float
        Test samples divided by training samples.
    level : float
        Coverage of the interval.
    bounds : tuple of float
        Least and greatest value that a result can have. The interval is cut there.
    n_repeats : int
        How often the same participants were split into folds. There are as many
        degrees of freedom as folds in one repeat, less one.

    Returns
    -------
    mean, low, high : float
        NaN for the interval of fewer than two results, and of results that are all the
        same, which have no variance to estimate it from.

    Notes
    -----
    The interval is that of Student's t, which knows no bounds: of few folds near the
    end of the range of a metric it would reach beyond. Cutting leaves its coverage as
    it is, since what is cut away cannot be the true value.

    Repeats split the same participants again, and say nothing new on how these differ
    from others. With all ``J - 1`` degrees of freedom the test of two equal pipelines
    rejected in up to 12 % of simulated data sets at 0.05 (4 x 5 stratified folds, 10 to
    100 participants); with those of one repeat, in 2 to 5 %.

    References
    ----------
    .. [1] Nadeau C, Bengio Y (2003). Inference for the generalization error. Mach Learn
       52:239-281, section 5.1.2. doi:10.1023/A:1024068626366

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.evaluation import corrected_interval
    >>> mean, low, high = corrected_interval(np.array([0.7, 0.8, 0.9]), ratio=0.25)
    >>> round(mean, 3), round(low, 3), round(high, 3)
    (0.8, 0.471, 1.129)
    >>> _, _, high = corrected_interval(np.array([0.7, 0.8, 0.9]), 0.25, bounds=(0, 1))
    >>> high
    1.0
    """
    mean, error, freedom = mean_and_error(values, ratio, n_repeats)
    if np.isnan(error):
        return mean, np.nan, np.nan
    half = stats.t.ppf(0.5 + level / 2.0, freedom) * error
    low, high = np.clip((mean - half, mean + half), *bounds)
    return mean, float(low), float(high)


def corrected_t_test(
    differences: NDArray[np.floating], ratio: float, n_repeats: int = 1
) -> tuple[float, float]:
    """Test whether two pipelines differ, from the differences of their folds.

    The corrected resampled t-test [1]_: see `corrected_interval` for the variance and
    for the degrees of freedom.

    Parameters
    ----------
    differences : ndarray, shape (n_results,)
        Result of one pipeline minus that of the other, on the same folds; NaN is left
        out.
    ratio : float
        Test samples divided by training samples.
    n_repeats : int
        How often the same participants were split into folds.

    Returns
    -------
    t, p : float
        Statistic and two-sided p-value. NaN where it cannot be tested: with fewer than
        two results, or where all differences are the same, up to rounding.

    References
    ----------
    .. [1] Nadeau C, Bengio Y (2003). Inference for the generalization error. Mach Learn
       52:239-281, section 5.1.2. doi:10.1023/A:1024068626366

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.evaluation import corrected_t_test
    >>> t, p = corrected_t_test(np.array([0.0, 0.1, 0.2, 0.1]), ratio=0.25)
    >>> round(t, 3), round(p, 3)
    (1.732, 0.182)
    """
    mean, error, freedom = mean_and_error(differences, ratio, n_repeats)
    if np.isnan(error):
        return np.nan, np.nan
    t = mean / error
    return float(t), float(2.0 * stats.t.sf(abs(t), freedom))


def mean_and_error(
    values: NDArray[np.floating], ratio: float, n_repeats: int
) -> tuple[float, float, float]:
    """Give mean, standard error and degrees of freedom; NaN without variance."""
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    n = len(values)
    mean = float(values.mean()) if n else np.nan
    freedom = n / n_repeats - 1.0
    # values that differ by rounding alone are the same
    if freedom <= 0.0 or np.ptp(values) <= 1e-9 * np.abs(values).max():
        return mean, np.nan, freedom
    return mean, float(np.sqrt((1.0 / n + ratio) * values.var(ddof=1))), freedom


PARTICIPANT_WEIGHTS = 0.95


def mean_and_interval(
    folds: pd.DataFrame,
    predictions: pd.DataFrame,
    metric: str,
    classes: NDArray | None,
) -> dict[str, float]:
    """Summarise a metric of one pipeline.

    Parameters
    ----------
    folds : DataFrame
        A row a fold with ``value``, ``n_train``, ``n_test`` and ``train``, the
        participants in training.
    predictions : DataFrame
        A row a repeat and test participant, of the same folds.
    metric : str
        Which metric it is.
    classes : ndarray | None
        The classes, of two the positive one last; None for regression.

    Returns
    -------
    summary : dict
        ``mean`` and ``sd`` over folds, and a 95 % confidence interval from ``low`` to
        ``high``: the wider one of participants and of folds. It is NaN where neither
        has a width.

    Notes
    -----
    Variances of participants are multiplied by `inflation_of`.
    """
    ratio = float((folds["n_test"] / folds["n_train"]).mean())
    bounds = bounds_of(metric)
    # With all degrees of freedom: that repeats share participants is seen to below
    mean, low, high = corrected_interval(
        folds["value"], ratio, PARTICIPANT_WEIGHTS, bounds
    )
    # of folds on which the metric is defined
    defined = folds[["repeat", "fold"]][folds["value"].notna()]
    predictions = predictions.merge(defined, on=["repeat", "fold"])
    own_low, own_high = participant_interval(
        metric, mean, predictions, classes, inflation_of(folds, predictions)
    )
    low = float(np.clip(np.fmin(low, own_low), *bounds))
    high = float(np.clip(np.fmax(high, own_high), *bounds))
    if not high - low > 1e-9 * max(abs(low), abs(high)):  # no width, or unknown
        low = high = np.nan
    sd = float(folds["value"].std())
    return {"mean": mean, "sd": sd, "low": low, "high": high}


def inflation_of(folds: pd.DataFrame, predictions: pd.DataFrame) -> float:
    """Say by what variances are multiplied, since folds share training participants.

    It is 1 + (participants tested) / (participants in training), 2.25 for five folds:
    the factor by which Nadeau and Bengio enlarge the variance of a mean over folds
    [1]_, but without a division among folds.

    References
    ----------
    .. [1] Nadeau C, Bengio Y (2003). Inference for the generalization error. Mach Learn
       52:239-281, section 5.1.2. doi:10.1023/A:1024068626366
    """
    n_trained = np.mean([len(set(names)) for names in folds["train"]])
    return float(1.0 + predictions["participant"].nunique() / n_trained)


def participant_interval(
    metric: str,
    value: float,
    predictions: pd.DataFrame,
    classes: NDArray | None,
    inflation: float,
    level: float = PARTICIPANT_WEIGHTS,
) -> tuple[float, float]:
    """Give the interval that a metric has by the number of participants.

    Parameters
    ----------
    metric : str
        Which metric it is.
    value : float
        What was found.
    predictions : DataFrame
        A row a repeat and test participant.
    classes : ndarray | None
        The classes, of two the positive one last; None for regression.
    inflation : float
        By what the number of participants is divided.
    level : float
        Coverage of the interval.

    Returns
    -------
    low, high : float
        NaN where participants are too few for any, and for scorers of scikit-learn,
        which may be of any kind.

    Notes
    -----
    AUC: Newcombe's score interval [1]_, of several classes the widest. Sensitivity and
    specificity: Wilson's [2]_; balanced accuracy from these, as for a mean of
    independent proportions [3]_. Brier score and absolute error: Student's t over
    participants, for the Brier score with two losses added, 0 and the greatest one.
    R²: the same as of the error, linearised as a ratio of two means. Pearson's r:
    Fisher's z. Quantiles are those of Student's t with participants minus classes
    degrees of freedom, for the spread of small samples.

    References
    ----------
    .. [1] Newcombe RG (2006). Confidence intervals for an effect size measure based on
       the Mann-Whitney statistic. Part 2. Stat Med 25:559-573, method 5.
       doi:10.1002/sim.2324
    .. [2] Wilson EB (1927). Probable inference, the law of succession, and statistical
       inference. J Am Stat Assoc 22:209-212. doi:10.2307/2276774
    .. [3] Newcombe RG (1998). Interval estimation for the difference between
       independent proportions. Stat Med 17:873-890, method 10.
    """
    n_people = predictions["participant"].nunique()
    freedom = n_people - (1 if classes is None else len(classes))
    if np.isnan(value) or freedom < 1 or not is_ours(metric):
        return np.nan, np.nan
    z = float(stats.t.ppf(0.5 + level / 2.0, freedom))
    n = effective_count(predictions) / inflation
    if classes is None:
        return _of_numbers(metric, value, predictions, n, z)
    if metric == "brier":
        # With few participants, rare large losses are often not among them: a loss of 0
        # and one of the most that there can be are added, as Agresti and Coull do
        most = 1.0 if len(classes) == 2 else 2.0
        losses = _brier_losses(predictions, classes).to_list()
        return _of_mean(value, pd.Series([*losses, 0.0, most]), n, z)
    if metric in ("specificity", "sensitivity"):
        label = classes[["specificity", "sensitivity"].index(metric)]
        own = predictions[predictions["y_true"] == label]
        return wilson_interval(value, effective_count(own) / inflation, z)
    counts = [
        effective_count(predictions[predictions["y_true"] == label]) / inflation
        for label in classes
    ]
    if metric == "balanced_accuracy":
        return _of_balanced_accuracy(value, predictions, classes, counts, z)
    ends = [auc_interval(value, count, sum(counts) - count, z) for count in counts]
    return min(low for low, _ in ends), max(high for _, high in ends)


def effective_count(predictions: pd.DataFrame) -> float:
    """Count participants; of unequal folds, how many would do in equal ones.

    A mean over ``K`` folds of ``n_k`` participants has a variance of sum(1 / n_k) / K²
    times that of one participant.
    """
    sizes = predictions.groupby(["repeat", "fold"])["participant"].nunique()
    by_repeat = (1.0 / sizes).groupby("repeat").agg(lambda s: len(s) ** 2 / s.sum())
    # random splits test some participants several times
    return min(float(by_repeat.mean()), float(predictions["participant"].nunique()))


def auc_interval(
    auc: float, n_positive: float, n_negative: float, z: float
) -> tuple[float, float]:
    """Solve for the AUCs from which the one found is `z` standard errors away."""
    larger = max((n_positive + n_negative) / 2.0 - 1.0, 0.0)

    def spread(true: float) -> float:
        """Squared error, Hanley and McNeil's, without a factor of 1 - true."""
        pairs = (1.0 - true) / (2.0 - true) + true / (1.0 + true)
        return z**2 * true * (1.0 + larger * pairs) / (n_positive * n_negative)

    def lower(found: float) -> float:
        if found <= 0.0:
            return 0.0
        if found >= 1.0:  # apart from the solution 1, which is always there
            return brentq(lambda true: 1.0 - true - spread(true), 0.0, 1.0)
        return _root(lambda t: (found - t) ** 2 - spread(t) * (1.0 - t), found)

    return lower(auc), 1.0 - lower(1.0 - auc)


def wilson_interval(share: float, n: float, z: float) -> tuple[float, float]:
    """Give Wilson's interval, for any number of participants, whole or not."""
    middle = (share + z**2 / (2.0 * n)) / (1.0 + z**2 / n)
    half = np.sqrt(share * (1.0 - share) / n + z**2 / (4.0 * n**2)) / (1.0 + z**2 / n)
    return max(float(middle - z * half), 0.0), min(float(middle + z * half), 1.0)


def _root(function: Callable[[float], float], found: float) -> float:
    return float(brentq(function, 0.0, found))


def _of_balanced_accuracy(
    value: float,
    predictions: pd.DataFrame,
    classes: NDArray,
    counts: Sequence[float],
    z: float,
) -> tuple[float, float]:
    right = predictions["y_true"] == predictions["y_pred"]
    recalls = right.groupby(predictions["y_true"]).mean()
    below = above = 0.0
    for label, n in zip(classes, counts, strict=True):
        low, high = wilson_interval(recalls[label], n, z)
        below += (recalls[label] - low) ** 2
        above += (high - recalls[label]) ** 2
    low, high = np.sqrt([below, above]) / len(classes)
    return value - low, value + high


def _of_numbers(
    metric: str, value: float, predictions: pd.DataFrame, n: float, z: float
) -> tuple[float, float]:
    """Give the interval of a metric of regression."""
    error = predictions["y_true"] - predictions["y_pred"]
    if metric == "mae":
        return _of_mean(value, _by_person(predictions, error.abs()), n, z)
    if metric == "pearson_r":
        if n <= 3.0:
            return np.nan, np.nan
        # at the ends there is no z; the last value before them has a finite one
        middle = np.arctanh(np.clip(value, -0.999, 0.999))
        return tuple(np.tanh(middle + np.array([-z, z]) / np.sqrt(n - 3.0)).tolist())
    deviation = (predictions["y_true"] - predictions["y_true"].mean()) ** 2
    total = _by_person(predictions, deviation)
    losses = (_by_person(predictions, error**2) - (1.0 - value) * total) / total.mean()
    return _of_mean(value, losses, n, z)


def _of_mean(
    value: float, losses: pd.Series, n: float, z: float
) -> tuple[float, float]:
    half = z * losses.std() / np.sqrt(n)
    return value - half, value + half


def _by_person(predictions: pd.DataFrame, losses: pd.Series) -> pd.Series:
    """Average over repeats and sessions."""
    return losses.groupby(predictions["participant"]).mean()


def _brier_losses(predictions: pd.DataFrame, classes: NDArray) -> pd.Series:
    if len(classes) == 2:
        truth = predictions["y_true"] == classes[1]
        losses = (predictions["proba"] - truth) ** 2
    else:
        losses = sum(
            (predictions[f"proba_{label}"] - (predictions["y_true"] == label)) ** 2
            for label in classes
        )
    return _by_person(predictions, losses)
