from ._store import (
    ShardSampler as ShardSampler,
    WindowStore as WindowStore,
    split_groups as split_groups,
)
