"""Tests of checkpoints: what is written is read, and nothing else."""

import json
import pickle
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from mne_megfm.pretraining import (
    _checkpoint,
    load_checkpoint,
    read_config,
    save_checkpoint,
)

FORMAT = _checkpoint.FORMAT


@pytest.fixture
def saved(make_model, tmp_path):
    """Return a model and the checkpoint that it was written to."""
    model = make_model()
    model.set_token_axes(
        torch.randn_like(model.token_mean), torch.randn_like(model.token_axes)
    )
    path = save_checkpoint(tmp_path / "mine", model, training={"epochs": 3})
    return model, path


def _change(path, function):
    """Rewrite the arrays of a checkpoint."""
    state = load_file(path / "model.safetensors")
    function(state)
    save_file(state, path / "model.safetensors", metadata={"format": FORMAT})


def _content(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_round_trip(saved):
    """All arrays come back bit by bit, with the configuration, ready to use."""
    model, path = saved
    other = load_checkpoint(path)
    assert other.config == model.config
    assert not other.training
    for name, array in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], array), name
    assert read_config(path)["training"] == {"epochs": 3}
    assert {file.name for file in path.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
    }


def test_card(make_model, tmp_path):
    """The card is written as given."""
    path = save_checkpoint(tmp_path / "mine", make_model(), card="# Mine\n")
    assert (path / "README.md").read_text() == "# Mine\n"


def test_files_have_usual_rights(saved, tmp_path):
    """Others may read the weights if they may read new files at all."""
    (tmp_path / "other").touch()
    usual = stat.S_IMODE((tmp_path / "other").stat().st_mode)
    for file in saved[1].iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == usual, file.name


def test_overwrite(saved, make_model):
    """A checkpoint is replaced only when that is asked for."""
    _, path = saved
    before = _content(path)
    other = make_model(1, d_model=16)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_checkpoint(path, other)
    assert _content(path) == before
    save_checkpoint(path, other, overwrite=True)
    assert load_checkpoint(path).config.d_model == 16
    with pytest.raises(FileExistsError, match="got a file"):
        save_checkpoint(path / "README.md", other, overwrite=True)


@pytest.mark.parametrize("moment", ["save", "json.dumps"])
def test_crash_leaves_the_old_one(saved, make_model, monkeypatch, moment):
    """A crash while writing leaves the checkpoint that was there, and no rest."""
    model, path = saved
    before = _content(path)

    def crash(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(f"mne_megfm.pretraining._checkpoint.{moment}", crash)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, make_model(1), overwrite=True)
    monkeypatch.undo()
    assert _content(path) == before
    assert torch.equal(load_checkpoint(path).embed.weight, model.embed.weight)


def test_missing(tmp_path, saved):
    """A folder without a checkpoint says which files it lacks."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"config.json and model.safetensors"):
        load_checkpoint(tmp_path / "empty")
    (saved[1] / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="but model.safetensors is missing"):
        load_checkpoint(saved[1])


def test_runs_no_pickle(saved, tmp_path):
    """Pickles in place of weights are refused, not run."""

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "run"), "w"))

    (saved[1] / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="Expected safetensors .* damaged"):
        load_checkpoint(saved[1])
    torch.save({"evil": Evil()}, saved[1] / "model.safetensors")
    with pytest.raises(ValueError, match="Expected safetensors .* damaged"):
        load_checkpoint(saved[1])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("keep", [0, 7, 500, -1])
def test_truncated(saved, keep):
    """A file that was cut anywhere is refused."""
    path = saved[1] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="Expected safetensors .* damaged"):
        load_checkpoint(saved[1])


def _missing(state):
    del state["embed.weight"]


def _extra(state):
    state["more.weight"] = torch.zeros(3)


def _shape(state):
    state["embed.weight"] = state["embed.weight"][:, :-1].contiguous()


def _renamed(state):
    for name in list(state):
        state[f"module.{name}"] = state.pop(name)


@pytest.mark.parametrize(
    "change, lost, name",
    [
        (_missing, 1, "embed.weight"),
        (_extra, 0, "more.weight"),
        (_shape, 1, "embed.weight"),
        (_renamed, None, "blocks.0"),
    ],
)
def test_arrays_must_match(saved, change, lost, name):
    """Missing, unknown and misshapen arrays are refused with how many matched."""
    model, path = saved
    n = len(model.state_dict())
    matched = 0 if lost is None else n - lost
    _change(path, change)
    with pytest.raises(
        ValueError, match=rf"Expected {n} arrays.*only {matched} match.*{name}"
    ):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_arrays_must_be_finite(saved, value):
    """Weights with NaN or infinity are refused by name."""

    def spoil(state):
        state["norm.bias"][3] = value

    _change(saved[1], spoil)
    with pytest.raises(ValueError, match="finite weights.*norm.bias"):
        load_checkpoint(saved[1])


def test_version(saved):
    """Another format, in either file, is refused by name."""
    path = saved[1]
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"format": "mne-megfm 9"}))
    with pytest.raises(ValueError, match="format 'mne-megfm 1'.*got 'mne-megfm 9'"):
        load_checkpoint(path)
    (path / "config.json").write_text(json.dumps(config))
    state = load_file(path / "model.safetensors")
    save_file(state, path / "model.safetensors")
    with pytest.raises(ValueError, match="got None; the folder mixes"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "text, match",
    [
        ("{", "Expected JSON"),
        ("\udcff", "Expected JSON"),
        ("[]", "got \\[\\]"),
        ("{}", "got None"),
        (json.dumps({"format": FORMAT}), "table 'model'.*got None"),
        (json.dumps({"format": FORMAT, "model": {}}), "table 'training'"),
        (
            json.dumps({"format": FORMAT, "model": {"a": 1}, "training": {}}),
            "fields of ModelConfig",
        ),
    ],
)
def test_damaged_config(saved, text, match):
    """A configuration that is none is refused with what is wrong."""
    data = text.encode("utf-8", "surrogateescape")
    (saved[1] / "config.json").write_bytes(data)
    with pytest.raises(ValueError, match=match):
        load_checkpoint(saved[1])


def test_weights_of_other_sizes(saved):
    """Weights that are not those of the configuration are refused."""
    path = saved[1]
    config = json.loads((path / "config.json").read_text())
    config["model"]["n_layers"] = 2
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="blocks.1"):
        load_checkpoint(path)
