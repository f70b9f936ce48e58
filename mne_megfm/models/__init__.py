"""Torch modules: patches, tokens, encoder, decoder and pooling.

Nothing here knows MNE or scikit-learn.
"""

from ._config import ModelConfig
from ._fill import field_interpolation, time_interpolation
from ._lora import LowRankLinear, add_adapters, merge_adapters
from ._masked import MaskedSignalTransformer
from ._patches import from_patches, sample_mask, to_patches, valid_patches
from ._pooling import (
    CompactPooling,
    MeanPooling,
    SpacePooling,
    TimePooling,
    TokenPooling,
)
from ._scaling import Scaled

__all__ = [
    "CompactPooling",
    "LowRankLinear",
    "MaskedSignalTransformer",
    "MeanPooling",
    "ModelConfig",
    "Scaled",
    "SpacePooling",
    "TimePooling",
    "TokenPooling",
    "add_adapters",
    "field_interpolation",
    "from_patches",
    "merge_adapters",
    "sample_mask",
    "time_interpolation",
    "to_patches",
    "valid_patches",
]
