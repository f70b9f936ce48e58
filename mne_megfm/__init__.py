"""Features from a transformer pretrained on MEG, as a scikit-learn step.

The public names are loaded on first use (they stand in ``__init__.pyi``), so that
``import mne_megfm`` costs milliseconds and no part pulls in what it does not need.
"""

import lazy_loader as lazy

#: Everything else reads the version here, also setup.cfg, which does not import it.
__version__ = "0.1.0.dev0"

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
