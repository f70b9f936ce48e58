"""Intervals, p-values and verdicts on data of which the truth is known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer, recall_score
from sklearn.model_selection import StratifiedKFold, cross_validate

from mne_megfm.evaluation import corrected_t_test, cross_validate_participants
from mne_megfm.evaluation._chance import null_range, permutation_p
from mne_megfm.evaluation._intervals import auc_interval, wilson_interval

Z = 1.959964
RIDGE = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)


def cohort(rng, n, effect, n_features=10):
    """Features of which the first differs between as many of either class."""
    y = np.repeat(["control", "migraine"], n // 2)
    X = rng.standard_normal((n, n_features))
    X[:, 0] += effect * (y == "migraine")
    return X, y


@pytest.mark.parametrize("auc", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_auc_interval_solves_its_equation(auc):
    """Ends are z of Hanley and McNeil's standard errors away, taken at the end."""
    m, n = 6, 9
    low, high = auc_interval(auc, m, n, Z)
    assert 0.0 <= low <= auc <= high <= 1.0 and high - low > 0.2
    for end in {low, high} - {0.0, 1.0}:
        q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
        more = (m + n) / 2 - 1
        variance = end * (1 - end) + more * (q1 - end**2) + more * (q2 - end**2)
        assert_allclose((auc - end) ** 2, Z**2 * variance / (m * n), rtol=1e-6)
    assert_allclose(auc_interval(1 - auc, m, n, Z), (1 - high, 1 - low))


def test_wilson_interval_is_that_of_scipy():
    for k in (0, 3, 10):
        expected = stats.binomtest(k, 10).proportion_ci(method="wilson")
        assert_allclose(wilson_interval(k / 10, 10, Z), expected, atol=1e-6)


def test_same_values_as_scikit_learn(rng):
    X, y = cohort(rng, 40, 1.5)
    cv = StratifiedKFold(4)
    found = cross_validate_participants(RIDGE, X, y, cv=cv, n_permutations=0)
    expected = cross_validate(
        RIDGE,
        X,
        y,
        cv=cv,
        scoring={
            "roc_auc": "roc_auc",
            "balanced_accuracy": "balanced_accuracy",
            "sensitivity": make_scorer(recall_score, pos_label="migraine"),
            "specificity": make_scorer(recall_score, pos_label="control"),
        },
    )
    for metric in found.table.index[:4]:
        assert_allclose(
            found.table.loc[metric, "mean"], expected[f"test_{metric}"].mean()
        )
    assert found.labels == {"control": 20, "migraine": 20}
    assert found.table.loc["brier", "trivial"] == 0.25


def test_perfect_folds_are_no_certainty(rng):
    """All folds at 1.0 leave an interval; ten participants leave a wide one."""
    X, y = cohort(rng, 10, 40.0)
    found = cross_validate_participants(RIDGE, X, y, n_permutations=19)
    for metric in ("roc_auc", "balanced_accuracy", "sensitivity", "specificity"):
        row = found.table.loc[metric]
        assert (row["mean"], row["sd"], row["high"]) == (1.0, 0.0, 1.0)
        assert row["low"] < 0.75
    assert "10 participants (5 control, 5 migraine)" in str(found)
    assert "95 % interval" in str(found) and "permuted labels" in str(found)
    assert "too few to tell by how much" in found.verdict or "too few" in found.verdict


def test_noise_is_too_few_to_tell(rng):
    X, y = cohort(rng, 12, 0.0)
    found = cross_validate_participants(RIDGE, X, y, n_permutations=20)
    assert found.verdict.startswith("too few participants to tell")
    assert found.table.loc["roc_auc", "null_low"] < 0.5


def test_numbers_beside_the_mean(rng):
    X = rng.standard_normal((40, 4))
    y = 40.0 + 10.0 * X[:, 0] + rng.standard_normal(40)
    found = cross_validate_participants(Ridge(), X, y, n_permutations=19)
    table = found.table
    assert table.loc["r2", "trivial"] < 0.0 < table.loc["r2", "low"]
    assert table.loc["mae", "high"] < table.loc["mae", "trivial"]
    assert_allclose(table["p_permuted"], 0.05)
    assert found.verdict.startswith("better than chance")
    assert "the mean of others has" in str(found)
    with pytest.raises(ValueError, match="positive=None with a regressor"):
        cross_validate_participants(Ridge(), X, y, positive="a")


@pytest.mark.parametrize(("one", "other"), [("HC", "CM"), ("control", "migraine")])
def test_spelling_does_not_matter(rng, one, other):
    """With the positive class named, numbers are the same whatever sorts last."""
    X, y = cohort(rng, 30, 1.0)
    expected = cross_validate_participants(
        RIDGE, X, np.where(y == "control", "a", "b"), positive="b", n_permutations=3
    )
    spelt = np.where(y == "control", one, other)
    found = cross_validate_participants(
        RIDGE, X, spelt, positive=other, n_permutations=3
    )
    assert_allclose(found.table.to_numpy(float), expected.table.to_numpy(float))
    assert f"sensitivity ({other})" in str(found)
    swapped = cross_validate_participants(
        RIDGE, X, spelt, positive=one, n_permutations=0
    )
    means = found.table["mean"]
    assert means["sensitivity"] != means["specificity"]
    assert_allclose(swapped.table.loc["specificity", "mean"], means["sensitivity"])
    with pytest.raises(ValueError, match=f"the labels .*{one}.*, got 'x'"):
        cross_validate_participants(RIDGE, X, spelt, positive="x")


def test_ties_by_rounding_are_ties():
    """The last digit of a mean over folds depends on the order of the sum."""
    permuted = [0.5277777777777777, 0.5277777777777778, 0.3]
    assert permutation_p("roc_auc", 0.5277777777777778, permuted) == 3 / 4
    assert permutation_p("brier", 0.3, [0.1 + 0.2, 0.2, 0.4]) == 3 / 4
    assert null_range(np.arange(100) / 100) == (0.02, 0.97)
    assert np.isnan(null_range([])).all()


# -- levels, by simulation -------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize(("n", "n_sim"), [(10, 100), (24, 100), (100, 100)])
@pytest.mark.parametrize("effect", [0.0, 1.0, 1.8])
def test_intervals_cover(n, n_sim, effect):
    """95 % intervals hold the expected value in 95 %, less three standard errors.

    That is the mean over cohorts, as cross-validation is right on average.
    """
    rng = np.random.default_rng([n, round(10 * effect)])
    tables = [
        cross_validate_participants(
            RIDGE, *cohort(rng, n, effect), n_repeats=1, n_permutations=0
        ).table
        for _ in range(n_sim)
    ]
    allowed = 0.95 - 3 * np.sqrt(0.95 * 0.05 / n_sim)
    for metric in ("roc_auc", "balanced_accuracy", "sensitivity", "brier"):
        rows = np.array([t.loc[metric, ["mean", "low", "high"]] for t in tables], float)
        truth = rows[:, 0].mean()
        covered = (rows[:, 1] <= truth) & (truth <= rows[:, 2])
        assert covered.mean() >= allowed, metric


@pytest.mark.slow
@pytest.mark.parametrize("n", [24, 100])
@pytest.mark.parametrize("effect", [0.0, 1.2])
@pytest.mark.parametrize("n_repeats", [1, 4])
def test_equal_pipelines_do_not_differ(n, effect, n_repeats):
    """Two equal pipelines differ at 0.05 in 5 %, plus three standard errors."""
    rng = np.random.default_rng([n, round(10 * effect), n_repeats])
    p, n_sim = [], 100
    for _ in range(n_sim):
        first, y = cohort(rng, n, effect)
        second, _ = cohort(rng, n, effect)
        values = [
            cross_validate_participants(
                RIDGE, X, y, n_repeats=n_repeats, n_permutations=0, scoring="roc_auc"
            ).folds["value"]
            for X in (first, second)
        ]
        gain = (values[0] - values[1]).to_numpy()
        p.append(corrected_t_test(gain, 0.25, n_repeats)[1])
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / n_sim)


@pytest.mark.slow
def test_permutations_hold_their_level():
    rng = np.random.default_rng(4)
    p = [
        cross_validate_participants(
            RIDGE, *cohort(rng, 24, 0.0), n_repeats=1, n_permutations=19,
            scoring="roc_auc",
        ).table.loc["roc_auc", "p_permuted"]
        for _ in range(200)
    ]  # fmt: skip
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert 0.4 < np.mean(p) < 0.65
