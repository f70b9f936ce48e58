"""Tests of windows as integers."""

import mne
import numpy as np
import pytest

from mne_megfm import CanonicalSensors
from mne_megfm.store._shard import decode, encode


def _there_and_back(windows, n_valid=None):
    if n_valid is None:
        n_valid = np.full(len(windows), windows.shape[-1])
    values, coding = encode(windows, n_valid)
    out = np.full(windows.shape, np.nan, np.float32)
    for i in range(len(windows)):
        decode(values[i], coding[i], n_valid[i], out[i])
    return values, out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_error_is_bounded(make_windows, tolerance, dtype):
    """No sample is off by more than half a step of its own sensor's range."""
    windows = make_windows("any", 150).astype(dtype)
    values, out = _there_and_back(windows)
    assert values.dtype == np.int16
    assert values.min() == -32767
    assert values.max() == 32767
    windows = windows.astype(float)
    assert (np.abs(out - windows) <= tolerance(windows)).all()


def test_beats_half_precision(make_windows):
    """Beside an offset or an artefact, half precision loses what the integers keep."""
    windows = make_windows("any", 20)
    _, out = _there_and_back(windows)
    half = (windows * 1e12).astype(np.float16).astype(float) / 1e12
    error = np.sqrt(((out - windows) ** 2).mean((0, 2))) / windows.std((0, 2))
    half_error = np.sqrt(((half - windows) ** 2).mean((0, 2))) / windows.std((0, 2))
    assert error.max() < 2e-4
    assert half_error[2] > 0.05  # 0.3 nT of offset
    assert (error[[2, 4]] < half_error[[2, 4]] / 100).all()


def test_ends_are_left_out(make_windows, tolerance):
    """What was not recorded is zero and does not touch what was."""
    windows = make_windows("any", 3)
    n_valid = np.array([20, 11, 1])
    other = windows.copy()
    other[1, :, 11:], other[2, :, 1:] = 1e-6, -1e-6
    values, out = _there_and_back(windows, n_valid)
    again, same = _there_and_back(other, n_valid)
    np.testing.assert_array_equal(values, again)
    np.testing.assert_array_equal(out, same)
    for i, n in enumerate(n_valid):
        assert (out[i, :, n:] == 0).all()
        assert (values[i, :, n:] == 0).all()
        part = windows[i, :, :n]
        assert (np.abs(out[i, :, :n] - part) <= tolerance(part)).all()


def test_constants():
    """Flat and empty sensors come back as they were."""
    windows = np.zeros((1, 3, 20))
    windows[:, 1], windows[:, 2] = 3e-9, -1e-15
    _, out = _there_and_back(windows)
    np.testing.assert_array_equal(out, windows.astype(np.float32))


@pytest.mark.parametrize("offset", [0.0, 1e-9])
@pytest.mark.parametrize("name", ["4d248-solaris", "ctf274", "kit157-auditory"])
def test_real_recordings(data_dir, name, offset):
    """Real recordings keep 4 digits, and 3 beside an offset of 1 nT, as unfiltered."""
    raw = mne.io.read_raw(data_dir / f"{name}_raw.fif", preload=True, verbose="error")
    windows = CanonicalSensors().transform(raw)[..., :250]
    windows += offset - windows.mean((0, 2), keepdims=True)

    def worst(coded):
        return np.max((coded - windows).std((0, 2)) / windows.std((0, 2)))

    _, out = _there_and_back(windows)
    assert worst(out) < (4e-4 if offset else 5e-5)
    # what the choice was made against: one scale a window, and half precision
    scale = np.abs(windows).max((1, 2), keepdims=True) / 32767
    assert worst(np.rint(windows / scale) * scale) > (0.02 if offset else 8e-5)
    half = (windows * 1e12).astype(np.float16).astype(float) * 1e-12
    assert worst(half) > (0.4 if offset else 2e-4)
