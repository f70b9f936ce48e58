"""What a fitted model makes of a recording."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_attention": [
            "ATTENTION_METHODS",
            "AttentionTest",
            "attention",
            "attention_test",
        ],
        "_attention_scores": [
            "AttentionScore",
            "expert_reliability",
            "expert_weights",
            "score_attention",
        ],
        "_attribution": ["Attribution", "attribute", "decision_map"],
        "_importance": ["Importance", "state_importance"],
        "_occlusion": ["BANDS", "Occlusion", "occlude"],
        "_reconstruct": ["Reconstruction", "reconstruct"],
        "_reconstruction_scores": ["COLUMNS", "MASKS", "score_reconstruction"],
        "_refits": ["HeldOutScore", "NullDistribution", "null_distributions"],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "Attribution",
    "Importance",
    "attention",
    "attention_test",
    "attribute",
    "occlude",
    "reconstruct",
    "score_reconstruction",
    "state_importance",
]
