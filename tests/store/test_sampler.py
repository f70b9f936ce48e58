"""Tests of the order of reading."""

import numpy as np
import pytest

from mne_megfm.store import ShardSampler


@pytest.mark.parametrize("n, batch_size", [(20, 4), (21, 4), (100, 32), (7, 7), (5, 9)])
@pytest.mark.parametrize("block", [1, 3])
def test_every_window_once(n, batch_size, block):
    """An epoch has each window once, in batches that are as large as each other."""
    index = np.random.default_rng(0).permutation(1000)[:n]
    sampler = ShardSampler(index, batch_size, block=block)
    batches = list(sampler.epoch(3))
    assert len(batches) == len(sampler) == -(-n // batch_size)
    assert sorted(np.concatenate(batches)) == sorted(index)
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("world_size", [2, 3, 8])
@pytest.mark.parametrize("block", [1, 5])
def test_ranks_share_the_same_batches(world_size, block):
    """Put together, the ranks' shares are a single process' batches, in order."""
    one = list(ShardSampler(101, 26, random_state=4, block=block).epoch(2))
    ranks = [
        list(
            ShardSampler(
                101, 26, random_state=4, rank=rank, world_size=world_size, block=block
            ).epoch(2)
        )
        for rank in range(world_size)
    ]
    for number, batch in enumerate(one):
        shares = [rank[number] for rank in ranks]
        np.testing.assert_array_equal(np.concatenate(shares), batch)
        sizes = [len(share) for share in shares]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1


def test_order_depends_on_seed_and_epoch_alone():
    """Any epoch can be had by itself, and each has its own order."""

    def order(seed, epoch):
        return np.concatenate(list(ShardSampler(50, 8, random_state=seed).epoch(epoch)))

    sampler = ShardSampler(50, 8, random_state=1)
    list(sampler.epoch(1))
    assert np.concatenate(list(sampler.epoch(2))).tolist() == order(1, 2).tolist()
    orders = {tuple(order(s, e)) for s, e in ((0, 1), (0, 2), (1, 1), (1, 2))}
    assert len(orders) == 4


def test_mixing():
    """Without blocks the order is a fair shuffle; with them neighbours stay."""
    epochs = range(400)
    first = [next(ShardSampler(10, 10, random_state=0).epoch(e))[0] for e in epochs]
    counts = np.bincount(first, minlength=10)
    assert counts.min() > 15  # 40 expected, SD 6
    order = np.concatenate(list(ShardSampler(1000, 100, block=10).epoch(0)))
    np.testing.assert_array_equal(order.reshape(100, 10) % 10, [np.arange(10)] * 100)
    assert (np.diff(order[::10]) != 10).mean() > 0.9


@pytest.mark.parametrize(
    "params, match",
    [
        ({"batch_size": 0}, "batch_size to be an integer of at least 1, got 0"),
        ({"world_size": 0}, "world_size"),
        ({"block": 1.5}, "block"),
        ({"rank": 2, "world_size": 2}, "rank to be from 0 to 1, got 2"),
        ({"rank": -1}, "rank to be from 0 to 0"),
        ({"world_size": 3, "batch_size": 2}, "each of 3 ranks"),
        ({"index": 0}, "got 0 windows"),
    ],
)
def test_refuses(params, match):
    """Numbers out of range are said to be so."""
    params = {"index": 10, "batch_size": 4} | params
    with pytest.raises(ValueError, match=match):
        ShardSampler(params.pop("index"), params.pop("batch_size"), **params)
