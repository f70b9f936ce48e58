"""A store, settings and commands that are small enough for tests."""

import os
import subprocess
import sys

import numpy as np
import pytest

from mne_megfm.models import RandomMasking
from mne_megfm.sensors import canonical_kernel
from mne_megfm.store import WindowStore

SETTINGS = """
epochs = 2
steps_per_epoch = 10
batch_size = 8
accumulate = 2
lr = 2e-3
max_valid = 8
device = "cpu"
licence = "CC0-1.0"

[model]
d_model = 32
n_layers = 2
n_decoder_layers = 1
n_heads = 2
"""


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    """Return the folder of a store: 4 participants, 2 states, 4 windows each.

    A window has four of its frequencies as targets.
    """
    path = tmp_path_factory.mktemp("store") / "store"
    rng = np.random.default_rng(0)
    mixing = np.linalg.cholesky(canonical_kernel() + 1e-3 * np.eye(192))
    time = np.arange(250) / 250.0
    store = WindowStore.create(path)
    for participant in range(4):
        for state in ("rest", "auditory"):
            rate, phase = rng.uniform(2, 20, (4, 20, 1)), rng.uniform(size=(4, 20, 1))
            sources = np.sin(2 * np.pi * (rate * time + phase))
            maps = mixing @ rng.standard_normal((192, 20))
            store.append(
                np.einsum("sk,nkt->nst", maps, sources) * 3e-14,
                name=f"s{participant}-{state}",
                participant=f"s{participant}",
                state=state,
                array="ctf151",
                targets=rate[:, :4, 0],
                provenance={"filter": [1.0, 40.0], "file": f"{participant}.fif"},
            )
    return path


@pytest.fixture(scope="session")
def settings_file(tmp_path_factory):
    """Return a file with settings of a run of 20 steps."""
    path = tmp_path_factory.mktemp("settings") / "small.toml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture
def one_score(monkeypatch):
    """Score the reconstruction of one mask: all of them take most of a run."""
    name = "mne_megfm.pretraining._checkpoint_writer.SCORED_MASKS"
    monkeypatch.setattr(name, {"random 80 %": RandomMasking(0.8)})


@pytest.fixture(scope="session")
def start():
    """Return a function that starts a command in one process or under torchrun."""

    def start(command, *args, n_processes=None):
        module = ["-m", f"mne_megfm.commands.{command}"]
        if n_processes is not None:
            ranks = f"--nproc-per-node={n_processes}"
            module = ["-m", "torch.distributed.run", "--standalone", ranks, *module]
        return subprocess.Popen(
            [sys.executable, *module, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    return start
