"""Maps of participants against principal axes by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.preprocessing import FunctionTransformer

from mne_megfm.viz import EmbeddingDisplay, plot_embedding


@pytest.fixture
def features(rng):
    """Return 12 rows that lie near a plane, on scales that differ."""
    plane = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 6))
    rows = plane + 0.1 * rng.standard_normal((12, 6))
    return rows * 2.0 ** np.arange(6)


def test_axes_are_those_of_the_svd(features):
    """Features count as much as they vary."""
    display = EmbeddingDisplay.from_features(features)
    centred = features - features.mean(0)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * strength[:2]
    sign = np.sign((expected * display.coordinates).sum(0))
    assert_allclose(display.coordinates, expected * sign, atol=1e-9)
    share = strength[:2] ** 2 / np.sum(strength**2)
    assert_allclose(display.explained, share)
    assert f"{share[0]:.0%}" in display.ax_.get_xlabel()
    (points,) = display.scatters_
    assert_allclose(points.get_offsets(), display.coordinates)


def test_from_estimator_transforms(features):
    labels = np.array(list("baab" * 3))
    doubling = FunctionTransformer(lambda X: np.c_[X, X[:, :1] ** 2])
    display = EmbeddingDisplay.from_estimator(doubling, features, labels=labels)
    expected = EmbeddingDisplay.from_features(np.c_[features, features[:, :1] ** 2])
    assert_allclose(display.coordinates, expected.coordinates)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["a", "b"]
    for points, label in zip(display.scatters_, texts, strict=True):
        offsets = points.get_offsets()
        assert_allclose(offsets, display.coordinates[labels == label])
    colors = [tuple(points.get_facecolor()[0]) for points in display.scatters_]
    assert len(set(colors)) == 2


def test_one_map_for_each_thing(features):
    """All maps show the same places; only colours differ."""
    by = {"group": list("ab" * 6), "array": list("xxyyzz" * 2)}
    own, axes = plt.subplots(1, 2)
    assert plot_embedding(features, by, axes=axes, title="People", show=False) is own
    assert [ax.get_title() for ax in axes] == ["by group", "by array"]
    places = [
        np.sort(np.concatenate([c.get_offsets() for c in ax.collections]), axis=0)
        for ax in axes
    ]
    assert_allclose(*places)
    assert [len(ax.collections) for ax in axes] == [2, 3]
    assert own.get_suptitle() == "People"


def test_misuse(features):
    with pytest.raises(ValueError, match="features of three rows"):
        EmbeddingDisplay.from_features(features[:2])
    with pytest.raises(ValueError, match="Expected 12 labels, one a row, got 3"):
        EmbeddingDisplay.from_features(features, labels=list("abc"))
    with pytest.raises(ValueError, match="got an empty dict"):
        plot_embedding(features, {})
