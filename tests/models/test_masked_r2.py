"""Tests of the explained share and of token axes against NumPy."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    WindowArray,
    fit_token_projection,
    masked_r2,
    sample_mask,
)


@pytest.fixture
def region_pos():
    """Return four regions along a line."""
    return torch.arange(4.0)[:, None] * torch.tensor([1.0, 0.0, 0.0])


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
    r2 = masked_r2(model, signal, masking, region_pos, n_draws=2, random_state=4)

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


def _tokens(model, signal, n_valid):
    with torch.inference_mode():
        return model.encode(signal, n_valid).double().numpy()


def _windows(signal, **kwargs):
    return WindowArray(signal.numpy(), unit=1.0, **kwargs)


@pytest.mark.parametrize("short", [False, True])
def test_token_axes_are_principal(make_model, signal, short):
    """Of few recordings, axes and means are those of an SVD of the centred tokens."""
    model = make_model().eval()
    n_valid = torch.tensor([100, 100, 100, 50, 50, 100] if short else [100] * 6)
    tokens = _tokens(model, signal, n_valid)
    windows = _windows(signal, n_valid=n_valid.numpy())
    fit_token_projection(model, windows, 6, batch_size=4)
    seen = np.ones(tokens.shape[:3], bool)
    if short:
        seen[3:5, :, 5:] = False
    mean = tokens.sum(0) / seen.sum(0)[..., None]
    np.testing.assert_allclose(model.token_mean, mean, atol=1e-6)
    centred = [(tokens - mean)[:, r][seen[:, r]] for r in range(tokens.shape[1])]
    spread = np.sqrt(np.mean([np.sum(x**2) / len(x) for x in centred]))
    for region, part in enumerate(centred):
        _, values, axes = np.linalg.svd(part, full_matrices=False)
        for got, axis in zip(model.token_axes[region, :6], axes[:6], strict=True):
            axis = axis * np.sign(axis[np.abs(axis).argmax()])
            np.testing.assert_allclose(got.numpy() * spread, axis, atol=2e-3)
        projected = part @ model.token_axes[region].numpy().T
        shares = values**2 / len(part) / spread**2
        np.testing.assert_allclose(np.mean(projected**2, 0), shares[:16], atol=1e-5)


def test_rest_has_principal_axes(make_model, recordings):
    """Recordings known to have no stimuli have nothing that comes again."""
    one, other = make_model(), make_model()
    data = {"values": recordings.values, "unit": 1.0}
    rest = np.repeat("rest", len(recordings))
    rest = WindowArray(**data, recording=recordings.recording, state=rest)
    fit_token_projection(one, rest, 300)
    fit_token_projection(other, WindowArray(**data), 300)
    torch.testing.assert_close(one.token_axes, other.token_axes, rtol=1e-3, atol=1e-4)
    fit_token_projection(other, recordings, 300)
    assert not torch.allclose(one.token_axes, other.token_axes, atol=1e-2)


def test_few_windows_are_of_whole_recordings(make_model, recordings):
    """A part of the windows is a part of the recordings, drawn by the seed."""
    one, other = make_model(), make_model()
    fit_token_projection(one, recordings, 252, random_state=1)
    # 21 whole recordings are enough for averages; nothing is left of the others
    drawn = np.random.default_rng(1).permutation(25)
    index = np.flatnonzero(np.isin(recordings.recording, np.flatnonzero(drawn < 21)))
    fit_token_projection(other, recordings, 252, index=index, random_state=1)
    torch.testing.assert_close(one.token_axes, other.token_axes, rtol=1e-3, atol=1e-4)


def test_token_axes_come_out_alike(make_model, signal):
    """Fitting twice gives the same axes, signs included."""
    one, other = make_model(), make_model()
    fit_token_projection(one, _windows(signal), 6)
    fit_token_projection(other, _windows(signal), 6)
    assert torch.equal(one.token_axes, other.token_axes)
    largest = one.token_axes.abs().argmax(2, keepdim=True)
    assert (one.token_axes.gather(2, largest) > 0).all()
