"""Tests of the transformer: its formula, and what must not change its output."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    MaskedSignalTransformer,
    ModelConfig,
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    sample_mask,
    to_patches,
)

MASKINGS = [RandomMasking(), TimeBlockMasking(), SpaceBlockMasking()]


def _draw(masking, region_pos, n=4):
    return masking(n, 10, region_pos, torch.Generator().manual_seed(1))


def _uneven(n=4):
    """Make a mask that hides another number of tokens in every row."""
    ratio = torch.linspace(0.1, 0.9, n)[:, None, None]
    return torch.rand(n, 24, 10, generator=torch.Generator().manual_seed(2)) < ratio


# -- the formula --------------------------------------------------------------
def _layer_norm(x, weight, bias):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def _reference_encoder(model, window, hidden, n_layers):
    """Encode one scaled window token by token and head by head, in float64."""
    config = model.config
    p = {k: v.double().numpy() for k, v in model.state_dict().items()}
    n_in, length, width = config.sensors_per_region, config.patch_length, config.d_model
    where, tokens = [], []
    for r in range(config.n_regions):
        for t in range(config.n_patches):
            if not hidden[r, t]:
                part = window[r * n_in : (r + 1) * n_in, t * length : (t + 1) * length]
                mixed = (p["mixing"][r] @ part).ravel()
                token = p["embed.weight"] @ mixed + p["embed.bias"]
                token = token + p["region_position"][r, 0] + p["time_position"][t]
                tokens.append(token)
                where.append((r, t))
    x = np.array(tokens)
    for i in range(n_layers):
        q = {k.split(".", 2)[2]: v for k, v in p.items() if k.startswith(f"blocks.{i}")}
        h = _layer_norm(x, q["norm1.weight"], q["norm1.bias"])
        qkv = h @ q["attention.qkv.weight"].T + q["attention.qkv.bias"]
        size, heads = width // config.n_heads, []
        for head in range(config.n_heads):
            query, key, value = (
                qkv[:, part * width + head * size : part * width + (head + 1) * size]
                for part in range(3)
            )
            scores = np.exp(query @ key.T / np.sqrt(size))
            heads.append(scores / scores.sum(1, keepdims=True) @ value)
        out = np.concatenate(heads, 1)
        x = x + out @ q["attention.out.weight"].T + q["attention.out.bias"]
        h = _layer_norm(x, q["norm2.weight"], q["norm2.bias"])
        h = h @ q["expand.weight"].T + q["expand.bias"]
        h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = x + h @ q["contract.weight"].T + q["contract.bias"]
    last = n_layers == config.n_layers
    x = (
        _layer_norm(x, p["norm.weight"], p["norm.bias"])
        if last
        else _layer_norm(x, 1, 0)
    )
    out = np.zeros((config.n_regions, config.n_patches, width))
    out[tuple(np.transpose(where))] = x
    return out


@pytest.mark.parametrize("n_layers", [None, 2])
@pytest.mark.parametrize("mask", [None, _uneven(2)], ids=["all", "masked"])
def test_encoder_is_its_formula(model, windows, mask, n_layers):
    """The encoder equals a plain float64 reference, masked or not.

    Tokens for features are those of the first half of its two layers.
    """
    windows = windows[[0, 2]]
    with torch.inference_mode():
        tokens = model.encode(windows, mask=mask, n_layers=n_layers).numpy()
    hidden = np.zeros((2, 24, 10), bool) if mask is None else mask.numpy()
    for window, gone, got in zip(windows.numpy(), hidden, tokens, strict=True):
        signal = window.astype(float) / model.config.scale
        seen = np.kron(~gone, np.ones((8, 25))).astype(bool)
        rms = np.sqrt(np.mean(signal[seen] ** 2))
        signal = signal / max(1.0, rms / model.config.max_rms)
        expected = _reference_encoder(model, signal, gone, n_layers or 1)
        np.testing.assert_allclose(got, expected, atol=2e-4)
        assert np.abs(expected).max() > 1


def test_bf16_is_near(model, windows):
    """Autocast changes tokens by rounding alone, also where rows differ in length."""
    mask = _uneven()
    with torch.inference_mode():
        exact = model.encode(windows, mask=mask)
        with torch.autocast("cpu", torch.bfloat16):
            near = model.encode(windows, mask=mask).float()
    assert float((near - exact).norm() / exact.norm()) < 0.05


# -- what must not change the output --------------------------------------------
def test_same_input_twice(model, windows, region_pos):
    """The same input gives bit-equal output; training mode has no dropout either."""
    mask = _draw(RandomMasking(), region_pos)
    with torch.inference_mode():
        one = model.encode(windows), model.reconstruct(windows, mask)
        model.train()
        other = model.encode(windows), model.reconstruct(windows, mask)
        model.eval()
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


@pytest.mark.parametrize("masked", [False, True])
def test_batch_does_not_matter(model, windows, masked):
    """A window comes out the same alone, and in any company and order."""
    n_valid = torch.tensor([250, 90, 250, 40])
    mask = _uneven() if masked else None
    order = torch.tensor([2, 0, 3, 1])
    with torch.inference_mode():
        together = model.encode(windows, n_valid, mask)
        turned = model.encode(
            windows[order], n_valid[order], None if mask is None else mask[order]
        )
        torch.testing.assert_close(turned, together[order], rtol=0, atol=1e-5)
        for i in range(4):
            one = slice(i, i + 1)
            alone = model.encode(
                windows[one], n_valid[one], None if mask is None else mask[one]
            )
            torch.testing.assert_close(alone, together[one], rtol=0, atol=1e-5)


@pytest.mark.parametrize("fill", [float("nan"), float("inf"), 1.0])
def test_padding_does_not_matter(model, windows, region_pos, fill):
    """Whatever stands after the recorded samples changes no bit."""
    n_valid = torch.tensor([250, 125, 130, 10])
    recorded = (torch.arange(250) < n_valid[:, None])[:, None]
    padded = torch.where(recorded, windows, fill)
    mask = _draw(RandomMasking(0.3), region_pos)
    with torch.inference_mode():
        for function in (
            lambda x: model.encode(x, n_valid),
            lambda x: model.encode(x, n_valid, mask),
            lambda x: model.reconstruct(x, mask, n_valid)[recorded.expand_as(x)],
        ):
            assert torch.equal(function(windows), function(padded))


def test_short_window_is_the_model_of_its_patches(model, windows):
    """A padded short window equals a model that knows no more patches."""
    short = MaskedSignalTransformer(
        ModelConfig(**(model.config.to_dict() | {"n_patches": 4})), model.kernel
    ).eval()
    state = model.state_dict()
    for name in ("token_mean", "time_position", "decoder_time_position"):
        axis = 1 if name == "token_mean" else 0
        state[name] = state[name].narrow(axis, 0, 4)
    short.load_state_dict(state)
    windows = windows[[0, 2, 3]]  # without gross offsets, whose mean is rounded
    n_valid = torch.full((3,), 100)
    with torch.inference_mode():
        padded = model.encode(windows, n_valid)
        exact = short.encode(windows[..., :100])
    torch.testing.assert_close(padded[:, :, :4], exact, rtol=0, atol=1e-5)
    assert not padded[:, :, 4:].any()


@pytest.mark.parametrize("mask", [*MASKINGS, "uneven"], ids=repr)
def test_hidden_values_do_not_leak(model, windows, region_pos, mask):
    """Tokens and predictions are bit-equal whatever the hidden values are."""
    mask = _uneven() if mask == "uneven" else _draw(mask, region_pos)
    full = torch.full((4,), 250)
    hidden = sample_mask(mask, full, model.config)
    spoiled = torch.where(hidden, 1e-7 * torch.randn(windows.shape), windows)
    with torch.inference_mode():
        for function in (model.encode, model.reconstruct):
            one, other = function(windows, mask=mask), function(spoiled, mask=mask)
            if function == model.reconstruct:
                assert torch.equal(one[~hidden], windows[~hidden])
                one, other = one[hidden], other[hidden]
            assert torch.equal(one, other)
        patches, wrong = (
            to_patches(x / 4e-13, model.config) for x in (windows, spoiled)
        )
        predicted = model.predict_patches(patches, mask)
        assert torch.equal(predicted, model.predict_patches(wrong, mask))
    assert not predicted[~mask].any()
    assert predicted[mask].any()


def test_masked_tokens_are_zero(model, windows, region_pos):
    """Tokens are zero where hidden or not recorded, and nowhere else."""
    mask = _draw(RandomMasking(0.5), region_pos)
    n_valid = torch.tensor([250, 101, 250, 100])
    with torch.inference_mode():
        tokens = model.encode(windows, n_valid, mask)
    recorded = torch.arange(10) < torch.tensor([10, 5, 10, 4])[:, None]
    seen = ~mask & recorded[:, None]
    assert torch.equal((tokens != 0).any(-1), seen)


@pytest.mark.parametrize("bf16", [False, True])
def test_row_without_visible_tokens(model, windows, bf16):
    """A row that is hidden as a whole leaves itself and its batch finite."""
    mask = _uneven()
    mask[1] = True
    n_valid = torch.tensor([250, 250, 250, 50])
    mask[3, :, :3] = True
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = model.reconstruct(windows, mask, n_valid)
    assert torch.isfinite(out).all()
    (out / 1e-13).square().mean().backward()
    assert all(
        torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None
    )
    model.zero_grad()
    everything = torch.ones_like(mask)
    with torch.inference_mode():
        assert torch.isfinite(model.reconstruct(windows, everything)).all()


# -- start ----------------------------------------------------------------------
def test_starts_between_the_interpolations(kernel, windows, region_pos):
    """Fresh weights predict the mean of the interpolations, and train from there."""
    model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1), kernel).eval()
    mask = _draw(RandomMasking(), region_pos)
    patches = to_patches(windows / 4e-13, model.config)
    with torch.inference_mode():
        visible = torch.where(mask[..., None, None], 0.0, patches)
        fills, _ = model.fills(visible, mask)
        predicted = model.predict_patches(patches, mask)
    mean = torch.stack(tuple(fills)).mean(0)
    torch.testing.assert_close(predicted, mean, rtol=1e-4, atol=1e-4)


def test_all_parameters_learn(windows, kernel, region_pos):
    """Every parameter but the last layer's own silence gets a gradient."""
    model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1), kernel)
    torch.nn.init.normal_(model.head.weight)
    torch.nn.init.normal_(model.gate.weight)
    mask = _draw(RandomMasking(), region_pos)
    patches = to_patches(windows / 4e-13, model.config)
    model.predict_patches(patches, mask).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_set_token_axes(model):
    """Axes are kept as buffers, so that they travel with the weights."""
    other = MaskedSignalTransformer(model.config)
    mean, axes = torch.randn(24, 10, 32), torch.randn(24, 16, 32)
    other.set_token_axes(mean, axes)
    assert torch.equal(other.state_dict()["token_mean"], mean)
    assert torch.equal(other.state_dict()["token_axes"], axes)
