"""Tests of Wiener interpolation: the dense conditional mean, and planted truth."""

import numpy as np
import pytest
import torch
from scipy.linalg import toeplitz

from mne_megfm.models import (
    ModelConfig,
    _interpolation as module,
    from_patches,
    time_interpolation,
    to_patches,
)
from mne_megfm.models._interpolation import (
    GaussianComponents,
    fit_components,
    wiener_interpolation,
)

CONFIG = ModelConfig(n_sensors=12, n_regions=4, patch_length=5, n_patches=6, d_model=16)
N, S, T = 5, CONFIG.n_sensors, CONFIG.n_times
_LAGS = np.arange(T)


def _samples(hidden):
    """Spread a mask over patches to sensors and samples."""
    hidden = np.repeat(hidden, CONFIG.sensors_per_region, -2)
    return np.repeat(hidden, CONFIG.patch_length, -1)


@pytest.fixture
def process(rng):
    """Return components: a slow one, a rhythm, and one that forgets at once."""
    axes = np.linalg.qr(rng.standard_normal((S, 3)))[0]
    decay = np.exp(-_LAGS / np.array([[20.0], [30.0], [0.7]]))
    decay[1] *= np.cos(0.9 * _LAGS)
    return GaussianComponents(
        torch.from_numpy(axes),
        torch.from_numpy(decay * np.array([[4.0], [2.0], [1.0]])),
        0.05,
        torch.from_numpy(axes @ np.diag([4.0, 2.0, 1.0]) @ axes.T + 0.05 * np.eye(S)),
    )


@pytest.fixture
def patches(rng):
    """Return random windows and a random mask with odd cases."""
    windows = rng.standard_normal((N, S, T))
    hidden = rng.random((N, CONFIG.n_regions, CONFIG.n_patches)) < 0.5
    hidden[0, 0] = True  # a region hidden all the time
    hidden[1, :, 2:4] = True  # a gap of all sensors
    hidden[2] = False
    hidden[2, :, 1] = True
    hidden[3] = True
    hidden[4] = False
    return windows, hidden


def _dense(windows, gone, process):
    """Solve for the conditional mean with the whole covariance matrix."""
    axes, lagged = process.axes.numpy(), process.autocovariance.numpy()
    covariance = process.noise * np.eye(S * T)
    for axis, r in zip(axes.T, lagged, strict=True):
        covariance += np.kron(np.outer(axis, axis), toeplitz(r))
    out = np.zeros((N, S * T))
    for row, x, h in zip(out, windows.reshape(N, -1), gone.reshape(N, -1), strict=True):
        if h.any() and not h.all():
            inner = covariance[np.ix_(~h, ~h)]
            row[h] = covariance[np.ix_(h, ~h)] @ np.linalg.solve(inner, x[~h])
    return out.reshape(N, S, T)


@pytest.mark.parametrize(("exact", "atol"), [(True, 1e-8), (False, 0.05)])
def test_is_the_conditional_mean(process, patches, monkeypatch, exact, atol):
    """In double precision it is what the dense covariance matrix gives."""
    windows, hidden = patches
    gone = _samples(hidden)
    if exact:
        monkeypatch.setattr(module, "_TOLERANCE", 1e-10)
        monkeypatch.setattr(module, "_NEGLIGIBLE", 0.0)
    given = to_patches(torch.from_numpy(np.where(gone, np.nan, windows)), CONFIG)
    filled = wiener_interpolation(given, torch.from_numpy(hidden), process)
    got = from_patches(filled, CONFIG).numpy()
    expected = _dense(windows, gone, process)
    assert np.abs(expected).max() > 1.0
    np.testing.assert_allclose(got, expected, atol=atol)


def test_over_sensors_alone(process, patches):
    """At each time it is the conditional mean by the covariance over sensors."""
    windows, hidden = patches
    gone, covariance = _samples(hidden), process.covariance.numpy()
    given = to_patches(torch.from_numpy(np.where(gone, np.nan, windows)), CONFIG)
    got = module.covariance_interpolation(
        given, torch.from_numpy(hidden), process.covariance
    )
    for window, where, filled in zip(
        windows, gone, from_patches(got, CONFIG).numpy(), strict=True
    ):
        for t in range(T):
            h, expected = where[:, t], np.zeros(S)
            if h.any() and not h.all():
                inner = covariance[np.ix_(~h, ~h)]
                expected[h] = covariance[np.ix_(h, ~h)] @ np.linalg.solve(
                    inner, window[~h, t]
                )
            np.testing.assert_allclose(filled[:, t], expected, atol=1e-6)


def test_covariance_without_gaps_is_the_posterior_mode():
    """If all is visible, sample covariance and prior are added in closed form."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, S, T)) * np.linspace(1, 3, S)[:, None]
    kernel = np.eye(S) + 0.3
    kernel /= kernel.diagonal().mean()
    flat = x.transpose(1, 0, 2).reshape(S, -1)
    prior = np.mean(x**2) * (0.9 * kernel + 0.1 * np.eye(S))
    expected = (flat @ flat.T + 20 * prior) / (flat.shape[1] + 20)
    got = module._covariance(
        torch.from_numpy(x),
        torch.ones(4, S, dtype=torch.bool),
        torch.from_numpy(kernel),
    )
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


def test_covariance_with_gaps_is_a_stationary_point():
    """With missing sensors the posterior has its mode there: its gradient is 0."""
    rng = np.random.default_rng(2)
    root = rng.standard_normal((S, S)) / 3
    x = np.einsum("st,ntl->nsl", root, rng.standard_normal((30, S, T)))
    seen = rng.random((30, S)) < 0.7
    kernel = np.eye(S)
    power = np.mean(x.transpose(0, 2, 1)[np.repeat(seen[:, None], T, 1)] ** 2)

    def log_posterior(covariance):
        inverse, (_, logdet) = np.linalg.inv(covariance), np.linalg.slogdet(covariance)
        value = -10 * (logdet + power * np.trace(inverse))
        for signal, s in zip(x, seen, strict=True):
            inner = covariance[np.ix_(s, s)]
            value -= T / 2 * np.linalg.slogdet(inner)[1]
            value -= np.sum(signal[s] * np.linalg.solve(inner, signal[s])) / 2
        return value

    given = np.where(seen[..., None], x, 0.0)
    args = (torch.from_numpy(given), torch.from_numpy(seen), torch.from_numpy(kernel))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_N_STEPS", 200)
        mode = module._covariance(*args).numpy()
    best = log_posterior(mode)
    for _ in range(20):
        step = rng.standard_normal((S, S))
        step = 1e-3 * (step + step.T)
        assert log_posterior(mode + step) < best
    few = module._covariance(*args).numpy()
    assert log_posterior(few) > best - 0.05 * abs(best - log_posterior(power * kernel))


def _rhythm(rng, starts, sfreq=50.0):
    """Make windows of a 5 Hz rhythm of slowly changing size, one topography, noise."""
    time = np.arange(max(starts) + T) / sfreq
    phase = 2 * np.pi * 5 * time + 0.3 * np.cumsum(rng.standard_normal(len(time))) / 5
    signal = np.cos(phase)
    topography = np.linspace(-1, 1, S)
    return np.stack(
        [
            topography[:, None] * signal[s : s + T] + 0.1 * rng.standard_normal((S, T))
            for s in starts
        ]
    )


@pytest.mark.parametrize("joined", [True, False], ids=["joined", "apart"])
def test_a_rhythm_goes_on_through_a_gap(rng, joined):
    """What a rhythm does in a gap is predicted from its own past and future."""
    starts = np.arange(40) * (T if joined else 2 * T)
    x = torch.from_numpy(_rhythm(rng, starts))
    hidden = torch.zeros(40, CONFIG.n_regions, CONFIG.n_patches, dtype=torch.bool)
    hidden[:, :, 2:4] = True
    patches = to_patches(x, CONFIG)
    kernel = torch.eye(S)
    given = torch.where(hidden[..., None, None], torch.nan, patches)
    components = fit_components(
        given, hidden, kernel, torch.from_numpy(starts) if joined else None, 2
    )
    at = hidden[..., None, None].expand_as(patches)

    def r2(guess):
        return 1 - float((guess - patches)[at].square().sum() / x.square().sum() * 3)

    assert r2(wiener_interpolation(given, hidden, components)) > 0.8
    assert r2(time_interpolation(patches, hidden)) < 0.3
    # the topography that was planted
    planted = torch.linspace(-1, 1, S).double()
    overlap = components.axes[:, 0] @ planted / planted.norm()
    assert abs(float(overlap)) > 0.99


def test_autocovariance_is_the_biased_estimate(rng):
    """Joined windows give what one long signal does, lag by lag, by NumPy."""
    z = rng.standard_normal((2, 3 * T))
    windows = torch.from_numpy(z.reshape(2, 3, T).transpose(1, 0, 2).copy())
    present = torch.ones(3, T, dtype=torch.bool)
    present[1, 4:9] = False
    on = present.numpy().ravel()
    got = module._autocovariance(
        windows * present[:, None], present, torch.arange(3) * T
    )
    masked = z * on
    for signal, r in zip(masked, got.numpy(), strict=True):
        full = np.correlate(signal, signal, "full")[len(signal) - 1 :]
        np.testing.assert_allclose(r, full[:T] / on.sum(), atol=1e-12)
    apart = module._autocovariance(windows * present[:, None], present, None)
    parts = masked.reshape(2, 3, T)
    expected = np.mean(
        [[np.correlate(p, p, "full")[T - 1 :] for p in row] for row in parts], 1
    )
    np.testing.assert_allclose(apart, expected * 3 / on.sum(), atol=1e-12)
    # positive semidefinite
    for r in apart.numpy():
        assert np.linalg.eigvalsh(toeplitz(r)).min() > -1e-10


def test_nothing_to_go_by():
    """All hidden, or nothing but zeros: the prediction is 0, not NaN."""
    patches = torch.zeros(2, CONFIG.n_regions, CONFIG.n_patches, 3, 5)
    hidden = torch.zeros(2, CONFIG.n_regions, CONFIG.n_patches, dtype=torch.bool)
    hidden[:, 1] = True
    for gone in (hidden, torch.ones_like(hidden)):
        components = fit_components(patches, gone, torch.eye(S))
        filled = wiener_interpolation(patches, gone, components)
        assert torch.equal(filled, torch.zeros_like(filled))
