"""What users import: scikit-learn estimators that take MNE objects."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

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
