"""Tests of read-outs of responses against SciPy, scikit-learn and planted responses."""

import numpy as np
import pytest
import torch
from scipy import linalg
from sklearn.linear_model import Ridge

from mne_megfm.models import WindowArray, fit_token_projection
from mne_megfm.models._token_projection import (
    _draw_parts,
    coordinates,
    field_axes,
    read_responses,
    response_axes,
)

N_RECORDINGS, N_WINDOWS = 25, 12


@pytest.fixture
def owners():
    """Return the windows of each recording."""
    return list(np.arange(N_RECORDINGS * N_WINDOWS).reshape(N_RECORDINGS, -1))


@pytest.mark.parametrize("n_valid", [100, 64])
def test_coordinates(make_model, recordings, n_valid):
    """They are means over fifths of a patch of the leading axes of the kernel."""
    model = make_model()
    data = recordings.values[:5].astype(float)
    data[..., n_valid:] = 0.0
    found = coordinates(
        torch.from_numpy(data).float(),
        torch.full((5,), n_valid),
        field_axes(model),
        model.config,
    )
    vectors = linalg.eigh(model.kernel.double().numpy())[1][:, ::-1]
    data[..., :n_valid] -= data[..., :n_valid].mean(-1, keepdims=True)
    strength = vectors.T @ data / model.config.scale
    steps = strength.reshape(5, 16, 10, 5, 2).mean(-1)
    expected = steps.transpose(0, 2, 1, 3).reshape(5, 10, 80)
    # eigenvectors have no sign
    for space in range(16):
        at = slice(space * 5, space * 5 + 5)
        got = found[..., at].double().numpy()
        sign = np.sign((got * expected[..., at]).sum())
        np.testing.assert_allclose(got, sign * expected[..., at], atol=1e-4)


def test_axes_are_generalised_eigenvectors(make_model, recordings, owners):
    """Axes of averages against single windows are those of SciPy, in float64."""
    model = make_model()
    usual, axes = response_axes(recordings, owners, model)
    data = torch.from_numpy(recordings.values)
    n_valid = torch.full((len(data),), 100)
    values = coordinates(data, n_valid, field_axes(model), model.config)
    values = values.double().numpy()
    values = values.reshape(N_RECORDINGS, N_WINDOWS, 10, 80)
    np.testing.assert_allclose(usual, values.mean((0, 1)), atol=1e-5)
    values /= np.sqrt(np.square(values).mean((1, 2, 3), keepdims=True))
    averages = (values - values.mean((0, 1))).mean(1)
    averages -= averages.mean(1, keepdims=True)
    flat = (values - values.mean((0, 1))).reshape(-1, 80)
    single = flat.T @ flat / len(flat)
    single += 1e-2 * np.trace(single) / 80 * np.eye(80)
    flat = averages.reshape(-1, 80)
    vectors = linalg.eigh(flat.T @ flat, single)[1][:, ::-1]
    for got, axis in zip(axes.double().numpy()[:4], vectors.T[:4], strict=True):
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        np.testing.assert_allclose(got, axis, rtol=5e-3, atol=5e-3 * axis.max())
    axes = axes.double().numpy()
    np.testing.assert_allclose(axes @ single @ axes.T, np.eye(16), atol=2e-3)


def test_large_recordings_count_as_others(make_model, recordings, owners):
    """A recording with fields a thousand times as large changes nothing."""
    model = make_model()
    _, before = response_axes(recordings, owners, model)
    recordings.values[owners[3]] *= 1000
    _, after = response_axes(recordings, owners, model)
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-3)


def test_readouts_are_ridge_regression(make_model, recordings, owners):
    """They predict the average of the other windows, as scikit-learn's do."""
    model = make_model().eval()
    token_mean = torch.full_like(model.token_mean, 0.1).double()
    readouts = read_responses(model, recordings, owners, token_mean, random_state=7)
    usual, axes = response_axes(recordings, owners, model)
    rng = np.random.default_rng(7)
    inputs, targets, weights = [], [], []
    for own in owners:
        data, n_valid = recordings.take(own)
        known = coordinates(data, n_valid, field_axes(model), model.config)
        known = ((known - usual) @ axes.T).double().numpy()
        for part in _draw_parts(N_WINDOWS, rng).numpy().astype(bool):
            averaged = data[part].mean(0, keepdim=True)
            with torch.inference_mode():
                inputs.append(model.encode(averaged)[0].double() - token_mean)
            targets.append(known[~part].mean(0))
            weights.append(1 / known.var(0, ddof=1).mean())
    targets, weights = np.concatenate(targets), np.repeat(weights, 10)
    for region in range(model.config.n_regions):
        x = torch.cat([tokens[region] for tokens in inputs]).numpy()
        penalty = 1e-4 * np.mean(weights @ np.square(x))
        ridge = Ridge(penalty, fit_intercept=False).fit(x, targets, weights)
        scale = np.abs(ridge.coef_).max()
        np.testing.assert_allclose(readouts[region], ridge.coef_, atol=0.02 * scale)


@pytest.mark.parametrize("n", [2, 10, 40])
def test_parts_leave_windows_to_predict(n, rng):
    """Each part has windows, and leaves some; each window is alone once, up to 12."""
    parts = _draw_parts(n, rng)
    sizes = parts.sum(1)
    assert ((parts == 0) | (parts == 1)).all()
    assert (sizes >= 1).all()
    assert (sizes < n).all()
    assert (sizes[: min(n, 12)] == 1).all()
    assert (parts[: min(n, 12)].sum(0) <= 1).all()
    assert sizes.max() == max(int(0.6 * n), 1)


def test_a_planted_response_is_told(make_model, rng):
    """Of people that were not fitted on, single windows tell how large theirs is."""
    field = rng.standard_normal((16, 1)) * np.hanning(100)
    size = rng.uniform(0.2, 2.0, 60)
    signal = rng.standard_normal((60, N_WINDOWS, 16, 100)).cumsum(-1) / 5
    signal += size[:, None, None, None] * field
    model = make_model().eval()
    values = signal[:40].reshape(-1, 16, 100).astype("f4") * 1e-13
    owner = np.repeat(np.arange(40), N_WINDOWS)
    fit_token_projection(
        model, WindowArray(values, unit=1.0, recording=owner), len(values)
    )
    data = torch.from_numpy(signal[40:].astype("f4") * 1e-13).flatten(0, 1)
    with torch.inference_mode():
        tokens = model.encode(data) - model.token_mean
    # the leading coordinate of the response, as all regions and moments tell it
    told = torch.einsum("nrpd,rd->nrp", tokens, model.token_axes[:, 0])
    told = told.unflatten(0, (20, N_WINDOWS)).mean(1).flatten(1).double().numpy()
    correlation = np.abs(np.corrcoef(told.T, size[40:])[-1, :-1])
    assert correlation.max() > 0.9
    assert np.median(correlation) > 0.3
