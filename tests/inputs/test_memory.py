"""Streaming stays bounded in memory, whatever the length of a recording."""

import shutil
import subprocess
import sys
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
    monkeypatch.setattr("mne_megfm.inputs._reading._BLOCK_BYTES", 2**21)
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


_HOUR = """
import resource, sys
from pathlib import Path

import mne
import numpy as np
from mne_megfm.inputs import as_recordings, iter_windows

mne.set_log_level("ERROR")


def peak():
    # VmHWM and not ru_maxrss, which begins with that of the process before exec
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 2**20


path, seconds = sys.argv[1], int(sys.argv[2])
raw = mne.io.read_raw_fif(path, preload=False)
assert raw.n_times == seconds * 1000 and len(raw.ch_names) == 306
matrix = np.random.default_rng(0).standard_normal((192, 306)) / 306
before = peak()
n_windows = 0
for block in iter_windows(raw, lambda recording: (matrix, recording.ch_names)):
    n_windows += len(block)
    assert block.data.any()
assert n_windows == seconds
print(peak() - before)
"""


def _write_long(folder, seconds):
    """Write 306 channels of noise at 1 kHz, never more than ten seconds in memory."""
    info = mne.channels.read_meg_canonical_info("neuromag")
    info = mne.pick_info(info, mne.pick_types(info, meg=True, ref_meg=False))
    with info._unlock():
        info["sfreq"] = 1000.0
    data = 1e-12 * np.random.default_rng(0).standard_normal((306, 10_000))
    part = folder / "part_raw.fif"
    mne.io.RawArray(data, info).save(part)
    parts = [mne.io.read_raw_fif(part) for _ in range(seconds // 10)]
    raw = mne.concatenate_raws(parts, preload=False)
    raw.set_annotations(None)  # no seams
    return raw.save(folder / "long_raw.fif")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(sys.platform != "linux", reason="Peak memory is read from /proc")
def test_hour_of_raw(tmp_path):
    """An hour of 306 channels at 1 kHz takes less than 2 GiB above import."""
    if shutil.disk_usage(tmp_path).free < 2**33:
        pytest.skip("Needs 8 GiB of disk")
    files = _write_long(tmp_path, 3600)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _HOUR, str(files[0]), "3600"],
            check=True,
            capture_output=True,
            text=True,
        )
    finally:
        for file in files:
            file.unlink()
    grown = float(done.stdout)
    sys.stdout.write(f"peak above import: {grown:.2f} GiB\n")  # with pytest -s
    assert grown < 2.0
