"""Learning curves: the same test participants, and nested training participants."""

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

from mne_megfm.evaluation import BandPower, HabituationFeatures, compare, learning_curve

PIPELINES = {
    "bands": make_pipeline(BandPower(), LogisticRegression(max_iter=1000)),
    "dynamics": make_pipeline(HabituationFeatures(), LogisticRegression(max_iter=1000)),
}
CV = StratifiedKFold(3)


@pytest.fixture(scope="module")
def curve(participants, cohort):
    sizes = (1.0, 0.5, 0.75)
    return learning_curve(
        participants, cohort.labels, PIPELINES, train_sizes=sizes, cv=CV
    )


def test_nested(curve, cohort):
    table = curve.folds[curve.folds["metric"] == "roc_auc"]
    for _, part in table.groupby(["pipeline", "fold"]):
        assert part["test"].nunique() == 1
        assert part["size"].to_list() == [0.5, 0.75, 1.0]
        small, middle, full = (set(names) for names in part["train"])
        assert small < middle < full
        assert [len(small), len(middle), len(full)] == [4, 6, 8]
        for names in (small, middle):
            labels = cohort.labels[list(names)]
            assert (labels == "control").sum() == (labels == "migraine").sum()


def test_all_labels_are_as_in_compare(curve, participants, cohort):
    result = compare(participants, cohort.labels, PIPELINES, cv=CV, n_permutations=0)
    full = curve.folds[curve.folds["size"] == 1.0].drop(columns="size")
    pd.testing.assert_frame_equal(full.reset_index(drop=True), result.folds)


def test_fewer_labels_as_in_scikit_learn(curve, participants, cohort):
    """A fold at half the labels is a fit on those participants."""
    y = cohort.labels
    row = curve.folds.query("size == 0.5 and metric == 'balanced_accuracy'").iloc[0]
    train, test = list(row["train"]), list(row["test"])
    pipeline = PIPELINES[row["pipeline"]].fit(
        [participants[i] for i in train], y[train]
    )
    right = pipeline.predict([participants[i] for i in test]) == y[test]
    assert row["value"] == right.mean()  # two of each class


def test_summary(curve):
    table = curve.summary()
    assert table.index.to_list() == [
        (name, size) for name in PIPELINES for size in (0.5, 0.75, 1.0)
    ]
    assert table["n_train"].to_list() == [4.0, 6.0, 8.0] * 2
    values = curve.folds.query(
        "pipeline == 'dynamics' and size == 0.75 and metric == 'roc_auc'"
    )["value"]
    np.testing.assert_allclose(table.loc[("dynamics", 0.75), "mean"], values.mean())
    assert "dynamics" in repr(curve) and "dynamics" in curve._repr_html_()
    with pytest.raises(ValueError, match="roc_auc"):
        curve.summary("r2")


@pytest.mark.parametrize("sizes", [(), (0.0, 1.0), (0.5, 20)])
def test_bad_sizes(participants, cohort, sizes):
    with pytest.raises(ValueError, match="shares of the training participants"):
        learning_curve(participants, cohort.labels, PIPELINES, train_sizes=sizes, cv=CV)


def test_too_few_to_learn_from(participants, cohort):
    with pytest.raises(ValueError, match="with train_sizes=0.25; leave out that size"):
        learning_curve(
            participants, cohort.labels, PIPELINES, train_sizes=[0.25, 1.0], cv=CV
        )


class _Values(TransformerMixin, BaseEstimator):
    """Noise that goes with nobody's label, of frozen weights."""

    def fit(self, X, y=None):
        """Learn nothing."""
        return self

    def transform(self, X):
        """Give the values that recordings hold."""
        return np.stack([x["s"].get_data(copy=False)[0, 0] for x in X]) * 1e12

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("n", [12, 24])
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_range_by_chance_covers(n, kind):
    """It holds 95 % of the scores of noise, less three standard errors, or more.

    Of all labels and of half of them, with the default folds, without permutations.
    """
    rng = np.random.default_rng([n, kind == "classes"])
    info, n_sim, inside = mne.create_info(["MEG 1"], 250.0, "mag"), 40, []
    head = LogisticRegression() if kind == "classes" else Ridge(5.0)
    metrics = ["roc_auc", "balanced_accuracy"] if kind == "classes" else ["pearson_r"]
    for _ in range(n_sim):
        values = 1e-12 * rng.standard_normal((n, 2, 1, 8))
        X = [{"s": mne.EpochsArray(one, info, verbose="error")} for one in values]
        y = np.arange(n) % 2 if kind == "classes" else rng.standard_normal(n)
        curve = learning_curve(
            X, y, {"noise": make_pipeline(_Values(), head)}, train_sizes=(0.5, 1.0),
            scoring=metrics, verbose=False,
        )  # fmt: skip
        for metric in metrics:
            for size, row in curve.summary(metric).loc["noise"].iterrows():
                found = row["null_low"] <= row["mean"] <= row["null_high"]
                inside.append((metric, size, found))
    covered = pd.DataFrame(inside).groupby([0, 1])[2].mean()
    assert (covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / n_sim)).all()
