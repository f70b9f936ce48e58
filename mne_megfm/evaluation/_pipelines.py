"""The pipelines that are compared unless others are given."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from ..estimators import LogisticHead, MEGFMTransformer
from ..plugins import get
from ._bands import BandPower
from ._covariance import CovarianceTangent
from ._dynamics import TrialDynamics
from ._networks import NetworkClassifier
from ._original import OriginalSignals
from ._trial_signals import TrialSignals


def default_pipelines(
    head: BaseEstimator | None = None,
    *,
    weights: str = "megfm-tiny",
    sensors: bool = False,
    networks: Sequence[str] = (),
    random_state: int = 0,
) -> dict[str, Pipeline]:
    """Build the model's pipeline and those of all baselines.

    All end with a copy of the same head, so that features are what differs; but for
    networks trained on the signals, where they are asked for.

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
    networks : sequence of str
        Names of networks to be added that each training fold trains from random
        weights, see `NetworkClassifier`: ``"shallow-fbcsp"`` and ``"eegnet"``, with
        braindecode installed. None by default, since they take minutes a fold.
    random_state : int
        Seed of the untrained network and of `networks`, and of the head if that is
        None.

    Returns
    -------
    pipelines : dict
        From name to pipeline. ``"model features"`` comes first, networks by their
        names last.

    Raises
    ------
    ImportError
        If a network of braindecode is asked for, which is not installed.
    ValueError
        If there is no such network, or networks are asked for beside a regressor.

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
    pipelines = {
        name: make_pipeline(step, clone(head)) for name, step in features.items()
    }
    if networks and is_regressor(head):
        raise ValueError(
            f"Expected networks=() with a regressor as head, got {list(networks)}; "
            "they classify."
        )
    for name in networks:
        # that it cannot be made should be known before hours of fitting
        get("networks", name)(n_chans=2, n_outputs=2, n_times=125, sfreq=125.0)
        classifier = NetworkClassifier(name, random_state=random_state)
        pipelines[name] = make_pipeline(TrialSignals(), classifier)
    return pipelines
