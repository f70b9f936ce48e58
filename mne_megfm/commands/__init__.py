"""The command ``mne-megfm``: a module each, loaded when it is called."""

from ._options import main

__all__ = ["main"]
