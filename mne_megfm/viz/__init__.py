"""Figures; each function returns a matplotlib figure, as MNE's do."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__, submod_attrs={"_reconstruction": ["plot_reconstruction"]}
)
