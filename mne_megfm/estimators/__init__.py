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
    "MEGFMTransformer",
    "Pretraining",
    "RidgeHead",
]
