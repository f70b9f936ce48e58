"""`pretrain` itself refuses what the settings of a run refuse."""

import numpy as np
import pytest

from mne_megfm.pretraining import PretrainSettings
from mne_megfm.pretraining._checkpoint_writer import common_provenance
from mne_megfm.store import WindowStore

WRONG = {
    "max_epochs": [0, -1, 1.5, "3", True],
    "steps_per_epoch": [0, -2],
    "batch_size": [1, 2.5],
    "accumulate": [0, 7],
    "lr": [0, -1.0, np.inf, np.nan, "0.1"],
    "weight_decay": [-5, np.nan, 1e6],
    "clip": [-1, 0, np.inf],
    "warmup": [2, -0.1],
    "validation_fraction": [1.5, 0, 1.0],
    "max_valid": [0],
    "patience": [0],
    "random_state": [-1, 0.5],
    "save_minutes": [np.nan, -1.0],
}


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in WRONG.items() for value in values]
)
def test_refused(train, tmp_path, name, value):
    """A value out of range is named before the folder of the run is made."""
    with pytest.raises(ValueError, match=f"Expected .*{name}"):
        train(directory=tmp_path / "run", **{name: value})
    assert not (tmp_path / "run").exists()


def test_numbers_of_numpy(train):
    """Numbers as NumPy has them will do."""
    _, history = train(
        max_epochs=np.int64(1), lr=np.float32(1e-3), random_state=np.uint32(3)
    )
    assert history.epoch == [1]


def test_mark_of_an_editor(tmp_path):
    """A byte order mark, as some editors write, is none of the settings."""
    path = tmp_path / "x.toml"
    path.write_text("lr = 0.5\n", encoding="utf-8-sig")
    assert PretrainSettings.read(path).lr == 0.5


def test_card_of_one_recording(tmp_path):
    """What goes into a checkpoint does not name a participant who is alone."""
    store = WindowStore.create(tmp_path / "store", n_sensors=2, n_times=4, sfreq=4.0)
    facts = {"file": "sub-ann_meg.fif", "sha256": "0f", "bytes": 9, "parameters": {}}
    windows = np.arange(16.0).reshape(2, 2, 4)
    store.append(windows, name="a", participant="ann", state="rest", provenance=facts)
    assert common_provenance(store) == {"parameters": {}}
