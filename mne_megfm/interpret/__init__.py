"""What a fitted model makes of a recording."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "Attribution",
    "Importance",
    "attention",
    "attention_test",
    "attribute",
    "decision_map",
    "expert_reliability",
    "expert_weights",
    "occlude",
    "reconstruct",
    "score_attention",
    "score_reconstruction",
    "state_importance",
]
