"""The pipelines that are compared unless others are given."""

from __future__ import annotations

from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from ..estimators import LogisticHead, MEGFMTransformer
from ._bands import BandPower
from ._covariance import CovarianceTangent
from ._dynamics import TrialDynamics
from ._original import OriginalSignals


def default_pipelines(
    head: BaseEstimator | None = None,
    *,
    weights: str = "megfm-tiny",
    sensors: bool = False,
    random_state: int = 0,
) -> dict[str, Pipeline]:
    """Build the model's pipeline and those of all baselines.

    All end with a copy of the same head, so that features are what differs.

    Parameters
    ----------
    head : estimator | None
        Classifier or regressor on the features; None for
        :class:`~mne_megfm.estimators.LogisticHead`.
    weights : str
        Weights of the model.
    sensors : bool
        Whether to add the original signals in the recordings' own sensors, for cohorts
        that were recorded on one array.
    random_state : int
        Seed of the untrained network, and of the head if that is None.

    Returns
    -------
    pipelines : dict
        From name to pipeline. ``"model features"`` comes first.

    Examples
    --------
    >>> from mne_megfm.evaluation import default_pipelines
    >>> list(default_pipelines())[:2]
    ['model features', 'same network, untrained']
    """
    head = LogisticHead(random_state=random_state) if head is None else head
    features = {
        "model features": MEGFMTransformer(weights),
        "same network, untrained": MEGFMTransformer(None, random_state=random_state),
        "original signals, evoked": OriginalSignals("evoked"),
        "original signals, early-middle-late": OriginalSignals("thirds"),
        "original signals, epochs": OriginalSignals("epochs"),
        "band power": BandPower(),
        "trial dynamics": TrialDynamics(),
        "band power + trial dynamics": FeatureUnion(
            [("bands", BandPower()), ("dynamics", TrialDynamics())]
        ),
        "covariance tangent space": CovarianceTangent(),
    }
    if sensors:
        features["original signals, evoked, own sensors"] = OriginalSignals(
            "evoked", space="sensors"
        )
    return {name: make_pipeline(step, clone(head)) for name, step in features.items()}
