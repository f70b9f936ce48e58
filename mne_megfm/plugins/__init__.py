"""Parts by name: sensor mappings, backbones, objectives, poolings, heads and more.

Wherever an estimator takes such a part, it takes a string (the name of a built-in or
of an external plug-in) or an instance. An external plug-in is a class, or anything else
that makes a part when called, in an installed package that names it under one of the
entry-point groups ``mne_megfm.<kind>``::

    [options.entry_points]
    mne_megfm.maskings =
        checkerboard = my_package:CheckerboardMasking
"""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

#: What users are to rely on; the rest is for the other folders.
__all__ = ["available", "braindecode_models", "register"]
