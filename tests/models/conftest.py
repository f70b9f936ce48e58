"""Models with weights that make attention and every bias matter."""

import pytest
import torch

from mne_megfm.models import MaskedSignalTransformer, ModelConfig
from mne_megfm.sensors import canonical_array, canonical_kernel


def lively_model(config, kernel=None, seed=0):
    """Make a model whose attention is not uniform, as fresh weights' nearly is."""
    generator = torch.Generator().manual_seed(seed)
    model = MaskedSignalTransformer(config, kernel)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.2 * noise)
            elif name.endswith("qkv.weight"):
                parameter.copy_(2.0 * noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(noise / parameter.shape[-1] ** 0.5)
    return model.eval()


@pytest.fixture(scope="session")
def kernel():
    """Return the Gram matrix of the canonical lead fields."""
    return torch.tensor(canonical_kernel(), dtype=torch.float32)


@pytest.fixture(scope="session")
def region_pos():
    """Return the positions of the regions."""
    return torch.tensor(canonical_array().region_pos)


@pytest.fixture(scope="session")
def model(kernel):
    """Return a small model on the canonical array; tests must not change it."""
    config = ModelConfig(d_model=32, n_layers=2, n_decoder_layers=1)
    return lively_model(config, kernel)


@pytest.fixture
def windows():
    """Return four windows of smooth signal in tesla, two with odd scales."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(4, 192, 260, generator=generator)
    smooth = noise.unfold(2, 11, 1).mean(-1) * 3e-13
    smooth[1] += 5e-11 * torch.randn(192, 1, generator=generator)  # gross offsets
    smooth[2] *= 40.0  # beyond what is scaled to fit
    return smooth
