"""Tests of the window store: reading and splits."""

import numpy as np
import pytest
import torch

from mne_megfm.models import WindowArray


def _array(recording, n_times=4):
    n = len(recording)
    values = np.arange(n * 3 * n_times, dtype=np.float16).reshape(n, 3, n_times)
    return WindowArray(values, unit=2e-12, recording=np.array(recording))


def test_take(tmp_path):
    """Windows come in tesla and in the order asked for, also from mapped files."""
    windows = _array(range(9))
    index = np.array([4, 0, 4, 8])
    expected = windows.values[index].astype(np.float32) * 2e-12
    data, n_valid = windows.take(index)
    assert data.dtype == torch.float32
    np.testing.assert_allclose(data.numpy(), expected, rtol=1e-6)
    assert n_valid.tolist() == [4] * 4
    np.save(tmp_path / "windows.npy", windows.values)
    mapped = WindowArray(np.load(tmp_path / "windows.npy", mmap_mode="r"), unit=2e-12)
    assert torch.equal(mapped.take(index)[0], data)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n_recordings", [2, 3, 40])
def test_split_never_straddles(fraction, n_recordings, rng):
    """No recording is on both sides, no window is lost, and no side is empty."""
    recording = rng.permutation(np.repeat(np.arange(n_recordings), 5))
    windows = _array(recording)
    for seed in range(5):
        first, second = windows.split(fraction, seed)
        assert len(first) and len(second)
        assert not set(recording[first]) & set(recording[second])
        np.testing.assert_array_equal(
            np.sort(np.concatenate([first, second])), np.arange(len(windows))
        )
        share = min(max(1, round(fraction * n_recordings)), n_recordings - 1)
        assert len(set(recording[second])) == share


def test_split_depends_on_the_seed():
    """Equal seeds split equally, others do not."""
    windows = _array(range(30))
    one, same, other = (windows.split(0.2, seed)[1].tolist() for seed in (1, 1, 2))
    assert one == same != other


@pytest.mark.parametrize("n", [2, 3, 20])
def test_split_of_one_recording(n):
    """A single recording is cut: its end is held out."""
    first, second = _array([7] * n).split(0.1, 0)
    assert len(first) and len(second)
    assert np.concatenate([first, second]).tolist() == list(range(n))


def test_split_refuses_one_window():
    """One window is nothing to split."""
    with pytest.raises(ValueError, match="at least 2 windows to split, got 1"):
        _array([0]).split(0.5, 0)
