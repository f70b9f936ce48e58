"""Tests of patches and of masks over them."""

import numpy as np
import torch

from mne_megfm.models import (
    ModelConfig,
    from_patches,
    sample_mask,
    to_patches,
    valid_patches,
)

CONFIG = ModelConfig(n_sensors=6, n_regions=3, patch_length=4, n_patches=5, d_model=16)


def test_round_trip():
    """Cutting and joining gives the same windows, bit by bit."""
    windows = torch.randn(3, CONFIG.n_sensors, CONFIG.n_times)
    assert torch.equal(from_patches(to_patches(windows, CONFIG), CONFIG), windows)


def test_patch_holds_its_region_and_time():
    """Patch (r, p) holds the sensors of region r during time step p."""
    windows = torch.randn(2, CONFIG.n_sensors, CONFIG.n_times)
    patches = to_patches(windows, CONFIG)
    assert patches.shape == (2, 3, 5, 2, 4)
    for r in range(3):
        for p in range(5):
            part = windows[:, 2 * r : 2 * r + 2, 4 * p : 4 * p + 4]
            assert torch.equal(patches[:, r, p], part)


def test_valid_patches():
    """A patch counts as recorded from its first sample on."""
    got = valid_patches(torch.tensor([0, 1, 4, 5, 20]), CONFIG)
    assert got.sum(1).tolist() == [0, 1, 1, 2, 5]
    assert all(row.tolist() == sorted(row.tolist(), reverse=True) for row in got)


def test_sample_mask(rng):
    """A mask over tokens covers their sensors and samples that were recorded."""
    tokens = rng.random((3, 3, 5)) < 0.5
    n_valid = np.array([20, 7, 0])
    got = sample_mask(torch.from_numpy(tokens), torch.from_numpy(n_valid), CONFIG)
    expected = np.kron(tokens, np.ones((1, 2, 4))).astype(bool)
    expected &= np.arange(20) < n_valid[:, None, None]
    np.testing.assert_array_equal(got.numpy(), expected)
