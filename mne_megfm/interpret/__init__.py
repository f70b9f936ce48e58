"""What a fitted model makes of a recording."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "_attention": ["READINGS", "attention"],
        "_attention_scores": ["AttentionScore", "score_attention"],
        "_attention_test": ["AttentionTest", "attention_test"],
        "_attribution": ["Attribution", "attribute"],
        "_decision_map": ["decision_map"],
        "_evoked_scores": ["PEAKS", "score_evoked"],
        "_importance": ["Importance", "state_importance"],
        "_null": ["NullDistribution"],
        "_occlusion": ["BANDS", "Occlusion", "occlude"],
        "_reconstruct": ["reconstruct"],
        "_refits": ["HeldOutScore"],
        "_sensor_scores": ["score_on_sensors"],
        "_reconstruction": [
            "MASKS",
            "Reconstruction",
            "masked_reconstruction",
            "score_reconstruction",
        ],
    },
)
