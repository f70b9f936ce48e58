"""The common checks of scikit-learn, for MNE objects."""

import pickle

import mne
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMTransformer, MEGSamples
from mne_megfm.estimators import Pretraining
from mne_megfm.weights import load_checkpoint, weights_path

from .conftest import SMALL

# rounding of float32 where batches differ in size
CLOSE = {"rtol": 0, "atol": 2e-5}
LABELS = np.array(["a", "b"] * 4)


def evoked(epochs):
    return epochs.average()


def raw(epochs):
    data = epochs.get_data().transpose(1, 0, 2).reshape(len(epochs.ch_names), -1)
    return mne.io.RawArray(data, epochs.info)


@pytest.mark.parametrize("make", [MEGSamples, list, raw, evoked, lambda e: e])
def test_fit_leaves_parameters_alone_and_returns_self(small, epochs, make):
    X = make(epochs) if make is not list else [epochs[i] for i in range(3)]
    before = {k: v for k, v in small.get_params().items()}
    assert small.fit(X) is small
    assert small.get_params() == before
    attributes = {k: id(v) for k, v in vars(small).items()}
    features = small.transform(X)
    assert {k: id(v) for k, v in vars(small).items()} == attributes
    assert features.dtype == np.float32 and np.isfinite(features).all()
    assert features.shape[1] == small._n_features_out


def test_input_is_not_changed(small, epochs):
    before = epochs.get_data().copy()
    bads = list(epochs.info["bads"])
    small.fit_transform(epochs)
    assert_array_equal(epochs.get_data(), before)
    assert epochs.info["bads"] == bads


def test_rows_are_the_same_however_epochs_are_given(small, epochs):
    expected = small.fit(epochs).transform(epochs)
    singles = [epochs[i] for i in range(len(epochs))]
    assert_allclose(small.transform(singles), expected, **CLOSE)
    assert_allclose(small.transform(MEGSamples(epochs)), expected, **CLOSE)
    array = np.empty(len(singles), dtype=object)
    array[:] = singles
    assert_allclose(small.transform(array), expected, **CLOSE)
    assert_allclose(small.fit_transform(singles), expected, **CLOSE)


def test_rows_do_not_depend_on_the_others(small, epochs):
    expected = small.fit(epochs).transform(epochs)
    for i in range(len(epochs)):
        assert_allclose(small.transform(epochs[i])[0], expected[i], **CLOSE)
    order = np.random.default_rng(0).permutation(len(epochs))
    assert_allclose(
        small.transform(MEGSamples(epochs)[order]), expected[order], **CLOSE
    )
    small.set_params(batch_size=3)
    assert_allclose(small.transform(epochs), expected, **CLOSE)


def test_same_input_twice_is_bit_equal(small, epochs):
    small.fit(epochs)
    assert_array_equal(small.transform(epochs), small.transform(epochs))
    assert_array_equal(clone(small).fit_transform(epochs), small.transform(epochs))


def test_order_of_channels_does_not_matter(small, epochs, rng):
    expected = small.fit(epochs).transform(epochs)
    names = rng.permutation(epochs.ch_names).tolist()
    shuffled = epochs.copy().reorder_channels(names)
    assert_allclose(small.transform(shuffled), expected, **CLOSE)


def test_bad_channels_have_no_influence(small, epochs):
    marked = epochs.copy()
    marked.info["bads"] = marked.ch_names[10:14]
    expected = small.fit(marked).transform(marked)
    spoiled = marked.copy()
    spoiled._data[:, 10:14] *= 30.0
    assert_array_equal(small.transform(spoiled), expected)
    # and little is lost with them
    whole = small.transform(epochs)
    assert np.corrcoef(whole.ravel(), expected.ravel())[0, 1] > 0.99


def test_frozen_fit_leaves_the_weights_alone(epochs):
    transformer = MEGFMTransformer()
    pipeline = make_pipeline(transformer, LogisticRegression()).fit(
        MEGSamples(epochs), LABELS
    )
    loaded = load_checkpoint(weights_path("megfm-tiny")).state_dict()
    kept = pipeline[0].model_.state_dict()
    assert kept.keys() == loaded.keys()
    assert all(torch.equal(kept[name], loaded[name]) for name in loaded)


def test_unfitted(epochs):
    transformer = MEGFMTransformer()
    for use in (transformer.transform, transformer.score):
        with pytest.raises(NotFittedError):
            use(epochs)
    with pytest.raises(NotFittedError):
        transformer.get_feature_names_out()
    with pytest.raises(NotFittedError):
        transformer.save_pretrained("anywhere")


def test_pickle(small, epochs):
    expected = small.fit(epochs).transform(epochs)
    assert_array_equal(pickle.loads(pickle.dumps(small)).transform(epochs), expected)


@pytest.mark.slow
def test_cross_validation(small, epochs):
    pipeline = make_pipeline(small, LogisticRegression())
    settings = {"cv": 2, "method": "decision_function"}
    singles = cross_val_predict(pipeline, epochs, LABELS, **settings)
    X = MEGSamples(epochs)
    view = cross_val_predict(pipeline, X, LABELS, n_jobs=2, **settings)
    assert_array_equal(singles, view)
    # each epoch is decided by what it holds; which label of few it gets is chance
    assert len(np.unique(view)) == len(epochs)
    labels = cross_val_predict(pipeline, X, LABELS, cv=2)
    assert set(labels) <= {"a", "b"}


def test_grid_search_over_pipeline(small, epochs):
    search = GridSearchCV(
        make_pipeline(small, LogisticRegression()),
        {
            "megfmtransformer__pooling": ["projection", "mean"],
            "logisticregression__C": [0.1],
        },
        cv=2,
        error_score="raise",
    ).fit(MEGSamples(epochs), LABELS)
    assert search.cv_results_["mean_test_score"].shape == (2,)


def test_grid_search_chooses_mask_ratio_by_score(small, epochs):
    small.set_params(pretraining=Pretraining(max_epochs=1), batch_size=4)
    search = GridSearchCV(
        small, {"pretraining__mask_ratio": [0.5, 0.8]}, cv=2, error_score="raise"
    ).fit(MEGSamples(epochs))
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all() and scores[0] != scores[1]
    assert (scores < 0).all() and (scores > -2).all()


def test_score_is_a_scorer(small, epochs):
    scores = cross_val_score(small, MEGSamples(epochs), cv=2, error_score="raise")
    assert np.isfinite(scores).all()


def test_pandas_output_and_names(small, epochs):
    frame = small.set_output(transform="pandas").fit_transform(epochs)
    assert frame.columns.tolist() == small.get_feature_names_out().tolist()
    assert frame.columns.is_unique
    assert frame.columns[0] == "region00_t0000-0100ms_axis00"


@pytest.mark.parametrize("pooling", ["projection", "tokens", "time", "space", "mean"])
def test_every_pooling_names_its_features(small, epochs, pooling):
    features = small.set_params(pooling=pooling).fit_transform(epochs)
    names = small.get_feature_names_out()
    assert len(set(names)) == len(names) == features.shape[1]


def test_html_repr_and_clone(small):
    assert "MEGFMTransformer" in small._repr_html_()
    assert clone(small).get_params() == small.get_params()


def test_pretraining_in_place_learns(epochs):
    transformer = MEGFMTransformer(
        weights=None,
        config=SMALL,
        pretraining=Pretraining(max_epochs=12),
        batch_size=4,
        random_state=0,
    )
    untrained = clone(transformer).set_params(pretraining=None).fit(epochs)
    trained = transformer.fit(epochs)
    assert trained.history_.epoch == list(range(1, 13))
    loss = trained.history_.train_loss
    assert loss[-1] < 0.95 * loss[0]
    assert trained.score(epochs) > untrained.score(epochs)


def test_save_and_go_on(small, epochs, tmp_path):
    small.set_params(pretraining=Pretraining(max_epochs=1)).fit(epochs)
    expected = small.transform(epochs)
    path = small.save_pretrained(tmp_path / "mine")
    frozen = MEGFMTransformer(weights=path).fit(epochs)
    assert_array_equal(frozen.transform(epochs), expected)
    assert frozen.provenance_ == small.provenance_
    more = MEGFMTransformer(
        weights=str(path), pretraining=Pretraining(max_epochs=1), random_state=0
    ).fit(epochs)
    assert not np.array_equal(more.transform(epochs), expected)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        small.save_pretrained(path)
    small.save_pretrained(path, overwrite=True)
