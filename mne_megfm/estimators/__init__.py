"""What users import: scikit-learn estimators that take MNE objects."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_canonical_sensors": ["CanonicalSensors"],
        "_classifier": ["MEGFMClassifier"],
        "_heads": ["LogisticHead", "RidgeHead"],
        "_initialization": ["FineTuning", "Pretraining"],
        "_module": ["MEGFMModule"],
        "_regressor": ["MEGFMRegressor"],
        "_retriever": ["MEGFMRetriever", "retrieval_scores"],
        "_state_mixing_heads": [
            "StateMixingClassifier",
            "StateMixingRegressor",
            "state_mixing_head",
        ],
        "_state_space_heads": [
            "StateSpaceClassifier",
            "StateSpaceRegressor",
            "state_space_head",
        ],
        "_transformer": ["MEGFMTransformer"],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "CanonicalSensors",
    "FineTuning",
    "LogisticHead",
    "MEGFMClassifier",
    "MEGFMModule",
    "MEGFMRegressor",
    "MEGFMRetriever",
    "MEGFMTransformer",
    "Pretraining",
    "RidgeHead",
    "retrieval_scores",
]
