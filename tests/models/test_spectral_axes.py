"""Spectral axes of tokens follow the spectrum of a recording."""

import numpy as np
import pytest
import torch
from scipy.signal import periodogram
from sklearn.decomposition import PCA

from mne_megfm.models import (
    BackboneConfig,
    BaseBackbone,
    ProjectionPooling,
    WindowArray,
    fit_token_projection,
    to_patches,
)


class PatchNetwork(BaseBackbone):
    """Tokens are the patches, projected by a fixed matrix: linear in the signal."""

    config_class = BackboneConfig

    def __init__(self, config, kernel=None):
        super().__init__(config, kernel)
        self.embed = torch.nn.Linear(config.token_length, config.d_model, bias=False)

    def encode(self, windows, n_valid=None, mask=None):
        scaled, hidden = self.scale(windows, n_valid, mask)
        patches = to_patches(scaled.windows, self.config).flatten(3)
        return self.embed(patches) * ~hidden[..., None]

    def layer_groups(self):
        return [["embed"]]


CONFIG = BackboneConfig(n_sensors=24, n_regions=6, d_model=24, n_components=4)


@pytest.fixture(scope="module")
def network():
    """A network of fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PatchNetwork(CONFIG).eval().requires_grad_(False)


def rhythms(n, n_windows, seed):
    """Make recordings of a rhythm of their own, in 1/f noise that all share."""
    rng = np.random.default_rng(seed)
    freq = rng.uniform(8, 13, n)
    size = np.exp(0.3 * rng.standard_normal(n))
    times = np.arange(CONFIG.n_times) / CONFIG.sfreq
    phase = rng.uniform(0, 2 * np.pi, (n, n_windows, CONFIG.n_sensors, 1))
    wave = np.sin(2 * np.pi * freq[:, None, None, None] * times + phase)
    shape = n, n_windows, CONFIG.n_sensors, CONFIG.n_times // 2 + 1
    noise = rng.standard_normal((*shape, 2)) @ np.array([1, 1j])
    noise[..., 1:] /= np.sqrt(np.arange(1, shape[-1]))
    noise[..., 0] = 0
    noise = np.fft.irfft(noise, CONFIG.n_times)
    signal = size[:, None, None, None] * (wave + noise / noise.std())
    windows = WindowArray(
        signal.reshape(-1, *signal.shape[2:]),
        unit=1e-13,
        recording=np.repeat(np.arange(n), n_windows),
    )
    return windows, freq, size


def spectral_features(network, windows):
    """Pool all windows; the spectral features alone, (n, n_regions, n_spectral)."""
    data, n_valid = map(torch.as_tensor, windows.take(np.arange(len(windows))))
    tokens = network.encode(data, n_valid) - network.token_mean
    recorded = torch.ones(len(data), CONFIG.n_patches, dtype=torch.bool)
    pooling = ProjectionPooling(n_components=4)
    features = pooling(tokens, recorded, network)
    names = pooling.names(CONFIG.n_regions, CONFIG.n_patches, CONFIG.d_model, 0.1)
    assert len(names) == features.shape[1] == 6 * 10 * 4 + 6 * 6
    assert names[-1] == "region05_spectrum05"
    return features[:, 240:].unflatten(1, (6, 6)).numpy()


def test_spectral_features_say_frequency_and_size(network):
    """Of recordings that were not fitted on, by linear regression on half of them."""
    fit_token_projection(network, rhythms(60, 12, 1)[0], 720)
    windows, freq, size = rhythms(200, 10, 2)
    features = spectral_features(network, windows).reshape(200, 10, -1).mean(1)
    design = np.column_stack([np.ones(200), features])
    for truth, least in ((freq, 0.8), (np.log(size), 0.95)):
        weights = np.linalg.lstsq(design[:100], truth[:100], rcond=None)[0]
        assert np.corrcoef(design[100:] @ weights, truth[100:])[0, 1] > least


def test_spectral_features_are_centred_and_scaled(network):
    """Over the windows of the fit: mean 0; a variance of 1 a patch in each region."""
    windows = rhythms(60, 12, 1)[0]
    fit_token_projection(network, windows, 720)
    features = spectral_features(network, windows)
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-4)
    variance = features.var(0).sum(1).mean()
    assert variance == pytest.approx(CONFIG.n_patches, rel=1e-3)


def test_spectral_axes_against_definition(network):
    """The same by NumPy and SciPy in float64, for windows of one recording each."""
    windows = rhythms(90, 1, 3)[0]
    fit_token_projection(network, windows, 90)
    data, n_valid = map(torch.as_tensor, windows.take(np.arange(90)))
    freqs, power = periodogram(
        data.numpy(), CONFIG.sfreq, window="hann", detrend="constant"
    )
    inside = (freqs >= 4) & (freqs <= 30)
    spectrum = np.log(power[..., inside].reshape(90, 6, 4, -1).mean(2))
    around = (spectrum - spectrum.mean(0)).reshape(540, -1)
    target = PCA(6, whiten=True, svd_solver="full").fit_transform(around)
    tokens = (network.encode(data, n_valid) - network.token_mean).numpy()
    squares = np.square(tokens.astype(float)).mean(2)
    values = np.log(squares / squares.mean(0) + 0.01)
    values = values - values.mean(0)
    expected = []
    for region in range(6):
        x, y = values[:, region], target.reshape(90, 6, 6)[:, region]
        gram = x.T @ x
        ridge = 0.01 * np.trace(gram) / len(gram) * np.eye(len(gram))
        expected.append(x @ np.linalg.solve(gram + ridge, x.T @ y))
    expected = np.stack(expected, 1)
    expected *= np.sqrt(CONFIG.n_patches / np.square(expected).mean(0).sum(1).mean())
    got = spectral_features(network, windows)
    signs = np.sign((got * expected).sum((0, 1)))
    np.testing.assert_allclose(got, signs * expected, atol=6e-3)


def test_windows_that_end_early_are_left_out(network):
    """Their spectrum is not that of a window; of none there are no axes."""
    windows = rhythms(30, 2, 4)[0]
    fit_token_projection(network, windows, 60)
    expected = network.spectral_axes.clone()
    whole = np.asarray(windows.take(np.arange(60))[0])
    data = np.concatenate([whole, 5 * whole[:7, :, ::-1]])
    n_valid = np.r_[np.full(60, 250), np.full(7, 130)]
    data[60:, :, 130:] = 0
    more = WindowArray(data, unit=1.0, n_valid=n_valid, recording=np.arange(67))
    fit_token_projection(network, more, 67)
    assert expected.abs().sum() > 0
    cosine = torch.cosine_similarity(
        network.spectral_axes.flatten(1), expected.flatten(1)
    )
    assert (cosine > 0.9).all()
    short = WindowArray(data[60:], unit=1.0, n_valid=n_valid[60:])
    fit_token_projection(network, short, 7)
    assert not network.spectral_axes.any()


def test_no_spectral_features_where_none_are_asked(network):
    """``n_spectral=0`` leaves the others as they are; more than there are: an error."""
    tokens = torch.randn(2, 6, 10, 24)
    recorded = torch.ones(2, 10, dtype=torch.bool)
    whole = ProjectionPooling(4)(tokens, recorded, network)
    part = ProjectionPooling(4, n_spectral=0)(tokens, recorded, network)
    assert torch.equal(whole[:, :240], part)
    with pytest.raises(ValueError, match="Expected n_spectral <= 6"):
        ProjectionPooling(4, n_spectral=7)(tokens, recorded, network)
    with pytest.raises(ValueError, match="Expected a whole number of 0"):
        ProjectionPooling(n_spectral=-1)
