"""Masked-signal pretraining: masks, objective, training loop, checkpoints."""

from ._augmentation import NoiseAndCropping
from ._axes import fit_token_axes
from ._checkpoint import load_checkpoint, read_config, save_checkpoint
from ._damage import find_damage
from ._from_store import pretrain_store
from ._history import History
from ._level_checkpoint import delete_level, load_level, save_level
from ._level_loop import hide_trials, level_loss, pretrain_level
from ._loop import pretrain
from ._masking import (
    MixedMasking,
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    draw_masks,
)
from ._metrics import masked_r2
from ._objective import LogErrorLoss, SignalSpectrumLoss
from ._ranks import LostRankError
from ._settings import PretrainSettings
from ._trainer import StoppedError
from ._trial_axes import fit_trial_inputs, fit_untrained_inputs
from ._trials import (
    PersonTrials,
    collate,
    limit_trials,
    recent_stimuli,
    state_kind,
)
from ._windows import WindowArray

__all__ = [
    "History",
    "LogErrorLoss",
    "LostRankError",
    "MixedMasking",
    "NoiseAndCropping",
    "PersonTrials",
    "PretrainSettings",
    "RandomMasking",
    "SignalSpectrumLoss",
    "SpaceBlockMasking",
    "StoppedError",
    "TimeBlockMasking",
    "WindowArray",
    "collate",
    "delete_level",
    "draw_masks",
    "find_damage",
    "fit_token_axes",
    "fit_trial_inputs",
    "fit_untrained_inputs",
    "hide_trials",
    "level_loss",
    "limit_trials",
    "load_checkpoint",
    "load_level",
    "masked_r2",
    "pretrain",
    "pretrain_store",
    "pretrain_level",
    "read_config",
    "recent_stimuli",
    "save_checkpoint",
    "save_level",
    "state_kind",
]
