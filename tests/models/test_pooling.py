"""Tests of poolings: shapes, names, masked means."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    MeanPooling,
    ProjectionPooling,
    SpacePooling,
    TimePooling,
    TokenPooling,
)

POOLINGS = [
    ProjectionPooling(),
    ProjectionPooling(n_components=3, max_bins=4),
    TokenPooling(),
    TokenPooling(max_bins=7),
    TimePooling(),
    TimePooling(max_bins=3),
    SpacePooling(),
    MeanPooling(),
]


def _tokens(n_patches, n_recorded=None):
    tokens = torch.randn(3, 24, n_patches, 32, dtype=torch.float64)
    recorded = torch.ones(3, n_patches, dtype=torch.bool)
    if n_recorded is not None:
        recorded[1, n_recorded:] = False
    return tokens * recorded[:, None, :, None], recorded


@pytest.fixture(scope="module")
def axed(model):
    """Return the model in float64, with axes."""
    import copy

    model = copy.deepcopy(model).double()
    model.set_token_axes(torch.zeros(24, 10, 32), torch.randn(24, 16, 32))
    return model


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
@pytest.mark.parametrize("n_patches", [1, 10, 33])
def test_one_unique_name_a_feature(pooling, n_patches, axed):
    """There are as many names as features, and no name twice."""
    features = pooling(*_tokens(n_patches), axed)
    names = pooling.names(24, n_patches, 32, 0.1)
    assert features.shape == (3, len(names))
    assert len(set(names)) == len(names)


def test_names_say_where_and_when(axed):
    """A feature is the value that its name says."""
    tokens, recorded = _tokens(10)
    names = TokenPooling().names(24, 10, 32, 0.1)
    features = TokenPooling()(tokens, recorded, axed)
    at = names.index("region03_t0200-0300ms_dim017")
    assert torch.equal(features[:, at], tokens[:, 3, 2, 17])
    names = ProjectionPooling(4).names(24, 10, 32, 0.1)
    features = ProjectionPooling(4)(tokens, recorded, axed)
    at = names.index("region23_t0900-1000ms_axis01")
    torch.testing.assert_close(
        features[:, at], tokens[:, 23, 9] @ axed.token_axes[23, 1].double()
    )


def test_means_leave_out_what_was_not_recorded(axed):
    """Averages are those of NumPy over recorded patches alone."""
    tokens, recorded = _tokens(10, n_recorded=6)
    part = tokens[1, :, :6].numpy()
    for pooling, expected in (
        (SpacePooling(), part.mean(1).ravel()),
        (MeanPooling(), part.mean((0, 1))),
    ):
        got = pooling(tokens, recorded, axed)[1].numpy()
        np.testing.assert_allclose(got, expected)
    times = TimePooling()(tokens, recorded, axed)[1].reshape(10, 32).numpy()
    np.testing.assert_allclose(times[:6], part.mean(0))
    assert not times[6:].any()


def test_long_rows_are_averaged_in_bins(axed):
    """Bins are nearly equal runs of patches, averaged over what was recorded."""
    tokens, recorded = _tokens(10, n_recorded=4)
    got = TokenPooling(max_bins=3)(tokens, recorded, axed).reshape(3, 24, 3, 32)
    names = TokenPooling(max_bins=3).names(1, 10, 1, 0.1)
    assert [name[9:20] for name in names] == [
        "t0000-0300m",
        "t0300-0700m",
        "t0700-1000m",
    ]
    for i, (a, b) in enumerate([(0, 3), (3, 7), (7, 10)]):
        torch.testing.assert_close(got[0, :, i], tokens[0, :, a:b].mean(1))
    torch.testing.assert_close(got[1, :, 1], tokens[1, :, 3])
    assert not got[1, :, 2].any()


@pytest.mark.parametrize("pooling", POOLINGS, ids=repr)
def test_nothing_recorded(pooling, axed):
    """A row without any recorded patch gives zeros, not NaN."""
    tokens = torch.zeros(1, 24, 10, 32, dtype=torch.float64)
    recorded = torch.zeros(1, 10, dtype=torch.bool)
    assert not pooling(tokens, recorded, axed).any()


def test_show_their_parameters():
    """GridSearchCV's table shows the parameters, and a checkpoint tells by them."""
    shown = "ProjectionPooling(n_components=4, max_bins=20, n_spectral=6)"
    assert repr(ProjectionPooling(4)) == shown != repr(ProjectionPooling(5))
    assert repr(SpacePooling()) == "SpacePooling()"
    assert repr(TimePooling(max_bins=3)) == "TimePooling(max_bins=3)"


def test_refusals(axed):
    """Numbers that give no features, or that the weights cannot give, are refused."""
    with pytest.raises(ValueError, match="n_components <= 16"):
        ProjectionPooling(17)(*_tokens(10), axed)
    for make in (
        lambda: ProjectionPooling(0),
        lambda: ProjectionPooling(2.5),
        lambda: TimePooling(max_bins=0),
        lambda: TokenPooling(max_bins=True),
    ):
        with pytest.raises(ValueError, match="whole number of 1 or more"):
            make()
