"""Batches in an order and with random streams that depend on seed and step alone.

So a run can be taken up at any step, and each of several processes can draw what is
its own. A batch is cut into parts, which are the unit of both: one process computes
all parts in turn, or several some each, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..store import ShardSampler, WindowStore
from ._ranks import Ranks
from ._windows import WindowArray

TRAINING, VALIDATION = 0, 1


class Part(NamedTuple):
    """Part of a batch."""

    step: int
    share: float  # of the batch's windows
    last: bool  # of this process's parts of the batch
    windows: Tensor  # (n, n_sensors, n_times), tesla
    n_valid: Tensor  # (n,)
    generator: torch.Generator


class Batches:
    """The parts of any steps' batches that one process computes.

    Windows come in an order drawn anew for each pass through them, once a pass.

    Parameters
    ----------
    windows : WindowArray | WindowStore
        The data.
    index : array of int
        The windows to go through.
    batch_size : int
        Windows in a batch at most.
    n_parts : int
        Parts of a batch, a multiple of the number of processes.
    seed : int
        Seed of the order and of the streams.
    ranks : Ranks
        This process among the others.
    """

    def __init__(
        self,
        windows: WindowArray | WindowStore,
        index: np.ndarray,
        batch_size: int,
        n_parts: int,
        seed: int,
        ranks: Ranks,
    ) -> None:
        self.windows = windows
        self.seed = seed
        self.parts = ranks.share(n_parts)
        self._samplers = [
            ShardSampler(index, batch_size, seed=seed, rank=part, world_size=n_parts)
            for part in self.parts
        ]
        #: Batches in a pass.
        self.n_batches = len(self._samplers[0])
        self._size, self._larger = divmod(len(index), self.n_batches)

    def steps(self, first: int, last: int, device: torch.device) -> Iterator[Part]:
        """Yield the parts of the batches of steps ``first`` to ``last - 1``."""
        stream = self.windows.stream(self._indices(first, last))
        for number, (data, n_valid) in enumerate(stream):
            step = first + number // len(self.parts)
            at = number % len(self.parts)
            size = self._size + (step % self.n_batches < self._larger)
            yield Part(
                step,
                len(data) / size,
                at == len(self.parts) - 1,
                torch.as_tensor(data).to(device),
                torch.as_tensor(n_valid).to(device),
                stream_of(self.seed, TRAINING, step, self.parts[at]),
            )

    def _indices(self, first: int, last: int) -> Iterator[np.ndarray]:
        step = first
        while step < last:
            number, skipped = divmod(step, self.n_batches)
            # an epoch of the sampler is a pass; its number, too, counts from 1
            of_parts = zip(*(s.epoch(number + 1) for s in self._samplers), strict=True)
            for position, parts in enumerate(of_parts):
                if position >= skipped and step < last:
                    yield from parts
                    step += 1


def stream_of(seed: int, *numbers: int) -> torch.Generator:
    """Make the random stream that belongs to some numbers."""
    state = np.random.SeedSequence([seed, *numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
