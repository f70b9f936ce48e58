"""Loss and explained share on held-out recordings, always with the same masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..models import ModelConfig
from ..store import WindowStore
from ._batches import VALIDATION, stream_of
from ._ranks import Ranks, is_parted
from ._step import draw_batch_masks
from ._windows import WindowArray

ALL = "all"


def choose_windows(index: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    """Draw windows to validate on, where there are more than wanted."""
    if most is None or len(index) <= most:
        return index
    return np.sort(np.random.default_rng([seed, 2]).choice(index, most, replace=False))


def validate(
    step: nn.Module,
    config: ModelConfig,
    windows: WindowArray | WindowStore,
    index: np.ndarray,
    masking: Callable[..., Tensor],
    region_pos: Tensor,
    *,
    seed: int,
    batch_size: int,
    bf16: bool,
    device: torch.device,
    ranks: Ranks,
) -> tuple[float, dict[str, float]]:
    """Compute the loss and R² by state, over all processes.

    Returns
    -------
    loss : float
        Mean over windows.
    r2 : dict
        Explained share of the hidden field for ``"all"`` and each state, with the
        masks of training, by the network alone: ``1 - sum (b - b_hat)^2 / sum b^2``.
    """
    states = None if windows.state is None else np.asarray(windows.state)[index]
    names = [ALL] if states is None else [ALL, *np.unique(states).tolist()]
    # small batches draw more masks, of every kind
    batch_size = max(1, min(batch_size, len(index) // 8))
    starts = range(0, len(index), batch_size)
    # error and power by state, then the loss
    sums = np.zeros(2 * len(names) + 1)
    step.eval()
    # parted parameters cannot be gathered in inference mode
    parted = any(is_parted(p) for p in step.parameters())
    with torch.no_grad() if parted else torch.inference_mode():
        # all processes take as many turns: parted parameters are gathered in each
        for turn in range(-(-len(starts) // ranks.size)):
            number = turn * ranks.size + ranks.number
            counts = number < len(starts)
            start = starts[number if counts else -1]
            part = slice(start, start + batch_size)
            data, n_valid = (
                torch.as_tensor(x).to(device) for x in windows.take(index[part])
            )
            generator = stream_of(seed, VALIDATION, start)
            mask = draw_batch_masks(masking, n_valid, config, region_pos, generator)
            got = step(data, n_valid, mask, bf16, True)
            if not counts:
                continue
            sums[-1] += float(got.loss) * len(data)
            for i, name in enumerate(names):
                chosen = slice(None)
                if name != ALL:
                    chosen = torch.from_numpy(states[part] == name).to(device)
                sums[2 * i] += float(got.error[chosen].sum(dtype=torch.float64))
                sums[2 * i + 1] += float(got.power[chosen].sum(dtype=torch.float64))
    *sums, loss = ranks.sum(sums.tolist(), device)
    r2 = {
        name: 1.0 - error / power if power else float("nan")
        for name, error, power in zip(names, sums[::2], sums[1::2], strict=True)
    }
    return loss / len(index), r2
