"""Statistics of cross-validated results, whose folds are not independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def corrected_interval(
    values: NDArray[np.floating],
    ratio: float,
    level: float = 0.95,
    bounds: tuple[float, float] = (-np.inf, np.inf),
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

    Returns
    -------
    mean, low, high : float
        NaN for the interval of fewer than two results.

    Notes
    -----
    The interval is that of Student's t, which knows no bounds: of few folds near the
    end of the range of a metric it would reach beyond. Cutting leaves its coverage as
    it is, since what is cut away cannot be the true value.

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
    mean, error, n = _mean_and_error(values, ratio)
    if n < 2:
        return mean, np.nan, np.nan
    half = stats.t.ppf(0.5 + level / 2.0, n - 1) * error
    low, high = np.clip((mean - half, mean + half), *bounds)
    return mean, float(low), float(high)


def corrected_t_test(
    differences: NDArray[np.floating], ratio: float
) -> tuple[float, float]:
    """Test whether two pipelines differ, from the differences of their folds.

    The corrected resampled t-test [1]_: see `corrected_interval` for the variance.

    Parameters
    ----------
    differences : ndarray, shape (n_results,)
        Result of one pipeline minus that of the other, on the same folds; NaN is left
        out.
    ratio : float
        Test samples divided by training samples.

    Returns
    -------
    t, p : float
        Statistic with ``n_results - 1`` degrees of freedom and two-sided p-value. Where
        all differences are the same, p is 1 if they are 0, and 0 otherwise.

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
    mean, error, n = _mean_and_error(differences, ratio)
    if n < 2:
        return np.nan, np.nan
    if error == 0.0:
        return (0.0, 1.0) if mean == 0.0 else (float(np.copysign(np.inf, mean)), 0.0)
    t = mean / error
    return float(t), float(2.0 * stats.t.sf(abs(t), n - 1))


def sign_flip_test(
    differences: NDArray[np.floating],
    n_permutations: int = 10_000,
    random_state: int = 0,
) -> float:
    """Test whether paired differences of independent units have mean zero.

    Under the null hypothesis each unit's difference is as likely to have the other sign
    [1]_. Units must be independent: participants, not folds.

    Parameters
    ----------
    differences : ndarray, shape (n_units,)
        One difference a participant; NaN is left out.
    n_permutations : int
        Random sign patterns; all of them are used where there are no more.
    random_state : int
        Seed.

    Returns
    -------
    p : float
        Two-sided p-value, the observed pattern counted among the permutations.

    References
    ----------
    .. [1] Good P (2005). Permutation, parametric and bootstrap tests of hypotheses, 3rd
       ed., chapter 3. Springer.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.evaluation import sign_flip_test
    >>> sign_flip_test(np.array([1.0, 2.0, 3.0]))  # 2 of the 8 patterns
    0.25
    """
    values = np.asarray(differences, dtype=float)
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan
    # a tie by rounding is a tie
    observed = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if 2.0 ** len(values) <= n_permutations:
        patterns = np.arange(2 ** len(values))
        signs = 1 - 2 * (patterns[:, None] >> np.arange(len(values)) & 1)
        return float(np.mean(np.abs(signs @ values) >= observed))
    rng = np.random.default_rng(random_state)
    signs = rng.choice((-1.0, 1.0), (n_permutations, len(values)))
    n_extreme = int(np.sum(np.abs(signs @ values) >= observed))
    return (n_extreme + 1) / (n_permutations + 1)


def _mean_and_error(
    values: NDArray[np.floating], ratio: float
) -> tuple[float, float, int]:
    values = np.asarray(values, dtype=float)
    values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return np.nan, np.nan, 0
    if n == 1:
        return float(values[0]), np.nan, 1
    error = np.sqrt((1.0 / n + ratio) * values.var(ddof=1))
    return float(values.mean()), float(error), n
