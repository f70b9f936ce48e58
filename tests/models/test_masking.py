"""Tests of maskings: how much they hide, and where."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    MixedMasking,
    ModelConfig,
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    draw_masks,
)
from mne_megfm.sensors import canonical_array

POS = torch.tensor(canonical_array().region_pos)
KINDS = [RandomMasking, TimeBlockMasking, SpaceBlockMasking, MixedMasking]


def _draw(masking, n=200, n_patches=10, seed=0):
    return masking(n, n_patches, POS, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.8, 0.99])
def test_all_rows_hide_the_same_number(kind, ratio):
    """Rows of a draw hide equally many tokens: some, and never all."""
    counts = _draw(kind(ratio)).sum((1, 2))
    assert len(counts.unique()) == 1
    assert 0 < int(counts[0]) < 240


def test_random_masking():
    """The share is as asked for, and each token is as likely as another."""
    mask = _draw(RandomMasking(0.8), n=2000)
    assert set(mask.sum((1, 2)).tolist()) == {192}
    frequency = mask.float().mean(0)
    assert float((frequency - 0.8).abs().max()) < 5 * (0.16 / 2000) ** 0.5
    assert len(mask.flatten(1).unique(dim=0)) == 2000


@pytest.mark.parametrize("ratio, block", [(0.3, 3), (0.5, 2), (0.6, 3), (0.2, 5)])
def test_time_blocks(ratio, block):
    """All regions are hidden together, in blocks of consecutive patches."""
    mask = _draw(TimeBlockMasking(ratio, block))
    assert torch.equal(mask, mask[:, :1].expand_as(mask))
    rows = mask[:, 0].numpy()
    n_hidden = round(ratio * 10)
    np.testing.assert_array_equal(rows.sum(1), n_hidden)
    for row in rows:
        edges = np.flatnonzero(np.diff(np.r_[0, row.astype(int), 0]))
        lengths = edges[1::2] - edges[::2]
        assert lengths.max() >= min(block, n_hidden)
    if n_hidden <= block:  # one block, anywhere
        assert (np.abs(np.diff(rows.astype(int))).sum(1) <= 2).all()
    assert rows.any(0).all()


def test_space_blocks():
    """The same neighbouring regions are hidden all the time."""
    mask = _draw(SpaceBlockMasking(0.25))
    assert torch.equal(mask, mask[:, :, :1].expand_as(mask))
    distances = np.linalg.norm(POS[:, None] - POS, axis=-1)
    for row in mask[:, :, 0].numpy():
        assert row.sum() == 6
        nearest = [set(np.argsort(d)[:6]) for d in distances]
        assert set(np.flatnonzero(row)) in nearest
    assert mask[:, :, 0].any(0).all()


def test_mixed_masking_draws_all_kinds():
    """One kind a call, each about as often, with the shares that are documented."""
    generator = torch.Generator().manual_seed(0)
    masking, seen = MixedMasking(0.8), {"random": 0, "time": 0, "space": 0}
    for _ in range(150):
        mask = masking(2, 10, POS, generator)
        if torch.equal(mask, mask[:, :1].expand_as(mask)):
            seen["time"] += 1
            assert int(mask[0, 0].sum()) == 3
        elif torch.equal(mask, mask[:, :, :1].expand_as(mask)):
            seen["space"] += 1
            assert int(mask[0, :, 0].sum()) == round(0.4 * 24)
        else:
            seen["random"] += 1
            assert int(mask[0].sum()) == 192
    assert min(seen.values()) > 30


@pytest.mark.parametrize("kind", KINDS)
def test_seed_decides(kind):
    """The generator's seed decides the masks; global seeds do not."""
    torch.manual_seed(1)
    one = _draw(kind(0.5), seed=4)
    torch.manual_seed(2)
    assert torch.equal(one, _draw(kind(0.5), seed=4))
    assert not torch.equal(one, _draw(kind(0.5), seed=5))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, float("nan")])
def test_refuses_ratio(kind, ratio):
    """A share that hides nothing or everything is refused."""
    with pytest.raises(ValueError, match="0 < mask_ratio < 1, got"):
        kind(ratio)


def test_refuses_empty_blocks():
    """Blocks without patches would never hide enough."""
    with pytest.raises(ValueError, match="n_block_patches >= 1, got 0"):
        TimeBlockMasking(0.3, 0)


def test_show_their_parameters():
    """The representation is that of the settings kept with a run."""
    shown = repr(TimeBlockMasking(0.5, 2))
    assert shown == "TimeBlockMasking(mask_ratio=0.5, n_block_patches=2)"


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_full_windows_are_the_maskings_own(kind):
    """With full windows, or unknown lengths, the masking is called as it is."""
    config = ModelConfig()
    for n_valid in (None, torch.tensor([250, 30])):
        generator = torch.Generator().manual_seed(0)
        got = draw_masks(kind(0.5), 200, n_valid, config, POS, generator)
        assert torch.equal(got, _draw(kind(0.5)))


def test_masks_of_short_windows():
    """Short windows are masked over their patches, the last of which is in part there.

    What is hidden in space is hidden to the last sample: nothing of it is left to
    interpolate in time from.
    """
    generator = torch.Generator().manual_seed(0)
    n_valid = torch.tensor([110, 80])
    mask = draw_masks(RandomMasking(0.5), 6, n_valid, ModelConfig(), POS, generator)
    assert mask.shape == (6, 24, 10)
    assert not mask[:, :, 5:].any()
    assert set(mask.sum((1, 2)).tolist()) == {60}
    mask = draw_masks(SpaceBlockMasking(), 6, n_valid, ModelConfig(), POS, generator)
    assert torch.equal(mask[:, :, :5].all(-1), mask[:, :, :5].any(-1))
    assert set(mask[:, :, 4].sum(1).tolist()) == {6}
