"""Tests of state spaces: against a loop over steps, in chunks, with padding."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mne_megfm.models import (
    SelectiveStateSpace,
    StateSpaceBlock,
    StateSpacePredictor,
    associative_scan,
)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def _random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 5, 7, 8, 16, 33, 100])
def test_scan_is_the_loop(n_steps):
    """The scan in parallel is the recurrence, step by step in NumPy."""
    decay, given = _random(3, n_steps, 2, 4), _random(3, n_steps, 2, 4)
    state, expected = np.zeros((3, 2, 4)), []
    for t in range(n_steps):
        state = decay[:, t].numpy() * state + given[:, t].numpy()
        expected.append(state)
    got = associative_scan(decay, given).numpy()
    np.testing.assert_allclose(got, np.stack(expected, 1), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("n_steps", [1, 2, 5, 8])
def test_gradients_of_the_scan(n_steps):
    """Gradients are those of finite differences, to the second order."""
    given = _random(2, n_steps, 2), _random(2, n_steps, 2)
    given = tuple(x.requires_grad_(True) for x in given)
    assert torch.autograd.gradcheck(associative_scan, given)
    assert torch.autograd.gradgradcheck(associative_scan, given)


def test_scan_is_linear_in_time():
    """Twice as many steps take twice as many products, not more."""

    class Products(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.mul.Tensor:
                self.total += args[0].numel()
            return func(*args, **(kwargs or {}))

    def count(n_steps):
        with Products() as products:
            associative_scan(torch.rand(1, n_steps), torch.rand(1, n_steps))
        return products.total

    assert 1024 < count(1024) < 3 * 1024
    assert count(4096) < 4.1 * count(1024)


def _layer(d_model=3, d_state=2):
    layer = SelectiveStateSpace(d_model, d_state).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def _loop(layer, x, state=None):
    """Go through one sequence step by step, by the equations of Gu and Dao (2023)."""
    a = -np.exp(layer.log_decay.detach().numpy())
    weight = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    h = np.zeros_like(a) if state is None else state
    outputs = []
    for step in x.numpy():
        size = np.log1p(np.exp(weight["step.weight"] @ step + weight["step.bias"]))
        b, c = weight["to_state.weight"] @ step, weight["from_state.weight"] @ step
        discrete_a = np.exp(size[:, None] * a)
        # eq. 4: (delta A)^-1 (exp(delta A) - 1) delta B
        discrete_b = (discrete_a - 1) / (size[:, None] * a) * size[:, None] * b
        h = discrete_a * h + discrete_b * step[:, None]
        outputs.append(h @ c + weight["skip"] * step)
    return np.stack(outputs), h


def test_layer_is_its_equations():
    """Outputs and last states are those of the equations, in a loop."""
    layer, x = _layer(), _random(4, 11, 3)
    y, state = layer(x)
    for i in range(4):
        expected, last = _loop(layer, x[i])
        np.testing.assert_allclose(y[i].detach(), expected, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(state[i].detach(), last, rtol=1e-9, atol=1e-11)


def test_gradients_of_the_layer():
    """Gradients to inputs, state and parameters are those of finite differences."""
    layer = _layer()
    names = [name for name, _ in layer.named_parameters()]
    seen = torch.tensor([[True, True, False, True, True]])

    def outputs(x, state, *values):
        named = dict(zip(names, values, strict=True))
        return torch.func.functional_call(layer, named, (x, seen, state))

    values = [p.detach().clone().requires_grad_(True) for p in layer.parameters()]
    x, state = _random(1, 5, 3).requires_grad_(), _random(1, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(outputs, (x, state, *values))


@pytest.mark.parametrize("chunk", [1, 3, 4, 11])
def test_chunks_with_the_state_carried(chunk):
    """A long sequence in chunks gives what it gives at once."""
    block, x = StateSpaceBlock(4, 2, causal=True).double(), _random(2, 11, 4)
    expected, last = block(x)
    state, parts = None, []
    for part in x.split(chunk, 1):
        y, state = block(part, None, state)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="no state for a block that goes both ways"):
        StateSpaceBlock(4, 2).double()(x, None, last)


def _predictor(causal, n_layers=2):
    axes = _random(3, 5)
    made = StateSpacePredictor(_random(5), axes, 2, 4, 2, n_layers, causal).double()
    torch.nn.init.normal_(made.correction.weight)
    return made


@pytest.mark.parametrize("causal", [True, False])
def test_padding_changes_nothing(causal):
    """Steps that are not seen change no output, before, between or after others."""
    predictor, steps = _predictor(causal), _random(1, 6, 5)
    expected = predictor(steps, torch.ones(1, 6, dtype=torch.bool))
    for at in ([0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7], [0, 3, 4, 6, 7, 8]):
        padded = 9.0 * _random(1, 9, 5)
        seen = torch.zeros(1, 9, dtype=torch.bool)
        padded[:, at], seen[:, at] = steps, True
        got = predictor(padded, seen)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-11)
        # and no gradient goes to them
        padded.requires_grad_()
        predictor(padded, seen).sum().backward()
        assert not padded.grad[~seen].any() and padded.grad[seen].any()


def test_causal_when_asked():
    """Outputs of causal predictors at a step know earlier steps alone."""
    steps, seen = _random(1, 8, 5), torch.ones(1, 8, dtype=torch.bool)
    for causal in (True, False):
        predictor = _predictor(causal)
        x = steps.clone().requires_grad_()
        predictor.running(x, seen)[0, 4].sum().backward()
        assert x.grad[0, :5].abs().amin() > 0
        assert bool(x.grad[0, 5:].any()) != causal
    # what it says at a step is what it says of the sequence that ends there
    running = (causal := _predictor(True)).running(steps, seen)
    for end in range(1, 9):
        got = causal(steps[:, :end], seen[:, :end])
        torch.testing.assert_close(got, running[:, end - 1], rtol=1e-9, atol=1e-11)


def test_order_matters_to_state_spaces_alone():
    """The linear part sees the mean of the steps, the rest their order too."""
    predictor, steps = _predictor(False), _random(2, 7, 5)
    seen = torch.ones(2, 7, dtype=torch.bool)
    turned = steps[:, torch.randperm(7)]
    assert not torch.allclose(predictor(turned, seen), predictor(steps, seen))
    torch.nn.init.zeros_(predictor.correction.weight)
    torch.testing.assert_close(predictor(turned, seen), predictor(steps, seen))
    mean = (steps.mean(1) - predictor.centre) @ predictor.axes.T
    expected = F.linear(mean, predictor.linear.weight, predictor.linear.bias)
    torch.testing.assert_close(predictor(steps, seen), expected)


@pytest.mark.parametrize("causal", [True, False])
def test_all_is_on_the_device_of_the_predictor(causal):
    """Nothing is left on the CPU: on a device without memory, all shapes work out."""
    predictor = _predictor(causal).to("meta")
    steps, seen = _random(3, 7, 5).to("meta"), torch.ones(3, 7, device="meta") > 0
    outputs = predictor(steps, seen)
    assert outputs.device.type == "meta" and outputs.shape == (3, 2)
