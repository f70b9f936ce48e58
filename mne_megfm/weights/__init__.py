"""Weights by name: those of the package, and those of the Hugging Face hub."""

from ._bundled import available_weights, read_card, weights_path
from ._hub import download_weights, upload_weights

__all__ = [
    "available_weights",
    "download_weights",
    "read_card",
    "upload_weights",
    "weights_path",
]
