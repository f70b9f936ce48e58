"""Low-rank adapters."""

import copy
import pickle

import pytest
import torch
from torch import nn

from mne_megfm.models import (
    HybridConfig,
    HybridStateSpace,
    LowRankLinear,
    MaskedSignalTransformer,
    ModelConfig,
    add_adapters,
    merge_adapters,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=2)).eval()


@pytest.fixture
def windows():
    return 3e-13 * torch.randn(2, 192, 250, generator=torch.Generator().manual_seed(1))


def test_formula():
    """The layer computes W x + b + B A x (Hu et al. 2022, eq. 3)."""
    layer = LowRankLinear(nn.Linear(6, 4), rank=2)
    nn.init.normal_(layer.up)
    x = torch.randn(5, 6)
    weight = layer.base.weight + layer.up @ layer.down
    torch.testing.assert_close(layer(x), x @ weight.T + layer.base.bias)
    merged = layer.merged()
    assert type(merged) is nn.Linear
    torch.testing.assert_close(merged(x), layer(x))


def test_begins_as_it_was_and_trains_adapters_alone(model, windows):
    before = copy.deepcopy(model)
    adapted = add_adapters(model, rank=4)
    torch.testing.assert_close(
        adapted.encode(windows), before.encode(windows), rtol=0, atol=0
    )
    trained = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert trained == {
        f"blocks.{block}.{layer}.{part}"
        for block in range(2)
        for layer in ("attention.qkv", "attention.out", "expand", "contract")
        for part in ("down", "up")
    }
    adapted.encode(windows).square().mean().backward()
    optimizer = torch.optim.AdamW(adapted.parameters(), lr=0.01)
    optimizer.step()
    state = {n.replace(".base.", "."): v for n, v in adapted.state_dict().items()}
    for name, value in before.state_dict().items():
        assert torch.equal(state[name], value), name
    assert not torch.allclose(adapted.encode(windows), before.encode(windows))


def test_merging(model, windows):
    names = set(model.state_dict())
    adapted = add_adapters(model, rank=2)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1)
    expected = adapted.encode(windows)
    again = pickle.loads(pickle.dumps(adapted))
    assert torch.equal(again.encode(windows), expected)
    merged = merge_adapters(adapted)
    assert set(merged.state_dict()) == names
    torch.testing.assert_close(merged.encode(windows), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rank", [0, 33])
def test_rank(model, rank):
    with pytest.raises(ValueError, match="rank from 1 to 32"):
        add_adapters(model, rank)


def test_attention_of_torch_has_adapters():
    """It takes the weights of its last layer and not the layer, so these have them."""
    torch.manual_seed(0)
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(3, 5, 8)
    layer = LowRankLinear(attention.out_proj, rank=2)
    torch.nn.init.normal_(layer.up)
    attention.out_proj = torch.nn.Linear(8, 8)
    with torch.no_grad():
        attention.out_proj.weight.copy_(layer.base.weight + layer.up @ layer.down)
        attention.out_proj.bias.copy_(layer.base.bias)
    expected = attention(x, x, x)[0]
    attention.out_proj = layer
    found = attention.train()(x, x, x)[0]
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    assert layer.up.grad.abs().max() > 0 and layer.base.weight.grad is None


def test_narrow_layers_get_adapters_of_their_own_rank():
    """A layer of state spaces has few rows; others get the rank that was asked for."""
    config = HybridConfig(d_model=16, n_layers=1, d_state=2)
    adapted = add_adapters(HybridStateSpace(config), rank=6)
    layers = [m for m in adapted.modules() if isinstance(m, LowRankLinear)]
    for layer in layers:
        assert len(layer.down) == min(6, *layer.base.weight.shape)
    assert {len(layer.down) for layer in layers} > {6}
    with pytest.raises(ValueError, match="a rank from 1 to 16, .* got 17"):
        add_adapters(HybridStateSpace(config), rank=17)
