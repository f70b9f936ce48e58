"""From a batch to its loss: what is trained, compiled and shared among processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..models import MaskedSignalTransformer, ModelConfig, to_patches
from ._masking import draw_masks

MASKS_PER_BATCH = 8


class Measured(NamedTuple):
    """How well a batch is predicted."""

    loss: Tensor  # ()
    error: Tensor  # (n,), squared error of each window, in units of scale squared
    power: Tensor  # (n,), what predicting nothing would leave


class Step(nn.Module):
    """A model with its objective, as one module to call.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The model.
    objective : callable
        The loss.
    """

    def __init__(
        self, model: MaskedSignalTransformer, objective: Callable[..., Tensor]
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, data: Tensor, n_valid: Tensor, mask: Tensor, bf16: bool, measure: bool
    ) -> Tensor | Measured:
        """Compute the loss where ``mask`` hides what was recorded."""
        model = self.model
        scaled, hidden = model.scale(data, n_valid, mask)
        target = to_patches(scaled.windows, model.config)
        with torch.autocast(data.device.type, torch.bfloat16, enabled=bf16):
            predicted = model.predict_patches(target, hidden)
        # hidden holds what was never recorded, too: nothing to compare with there
        compared = mask & _recorded(model.config, n_valid)
        if compared.any():
            loss = self.objective(predicted, target, compared)
        else:  # a mean over nothing would be NaN
            loss = predicted.sum() * 0.0
        if not measure:
            return loss
        # squares of tesla underflow in float32: compare at network scale
        unit = (scaled.unit / model.config.scale)[..., None, None]
        at = compared[..., None, None]
        error, power = (
            torch.where(at, x * unit, 0.0).square().sum((1, 2, 3, 4))
            for x in (predicted - target, target)
        )
        return Measured(loss, error, power)


def _recorded(config: ModelConfig, n_valid: Tensor) -> Tensor:
    ends = torch.arange(1, config.n_patches + 1, device=n_valid.device)
    return (ends * config.patch_length <= n_valid[:, None])[:, None]


def draw_batch_masks(
    masking: Callable[..., Tensor],
    n_valid: Tensor,
    config: ModelConfig,
    region_pos: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Draw the masks of a batch; neighbours in it share them.

    Field interpolation solves a system for each mask, so that fewer are quicker.
    """
    n = len(n_valid)
    n_masks = min(n, MASKS_PER_BATCH)
    masks = draw_masks(masking, n_masks, n_valid, config, region_pos, generator)
    return masks.repeat_interleave(-(-n // n_masks), 0)[:n].to(n_valid.device)
