"""Labels and groups in whatever holds them: what is missing is seen."""

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from mne_megfm import MEGFMClassifier
from mne_megfm.simulation import make_array_info
from mne_megfm.utils.validation import check_groups, check_labels

HOLDERS = [
    list,
    tuple,
    lambda values: np.array(values, dtype=object),
    pd.Series,
    lambda values: pd.Series(values, index=list("zyxw")),
    pd.Categorical,
]


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("check", [check_labels, check_groups])
def test_missing_among_strings(holder, missing, check):
    values = holder(["control", missing, "migraine", missing])
    with pytest.raises(ValueError, match="got none .NaN. for position 1, 3"):
        check(values, 4, "participant")


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("check", [check_labels, check_groups])
def test_missing_in_a_column(check):
    for values in (pd.DataFrame({"y": ["a", None, "b"]}), [["a"], [None], ["b"]]):
        with pytest.raises(ValueError, match="got none .NaN. for position 1"):
            check(values, 3, "participant")


@pytest.mark.parametrize("check", [check_labels, check_groups])
def test_missing_among_numbers(check):
    with pytest.raises(ValueError, match="got none .NaN. for position 2"):
        check([1.0, 0.0, np.nan, 1.0], 4, "participant")


@pytest.mark.parametrize("holder", HOLDERS)
def test_complete(holder):
    values = ["nan", "b", "a", "b"]  # a word, not a missing value
    assert check_labels(holder(values), 4, "participant").tolist() == values
    assert check_groups(holder(values), 4, "participant").tolist() == [2, 1, 0, 1]


MIXED = [[1, "a", 1, "a"], [True, "a"] * 2, [1.5, "a"] * 2, [1, True, 0, False]]


@pytest.mark.parametrize("values", MIXED, ids=str)
@pytest.mark.parametrize("holder", HOLDERS[:5])
def test_types_are_not_mixed(values, holder):
    """NumPy would make '1' of 1 beside text, and 1 of True."""
    with pytest.raises(ValueError, match="labels of one type, got .* beside"):
        check_labels(holder(values), 4, "participant")


def _of(dtype):
    return lambda values: pd.array(values, dtype=dtype)


@pytest.mark.parametrize(
    "holder, values",
    [
        (lambda v: np.array(v, dtype=object), [0, 1, 0, 1]),
        (lambda v: pd.Series(v, dtype=object), [False, True, True, False]),
        (_of("Int64"), [1, 2, 1, 2]),
        (_of("boolean"), [True, False, True, False]),
        (_of("string"), ["b", "a", "b", "a"]),
        (lambda v: pd.Categorical(v, categories=["z", "b", "a"]), ["b", "a", "a", "b"]),
        (lambda v: pd.Categorical(v, categories=[3, 2, 1]), [1, 2, 2, 1]),
        (np.array, [1.0, 2.0, 2.0, 1.0]),
    ],
)
def test_classes_are_those_of_plain_labels(holder, values):
    """As scikit-learn has them of a list, whatever holds them and however sorted."""
    found = check_labels(holder(values), 4, "participant")
    truth = LogisticRegression().fit(np.eye(4), np.array(values)).classes_
    classes = np.unique(found)
    assert classes.tolist() == truth.tolist()
    assert type(classes.tolist()[0]) is type(truth.tolist()[0])
    with pytest.raises(ValueError, match="position 3"):
        check_labels([*values[:3], None], 4, "participant")


@pytest.fixture(scope="module")
def recordings():
    """Return six participants."""
    info = make_array_info("opm32", sfreq=250.0)
    data = np.random.default_rng(0).standard_normal((6, 2, 32, 250))
    return [mne.EpochsArray(1e-13 * one, info) for one in data]


@pytest.mark.parametrize(
    "y, match",
    [
        ([1, "a"] * 3, "labels of one type"),
        ([0.0, 1.0, np.nan] * 2, "got none .NaN. for position 2, 5"),
        (["a"] * 6, "at least 2 classes in y, got one class: 'a'"),
        (["a"] * 5 + ["b"], "at least 2 participants of each class.* 1 of 'b'"),
        (np.eye(6, 2, dtype=int), "1d array, got an array of shape"),
        ([["a", "b"], ["a"]] * 3, "lists of different lengths"),
        (np.array([1.5, 2.5] * 3), "labels of classes, got numbers with fractions"),
        (pd.to_datetime(["2026-01-01", "2026-01-02"] * 3), "dates into numbers"),
        (np.array([b"a", b"b"] * 3), "turn labels into text"),
        ([{"a"}, {"b"}] * 3, "names or numbers"),
    ],
)
def test_labels_are_refused_before_the_work(recordings, y, match, monkeypatch):
    """No feature is computed for labels that nothing can be learnt from."""
    monkeypatch.setattr("mne_megfm.MEGFMTransformer.fit_transform", None)
    people = [{"rest": epochs} for epochs in recordings]
    with pytest.raises(ValueError, match=match):
        MEGFMClassifier().fit(people, y)


@pytest.mark.parametrize(
    "y, match",
    [
        ([20, 31, 42, 53, 24, 35, 46, 57], "got 1 of 20; .*ages in years.*Regressor"),
        (np.arange(8) / 2, "fractions, such as 0.5; use MEGFMRegressor"),
        ([*"aaaaaabc"], "got 1 of 'b'; add participants or join classes.$"),
    ],
)
def test_numbers_that_are_no_classes(labelled, y, match):
    """What is meant for regression is told so."""
    with pytest.raises(ValueError, match=match):
        MEGFMClassifier(sample="participant").fit(labelled[0], y)
