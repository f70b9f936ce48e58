"""Which features differ between two groups, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats


def group_differences(
    features: ArrayLike | pd.DataFrame,
    y: ArrayLike,
    *,
    names: Sequence[str] | None = None,
    positive: Any = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare each feature between two groups of participants.

    Parameters
    ----------
    features : array-like or DataFrame, shape (n_participants, n_features)
        Features, one row a participant. NaN is left out, feature by feature.
    y : array-like, shape (n_participants,)
        Two labels; participants with a missing one are left out.
    names : list of str | None
        Names of the features. None takes those of the columns of a DataFrame, or else
        numbers.
    positive : object
        The group that is compared with the other; None for the last of the sorted
        labels.
    level : float
        Coverage of the intervals of ``g``.

    Returns
    -------
    table : DataFrame
        One row a feature, the largest effects first: the mean and standard deviation
        (``mean_<label>``, ``sd_<label>``) and number (``n_<label>``) of each group,
        Hedges' ``g`` (above 0: higher in the positive group) with an interval from
        ``low`` to ``high``, the p-value of Welch's t-test (``p``), and the same
        corrected for the number of features (``p_corrected``, Benjamini and Hochberg).
        A feature that cannot be compared (fewer than two values in a group, or no
        variance) has NaN, comes last and is not counted in the correction.

    Raises
    ------
    ValueError
        If lengths differ, there are not two labels, or ``positive`` is none of them.

    Notes
    -----
    ``g`` is the difference of means divided by the pooled standard deviation, times the
    exact correction for small samples [1]_. Its interval is that of a noncentral t
    distribution, which assumes normal values of equal variance; Welch's test does not
    assume equal variances. Correction by [2]_ controls the false discovery rate: of
    all features with ``p_corrected`` of at most 0.05, 5 % at most are expected to be
    false. Differences are not adjusted for age, sex or site.

    References
    ----------
    .. [1] Hedges LV (1981). Distribution theory for Glass's estimator of effect size
       and related estimators. J Educ Stat 6:107-128. doi:10.2307/1164588
    .. [2] Benjamini Y, Hochberg Y (1995). Controlling the false discovery rate. J R
       Stat Soc B 57:289-300. doi:10.1111/j.2517-6161.1995.tb02031.x

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.evaluation import group_differences
    >>> features = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [6.0, 1.0]])
    >>> y = ["control", "control", "migraine", "migraine"]
    >>> table = group_differences(features, y, names=["N100m", "alpha"])
    >>> table["g"].round(3).to_dict()
    {'N100m': 1.07, 'alpha': 0.0}
    """
    values, columns = _values(features, names)
    y = np.asarray(y, dtype=object)
    if len(y) != len(values):
        raise ValueError(
            f"Expected a label for each of {len(values)} rows of features, got "
            f"{len(y)}; pass them in the same order."
        )
    known = ~pd.isna(y)
    labels = sorted(set(y[known].tolist()), key=str)
    if len(labels) != 2:
        raise ValueError(
            f"Expected two labels, got {len(labels)} ({labels[:5]}); pass two groups."
        )
    positive = labels[1] if positive is None else positive
    if positive not in labels:
        raise ValueError(
            f"Expected positive to be one of {labels}, got {positive!r}; pass a label."
        )
    other = labels[1 - labels.index(positive)]
    first, second = (
        values[known & np.array([one == label for one in y])]
        for label in (positive, other)
    )
    table = pd.DataFrame(index=pd.Index(columns, name="feature"))
    for label, part in ((positive, first), (other, second)):
        n = (~np.isnan(part)).sum(0)
        table[f"mean_{label}"], table[f"sd_{label}"] = _mean_and_sd(part, n)
        table[f"n_{label}"] = n
    table["g"], table["low"], table["high"] = _hedges(first, second, level)
    able = table["g"].notna().to_numpy()
    table["p"] = table["p_corrected"] = np.nan
    if able.any():
        p = stats.ttest_ind(
            first[:, able], second[:, able], equal_var=False, nan_policy="omit"
        ).pvalue
        table.loc[able, "p"] = np.asarray(p)
        table.loc[able, "p_corrected"] = stats.false_discovery_control(np.asarray(p))
    order = np.argsort(-table["g"].abs().to_numpy(), kind="stable")  # NaN comes last
    return table.iloc[order]


def _values(
    features: Any, names: Sequence[str] | None
) -> tuple[NDArray[np.float64], list[str]]:
    """Give features as numbers, with their names."""
    if isinstance(features, pd.DataFrame) and names is None:
        names = [str(name) for name in features.columns]
    values = np.asarray(features, dtype=float)
    if values.ndim != 2:
        raise ValueError(
            "Expected features of shape (n_participants, n_features), got shape "
            f"{values.shape}; pass one row a participant."
        )
    names = range(values.shape[1]) if names is None else names
    columns = [str(name) for name in names]
    if len(columns) != values.shape[1]:
        raise ValueError(
            f"Expected a name for each of {values.shape[1]} features, got "
            f"{len(columns)}; pass the names of the columns."
        )
    return values, columns


def _mean_and_sd(
    part: NDArray[np.float64], n: NDArray[np.int_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give mean and standard deviation of columns; NaN where values are too few."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(part, 0) / n
        variance = np.nansum((part - mean) ** 2, 0) / (n - 1)
    return mean, np.sqrt(np.where(n > 1, variance, np.nan))


def _hedges(
    first: NDArray[np.float64], second: NDArray[np.float64], level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Give Hedges' g of columns with its interval."""
    n, m = ((~np.isnan(part)).sum(0) for part in (first, second))
    (mean, sd), (other, other_sd) = _mean_and_sd(first, n), _mean_and_sd(second, m)
    freedom = n + m - 2.0
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = np.sqrt(((n - 1) * sd**2 + (m - 1) * other_sd**2) / freedom)
        # constants up to rounding have no effect size
        size = np.fmax(np.abs(mean), np.abs(other))
        pooled = np.where(pooled > 1e-9 * size, pooled, np.nan)
        d = (mean - other) / pooled
        scale = np.sqrt(1.0 / n + 1.0 / m)
        t, tail = d / scale, (1.0 - level) / 2.0
        small = np.exp(
            special.gammaln(freedom / 2.0) - special.gammaln((freedom - 1.0) / 2.0)
        ) / np.sqrt(freedom / 2.0)
        low = special.nctdtrinc(freedom, 1.0 - tail, t) * scale
        high = special.nctdtrinc(freedom, tail, t) * scale
    # an exact interval of the true effect takes no correction
    return small * d, low, high
