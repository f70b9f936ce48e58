"""What a fitted model makes of a recording."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "_attention": ["READINGS", "attention"],
        "_attention_scores": ["AttentionScore", "score_attention"],
        "_attribution": ["attribute"],
        "_evoked_scores": ["PEAKS", "score_evoked"],
        "_importance": ["state_importance"],
        "_occlusion": ["BANDS", "occlude"],
        "_reconstruct": ["reconstruct"],
        "_sensor_scores": ["score_on_sensors"],
        "_reconstruction": [
            "MASKS",
            "Reconstruction",
            "masked_reconstruction",
            "score_reconstruction",
        ],
    },
)
