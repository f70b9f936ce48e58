"""Tests of training with a part of the model left as it is."""

import mne
import numpy as np
import torch

from mne_megfm.models import (
    MaskedSignalTransformer,
    MixedMasking,
    ModelConfig,
    WindowArray,
    freeze_encoder,
)
from mne_megfm.pretraining import LogErrorLoss, MaskedReconstruction, pretrain


def test_frozen_encoder():
    """Tokens stay bit by bit as they were."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((16, 192, 250)).astype(np.float16)
    windows = WindowArray(data, unit=1e-13)
    torch.manual_seed(0)
    model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1)).eval()
    some = torch.tensor(data[:2].astype(np.float32)) * 1e-13
    tokens, filled = model.encode(some), model.reconstruct(some, _mask())
    freeze_encoder(model)
    with mne.utils.use_log_level("error"):
        pretrain(
            model,
            windows,
            torch.randn(24, 3),
            masking=MixedMasking(),
            objective=MaskedReconstruction(LogErrorLoss()),
            max_epochs=2,
            batch_size=4,
        )
    assert torch.equal(model.encode(some), tokens)
    assert not torch.allclose(
        model.reconstruct(some, _mask()), filled, rtol=1e-3, atol=0
    )


def _mask():
    mask = torch.zeros(2, 24, 10, dtype=torch.bool)
    mask[:, :12] = True
    return mask
