"""Tests of preparing what is odd, what has changed, and after being killed."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mne_megfm.archive.sources import find_sources
from mne_megfm.store import WindowStore

from ._archives import (
    contents,
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


def test_awkward_data_set(bids, tmp_path):
    """One corrupt run, missing sidecars and odd files take nothing else down."""
    meg = bids / "sub-01" / "meg"
    for sidecar in ("_channels.tsv", "_meg.json"):
        (meg / f"sub-01_task-rest{sidecar}").unlink()
    (bids / "participants.tsv").unlink()
    (bids / "README").unlink()
    good = meg / "sub-01_task-rest_meg.fif"
    for name in (
        "copy of rest.fif",
        "sub-09_task-rest_meg.fif",
        "sub-01_acq-crosstalk_meg.fif",
        "sub-01_task-cut_meg.fif",
        "sub-01_task-empty_meg.fif",
        "._sub-01_task-rest_meg.fif",
    ):
        (meg / name).write_bytes(good.read_bytes())
    cut = meg / "sub-01_task-cut_meg.fif"
    cut.write_bytes(cut.read_bytes()[:30_000])
    (meg / "sub-01_task-empty_meg.fif").write_bytes(b"")
    (bids / "sub-03").mkdir()
    (bids / "derivatives" / "sub-01" / "meg").mkdir(parents=True)
    (bids / "derivatives" / "sub-01" / "meg" / good.name).write_bytes(b"")
    path = tmp_path / "store"
    output = prepare(bids, path)
    assert len(WindowStore.open(path).table) == 3
    log = read_log(path)
    assert len(log) == 7
    failed = log[log.outcome == "failed"]
    assert set(failed.index) == {"sub-01_task-cut", "sub-01_task-empty"}
    assert failed.reason.str.contains("Invalid tag").all()
    for name in failed.index:
        assert f"Failed: {name}" in output
    left_out = log[log.outcome == "left out"].reason
    assert "not a name that BIDS knows" in left_out["copy of rest"]
    assert "sub-09 in the folder of sub-01" in left_out["sub-09_task-rest"]
    assert "channels" in log.warnings["sub-01_task-rest"]
    # the same again: what is there stays, what fails fails, and strictly so
    before = contents(path)
    output = prepare(bids, path, "--strict", code=1)
    assert "2 of 7 recordings failed" in output
    assert contents(path) == before
    assert (
        sorted(read_log(path).outcome)
        == ["failed"] * 2 + ["left out"] * 2 + ["there"] * 3
    )


def test_formats(tmp_path):
    """Folders and files of all systems are recordings, what lies beside them is not."""
    pytest.importorskip("mne_bids")
    for name in (
        "01/meg/sub-01_task-rest_meg.ds/sub-01_task-rest_meg.res4",
        "01/meg/sub-01_task-rest_meg.ds/hz.ds/x_meg.fif",
        "02/ses-1/meg/sub-02_ses-1_task-rest_meg.con",
        "02/ses-1/meg/sub-02_ses-1_task-rest_markers.sqd",
        "02/ses-1/meg/sub-02_ses-1_task-rest_meg.json",
        "03/meg/sub-03_task-rest_run-1_meg/config",
        "03/meg/sub-03_task-rest_run-1_meg/c,rfDC",
        "04/meg/sub-04_task-rest_split-01_meg.fif",
        "04/meg/sub-04_task-rest_split-02_meg.fif",
        "04/meg/sub-04_acq-calibration_meg.dat",
        "04/anat/sub-04_T1w.fif",
    ):
        file = tmp_path / f"sub-{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    sources = find_sources(tmp_path, {})
    assert [(s.name, s.bids.extension, bool(s.left_out)) for s in sources] == [
        ("sub-01_task-rest", ".ds", False),
        ("sub-02_ses-1_task-rest", ".con", False),
        ("sub-03_task-rest_run-1", ".pdf", False),
        ("sub-04_task-rest", ".fif", False),
        ("sub-04_task-rest", ".fif", True),
    ]
    outcome = prepare(tmp_path, tmp_path / "store", "--strict", code=1)
    assert "4 of 5 recordings failed" in outcome  # they are empty


def test_goes_on(bids, tmp_path):
    """New recordings are added; what is there is not touched, nor done otherwise."""
    path = tmp_path / "store"
    prepare(bids, path)
    before = contents(path)
    write_bids(simulate(seed=4), bids, "03", "rest")
    prepare(bids, path, "--jobs", 2)
    after = contents(path)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert read_log(path).outcome.value_counts().to_dict() == {"there": 3, "written": 1}
    # other parameters belong in another store
    output = prepare(bids, path, "--lowpass", 40, "--strict", code=1)
    assert "another parameters" in output
    assert contents(path) == after
    # another data set's participant of the same name does, too
    other = tmp_path / "other"
    write_bids(simulate(6.0, seed=5), other, "01", "rest")
    assert "--prefix" in prepare(other, path, "--strict", code=1)
    assert contents(path) == after
    prepare(other, path, "--prefix", "b:", "--strict")
    assert WindowStore.open(path).table.participant.tolist()[0] == "b:sub-01"


def test_order_of_work_does_not_matter(bids, tmp_path):
    """One process or two, the store is the same, bit for bit."""
    prepare(bids, tmp_path / "one")
    prepare(bids, tmp_path / "two", "--jobs", 2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_by_bids_and_by_a_table(tmp_path):
    """A recording in two files, given by BIDS and then by name, is stored once."""
    root, path = tmp_path / "bids", tmp_path / "store"
    first = write_bids(simulate(4.0), root, "01", "rest")
    raw = simulate(60.0)
    first.unlink()
    raw.save(first, split_size="2MB", split_naming="bids", buffer_size_sec=1.0)
    parts = sorted(first.parent.glob("*.fif"))
    assert len(parts) > 1
    prepare(root, path, "--highpass", 0)
    table = tmp_path / "files.csv"
    for whose, task, code in (
        ("sub-01", "rest", 0),
        ("anna", "rest", 1),
        ("sub-01", "tones", 1),
    ):
        rows = [f"{part},{whose},{task}" for part in parts]
        table.write_text("\n".join(["file,participant,state", *rows]))
        output = prepare(table, path, "--highpass", 0, code=code)
        assert ("got the files of 'sub-01_task-rest'" in output) == bool(code)
        assert len(WindowStore.open(path)) == 60
    prepare(root, path, "--highpass", 0)


def test_killed_and_continued(tmp_path):
    """Killed with all its processes, and run again, it makes the same store."""
    root, path = tmp_path / "bids", tmp_path / "store"
    for number in range(8):
        write_bids(simulate(20.0, seed=number), root, f"{number:02d}", "rest")
    prepare(root, tmp_path / "whole")
    n_before = 0
    for _ in range(2):
        command = [sys.executable, "-m", "mne_megfm.commands.prepare", root, path]
        run = subprocess.Popen([*command, "-q", "--jobs", "2"], start_new_session=True)
        recordings = path / "recordings"
        deadline = time.monotonic() + 120
        while run.poll() is None and time.monotonic() < deadline:
            names = list(recordings.glob("sub-*")) if recordings.is_dir() else []
            if len(names) > n_before:
                break
            time.sleep(0.005)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        store = WindowStore.open(path, "a")
        assert len(store.table) > n_before
        assert store.damaged() == []
        assert len(store) == 20 * len(store.table)
        n_before = len(store.table)
    kept = contents(path)
    prepare(root, path, "--strict")
    assert kept.items() <= contents(path).items()
    assert contents(path) == contents(tmp_path / "whole")


def test_full_disk(bids, tmp_path, monkeypatch):
    """A store that cannot grow ends the command, and is taken up when it can."""
    path = tmp_path / "store"
    sync = os.fsync

    def full(descriptor):
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if is_file and any((path / "recordings").glob("sub-*")):
            raise OSError(28, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        output = prepare(bids, path, code=1)
    assert "No space left" in output
    assert "do the same again" in output
    assert read_log(path).outcome.tolist() == ["written", "failed"]
    assert len(list((path / "recordings").iterdir())) == 1
    prepare(bids, path, "--strict")
    prepare(bids, tmp_path / "whole")
    assert contents(path) == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "options, match",
    [
        (["--state", "rest"], "STATE=TASK"),
        (["--state", "a=rest", "--state", "b=rest"], "each task once"),
        (["--st-duration", "10"], "Expected maxwell"),
        (["--lowpass", "-1"], "lowpass to be above 0"),
        (["--highpass", "50", "--lowpass", "40"], "less than lowpass"),
        (["--jobs", "0"], "n_jobs"),
        (["--events", "song=*"], "song"),
    ],
)
def test_called_wrongly(bids, tmp_path, options, match):
    """Options that make no sense are refused before any work, with exit code 2."""
    output = prepare(bids, tmp_path / "store", *options, code=2)
    assert match in output
    assert not (tmp_path / "store").exists()


def test_wrong_sources(bids, tmp_path):
    """What is no source is said to be none, and no store is made."""
    path = tmp_path / "store"
    assert "not there" in prepare(tmp_path / "nothing", path, code=1)
    (tmp_path / "empty").mkdir()
    assert "got none" in prepare(tmp_path / "empty", path, code=1)
    table = tmp_path / "table.csv"
    table.write_text("file,who\na.fif,p\n")
    assert "add participant, state" in prepare(table, path, code=1)
    table.write_text("file,participant,state\na.fif,p,rest\nb/a.fif,p,rest\n")
    assert "'p_a' twice" in prepare(table, path, code=1)
    table.write_text("file,participant,state\na.fif,,rest\n")
    assert "line 2" in prepare(table, path, code=1)
    for content in (b"", b"\xff\xfe\x00"):
        table.write_bytes(content)
        assert "table.csv, got" in prepare(table, path, code=1)
    output = prepare(bids, path, "--state", "rest=sleep", code=1)
    assert "['sleep']; there are ['rest', 'restingstate', 'tones']" in output
    assert not path.exists()
    path.mkdir()
    (path / "thesis.tex").write_text("")
    assert "thesis.tex" in prepare(bids, path, code=1)


def test_needs_mne_bids(bids, tmp_path, monkeypatch):
    """Without mne-bids it is said how to get it; tables need none."""
    monkeypatch.setitem(sys.modules, "mne_bids", None)
    output = prepare(bids, tmp_path / "store", code=1)
    assert "pip install 'mne-megfm[archive]'" in output
    file = next(Path(bids).rglob("*_meg.fif"))
    table = tmp_path / "files.csv"
    table.write_text(f"file,participant,state\n{file},p,rest\n")
    prepare(table, tmp_path / "store", "--strict")


def test_formulas_in_the_log(tmp_path):
    """What a spreadsheet would run has an apostrophe in front in the log as well."""
    files = {"=1+1": "a_raw.fif", "@x": "b_raw.fif", "-2+3": "c_raw.fif", "p": "+f(x)"}
    lines = [f"{file},{name},rest" for name, file in files.items()]
    table = tmp_path / "files.csv"
    table.write_text("\n".join(["file,participant,state", *lines]))
    prepare(table, tmp_path / "store", code=1)
    log = read_log(tmp_path / "store").reset_index()
    assert sorted(log.participant) == sorted(["'=1+1", "'@x", "'-2+3", "p"])
    assert "'+f(x)" in set(log.file)
    assert all(name[0] == "'" for name in log.name[log.participant != "p"])
