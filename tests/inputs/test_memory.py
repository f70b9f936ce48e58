"""Streaming stays bounded in memory, whatever the length of a recording."""

import tracemalloc

import mne
import numpy as np
import pytest

from mne_megfm.inputs import MEGSamples, as_recordings, iter_windows


def _peak(function):
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _read_through(recordings, project):
    for _ in iter_windows(recordings, project, batch_size=16):
        pass


@pytest.mark.parametrize("kind", ["raw", "epochs", "view"])
def test_peak_does_not_grow(kind, make_info, project, tmp_path, monkeypatch):
    """Four times as much on disk, the same peak."""
    monkeypatch.setattr("mne_megfm.inputs.reading._BLOCK_BYTES", 2**21)
    info = make_info(1000.0, n_mag=40)
    rng = np.random.default_rng(0)
    peaks, sizes = [], []
    for seconds in (40, 160):
        data = 1e-12 * rng.standard_normal((40, seconds * 1000))
        raw = mne.io.RawArray(data, info)
        raw.save(tmp_path / f"{seconds}_raw.fif", fmt="single")
        raw = mne.io.read_raw_fif(tmp_path / f"{seconds}_raw.fif")
        sizes.append(data.nbytes)
        del data
        X = raw
        if kind != "raw":
            events = mne.make_fixed_length_events(raw, duration=1.0)
            X = mne.Epochs(raw, events, tmin=0, tmax=0.999, baseline=None)
            if kind == "view":
                X = MEGSamples(X)[::2]
        recordings = as_recordings(X)
        peaks.append(_peak(lambda r=recordings: _read_through(r, project)))
        assert not raw.preload
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < sizes[1] / 2


def test_block_is_bounded_for_scattered_rows(make_raw, project):
    """Two windows at the ends of a recording do not read what lies between."""
    raw = make_raw(120.0, 1000.0)
    recordings = as_recordings(MEGSamples(raw)[[0, 119]])
    assert _peak(lambda: _read_through(recordings, project)) < raw._data.nbytes / 4
