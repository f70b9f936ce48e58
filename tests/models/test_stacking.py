"""Tests of stacking: the weights, what they are judged by, and what they are for."""

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from mne_megfm.models import (
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    field_interpolation,
    to_patches,
)
from mne_megfm.models._interpolation import stacking_weight, visible_folds
from mne_megfm.models._signal_reconstructor import FILL_REGULARIZATIONS


@pytest.fixture
def field_window(kernel):
    """Return a window of patches that a smooth field alone makes up, and noise."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(1, 192, 250, generator=generator)
    root = torch.linalg.cholesky(kernel.double() + 1e-6 * torch.eye(192)).float()
    return (root @ noise).view(1, 24, 8, 10, 25).transpose(2, 3) + 0.05 * torch.randn(
        1, 24, 10, 8, 25, generator=generator
    )


def _draw(masking, region_pos, n=1, seed=1):
    return masking(n, 10, region_pos, torch.Generator().manual_seed(seed))


def _expected_weight(first, second, truth):
    """Regress through the origin and shrink, from lists of tokens, by NumPy."""
    p, q, t = (
        np.array([np.ravel(x) for x in y], float) for y in (first, second, truth)
    )
    d, e = p - q, t - q
    w = np.sum(d * e) / np.sum(d**2)
    scores = np.sum(d * (e - w * d), axis=1)
    m = len(scores)
    variance = m / (m - 1) * np.sum(scores**2) / np.sum(d**2) ** 2
    drawn = (w / variance + 0.5 * 12) / (1 / variance + 12)
    return w, min(max(drawn, 0.0), 1.0)


def test_weights_are_shrunk_least_squares():
    """Without noise in it the weight is that of SciPy's least squares, else less."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(5, 3, 4, 2, 6, generator=generator)
    noise = torch.randn(2, 4, *truth.shape, generator=generator)
    share = torch.tensor([0.1, 0.5, 1.0, 2.0, 9.0]).view(-1, 1, 1, 1, 1)
    first, second = truth + noise[0], truth + share * noise[1] + 0.3 * noise[0]
    at = torch.rand(4, 5, 3, 4, generator=generator) < 0.5
    weights = stacking_weight(first, second, truth, at)
    for n in range(5):
        where = at[:, n]
        p, q = (x[:, n][where].double().numpy() for x in (first, second))
        t = truth[n].expand(4, -1, -1, -1, -1)[where].double().numpy()
        w, expected = _expected_weight(p, q, t)
        free = lsq_linear((p - q).reshape(-1, 1), (t - q).ravel()).x[0]
        assert w == pytest.approx(free, abs=1e-6)
        assert weights[n].item() == pytest.approx(expected, abs=1e-5)
        assert abs(weights[n].item() - 0.5) <= abs(free - 0.5)
    assert weights.min() < 0.2 and weights.max() > 0.9


def test_nothing_to_compare():
    """Without anything to judge by, or one token alone, both count alike."""
    x = torch.randn(2, 3, 2, 1, 1, 4)
    at = torch.zeros(2, 3, 2, 1, dtype=torch.bool)
    at[0, 1, 0] = True
    assert stacking_weight(x, 0 * x, x[0], at).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("masking", [RandomMasking(0.6), SpaceBlockMasking()])
def test_folds_share_out_what_is_visible(masking, region_pos):
    """Each visible token is left out once, at most a third of a region at a time."""
    hidden = _draw(masking, region_pos, n=3)
    folds = visible_folds(hidden)
    assert torch.equal(folds.sum(0), (~hidden).long())
    whole = visible_folds(torch.zeros_like(hidden))
    assert whole.sum(3).max() <= 3 and whole.sum(2).max() <= 6


def _chosen_field(patches, hidden, kernel):
    """Interpolate at the regularisation that predicts visible regions best."""
    errors = []
    for value in FILL_REGULARIZATIONS:
        error = 0.0
        for moment in range(10):
            column = hidden[0, :, moment]
            if not column.any():
                continue
            for region in (~column).nonzero()[:, 0].tolist():
                gone = hidden.clone()
                gone[0, region, moment] = True
                if gone[0, :, moment].all():  # of one region alone nothing is told
                    guess = torch.zeros_like(patches)
                else:
                    guess = field_interpolation(patches, gone, kernel, value)
                missing = (guess - patches)[0, region, moment]
                error += float(missing.double().square().sum())
        errors.append(error)
    best = FILL_REGULARIZATIONS[int(np.argmin(errors))]
    return field_interpolation(patches, hidden, kernel, best)


@pytest.mark.parametrize(
    "masking",
    [RandomMasking(), pytest.param(SpaceBlockMasking(), marks=pytest.mark.slow)],
)
def test_completed_step_by_step(model, kernel, region_pos, field_window, masking):
    """Folds, fields and weights one by one give the same prediction."""
    hidden = _draw(masking, region_pos)
    compared = [], [], []
    with torch.inference_mode():
        for number in range(4):
            fold = torch.zeros_like(hidden)
            for r, t in (~hidden[0]).nonzero().tolist():
                fold[0, r, t] = (r + t) % 4 == number
            gone = hidden | fold
            network = model.predict_patches(field_window, gone)
            field = _chosen_field(field_window, gone, kernel)
            for r, t in fold[0].nonzero().tolist():
                if gone[0, :, t].all():
                    continue
                for kept, x in zip(
                    compared, (network, field, field_window), strict=True
                ):
                    kept.append(x[0, r, t].double().numpy())
        _, weight = _expected_weight(*compared)
        network = model.predict_patches(field_window, hidden)
        field = _chosen_field(field_window, hidden, kernel)
        expected = weight * network + (1 - weight) * field
        alone = hidden[:, :1].expand_as(hidden) & hidden.all(1, keepdim=True)
        expected = torch.where(alone[..., None, None], network, expected)
        completed = model.complete_patches(field_window, hidden)
    torch.testing.assert_close(completed, expected, rtol=1e-3, atol=1e-4)


def test_a_bad_network_gives_way_to_the_field(model, kernel, region_pos, field_window):
    """On signals that are all field, weights that know nothing do little harm."""
    hidden = _draw(SpaceBlockMasking(), region_pos)
    at = hidden[..., None, None].expand_as(field_window)
    truth = field_window[at]
    with torch.inference_mode():
        guesses = {
            "network": model.predict_patches(field_window, hidden),
            "stacked": model.complete_patches(field_window, hidden),
            "field": _chosen_field(field_window, hidden, kernel),
        }
    left = {
        name: float((guess[at] - truth).square().sum() / truth.square().sum())
        for name, guess in guesses.items()
    }
    assert left["network"] > 1.0
    assert left["stacked"] < 1.1 * left["field"] < 0.5


def test_network_alone_where_nothing_else_is_known(model, windows, region_pos):
    """Where all sensors are hidden there is no field to stack."""
    patches = to_patches(windows[..., :250] / 4e-13, model.config)
    hidden = _draw(TimeBlockMasking(), region_pos, n=len(patches))
    with torch.inference_mode():
        network = model.predict_patches(patches, hidden)
        assert torch.equal(model.complete_patches(patches, hidden), network)
