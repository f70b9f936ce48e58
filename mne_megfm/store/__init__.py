"""Canonical windows on disk: a store that survives interruptions, and its order."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "_sampler": ["ShardSampler"],
        "_store": ["WindowStore"],
    },
)
