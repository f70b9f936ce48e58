__all__ = [
    "CanonicalSensors",
    "MEGFMClassifier",
    "MEGFMRegressor",
    "MEGFMTransformer",
    "MEGSamples",
    "__version__",
    "datasets",
    "estimators",
    "evaluation",
    "inputs",
    "interpret",
    "make_report",
    "models",
    "plugins",
    "pretraining",
    "report",
    "sensors",
    "simulate_cohort",
    "store",
    "sys_info",
    "viz",
    "weights",
]
from . import (
    datasets,
    estimators,
    evaluation,
    inputs,
    interpret,
    models,
    plugins,
    pretraining,
    report,
    sensors,
    store,
    viz,
    weights,
)
from ._sys_info import sys_info
from ._version import __version__
from .datasets import simulate_cohort
from .estimators import (
    CanonicalSensors,
    MEGFMClassifier,
    MEGFMRegressor,
    MEGFMTransformer,
)
from .inputs import MEGSamples
from .report import make_report
