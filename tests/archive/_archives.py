"""Data sets that mne-bids wrote, and the command run on them."""

import warnings

import mne
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mne_megfm import CanonicalSensors
from mne_megfm.commands import main
from mne_megfm.simulation import make_array_info

mne_bids = pytest.importorskip("mne_bids")


def prepare(*args, code=0):
    """Run the command and return what it says."""
    result = CliRunner().invoke(main, ["prepare", "-q", *map(str, args)])
    assert result.exit_code == code, result.output
    return result.output


def read_log(path):
    """Return the outcomes of the last run, by name."""
    log = max((path / "logs").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    table = pd.read_csv(log, sep="\t", keep_default_na=False)
    return table.set_index("name")


def contents(path):
    """Return all files but the logs."""
    return {
        p.relative_to(path): p.read_bytes()
        for p in path.rglob("*")
        if p.is_file() and p.parent.name != "logs"
    }


def write_bids(raw, root, subject, task, **params):
    """Have mne-bids write a recording."""
    entities = {k: params.pop(k) for k in ("session", "run") if k in params}
    path = mne_bids.BIDSPath(
        subject=subject, task=task, root=root, datatype="meg", **entities
    )
    with raw.info._unlock():
        raw.info["line_freq"] = 60.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mne_bids.write_raw_bids(
            raw,
            path,
            allow_preload=raw.preload,
            format="FIF" if raw.preload else "auto",
            overwrite=True,
            verbose="error",
            **params,
        )
    return path.update(suffix="meg", extension=".fif").fpath


def simulate(seconds=4.0, sfreq=250.0, seed=0, array="opm32"):
    """Return signals that are smooth, so that all ways of reading them agree."""
    info = make_array_info(array, sfreq=sfreq)
    rng = np.random.default_rng(seed)
    n_times = round(seconds * sfreq)
    times = np.arange(n_times) / sfreq
    waves = np.sin(2 * np.pi * np.array([[4.0], [9.0], [17.0]]) * times)
    data = 1e-13 * rng.standard_normal((len(info["ch_names"]), 3)) @ waves
    data += 1e-17 * rng.standard_normal(data.shape)
    return mne.io.RawArray(data, info, verbose="error")


def expected(raw):
    """Windows by another way, from recordings at 250 Hz."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        windows = CanonicalSensors().transform(raw)
    n_times = windows.shape[-1]
    windows = windows[..., : min(n_times - n_times % 25, 250)]
    return windows - windows.mean((0, 2), keepdims=True)


def assert_stored(store, name, expected):
    """Compare the windows of a recording with what they should be."""
    number = store.table.name.tolist().index(name)
    data, n_valid = store.take(np.flatnonzero(store.recording == number))
    assert n_valid.tolist() == [expected.shape[-1]] * len(expected)
    data = data[..., : expected.shape[-1]]
    error = np.sqrt(np.mean((data - expected) ** 2) / np.mean(expected**2))
    assert error < 1e-4


def write_data_set(folder):
    """Have mne-bids write two participants, one with a second session."""
    root = folder / "bids"
    write_bids(simulate(seed=1), root, "01", "rest")
    write_bids(simulate(seed=2), root, "02", "restingstate", session="a")
    write_bids(simulate(seed=3), root, "02", "tones", session="b", run="01")
    return root
