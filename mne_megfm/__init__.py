"""Features from a transformer pretrained on MEG, as a scikit-learn step.

The public names are loaded on first use (they stand in ``__init__.pyi``), so that
``import mne_megfm`` costs milliseconds and no part pulls in what it does not need.
"""

import lazy_loader as lazy

from ._version import __version__  # noqa: F401  (the stub lists it among __all__)

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
