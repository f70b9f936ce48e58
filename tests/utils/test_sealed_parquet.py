"""Tests that damage to a table of features in parquet is found."""

import os

import numpy as np
import pandas as pd
import pytest

from mne_megfm.utils.tables import read_features, write_table

pytest.importorskip("pyarrow")


@pytest.fixture
def table():
    """Return a small table with what pandas keeps beside it."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((3, 2)), columns=["feat_0", "feat_1"])
    frame.insert(0, "participant", ["s1", "s2", "0" * 64])
    frame.attrs = {"weights": "mine", "reading": {"highpass": None}}
    return frame


def test_changed_bits(table, tmp_path):
    """Data, names, notes, the hash: no changed bit goes unseen."""
    path = tmp_path / "table.parquet"
    write_table(table, path)
    whole = read_features(path)
    pd.testing.assert_frame_equal(whole, table, check_dtype=False)
    assert whole.attrs == table.attrs | {"covariates": []}
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    places = [*rng.integers(0, 8 * len(content), 150), *range(0, 8 * len(content), 97)]
    for place in places:
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="table.parquet"):
            read_features(path)


def test_tables_of_other_programs(table, tmp_path):
    """These have no hash, also where they were made of one that has."""
    path = tmp_path / "table.parquet"
    write_table(table, path)
    frame = pd.read_parquet(path)
    frame["feat_0"] = 0.0
    frame.to_parquet(path)
    assert (read_features(path)["feat_0"] == 0.0).all()


def test_nothing_is_left_where_it_fails(table, tmp_path, monkeypatch):
    """A disk that is full leaves the old table."""
    path = tmp_path / "table.parquet"
    write_table(table, path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_table(table.iloc[:1], path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]
