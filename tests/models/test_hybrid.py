"""Tests of the network of state spaces and attention: by its definition, in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mne_megfm.models import (
    HybridConfig,
    HybridStateSpace,
    MaskedSignalTransformer,
    ModelConfig,
    StateSpaceBlock,
)
from mne_megfm.models._masked_transformer import Attention

SMALL = {
    "n_sensors": 12,
    "n_regions": 4,
    "sfreq": 100.0,
    "patch_length": 5,
    "n_patches": 6,
    "d_model": 8,
    "n_components": 4,
    "n_heads": 2,
}


def _randomized(module):
    """Make every weight and bias of a network matter."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.3 * noise)
    return module.double().eval()


def _network(**changes):
    torch.manual_seed(0)
    config = HybridConfig(**SMALL | {"n_layers": 2, "d_state": 3} | changes)
    return _randomized(HybridStateSpace(config))


def _windows(n_patches=6):
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(3, 12, 5 * n_patches, generator=generator, dtype=torch.float64)
    return noise * 3e-13


def _samples(hidden):
    return hidden.repeat_interleave(3, 1).repeat_interleave(5, 2)


@pytest.fixture
def hidden():
    """Return a mask that hides some tokens, a whole region and a whole patch."""
    hidden = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(3)) < 0.4
    hidden[0, 1] = True
    hidden[1, :, 2] = True
    hidden[2] = False
    return hidden


# -- one block, step by step -------------------------------------------------------
def _scan(layer, x, seen):
    """Go through one sequence, by equations 2 and 4 of Gu and Dao (2023)."""
    weight = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    a = -np.exp(weight["log_decay"])
    state, outputs = np.zeros_like(a), []
    for step, is_seen in zip(x, seen, strict=True):
        if is_seen:
            size = np.log1p(np.exp(weight["step.weight"] @ step + weight["step.bias"]))
            kept = np.exp(size[:, None] * a)
            given = (kept - 1) / a * (weight["to_state.weight"] @ step)
            state = kept * state + given * step[:, None]
        read = weight["from_state.weight"] @ step
        outputs.append(state @ read + weight["skip"] * step)
    return np.stack(outputs)


def _silu(x):
    return x / (1 + np.exp(-x))


def _block(block, x, seen):
    """Compute a block that goes both ways, for one sequence."""
    weight = {name: p.detach().numpy() for name, p in block.named_parameters()}
    centred = x - x.mean(-1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    normal = normal * weight["norm.weight"] + weight["norm.bias"]
    entered = normal @ weight["enter.weight"].T + weight["enter.bias"]
    value, gate = np.split(entered, 2, -1)
    value = _silu(value)
    y = _scan(block.forth, value, seen)
    y = y + _scan(block.back, value[::-1], seen[::-1])[::-1]
    return x + (y * _silu(gate)) @ weight["leave.weight"].T + weight["leave.bias"]


def test_block_is_its_equations():
    """Forward pass, with hidden steps, against a loop over steps in NumPy."""
    torch.manual_seed(0)
    block = _randomized(StateSpaceBlock(4, 3))
    x = torch.randn(2, 9, 4, dtype=torch.float64)
    seen = torch.ones(2, 9, dtype=torch.bool)
    seen[1, [0, 3, 4]] = False
    got, _ = block(x, seen)
    for i in range(2):
        expected = _block(block, x[i].numpy(), seen[i].numpy())
        kept = seen[i].numpy()
        np.testing.assert_allclose(got[i].detach()[kept], expected[kept], rtol=1e-9)


def test_time_reversed():
    """A block with its two directions exchanged does to reversed time what it does."""
    torch.manual_seed(0)
    block, other = (_randomized(StateSpaceBlock(4, 3)) for _ in range(2))
    other.load_state_dict(block.state_dict())
    other.forth, other.back = other.back, other.forth
    x = torch.randn(2, 9, 4, dtype=torch.float64)
    seen = torch.ones(2, 9, dtype=torch.bool)
    seen[1, [0, 3, 4]] = False
    expected = block(x, seen)[0].flip(1)
    torch.testing.assert_close(other(x.flip(1), seen.flip(1))[0], expected)
    # directions differ, so that this is not so by itself
    assert not torch.allclose(block(x.flip(1), seen.flip(1))[0], expected, atol=1e-3)


# -- the network ---------------------------------------------------------------------
def test_time_first_then_regions(hidden):
    """The encoder scans the visible patches of each region, then mixes within patches.

    Against a loop over regions and patches, which sees visible tokens alone.
    """
    network = _network()
    torch.manual_seed(1)
    patches = torch.randn(3, 4, 6, 3, 5, dtype=torch.float64)
    got = network.encode_patches(patches, hidden).detach()
    mixed = torch.einsum("nrpst,ros->nrpot", patches, network.mixing).flatten(3)
    tokens = network.embed(mixed) + network.region_position + network.time_position
    tokens = tokens.detach()
    over_time, over_regions = network.blocks[:2], network.blocks[2:]
    for n in range(3):
        for region in range(4):
            at = ~hidden[n, region]
            for block in over_time:
                steps = tokens[n, region, at].numpy()
                if len(steps):
                    steps = _block(block, steps, np.ones(len(steps), bool))
                tokens[n, region, at] = torch.from_numpy(steps)
        for patch in range(6):
            at = ~hidden[n, :, patch]
            for block in over_regions:
                tokens[n, at, patch] = block(tokens[n, at, patch][None])[0].detach()
    expected = F.layer_norm(tokens, (8,), network.norm.weight, network.norm.bias)
    expected = expected.detach().masked_fill(hidden[..., None], 0.0)
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-10)


def test_hidden_signal_is_not_seen(hidden):
    """No gradient goes from tokens or predictions to hidden signal; it may be NaN."""
    network, windows = _network(), _windows().requires_grad_()
    tokens = network.encode(windows, None, hidden)
    weight = torch.randn(tokens.shape, dtype=torch.float64)
    (tokens * weight).sum().backward()
    assert not windows.grad[_samples(hidden)].any()
    assert windows.grad[~_samples(hidden)].abs().amin() > 0
    patches = torch.randn(3, 4, 6, 3, 5, dtype=torch.float64).requires_grad_()
    network.predict_patches(patches, hidden).square().sum().backward()
    assert not patches.grad[hidden].any()
    seen = patches.grad[:2][~hidden[:2]]  # of the last window, nothing is predicted
    assert seen.flatten(1).any(1).all()
    spoilt = windows.detach().clone()
    spoilt[_samples(hidden)] = torch.nan
    torch.testing.assert_close(network.encode(spoilt, None, hidden), tokens)


def test_every_row_attends_to_something(hidden):
    """Not all versions of torch give finite numbers where nothing is attended to."""
    network, given = _network(), []
    for layer in network.modules():
        if isinstance(layer, Attention):
            layer.register_forward_pre_hook(lambda module, args: given.append(args[1]))
    network.encode(_windows(), None, hidden)
    assert len(given) == 2 and not given[0].all()
    assert all(seen.any(-1).all() for seen in given)


def test_each_token_sees_its_region_and_those_of_its_patch():
    """Everything visible reaches every token: in time first, then between regions.

    After the layers over time alone, a token knows its region.
    """
    network = _network()
    tokens = torch.randn(1, 4, 6, 8, dtype=torch.float64).requires_grad_()
    network.mix(network.blocks[:2], tokens)[0, 1, 3].square().sum().backward()
    reached = tokens.grad[0].any(-1)
    assert reached[1].all() and not reached[[0, 2, 3]].any()
    tokens.grad = None
    network.mix(network.blocks, tokens)[0, 1, 3].square().sum().backward()
    assert tokens.grad[0].any(-1).all()


@pytest.mark.parametrize("n_valid", [15, 13])
def test_padding_changes_nothing(n_valid):
    """Shorter windows have the tokens of a network whose windows are that short."""
    network, short = _network(), _network(n_patches=3)
    state = network.state_dict()
    for name in ("token_mean", "time_position", "decoder_time_position"):
        state[name] = state[name].narrow(state[name].ndim - 2, 0, 3)
    short.load_state_dict(state)
    windows = _windows()
    valid = torch.full((3,), n_valid)
    tokens = network.encode(windows, valid)
    expected = short.encode(windows[..., :15], valid)
    torch.testing.assert_close(tokens[:, :, :3], expected, rtol=1e-9, atol=1e-11)
    assert not tokens[:, :, 3:].any()
    other = windows.clone()
    other[..., n_valid:] = torch.nan
    torch.testing.assert_close(network.encode(other, valid), tokens)


def test_cost_is_linear_in_time():
    """Twice as many patches take twice the operations; all-to-all attention more."""

    def count(network, config, n_patches):
        model = network(config(**SMALL | {"n_patches": n_patches})).eval()
        windows = _windows(n_patches).float()
        # operations of fused kernels are not counted
        with (
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as flops,
            torch.no_grad(),
        ):
            model.encode(windows)
            model.mix(model.decoder_blocks, torch.zeros(1, 4, n_patches, 8))
        return flops.get_total_flops()

    hybrid = [count(HybridStateSpace, HybridConfig, n) for n in (40, 80, 160)]
    assert hybrid[1] == 2 * hybrid[0] and hybrid[2] == 4 * hybrid[0]
    attention = [count(MaskedSignalTransformer, ModelConfig, n) for n in (40, 80)]
    assert attention[1] > 2.5 * attention[0]


def test_start():
    """Fresh state spaces add something; the steps of channels are 0.01 to 1.

    Of tokens with a variance of 1, what states add to the block's output is neither
    lost nor does it blow up.
    """
    torch.manual_seed(0)
    network = HybridStateSpace(HybridConfig(d_model=64, n_heads=4))
    x = torch.randn(4, 50, 64)
    for block in [*network.blocks[:2], *network.decoder_blocks[:1]]:
        assert isinstance(block, StateSpaceBlock)
        for layer in (block.forth, block.back):
            step = F.softplus(layer.step.bias)
            assert 0.0099 < step.min() < 0.05 and 0.5 < step.max() < 1.01
        whole = block(x)[0]
        for layer in (block.forth, block.back):
            torch.nn.init.zeros_(layer.from_state.weight)
        assert 1e-3 < (whole - block(x)[0]).std() < 0.5
    with pytest.raises(ValueError, match="d_state, got 0; give one from 1 to 1024"):
        HybridConfig(d_state=0)
