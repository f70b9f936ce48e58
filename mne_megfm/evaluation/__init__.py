"""Comparing pipelines by participant, and the baselines to compare with."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "BandPower",
    "Comparison",
    "CovarianceTangent",
    "EvokedFeatures",
    "HabituationFeatures",
    "ParticipantSplit",
    "compare",
    "cross_validate_participants",
    "default_pipelines",
    "group_differences",
    "learning_curve",
]
