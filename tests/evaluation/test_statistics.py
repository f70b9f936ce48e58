"""Tests of folds against numbers worked out by hand."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from mne_megfm.evaluation import corrected_interval, corrected_t_test


def test_t_test_by_hand():
    """Differences 0.02, 0.04, 0.06, 0.00 of four folds, 20 test and 80 training.

    Mean 0.03, squared deviations 1, 1, 9, 9 (times 1e-4), variance 20e-4 / 3; its mean
    has (1/4 + 1/4) of that, 1e-3 / 3, and so t = 0.03 / 0.018257 = 1.6432 with 3
    degrees of freedom.
    """
    t, p = corrected_t_test(np.array([0.02, 0.04, 0.06, 0.00]), ratio=20 / 80)
    assert_allclose(t, 1.643168, rtol=1e-6)
    # upper tail of Student's t with 3 degrees of freedom, in closed form
    x = t / np.sqrt(3.0)
    tail = 0.5 - (np.arctan(x) + x / (1.0 + x**2)) / np.pi
    assert_allclose(p, 2.0 * tail, rtol=1e-9)


def test_t_test_without_overlap_is_the_plain_one(rng):
    values = rng.normal(0.1, 1.0, 12)
    t, p = corrected_t_test(values, ratio=0.0)
    assert_allclose((t, p), stats.ttest_1samp(values, 0.0), rtol=1e-9)


def test_interval_and_test_agree(rng):
    """The interval ends at 0 where p is 0.05."""
    values = rng.normal(0.0, 1.0, 20)
    _, low, _ = corrected_interval(values, ratio=0.25)
    assert_allclose(corrected_t_test(values - low, ratio=0.25)[1], 0.05, rtol=1e-9)


def test_undefined_folds_are_left_out():
    values = np.array([0.5, np.nan, 0.7])
    assert corrected_interval(values, 0.2) == corrected_interval(values[[0, 2]], 0.2)
    mean, low, high = corrected_interval(values[:2], 0.2)
    assert mean == 0.5
    assert np.isnan([low, high, *corrected_t_test(values[:2], 0.2)]).all()
    assert np.isnan(corrected_interval(values[1:2], 0.2)).all()


def test_interval_ends_where_the_metric_ends():
    values = np.array([0.9, 1.0, 1.0, 0.98])
    mean, low, high = corrected_interval(values, 0.25)
    assert high > 1.0
    assert corrected_interval(values, 0.25, bounds=(0.0, 1.0)) == (mean, low, 1.0)
    found = corrected_interval(1.0 - values, 0.25, bounds=(0.0, 1.0))
    assert_allclose(found, (1.0 - mean, 0.0, 1.0 - low))


@pytest.mark.parametrize("value", [0.0, -0.1, 0.25])
def test_equal_differences_cannot_be_tested(value):
    """Without variance there is no t: no p-value of 0, and no interval of width 0."""
    for values in (np.full(5, value), value + 3e-17 * np.arange(5)):
        assert np.isnan(corrected_t_test(values, ratio=0.25)).all() or value == 0.0
        mean, low, high = corrected_interval(values, 0.25, bounds=(-1.0, 1.0))
        assert_allclose(mean, value, atol=1e-15)
        assert (np.isnan(low) and np.isnan(high)) or value == 0.0


def test_repeats_add_no_degrees_of_freedom(rng):
    """Of 3 x 5 folds, the quantile is that of Student's t with 4."""
    values = rng.normal(0.1, 1.0, 15)
    mean, _, high = corrected_interval(values, 0.25, n_repeats=3)
    error = np.sqrt((1 / 15 + 0.25) * values.var(ddof=1))
    assert_allclose(high - mean, 2.776445 * error, rtol=1e-6)
    t, p = corrected_t_test(values, 0.25, n_repeats=3)
    assert_allclose(t, mean / error)
    # in closed form for 4 degrees of freedom
    x = abs(t) / np.sqrt(4.0 + t**2)
    assert_allclose(p, 1.0 - x * (1.0 + 0.5 * (1.0 - x**2)), rtol=1e-9)
