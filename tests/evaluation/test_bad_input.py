"""Bad input is an error that says what to do, or an exclusion that is stated."""

from datetime import date

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import KFold, LeaveOneOut, StratifiedKFold
from sklearn.pipeline import make_pipeline

from mne_megfm.estimators import LogisticHead, RidgeHead
from mne_megfm.evaluation import (
    BandPower,
    HabituationFeatures,
    compare,
    cross_validate_participants,
    learning_curve,
)

PIPELINES = {"bands": make_pipeline(BandPower(), LogisticRegression(max_iter=1000))}
QUICK = {"cv": StratifiedKFold(2), "n_permutations": 0, "n_random_weights": 0}


@pytest.fixture
def X(brief):
    return [dict(x) for x in brief[:8]]


@pytest.fixture
def y():
    return ["control", "migraine"] * 4


@pytest.mark.parametrize("call", [compare, learning_curve])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": ["control"] * 7}, r"y with one value a participant \(8\), got .*7"),
        ({"y": ["control"] * 8}, "two classes or more, got only 'control'"),
        ({"y": [np.inf, 1.0] * 4}, "finite numbers in y, got infinity"),
        ({"y": [1j, 2] * 4}, "names or numbers in y, got .*1j"),
        ({"y": [date(2026, 1, 1), date(2026, 1, 2)] * 4}, "names or numbers in y"),
        (
            {"y": pd.to_datetime(["2026-01-01", "2026-01-02"] * 4)},
            "names or numbers in y.*dates into numbers",
        ),
        ({"y": [1, "a"] * 4}, "labels of one type, got 1 beside 'a'"),
        ({"y": np.array([True, "a"] * 4, dtype=object)}, "labels of one type"),
        ({"y": np.array([0.5, 1.5] * 4)}, "labels of classes for a classifier"),
        ({"y": [["a"], ["a", "b"]] * 4}, "y with .*lists of different lengths"),
        ({"y": np.eye(8, 2)}, r"one value a participant \(8\), got shape \(8, 2\)"),
        ({"groups": ["anna"] * 9}, "groups with one value a participant"),
        ({"groups": [None, *"abcdefg"]}, "groups without missing values, got 1"),
        ({"sites": ["here"] * 8, "cv": None}, "two sites or groups at least, got 1"),
        ({"y": [None] * 8}, "participants with a label and epochs, got none among 8"),
        ({"cv": None}, r"in each class as folds \(5\), got 4; pass cv"),
        ({"cv": 6}, r"as folds \(6\), got 4"),
        ({"scoring": "nonsense"}, "Expected scoring among .*'roc_auc'"),
        ({"y": ["control"] * 4 + ["migraine"] * 4, "cv": KFold(2)}, "without"),
    ],
)
def test_errors(X, y, call, change, message, monkeypatch):
    monkeypatch.setattr(BandPower, "_state_features", None)  # said before the work
    settings = {"X": X, "y": y, "pipelines": PIPELINES, "cv": StratifiedKFold(2)}
    with pytest.raises(ValueError, match=message):
        call(**{**settings, **change})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"X": "recording_raw.fif"}, TypeError, "list of participants"),
        ({"pipelines": []}, TypeError, "dict from name to pipeline"),
        ({"reference": "other"}, ValueError, "pipeline as reference, got 'other'"),
        ({"n_permutations": -1}, ValueError, "a whole number from 0, got -1"),
        ({"n_permutations": 2.5}, ValueError, "a whole number from 0, got 2.5"),
        (
            {"pipelines": {**PIPELINES, "r": make_pipeline(BandPower(), Ridge())}},
            ValueError,
            r"got regressors \['r'\] beside classifiers",
        ),
    ],
)
def test_errors_of_compare(X, y, change, error, message, monkeypatch):
    monkeypatch.setattr(BandPower, "_state_features", None)  # said before the work
    settings = {"X": X, "y": y, "pipelines": PIPELINES, **QUICK}
    with pytest.raises(error, match=message):
        compare(**{**settings, **change})


@pytest.mark.parametrize("call", [compare, learning_curve, "features"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [*"aaaaaaab"], "cv": 2}, r"in each class as folds \(2\), got 1"),
        ({"y": [*"aaaaaabb"], "cv": 2}, "2 participants of each class.* got 1 of 'b'"),
        ({"y": [*"bbaaaaaa"], "cv": LeaveOneOut()}, "got 1 of 'b' in fold 0"),
        (
            {"y": [*"abbaaaac"], "cv": [([*range(1, 8)], [0])]},
            "got 1 of 'c' in fold 0",
        ),
        # two elements of one participant are one
        (
            {"y": [*"aaaabbbb"], "groups": [*"stuvwwxx"], "cv": 2},
            "got 1 of 'b' in fold 0; use more folds",
        ),
        ({"y": np.arange(8) + 0.5, "cv": [([0], [1, 2])]}, "2 participants or more"),
    ],
)
def test_too_few_to_learn_from(X, call, change, message, monkeypatch):
    """A head needs two of a class to choose its penalty: said before the work."""
    monkeypatch.setattr(BandPower, "_state_features", None)
    head = RidgeHead() if "2 participants or more" in message else LogisticHead()
    with pytest.raises(ValueError, match=message):
        if call == "features":
            cross_validate_participants(
                head, np.zeros((8, 2)), n_permutations=0, **change
            )
        else:
            sizes = {"train_sizes": [1.0]} if call is learning_curve else {}
            call(
                X,
                pipelines={"bands": make_pipeline(BandPower(), head)},
                **change,
                **sizes,
            )


def _empty(epochs):
    """Drop all epochs, as a threshold for rejection does."""
    return epochs.copy().drop(range(len(epochs)), verbose="error")


def test_what_is_left_out_is_listed(X, y):
    """The rest is computed as if the others had never been there."""
    expected = compare(
        [{"rest": X[0]["rest"]}, X[1], *X[4:]], [*y[:2], *y[4:]], PIPELINES, **QUICK
    )
    X[0]["auditory"] = _empty(X[0]["auditory"])
    X[2] = {state: _empty(epochs) for state, epochs in X[2].items()}
    y = [*y[:3], float("nan"), *y[4:]]
    result = compare(X, y, PIPELINES, **QUICK)
    assert result.excluded.to_dict("records") == [
        {
            "kind": "recording",
            "name": "0",
            "reason": "no usable epoch in state 'auditory'",
        },
        {"kind": "participant", "name": "2", "reason": "no usable epoch"},
        {"kind": "participant", "name": "3", "reason": "no label (n/a)"},
    ]
    assert set(result.predictions["participant"]) == {0, 1, 4, 5, 6, 7}
    np.testing.assert_array_equal(result.values(), expected.values())


@pytest.mark.parametrize(
    "labels",
    [
        [1, 2, None, 2, 1, 2, 1, 2],
        pd.array([1, 2, None, 2, 1, 2, 1, 2], dtype="Int64"),
        pd.Categorical([1, 2, None, 2, 1, 2, 1, 2], categories=[3, 2, 1]),
    ],
)
def test_codes_stay_codes(X, labels):
    """A missing label makes no decimals of the others."""
    result = compare(X, labels, PIPELINES, cv=StratifiedKFold(3), n_permutations=0)
    assert result.labels == {"1": 3, "2": 4}
    assert result.excluded["name"].to_list() == ["2"]


def test_numbers_that_are_missing(X):
    pipelines = {"bands": make_pipeline(BandPower(), Ridge())}
    age = np.array([30.5, np.nan, 41.0, 50.0, 28.5, 33.0, 60.0, 47.0])
    result = compare(X, age, pipelines, cv=KFold(2), n_permutations=0)
    assert result.excluded["name"].to_list() == ["1"]
    with pytest.raises(ValueError, match=r"numbers that differ, got 30.5 for all 8"):
        compare(X, [30.5] * 8, pipelines, cv=KFold(2), n_permutations=0)


def test_run_without_epochs(X, y):
    """A run that nothing is left of does not cost the others."""
    expected = compare(X, y, PIPELINES, **QUICK)
    auditory = X[0]["auditory"]
    X[0]["auditory"] = [_empty(auditory), auditory]
    X[1] |= {"noise": [_empty(auditory)], "tones": [], "touch": ()}
    result = compare(X, y, PIPELINES, **QUICK)
    assert result.excluded["reason"].to_list() == [
        "no usable epoch in 1 of 2 runs of state 'auditory'",
        "no usable epoch in state 'noise'",
        "no usable epoch in state 'tones'",
        "no usable epoch in state 'touch'",
    ]
    np.testing.assert_array_equal(result.values(), expected.values())
    X[2] = {"auditory": [], "rest": (_empty(auditory),)}
    left = compare(X, y, PIPELINES, **QUICK).excluded
    assert left["name"].to_list() == ["0", "1", "1", "1", "2"]


def test_state_that_one_participant_has(X, y):
    expected = compare(X, y, PIPELINES, **QUICK)
    X[6]["sound"] = X[6]["auditory"].copy().crop(0.0)
    result = compare(X, y, PIPELINES, **QUICK)
    assert result.excluded.to_dict("records") == [
        {
            "kind": "recording",
            "name": "6",
            "reason": "too few participants have the state 'sound'",
        }
    ]
    np.testing.assert_array_equal(result.values(), expected.values())
    X[6] = {"sound": X[6]["sound"]}
    with pytest.raises(ValueError, match=r"got \['sound'\] for 6"):
        compare(X, y, PIPELINES, **QUICK)


def test_raw_with_bad_spans_alone(X, y):
    rest = X[0]["rest"]
    raw = mne.io.RawArray(np.hstack(rest.get_data()), rest.info, verbose="error")
    raw.set_annotations(mne.Annotations(0.0, raw.times[-1] + 1 / 250, "bad"))
    X[0] = {"rest": raw}
    result = compare(X, y, PIPELINES, **QUICK)
    assert result.excluded["reason"].to_list() == ["no usable epoch"]


def test_site_with_one_class(X):
    """A metric that is not defined in a site is NaN there, and left out of the mean."""
    y = ["control", "migraine", "migraine", "control"] + ["control", "migraine"] * 2
    sites = ["a", "b", "b", "a", "c", "c", "c", "c"]
    result = compare(X, y, PIPELINES, sites=sites, n_permutations=0)
    auc = result.values("roc_auc")["bands"]
    assert auc.isna().to_list() == [True, True, False]
    assert result.values("brier")["bands"].notna().all()
    assert result.summary().loc["bands", "mean"] == auc.iloc[2]
    # the site of two patients tells of sensitivity, that of two controls does not
    y[3], y[1] = "migraine", "control"
    y[0], y[2] = "migraine", "control"
    result = compare(X, y, PIPELINES, sites=sites, n_permutations=0)
    for metric, lacking in (("sensitivity", "b"), ("specificity", "a")):
        values = result.values(metric)["bands"]
        assert values.isna().to_list() == [site == lacking for site in "abc"]
    assert "ROC AUC is not defined on 2 of 3 folds" in repr(result)
    assert "sensitivity (migraine) is not defined on 1 of 3 folds" in repr(result)
    assert "Brier score is not defined" not in repr(result)


def test_what_a_pipeline_does_not_give_is_no_fault_of_folds(X, y):
    """Without probabilities there is no Brier score; r needs three to be tested on."""
    pipelines = {"ridge": make_pipeline(BandPower(), RidgeClassifier())}
    assert "not defined" not in repr(compare(X, y, pipelines, **QUICK))
    pipelines = {"ridge": make_pipeline(BandPower(), Ridge())}
    numbers = np.linspace(20.5, 60.0, 8)
    result = compare(X, numbers, pipelines, cv=LeaveOneOut(), n_permutations=0)
    assert "Pearson r is not defined on 8 of 8 folds" in repr(result)
    assert np.isfinite(result.values("r2")["ridge"]).all()
    assert "it has no mean" in repr(result)


@pytest.mark.slow
def test_recordings_of_rest_alone(X, y):
    """Of the default pipelines, those that need events are left out and listed."""
    X = [{"rest": x["rest"]} for x in X]
    result = compare(X, y, scoring="roc_auc", **QUICK)
    left = result.excluded.query("kind == 'pipeline'")["name"].to_list()
    assert left == [
        "original signals, evoked",
        "original signals, early-middle-late",
        "trial dynamics",
        "band power + trial dynamics",
    ]
    assert "band power" in result.pipelines
    assert "model features" in result.pipelines
    with pytest.raises(ValueError, match="needs epochs around events"):
        pipelines = {"a": make_pipeline(HabituationFeatures(), LogisticRegression())}
        compare(X, y, pipelines, **QUICK)


def test_error_tells_pipeline_and_fold(X, y):
    pipelines = {"broken": make_pipeline(BandPower(), LogisticRegression(C=-1.0))}
    with pytest.raises(ValueError, match="'C' parameter") as caught:
        compare(X, y, pipelines, **QUICK)
    assert "'broken', repeat 0, fold 0" in caught.value.__notes__[0]


def test_epochs_of_all_participants(cohort):
    """Epochs with groups are parted; one participant has one label."""
    people = [person for person in cohort.participants if person.array == "kit157"]
    X = [person.recordings["auditory"].copy() for person in people]
    for epochs in X:
        epochs.info["dev_head_t"] = X[0].info["dev_head_t"]
    epochs = mne.concatenate_epochs(X, verbose="error")
    names = np.repeat([person.name for person in people], 9)
    y = np.array([person.label for person in people])
    parted = compare(epochs, np.repeat(y, 9), PIPELINES, groups=names, **QUICK)
    expected = compare(X, y, PIPELINES, **QUICK)
    assert set(parted.predictions["participant"]) == set(names)
    np.testing.assert_allclose(parted.values(), expected.values())
    # as lists, in which a missing label would become the word nan
    lacking = [np.nan if n < 9 else str(v) for n, v in enumerate(np.repeat(y, 9))]
    result = compare(epochs, lacking, PIPELINES, groups=names, **QUICK)
    assert result.excluded["reason"].to_list() == ["no label (n/a)"]
    assert result.n_participants == len(people) - 1
    nobody = [None if n < 9 else str(name) for n, name in enumerate(names)]
    with pytest.raises(ValueError, match="groups without missing values, got 9"):
        compare(epochs, np.repeat(y, 9), PIPELINES, groups=nobody, **QUICK)
    with pytest.raises(ValueError, match="Expected groups with Epochs"):
        compare(epochs, np.repeat(y, 9), PIPELINES)
    with pytest.raises(ValueError, match="one label and one site"):
        compare(epochs, np.tile(y, 9), PIPELINES, groups=names)
