"""A small model, and signals that it can learn."""

import mne
import numpy as np
import pytest
import torch

from mne_megfm.models import (
    MixedMasking,
    WindowArray,
)
from mne_megfm.pretraining import (
    MaskedReconstruction,
    SignalSpectrumLoss,
    pretrain,
)


@pytest.fixture(autouse=True)
def _no_progress_bar():
    """Keep the output of tests short."""
    with mne.utils.use_log_level("error"):
        yield


@pytest.fixture(scope="session")
def region_pos():
    """Return regions along a line."""
    return torch.arange(4.0)[:, None] * torch.tensor([1.0, 0.0, 0.0])


@pytest.fixture
def store():
    """Return 32 windows of rhythms from two sources, from 8 recordings."""
    rng = np.random.default_rng(5)
    time = np.arange(100) / 100.0
    phase = rng.uniform(0, 2 * np.pi, (32, 2, 1))
    sources = np.sin(2 * np.pi * np.array([[4.0], [7.0]]) * time + phase)
    mixing = rng.standard_normal((16, 2))
    values = (mixing @ sources).astype(np.float16)
    return WindowArray(values, unit=4e-13, recording=np.repeat(np.arange(8), 4))


@pytest.fixture
def train(make_model, store, region_pos):
    """Return a function that trains a small model and returns it with its history."""

    def run(model=None, windows=None, **changes):
        model = make_model() if model is None else model
        params = {
            "masking": MixedMasking(),
            "objective": MaskedReconstruction(
                SignalSpectrumLoss(spectral_weight=0.05, delta=1.0)
            ),
            "max_epochs": 2,
            "steps_per_epoch": 2,
            "batch_size": 8,
            "random_state": 3,
            **changes,
        }
        windows = store if windows is None else windows
        return model, pretrain(model, windows, region_pos, **params)

    return run
