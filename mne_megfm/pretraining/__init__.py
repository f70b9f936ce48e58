"""Masked-signal pretraining: masks, objective, training loop, checkpoints."""

from ._axes import fit_token_axes
from ._checkpoint import load_checkpoint, save_checkpoint
from ._loop import History, pretrain
from ._masking import (
    MixedMasking,
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
)
from ._metrics import masked_r2
from ._objective import SignalSpectrumLoss
from ._windows import WindowArray

__all__ = [
    "History",
    "MixedMasking",
    "RandomMasking",
    "SignalSpectrumLoss",
    "SpaceBlockMasking",
    "TimeBlockMasking",
    "WindowArray",
    "fit_token_axes",
    "load_checkpoint",
    "masked_r2",
    "pretrain",
    "save_checkpoint",
]
