"""Tests of pretraining from a store, as a command and from Python."""

import csv
import json
import os
import re
import shutil
import sys

import matplotlib.image
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.commands import main
from mne_megfm.pretraining import PretrainSettings, pretrain_store
from mne_megfm.store import WindowStore
from mne_megfm.weights import (
    PARTICIPANT_PARTS,
    load_checkpoint,
    read_config,
    weights_path,
)


def run(*args):
    """Run the command in this process."""
    return CliRunner().invoke(main, ["pretrain", *map(str, args)])


@pytest.fixture(scope="module")
def settings(settings_file):
    """Return settings of a short run."""
    return PretrainSettings.read(settings_file).change(epochs=2, steps_per_epoch=2)


@pytest.fixture(scope="module")
def done(small_store, settings_file, tmp_path_factory):
    """Return the folder of a finished run, and what the command said."""
    out = tmp_path_factory.mktemp("done") / "out"
    result = run(small_store, out, "--config", settings_file, "--steps-per-epoch", 2)
    assert result.exit_code == 0, result.output
    return out, result.output


def test_checkpoint(done):
    """The result is a checkpoint that features can be computed with."""
    out, said = done
    assert "Best epoch" in said
    cohort = simulate_cohort(
        1, states=("auditory",), arrays=("opm64",), n_epochs=3, random_state=0
    )
    features = MEGFMTransformer(weights=out).fit_transform(cohort.epochs("auditory")[0])
    assert features.shape[0] == 3
    assert np.isfinite(features).all()
    model = load_checkpoint(out)
    assert model.config.d_model == 32
    # axes for compact pooling have been found
    assert not torch.equal(model.token_axes, torch.eye(32)[:16])


def test_what_it_has_seen(done, small_store):
    """The configuration counts data by state and array, and names nobody."""
    out, _ = done
    training = read_config(out)["training"]
    assert training["participants"] == 4
    assert training["participants_held_out"] == 1
    assert training["windows"] == 32
    assert training["steps"] == 4
    assert training["store"] == WindowStore.open(small_store).fingerprint
    assert training["counts"] == [
        {
            "state": state,
            "array": "ctf151",
            "participants": 4,
            "recordings": 4,
            "windows": 16,
            "hours": round(16 / 3600, 3),
        }
        for state in ("auditory", "rest")
    ]
    assert set(training["r2"]) == {"all", "auditory", "rest"}
    assert set(training["reconstruction"]) == {"auditory", "rest"}
    for file in ("config.json", "README.md", "preprocessing.json"):
        assert not re.search(r"\bs[0-3]\b", (out / file).read_text("utf-8")), file
    preprocessing = json.loads((out / "preprocessing.json").read_text())
    assert preprocessing["filter"] == [1.0, 40.0]
    assert "file" not in preprocessing  # which differs between recordings


def test_card(done):
    """The card tells data, steps, metrics, versions, licence and limits."""
    out, _ = done
    card = (out / "README.md").read_text("utf-8")
    training = read_config(out)["training"]
    for phrase in (
        "license: cc0-1.0",
        "Not for diagnosis",
        "| auditory | ctf151 | 4 | 4 | 16 |",
        "4 steps in 2 epochs",
        f"torch {torch.__version__}",
        f"| 2 | {training['train_loss'][1]} | {training['valid_loss'][1]} |",
        "| rest | random 80 % |",
    ):
        assert phrase in card, phrase
    assert "Not done" not in card


def test_curves(done):
    """Losses are there as a table and a figure, and for TensorBoard."""
    out, _ = done
    with (out / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {"train_loss", "valid_loss", "r2_all", "r2_rest"} <= set(rows[0])
    image = matplotlib.image.imread(out / "curves.png")
    assert image[..., :3].std() > 0.05
    assert list((out / "run" / "tensorboard").glob("events*"))


@pytest.mark.usefixtures("one_score")
def test_without_tensorboard(small_store, settings, tmp_path, monkeypatch):
    """TensorBoard is not needed; the checkpoint is there after the first epoch."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    asked = iter(range(100))
    with pytest.raises(RuntimeError, match="stopped after step 3"):
        pretrain_store(
            small_store, tmp_path / "out", settings, stop=lambda: next(asked) == 2
        )
    assert not (tmp_path / "out" / "run" / "tensorboard").exists()
    assert read_config(tmp_path / "out")["training"]["epochs"] == 1
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "**Not done:** saved after epoch 1 of 2" in card
    assert load_checkpoint(tmp_path / "out").config.d_model == 32


@pytest.mark.usefixtures("one_score")
def test_again(done, small_store, settings_file):
    """Run again, the command has nothing to do and changes no weight."""
    out, _ = done
    before = (out / "model.safetensors").read_bytes()
    args = [small_store, out, "--config", settings_file, "--steps-per-epoch"]
    assert run(*args, 2).exit_code == 0
    assert (out / "model.safetensors").read_bytes() == before
    result = run(*args, 3)
    assert result.exit_code == 1
    assert "Expected the settings of the run" in result.output
    assert (out / "model.safetensors").read_bytes() == before


@pytest.mark.usefixtures("one_score")
def test_overwrite(small_store, settings_file, tmp_path):
    """Files that are not a run's are left alone, unless told otherwise."""
    (tmp_path / "thesis.tex").write_text("important")
    args = [small_store, tmp_path, "--config", settings_file, "--steps-per-epoch", 1]
    args += ["--epochs", 1]
    result = run(*args)
    assert result.exit_code == 1
    assert "got other files" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert run(*args, "--overwrite").exit_code == 0
    assert (tmp_path / "thesis.tex").read_text() == "important"
    result = run(*args, "--seed", 5, "--overwrite")
    assert result.exit_code == 0, result.output
    assert read_config(tmp_path)["training"]["settings"]["random_state"] == 5
    result = run(small_store, tmp_path / "thesis.tex")
    assert result.exit_code == 1
    assert "got a file" in result.output


@pytest.mark.usefixtures("one_score")
def test_goes_on_from_weights(done, small_store, settings, tmp_path):
    """Weights of another run are the start of this one, and are told of."""
    out, _ = done
    start = load_checkpoint(out)
    # so small a rate is 0 in single precision
    changed = settings.change(
        weights=str(out), model={}, lr=1e-60, weight_decay=0.0, epochs=1
    )
    pretrain_store(small_store, tmp_path / "out", changed)
    for name, parameter in load_checkpoint(tmp_path / "out").named_parameters():
        assert torch.equal(parameter, dict(start.named_parameters())[name]), name
    assert read_config(tmp_path / "out")["training"]["started_from"] == out.name
    with pytest.raises(ValueError, match="Expected weights to go on from with decod"):
        settings.change(decoder_only=True)
    with pytest.raises(ValueError, match="Expected no sizes with weights"):
        pretrain_store(
            small_store, tmp_path / "x", settings.change(weights="megfm-tiny")
        )


@pytest.mark.usefixtures("one_score")
def test_participant_encoder_is_kept(done, small_store, settings, tmp_path):
    """The encoder of the weights goes with the new ones, and gives the same features.

    It reads signals on the canonical array alone, so that features of participants
    are those of the weights it came with, whatever the network has become.
    """
    bundled, start, out = weights_path("megfm-tiny"), tmp_path / "a", tmp_path / "b"
    shutil.copytree(done[0], start)
    kernel = load_checkpoint(bundled).kernel
    for part in PARTICIPANT_PARTS:
        network, seen = part.load(bundled, kernel)
        part.save(start, network, kernel, seen)
    changed = settings.change(weights=str(start), model={}, lr=1e-2, epochs=1)
    pretrain_store(small_store, out, changed)
    for part in PARTICIPANT_PARTS:
        kept, given = out / part.weights, bundled / part.weights
        assert kept.read_bytes() == given.read_bytes()
    trained, before = load_checkpoint(out), load_checkpoint(start)
    assert not torch.equal(trained.token_axes, before.token_axes)
    kept = json.loads((out / "participant.json").read_text())
    assert kept["training"]["participants"] == 745
    card = (out / "README.md").read_text("utf-8")
    assert "## Participant encoder" in card and "## Posterior encoder" in card
    assert "is that of a, unchanged" in card
    cohort = simulate_cohort(
        2, states=("auditory",), arrays=("opm64",), n_epochs=4, random_state=0
    )
    X = [{"auditory": epochs} for epochs in cohort.epochs("auditory")]
    rows = [
        MEGFMTransformer(weights, sample="participant").fit_transform(X)
        for weights in (out, "megfm-tiny")
    ]
    np.testing.assert_array_equal(*rows)
    # weights that start from random ones have none, also where there was another
    pretrain_store(small_store, out, settings.change(epochs=1), overwrite=True)
    assert not [*out.glob("participant*"), *out.glob("posterior*")]
    assert "Participant encoder" not in (out / "README.md").read_text("utf-8")


@pytest.mark.usefixtures("one_score")
def test_flags_come_before_the_file(small_store, settings_file, tmp_path):
    """Masking and objective by name, with their arguments from flags or file."""
    file = tmp_path / "more.toml"
    text = settings_file.read_text()
    file.write_text(
        text + '\n[masking]\nname = "random"\nmask_ratio = 0.6\n[augmentation]\n'
    )
    args = [small_store, tmp_path / "out", "--config", file, "--steps-per-epoch", 1]
    result = run(*args, "--epochs", 1, "--mask-ratio", 0.5, "--bf16")
    assert result.exit_code == 0, result.output
    got = read_config(tmp_path / "out")["training"]["settings"]
    assert got["masking"] == {"name": "random", "mask_ratio": 0.5}
    assert got["augmentation"] == {}
    assert got["bf16"] is True
    assert got["epochs"] == 1
    assert got["lr"] == 2e-3
    result = run(*args[:1], tmp_path / "y", "--masking", "no-such")
    assert result.exit_code == 1
    assert "Expected the name of a masking" in result.output


@pytest.mark.parametrize(
    "text, match",
    [
        ("epochs = ", "Expected TOML"),
        ("epoch = 3", "Expected settings among .*; got epoch"),
        ("epochs = true", "Expected epochs to be int, got True"),
        ("lr = 'high'", "Expected lr to be float, got 'high'"),
        ("[masking]\nmask_ratio = 0.5", "Expected a name in masking"),
    ],
)
def test_bad_settings(text, match, tmp_path):
    """Settings that are none are refused with what there is."""
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ValueError, match=match):
        PretrainSettings.read(tmp_path / "bad.toml")


def test_store_that_does_not_fit(small_store, settings, tmp_path):
    """A store of other windows than the model's is refused."""
    store = WindowStore.create(tmp_path / "store", sfreq=500.0)
    store.append(np.ones((2, 192, 250)), name="a", participant="a", state="rest")
    with pytest.raises(ValueError, match=r"sfreq=250.0.*got 500.0.*again, or change"):
        pretrain_store(tmp_path / "store", tmp_path / "out", settings)
    augmented = settings.change(augmentation={"loud": 1})
    with pytest.raises(ValueError, match="arguments of NoiseAndCropping.*'loud'"):
        pretrain_store(small_store, tmp_path / "out2", augmented)


@pytest.mark.usefixtures("one_score")
def test_disk_full(small_store, settings, tmp_path, monkeypatch):
    """A disk that fills up is an error; what was saved before stays usable."""
    out = tmp_path / "out"
    asked = iter(range(100))
    with pytest.raises(RuntimeError, match="stopped"):
        pretrain_store(small_store, out, settings, stop=lambda: next(asked) == 2)
    before = {p: p.read_bytes() for p in out.rglob("*.safetensors")}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            pretrain_store(small_store, out, settings)
    assert {p: p.read_bytes() for p in out.rglob("*.safetensors")} == before
    assert not list(out.rglob(".writing-*"))
    pretrain_store(small_store, out, settings)
    assert read_config(out)["training"]["epochs"] == 2
