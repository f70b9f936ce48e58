"""Objectives beside plain reconstruction, against closed forms."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    MaskedSignalTransformer,
    ModelConfig,
    band_powers,
    from_patches,
    to_patches,
)
from mne_megfm.pretraining import BandBalancedReconstruction

SIZES = {
    "n_sensors": 16,
    "n_regions": 4,
    "sfreq": 100.0,
    "patch_length": 10,
    "n_patches": 10,
    "d_model": 16,
    "n_layers": 1,
    "n_decoder_layers": 1,
}
CONFIG = ModelConfig(**SIZES)
EDGES = (4.0, 8.0, 13.0, 30.0)
TIME = torch.arange(100, dtype=torch.float64) / 100.0


def _sine(frequency, amplitude=1.0):
    """Windows of a sinusoid at all sensors, cut into patches."""
    wave = amplitude * torch.sin(2 * torch.pi * frequency * TIME + 0.3)
    return to_patches(wave.expand(2, 16, 100), CONFIG)


def _everywhere(n=2):
    return torch.ones(n, 4, 10, dtype=torch.bool)


def _balanced(predicted, target, hidden, config=CONFIG, **params):
    objective = BandBalancedReconstruction(**params)
    return objective._loss(predicted, target, hidden, config)


# -- band-balanced ---------------------------------------------------------------------
@pytest.mark.parametrize("n_times", [100, 101])
def test_band_powers(rng, n_times):
    """As sums of the periodogram of NumPy; together the sum of squares (Parseval)."""
    signals = rng.standard_normal((3, 2, n_times))
    got = band_powers(torch.from_numpy(signals), 100.0, EDGES).numpy()
    assert np.allclose(got.sum(-1), (signals**2).sum(-1), rtol=1e-12)
    power = np.abs(np.fft.fft(signals)) ** 2 / n_times
    frequency = np.abs(np.fft.fftfreq(n_times, 0.01))
    ends = [0.0, *EDGES, np.inf]
    for band in range(5):
        inside = (frequency >= ends[band]) & (frequency < ends[band + 1])
        assert np.allclose(got[..., band], power[..., inside].sum(-1), rtol=1e-12)


@pytest.mark.parametrize("lost", [2.0, 6.0, 10.0, 20.0, 40.0])
@pytest.mark.parametrize("amplitudes", [(1.0,) * 5, (30.0, 10.0, 3.0, 1.0, 0.3)])
def test_bands_cost_the_same(lost, amplitudes):
    """A rhythm that is missing costs a fifth, however weak it is."""
    frequencies = (2.0, 6.0, 10.0, 20.0, 40.0)
    parts = {f: _sine(f, a) for f, a in zip(frequencies, amplitudes, strict=True)}
    target = sum(parts.values())
    loss = _balanced(target - parts[lost], target, _everywhere(), floor=0.0)
    assert float(loss) == pytest.approx(0.2, rel=1e-9)
    # with the floor that is set, to 1 % of that
    loss = _balanced(target - 0.5 * parts[lost], target, _everywhere())
    assert float(loss) == pytest.approx(0.05, rel=0.02)


@pytest.mark.parametrize("edges", [(15.0,), (5.0, 15.0)])
def test_other_bands(edges):
    """Bands are those that are asked for."""
    target = _sine(10.0, 5.0) + _sine(20.0, 0.1)
    loss = _balanced(target - _sine(20.0, 0.1), target, _everywhere(), edges=edges)
    # of two bands one is lost; of three, one of which is empty, too
    assert float(loss) == pytest.approx(1 / (len(edges) + 1), rel=1e-2)


def test_share_that_is_not_explained(rng):
    """Nothing predicted costs 1 wherever the mask is, and a share its square."""
    target = torch.from_numpy(rng.standard_normal((3, 4, 10, 4, 10)).cumsum(-1))
    hidden = torch.from_numpy(rng.random((3, 4, 10)) < 0.4)
    for share in (0.0, 0.7, 1.0):
        predicted = torch.where(hidden[..., None, None], share * target, 1e3)
        loss = _balanced(predicted, target, hidden, floor=0.0)
        assert float(loss) == pytest.approx((1 - share) ** 2, abs=1e-12)
    # in units of the window, and without windows of which nothing is hidden
    scale = torch.tensor([1.0, 7.0, 0.1])[:, None, None, None, None]
    predicted = torch.from_numpy(rng.standard_normal(target.shape))
    one = _balanced(predicted, target, hidden)
    assert torch.allclose(_balanced(predicted * scale, target * scale, hidden), one)
    alone = _balanced(predicted[1:], target[1:], hidden[1:])
    hidden[0] = False
    assert torch.allclose(_balanced(predicted, target, hidden), alone)


def test_balance_against_numpy(rng):
    """Random signals give what the formula gives."""
    target, predicted = rng.standard_normal((2, 2, 4, 10, 4, 10))
    hidden = rng.random((2, 4, 10)) < 0.5
    windows = [
        from_patches(torch.from_numpy(x * hidden[..., None, None]), CONFIG).numpy()
        for x in (predicted - target, target)
    ]
    frequency = np.abs(np.fft.fftfreq(100, 0.01))
    band = np.digitize(np.round(frequency), EDGES)
    error, power = (
        np.stack(
            [(np.abs(np.fft.fft(w)) ** 2)[..., band == b].sum((1, 2)) for b in range(5)]
        )
        for w in windows
    )
    expected = np.mean(error / (power + 0.01 * power.sum(0)))
    args = map(torch.from_numpy, (predicted, target, hidden))
    assert float(_balanced(*args, floor=0.01)) == pytest.approx(expected, rel=1e-10)


def test_gradient_of_balance(rng):
    predicted, target = (
        torch.from_numpy(rng.standard_normal((1, 4, 10, 4, 10))) for _ in range(2)
    )
    hidden = torch.zeros(1, 4, 10, dtype=torch.bool)
    hidden[0, 1, 3:5] = True
    predicted = predicted[:, 1, 3:5].clone().requires_grad_()

    def loss(part):
        whole = target.clone()
        whole[:, 1, 3:5] = part
        return _balanced(whole, target, hidden)

    assert torch.autograd.gradcheck(loss, predicted)


def test_silent_windows_of_balance():
    """A window without signal has neither loss nor gradient; others keep theirs."""
    target = torch.cat([torch.zeros(1, 4, 10, 4, 10), torch.randn(1, 4, 10, 4, 10)])
    predicted = torch.full(target.shape, 0.1, requires_grad=True)
    loss = _balanced(predicted, target, _everywhere())
    alone = _balanced(predicted[1:], target[1:], _everywhere(1))
    assert torch.equal(loss, alone)
    assert not _balanced(predicted[:1], target[:1], _everywhere(1)).any()
    loss.backward()
    assert not predicted.grad[0].any() and torch.isfinite(predicted.grad).all()


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"edges": (8.0, 4.0)}, "frequencies in Hz that rise"),
        ({"edges": ()}, "frequencies in Hz that rise"),
        ({"edges": "4, 8"}, "frequencies in Hz that rise"),
        ({"edges": (0.0, 4.0)}, "frequencies in Hz that rise"),
        ({"floor": -1.0}, "floor to be a number"),
    ],
)
def test_wrong_bands(params, match):
    with pytest.raises(ValueError, match=match):
        BandBalancedReconstruction(**params)


@pytest.mark.parametrize(
    ("edges", "match"),
    [((4.2, 4.8, 30.0), "from 4.2 to 4.8 Hz"), ((4.0, 60.0), "from 60 to 50 Hz")],
)
def test_bands_without_frequencies(edges, match):
    """Bands that the windows of a model cannot have are refused before training."""
    objective = BandBalancedReconstruction(edges)
    with pytest.raises(ValueError, match=match):
        objective.build(MaskedSignalTransformer(CONFIG))
