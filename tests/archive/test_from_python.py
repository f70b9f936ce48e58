"""`prepare` called from Python."""

import numpy as np
import pandas as pd
import pytest

from mne_megfm.archive import prepare
from mne_megfm.store import WindowStore

from ._archives import (
    assert_stored,
    contents,
    expected,
    prepare as prepare_in_shell,
    simulate,
)


@pytest.fixture
def files(tmp_path):
    """Save two recordings, and something else that is named like one."""
    paths = []
    for number in range(2):
        path = tmp_path / f"sub-0{number}_task-rest_meg.fif"
        simulate(seed=number).save(path, verbose="error")
        paths.append(path)
    (tmp_path / "sub-02_task-rest_meg.fif").write_bytes(b"no recording")
    return [*paths, tmp_path / "sub-02_task-rest_meg.fif"]


def _table(files):
    return pd.DataFrame(
        {"file": files, "participant": ["a", "b", "c"], "state": "rest"}
    )


def test_table(files, tmp_path):
    """A table in memory gives windows, and outcomes in the order of its rows."""
    table = _table(files).iloc[::-1]
    store, outcomes = prepare(table, tmp_path / "store", highpass=None)
    assert outcomes["participant"].tolist() == ["c", "b", "a"]
    assert outcomes["outcome"].tolist() == ["failed", "written", "written"]
    assert outcomes["windows"].tolist()[1:] == [4, 4]
    assert outcomes["seconds"].tolist()[1:] == [4.0, 4.0]
    assert outcomes["reason"][0]
    for number, name in enumerate("ab"):
        stored = f"{name}_{files[number].stem}"
        assert_stored(store, stored, expected(simulate(seed=number)))
    again, outcomes = prepare(table, tmp_path / "store", highpass=None)
    assert outcomes["outcome"].tolist() == ["failed", "there", "there"]
    assert len(again) == len(store) == 8


def test_same_as_in_the_shell(files, tmp_path):
    """The command writes the same files from the same table."""
    table = _table([file.name for file in files])[:2]
    table.to_csv(tmp_path / "table.csv", index=False)
    options = {"lowpass": 40.0, "notch": 50.0, "site": "here", "prefix": "x-"}
    prepare(tmp_path / "table.csv", str(tmp_path / "a"), **options)
    shell = ("--lowpass", 40, "--notch", 50, "--site", "here", "--prefix", "x-")
    prepare_in_shell(tmp_path / "table.csv", tmp_path / "b", *shell)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_files(files, tmp_path):
    """Names of files tell participant and state; without, a table is asked for."""
    store, outcomes = prepare(files[:2], tmp_path / "store", states={"Ruhe": ["rest"]})
    assert store.table["participant"].tolist() == ["sub-00", "sub-01"]
    assert store.table["name"].tolist() == ["sub-00_task-rest", "sub-01_task-rest"]
    assert set(store.table["state"]) == set(outcomes["state"]) == {"Ruhe"}
    nameless = files[0].rename(tmp_path / "mine_raw.fif")
    with pytest.raises(ValueError, match=r"sub-<participant>.*got mine_raw.fif"):
        prepare([nameless], tmp_path / "other")
    with pytest.raises(TypeError, match="save recordings first"):
        prepare([simulate()], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_strict(files, tmp_path):
    """Of failures an error is made at the end; what was written stays."""
    with pytest.raises(RuntimeError, match="1 of 3 recordings failed"):
        prepare(_table(files), tmp_path / "store", strict=True)
    assert len(WindowStore.open(tmp_path / "store").table) == 2
    with pytest.raises(RuntimeError, match="1 of 1 recordings failed"):
        prepare(_table(files)[2:], tmp_path / "none")


@pytest.mark.parametrize(
    "options, match",
    [
        ({"highpass": 50.0, "lowpass": 40.0}, "highpass to be less than lowpass"),
        ({"lowpass": -1.0}, "lowpass to be above 0"),
        ({"notch": np.inf}, "notch to be above 0"),
        ({"notch": np.nan}, "notch to be above 0"),
        ({"st_duration": 10.0}, "maxwell with st_duration"),
        ({"states": {"a": ["rest"], "b": ["rest"]}}, "'rest' twice"),
        ({"events": {"song": ["*"]}}, r"states that there are \(rest\), got song"),
        ({"n_jobs": 0}, "n_jobs"),
    ],
)
def test_options_that_make_no_sense(files, tmp_path, options, match):
    """They are refused before any work."""
    with pytest.raises(ValueError, match=match):
        prepare(_table(files), tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()
