"""The splitter for rows that are epochs."""

import mne
import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import KFold, StratifiedGroupKFold, cross_val_score

from mne_megfm import MEGSamples
from mne_megfm.evaluation import ParticipantSplit


@pytest.fixture
def epochs(rng):
    info = mne.create_info(["MEG 1", "MEG 2"], 250.0, "mag")
    names = np.repeat(["anna", "bert", "cleo", "dora"], 6)
    table = pd.DataFrame({"participant": names, "label": np.tile([0, 1], 12)})
    data = 1e-13 * rng.standard_normal((24, 2, 50))
    return mne.EpochsArray(data, info, metadata=table, verbose="error")


def test_warns_with_names(epochs):
    groups = epochs.metadata["participant"]
    cv = ParticipantSplit(KFold(3))
    with pytest.warns(RuntimeWarning) as caught:
        folds = list(cv.split(epochs, groups=groups))
    named = [str(warning.message).split(". ")[0] for warning in caught]
    assert named == [
        f"Participants in both training and test: {names}"
        for names in ("bert", "bert, cleo", "cleo")
    ]
    for (train, test), (expected, _) in zip(
        folds, KFold(3).split(np.zeros(24)), strict=True
    ):
        np.testing.assert_array_equal(train, expected)
        assert not set(train) & set(test)


def test_silent_where_groups_are_kept(epochs):
    """Warnings are errors here. As in scikit-learn, in a cross-validation of rows."""
    X, y = MEGSamples(epochs), epochs.metadata["label"].to_numpy()
    groups = X.groups("participant")
    cv = ParticipantSplit(2)
    for (train, test), expected in zip(
        cv.split(X, y, groups),
        StratifiedGroupKFold(2).split(np.zeros(24), y, groups),
        strict=True,
    ):
        np.testing.assert_array_equal(train, expected[0])
        assert not set(groups[train]) & set(groups[test])
    scores = cross_val_score(DummyClassifier(), X, y, cv=cv, groups=groups)
    assert len(scores) == cv.get_n_splits(X, y, groups) == 2
    assert repr(cv) == "ParticipantSplit(2)"


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_groups_that_are_missing(missing):
    groups = ["anna", "anna", missing, missing, "bert", "bert", "cleo", missing]
    with pytest.raises(ValueError, match="got none .NaN. for position 2, 3, 7"):
        next(ParticipantSplit(2).split(np.zeros(8), [0, 1] * 4, groups))


@pytest.mark.parametrize("groups", [None, ["anna"] * 3])
def test_needs_groups(epochs, groups):
    with pytest.raises(ValueError, match="participant of each of 24 rows"):
        next(ParticipantSplit(2).split(epochs, groups=groups))


def test_under_metadata_routing(epochs, rng):
    """Groups reach it as they reach scikit-learn's GroupKFold."""
    import sklearn
    from sklearn.model_selection import GroupKFold
    from sklearn.tree import DecisionTreeClassifier

    groups = epochs.metadata["participant"].to_numpy()
    y = epochs.metadata["label"].to_numpy()
    X = rng.standard_normal((24, 3))
    model = DecisionTreeClassifier(random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        found, expected = (
            cross_val_score(model, X, y, cv=cv, params={"groups": groups})
            for cv in (ParticipantSplit(GroupKFold(2)), GroupKFold(2))
        )
    np.testing.assert_array_equal(found, expected)
