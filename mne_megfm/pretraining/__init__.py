"""Masked-signal pretraining: masks, objective, training loop, checkpoints."""

from ._augmentation import NoiseAndCropping
from ._axes import fit_token_axes
from ._checkpoint import load_checkpoint, read_config, save_checkpoint
from ._history import History
from ._loop import pretrain
from ._masking import (
    MixedMasking,
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    draw_masks,
)
from ._metrics import masked_r2
from ._objective import SignalSpectrumLoss
from ._windows import WindowArray

__all__ = [
    "History",
    "MixedMasking",
    "NoiseAndCropping",
    "RandomMasking",
    "SignalSpectrumLoss",
    "SpaceBlockMasking",
    "TimeBlockMasking",
    "WindowArray",
    "draw_masks",
    "fit_token_axes",
    "load_checkpoint",
    "masked_r2",
    "pretrain",
    "read_config",
    "save_checkpoint",
]
