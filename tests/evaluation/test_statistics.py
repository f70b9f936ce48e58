"""Tests of folds against numbers worked out by hand and enumeration."""

import itertools

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.metrics import roc_auc_score

from mne_megfm.evaluation import corrected_interval, corrected_t_test, sign_flip_test
from mne_megfm.evaluation._tables import paired_differences


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


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (-0.1, 0.0)])
def test_equal_differences(value, p):
    t, found = corrected_t_test(np.full(5, value), ratio=0.25)
    assert found == p
    assert t == (0.0 if value == 0 else -np.inf)


def test_sign_flips_are_enumerated(rng):
    values = rng.normal(0.3, 1.0, 9)
    signs = np.array(list(itertools.product([-1, 1], repeat=9)))
    reached = np.abs(signs @ values) >= abs(values.sum()) - 1e-12
    assert_allclose(sign_flip_test(values), reached.mean())


def test_sign_flips_at_random(rng):
    """Drawn patterns give what the normal approximation says."""
    values = rng.normal(0.1, 1.0, 80)
    z = abs(values.sum()) / np.sqrt((values**2).sum())
    assert_allclose(sign_flip_test(values), 2 * stats.norm.sf(z), rtol=0.15)


def test_sign_flips_keep_their_level(rng):
    """Under the null, p is below 0.05 in 5 % of cases."""
    p = [sign_flip_test(rng.normal(size=10)) for _ in range(400)]
    assert 8 <= np.sum(np.array(p) <= 0.05) <= 34  # 20, with four standard deviations
    assert np.isnan(sign_flip_test(np.array([np.nan])))


def predicted(scores, y, participants=None):
    """A table of predictions in one fold."""
    participants = range(len(y)) if participants is None else participants
    return pd.DataFrame(
        {
            "repeat": 0,
            "fold": 0,
            "participant": [f"p{n}" for n in participants],
            "y_true": y,
            "score": scores,
        }
    )


def test_flipping_a_sign_exchanges_scores(rng):
    """Signs times differences are the AUCs of scikit-learn after the exchange."""
    y = np.repeat([0, 1], [5, 8])
    ranks = np.array([rng.permutation(13) for _ in range(2)])
    differences = paired_differences(*(predicted(r, y) for r in ranks), "roc_auc")
    differences = differences.loc[[f"p{n}" for n in range(13)]].to_numpy()
    for _ in range(20):
        signs = rng.choice([-1, 1], 13)
        first, second = np.where(signs == 1, ranks, ranks[::-1])
        expected = roc_auc_score(y, first) - roc_auc_score(y, second)
        assert_allclose((signs * differences).mean(), expected, atol=1e-12)


def test_exchange_keeps_its_level(rng):
    """Of two pipelines that are equally good, 5 % seem to differ at p < 0.05."""
    y = np.arange(60) % 2
    p = []
    for _ in range(300):
        shared = rng.standard_normal(60)
        tables = [
            predicted(1.2 * y + shared + rng.standard_normal(60), y) for _ in range(2)
        ]
        p.append(sign_flip_test(paired_differences(*tables, "roc_auc"), 400))
    assert 2 <= np.sum(np.array(p) < 0.05) <= 30  # 15, with four standard deviations


def test_sessions_of_a_participant_are_exchanged_together(rng):
    """Some people have one session, some two with other labels."""
    people = np.r_[0:12, 0:8]
    y = np.r_[np.arange(12) % 2, 1 - np.arange(8) % 2]
    ranks = np.array([rng.permutation(20) for _ in range(2)])
    tables = [predicted(r, y, people) for r in ranks]
    assert (paired_differences(tables[0], tables[0], "roc_auc") == 0).all()
    differences = paired_differences(*tables, "roc_auc")
    assert len(differences) == 12
    differences = differences.loc[[f"p{n}" for n in range(12)]].to_numpy()
    for _ in range(20):
        signs = rng.choice([-1, 1], 12)
        first, second = np.where(signs[people] == 1, ranks, ranks[::-1])
        expected = roc_auc_score(y, first) - roc_auc_score(y, second)
        assert_allclose((signs * differences).mean(), expected, atol=1e-12)
