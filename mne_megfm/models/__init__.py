"""Torch modules: patches, tokens, encoder, decoder and pooling.

Nothing here knows MNE or scikit-learn.
"""

from ._config import ModelConfig
from ._masked import MaskedSignalTransformer
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
    "MaskedSignalTransformer",
    "MeanPooling",
    "ModelConfig",
    "Scaled",
    "SpacePooling",
    "TimePooling",
    "TokenPooling",
]
