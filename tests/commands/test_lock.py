"""Two runs in one folder: the second is refused at once."""

import os
import signal
import threading
import time

import pytest

from mne_megfm.pretraining import PretrainSettings, pretrain_store
from mne_megfm.weights import read_config


@pytest.fixture
def settings(settings_file):
    """Return settings of a run of one step."""
    return PretrainSettings.read(settings_file, epochs=1, steps_per_epoch=1)


@pytest.mark.usefixtures("one_score")
def test_while_another_run_is_there(small_store, settings, tmp_path):
    """A run that meets another one changes nothing, and says whose the folder is."""
    out = tmp_path / "out"
    said = []

    def second():
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        for overwrite in (False, True):
            with pytest.raises(RuntimeError, match="no other run in .*out/run") as info:
                pretrain_store(small_store, out, settings, overwrite=overwrite)
            said.append(str(info.value))
        assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before

    asked = []

    def stop():
        if not asked:  # another thread stands for another process
            thread = threading.Thread(target=lambda: asked.append(_caught(second)))
            thread.start()
            thread.join()
        return False

    pretrain_store(small_store, out, settings, stop=stop)
    assert asked == [None]
    assert all(f"process {os.getpid()} on" in message for message in said), said
    assert read_config(out)["training"]["epochs"] == 1
    # the folder is free again, also for a run that starts from the beginning
    pretrain_store(small_store, out, settings)
    pretrain_store(small_store, out, settings, overwrite=True)


def _caught(function):
    try:
        return function()
    except BaseException as error:  # handed to the main thread
        return error


@pytest.mark.slow
def test_processes(start, small_store, settings_file, tmp_path):
    """So it is between processes; after kill -9 the folder is free."""
    out = tmp_path / "out"
    args = [small_store, out, "--config", settings_file, "--save-minutes", "0"]
    args += ["--quiet", "--epochs"]
    first = start("pretrain", *args, "400")
    for _ in range(2000):
        if (out / "run" / "run.safetensors").is_file():
            break
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    second = start("pretrain", *args, "400")
    text, _ = second.communicate(timeout=200)
    assert second.returncode == 1
    assert f"process {first.pid} on" in " ".join(text.split()), text
    together = start("pretrain", *args, "400", n_processes=2)
    text, _ = together.communicate(timeout=200)
    assert together.returncode == 1
    assert "Expected no other run" in text
    assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=200)
    once = start("pretrain", *args[:-1], "--seed", "1", "--epochs", "1", "--overwrite")
    text, _ = once.communicate(timeout=200)
    assert once.returncode == 0, text
