"""Torch modules: patches, tokens, encoder, decoder and pooling.

Nothing here knows MNE or scikit-learn.
"""

from ._config import ModelConfig
from ._fill import field_interpolation, time_interpolation
from ._lora import LowRankLinear, add_adapters, merge_adapters
from ._masked import MaskedSignalTransformer
from ._participant import STATES, ParticipantConfig, ParticipantTransformer
from ._patches import from_patches, sample_mask, to_patches, valid_patches
from ._pooling import (
    CompactPooling,
    MeanPooling,
    SpacePooling,
    TimePooling,
    TokenPooling,
)
from ._scaling import Scaled
from ._trial_inputs import BANDS, TrialInputs, Trials

__all__ = [
    "BANDS",
    "STATES",
    "CompactPooling",
    "LowRankLinear",
    "MaskedSignalTransformer",
    "MeanPooling",
    "ModelConfig",
    "ParticipantConfig",
    "ParticipantTransformer",
    "Scaled",
    "SpacePooling",
    "TimePooling",
    "TokenPooling",
    "TrialInputs",
    "Trials",
    "add_adapters",
    "field_interpolation",
    "from_patches",
    "merge_adapters",
    "sample_mask",
    "time_interpolation",
    "to_patches",
    "valid_patches",
]
