"""Tests of checkpoints: what is written is read, and nothing else."""

import hashlib
import json
import os
import pickle
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from mne_megfm.utils import files as _files
from mne_megfm.weights import (
    checkpoint as _checkpoint,
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


def _change(path, function, metadata=None):
    """Rewrite the arrays of a checkpoint, with a hash that fits."""
    state = load_file(path / "model.safetensors")
    function(state)
    metadata = {"format": FORMAT} if metadata is None else metadata
    save_file(state, path / "model.safetensors", metadata=metadata)
    _sign(path)


def _sign(path):
    """Give the configuration the hash of the weights as they are."""
    data = (path / "model.safetensors").read_bytes()
    _write(path, sha256=_read(path)["sha256"] | {"model.safetensors": _sha256(data)})


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


def _read(path):
    return json.loads((path / "config.json").read_text())


def _write(path, **changes):
    """Change entries of the configuration, and give it the hash of its own text."""
    content = {"digest": "0" * 64} | {**_read(path), **changes, "digest": "0" * 64}
    text = json.dumps(content)
    text = text.replace("0" * 64, _sha256(text.encode()), 1)
    (path / "config.json").write_text(text)


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
        "preprocessing.json",
    }


def test_preprocessing(make_model, tmp_path):
    """What a window is stands beside the weights, with what the caller adds."""
    added = {"filter": [1.0, 40.0]}
    path = save_checkpoint(tmp_path / "mine", make_model(), preprocessing=added)
    content = json.loads((path / "preprocessing.json").read_text())
    assert content["sfreq"] == 100.0
    assert content["n_times"] == 100
    assert content["unit"] == "T"
    assert content["filter"] == [1.0, 40.0]
    (path / "preprocessing.json").write_text("{}")
    with pytest.raises(ValueError, match="got other ones: preprocessing.json;"):
        load_checkpoint(path)


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
def test_failure_leaves_the_old_one(saved, make_model, monkeypatch, moment):
    """A failure while writing leaves the checkpoint that was there, and no rest."""
    model, path = saved
    before = _content(path)

    def fail(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(f"mne_megfm.weights.checkpoint.{moment}", fail)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, make_model(1), overwrite=True)
    monkeypatch.undo()
    assert _content(path) == before
    assert torch.equal(load_checkpoint(path).embed.weight, model.embed.weight)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("call", range(1, 12))
def test_crash_at_any_moment(make_model, monkeypatch, tmp_path, call, fresh):
    """Killed before any of its writes, a checkpoint is the old or the new one, whole.

    Nothing is cleaned up after the crash, as when the machine goes down.
    """
    old, new = make_model(0), make_model(1, d_model=16)
    path = tmp_path / "mine"
    if not fresh:
        save_checkpoint(path, old, training={"name": "old"})
    calls = 0

    def count(function):
        def counted(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls >= call:
                raise _Killed
            return function(*args, **kwargs)

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", count(os.replace))
        patch.setattr(os, "fsync", count(os.fsync))
        patch.setattr(_files.shutil, "rmtree", count(_files.shutil.rmtree))
        try:
            save_checkpoint(path, new, training={"name": "new"}, overwrite=True)
        except _Killed:
            pass
        else:
            assert call > 9
    if fresh and not (path / "config.json").is_file():
        with pytest.raises(FileNotFoundError, match="Expected a checkpoint folder"):
            load_checkpoint(path)
    else:
        name = read_config(path)["training"]["name"]
        model = {"old": old, "new": new}[name]
        loaded = load_checkpoint(path)
        assert torch.equal(loaded.embed.weight, model.embed.weight)
        # four files are written and moved; the weights are the first to move
        assert name == ("old" if call <= 5 else "new")
    # the next writer clears up
    save_checkpoint(path, new, training={"name": "newer"}, overwrite=True)
    assert read_config(path)["training"]["name"] == "newer"
    assert len(_content(path)) == 4


def test_mixed_files_are_refused(saved, make_model, tmp_path):
    """Weights of one checkpoint beside the configuration of another are not loaded."""
    _, path = saved
    other = save_checkpoint(tmp_path / "other", make_model(1))
    (path / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="got other ones: model.safetensors; damaged"):
        load_checkpoint(path)


def test_missing(tmp_path, saved):
    """A folder without a checkpoint says which files it lacks."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"config.json and model.safetensors"):
        load_checkpoint(tmp_path / "empty")
    (saved[1] / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="but model.safetensors is missing"):
        load_checkpoint(saved[1])


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickles_are_refused_by_name(saved, name):
    """A folder with pickled weights says why they are not read."""
    (saved[1] / "model.safetensors").rename(saved[1] / name)
    with pytest.raises(FileNotFoundError, match=f"{name} may be pickled.*safetensors"):
        load_checkpoint(saved[1])


def test_runs_no_pickle(saved, tmp_path):
    """Pickles in place of weights are refused, not run."""

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "run"), "w"))

    (saved[1] / "model.safetensors").write_bytes(pickle.dumps(Evil()))
    _sign(saved[1])
    with pytest.raises(ValueError, match="Expected safetensors .* damaged"):
        load_checkpoint(saved[1])
    torch.save({"evil": Evil()}, saved[1] / "model.safetensors")
    _sign(saved[1])
    with pytest.raises(ValueError, match="Expected safetensors .* damaged"):
        load_checkpoint(saved[1])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("keep", [0, 7, 500, -1])
def test_truncated(saved, keep):
    """A file that was cut anywhere is refused."""
    path = saved[1] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="got other ones: model.safetensors; damaged"):
        load_checkpoint(saved[1])
    _sign(saved[1])  # and where the hash was made of the cut file
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
    _write(path, format="mne-megfm 9")
    with pytest.raises(ValueError, match="format 'mne-megfm 1'.*got 'mne-megfm 9'"):
        load_checkpoint(path)
    _write(path, format=FORMAT)
    _change(path, lambda state: None, metadata={})
    with pytest.raises(ValueError, match="got None; the folder mixes"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "text, match",
    [
        ("{", "it is not JSON"),
        ("\udcff", "it is not JSON"),
        ("[]", "not a JSON object, but list"),
        ("{}", "have changed since it was written"),
        (json.dumps({"format": FORMAT, "digest": 3}), "have changed"),
        (json.dumps({"format": FORMAT, "digest": "é" * 64}), "have changed"),
        ("[" * 100_000, "it is not JSON.*recursion"),
        ('{"a":' * 100_000, "it is not JSON.*recursion"),
        ("9" * 10_000, "it is not JSON"),
    ],
    ids=range(9),
)
def test_damaged_config(saved, text, match):
    """A configuration that is none is refused with what is wrong."""
    data = text.encode("utf-8", "surrogateescape")
    (saved[1] / "config.json").write_bytes(data)
    with pytest.raises(ValueError, match=f"config.json.*{match}.*copy the checkpoint"):
        load_checkpoint(saved[1])


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"sha256": None}, "Expected the hashes of .*got None"),
        ({"sha256": {}}, "Expected the hashes of model.safetensors and preproc"),
        ({"model": [1]}, "table 'model'.*got \\[1\\]"),
        ({"training": "much"}, "table 'training'.*got 'much'"),
    ],
)
def test_configuration_without_its_tables(saved, changes, match):
    """A configuration that lacks what belongs into it is refused."""
    _write(saved[1], **changes)
    with pytest.raises(ValueError, match=match):
        load_checkpoint(saved[1])


@pytest.mark.parametrize("name", ["../secret", "{absolute}", "README.md", "run/x"])
def test_no_other_file_is_hashed(saved, tmp_path, monkeypatch, name):
    """Whatever files a configuration names, only a checkpoint's are looked at."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    name = name.format(absolute=secret)
    _write(saved[1], sha256=_read(saved[1])["sha256"] | {name: _sha256(b"secret")})
    opened = []
    hash_of = _files.sha256
    monkeypatch.setattr(_files, "sha256", lambda p: opened.append(p) or hash_of(p))
    with pytest.raises(ValueError, match="Expected the hashes of"):
        load_checkpoint(saved[1])
    assert opened == []


def test_configuration_of_other_fields(saved):
    """Sizes that this version does not know are refused."""
    _write(saved[1], model={"a": 1})
    with pytest.raises(ValueError, match="fields of ModelConfig"):
        load_checkpoint(saved[1])


def test_weights_of_other_sizes(saved):
    """Weights that are not those of the configuration are refused."""
    _write(saved[1], model=_read(saved[1])["model"] | {"n_layers": 2})
    with pytest.raises(ValueError, match="blocks.1"):
        load_checkpoint(saved[1])
