"""Encoding models: features of naturalistic stimuli to sources, MEG and fMRI."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

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
