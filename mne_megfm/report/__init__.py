"""One HTML report of what was recorded, what a model makes of it and how well."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "_report": ["MEGFMReport", "make_report"],
    },
)
