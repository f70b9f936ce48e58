"""One HTML report of what was recorded, what a model makes of it and how well."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_report": ["MEGFMReport", "make_report"],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = ["MEGFMReport", "make_report"]
