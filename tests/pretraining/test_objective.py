"""Tests of the loss against closed forms."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    LocalMasking,
    MaskedSignalTransformer,
    ModelConfig,
    WindowBatch,
    to_patches,
)
from mne_megfm.pretraining import (
    LogErrorLoss,
    MaskedReconstruction,
    SignalSpectrumLoss,
)
from mne_megfm.sensors import canonical_array

SHAPE = (2, 3, 4, 5, 16)


def _everywhere():
    return torch.ones(SHAPE[:3], dtype=torch.bool)


@pytest.mark.parametrize("delta", [1.0, 2.0])
@pytest.mark.parametrize("error", [0.25, 0.9, 3.0, -5.0])
def test_huber(error, delta):
    """A constant error gives Huber's function of it, in units of the target."""
    target = torch.where(torch.rand(SHAPE) < 0.5, 2.0, -2.0)  # root mean square 2
    loss = SignalSpectrumLoss(spectral_weight=0.0, delta=delta)
    got = float(loss(target + 2.0 * error, target, _everywhere()))
    size = abs(error)
    expected = 0.5 * size**2 if size <= delta else delta * (size - 0.5 * delta)
    assert got == pytest.approx(expected, rel=1e-5)


def test_spectrum_sees_amplitude():
    """Patches c times too small cost |log c| in the spectral term."""
    target = torch.zeros(SHAPE)
    target[..., 7] = 1.0  # impulses have flat spectra
    loss, without = (SignalSpectrumLoss(spectral_weight=w) for w in (0.3, 0.0))
    args = (0.5 * target, target, _everywhere())
    got = float(loss(*args)) - float(without(*args))
    assert got == pytest.approx(0.3 * np.log(2), rel=1e-5)


def test_spectrum_ignores_phase():
    """Shifted impulses have the same spectrum, and only the signal term sees them."""
    target = torch.zeros(SHAPE)
    target[..., 7] = 1.0
    args = (target.roll(3, -1), target, _everywhere())
    loss, without = (SignalSpectrumLoss(spectral_weight=w) for w in (0.3, 0.0))
    assert float(loss(*args)) == pytest.approx(float(without(*args)), rel=1e-5)


def test_against_numpy(rng):
    """Random signals give what the formula gives in float64."""
    target, predicted = rng.standard_normal((2, *SHAPE)) * 3.0
    hidden = rng.random(SHAPE[:3]) < 0.4
    unit = np.sqrt((target**2).mean((1, 2, 3, 4), keepdims=True))
    p, t = (predicted / unit)[hidden], (target / unit)[hidden]
    error = np.abs(p - t)
    expected = np.where(error <= 1.5, error**2 / 2, 1.5 * (error - 0.75)).mean()
    p, t = (
        np.log(np.maximum(np.abs(np.fft.rfft(x, norm="ortho")), 1e-2)) for x in (p, t)
    )
    expected += 0.1 * np.abs(p - t).mean()
    loss = SignalSpectrumLoss(spectral_weight=0.1, delta=1.5)
    got = loss(*map(torch.from_numpy, (predicted, target, hidden)))
    assert float(got) == pytest.approx(expected, rel=1e-10)


def test_log_error_against_numpy(rng):
    """The mean over windows of the logarithm of the relative squared error."""
    target, predicted = rng.standard_normal((2, *SHAPE)) * 3.0
    hidden = rng.random(SHAPE[:3]) < 0.4
    expected = [
        np.log(0.05 + np.mean((p[h] - t[h]) ** 2) / np.mean(t**2))
        for p, t, h in zip(predicted, target, hidden, strict=True)
    ]
    got = LogErrorLoss(0.05)(*map(torch.from_numpy, (predicted, target, hidden)))
    assert float(got) == pytest.approx(np.mean(expected), rel=1e-10)


def test_log_error_is_relative():
    """Errors of every size have gradients of one size, as a share of the error."""
    target = torch.randn(SHAPE)
    for size in (0.1, 1.0):
        error = torch.tensor(size, requires_grad=True)
        loss = LogErrorLoss(0.0)(target * (1 + error), target, _everywhere())
        loss.backward()
        assert float(error.grad) * size == pytest.approx(2.0, rel=1e-5)


def test_log_error_leaves_out_windows_without_hidden_patches():
    """A window of which nothing is hidden counts for nothing."""
    target, predicted = torch.randn(2, *SHAPE)
    hidden = _everywhere()
    hidden[1] = False
    loss = LogErrorLoss()
    alone = loss(predicted[:1], target[:1], hidden[:1])
    torch.testing.assert_close(loss(predicted, target, hidden), alone)


@pytest.mark.parametrize("loss", [SignalSpectrumLoss(), LogErrorLoss()])
def test_windows_count_the_same(loss):
    """Amplitude as a whole does not matter, window by window."""
    target, predicted = torch.randn(2, *SHAPE)
    scale = torch.tensor([1.0, 30.0])[:, None, None, None, None]
    one = loss(predicted, target, _everywhere())
    other = loss(predicted * scale, target * scale, _everywhere())
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("loss", [SignalSpectrumLoss(), LogErrorLoss()])
def test_only_hidden_patches_count(loss):
    """What is predicted elsewhere does not matter."""
    target, predicted = torch.randn(2, *SHAPE)
    hidden = torch.rand(SHAPE[:3]) < 0.5
    wrong = torch.where(hidden[..., None, None], predicted, 1e6)
    assert torch.equal(loss(predicted, target, hidden), loss(wrong, target, hidden))


@pytest.mark.parametrize(
    "loss, expected",
    [(SignalSpectrumLoss(), 0.0), (LogErrorLoss(0.01), float(np.log(0.01)))],
)
def test_silent_window_is_finite(loss, expected):
    """A window of zeros gives a finite loss with a finite gradient."""
    predicted = torch.zeros(SHAPE, requires_grad=True)
    got = loss(predicted, torch.zeros(SHAPE), _everywhere())
    got.backward()
    assert float(got.detach()) == pytest.approx(expected)
    assert torch.isfinite(predicted.grad).all()


@pytest.mark.parametrize("scored", [True, False])
def test_loss_is_of_what_is_scored(scored):
    """Errors at hidden tokens that are no targets cost nothing."""
    config = ModelConfig(d_model=32, n_layers=1)
    model = MaskedSignalTransformer(config)
    pos = torch.tensor(canonical_array().region_pos)
    masks = LocalMasking(0.7).draw(2, 10, pos, torch.Generator().manual_seed(0))
    windows = torch.randn(2, 192, 250) * 1e-13
    n_valid = torch.tensor([250, 250])
    rest = masks.hidden & ~masks.targets

    def predict(patches, hidden):
        return patches + 7.0 * rest[..., None, None]

    model.predict_patches = predict
    batch = WindowBatch(
        windows, n_valid, masks.hidden, scored=masks.targets if scored else None
    )
    loss, error, power = MaskedReconstruction().measure(model, batch)
    assert (loss == 0) == scored
    assert (error == 0).all() == scored
    at = masks.targets if scored else masks.hidden
    scaled, _ = model.scale(windows, n_valid, masks.hidden)
    patches = to_patches(scaled.windows, config)
    unit = (scaled.unit / config.scale)[..., None, None]
    expected = torch.where(at[..., None, None], patches * unit, 0.0).square()
    torch.testing.assert_close(power, expected.sum((1, 2, 3, 4)))
