"""Tests of splits that keep recordings or participants together."""

import numpy as np
import pytest

from mne_megfm.store import split_groups


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n_recordings", [2, 3, 40])
def test_split_never_straddles(fraction, n_recordings, rng):
    """No recording is on both sides, no window is lost, and no side is empty."""
    recording = rng.permutation(np.repeat(np.arange(n_recordings), 5))
    for seed in range(5):
        first, second = split_groups(recording, fraction, seed)
        assert len(first) and len(second)
        assert not set(recording[first]) & set(recording[second])
        np.testing.assert_array_equal(
            np.sort(np.concatenate([first, second])), np.arange(len(recording))
        )
        share = min(max(1, round(fraction * n_recordings)), n_recordings - 1)
        assert len(set(recording[second])) == share


def test_split_depends_on_the_seed():
    """Equal seeds split equally, others do not."""
    names = np.arange(30)
    one, same, other = (split_groups(names, 0.2, s)[1].tolist() for s in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("n", [2, 3, 20])
def test_split_of_one_recording(n):
    """A single recording is cut: its end is held out."""
    first, second = split_groups(np.full(n, 7), 0.1, 0)
    assert len(first) and len(second)
    assert np.concatenate([first, second]).tolist() == list(range(n))


def test_split_refuses_one_window():
    """One window is nothing to split."""
    with pytest.raises(ValueError, match="at least 2 windows to split, got 1"):
        split_groups(np.array([0]), 0.5, 0)
