"""Canonical windows on disk: a store that survives interruptions, and its order."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_store": ["ShardSampler", "WindowStore", "split_groups"],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = ["WindowStore"]
