"""Counts, operating points and decision curves, against sklearn and closed forms."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from mne_megfm.evaluation._clinical import _thresholds_of_others
from mne_megfm.evaluation._intervals import wilson_interval


def _people(comparison, name):
    table = comparison.predictions
    table = table[table["pipeline"] == name]
    people = table.groupby("participant").agg({"y_true": "first", "proba": "mean"})
    return (people["y_true"] == "migraine").to_numpy(), people["proba"].to_numpy()


@pytest.fixture
def ranked(comparison):
    """Return 200 people in ten folds, of whose probabilities all is known."""
    n = 200
    truth = np.arange(n) % 2 == 1
    # the positive have 0.5025 to 0.9975, the others 0.2525 to 0.7475, evenly
    proba = np.where(truth, 0.5, 0.25) + 0.5 * (np.arange(n) // 2 + 0.5) / (n // 2)
    fold = np.arange(n) // 2 % 10
    label = np.where(truth, "migraine", "control")
    predictions = pd.DataFrame(
        {
            "pipeline": "ranked", "repeat": 0, "fold": fold,
            "participant": np.arange(n), "y_true": label,
            "y_pred": label, "score": proba, "proba": proba,
        }
    )  # fmt: skip
    folds = pd.DataFrame(
        [
            {
                "pipeline": "ranked", "repeat": 0, "fold": number, "metric": "roc_auc",
                "value": 0.9, "n_train": 180, "n_test": 20,
                "train": tuple(np.flatnonzero(fold != number).tolist()),
                "test": tuple(np.flatnonzero(fold == number).tolist()),
            }
            for number in range(10)
        ]
    )  # fmt: skip
    return replace(
        comparison, predictions=predictions, folds=folds, metrics=["roc_auc"],
        labels={"control": 100, "migraine": 100}, reference="ranked",
    )  # fmt: skip


@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.9])
def test_confusion_is_that_of_sklearn(comparison, threshold):
    counts = comparison.confusion("<good>", threshold)
    truth, proba = _people(comparison, "<good>")
    np.testing.assert_array_equal(counts, confusion_matrix(truth, proba >= threshold))
    assert counts.to_numpy().sum() == 32  # people, not rows
    assert counts.index.tolist() == counts.columns.tolist() == comparison.classes


def test_confusion_has_both_columns(comparison):
    counts = comparison.confusion("<good>", 1 - 1e-9)
    assert counts["migraine"].tolist() == [0, 0]
    assert counts["control"].tolist() == [16, 16]


def test_operating_points_of_known_ranks(ranked):
    points = ranked.operating_points(sensitivity=(0.8, 0.9))
    assert points.index.tolist() == [0.8, 0.9]
    for target, row in points.iterrows():
        # a share s of the positive is above 1 - s / 2, and of the others
        # those above it, from 0.25 to 0.75: 0.5 * (1 - p) of all
        assert row["threshold"] == pytest.approx(1.0 - target / 2.0, abs=0.01)
        assert row["sensitivity"] == pytest.approx(target, abs=0.02)
        expected = 1.0 - (0.75 - (1.0 - target / 2.0)) / 0.5
        assert row["specificity"] == pytest.approx(expected, abs=0.02)
        assert row["sensitivity_low"] < target < row["sensitivity_high"]
    assert (points["prevalence"] == 0.5).all()
    # Bayes' theorem at a prevalence of 1 in 10
    row = ranked.operating_points(sensitivity=0.8, prevalence=0.1).iloc[0]
    found, alarms = 0.1 * row["sensitivity"], 0.9 * (1 - row["specificity"])
    assert row["ppv"] == pytest.approx(found / (found + alarms))
    right, missed = 0.9 * row["specificity"], 0.1 * (1 - row["sensitivity"])
    assert row["npv"] == pytest.approx(right / (right + missed))
    assert row["ppv_low"] < row["ppv"] < row["ppv_high"]


def test_threshold_has_not_seen_its_fold(ranked):
    table = ranked.predictions
    own = (table["fold"] == 3).to_numpy()
    truth = (table["y_true"] == "migraine").to_numpy()
    before = _thresholds_of_others(table, truth, 0.8)
    after = _thresholds_of_others(
        table.assign(proba=table["proba"] / (1 + 9 * own)), truth, 0.8
    )
    np.testing.assert_array_equal(after[own], before[own])
    assert (after[~own] < before[~own]).all()
    # nor a person of it, who is in another fold, too
    twice = pd.concat([table, table[own].assign(fold=4)], ignore_index=True)
    found = _thresholds_of_others(twice, np.r_[truth, truth[own]], 0.8)
    np.testing.assert_array_equal(found[: len(table)][own], before[own])


def test_intervals_of_operating_points_are_wilsons(ranked):
    for k, n in ((16, 20), (0, 7), (9, 9), (90, 100)):
        z = 1.959963984540054
        expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(wilson_interval(k / n, n, z), expected, atol=1e-12)
    row = ranked.operating_points(sensitivity=0.8).iloc[0]
    # wider than of people who had not trained each other's models
    k = round(100 * row["specificity"])
    narrow = binomtest(k, 100).proportion_ci(0.95, method="wilson")
    assert row["specificity_low"] < narrow.low < narrow.high < row["specificity_high"]


def test_decision_curve_by_its_formula(comparison):
    curve = comparison.decision_curve("<good>", [0.1, 0.25, 0.5, 0.8])
    truth, proba = _people(comparison, "<good>")
    for t, row in curve.iterrows():
        _, fp, _, tp = confusion_matrix(truth, proba >= t).ravel()
        assert row["model"] == pytest.approx(tp / 32 - fp / 32 * t / (1 - t))
        assert row["all"] == pytest.approx(0.5 - 0.5 * t / (1 - t))
        assert row["none"] == 0.0
    assert len(comparison.decision_curve("<good>")) == 99


def test_default_pipeline_is_the_model(comparison):
    assert comparison.confusion().equals(comparison.confusion("<good>"))
    other = replace(comparison, settings=comparison.settings | {"model": "poor"})
    assert other.confusion().equals(comparison.confusion("poor"))


def test_refused(comparison, ranked):
    with pytest.raises(ValueError, match="one of the pipelines"):
        comparison.confusion("no such")
    with pytest.raises(ValueError, match="threshold between 0 and 1, got 80"):
        comparison.confusion(threshold=80)
    with pytest.raises(ValueError, match="sensitivity between 0 and 1"):
        comparison.operating_points(sensitivity=(0.8, 90))
    with pytest.raises(ValueError, match="prevalence between 0 and 1"):
        comparison.operating_points(prevalence=0.0)
    without = replace(
        comparison, predictions=comparison.predictions.drop(columns="proba")
    )
    with pytest.raises(ValueError, match="gives probabilities of two classes"):
        without.decision_curve()
    with pytest.raises(ValueError, match="comparison of two classes, got numbers"):
        replace(comparison, classes=None).confusion()
    one = ranked.predictions.assign(fold=0)
    with pytest.raises(ValueError, match="two folds or more"):
        replace(ranked, predictions=one).operating_points()
