"""Tests of the way from BIDS to the store, with data sets that mne-bids wrote."""

import hashlib
import json

import mne
import numpy as np
import pandas as pd
import pytest

from mne_megfm import CanonicalSensors
from mne_megfm.store import WindowStore

from ._archives import (
    assert_stored,
    expected,
    mne_bids,
    prepare,
    read_log,
    simulate,
    write_bids,
    write_data_set,
)


@pytest.fixture
def bids(tmp_path):
    """Return a data set of two participants, one with a second session."""
    return write_data_set(tmp_path)


def test_real_recordings(data_dir, tmp_path):
    """Real recordings of systems whose files are FIF, or come as such, arrive."""
    root, path = tmp_path / "bids", tmp_path / "store"
    files = {
        "bti": "4d248-solaris_raw.fif",
        "vv": "vectorview306-audvis-prestim_raw.fif",
    }
    for subject, file in files.items():
        write_bids(
            mne.io.read_raw(data_dir / file, verbose="error"), root, subject, "task"
        )
    prepare(root, path, "--highpass", 0, "--strict")
    store = WindowStore.open(path)
    assert store.table.participant.tolist() == ["sub-bti", "sub-vv"]
    assert store.table.n_windows.tolist() == [1, 2]
    for subject, file in files.items():
        raw = mne.io.read_raw(data_dir / file, preload=True, verbose="error")
        assert_stored(store, f"sub-{subject}_task-task", expected(raw))
        row = store.table.set_index("participant").loc[f"sub-{subject}"]
        head = store.notes(row["name"])["dev_head_t"]
        np.testing.assert_allclose(head, raw.info["dev_head_t"]["trans"], atol=1e-7)
    assert "MEG 2443" in store.notes("sub-vv_task-task")["provenance"]["bads"]


def test_states(bids, tmp_path):
    """Tasks become states as asked for; others and empty rooms are left out."""
    write_bids(simulate(), bids, "emptyroom", "noise", session="20200101")
    write_bids(simulate(), bids, "01", "noise")
    people = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    people["site"] = [{"sub-01": "north"}.get(p) for p in people.participant_id]
    people.to_csv(bids / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    path = tmp_path / "store"
    prepare(bids, path, "--state", "rest=rest,restingstate", "--site", "south")
    store = WindowStore.open(path)
    assert store.table.name.tolist() == [
        "sub-01_task-rest",
        "sub-02_ses-a_task-restingstate",
    ]
    assert store.table.state.tolist() == ["rest", "rest"]
    assert store.table.site.tolist() == ["north", "south"]
    log = read_log(path)
    assert log.outcome.to_dict() == {
        "sub-01_task-noise": "left out",
        "sub-01_task-rest": "written",
        "sub-02_ses-a_task-restingstate": "written",
        "sub-02_ses-b_task-tones_run-01": "left out",
        "sub-emptyroom_ses-20200101_task-noise": "left out",
    }
    assert log.reason["sub-emptyroom_ses-20200101_task-noise"] == "empty room"
    assert "task 'tones'" in log.reason["sub-02_ses-b_task-tones_run-01"]
    prepare(bids, tmp_path / "all")
    states = set(WindowStore.open(tmp_path / "all").table.state)
    assert states == {"rest", "restingstate", "tones"}


def test_filters_and_rate(tmp_path):
    """Filters are MNE's, and another sampling rate makes no other windows."""
    slow, fast = simulate(8.0), simulate(8.0, sfreq=1000.0)
    for raw in (slow, fast):
        raw._data += 1e-12 * np.sin(2 * np.pi * 50 * raw.times)
        raw._data += 1e-12 * np.sin(2 * np.pi * 0.2 * raw.times)
    root, path = tmp_path / "bids", tmp_path / "store"
    write_bids(fast, root, "fast", "rest")
    write_bids(slow, root, "slow", "rest")
    options = ("--highpass", 1, "--lowpass", 40, "--notch", 50)
    prepare(root, path, *options)
    store = WindowStore.open(path)
    slow.notch_filter([50, 100], verbose="error").filter(1, 40, verbose="error")
    truth = expected(slow)
    assert_stored(store, "sub-slow_task-rest", truth)
    data, _ = store.take(range(2, 6))  # of the fast one, without the ends
    # the ends, where filters differ, are in the mean that is taken away
    data, truth = (x - x.mean((0, 2), keepdims=True) for x in (data, truth[2:6]))
    correlation = np.corrcoef(data.ravel(), truth.ravel())[0, 1]
    assert correlation > 0.999
    parameters = store.notes("sub-slow_task-rest")["provenance"]["parameters"]
    assert [parameters[k] for k in ("highpass", "lowpass", "notch")] == [1, 40, 50]


def test_bad_channels_and_spans(tmp_path):
    """What channels.tsv, events.tsv or the file itself call bad is left out."""
    root, path = tmp_path / "bids", tmp_path / "store"
    raw = simulate(8.0)
    expected = raw.copy()
    expected.info["bads"] = raw.ch_names[3:4]
    raw.info["bads"] = raw.ch_names[3:4]
    raw._data[3] = 1e-9 * np.random.default_rng(0).standard_normal(raw.n_times)
    raw.set_annotations(
        mne.Annotations([2.5, 4.1], [0.2, 0.1], ["BAD_cough", "bad in the file"])
    )
    file = write_bids(raw, root, "01", "rest")
    # the second span is in the file alone, as with annotations made later
    events = file.with_name("sub-01_task-rest_events.tsv")
    table = pd.read_csv(events, sep="\t")
    table[table.trial_type == "BAD_cough"].to_csv(events, sep="\t", index=False)
    # and the bad channel in the sidecar alone
    plain = mne.io.read_raw(file, preload=True, verbose="error")
    plain.info["bads"] = []
    plain.save(file, overwrite=True, verbose="error")
    prepare(root, path, "--highpass", 0)
    store = WindowStore.open(path)
    assert store.start.tolist() == [0.0, 1.0, 3.0, 5.0, 6.0, 7.0]
    windows = CanonicalSensors().transform(expected)[[0, 1, 3, 5, 6, 7]]
    windows -= windows.mean((0, 2), keepdims=True)
    assert_stored(store, "sub-01_task-rest", windows)


def test_events(tmp_path):
    """Windows are cut around events of events.tsv, to the sample."""
    root, path = tmp_path / "bids", tmp_path / "store"
    raw = simulate(10.0)
    onsets = np.array([300, 700, 1100, 1700, 2490])
    events = np.c_[onsets, np.zeros_like(onsets), [1, 2, 1, 1, 1]]
    names = {"tone/low": 1, "flash": 2}
    write_bids(raw, root, "01", "tones", events=events, event_id=names)
    write_bids(simulate(3.0), root, "01", "rest")
    prepare(root, path, "--highpass", 0, "--events", "tones=tone", "--tmin", -0.3)
    store = WindowStore.open(path)
    table = store.table.set_index("state")
    # the last event is too near the end
    assert table.n_windows.to_dict() == {"tones": 3, "rest": 3}
    starts = store.start[store.state == "tones"]
    np.testing.assert_allclose(starts, onsets[[0, 2, 3]] / 250 - 0.3)
    epochs = mne.Epochs(
        raw, events, {"t": 1}, -0.3, 0.7 - 1 / 250, baseline=None, verbose="error"
    )
    assert_stored(store, "sub-01_task-tones", expected(epochs))
    prepare(root, tmp_path / "all", "--events", "tones=*")
    assert len(WindowStore.open(tmp_path / "all")) == 3 + 4
    output = prepare(root, tmp_path / "none", "--events", "tones=tone,flush", code=1)
    assert "got flush, which are in none of 1" in output
    assert "flash?" in output
    assert not (tmp_path / "none").exists()


def test_maxwell(tmp_path):
    """Signal-space separation is MNE's, and recordings that had it are spared."""
    root, path = tmp_path / "bids", tmp_path / "store"
    raw = simulate(2.0, array="neuromag306")
    write_bids(raw, root, "01", "rest")
    separated = mne.preprocessing.maxwell_filter(
        raw, origin=(0.0, 0.0, 0.04), verbose="error"
    )
    write_bids(separated.copy(), root, "02", "rest")
    prepare(root, path, "--maxwell", "--highpass", 0, "--strict")
    store = WindowStore.open(path)
    for subject in ("01", "02"):
        assert_stored(store, f"sub-{subject}_task-rest", expected(separated))


def test_split_files(tmp_path):
    """A recording in several files is one recording."""
    root, path = tmp_path / "bids", tmp_path / "store"
    raw = simulate(120.0, array="opm32")
    file = write_bids(raw, root, "01", "rest")
    file.unlink()
    raw.save(file, split_size="2MB", split_naming="bids", verbose="error")
    parts = sorted(file.parent.glob("*_split-*_meg.fif"))
    assert len(parts) >= 2
    assert not file.exists()
    prepare(root, path, "--strict", "--highpass", 0)
    store = WindowStore.open(path)
    assert store.table.name.tolist() == ["sub-01_task-rest"]
    assert len(store) == 120
    log = pd.read_csv(next((path / "logs").iterdir()), sep="\t", keep_default_na=False)
    assert log.outcome.tolist() == ["written"] + ["left out"] * (len(parts) - 1)
    prepare(root, path, "--strict", "--highpass", 0)
    assert "there" in read_log(path).outcome.tolist()
    # without its first part, a recording is not just left out
    parts[0].unlink()
    write_bids(simulate(), root, "02", "rest")
    output = prepare(root, tmp_path / "other", "--strict", code=1)
    assert "1 of" in output
    assert "split-01_meg.fif" in output


def test_table_of_files(tmp_path):
    """Plain files are prepared by what a table says of them."""
    path = tmp_path / "store"
    raw = simulate(5.0, seed=1)
    raw.save(tmp_path / "a b_raw.fif", verbose="error")
    noisy = simulate(5.0, seed=2).rename_channels(lambda name: f"MEG {name}")
    other = noisy.copy()
    noisy._data[[2, 7]] = 1e-9 * np.random.default_rng(0).standard_normal((2, 1250))
    noisy.save(tmp_path / "noisy_raw.fif", verbose="error")
    bads = "; ".join([noisy.ch_names[2], noisy.ch_names[7]])
    rows = [
        {"file": "a b_raw.fif", "participant": "P1", "state": "Ruhe", "site": "X"},
        {"file": "noisy_raw.fif", "participant": "P2", "state": "Ruhe", "bads": bads},
        {"file": "gone_raw.fif", "participant": "P3", "state": "Ruhe"},
    ]
    table = tmp_path / "files.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    options = ("--highpass", 0, "--state", "rest=Ruhe")
    output = prepare(table, path, *options)
    assert "gone_raw.fif" in output
    prepare(table, path, *options, "--strict", code=1)
    store = WindowStore.open(path)
    assert store.table.name.tolist() == ["P1_a b_raw", "P2_noisy_raw"]
    assert store.table.site.tolist() == ["X", ""]
    assert set(store.table.state) == {"rest"}
    assert_stored(store, "P1_a b_raw", expected(raw))
    other.info["bads"] = [other.ch_names[2], other.ch_names[7]]
    assert_stored(store, "P2_noisy_raw", expected(other))


def test_stimulus_channels(data_dir, tmp_path):
    """Without annotations, events come from the stimulus channel, by number."""
    table = tmp_path / "files.tsv"
    file = data_dir / "kit157-auditory_raw.fif"
    table.write_text(f"file\tparticipant\tstate\n{file}\tp\tauditory\n")
    prepare(table, tmp_path / "store", "--events", "auditory=1", "--tmin", -0.1)
    store = WindowStore.open(tmp_path / "store")
    raw = mne.io.read_raw(file, verbose="error")
    events = mne.find_events(raw, shortest_event=1, verbose="error")
    onsets = (events[events[:, 2] == 1, 0] - raw.first_samp) / raw.info["sfreq"]
    onsets = onsets[(onsets >= 0.1) & (onsets < 5.0 - 0.9 + 1e-6)]
    assert len(onsets) == 2
    np.testing.assert_allclose(store.start, onsets - 0.1)


def test_provenance(bids, tmp_path):
    """Each recording says where it comes from, so that it can be made again."""
    path = tmp_path / "store"
    prepare(bids, path)
    store = WindowStore.open(path)
    facts = store.notes("sub-01_task-rest")["provenance"]
    file = bids / facts["file"]
    assert facts["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert facts["bytes"] == file.stat().st_size
    assert facts["software"]["mne"] == mne.__version__
    assert facts["software"]["mne-bids"] == mne_bids.__version__
    assert facts["parameters"]["highpass"] == 0.5
    assert json.dumps(facts)
