"""Comparing pipelines by participant, and the baselines to compare with."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "_bands": ["BandPower"],
        "_compare": ["compare"],
        "_comparison": ["Comparison"],
        "_covariance": ["CovarianceTangent"],
        "_cross_validate": ["ParticipantScores", "cross_validate_participants"],
        "_dynamics": ["TrialDynamics"],
        "_folds": ["ParticipantSplit"],
        "_learning_curve": ["LearningCurve", "learning_curve"],
        "_networks": ["NetworkClassifier"],
        "_original": ["OriginalSignals"],
        "_pipelines": ["default_pipelines"],
        "_statistics": ["corrected_interval", "corrected_t_test"],
        "_trial_signals": ["TrialSignals"],
    },
)
