"""Torch modules: patches, tokens, encoder, decoder and pooling.

Nothing here knows MNE or scikit-learn.
"""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "Backbone",
    "BackboneConfig",
    "BaseBackbone",
    "Pooling",
    "RandomMasking",
    "SpaceBlockMasking",
    "TimeBlockMasking",
    "to_patches",
]
