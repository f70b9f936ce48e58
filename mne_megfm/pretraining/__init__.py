"""Masked-signal pretraining: masks, objective, training loop, checkpoints."""

from ._augmentation import NoiseAndCropping
from ._axes import fit_token_axes
from ._checkpoint import load_checkpoint, read_config, save_checkpoint
from ._from_store import pretrain_store
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
from ._settings import PretrainSettings
from ._windows import WindowArray

__all__ = [
    "History",
    "MixedMasking",
    "NoiseAndCropping",
    "PretrainSettings",
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
    "pretrain_store",
    "read_config",
    "save_checkpoint",
]
