"""Tests of the command that trains the bundled weights anew."""

import json

import numpy as np
import pytest
import torch

from mne_megfm.commands import train_tiny
from mne_megfm.pretraining import load_checkpoint, read_config


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Shrink what the command does; return a function that runs it."""
    monkeypatch.setattr(train_tiny, "WINDOWS_PER_STATE", 3)
    monkeypatch.setattr(train_tiny, "AVERAGES_PER_STATE", 1)
    monkeypatch.setattr(train_tiny, "ARRAYS", ("ctf151", "opm64"))
    stages = tuple(stage._replace(epochs=1) for stage in train_tiny.STAGES)
    monkeypatch.setattr(train_tiny, "STAGES", stages)

    def run(folder="work", participants=2):
        args = ["--participants", str(participants), "--n-jobs", "1"]
        args += ["--steps-per-epoch", "1", "--batch-size", "4", "--fp32"]
        train_tiny.main([str(tmp_path / folder), *args])
        return tmp_path / folder

    return run


def test_command(tiny, capsys):
    """One command gives a checkpoint with card; run again, it has nothing to do."""
    work = tiny()
    path = work / "megfm-tiny"
    model = load_checkpoint(path)
    training = read_config(path)["training"]
    assert training["steps"] == 2
    assert training["windows"] == 2 * (3 * 3 + 2)
    assert training["participants_held_out"] == 1
    card = (path / "README.md").read_text("utf-8")
    assert "--participants 2 --steps-per-epoch 1 --batch-size 4" in card
    assert f"| 2.1 | {training['stages'][1]['train_loss'][0]:.4f} |" in card
    assert "LogErrorLoss" in card and "decoder alone" in card
    assert "NoiseAndCropping" in card
    for phrase in ("Not for diagnosis", "Not the published study's weights", "--fp32"):
        assert phrase in card

    store = np.load(work / "windows.npy")
    assert store.dtype == np.float16
    assert store.shape == (22, 192, 250)
    rms = np.sqrt(np.mean(store.astype(float) ** 2, (1, 2)))  # pT
    assert (rms > 1e-3).all()
    assert np.median(rms) < 10

    tiny()
    again = load_checkpoint(path)
    for name, array in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], array), name

    (work / "done.json").write_text(json.dumps(2))
    with pytest.raises(ValueError, match="Expected windows of shape"):
        tiny(participants=3)
