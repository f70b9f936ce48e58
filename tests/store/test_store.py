"""Tests of the window store: what goes in comes out."""

import json
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mne_megfm.store import WindowStore

from .conftest import SHAPE

NAMES = ["s1-auditory", "s1-rest", "s2-rest", "s3-auditory", "s3-rest"]
COUNTS = [4, 7, 3, 1, 5]


@pytest.fixture
def truth(make_windows):
    """Return all windows in the order of the store."""
    parts = [make_windows(name, n) for name, n in zip(NAMES, COUNTS, strict=True)]
    return np.concatenate(parts)


def test_order_and_labels(store):
    """Recordings are ordered by name, and each window knows whose it is."""
    for opened in (store, WindowStore.open(store.path)):
        assert len(opened) == 20
        assert opened.table.name.tolist() == NAMES
        assert opened.table.n_windows.tolist() == COUNTS
        np.testing.assert_array_equal(opened.recording, np.repeat(range(5), COUNTS))
        assert opened.participant.tolist() == ["s1"] * 11 + ["s2"] * 3 + ["s3"] * 6
        assert (
            opened.state.tolist()
            == np.repeat(
                ["auditory", "rest", "rest", "auditory", "rest"], COUNTS
            ).tolist()
        )
        assert opened.n_valid.tolist() == [20] * 20
        assert opened.start[:5].tolist() == [0.0, 1.0, 2.0, 3.0, 0.0]
        assert (opened.n_sensors, opened.n_times, opened.sfreq) == (6, 20, 20.0)
        assert "20 windows, 5 recordings, 3 participants" in repr(opened)


@pytest.mark.parametrize(
    "index", [[0], range(20), [19, 0, 3, 3, 12, 4, 5, 6], [13, 14, 13], []]
)
def test_take(store, truth, tolerance, index):
    """Windows come in T in the order asked for, also twice."""
    index = np.array(list(index), int)
    data, n_valid = store.take(index)
    assert data.dtype == np.float32
    assert data.shape == (len(index), 6, 20)
    assert n_valid.tolist() == [20] * len(index)
    if len(index):
        assert (np.abs(data - truth[index]) <= tolerance(truth[index])).all()
        np.testing.assert_array_equal(store.take(index)[0], data)


@pytest.mark.parametrize("index", [[20], [-1], [0, 99]])
def test_take_refuses(store, index):
    """A window that is not there is an error, not another window."""
    with pytest.raises(IndexError, match="Expected windows from 0 to 19"):
        store.take(index)


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_stream(store, ahead, rng):
    """Read ahead or not, batches are the same and in order."""
    batches = [rng.integers(0, 20, 4) for _ in range(9)]
    got = list(store.stream(iter(batches), ahead=ahead))
    assert len(got) == 9
    for batch, (data, n_valid) in zip(batches, got, strict=True):
        np.testing.assert_array_equal(data, store.take(batch)[0])
        assert len(n_valid) == 4


def test_stream_hands_errors_on(store):
    """What goes wrong in a thread is raised where batches are used."""
    stream = store.stream([[0], [99], [1]], ahead=2)
    next(stream)
    with pytest.raises(IndexError, match="got 99"):
        next(stream)


def test_stream_can_be_left(store):
    """A stream that is not read to its end leaves no thread behind."""
    before = threading.active_count()
    stream = store.stream([[i % 20] for i in range(1000)])
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_short_windows(tmp_path, make_windows):
    """Ends that were not recorded are zero, and counted."""
    store = WindowStore.create(tmp_path / "store", **SHAPE)
    windows, n_valid = make_windows("x", 3), np.array([20, 5, 20])
    store.append(windows, name="x", participant="p", state="rest", n_valid=n_valid)
    data, got = store.take([0, 1, 2])
    assert got.tolist() == n_valid.tolist()
    assert (data[1, :, 5:] == 0).all()
    assert (data[1, :, :5] != 0).all()
    assert store.table.seconds.tolist() == [45 / 20]


def test_files_are_plain_safetensors(store, truth, tolerance):
    """Anyone can read the files with the safetensors library alone."""
    (path,) = store.path.glob("recordings/s1-rest.*")
    arrays = load_file(path)
    coding = arrays["coding"][..., None].astype(float)
    data = arrays["windows"] * coding[:, 0] + coding[:, 1]
    assert (np.abs(data - truth[4:11]) <= tolerance(truth[4:11])).all()
    assert arrays["n_valid"].tolist() == [20] * 7


def test_notes(tmp_path, make_windows):
    """What is known of a recording is kept, plain facts also in the table."""
    store = WindowStore.create(tmp_path / "store", **SHAPE)
    head = np.eye(4)
    head[2, 3] = 0.04
    facts = {
        "site": "Cincinnati",
        "array": "275 axial gradiometers",
        "dev_head_t": head,
        "provenance": {"file": "a.fif", "parameters": {"highpass": 1.0}},
    }
    store.append(
        make_windows("x"), name="x", participant="p/ä 1", state="rest", **facts
    )
    row = WindowStore.open(store.path).table.iloc[0]
    assert row.site == "Cincinnati"
    assert row.array == "275 axial gradiometers"
    assert row.participant == "p/ä 1"
    assert row.file == "a.fif"
    notes = store.notes("x")
    np.testing.assert_array_equal(notes["dev_head_t"], head)
    assert notes["provenance"] == facts["provenance"]


@pytest.mark.parametrize(
    "names", [["A", "a"], ["x" * 300, "x" * 301], ["ü ö/é:*?", "../up", ".", "-"]]
)
def test_awkward_names(tmp_path, make_windows, names):
    """Any name will do, and none leads out of the folder."""
    store = WindowStore.create(tmp_path / "store", **SHAPE)
    for name in names:
        store.append(make_windows(name), name=name, participant="p", state="rest")
        assert name in store
    assert sorted(store.table.name) == sorted(names)
    assert [p.name for p in tmp_path.iterdir()] == ["store"]
    files = list((tmp_path / "store" / "recordings").iterdir())
    assert len({file.name.lower() for file in files}) == len(names)


def test_append_only(store, make_windows):
    """A name is given once; what is there does not change."""
    before = {p: p.read_bytes() for p in store.path.rglob("*") if p.is_file()}
    with pytest.raises(FileExistsError, match="s1-rest"):
        store.append(make_windows("x"), name="s1-rest", participant="x", state="x")
    after = {p: p.read_bytes() for p in store.path.rglob("*") if p.is_file()}
    assert before == after


def test_append_shows_at_once(store, make_windows):
    """What was written is there for the one who wrote it."""
    assert len(store) == 20
    store.append(make_windows("a", 2), name="a", participant="s0", state="rest")
    assert len(store) == 22
    assert store.participant[0] == "s0"
    assert "a" in store
    assert "b" not in store


def test_equal_contents_are_equal_bytes(tmp_path, store, make_windows):
    """The same recordings, written in another order, make the same store."""
    other = WindowStore.create(tmp_path / "other", **SHAPE)
    for name, n in reversed(list(zip(NAMES, COUNTS, strict=True))):
        participant, state = name.split("-")
        other.append(
            make_windows(name, n), name=name, participant=participant, state=state
        )
    for path in store.path.rglob("*"):
        if path.is_file():
            twin = other.path / path.relative_to(store.path)
            assert twin.read_bytes() == path.read_bytes()
    assert other.fingerprint == store.fingerprint
    other.append(make_windows("y"), name="y", participant="y", state="rest")
    assert other.fingerprint != store.fingerprint


def test_pickle(store):
    """A store goes to other processes, without what it has read."""
    store.take([3])
    size = len(pickle.dumps(store))
    assert size < 1000
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again.take([3, 12])[0], store.take([3, 12])[0])
    assert again.mode == "a"


def test_split_is_by_participant(store):
    """No participant is on both sides, and no window is lost."""
    for seed in range(6):
        first, second = store.split(0.34, seed)
        assert len(set(store.participant[second])) == 1
        assert not set(store.participant[first]) & set(store.participant[second])
        assert sorted([*first, *second]) == list(range(20))


def test_empty(tmp_path):
    """An empty store is one."""
    store = WindowStore.create(tmp_path / "store")
    assert len(store) == 0
    assert store.take([])[0].shape == (0, 192, 250)
    assert "n_windows" in store.table
    assert "0 windows" in repr(WindowStore.open(tmp_path / "store"))


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"windows": np.zeros((0, 6, 20))}, "n of at least 1"),
        ({"windows": np.zeros((2, 5, 20))}, r"shape \(n, 6, 20\)"),
        ({"windows": np.full((1, 6, 20), np.nan)}, "finite windows"),
        ({"windows": np.zeros((1, 6, 20), int)}, "finite windows in T, got int"),
        ({"n_valid": [1, 2]}, "n_valid to be 1 numbers"),
        ({"n_valid": [0]}, "from 1 to 20"),
        ({"n_valid": [21]}, "from 1 to 20"),
        ({"start": [1.0, 2.0]}, "start to be 1 times"),
        ({"name": ""}, "Expected name to be a text"),
        ({"participant": 3}, "Expected participant to be a text, got 3"),
    ],
)
def test_append_refuses(tmp_path, changes, match):
    """What does not fit is not written."""
    store = WindowStore.create(tmp_path / "store", **SHAPE)
    params = {"windows": np.zeros((1, 6, 20)), "name": "x", "participant": "p"}
    params |= changes
    with pytest.raises(ValueError, match=match):
        store.append(params.pop("windows"), state="rest", **params)
    assert len(WindowStore.open(store.path)) == 0


def test_reading_alone(store, make_windows):
    """A store that is open for reading cannot be changed."""
    reader = WindowStore.open(store.path)
    with pytest.raises(ValueError, match="mode='a'"):
        reader.append(make_windows("z"), name="z", participant="z", state="z")
    with pytest.raises(ValueError, match="'r' or 'a'"):
        WindowStore.open(store.path, "w")


def test_create_needs_an_empty_folder(store, tmp_path):
    """Nothing is made a store that holds something else."""
    with pytest.raises(FileExistsError, match="open the store that is there"):
        WindowStore.create(store.path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="thesis.txt"):
        WindowStore.create(tmp_path / "mine")
    (tmp_path / "empty").mkdir()
    assert len(WindowStore.create(tmp_path / "empty")) == 0


def test_no_store(tmp_path):
    """A folder that is no store is said to be none."""
    with pytest.raises(FileNotFoundError, match="mne-megfm prepare"):
        WindowStore.open(tmp_path)


@pytest.mark.parametrize(
    "change, match",
    [
        ({"version": 3}, "version 2 .*got .*version 3; use"),
        ({"format": "other"}, "got 'other'"),
        ({"version": None}, "version None"),
    ],
)
def test_other_versions(store, change, match):
    """A store of another version is refused in words."""
    path = store.path / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=match):
        WindowStore.open(store.path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "nothing"])
def test_damaged_settings(store, text):
    """Settings that cannot be read are an error that names the file."""
    (store.path / "store.json").write_text(text)
    with pytest.raises(ValueError, match="store.json"):
        WindowStore.open(store.path)


@pytest.mark.parametrize("keep", [0, 4, 8, 60, 0.5, 0.999, 1.001])
def test_damaged_recordings(store, keep):
    """A recording that was cut, or grew, is found on opening, and named."""
    (path,) = store.path.glob("recordings/s1-rest.*")
    content = path.read_bytes() * 2
    size = len(content) // 2
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * size)])
    with pytest.raises(ValueError, match=r"s1-rest\..*damaged file.*delete it"):
        WindowStore.open(store.path)


def test_changed_bytes_are_found(store):
    """A flipped bit among the windows is found by reading all."""
    assert store.damaged() == []
    (path,) = store.path.glob("recordings/s3-rest.*")
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    assert WindowStore.open(store.path).damaged() == ["s3-rest"]


def test_recording_cut_while_open(store):
    """A file that gets shorter under the reader is an error, not a crash."""
    (path,) = store.path.glob("recordings/s3-rest.*")
    store.take([19])
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match="ends early"):
        store.take([19])


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
def test_memory_and_files_are_bounded(tmp_path):
    """Going through a store leaves neither files open nor windows in memory."""

    def used():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))

    store = WindowStore.create(tmp_path / "store")
    block = 1e-12 * np.random.default_rng(0).standard_normal((100, 192, 250))
    for i in range(6):
        store.append(block, name=f"r{i}", participant=f"p{i}", state="rest")
    order = np.random.default_rng(1).permutation(len(store))
    batches = np.array_split(order, 40)

    def read():
        for data, _ in store.stream(batches):
            assert data.shape[1:] == (192, 250)

    read()  # the allocator keeps what it needed once
    memory, n_files = used()
    for _ in range(3):
        read()
    # the store is 59 MB on disk, 115 MB as floats
    assert used()[0] - memory < 40e6
    assert used()[1] == n_files
