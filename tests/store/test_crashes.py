"""Tests that the store outlives its writers: these are really killed."""

import errno
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from mne_megfm.store import WindowStore

from ._killed import append, windows_of
from .conftest import SHAPE

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


ROOT = Path(__file__).parents[2]


def _command(action, *args):
    return [sys.executable, "-m", "tests.store._killed", action, *map(str, args)]


def _run(action, *args):
    done = subprocess.run(
        _command(action, *args), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _check(path, names, n=7):
    """The store opens and holds exactly the windows of some recordings."""
    store = WindowStore.open(path, "a")
    assert store.table.name.tolist() == sorted(names)
    assert store.damaged() == []
    for number, name in enumerate(sorted(names)):
        data, _ = store.take(np.flatnonzero(store.recording == number))
        windows = windows_of(name, n)
        bound = np.ptp(windows, axis=-1, keepdims=True) / 1e5
        assert (np.abs(data - windows) <= bound).all()
    assert not list(path.rglob("*.part"))
    return store


def _contents(path):
    return {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture
def path(tmp_path):
    """Return the folder of an empty store."""
    return WindowStore.create(tmp_path / "store", **SHAPE).path


def test_killed_at_every_line(path):
    """Wherever in a commit the writer is killed, a recording is whole or not there."""
    outcomes = json.loads(_run("every_line", path))
    killed = [name for name, was_killed, _ in outcomes if was_killed]
    assert len(killed) == len(outcomes) - 1 > 15
    reported = [name for name, _, written in outcomes if written]
    assert reported == [outcomes[-1][0]]
    store = WindowStore.open(path, "a")
    there = store.table.name.tolist()
    assert set(reported) <= set(there)
    # some were killed before the recording had its name, and some after
    assert 10 < len(killed) - len(set(there) & set(killed)) < len(killed)
    _check(path, there)
    before = _contents(path)
    # written again, what is missing comes, and what is there stays as it is
    for name, *_ in outcomes:
        if name not in store:
            append(store, name)
    assert before.items() <= _contents(path).items()
    _check(path, [name for name, *_ in outcomes])


def test_killed_at_any_time(path, rng):
    """Killed again and again, a writer goes on; all that it reported stays."""
    reported, first, before = [], 0, _contents(path)
    for delay in rng.uniform(0.0, 0.12, 6):
        writer = subprocess.Popen(
            _command("without_end", path, first, 300),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        lines = [writer.stdout.readline()]  # until it is at work
        time.sleep(delay)
        writer.kill()
        lines += writer.communicate()[0].split("\n")
        assert writer.returncode == -9
        new = [line.strip() for line in lines if line.strip()]
        reported += new
        there = WindowStore.open(path, "a").table.name.tolist()
        assert set(reported) <= set(there)
        assert len(there) - len(reported) <= 6  # written, not reported any more
        after = _contents(path)
        assert before.items() <= after.items()
        before, first = after, len(there)
    assert len(reported) >= 6
    _check(path, there, 300)


def test_killed_while_created(tmp_path):
    """A store that was killed before it was one can be made."""
    path = tmp_path / "store"
    (path / "recordings").mkdir(parents=True)
    (path / ".store.json.0123456789ab.part").write_text("{")
    with pytest.raises(FileNotFoundError, match="store.json"):
        WindowStore.open(path)
    assert len(WindowStore.create(path, **SHAPE)) == 0
    _check(path, [])
    # or just after: it is one, and what is left goes when it is written to
    (path / ".store.json.0123456789ab.part").write_text("{")
    _check(path, [])


def test_several_writers(path):
    """Processes that write the same recordings at a time write each once."""
    writers = [
        subprocess.Popen(
            _command("all_names", path, 60),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    written = [writer.communicate()[0].split() for writer in writers]
    assert all(writer.returncode == 0 for writer in writers)
    names = [f"p{number:04d}-rest" for number in range(60)]
    assert sorted(sum(written, [])) == names
    _check(path, names)


def test_living_writers_are_spared(path):
    """Opening a store does not sweep up what another process is writing."""
    import fcntl

    part = path / "recordings" / ".x.part"
    with open(part, "wb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        WindowStore.open(path, "a")
        assert part.exists()
        WindowStore.open(path)
    assert part.exists()
    WindowStore.open(path, "r")
    assert part.exists()  # reading changes nothing
    WindowStore.open(path, "a")
    assert not part.exists()


def test_full_disk(path):
    """A recording that does not fit is an error and leaves nothing behind."""
    number, n_windows = json.loads(_run("too_large", path, 50_000))
    assert number in (errno.EFBIG, errno.ENOSPC)
    assert n_windows == 7
    _check(path, ["small-rest"])


def test_read_only_folder():
    """Where nothing may be written, reading works and writing says why not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "store"
        append(WindowStore.create(path, **SHAPE), "s1-rest")
        os.chmod(path / "recordings", 0o555)
        for file in path.rglob("*.*"):
            os.chmod(file, 0o444)
        try:
            text, n_windows, n_read = json.loads(_run("read_only", path))
        finally:
            os.chmod(path / "recordings", 0o755)
        assert "denied" in text
        assert "recordings" in text
        assert (n_windows, n_read) == (7, 1)
        _check(path, ["s1-rest"])


def test_hard_links_are_not_needed(path, monkeypatch):
    """On file systems without hard links, a name is still given once."""

    def refuse(*_):
        raise OSError(errno.EPERM, "not supported")

    monkeypatch.setattr("mne_megfm.store._shard.os.link", refuse)
    store = WindowStore.open(path, "a")
    append(store, "s1-rest")
    before = _contents(path)
    with pytest.raises(FileExistsError, match="s1-rest"):
        append(store, "s1-rest")
    assert _contents(path) == before
    _check(path, ["s1-rest"])
