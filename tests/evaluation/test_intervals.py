"""Intervals, p-values and verdicts on data of which the truth is known."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import (
    balanced_accuracy_score,
    make_scorer,
    r2_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import (
    KFold,
    PredefinedSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_validate,
)

from mne_megfm.evaluation import corrected_t_test, cross_validate_participants
from mne_megfm.evaluation._intervals import auc_interval, wilson_interval
from mne_megfm.evaluation._verdicts import analytic_range, null_range, permutation_p

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
    assert "95 % interval" in str(found)
    assert "of 19 permutations" in str(found)
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
    assert null_range(np.arange(39.0)) == (0.0, 38.0)
    # of so few, the range of all holds less than 95 %
    assert np.isnan(null_range(np.arange(38.0))).all()
    assert np.isnan(null_range([])).all()


def one_fold(counts):
    y = np.repeat(list(counts), list(counts.values()))
    return pd.DataFrame(
        {"repeat": 0, "fold": 0, "y_true": y, "participant": np.arange(len(y))}
    )


def test_range_by_chance_is_that_of_scikit_learn():
    """The variance of metrics of scores that have nothing to do with labels."""
    rng = np.random.default_rng(0)
    classes = np.array(["a", "b"])
    table = one_fold({"a": 5, "b": 8})
    y = table["y_true"].to_numpy()
    # all draws at once; the first is as scikit-learn has it
    draws = rng.standard_normal((1500, 13))
    later = draws[:, y == "b", None] > draws[:, None, y == "a"]
    auc = later.mean((1, 2))
    assert_allclose(auc[0], roc_auc_score(y, draws[0]))
    choices = rng.choice(classes, (1500, 13))
    hits = choices == y
    right = np.mean([hits[:, y == name].mean(1) for name in classes], axis=0)
    assert_allclose(right[0], balanced_accuracy_score(y, choices[0]))
    y = rng.standard_normal(13)
    r = stats.pearsonr(y, rng.standard_normal((1500, 13)), axis=1)[0]
    found = [("roc_auc", auc), ("balanced_accuracy", right), ("pearson_r", r)]
    for metric, values in found:
        of = None if metric == "pearson_r" else classes
        low, high = analytic_range(metric, table, of, 1.0)
        assert_allclose((high - low) / 2, Z * np.std(values), rtol=0.06)
        assert_allclose((high + low) / 2, np.mean(values), atol=0.015)
        # of two folds, the variance of the mean is half
        two = pd.concat([table, table.assign(fold=1)])
        half = (high - low) / 2 / np.sqrt(2)
        assert_allclose(np.diff(analytic_range(metric, two, of, 1.0))[0] / 2, half)
    assert np.isnan(analytic_range("brier", table, classes, 1.0)).all()
    assert np.isnan(analytic_range("roc_auc", one_fold({"a": 5}), classes, 1.0)).all()


def test_what_the_range_by_chance_is_of_is_said(rng):
    """With few permutations it is analytic, with many it is theirs; so it is said."""
    X, y = cohort(rng, 24, 0.0)
    few = cross_validate_participants(RIDGE, X, y, n_permutations=5)
    none = cross_validate_participants(RIDGE, X, y, n_permutations=0)
    many = cross_validate_participants(RIDGE, X, y, n_permutations=39, n_repeats=1)
    for found in (few, none):
        low, high = found.table.loc["roc_auc", ["null_low", "null_high"]]
        expected = analytic_range(
            "roc_auc", found.predictions, np.unique(y), 1 + 24 / (24 * 0.8)
        )
        assert_allclose((low, high), expected, rtol=0.01)
        assert "by the Mann-Whitney variance of each fold" in str(found)
        assert f"chance {low:.3f} to {high:.3f}" in str(found)
        assert np.isnan(found.table.loc["brier", "null_low"])
    assert "of 5 permutations" in str(few) and "permutations" not in str(none)
    values = many.permutations.query("metric == 'brier'")["value"]
    row = many.table.loc["brier"]
    assert (row["null_low"], row["null_high"]) == (values.min(), values.max())
    assert f"39 permutations {row['null_low']:.3f} to" in str(many)
    assert "by 39 permutations of the labels" in str(many)


def test_r_squared_of_few_is_that_of_all(rng):
    """In folds of two R² has no mean; it is that of all held-out predictions."""
    X = rng.standard_normal((10, 3))
    y = X[:, 0] + 0.5 * rng.standard_normal(10)
    cv = KFold(5)
    found = cross_validate_participants(Ridge(), X, y, cv=cv, n_permutations=0)
    expected = r2_score(y, cross_val_predict(Ridge(), X, y, cv=cv))
    assert_allclose(found.table.loc["r2", "mean"], expected)
    # a correlation of two is 1 or -1
    assert np.isnan(found.table.loc["pearson_r"].drop("null_low")["mean"])
    assert "each fold needs 3 test participants; use fewer folds" in str(found)


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
    check_coverage(tables, ["roc_auc", "balanced_accuracy", "sensitivity", "brier"])
    if effect == 0.0:
        check_chance(tables, ["roc_auc", "balanced_accuracy"])


def check_coverage(tables, metrics):
    """Check 95 % intervals against the mean over cohorts."""
    allowed = 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(tables))
    for metric in metrics:
        rows = np.array([t.loc[metric, ["mean", "low", "high"]] for t in tables], float)
        truth = rows[:, 0].mean()
        covered = (rows[:, 1] <= truth) & (truth <= rows[:, 2])
        assert covered.mean() >= allowed, (metric, covered.mean())
        assert (rows[:, 2] > rows[:, 1]).all()


def check_chance(tables, metrics):
    """Check that results by chance are in the range of 95 %, which says something."""
    allowed = 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(tables))
    for metric in metrics:
        columns = ["mean", "null_low", "null_high"]
        rows = np.array([t.loc[metric, columns] for t in tables], float)
        inside = (rows[:, 1] <= rows[:, 0]) & (rows[:, 0] <= rows[:, 2])
        assert inside.mean() >= allowed, (metric, inside.mean())
        # not wider than twice what holds 95 %
        half = np.quantile(np.abs(rows[:, 0] - rows[:, 0].mean()), 0.95)
        assert (rows[:, 2] - rows[:, 1]).mean() <= 4 * half, metric


def _several(rng, n, effect):
    """Return three classes, each with a feature of its own but the first."""
    y = np.repeat(["a", "b", "c"], n // 3)
    X = rng.standard_normal((len(y), 10))
    X[:, 0] += effect * (y == "b")
    X[:, 1] += effect * (y == "c")
    return RIDGE, X, y, {"cv": min(5, n // 3)}


def _sessions(rng, n, effect):
    """Return one to three sessions a participant, which are alike."""
    people, y = cohort(rng, n, effect)
    who = np.repeat(np.arange(n), rng.integers(1, 4, n))
    X = 0.9 * people[who] + 0.44 * rng.standard_normal((len(who), 10))
    return RIDGE, X, y[who], {"groups": who, "cv": 3 if n == 10 else 5}


def _sites(rng, n, effect):
    """Return five sites of which each has an offset of its own; one is left out."""
    X, y = cohort(rng, n, effect)
    site = np.arange(n) % 5
    X += 0.7 * rng.standard_normal((5, 10))[site]
    return RIDGE, X, y, {"cv": PredefinedSplit(site)}


def _numbers(rng, n, effect):
    X = rng.standard_normal((n, 5))
    y = effect * X[:, 0] + rng.standard_normal(n)
    return Ridge(5.0), X, y, {"cv": 3 if n == 10 else 5}


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 24, 100])
@pytest.mark.parametrize("effect", [0.0, 1.2])
@pytest.mark.parametrize(
    ("make", "metrics"),
    [
        (_numbers, ["r2", "mae", "pearson_r"]),
        (_several, ["roc_auc", "balanced_accuracy"]),
        (_sessions, ["roc_auc", "balanced_accuracy"]),
        (_sites, ["roc_auc", "balanced_accuracy"]),
    ],
)
def test_intervals_cover_elsewhere(n, effect, make, metrics):
    """So they do for numbers, three classes, several sessions and sites left out."""
    rng = np.random.default_rng([n, round(10 * effect)])
    tables = []
    for _ in range(60):
        estimator, X, y, given = make(rng, n, effect)
        found = cross_validate_participants(
            estimator, X, y, n_repeats=1, n_permutations=0, scoring=metrics, **given
        )
        tables.append(found.table)
    check_coverage(tables, metrics)


@pytest.mark.slow
@pytest.mark.parametrize("cv", [5, 2])
def test_intervals_of_numbers_in_folds_of_any_size(cv):
    """R² and absolute error in folds of two to twelve participants."""
    rng = np.random.default_rng(cv)
    n, tables = 10 if cv == 5 else 24, []
    for _ in range(100):
        estimator, X, y, _ = _numbers(rng, n, 1.2)
        found = cross_validate_participants(
            estimator, X, y, n_repeats=1, n_permutations=0, cv=cv
        )
        tables.append(found.table)
    check_coverage(tables, ["r2", "mae"])


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
