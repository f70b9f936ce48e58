"""From recordings and BIDS data sets to a store of windows."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={"_prepare": ["prepare"]},
)
