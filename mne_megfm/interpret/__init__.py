"""What a fitted model makes of a recording."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "_attention": ["ATTENTION_METHODS", "attention"],
        "_attention_scores": ["AttentionScore", "score_attention"],
        "_attention_test": ["AttentionTest", "attention_test"],
        "_attribution": ["Attribution", "attribute"],
        "_decision_map": ["decision_map"],
        "_importance": ["Importance", "state_importance"],
        "_occlusion": ["BANDS", "Occlusion", "occlude"],
        "_reconstruct": ["Reconstruction", "reconstruct"],
        "_reconstruction_scores": ["MASKS", "score_reconstruction"],
        "_refits": ["HeldOutScore", "NullDistribution"],
    },
)
