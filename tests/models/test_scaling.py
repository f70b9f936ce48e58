"""Tests of the scale of windows, which must come from visible signal alone."""

import pytest
import torch

from mne_megfm.models import (
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    sample_mask,
)


def _visible(model, windows, mask):
    full = torch.full((len(windows),), 250)
    return ~sample_mask(mask, full, model.config)


@pytest.mark.parametrize("masking", [RandomMasking(), TimeBlockMasking(), None])
def test_round_trip(model, windows, region_pos, masking):
    """Undoing the scale gives the windows back."""
    mask = None
    if masking:
        mask = masking(4, 10, region_pos, torch.Generator().manual_seed(0))
    scaled, _ = model.scale(windows, mask=mask)
    back = scaled.to_tesla(scaled.windows)
    torch.testing.assert_close(back, windows, rtol=1e-5, atol=1e-17)


@pytest.mark.parametrize(
    "masking", [RandomMasking(), TimeBlockMasking(), SpaceBlockMasking()]
)
def test_hidden_samples_do_not_matter(model, windows, region_pos, masking):
    """Offset, unit and visible signal are the same whatever is hidden."""
    mask = masking(4, 10, region_pos, torch.Generator().manual_seed(0))
    visible = _visible(model, windows, mask)
    spoiled = torch.where(visible, windows, 1e-7 * torch.randn(windows.shape))
    one, other = (model.scale(x, mask=mask)[0] for x in (windows, spoiled))
    assert torch.equal(one.offset, other.offset)
    assert torch.equal(one.unit, other.unit)
    assert torch.equal(one.windows[visible], other.windows[visible])


def test_scale_is_physical(model, windows):
    """Usual windows are divided by one fixed field: amplitude is information."""
    scaled, _ = model.scale(windows[:1])
    assert float(scaled.unit) == pytest.approx(model.config.scale)
    assert not scaled.offset.any()
    half, _ = model.scale(windows[:1] / 2)
    torch.testing.assert_close(half.windows, scaled.windows / 2)


def test_gross_offsets_go(model, windows):
    """Offsets far beyond the signal are taken away at every sensor."""
    scaled, _ = model.scale(windows[1:2])
    torch.testing.assert_close(
        scaled.offset, windows[1:2].mean(-1, keepdim=True), rtol=1e-5, atol=1e-17
    )
    assert float(scaled.windows.mean(-1).abs().max()) < 1e-2


def test_small_offsets_stay(model, windows):
    """A sustained response is signal, not an offset."""
    shifted = windows[:1] + windows[:1].std()
    assert not model.scale(shifted)[0].offset.any()


def test_large_windows_are_shrunk(model, windows):
    """Windows beyond the largest root mean square come out at it."""
    scaled, _ = model.scale(windows[2:3])
    assert float(scaled.windows.square().mean().sqrt()) == pytest.approx(
        model.config.max_rms, rel=1e-4
    )


def test_offset_of_lost_sensors_is_guessed(model, kernel, region_pos):
    """Sensors hidden all the time get the offset that the field suggests."""
    generator = torch.Generator().manual_seed(0)
    factor = torch.linalg.cholesky(kernel.double() + 1e-6 * torch.eye(192))
    field = (factor @ torch.randn(192, 1, generator=generator).double()).float()
    noise = torch.randn(192, 250, generator=generator)
    windows = (field * 1e-11 + 1e-13 * noise)[None]
    mask = SpaceBlockMasking(0.1)(1, 10, region_pos, generator)
    lost = mask[0, :, 0].repeat_interleave(8)
    offset = model.scale(windows, mask=mask)[0].offset[0, :, 0]
    error = (offset - windows[0].mean(-1))[lost].norm()
    assert error < 0.6 * windows[0].mean(-1)[lost].norm()
