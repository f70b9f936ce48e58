"""Masked-signal pretraining: masks, objective, training loop, checkpoints."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

#: What users are to rely on; the rest is for the other folders.
__all__ = ["Objective", "PretrainSettings", "WindowStatistics", "pretrain_store"]
