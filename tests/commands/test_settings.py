"""Settings that are wrong are refused before anything is written, however they come."""

import re

import pytest
import torch
from click.testing import CliRunner

from mne_megfm.commands import main
from mne_megfm.pretraining import PretrainSettings, pretrain_store

#: Wrong values by setting, as TOML has them.
WRONG = {
    "epochs": ["-1", "0", "1.5", "'3'", "true"],
    "steps_per_epoch": ["0", "-2", "2.0"],
    "batch_size": ["1", "0", "-8", "2.5"],
    "accumulate": ["0", "7", "5", "-2"],
    "lr": ["0", "-1e-3", "inf", "nan", "2.0", "'0.1'"],
    "weight_decay": ["-5", "inf", "nan", "1e6"],
    "clip": ["-1", "0", "inf", "nan", "[1.0]"],
    "warmup": ["2", "-0.1", "nan"],
    "validation_fraction": ["1.5", "0", "1.0", "-0.1", "nan"],
    "max_valid": ["0", "-1", "0.5"],
    "patience": ["0", "-3"],
    "random_state": ["-1", "4294967296", "0.5", "1e3"],
    "save_minutes": ["nan", "-1", "inf", "'soon'"],
    "device": ["'gpu'", "''", "0"],
    "bf16": ["1", "'yes'"],
    "weights": ["''", "'..'", "'no-such-weights'", "3"],
    "masking": [
        "{name = 'mixd'}",
        "{name = 'time_block'}",
        "{name = 'random', mask_ratio = 2}",
        "{name = 'random', mask_ratio = '0.5'}",
        "{name = 'random', ratio = 0.5}",
        "{mask_ratio = 0.5}",
        "'random'",
    ],
    "objective": ["{name = 'log-eror'}", "{name = 'log-error', floor = -1}", "{}"],
    "augmentation": ["{noisy = 1.5}", "{short = nan}", "{noisy = 'a'}", "{loud = 1}"],
    "model": [
        "{d_model = 0}",
        "{d_model = 1000000}",
        "{n_layers = 2.0}",
        "{depth = 3}",
        "{sfreq = nan}",
    ],
}
CASES = [(name, value) for name, values in WRONG.items() for value in values]
#: Settings that have a flag, whose values are text anyway.
FLAGS = {
    "steps_per_epoch",
    "epochs",
    "batch_size",
    "accumulate",
    "lr",
    "validation_fraction",
    "patience",
    "random_state",
    "save_minutes",
    "device",
    "weights",
}
#: Flags that are called otherwise than their setting.
OTHERWISE = {"random_state": "seed"}


@pytest.fixture
def write(settings_file, tmp_path):
    """Return a function that writes the small settings with another value."""

    def write(name, value):
        lines = settings_file.read_text().split("[model]")[0].splitlines()
        kept = [line for line in lines if not line.startswith(f"{name} ")]
        path = tmp_path / "settings.toml"
        path.write_text("\n".join([f"{name} = {value}", *kept]))
        return path

    return write


@pytest.mark.parametrize("name, value", CASES)
def test_in_a_file(small_store, write, tmp_path, name, value):
    """A value of another type, or out of range, is refused with the setting's name."""
    out = tmp_path / "out"
    result = CliRunner().invoke(
        main,
        ["pretrain", str(small_store), str(out), "--config", str(write(name, value))],
    )
    assert result.exit_code in (1, 2), result.output
    message = re.sub(r"\s+", " ", result.output)
    assert "Expected" in message, message
    # of a table, the entry is named, or what it is of
    told = [name, *re.findall(r"(\w+) =", value), *re.findall("'(.*)'", value)]
    assert any(word in message for word in told), message
    assert not out.exists()


@pytest.mark.parametrize(
    "name, value",
    [c for c in CASES if c[0] in FLAGS and c[1] not in ("'3'", "'0.1'", "3")],
)
def test_as_flags(small_store, settings_file, tmp_path, name, value):
    """So it is as a flag."""
    out = tmp_path / "out"
    option = OTHERWISE.get(name, name).replace("_", "-")
    flag = f"--{option}={value.strip(chr(39))}"
    result = CliRunner().invoke(
        main,
        ["pretrain", str(small_store), str(out), "--config", str(settings_file), flag],
    )
    assert result.exit_code in (1, 2), result.output
    assert "No such option" not in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    "near, meant",
    [("lerning_rate", None), ("batchsize", "batch_size"), ("epoch", "epochs")],
)
def test_names_that_are_none(near, meant):
    """An unknown name is refused, with the one that may be meant."""
    with pytest.raises(ValueError, match="Expected settings among") as excinfo:
        PretrainSettings().change(**{near: 1})
    assert (f"did you mean {meant}" in str(excinfo.value)) == (meant is not None)


def test_suggestions(small_store, settings_file, tmp_path):
    """A masking that is misspelt is refused with the name that is near."""
    settings = PretrainSettings.read(settings_file, masking={"name": "time_block"})
    with pytest.raises(ValueError, match="Did you mean 'time-block'"):
        pretrain_store(small_store, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_file_and_flags_together(settings_file, tmp_path):
    """What goes together only with a flag is judged with it."""
    path = tmp_path / "settings.toml"
    path.write_text("decoder_only = true\naccumulate = 48")
    with pytest.raises(ValueError, match="decoder_only"):
        PretrainSettings.read(path, batch_size=96)
    settings = PretrainSettings.read(path, batch_size=96, weights="megfm-tiny")
    assert (settings.batch_size, settings.accumulate) == (96, 48)


def test_a_gpu_that_is_not_there(small_store, settings_file, tmp_path, monkeypatch):
    """A GPU is asked for by name only where there is one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    settings = PretrainSettings.read(settings_file, device="cuda:1")
    with pytest.raises(ValueError, match="device='cuda:1', got none"):
        pretrain_store(small_store, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()
