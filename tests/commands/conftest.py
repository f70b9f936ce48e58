"""Fixtures for tests of commands that run in processes of their own.

Rebuilt from the way test_processes.py uses them, after the first version of this file
was written over by mistake: put that one back in its place where it is at hand.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from mne_megfm.store import WindowStore


@pytest.fixture(scope="session")
def start():
    """Return a function that starts a command in one process or several."""

    def run(command, *args, n_processes=1):
        module = ["-m", f"mne_megfm.commands.{command}"]
        if n_processes > 1:
            ranks = f"--nproc-per-node={n_processes}"
            module = ["-m", "torch.distributed.run", "--standalone", ranks, *module]
        return subprocess.Popen(
            [sys.executable, *module, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return run


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    """Return the folder of a store of ten participants."""
    store = WindowStore.create(tmp_path_factory.mktemp("data") / "store")
    rng = np.random.default_rng(0)
    time = np.arange(250) / 250.0
    for number in range(10):
        phase = rng.uniform(0, 2 * np.pi, (16, 1, 1))
        rhythm = np.sin(2 * np.pi * (6 + number) * time + phase)
        windows = 4e-13 * rng.standard_normal((1, 192, 1)) * rhythm
        windows += 2e-14 * rng.standard_normal((16, 192, 250))
        store.append(
            windows, name=f"p{number}-rest", participant=f"p{number}", state="rest"
        )
    return store.path


@pytest.fixture(scope="session")
def settings_file(tmp_path_factory):
    """Return settings of a run of 20 steps."""
    path = tmp_path_factory.mktemp("settings") / "pretrain.toml"
    path.write_text(
        'device = "cpu"\n'
        "epochs = 4\n"
        "steps_per_epoch = 5\n"
        "batch_size = 16\n"
        "accumulate = 2\n"
        "valid_fraction = 0.2\n"
        "[model]\n"
        "d_model = 32\n"
        "n_layers = 1\n"
        "n_decoder_layers = 1\n"
    )
    return path
