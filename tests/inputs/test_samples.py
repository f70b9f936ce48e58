"""MEGSamples indexes as an array does, and as scikit-learn asks it to."""

import pickle
import tracemalloc

import mne
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import (
    GroupKFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.validation import _num_samples

from mne_megfm.inputs import MEGSamples, as_recordings

_MASK = np.array([True, False, False, True, True, False])


@pytest.mark.parametrize(
    "key",
    [
        slice(1, 4),
        slice(None, None, -2),
        slice(10, 20),
        [0, 5, 5],
        [],
        np.array([-1, 2]),
        np.array([3], dtype=np.uint8),
        _MASK,
        _MASK.tolist(),
        (slice(2), Ellipsis),
        ([1, 2], Ellipsis),
        (_MASK, slice(None), slice(None)),
        Ellipsis,
    ],
)
def test_indexing_like_an_array(make_epochs, key):
    epochs = make_epochs(6)
    view, data = MEGSamples(epochs), epochs.get_data()
    expected = data[np.array(key, int) if isinstance(key, list) and not key else key]
    got = view[key]
    assert isinstance(got, MEGSamples)
    assert got.shape == expected.shape and len(got) == len(expected)
    np.testing.assert_array_equal(np.asarray(got), expected)


@pytest.mark.parametrize("key", [0, -1, 3, np.int64(2), np.array(4), (5, Ellipsis)])
def test_integer_gives_one_row(make_epochs, key):
    epochs = make_epochs(6)
    row = key[0] if isinstance(key, tuple) else int(key)
    got = MEGSamples(epochs)[key]
    assert got.shape == (1, 8, 250)
    np.testing.assert_array_equal(np.asarray(got)[0], epochs.get_data()[row])


@pytest.mark.parametrize(
    ("key", "match"),
    [
        (6, "Expected rows from -6 to 5, got 6"),
        ([0, -7], "Expected rows from -6 to 5, got -7"),
        (_MASK[:4], r"Expected a mask of 6 rows, got shape \(4,\)"),
        ((0, 1), "index of rows alone"),
        ((slice(2), slice(3), Ellipsis), "index of rows alone"),
        ((), "index of rows alone"),
        ("tone", "Expected an integer"),
        (1.0, "Expected an integer"),
        (None, "Expected an integer"),
        ([[0, 1]], "Expected an integer"),
    ],
)
def test_wrong_index(make_epochs, key, match):
    with pytest.raises(IndexError, match=match):
        MEGSamples(make_epochs(6))[key]


def test_nested_views(make_epochs):
    epochs = make_epochs(6)
    view = MEGSamples(epochs)[[5, 3, 1, 0]][_MASK[:4]][::-1]
    np.testing.assert_array_equal(np.asarray(view), epochs.get_data()[[0, 5]])
    np.testing.assert_array_equal(
        np.asarray(MEGSamples(view)), epochs.get_data()[[0, 5]]
    )
    rows = list(MEGSamples(epochs))
    assert [row.shape for row in rows] == [(1, 8, 250)] * 6


def test_raw_rows(make_raw):
    raw = make_raw(5.5)
    raw.set_annotations(mne.Annotations(1.2, 0.1, "BAD"))
    view = MEGSamples(raw)
    expected = raw.get_data().reshape(8, -1)[:, :1250].reshape(8, 5, 250)
    expected = expected.swapaxes(0, 1)[[0, 2, 3, 4]]
    np.testing.assert_array_equal(np.asarray(view), expected)
    assert MEGSamples(raw, reject_by_annotation=False).shape == (5, 8, 250)
    assert MEGSamples(raw, duration=0.5, overlap=0.25).shape == (18, 8, 125)
    assert set(view.states) == {"rest"}
    # A view brings its windows along
    (recording,) = as_recordings(MEGSamples(raw, duration=0.5), duration=2.0)
    assert recording.n_samples == 125


def test_channels(make_epochs):
    epochs = make_epochs(2, extra=["eeg", "ref_meg", "stim"])
    epochs.info["bads"] = ["MEG 001"]
    view = MEGSamples(epochs)
    assert view.shape == (2, 8, 250)
    assert view.ch_names == [f"MEG {i:03d}" for i in range(8)]
    np.testing.assert_array_equal(
        np.asarray(view), epochs.get_data(picks=view.ch_names)
    )


def test_array_protocol(make_epochs):
    epochs = make_epochs(3)
    view = MEGSamples(epochs)
    assert view.ndim == 3 and np.asarray(view).dtype == np.float64
    assert np.asarray(view, dtype=np.float32).dtype == np.float32
    copied = np.array(view)
    copied[:] = 0.0
    assert epochs.get_data(copy=False).all()
    with pytest.raises(ValueError, match="copy=None or True"):
        np.asarray(view, copy=False)
    np.testing.assert_array_equal(view[[]], np.empty((0, 8, 250)))


def test_rows_that_differ_make_no_array(make_epochs):
    with pytest.raises(ValueError, match="8 channels x 200 samples beside 8 x 250"):
        np.asarray(MEGSamples([make_epochs(2), make_epochs(2, 200)]))
    with pytest.raises(ValueError, match="5 channels x 250 samples beside 8 x 250"):
        np.asarray(MEGSamples([make_epochs(2), make_epochs(2, n_mag=5)]))
    # Only rows that are looked at count
    mixed = MEGSamples([make_epochs(2), make_epochs(3, 200)])
    assert mixed.shape == (5, 8, 250) and mixed[2:].shape == (3, 8, 200)
    assert np.asarray(mixed[2:]).shape == (3, 8, 200)


def test_repr(make_epochs, make_raw):
    view = MEGSamples([make_epochs(2), make_raw(3.0)])
    assert repr(view) == (
        "<MEGSamples | 5 rows (epochs, raw), 8 MEG channels x 250 samples>"
    )
    assert "0 rows (none)" in repr(view[[]])


def test_states_and_groups(make_epochs, make_raw):
    view = MEGSamples([make_epochs(3), make_epochs(3, seed=1)])[[5, 0, 1]]
    np.testing.assert_array_equal(view.states, ["tone", "tone", "touch"])
    np.testing.assert_array_equal(
        view.groups("subject"), ["sub-1-2", "sub-0-0", "sub-0-1"]
    )
    with pytest.raises(ValueError, match="got 'site'; there are subject"):
        view.groups("site")
    with pytest.raises(ValueError, match="without; set epochs.metadata"):
        MEGSamples(make_raw(2.0)).groups("subject")


def test_no_copy_until_read(make_epochs):
    epochs = make_epochs(40)
    nbytes = epochs.get_data(copy=False).nbytes
    tracemalloc.start()
    view = MEGSamples(epochs)
    parts = [view[np.arange(i, 40, 2)] for i in range(2) for _ in range(50)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(parts) == 100 and peak < nbytes / 4
    epochs._data[0] *= 2  # shared, not copied
    np.testing.assert_array_equal(np.asarray(view[0])[0], epochs.get_data()[0])


def test_pickle(make_epochs, make_raw, tmp_path):
    epochs = make_epochs(20)
    view = MEGSamples([epochs, make_raw(3.0)])
    back = pickle.loads(pickle.dumps(view))
    assert back.shape == view.shape
    np.testing.assert_array_equal(np.asarray(back), np.asarray(view))
    part = MEGSamples(epochs)[[3, 1, 3]]
    small = pickle.dumps(part)
    assert len(small) < len(pickle.dumps(epochs)) / 4
    np.testing.assert_array_equal(np.asarray(pickle.loads(small)), np.asarray(part))
    np.testing.assert_array_equal(pickle.loads(small).states, part.states)
    np.testing.assert_array_equal(
        pickle.loads(small).groups("subject"), part.groups("subject")
    )
    epochs.metadata = None  # pandas warns about the way in which MNE writes it
    epochs.save(tmp_path / "test-epo.fif", fmt="double", verbose=False)
    on_disk = mne.read_epochs(tmp_path / "test-epo.fif", preload=False, verbose=False)
    part = MEGSamples(on_disk)[[3, 1, 3]]
    back = pickle.loads(pickle.dumps(part))
    np.testing.assert_array_equal(np.asarray(back), epochs.get_data()[[3, 1, 3]])
    assert not on_disk.preload
    assert pickle.loads(pickle.dumps(part[[]])).shape == (0, 8, 250)


class _Nearest(ClassifierMixin, BaseEstimator):
    """Nearest class mean, from anything that the inputs take."""

    def _rows(self, X):
        return np.concatenate(
            [np.asarray(MEGSamples(rec.inst)[rec.rows]) for rec in as_recordings(X)]
        ).std(axis=2)

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        rows = self._rows(X)
        self.means_ = np.array([rows[y == c].mean(axis=0) for c in self.classes_])
        return self

    def predict(self, X):
        rows = self._rows(X)[:, np.newaxis]
        return self.classes_[((rows - self.means_) ** 2).sum(axis=2).argmin(axis=1)]


def test_scikit_learn(make_epochs):
    epochs = make_epochs(30)
    y = epochs.events[:, 2]
    epochs._data[y == 2, :3] *= 3.0
    view = MEGSamples(epochs)
    assert indexable(view, y)[0] is view and _num_samples(view) == 30
    for key in (3, slice(2, 9), [1, 4], np.array([0, 7]), y == 1, (y == 2).tolist()):
        picked = _safe_indexing(view, key)
        expected = np.atleast_1d(np.arange(30)[key])
        np.testing.assert_array_equal(np.asarray(picked), epochs.get_data()[expected])
    train, test, y_train, y_test = train_test_split(view, y, stratify=y, random_state=0)
    assert isinstance(train, MEGSamples) and len(train) + len(test) == 30
    assert _Nearest().fit(train, y_train).score(test, y_test) == 1.0
    scores = cross_val_score(_Nearest(), view, y, error_score="raise")
    np.testing.assert_array_equal(scores, 1.0)
    groups = view.groups("subject")
    by_view = cross_val_predict(_Nearest(), view, y, cv=GroupKFold(3), groups=groups)
    by_epochs = cross_val_predict(
        _Nearest(), epochs, y, cv=GroupKFold(3), groups=groups
    )
    np.testing.assert_array_equal(by_view, by_epochs)


def test_scikit_learn_processes(make_epochs):
    epochs = make_epochs(12)
    y = epochs.events[:, 2]
    epochs._data[y == 2, :3] *= 3.0
    scores = cross_val_score(
        _Nearest(), MEGSamples(epochs), y, cv=2, n_jobs=2, error_score="raise"
    )
    np.testing.assert_array_equal(scores, 1.0)
