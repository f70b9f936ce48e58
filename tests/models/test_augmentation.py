"""Tests of noise and cropping of training windows."""

import numpy as np
import pytest
import torch

from mne_megfm.models import NoiseAndCropping
from mne_megfm.sensors import canonical_array


@pytest.fixture
def windows():
    """Return windows of white noise at 0.3 pT, and their lengths."""
    generator = torch.Generator().manual_seed(3)
    data = 3e-13 * torch.randn(64, 192, 250, generator=generator)
    return data, torch.full((64,), 250)


def _augment(windows, **params):
    augmentation = NoiseAndCropping(torch.tensor(canonical_array().pos), **params)
    return augmentation(*windows, torch.Generator().manual_seed(0))


def test_nothing_asked_nothing_done(windows):
    data, n_valid = _augment(windows, noisy=0.0, short=0.0)
    assert torch.equal(data, windows[0])
    assert torch.equal(n_valid, windows[1])


def test_noise_is_local(windows):
    """Noise is alike at neighbouring sensors and unlike far away."""
    data, _ = _augment(windows, noisy=1.0, short=0.0)
    noise = ((data - windows[0]) * 1e12).double().numpy()
    strength = noise.std((1, 2)) / 0.3
    assert 0.02 < np.median(strength) < 1.0 and strength.max() < 4.0
    pos = canonical_array().pos
    distance = np.linalg.norm(pos[:, None] - pos[None], axis=-1)
    near, far = [], []
    for window in noise:
        corr = np.corrcoef(window)
        near.append(np.median(corr[(distance > 0) & (distance < 0.03)]))
        far.append(np.median(np.abs(corr[distance > 0.15])))
    assert np.mean(near) > np.mean(far) + 0.2


def test_share_of_noisy_windows(windows):
    data, _ = _augment(windows, noisy=0.3, short=0.0)
    untouched = (data == windows[0]).all(2).all(1).float().mean()
    # three spots and the smooth noise are drawn one by one
    assert abs(float(untouched) - 0.7**4) < 0.15


def test_cropping(windows):
    data, n_valid = _augment(windows, noisy=0.0, short=1.0)
    assert len(n_valid.unique()) == 1
    length = int(n_valid[0])
    assert 75 <= length < 250 and length % 25 == 0
    assert torch.equal(data[:, :, :length], windows[0][:, :, :length])
    assert not data[:, :, length:].any()


def test_what_is_short_stays_short(windows):
    short = windows[1].clone()
    short[0] = 60
    _, n_valid = _augment((windows[0], short), noisy=0.0, short=1.0)
    assert n_valid[0] == 60


def test_filter():
    """Lines pass, and sines as a Gaussian response of some cutoff says."""
    t = np.arange(250) / 250
    frequencies = [5.0, 20.0, 40.0, 60.0]
    rows = [np.sin(2 * np.pi * f * t) for f in frequencies]
    data = np.zeros((1, 192, 250))
    data[0, : len(rows)] = rows
    data[0, 10] = 1.0 - 3.0 * t
    data = torch.tensor(data * 1e-13, dtype=torch.float32)
    got, _ = _augment((data, torch.tensor([250])), noisy=0.0, short=0.0, filtered=1.0)
    torch.testing.assert_close(got[0, 10], data[0, 10], rtol=1e-4, atol=1e-17)
    middle = slice(75, 175)
    gain = [
        float((got[0, k, middle] @ data[0, k, middle]) / data[0, k, middle].norm() ** 2)
        for k in range(len(rows))
    ]
    # the cutoff is that of the first sine that is clearly damped; the others follow
    cutoff = frequencies[1] * np.sqrt(-0.5 * np.log(2) / np.log(gain[1]))
    assert 20.0 <= cutoff <= 80.0
    expected = 2.0 ** (-0.5 * (np.array(frequencies) / cutoff) ** 2)
    np.testing.assert_allclose(gain, expected, atol=0.01)
