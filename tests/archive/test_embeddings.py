"""Tests of embeddings of events, which become targets of windows."""

import numpy as np
import pandas as pd
import pytest

from mne_megfm.archive import prepare as prepare_in_python
from mne_megfm.archive.embeddings import EventEmbeddings
from mne_megfm.store import WindowStore

from ._archives import prepare, read_log, simulate, write_bids

VALUES = np.array([[0.5, -1.0, 2.0], [1.0, 1e-3, -3.5], [4.0, 4.0, 4.0]], np.float32)
ONSETS, CODES = [300, 700, 1100, 1700], [1, 2, 1, 3]
NAMES = {"image/cat": 1, "image/dog": 2, "fixation": 3}


def _table(names=("cat", "image/dog", "fixation"), values=VALUES):
    frame = pd.DataFrame(values, columns=[f"x{n}" for n in range(values.shape[1])])
    frame.insert(1, "event", names)  # wherever it stands
    return frame


@pytest.fixture(scope="module")
def bids(tmp_path_factory):
    """Return a data set of one participant who saw a cat, a dog and the cat again."""
    root = tmp_path_factory.mktemp("data") / "bids"
    events = np.c_[ONSETS, np.zeros_like(ONSETS), CODES]
    write_bids(simulate(8.0), root, "01", "images", events=events, event_id=NAMES)
    write_bids(simulate(3.0), root, "01", "rest")
    return root


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_targets_are_those_of_the_events(bids, tmp_path, suffix):
    """By the whole name, or by a part of it, also when it is done again."""
    file, path = tmp_path / f"clip{suffix}", tmp_path / "store"
    if suffix == ".parquet":
        _table().to_parquet(file)
    else:
        _table().to_csv(file, sep="\t" if suffix == ".tsv" else ",", index=False)
    args = [bids, path, "--state", "images=images", "--embeddings", file]
    prepare(*args, "--events", "images=image", "--strict")
    store = WindowStore.open(path)
    shown = np.array(CODES)[:3] - 1
    np.testing.assert_allclose(store.start, np.array(ONSETS[:3]) / 250 - 0.2)
    np.testing.assert_array_equal(store.targets, VALUES[shown])
    prepare(*args, "--events", "images=image")
    assert "there" in read_log(path)["outcome"].tolist()
    # other embeddings belong in another store
    _table(values=VALUES + 1).to_csv(tmp_path / "other.csv", index=False)
    args[-1] = tmp_path / "other.csv"
    output = prepare(*args, "--events", "images=image", code=1)
    assert "another parameters" in output


def test_event_without_embedding(bids, tmp_path, caplog):
    """A recording with an event that the table lacks fails, and says which."""
    events = {"images": ["*"]}
    with pytest.raises(RuntimeError, match="1 of . recordings failed"):
        prepare_in_python(
            bids,
            tmp_path / "store",
            states={"images": ["images"]},
            events=events,
            embeddings=_table(["cat", "dog", "grey"]),
            strict=True,
        )
    assert "for the event 'fixation', got none; name it" in caplog.text


def test_order_of_the_table_does_not_matter():
    """A table in another order is the same, one with another number is not."""
    one = EventEmbeddings.read(_table())
    table = _table().iloc[::-1]
    two = EventEmbeddings.read(table)
    assert one.digest() == two.digest()
    np.testing.assert_array_equal(
        one.of(["fixation", "image/cat"]), two.of(["fixation", "image/cat"])
    )
    table.iloc[0, 0] += 1e-3
    assert EventEmbeddings.read(table).digest() != one.digest()
    with pytest.raises(ValueError, match="event 'cat/fixation', got cat, fixation"):
        one.of(["cat/fixation"])


LISTS = _table()[["event"]].assign(x=[[0.0, 1.0]] * 3)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (_table().rename(columns={"event": "name"}), "Expected a column event"),
        (_table()[["event"]], "a column for each dimension"),
        (_table().iloc[:0], "a row for each event in the table, got none"),
        (_table(["cat", None, "dog"]), "got none in row 2"),
        (_table(values=np.array([[1.0], [np.inf], [0.0]])), "got 'inf' in row 2"),
        (_table().assign(x1=["a.jpg", "1", "2"]), "'x1' of the table, got 'a.jpg' in"),
        (LISTS, "'x' of the table, got '.0.0, 1.0.' in row 1"),
        (_table(["cat", "dog", "cat"]), "got 'cat' twice"),
    ],
)
def test_tables_that_are_none(table, match):
    """Names and numbers are looked at before any recording is."""
    with pytest.raises(ValueError, match=match):
        EventEmbeddings.read(table)


def test_file_that_has_no_embeddings(tmp_path):
    """Of a file, the same is said, with its name."""
    file = tmp_path / "clip.csv"
    _table().rename(columns={"event": "name"}).to_csv(file, index=False)
    with pytest.raises(ValueError, match=r"number.*clip.csv"):
        EventEmbeddings.read(file)
    _table()[["x0", "x1"]].to_csv(file, index=False)
    with pytest.raises(ValueError, match=r"Expected a column event.*clip.csv, got x0"):
        EventEmbeddings.read(file)


def test_all_windows_have_an_embedding(bids, tmp_path):
    """A state without events would leave a store that nothing can be trained on."""
    events = {"images": ["image"]}
    with pytest.raises(ValueError, match="got none of rest; .*--state"):
        prepare_in_python(bids, tmp_path / "store", events=events, embeddings=_table())
    assert not (tmp_path / "store").exists()


def test_embeddings_need_events(tmp_path):
    """Windows that follow each other have no event."""
    with pytest.raises(ValueError, match="Expected events with embeddings"):
        prepare_in_python([tmp_path], tmp_path / "store", embeddings=_table())
