"""Weights by name: those of the package, and those of the Hugging Face hub."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "available_weights",
    "import_braindecode",
    "load_checkpoint",
]
