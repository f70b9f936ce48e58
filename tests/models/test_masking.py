"""Tests of maskings: how much they hide, and where."""

import numpy as np
import pytest
import torch

from mne_megfm.models import (
    LocalMasking,
    MixedMasking,
    ModelConfig,
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    draw_masks,
    draw_masks_and_targets,
)
from mne_megfm.sensors import canonical_array

POS = torch.tensor(canonical_array().region_pos)
KINDS = [
    RandomMasking,
    TimeBlockMasking,
    SpaceBlockMasking,
    LocalMasking,
    MixedMasking,
]


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


# -- local masking ---------------------------------------------------------------------
def _leaks(masks, radius_space, radius_time, patch_duration, n_recorded=10):
    """Find pairs of a target and a visible token within both radii, token by token."""
    distance = np.linalg.norm(POS[:, None].numpy() - POS.numpy(), axis=-1)
    pairs = []
    for hidden, targets in zip(
        masks.hidden.numpy(), masks.targets.numpy(), strict=True
    ):
        visible = np.argwhere(~hidden[:, :n_recorded])
        for region, patch in np.argwhere(targets):
            for other, then in visible:
                close = distance[region, other] <= radius_space
                if close and abs(patch - then) * patch_duration <= radius_time + 1e-9:
                    pairs.append((region, patch, other, then))
    return pairs


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.8])
@pytest.mark.parametrize(
    "space, time", [(0.09, 0.2), (0.065, 0.0), (0.0, 0.3), (0.13, 0.1)]
)
def test_no_visible_token_is_near_a_target(ratio, space, time):
    """No visible token is within both radii of a target; hidden ones are no less so.

    All hidden tokens of which that holds are targets, at the edges of the window too.
    """
    masking = LocalMasking(ratio, space, time)
    masks = masking.draw(20, 10, POS, torch.Generator().manual_seed(0), 0.1)
    assert masks.targets.any((1, 2)).all()
    assert not (masks.targets & ~masks.hidden).any()
    assert not _leaks(masks, space, time, 0.1)
    for edge in (0, 9):
        assert masks.targets[:, :, edge].any()
    # any other hidden token has a visible neighbour
    rest = masks.hidden & ~masks.targets
    for number in range(20):
        one = masks._replace(hidden=masks.hidden[[number]], targets=rest[[number]])
        near = {tuple(pair[:2]) for pair in _leaks(one, space, time, 0.1)}
        assert near == {tuple(at) for at in np.argwhere(rest[number].numpy())}


def test_neighbours_are_hidden_together():
    """With room for one neighbourhood alone, it is what is hidden."""
    distance = np.linalg.norm(POS[:, None].numpy() - POS.numpy(), axis=-1)
    masks = LocalMasking(0.01).draw(50, 10, POS, torch.Generator().manual_seed(0))
    # the smallest has 4 regions, and 3 patches at an edge of the window
    assert set(masks.hidden.sum((1, 2)).tolist()) == {12}
    for hidden, targets in zip(
        masks.hidden.numpy(), masks.targets.numpy(), strict=True
    ):
        [(region, patch)] = np.argwhere(targets)
        expected = np.zeros((24, 10), bool)
        near = np.abs(np.arange(10) - patch) <= 2
        expected[np.ix_(distance[region] <= 0.09, near)] = True
        np.testing.assert_array_equal(hidden, expected)
        assert patch in (0, 9)


def test_radii_of_zero_are_random_masks():
    """Without neighbours every hidden token is a target, as likely as another."""
    masks = LocalMasking(0.6, 0.0, 0.0).draw(
        2000, 10, POS, torch.Generator().manual_seed(0)
    )
    assert torch.equal(masks.hidden, masks.targets)
    frequency = masks.hidden.float().mean(0)
    assert float((frequency - 0.6).abs().max()) < 5 * (0.24 / 2000) ** 0.5


def test_targets_of_short_windows_and_other_patches():
    """The radius is in s whatever a patch is; what was not recorded is no neighbour."""
    config = ModelConfig(patch_length=50, n_patches=5)
    generator = torch.Generator().manual_seed(0)
    masks = draw_masks_and_targets(LocalMasking(), 20, None, config, POS, generator)
    assert not _leaks(masks, 0.09, 0.2, 0.2, n_recorded=5)
    assert _leaks(masks, 0.09, 0.4, 0.2, n_recorded=5)
    n_valid = torch.tensor([110, 80] * 10)
    masks = draw_masks_and_targets(
        LocalMasking(0.6), 20, n_valid, ModelConfig(), POS, generator
    )
    assert not masks.hidden[:, :, 5:].any() and not masks.targets[:, :, 5:].any()
    assert set(masks.hidden.sum((1, 2)).tolist()) == {round(0.6 * 24 * 5)}
    assert masks.targets[:, :, 4].any()  # nothing is seen beyond the recording
    assert not _leaks(masks, 0.09, 0.2, 0.1, n_recorded=5)


def test_mixed_masking_keeps_targets():
    """A mixture has the targets of the kind that it draws."""
    generator = torch.Generator().manual_seed(0)
    seen = set()
    mixed = MixedMasking(kinds=[LocalMasking(0.7), RandomMasking(0.3)])
    for _ in range(20):
        masks = mixed.draw(2, 10, POS, generator, 0.1)
        local = int(masks.hidden[0].sum()) == 168
        seen.add(local)
        assert torch.equal(masks.hidden, masks.targets) != local
    assert seen == {True, False}


def test_refuses_radii():
    """Radii that are no lengths, or take in the whole window, are refused."""
    for radii in ((-0.1, 0.2), (0.09, float("inf")), ("9 cm", 0.2), (True, 0.2)):
        with pytest.raises(ValueError, match="radius_(space|time) to be a number of 0"):
            LocalMasking(0.8, *radii)
    with pytest.raises(ValueError, match="take in all 240 tokens of a window of 1 s"):
        LocalMasking(0.8, 1.0, 2.0).draw(1, 10, POS, torch.Generator())


def test_child_that_hides_something_else():
    """A child of a masking with targets may write ``__call__`` alone."""

    class First(LocalMasking):
        def __call__(self, n, n_patches, region_pos, generator):
            hidden = torch.zeros(n, len(region_pos), n_patches, dtype=torch.bool)
            hidden[:, :, 0] = True
            return hidden

    generator = torch.Generator().manual_seed(0)
    masks = draw_masks_and_targets(First(), 2, None, ModelConfig(), POS, generator)
    assert masks.hidden[:, :, 0].all() and not masks.hidden[:, :, 1:].any()
    assert torch.equal(masks.hidden, masks.targets)


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 1.0)])
def test_mixed_masks_of_a_single_patch(weights):
    """Time blocks could hide nothing there: other kinds are drawn."""
    masking = MixedMasking(weights=weights)
    drawn = [_draw(masking, n=2, n_patches=1, seed=seed) for seed in range(30)]
    counts = {int(mask.sum((1, 2))[0]) for mask in drawn}
    assert counts == {round(0.8 * 24), round(0.4 * 24)}
