"""Tests of the weights that come with the package."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from model_card import score_recording

from mne_megfm.interpret import MASKS
from mne_megfm.models import ModelConfig
from mne_megfm.sensors import canonical_kernel
from mne_megfm.weights import (
    available_weights,
    load_checkpoint,
    read_card,
    read_config,
    save_checkpoint,
    weights_path,
)

NAME = "megfm-tiny"


@pytest.fixture(scope="module")
def folder():
    """Return the folder of the bundled weights."""
    return weights_path(NAME)


@pytest.fixture(scope="module")
def model():
    """Return the bundled model."""
    return load_checkpoint(weights_path(NAME))


# -- finding them -----------------------------------------------------------------
def test_names():
    """Each folder beside the code is a set of weights that can be named."""
    assert NAME in available_weights()
    for name in available_weights():
        assert weights_path(name).name == name
        assert (weights_path(name) / "model.safetensors").is_file()


def test_unknown_name():
    """An unknown name says what there is, and that no network is asked."""
    with pytest.raises(FileNotFoundError, match="megfm-tiny.*'megfm-huge'; nothing is"):
        weights_path("megfm-huge")


def test_folder_of_a_checkpoint(tmp_path, monkeypatch):
    """A folder with a checkpoint is taken as it is, also the one that we are in."""
    (tmp_path / "config.json").touch()
    assert weights_path(tmp_path) == tmp_path
    assert weights_path(str(tmp_path)) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert weights_path(".").resolve() == tmp_path


@pytest.mark.parametrize("weights", ["", ".", "..", "sub", "file", "~", "/"])
def test_what_holds_no_checkpoint(tmp_path, monkeypatch, weights):
    """A folder without one, or no name at all, is refused at once with what it is."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    got = {"": "an empty name", "file": "a file"}.get(
        weights, f"the folder {Path(weights).expanduser().resolve()}, which has neither"
    )
    with pytest.raises(FileNotFoundError, match=f"got {re.escape(got)}"):
        weights_path(weights)


@pytest.mark.parametrize(
    "text, shown",
    [
        ("---\nlicense: other\ntags: [MEG]\n---\n\n# Mine\n", "# Mine\n"),
        ("---\r\nlicense: other\r\n---\r\n# Mine\n", "# Mine\n"),
        ("# Mine\n\n---\n\nbelow a line\n", "# Mine\n\n---\n\nbelow a line\n"),
        ("---\nwithout an end\n", "---\nwithout an end\n"),
        ("---\na: b\n---\n# Mine\n---\nc\n---\n", "# Mine\n---\nc\n---\n"),
        (None, ""),
    ],
)
def test_card_without_its_head(tmp_path, text, shown):
    """The YAML for programs is no part of what is shown; lines in the text are."""
    (tmp_path / "config.json").touch()
    if text is not None:
        (tmp_path / "README.md").write_bytes(text.encode())
    assert read_card(tmp_path) == shown


# -- what they are ----------------------------------------------------------------
def test_files(folder):
    """There are safetensors, a configuration and a card; 20 MB at most."""
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(files) == {
        "model.safetensors",
        "config.json",
        "preprocessing.json",
        "README.md",
        "participant.safetensors",
        "participant.json",
        "posterior.safetensors",
        "posterior.json",
    }
    assert sum(files.values()) <= 20e6


def test_model(model):
    """It has at most 5 million parameters, of the default sizes, in evaluation."""
    assert sum(p.numel() for p in model.parameters()) <= 5_000_000
    assert model.config == ModelConfig()
    assert not model.training
    np.testing.assert_allclose(model.kernel, canonical_kernel(), atol=1e-4)


def test_token_axes_are_fitted(model):
    """The axes for compact pooling differ between regions; mean tokens are known."""
    assert model.token_axes.shape == (24, 16, 128)
    start = torch.eye(128)[:16]
    for axes in model.token_axes:
        assert torch.linalg.matrix_rank(axes) == 16
        assert not torch.allclose(axes, start, atol=0.1)
    assert not torch.allclose(model.token_axes[0], model.token_axes[1], atol=0.1)
    assert (model.token_mean.norm(dim=-1) > 0).all()


def test_writes_back_the_same(model, folder, tmp_path):
    """Saving what was loaded gives the same arrays."""
    other = load_checkpoint(save_checkpoint(tmp_path / "again", model))
    for name, array in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], array), name


def test_training_is_told(folder):
    """The configuration says what the weights have seen."""
    training = read_config(folder)["training"]
    assert training["name"] == NAME
    assert training["random_state"] > 0
    assert training["participants"] >= 100
    assert training["steps"] > 0
    for stage in training["stages"]:
        assert len(stage["valid_loss"]) == stage["epochs"]
        best = stage["valid_loss"][stage["best_epoch"] - 1]
        assert best == min(stage["valid_loss"])
    import train_windows as train_tiny

    assert training["random_state"] == train_tiny.RANDOM_STATE
    assert training["arrays"] == list(train_tiny.ARRAYS)


def test_card(folder):
    """The card has data, seed, command, steps, loss, hardware, licence, limits."""
    card = (folder / "README.md").read_text("utf-8")
    training = json.loads((folder / "config.json").read_text("utf-8"))["training"]
    text = re.sub(r"\s+", " ", card).lower()
    for phrase in (
        "not for diagnosis",
        "not the published study's weights",
        "simulated",
        "seed",
        "steps",
        "python tools/train_windows.py",
        "loss curve",
        "hardware",
        "bsd-3-clause",
        str(training["random_state"]),
        str(training["steps"]),
        f"{min(training['stages'][-1]['valid_loss']):.4f}",
    ):
        assert phrase in text, phrase


# -- how good they are --------------------------------------------------------------
RECORDINGS = (
    "kit157-auditory_raw.fif",
    "vectorview306-audvis-prestim_raw.fif",
    "4d248-solaris_raw.fif",
    "ctf274_raw.fif",
)


@pytest.fixture(scope="module")
def scores(data_dir, folder):
    """Return a function that scores a recording as for the model card, once."""
    known = {}

    def score(name):
        if name not in known:
            known[name] = score_recording(folder, Path(data_dir) / name)
        return known[name]

    return score


@pytest.mark.slow
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", RECORDINGS)
def test_beats_interpolation_on_real_recordings(scores, name, mask):
    """Hidden parts of recordings never seen are predicted better than by lines.

    Also, to within the spread over masks, better than nothing, and than network, Wiener
    interpolation and field alone, the field at the best of six regularisations.
    """
    row = scores(name)[mask]
    (model, spread), others = row["model"], [mean for mean, _ in row.values()]
    assert model > row["time"][0], row
    assert model > max(0.0, *others) - max(spread, 0.01), row


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
def test_figures_of_the_card(scores, folder, name):
    """The card has the figures that are measured."""
    told = read_config(folder)["training"]["reconstruction"][Path(name).stem]
    for mask, row in scores(name).items():
        for column, (mean, _) in row.items():
            assert told[mask][column][0] == pytest.approx(mean, abs=0.005)
