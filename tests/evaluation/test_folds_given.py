"""Folds that the user gives, and labels that are permuted on them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm.evaluation import (
    BandPower,
    HabituationFeatures,
    ParticipantSplit,
    compare,
    learning_curve,
)

PIPELINES = {
    "bands": make_pipeline(
        BandPower({"alpha": (8.0, 13.0)}), StandardScaler(), LogisticRegression()
    )
}
Y = ["control", "migraine"] * 6
TEST = [np.array([0, 1, 2, 3, 4, 5]), np.array([6, 7, 8, 9, 10, 11])]
FOLDS = [(np.setdiff1d(np.arange(12), test), test) for test in TEST]


def masks(folds):
    places = np.arange(12)
    return [tuple(np.isin(places, side) for side in sides) for sides in folds]


@pytest.mark.parametrize(
    "cv",
    [
        FOLDS,
        masks(FOLDS),
        PredefinedSplit(np.repeat([0, 1], 6)),
        ParticipantSplit(FOLDS),
    ],
    ids=["places", "masks", "predefined", "checked"],
)
def test_folds_name_places_in_what_was_given(brief, cv):
    """Whoever is left out, the others stay where the user had them."""
    y = [None, *Y[1:]]
    for call in (compare, learning_curve):
        settings = {"n_permutations": 0} if call is compare else {"train_sizes": [1.0]}
        settings |= {"groups": range(12)}
        result = call(brief, y, PIPELINES, cv=cv, scoring="roc_auc", **settings)
        tests = result.folds.query("metric == 'roc_auc'")["test"].to_list()
        assert tests == [(1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11)]


@pytest.mark.slow
def test_a_generator_serves_permutations_too(brief):
    split = StratifiedKFold(2).split(np.zeros(12), Y)
    result = compare(brief, Y, PIPELINES, cv=split, n_permutations=4)
    expected = compare(
        brief,
        Y,
        PIPELINES,
        cv=list(StratifiedKFold(2).split(np.zeros(12), Y)),
        n_permutations=4,
    )
    assert result.permutations["value"].notna().sum() == 4 * len(result.metrics)
    assert result.permutations.equals(expected.permutations)
    assert result.settings["cv"] == "2 given folds"


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        (
            [(np.arange(11), np.array([12]))],
            "from 0 to 11 in X, got 12 to 12",
        ),
        ([(np.arange(1, 12), np.array([0]))], r"got 11 .* and 0 for test in fold 0"),
        (PredefinedSplit([0, 1] * 5), "PredefinedSplit of 12 participants, got .* 10"),
        (
            PredefinedSplit([0, *[1] * 5, *[2] * 6]),
            "got 11 .* and 0 for test in fold 0",
        ),
        (
            [(np.arange(11) < 6, np.arange(11) > 5)],
            "masks of 12 .* got one of 11",
        ),
        ([], "one fold at least, got none"),
        (2.5, "cv"),
    ],
)
def test_folds_that_name_others(brief, cv, message):
    with pytest.raises(ValueError, match=message):
        compare(brief, [None, *Y[1:]], PIPELINES, cv=cv, n_permutations=0)


def test_permuted_labels_can_be_learnt(brief):
    """A patient in each of three sites: two at a time have to be in training."""
    y = np.array(["control", "control", "control", "migraine"] * 3)
    sites = np.repeat(["a", "b", "c"], 4)
    result = compare(
        brief, y, PIPELINES, sites=sites, n_permutations=20, scoring="roc_auc"
    )
    assert result.permutations["permutation"].nunique() == 20


def test_states_of_few(brief):
    """A state of three among twelve: in some folds nobody to learn from has it."""
    X = [dict(x) for x in brief]
    for number, x in enumerate(X):
        if number not in (1, 2, 5):
            del x["auditory"]
    cv = StratifiedKFold(4, shuffle=True, random_state=1)
    pipelines = PIPELINES | {
        "dynamics": make_pipeline(
            HabituationFeatures(), StandardScaler(), LogisticRegression()
        )
    }
    result = compare(X, Y, pipelines, cv=cv, n_permutations=30, scoring="roc_auc")
    assert not len(result.excluded)
    assert result.permutations["value"].notna().all()
    # half of the labels are not enough for that state: it is left out for all sizes
    curve = learning_curve(X, Y, PIPELINES, cv=cv, train_sizes=[0.5, 1.0])
    assert set(curve.excluded["reason"]) == {
        "too few participants have the state 'auditory'"
    }


def test_labels_that_cannot_be_permuted(brief, monkeypatch):
    """A single trial does not find a patient for each of three small sites."""
    y = np.array(["control", "control", "control", "migraine"] * 3)
    sites = np.repeat(["a", "b", "c"], 4)
    monkeypatch.setattr("mne_megfm.evaluation._folds._N_TRIALS", 1)
    with pytest.raises(ValueError, match="can be permuted, got none in 1 trials"):
        compare(brief, y, PIPELINES, sites=sites, n_permutations=40)
