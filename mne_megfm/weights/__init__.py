"""Weights that come with the package, each a folder with its model card."""

from ._bundled import available_weights, weights_path

__all__ = ["available_weights", "weights_path"]
