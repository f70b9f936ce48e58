"""Recordings for the tests of inputs, and a map that needs no lead field."""

import mne
import numpy as np
import pytest


def _project(recording):
    """Map good channels through a matrix that depends on their names alone."""
    columns = []
    for name in recording.ch_names:
        seed = int.from_bytes(name.encode(), "little") % 2**32
        columns.append(np.random.default_rng(seed).standard_normal(6))
    return np.array(columns).T, list(recording.ch_names)


@pytest.fixture
def project():
    """Return a projection on six canonical sensors."""
    return _project


@pytest.fixture
def pick_first():
    """Return a projection whose one output is the first channel."""

    def first(recording):
        matrix = np.zeros((1, len(recording.ch_names)))
        matrix[0, 0] = 1.0
        return matrix, list(recording.ch_names)

    return first


@pytest.fixture
def make_info():
    """Return a maker of infos with magnetometers, and others on demand."""

    def make(sfreq=250.0, n_mag=8, extra=()):
        names = [f"MEG {i:03d}" for i in range(n_mag)]
        names += [f"{kind.upper()} {i}" for i, kind in enumerate(extra)]
        return mne.create_info(names, sfreq, ["mag"] * n_mag + list(extra))

    return make


@pytest.fixture
def make_epochs(make_info):
    """Return a maker of epochs of noise, with event names and metadata."""

    def make(n_epochs=5, n_times=250, sfreq=250.0, seed=0, n_mag=8, extra=()):
        import pandas as pd

        rng = np.random.default_rng(seed)
        info = make_info(sfreq, n_mag, extra)
        data = 1e-12 * rng.standard_normal((n_epochs, len(info["ch_names"]), n_times))
        codes = np.arange(n_epochs) % 2 + 1
        events = np.c_[np.arange(n_epochs) * n_times, np.zeros(n_epochs, int), codes]
        used = {k: v for k, v in dict(tone=1, touch=2).items() if v in codes}
        epochs = mne.EpochsArray(
            data, info, events, tmin=-0.2, event_id=used, verbose=False
        )
        subject = [f"sub-{seed}-{i % 3}" for i in range(n_epochs)]
        epochs.metadata = pd.DataFrame({"subject": subject})
        return epochs

    return make


@pytest.fixture
def make_raw(make_info):
    """Return a maker of continuous noise."""

    def make(seconds=5.0, sfreq=250.0, seed=0, n_mag=8, extra=(), first_samp=0):
        rng = np.random.default_rng(seed)
        info = make_info(sfreq, n_mag, extra)
        n_times = round(seconds * sfreq)
        data = 1e-12 * rng.standard_normal((len(info["ch_names"]), n_times))
        return mne.io.RawArray(data, info, first_samp=first_samp, verbose=False)

    return make


@pytest.fixture
def rows_of(project):
    """Return a function that gives all windows of anything, by row and start."""
    from mne_megfm.inputs import iter_windows

    def rows(X, project=project, **kwargs):
        blocks = list(iter_windows(X, project, **kwargs))
        data = np.concatenate([block.data for block in blocks])
        row = np.concatenate([block.row for block in blocks])
        start = np.concatenate([block.start for block in blocks])
        n_valid = np.concatenate([block.n_valid for block in blocks])
        order = np.lexsort((start, row))
        return data[order], row[order], start[order], n_valid[order]

    return rows
