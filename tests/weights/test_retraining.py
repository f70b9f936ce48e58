"""Tests of the command that trains the bundled weights anew."""

import numpy as np
import pytest
import torch
import train_windows as train_tiny

from mne_megfm.store import WindowStore
from mne_megfm.weights import load_checkpoint, read_config


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Shrink what the command does; return a function that runs it."""
    monkeypatch.setattr(train_tiny, "WINDOWS_PER_STATE", 3)
    monkeypatch.setattr(train_tiny, "AVERAGES_PER_STATE", 1)
    monkeypatch.setattr(train_tiny, "ARRAYS", ("ctf151", "opm64"))
    stages = tuple({**stage, "epochs": 1} for stage in train_tiny.STAGES)
    monkeypatch.setattr(train_tiny, "STAGES", stages)

    def run(folder="work", participants=2):
        args = ["--participants", str(participants), "--n-jobs", "1"]
        args += ["--steps-per-epoch", "1", "--batch-size", "4", "--fp32"]
        train_tiny.main([str(tmp_path / folder), *args])
        return tmp_path / folder

    return run


@pytest.mark.slow
def test_command(tiny, capsys):
    """One command gives a checkpoint with card; run again, it has nothing to do."""
    work = tiny()
    path = work / "megfm-tiny"
    model = load_checkpoint(path)
    training = read_config(path)["training"]
    assert training["steps"] == 2
    assert training["participants"] == 2
    for stage in training["stages"]:
        assert stage["windows"] == 2 * (3 * 3 + 2)
        assert stage["participants_held_out"] == 1
        assert {row["array"] for row in stage["counts"]} == {"ctf151", "opm64"}
    first, second = (load_checkpoint(work / f"stage-{n}") for n in (1, 2))
    assert torch.equal(first.embed.weight, second.embed.weight)
    assert not torch.equal(first.gate.weight, second.gate.weight)
    assert torch.equal(model.gate.weight, second.gate.weight)
    card = (path / "README.md").read_text("utf-8")
    assert "--participants 2 --steps-per-epoch 1 --batch-size 4" in card
    assert f"| 2.1 | {training['stages'][1]['train_loss'][0]:.4f} |" in card
    assert "log-error" in card and "decoder alone" in card
    assert "| auditory | ctf151 | 1 | 4 |" in card
    for phrase in ("Not for diagnosis", "Not the published study's weights", "--fp32"):
        assert phrase in card

    store = WindowStore.open(work / "store")
    assert len(store) == 22
    windows, n_valid = store.take(np.arange(22))
    assert (n_valid == 250).all()
    rms = np.sqrt(np.mean(windows.astype(float) ** 2, (1, 2)))
    assert (rms > 1e-15).all()
    assert np.median(rms) < 1e-11

    tiny()
    again = load_checkpoint(path)
    for name, array in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], array), name

    with pytest.raises(ValueError, match="Expected 1 participants in .*, got 2"):
        tiny(participants=1)
