__all__ = [
    "CanonicalSensors",
    "MEGFMClassifier",
    "MEGFMRegressor",
    "MEGFMRetriever",
    "MEGFMTransformer",
    "MEGSamples",
    "archive",
    "encoding",
    "estimators",
    "evaluation",
    "inputs",
    "interpret",
    "make_report",
    "models",
    "plugins",
    "pretraining",
    "participants",
    "report",
    "sensors",
    "simulate_cohort",
    "simulation",
    "store",
    "sys_info",
    "viz",
    "weights",
]
from . import (
    archive,
    encoding,
    estimators,
    evaluation,
    inputs,
    interpret,
    models,
    participants,
    plugins,
    pretraining,
    report,
    sensors,
    simulation,
    store,
    viz,
    weights,
)
from ._sys_info import sys_info
from .estimators import (
    CanonicalSensors,
    MEGFMClassifier,
    MEGFMRegressor,
    MEGFMRetriever,
    MEGFMTransformer,
)
from .inputs import MEGSamples
from .report import make_report
from .simulation import simulate_cohort

__version__: str
