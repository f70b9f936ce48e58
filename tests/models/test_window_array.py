"""Tests of windows in memory."""

import numpy as np
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
