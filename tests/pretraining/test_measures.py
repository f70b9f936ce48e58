"""Tests of the explained share and of principal axes against NumPy."""

import numpy as np
import pytest
import torch

from mne_megfm.models import sample_mask
from mne_megfm.pretraining import (
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    fit_token_axes,
    masked_r2,
)


@pytest.fixture
def signal(rng):
    """Return windows of smooth signal in tesla."""
    noise = rng.standard_normal((6, 16, 109))
    smooth = np.lib.stride_tricks.sliding_window_view(noise, 10, -1).mean(-1)
    smooth = smooth + 0.7 * smooth[:, ::-1].cumsum(1)
    return torch.from_numpy(smooth * 4e-13).float()


@pytest.mark.parametrize(
    "masking", [RandomMasking(0.6), TimeBlockMasking(0.3), SpaceBlockMasking(0.3)]
)
def test_masked_r2(make_model, signal, region_pos, masking):
    """All three shares equal those of NumPy, linear algebra and interpolation."""
    model = make_model().eval()
    torch.nn.init.normal_(model.head.weight, std=0.1)
    r2 = masked_r2(model, signal, masking, region_pos, n_draws=2, seed=4)

    generator = torch.Generator().manual_seed(4)
    kernel = model.kernel.double().numpy()
    error = dict.fromkeys(("model", "time", 1e-3, 1e-2, 1e-1), 0.0)
    total, time = 0.0, np.arange(100)
    for _ in range(2):
        mask = masking(6, 10, region_pos, generator)
        with torch.inference_mode():
            predicted = model.reconstruct(signal, mask).double().numpy()
        hidden = sample_mask(mask, torch.full((6,), 100), model.config).numpy()
        for x, guess, gone in zip(
            signal.double().numpy(), predicted, hidden, strict=True
        ):
            total += np.sum(x[gone] ** 2)
            error["model"] += np.sum((x - guess)[gone] ** 2)
            for trace, h in zip(x, gone, strict=True):
                line = np.zeros(100)
                if not h.all():
                    line = np.interp(time, time[~h], trace[~h])
                error["time"] += np.sum((trace - line)[h] ** 2)
            for t in range(100):
                h, v = np.flatnonzero(gone[:, t]), np.flatnonzero(~gone[:, t])
                for value in (1e-3, 1e-2, 1e-1):
                    gram = kernel[np.ix_(v, v)] + value * np.eye(len(v))
                    field = kernel[np.ix_(h, v)] @ np.linalg.solve(gram, x[v, t])
                    error[value] += np.sum((x[h, t] - field) ** 2)
    field = min(error.pop(value) for value in (1e-3, 1e-2, 1e-1))
    for name, value in (error | {"field": field}).items():
        assert r2[name] == pytest.approx(1 - value / total, abs=1e-4), name


def test_masked_r2_does_not_depend_on_padding(make_model, signal, region_pos):
    """What stands after the recorded samples is not scored."""
    model, n_valid = make_model(), torch.tensor([100, 100, 74, 50, 30, 100])
    recorded = (torch.arange(100) < n_valid[:, None])[:, None]
    one, other = (
        masked_r2(
            model,
            torch.where(recorded, signal, fill),
            RandomMasking(),
            region_pos,
            n_valid=n_valid,
        )
        for fill in (0.0, 1e-9)
    )
    assert one == other


def test_masked_r2_leaves_out_parts_of_patches(make_model, signal, region_pos):
    """A patch that was recorded in part is not scored: its rest is unknown."""

    def eighth(n, n_patches, region_pos, generator):
        mask = torch.zeros(n, len(region_pos), n_patches, dtype=torch.bool)
        mask[:, :, 7] = True
        return mask

    n_valid = torch.full((6,), 74)
    n_valid[0], signal[0] = 100, 0.0
    with pytest.raises(ValueError, match="Expected some recorded signal"):
        masked_r2(make_model(), signal, eighth, region_pos, n_valid=n_valid)


def test_masked_r2_of_short_windows(make_model, signal, region_pos):
    """Time blocks fall on what was recorded, however short."""
    n_valid = torch.full((6,), 40)
    short = torch.where(torch.arange(100) < 40, signal, 0.0)
    r2 = masked_r2(make_model(), short, TimeBlockMasking(), region_pos, n_valid=n_valid)
    assert all(np.isfinite(value) for value in r2.values())


def test_masked_r2_needs_signal(make_model, region_pos):
    """Nothing to predict has no explained share."""
    with pytest.raises(ValueError, match="Expected some recorded signal"):
        masked_r2(make_model(), torch.zeros(2, 16, 100), RandomMasking(), region_pos)


@pytest.mark.parametrize("short", [False, True])
def test_token_axes_are_principal(make_model, signal, short):
    """Axes and means are those of an SVD of the centred tokens."""
    model = make_model().eval()
    n_valid = torch.tensor([100, 100, 100, 50, 50, 100]) if short else None
    with torch.inference_mode():
        tokens = model.encode(signal, n_valid).double().numpy()
    fit_token_axes(model, signal, n_valid, batch_size=4)
    seen = np.ones(tokens.shape[:3], bool)
    if short:
        seen[3:5, :, 5:] = False
    mean = tokens.sum(0) / seen.sum(0)[..., None]
    np.testing.assert_allclose(model.token_mean, mean, atol=1e-6)
    centred = (tokens - mean)[seen]
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    spread = np.sqrt(np.sum(values**2) / len(centred))
    for got, axis in zip(model.token_axes[:6].numpy(), axes[:6], strict=True):
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        np.testing.assert_allclose(got * spread, axis, atol=2e-3)
    projected = centred @ model.token_axes.numpy().T
    assert np.sum(projected**2) / len(centred) <= 1.0 + 1e-5
    np.testing.assert_allclose(
        np.mean(projected**2, 0), (values**2 / np.sum(values**2))[:16], atol=1e-5
    )


def test_token_axes_are_reproducible(make_model, signal):
    """Fitting twice gives the same axes, signs included."""
    one, other = make_model(), make_model()
    fit_token_axes(one, signal)
    fit_token_axes(other, signal)
    assert torch.equal(one.token_axes, other.token_axes)
    largest = one.token_axes.abs().argmax(1, keepdim=True)
    assert (one.token_axes.gather(1, largest) > 0).all()
