"""Tests of runs in processes of their own: alone, together, ended at odd moments."""

import json
import os
import re
import signal
import time
from importlib.util import find_spec

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from mne_megfm.weights import load_checkpoint, read_config

RUN = "run/run.safetensors"


def _end(process):
    """Wait for a process; return its exit code and output."""
    out, _ = process.communicate(timeout=200)
    return process.returncode, out


def _wait_for(path, process):
    """Wait until a file is there."""
    for _ in range(2000):
        if path.is_file():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    pytest.fail(f"{path} was not written")


def _step(path):
    with safe_open(path / RUN, "pt") as file:
        return json.loads(file.metadata()["run"])["step"]


def _furthest(one, other):
    """Return the largest difference of two runs: weights, best weights, optimiser."""
    one, other = load_file(one / RUN), load_file(other / RUN)
    assert set(one) == set(other)
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.fixture(scope="module")
def begin(start, small_store, settings_file):
    """Return a function that begins a small run."""

    def begin(out, *args, **kwargs):
        options = ["--config", settings_file, "--quiet", *args]
        return start("pretrain", small_store, out, *options, **kwargs)

    return begin


@pytest.fixture(scope="module")
def straight(begin, tmp_path_factory):
    """Return the folder of a run in one process, never interrupted."""
    path = tmp_path_factory.mktemp("straight") / "out"
    code, out = _end(begin(path))
    assert code == 0, out
    assert _step(path) == 20
    return path


def test_two_processes_equal_one(begin, straight, tmp_path):
    """Two processes that share each batch end with the weights of one."""
    code, out = _end(begin(tmp_path / "out", n_processes=2))
    assert code == 0, out
    assert read_config(tmp_path / "out")["training"]["processes"] == 2
    assert _furthest(straight, tmp_path / "out") < 1e-6
    one, two = (load_checkpoint(path) for path in (straight, tmp_path / "out"))
    for name, parameter in two.named_parameters():
        torch.testing.assert_close(
            parameter, dict(one.named_parameters())[name], rtol=0, atol=1e-6
        )
    one, two = (
        json.loads((path / "config.json").read_text())["training"]
        for path in (straight, tmp_path / "out")
    )
    for key in ("train_loss", "valid_loss"):
        assert two[key] == pytest.approx(one[key], abs=2e-5)


@pytest.mark.slow
def test_two_processes_with_a_shared_model(begin, straight, tmp_path):
    """Two processes that hold half of the model each (FSDP2) do so, too."""
    code, out = _end(begin(tmp_path / "out", "--sharded", n_processes=2))
    assert code == 0, out
    assert read_config(tmp_path / "out")["training"]["settings"]["sharded"]
    assert _furthest(straight, tmp_path / "out") < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "mode"),
    [
        ("latent", "--copied"),
        ("latent", "--sharded"),
        ("participant-consistency", "--copied"),
        ("time-frequency codes", "--copied"),
        ("time-frequency codes", "--sharded"),
        ("contrastive", "--copied"),
        ("contrastive", "--sharded"),
    ],
)
def test_objectives_in_two_processes(begin, tmp_path, objective, mode):
    """So do objectives that train weights of their own, or ask for pairs."""
    options = ["--objective", objective, "--batch-size", "8", "--accumulate", "2"]
    options += ["--validation-fraction", "0.5"]  # two participants on either side
    code, out = _end(begin(tmp_path / "one", *options))
    assert code == 0, out
    code, out = _end(begin(tmp_path / "two", *options, mode, n_processes=2))
    assert code == 0, out
    assert read_config(tmp_path / "two")["training"]["processes"] == 2
    one, two = (load_checkpoint(tmp_path / name) for name in ("one", "two"))
    for name, parameter in two.named_parameters():
        torch.testing.assert_close(
            parameter, dict(one.named_parameters())[name], rtol=0, atol=1e-5
        )
    # steps of Adam enlarge rounding where gradients are near 0; steps are of 2e-3
    assert _furthest(tmp_path / "one", tmp_path / "two") < 1e-4


@pytest.mark.slow
@pytest.mark.skipif(find_spec("braindecode") is None, reason="needs braindecode")
@pytest.mark.parametrize("mode", ["--copied", "--sharded"])
def test_network_of_braindecode_in_two_processes(start, small_store, tmp_path, mode):
    """A network that has parameters which its tokens do not use ends the same."""
    settings = tmp_path / "settings.toml"
    settings.write_text(
        "epochs = 2\nsteps_per_epoch = 3\nbatch_size = 8\naccumulate = 2\n"
        "validation_fraction = 0.5\nbackbone = 'braindecode:biot'\ndevice = 'cpu'\n"
        "[model]\nd_model = 16\nn_layers = 1\nn_heads = 2\ndecoder_width = 16\n"
        "n_decoder_layers = 1\n"
    )
    options = ["--config", settings, "--quiet"]
    for name, more, n_processes in (("one", [], None), ("two", [mode], 2)):
        args = [small_store, tmp_path / name, *options, *more]
        code, out = _end(start("pretrain", *args, n_processes=n_processes))
        assert code == 0, out
    assert read_config(tmp_path / "two")["training"]["processes"] == 2
    one, two = (load_checkpoint(tmp_path / name) for name in ("one", "two"))
    before = dict(one.named_parameters())
    for name, parameter in two.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=0, atol=1e-5)
    assert _furthest(tmp_path / "one", tmp_path / "two") < 1e-4


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_interrupted_within_an_epoch(begin, straight, tmp_path, number):
    """A process that is ended in an epoch is taken up there, with equal bits after."""
    out = tmp_path / "out"
    process = begin(out, "--save-minutes", "0")
    _wait_for(out / RUN, process)
    process.send_signal(number)
    code, text = _end(process)
    if number == signal.SIGTERM:
        assert code == 1
        assert re.search(r"stopped after step \d+ and\s+saved in", text), text
    else:
        assert code == -signal.SIGKILL
    assert 0 < _step(out) < 20
    (out / "run" / ".writing-1-run.safetensors").touch()  # as a kill may leave it
    code, text = _end(begin(out))
    assert code == 0, text
    assert not list(out.rglob(".writing-*"))
    assert _furthest(straight, out) == 0.0
    one, two = (load_checkpoint(path).state_dict() for path in (straight, out))
    for name, array in one.items():
        assert torch.equal(array, two[name]), name


@pytest.mark.slow
def test_lost_process(begin, straight, tmp_path):
    """When one of two processes is killed, the other saves, says so, and all end."""
    out = tmp_path / "out"
    process = begin(out, "--save-minutes", "0", n_processes=2)
    _wait_for(out / RUN, process)
    os.kill(_child(process.pid, rank="1"), signal.SIGKILL)
    code, text = _end(process)
    assert code == 1
    message = re.sub(r"\s+", " ", text)
    assert re.search(r"process 0 lost another one after step \d+", message), text
    assert "the run is saved in" in message
    assert "start the same command again" in message
    assert 0 < _step(out) < 20
    code, text = _end(begin(out, n_processes=2))
    assert code == 0, text
    assert _furthest(straight, out) < 1e-6


def _child(pid, rank):
    """Find the process that torchrun started with a rank."""
    import psutil

    for child in psutil.Process(pid).children(recursive=True):
        if child.environ().get("RANK") == rank:
            return child.pid
    pytest.fail(f"No process of rank {rank}")
