"""Tests of both interpolations against NumPy."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    ModelConfig,
    field_interpolation,
    from_patches,
    time_interpolation,
    to_patches,
)
from mne_megfm.models._interpolation import field_estimates, field_trust

CONFIG = ModelConfig(n_sensors=12, n_regions=4, patch_length=5, n_patches=6, d_model=16)


def _samples(hidden):
    """Spread a mask over patches to sensors and samples."""
    hidden = np.repeat(hidden, CONFIG.sensors_per_region, -2)
    return np.repeat(hidden, CONFIG.patch_length, -1)


@pytest.fixture
def patches(rng):
    """Return random windows and a random mask with odd cases."""
    windows = rng.standard_normal((5, CONFIG.n_sensors, CONFIG.n_times))
    hidden = rng.random((5, CONFIG.n_regions, CONFIG.n_patches)) < 0.5
    hidden[0, 0] = True  # a region hidden all the time
    hidden[1, 1] = [True, True, False, True, True, True]
    hidden[2, :, 2] = True  # a moment hidden everywhere
    hidden[3] = True
    hidden[4] = False
    return windows, hidden


def _run(function, windows, hidden, *args):
    """Interpolate windows rather than patches."""
    filled = function(
        to_patches(torch.from_numpy(windows), CONFIG), torch.from_numpy(hidden), *args
    )
    return from_patches(filled, CONFIG).numpy()


def test_time_interpolation_is_numpys(patches):
    """Hidden samples lie on the lines that numpy.interp draws."""
    windows, hidden = patches
    got = _run(time_interpolation, windows, hidden)
    masked = _samples(hidden)
    time = np.arange(CONFIG.n_times)
    for window, where, filled in zip(windows, masked, got, strict=True):
        for signal, gone, guess in zip(window, where, filled, strict=True):
            expected = np.zeros(CONFIG.n_times)
            if gone.any() and not gone.all():
                expected[gone] = np.interp(time[gone], time[~gone], signal[~gone])
            np.testing.assert_allclose(guess, expected, atol=1e-6)


def test_field_interpolation_is_minimum_norm(patches, rng):
    """It equals the minimum-norm solution of sources that make up the kernel."""
    windows, hidden = patches
    leadfield = rng.standard_normal((CONFIG.n_sensors, 30))
    leadfield /= np.sqrt(np.mean(np.sum(leadfield**2, 1)))
    kernel, noise = leadfield @ leadfield.T, 0.03
    got = _run(field_interpolation, windows, hidden, torch.from_numpy(kernel), noise)
    masked = _samples(hidden)
    for window, where, filled in zip(windows, masked, got, strict=True):
        for t in range(CONFIG.n_times):
            gone, expected = where[:, t], np.zeros(CONFIG.n_sensors)
            if gone.any() and not gone.all():
                seen = leadfield[~gone]
                # Tikhonov in source space: the other side of the kernel trick
                normal = seen.T @ seen + noise * np.eye(leadfield.shape[1])
                sources = np.linalg.solve(normal, seen.T @ window[~gone, t])
                expected[gone] = leadfield[gone] @ sources
            np.testing.assert_allclose(filled[:, t], expected, atol=1e-8)


def test_field_interpolation_is_a_gaussian_process(patches, rng):
    """It is the posterior mean of scikit-learn's Gaussian process."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    windows, hidden = patches
    pos = rng.standard_normal((CONFIG.n_sensors, 3))
    kernel = RBF(1.5)
    got = _run(field_interpolation, windows, hidden, torch.from_numpy(kernel(pos)), 0.1)
    gone = _samples(hidden)[0, :, 0]
    process = GaussianProcessRegressor(kernel, alpha=0.1, optimizer=None)
    process.fit(pos[~gone], windows[0, ~gone, 0])
    np.testing.assert_allclose(got[0, gone, 0], process.predict(pos[gone]), atol=1e-6)


def test_field_interpolation_is_exact_in_the_span(rng):
    """Fields of fewer sources than visible sensors come back without noise."""
    leadfield = rng.standard_normal((CONFIG.n_sensors, 4))
    windows = (leadfield @ rng.standard_normal((4, 2 * CONFIG.n_times))).reshape(
        CONFIG.n_sensors, 2, -1
    )
    windows = windows.swapaxes(0, 1).copy()
    hidden = np.zeros((2, CONFIG.n_regions, CONFIG.n_patches), bool)
    hidden[0, 1], hidden[1, 2, 3:] = True, True
    kernel = torch.from_numpy(leadfield @ leadfield.T)
    got = _run(field_interpolation, windows, hidden, kernel, 1e-10)
    masked = _samples(hidden)
    np.testing.assert_allclose(got[masked], windows[masked], rtol=1e-5, atol=1e-6)
    assert not got[~masked].any()


@pytest.mark.parametrize("function", [field_interpolation, time_interpolation])
def test_hidden_values_are_not_looked_at(function, patches):
    """Whatever stands in hidden samples changes nothing, bit by bit."""
    windows, hidden = patches
    masked = _samples(hidden)
    kernel = np.exp(-np.abs(np.subtract.outer(range(12), range(12))) / 3.0)
    args = () if function is time_interpolation else (torch.from_numpy(kernel),)
    spoiled = np.where(masked, 1e30, windows)
    np.testing.assert_array_equal(
        _run(function, windows, hidden, *args), _run(function, spoiled, hidden, *args)
    )


# -- what is visible, from other regions ----------------------------------------------
def test_estimates_of_visible_regions_leave_them_out(patches, rng):
    """They are what interpolation gives if that region is hidden as well."""
    windows, hidden = patches
    leadfield = rng.standard_normal((CONFIG.n_sensors, 30))
    kernel = torch.from_numpy(leadfield @ leadfield.T / 30)
    split, hidden = to_patches(torch.from_numpy(windows), CONFIG), torch.tensor(hidden)
    got, partly = field_estimates(split, hidden, kernel, (1e-3, 0.5))
    n_hidden = hidden.sum(1)
    assert torch.equal(partly, (n_hidden > 0) & (n_hidden < CONFIG.n_regions))
    for number, value in enumerate((1e-3, 0.5)):
        filled = field_interpolation(split, hidden, kernel, value)
        for region in range(CONFIG.n_regions):
            also = hidden.clone()
            also[:, region] = True
            without = field_interpolation(split, also, kernel, value)[:, region]
            seen = ~hidden[:, region]
            expected = torch.where(seen[..., None, None], without, filled[:, region])
            expected = torch.where(partly[..., None, None], expected, 0.0)
            torch.testing.assert_close(
                got[number][:, region], expected, rtol=1e-5, atol=1e-8
            )


def test_trust(patches, rng):
    """It is the unexplained share of a token, of its moment and of the window."""
    windows, hidden = patches
    split, hidden = to_patches(torch.from_numpy(windows), CONFIG), torch.tensor(hidden)
    estimates = split + torch.from_numpy(rng.standard_normal((2, *split.shape)))
    partly = ~(hidden.all(1) | ~hidden.any(1))
    trust = field_trust(split, estimates, hidden, partly).unflatten(-1, (2, 3)).exp()
    truth, guess = split.numpy(), estimates.numpy()
    for n, k, t in np.ndindex(5, 2, CONFIG.n_patches):
        columns = [r for r in range(CONFIG.n_regions) if not hidden[n, r, t]]
        if len(columns) in (0, CONFIG.n_regions):
            assert (trust[n, :, t, k, :2] == 1).all()
            continue
        errors = (guess[k, n, columns, t] - truth[n, columns, t]) ** 2
        moment = errors.sum() / (truth[n, columns, t] ** 2).sum()
        np.testing.assert_allclose(trust[n, :, t, k, 1], moment, rtol=1e-4)
        for r, error in zip(columns, errors, strict=True):
            own = error.sum() / (truth[n, r, t] ** 2).sum()
            limits = np.exp([-6, 2])
            np.testing.assert_allclose(
                trust[n, r, t, k, 0], np.clip(own, *limits), rtol=1e-4
            )
    assert (trust[3:] == 1).all()  # all hidden, all visible
    assert (trust[0, 0, :, :, 0] == 1).all()
    seen = (~hidden & partly[:, None])[..., None, None].numpy()
    whole = ((guess - truth) ** 2 * seen).sum((2, 3, 4, 5)) / (truth**2 * seen).sum(
        (1, 2, 3, 4)
    ).clip(1e-30)
    np.testing.assert_allclose(trust[:3, 0, 0, :, 2], whole.T[:3], rtol=1e-4)


def test_trust_does_not_look_at_hidden_values(patches):
    """Whatever stands in hidden samples changes nothing."""
    windows, hidden = patches
    spoiled = np.where(_samples(hidden), 1e30, windows)
    kernel = torch.from_numpy(
        np.exp(-np.abs(np.subtract.outer(range(12), range(12))) / 3.0)
    )
    where = torch.tensor(hidden)
    trusts = []
    for values in (windows, spoiled):
        split = to_patches(torch.from_numpy(values), CONFIG)
        estimates, partly = field_estimates(split, where, kernel, (0.1,))
        trusts.append(field_trust(split, estimates, where, partly))
    assert torch.equal(*trusts)
