"""Tests of the command that trains the participant encoder anew."""

import shutil

import numpy as np
import pytest
import simulated_participants as simulated
import torch
import train_participants

from mne_megfm.weights import (
    PARTICIPANT_ENCODER,
    load_checkpoint,
    weights_path,
)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Shrink what the command does; return a function that runs it."""
    draw = simulated.draw_settings

    def small(number):
        n_epochs = {"rest": 2, "auditory": 6, "somatosensory": 7}
        return draw(number) | {"n_epochs": n_epochs, "array": "opm64"}

    monkeypatch.setattr(simulated, "draw_settings", small)
    weights = tmp_path / "weights"
    shutil.copytree(weights_path("megfm-tiny"), weights)

    def run():
        args = ["--participants", "4", "--epochs", "2", "--steps-per-epoch", "1"]
        args += ["--batch-size", "2", "--held-out", "1", "--weights", str(weights)]
        train_participants.main([str(tmp_path / "work"), *args])
        return PARTICIPANT_ENCODER.load(weights, load_checkpoint(weights).kernel)

    return run


def test_command(tiny, tmp_path):
    """One command puts an encoder beside window weights; run again, it is the same."""
    encoder, training = tiny()
    assert training["participants"] == 4 and training["steps"] == 2
    assert len(training["valid_loss"]) == 2
    assert encoder.measures_map[1:].abs().sum() > 0 and (encoder.bands_scale != 1).all()
    files = sorted(p.name for p in (tmp_path / "work").iterdir())
    assert files[:4] == [f"{simulated.FIRST + i:05d}.npz" for i in range(4)]

    stored = simulated.read_person(tmp_path / "work" / files[0])
    state = "auditory" if "auditory" in stored else "somatosensory"
    assert stored[state].shape[1:] == (192, 250)
    assert 1e-15 < np.abs(stored[state]).mean() < 1e-10  # tesla
    assert (np.diff(stored[f"{state}_times"]) >= 1.0).all()  # in their order

    again, _ = tiny()
    for name, value in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_settings_vary_and_are_fixed_by_the_number():
    """Protocols differ between participants; a number always gives the same."""
    some = [simulated.draw_settings(number) for number in range(450, 490)]
    assert some[3] == simulated.draw_settings(453)
    for name in ("tmin", "train_length", "isi_jitter", "noise", "array"):
        assert len({entry[name] for entry in some}) > 3, name
    assert len({tuple(entry["states"]) for entry in some}) > 3
    assert all({"auditory", "somatosensory"} & set(e["states"]) for e in some)
