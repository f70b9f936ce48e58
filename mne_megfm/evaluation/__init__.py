"""Comparing pipelines by participant, and the baselines to compare with."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_baselines": [
            "BandPower",
            "CovarianceTangent",
            "EvokedFeatures",
            "HabituationFeatures",
            "KernelSum",
        ],
        "_compare": ["compare"],
        "_comparison": ["Comparison"],
        "_cross_validate": ["ParticipantScores", "cross_validate_participants"],
        "_folds": ["ParticipantSplit"],
        "_group_differences": ["group_differences"],
        "_intervals": ["corrected_interval", "corrected_t_test"],
        "_learning_curve": ["LearningCurve", "learning_curve"],
        "_network_classifier": ["NetworkClassifier", "TrialSignals"],
        "_participant_features": ["shared_trials", "trials_by_state"],
        "_pipelines": ["default_pipelines"],
    },
)

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
