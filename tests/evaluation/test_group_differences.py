"""Differences of features between groups: effect sizes, intervals and corrections."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mne_megfm.evaluation import group_differences


def _two(rng, shift=0.0, n=(9, 12), n_features=6):
    """Return features of two groups, the first of which is shifted."""
    features = rng.standard_normal((sum(n), n_features))
    features[: n[0]] += shift
    return features, np.repeat(["migraine", "control"], n)


def test_effect_size_is_that_of_hedges(rng):
    """It is the textbook formula, feature by feature, for groups of unequal size."""
    features, y = _two(rng, 0.8)
    found = group_differences(features, y, names=list("abcdef"))
    for number, name in enumerate("abcdef"):
        a, b = features[:9, number], features[9:, number]
        pooled = math.sqrt((8 * np.var(a, ddof=1) + 11 * np.var(b, ddof=1)) / 19)
        exact = math.gamma(9.5) / (math.sqrt(9.5) * math.gamma(9.0))
        expected = exact * (a.mean() - b.mean()) / pooled
        assert found.loc[name, "g"] == pytest.approx(expected)
        assert found.loc[name, "mean_control"] == pytest.approx(b.mean())
        assert found.loc[name, "sd_migraine"] == pytest.approx(a.std(ddof=1))
    sizes = found["g"].abs().to_numpy()
    assert (np.diff(sizes) <= 0).all()


def test_interval_ends_where_the_test_would_reject(rng):
    """At its ends the noncentral t distribution leaves 2.5 % beyond what was found."""
    features, y = _two(rng, 1.0)
    row = group_differences(features, y).iloc[0]
    a, b = features[:9, int(row.name)], features[9:, int(row.name)]
    t = stats.ttest_ind(a, b).statistic
    scale = math.sqrt(1 / 9 + 1 / 12)
    assert stats.nct.sf(t, 19, row["low"] / scale) == pytest.approx(0.025, abs=1e-6)
    assert stats.nct.cdf(t, 19, row["high"] / scale) == pytest.approx(0.025, abs=1e-6)


@pytest.mark.parametrize("true", [0.0, 1.5])
def test_interval_holds_the_true_effect(rng, true):
    """In 95 % of draws, within the error of the simulation."""
    features, y = _two(rng, true, n=(6, 10), n_features=4000)
    found = group_differences(features, y)
    share = ((found["low"] <= true) & (true <= found["high"])).mean()
    assert share == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))


def test_p_values_are_corrected_for_all_features(rng):
    """They are Welch's, and Benjamini and Hochberg's by hand."""
    features, y = _two(rng, 0.5)
    found = group_differences(features, y)
    p = [
        stats.ttest_ind(features[:9, n], features[9:, n], equal_var=False).pvalue
        for n in found.index.astype(int)
    ]
    np.testing.assert_allclose(found["p"], p)
    order = np.argsort(p)
    steps = np.array(p)[order] * 6 / np.arange(1, 7)
    expected = np.minimum.accumulate(steps[::-1])[::-1]
    np.testing.assert_allclose(found["p_corrected"].to_numpy()[order], expected)


def test_labels_decide_the_sign(rng):
    """The group that is named is compared with the other, else the last, sorted."""
    features, y = _two(rng, 2.0)
    assert (group_differences(features, y)["g"] > 0).all()
    turned = group_differences(features, y, positive="control")
    assert (turned["g"] < 0).all()
    with pytest.raises(ValueError, match="one of"):
        group_differences(features, y, positive="other")


def test_missing_values_are_left_out(rng):
    """Of values feature by feature, of people without a label altogether."""
    features, y = _two(rng, 0.5)
    whole = group_differences(features, y).loc["2"]
    more = np.vstack([features, np.full((2, 6), 99.0)])
    labels = [*y.tolist(), None, float("nan")]
    assert group_differences(more, labels).loc["2", "g"] == whole["g"]
    holes = features.copy()
    holes[0, 2] = np.nan
    expected = group_differences(features[1:, 2:3], y[1:]).iloc[0]
    got = group_differences(holes, y).loc["2"]
    assert got["g"] == pytest.approx(expected["g"])
    assert got["p"] == pytest.approx(expected["p"])
    assert got["n_migraine"] == 8


def test_features_that_cannot_be_compared_come_last(rng):
    """Constants and single values are no part of the correction."""
    features, y = _two(rng, 0.5, n_features=2)
    alone = np.full(21, np.nan)
    alone[:2] = 1.0, 2.0
    table = pd.DataFrame({"x": features[:, 0], "constant": 0.1 + 0.2, "alone": alone})
    found = group_differences(table, y)
    assert found.index[0] == "x"
    assert (
        found.loc[["constant", "alone"], ["g", "p", "p_corrected"]]
        .isna()
        .all(axis=None)
    )
    assert found.loc["x", "p"] == found.loc["x", "p_corrected"]


def test_what_is_given_must_fit(rng):
    features, y = _two(rng)
    with pytest.raises(ValueError, match="a label for each of 21 rows"):
        group_differences(features, y[:-1])
    with pytest.raises(ValueError, match="two labels, got 3"):
        group_differences(features, ["a", "b", "c"] * 7)
    with pytest.raises(ValueError, match="a name for each of 6 features, got 2"):
        group_differences(features, y, names=["a", "b"])
    with pytest.raises(ValueError, match="got shape"):
        group_differences(features[:, 0], y)
