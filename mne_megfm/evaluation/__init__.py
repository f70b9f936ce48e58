"""Comparing pipelines by participant, and the baselines to compare with."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "_bands": ["BandPower"],
        "_covariance": ["CovarianceTangent"],
        "_dynamics": ["TrialDynamics"],
        "_original": ["OriginalSignals"],
        "_pipelines": ["default_pipelines"],
    },
)
