"""Canonical windows on disk: a store that survives interruptions, and its order."""

from ._sampler import ShardSampler
from ._store import WindowStore

__all__ = ["ShardSampler", "WindowStore"]
