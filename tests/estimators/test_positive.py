"""The class that sensitivity is of, named by the user."""

import numpy as np
import pytest

from mne_megfm import MEGFMClassifier

from .conftest import SMALL


def test_positive_is_checked_and_changes_no_prediction(labelled, without_encoder):
    X, y = labelled
    params = without_encoder | {"random_state": 0}
    plain = MEGFMClassifier(**params).fit(X, y)
    assert plain.positive_ == "migraine"  # the last, sorted
    named = MEGFMClassifier(**params, positive="control").fit(X, y)
    assert named.positive_ == "control"
    # scikit-learn's scorers rely on the order of classes
    assert named.classes_.tolist() == plain.classes_.tolist()
    np.testing.assert_array_equal(named.predict_proba(X), plain.predict_proba(X))


def test_an_unknown_class_is_an_error_that_lists_them(labelled):
    X, y = labelled
    classifier = MEGFMClassifier(weights=None, config=SMALL, positive="patient")
    with pytest.raises(ValueError, match=r"patient.*control.*migraine"):
        classifier.fit(X, y)
