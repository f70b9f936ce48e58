"""Tests of the stacked completion of a recording."""

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear, minimize

from mne_megfm.models import (
    PARTS,
    SpaceBlockMasking,
    TimeBlockMasking,
    _completion as module,
    complete_recording,
    draw_masks,
    sample_mask,
)
from mne_megfm.models._completion import stacked_weights


@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_weights_are_bounded_least_squares(ridge):
    """They are those of SciPy's bounded solver, with rows that stand for the prior."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(200)
    shares = np.array([1.0, 0.5, 0.0, -0.3])
    predictions = truth[:, None] * shares + rng.standard_normal((200, 4))
    prior = np.array([0.1, 0.2, 0.3, 0.4])
    got = stacked_weights(
        predictions.T @ predictions, predictions.T @ truth, truth @ truth, prior, ridge
    )
    root = np.sqrt(ridge) * np.diag(np.linalg.norm(predictions, axis=0))
    expected = lsq_linear(
        np.vstack([predictions, root]),
        np.concatenate([truth, root @ prior]),
        (0, np.inf),
        tol=1e-12,
    ).x
    np.testing.assert_allclose(got, expected, atol=1e-5)
    if not ridge:
        assert got[3] == 0.0  # it is against the truth


def test_weights_with_a_large_sum():
    """Weights of predictions that are too small add up to 1.1, by SciPy's optimiser."""
    rng = np.random.default_rng(1)
    truth = rng.standard_normal(300)
    predictions = 0.4 * truth[:, None] + 0.2 * rng.standard_normal((300, 3))
    gram, product = predictions.T @ predictions, predictions.T @ truth
    got = stacked_weights(gram, product, truth @ truth, np.zeros(3), 0.0)
    best = minimize(
        lambda w: w @ gram @ w - 2 * w @ product,
        np.full(3, 0.3),
        jac=lambda w: 2 * (gram @ w - product),
        bounds=[(0, None)] * 3,
        constraints={"type": "ineq", "fun": lambda w: 1.1 - w.sum()},
        options={"ftol": 1e-12},
    )
    assert got.sum() == pytest.approx(1.1, abs=1e-4)
    np.testing.assert_allclose(got, best.x, atol=1e-3)


def test_weights_without_anything_to_compare():
    """The prior is taken; predictions that are always 0 have no say."""
    prior = np.array([0.6, 0.4])
    nothing = stacked_weights(np.zeros((2, 2)), np.zeros(2), 0.0, prior, 0.1)
    np.testing.assert_array_equal(nothing, prior)
    gram, product = np.diag([4.0, 0.0]), np.array([2.0, 0.0])
    one = stacked_weights(gram, product, 3.0, prior, 0.0)
    assert one[0] == pytest.approx(0.5, abs=1e-6)


def _draw(masking, n, config, region_pos):
    return lambda generator: draw_masks(
        masking, n, torch.full((n,), 250), config, region_pos, generator
    )


@pytest.fixture(scope="module")
def rhythms(kernel):
    """Return windows of one recording: rhythms of a smooth field, and some noise."""
    rng = np.random.default_rng(4)
    time = np.arange(8 * 250) / 250
    vectors = np.linalg.eigh(kernel.double().numpy())[1][:, -3:]
    waves = [np.cos(2 * np.pi * f * time + p) for f, p in ((9, 0), (11, 1), (4, 2))]
    signal = vectors @ np.array(waves) + 0.01 * rng.standard_normal((192, len(time)))
    windows = signal.reshape(192, 8, 250).transpose(1, 0, 2) * 2e-12
    return torch.from_numpy(np.ascontiguousarray(windows, np.float32))


def _r2(guess, truth, at):
    scale = 1e13
    error = ((guess - truth)[at] * scale).double().square().sum()
    return 1 - float(error / (truth[at] * scale).double().square().sum())


@pytest.mark.parametrize("masking", [TimeBlockMasking(), SpaceBlockMasking()])
def test_the_best_part_is_found(model, region_pos, rhythms, masking):
    """Weights that know nothing get no say, and the whole is as good as its best part.

    The network is random here; the truth is a stationary process.
    """
    draw = _draw(masking, 8, model.config, region_pos)
    mask = draw(torch.Generator().manual_seed(1))
    with torch.inference_mode():
        done = complete_recording(
            model, rhythms, mask, draw, starts=torch.arange(8) * 250
        )
    at = sample_mask(mask, torch.full((8,), 250), model.config)
    torch.testing.assert_close(done.model[~at], rhythms[~at], rtol=0, atol=0)
    r2 = {name: _r2(part, rhythms, at) for name, part in done.parts.items()}
    assert tuple(r2) == PARTS
    assert r2["network"] < 0.2 < 0.9 < max(r2.values())
    assert _r2(done.model, rhythms, at) > max(r2.values()) - 0.02
    assert abs(done.weights["network"]) < 0.15


def test_hidden_signal_is_not_looked_at(model, region_pos, rhythms):
    """Neither covariances nor weights nor predictions know it."""
    draw = _draw(TimeBlockMasking(), 8, model.config, region_pos)
    mask = draw(torch.Generator().manual_seed(2))
    at = sample_mask(mask, torch.full((8,), 250), model.config)
    noise = torch.randn(rhythms.shape, generator=torch.Generator().manual_seed(3))
    changed = torch.where(at, 1e-11 * noise, rhythms)
    starts = torch.arange(8) * 250
    with torch.inference_mode():
        one = complete_recording(model, rhythms, mask, draw, starts=starts)
        other = complete_recording(model, changed, mask, draw, starts=starts)
    assert one.weights == other.weights
    assert torch.equal(one.model[at], other.model[at])


def test_nothing_is_learnt_from_what_another_window_hides(model, rhythms):
    """Of overlapping windows, tokens are left out that any of them hides."""
    signal = rhythms.transpose(0, 1).flatten(1)
    starts = torch.tensor([0, 130, 400])  # a grid that does not fit
    windows = torch.stack([signal[:, s : s + 250] for s in starts])
    hidden = torch.zeros(3, 24, 10, dtype=torch.bool)
    hidden[0, 2, 6] = True  # samples 150 to 174: 20 to 44 of the second
    recording = module._Recording(
        model, windows, torch.full((3,), 250), starts, batch_size=8
    )
    got = recording.spread(hidden)
    expected = hidden.clone()
    expected[1, 2, :2] = True
    assert torch.equal(got, expected)
    apart = module._Recording(
        model, windows, torch.full((3,), 250), starts * 10, batch_size=8
    )
    assert torch.equal(apart.spread(hidden), hidden)


def test_long_recordings_are_learnt_from_in_part():
    """Runs of windows that follow each other, from beginning to end."""
    index = module._subset(1000)
    assert len(index.unique()) == 64
    assert index.min() == 0 and index.max() == 999
    assert (index.view(8, 8).diff(dim=1) == 1).all()
    assert torch.equal(module._subset(64), torch.arange(64))
