"""Encoding models: features of naturalistic stimuli to sources, MEG and fMRI."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_banded_ridge": ["BandedRidge"],
        "_comparison": [
            "SourceComparison",
            "compare_sources",
            "inverse_estimate",
        ],
        "_latent_source_encoder": ["LatentSourceEncoder"],
        "_region_powers": ["region_powers"],
        "_source_space": ["morph_forward"],
        "_scores": ["cross_validate_stories", "noise_ceiling", "select_stories"],
    },
)

#: What users are to rely on.
__all__ = [
    "BandedRidge",
    "LatentSourceEncoder",
    "SourceComparison",
    "compare_sources",
    "cross_validate_stories",
    "inverse_estimate",
    "morph_forward",
    "noise_ceiling",
    "region_powers",
    "select_stories",
]
