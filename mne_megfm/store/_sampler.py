"""The order in which windows are read, the same however many processes read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral

import numpy as np


class ShardSampler:
    """Batches of windows in random order, shared out among ranks.

    In an epoch each window comes exactly once. What is in a batch depends on
    ``random_state`` and epoch alone: the shares of all ranks, put together in the order
    of the ranks, are the batch that a single process would get.

    Parameters
    ----------
    index : int | array of int, shape (n,)
        The windows to go through, or how many there are.
    batch_size : int
        Windows in a batch at most, over all ranks. Batches are as equal in size as
        the number of windows allows, so that none is left with a few.
    random_state : int
        Seed of the order.
    rank : int
        Which share this process gets.
    world_size : int
        Number of processes.
    block : int
        Neighbouring windows that stay together. 1 mixes everything; more spares a
        disk on which finding a place is slow, for batches that are less mixed.

    Raises
    ------
    ValueError
        If a number is out of range, or there are fewer windows in a batch than ranks.

    Examples
    --------
    >>> from mne_megfm.store import ShardSampler
    >>> one = ShardSampler(10, 4, random_state=7)
    >>> [batch.tolist() for batch in one.epoch(1)]
    [[9, 0, 8, 6], [7, 1, 3], [4, 2, 5]]
    >>> two = ShardSampler(10, 4, random_state=7, rank=1, world_size=2)
    >>> [batch.tolist() for batch in two.epoch(1)]
    [[8, 6], [3], [5]]
    """

    def __init__(
        self,
        index: int | Sequence[int] | np.ndarray,
        batch_size: int,
        *,
        random_state: int = 0,
        rank: int = 0,
        world_size: int = 1,
        block: int = 1,
    ) -> None:
        self.index = np.arange(index) if isinstance(index, Integral) else index
        self.index = np.asarray(self.index, dtype=np.int64)
        for name, value in (
            ("batch_size", batch_size),
            ("world_size", world_size),
            ("block", block),
        ):
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(
                    f"Expected {name} to be an integer of at least 1, got {value!r}."
                )
        if not isinstance(rank, Integral) or not 0 <= rank < world_size:
            raise ValueError(
                f"Expected rank to be from 0 to {world_size - 1}, got {rank!r}."
            )
        self.batch_size = batch_size
        self.random_state = random_state
        self.rank = rank
        self.world_size = world_size
        self.block = block
        if not len(self.index) or len(self.index) // len(self) < world_size:
            raise ValueError(
                f"Expected at least one window a batch for each of {world_size} "
                f"ranks, got {len(self.index)} windows in batches of {batch_size}; "
                "give more data or a larger batch_size, or use fewer processes."
            )

    def __len__(self) -> int:
        return -(-len(self.index) // self.batch_size)

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """Go through the windows once.

        Parameters
        ----------
        number : int
            Number of the epoch; each has its own order.

        Returns
        -------
        batches : iterator of array of int
            This rank's windows in each batch.
        """
        rng = np.random.default_rng([self.random_state, number])
        if self.block == 1:
            order = rng.permutation(self.index)
        else:
            cuts = np.arange(self.block, len(self.index), self.block)
            blocks = np.split(self.index, cuts)
            order = np.concatenate([blocks[i] for i in rng.permutation(len(blocks))])
        for batch in np.array_split(order, len(self)):
            yield np.array_split(batch, self.world_size)[self.rank]
