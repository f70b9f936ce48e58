"""Windows whose contents follow from the name of their recording."""

import zlib

import numpy as np
import pytest

from mne_megfm.store import WindowStore

SHAPE = {"n_sensors": 6, "n_times": 20, "sfreq": 20.0}


@pytest.fixture
def make_windows():
    """Return a function that makes the windows of a recording in T."""

    def make(name, n=7):
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        windows = 1e-12 * rng.standard_normal((n, 6, 20))
        # sensors of very different amplitude and offset, as in real recordings
        gain = np.array([1.0, 1e-3, 1.0, 50.0, 1.0, 1.0])[:, None]
        offset = np.array([0.0, 0.0, 3e-10, 0.0, -5e-11, 0.0])[:, None]
        return windows * gain + offset

    return make


@pytest.fixture
def tolerance():
    """Return a function: what the integers may change, for each window and sensor."""

    def bound(windows):
        extent = np.ptp(windows, axis=-1, keepdims=True)
        rounding = np.abs(windows).max(-1, keepdims=True) * 2.0**-23
        return extent / 131068 * 1.001 + rounding

    return bound


@pytest.fixture
def store(tmp_path, make_windows):
    """Return a store of five recordings of three participants."""
    store = WindowStore.create(tmp_path / "store", **SHAPE)
    for name, participant, state, n in (
        ("s2-rest", "s2", "rest", 3),
        ("s1-rest", "s1", "rest", 7),
        ("s3-auditory", "s3", "auditory", 1),
        ("s1-auditory", "s1", "auditory", 4),
        ("s3-rest", "s3", "rest", 5),
    ):
        store.append(
            make_windows(name, n), name=name, participant=participant, state=state
        )
    return store
