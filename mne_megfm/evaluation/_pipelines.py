"""The pipelines that are compared: those given, or the model and all baselines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from mne.utils import warn
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.utils.multiclass import type_of_target

from ..estimators import (
    LogisticHead,
    MEGFMClassifier,
    MEGFMRegressor,
    MEGFMTransformer,
    RidgeHead,
)
from ..plugins import get
from ._baselines import (
    BandPower,
    CovarianceTangent,
    EvokedFeatures,
    HabituationFeatures,
    KernelSum,
    import_pyriemann,
)
from ._network_classifier import NetworkClassifier, TrialSignals
from ._provenance import fitted_before, with_random_weights
from ._running import FrozenFeatures
from ._samples import Samples


def fewest_in_training(pipelines: Iterable[BaseEstimator]) -> int:
    """Count the participants of a class that pipelines need at least to learn from.

    Two, where a head of ours chooses its penalty by an inner cross-validation; three of
    each class, or four in all, where training is stopped by held-out participants.
    """
    heads = (part[-1] if isinstance(part, Pipeline) else part for part in pipelines)
    return max(map(_fewest, heads), default=1)


def _fewest(head: BaseEstimator) -> int:
    predictor = isinstance(head, MEGFMClassifier | MEGFMRegressor)
    inner = head.head if predictor else head
    if (
        (predictor and head.strategy != "probe")
        or inner == "ssm"
        or getattr(inner, "reads_sequences", False)
    ):
        return 4 if is_regressor(head) else 3
    return 2 if predictor or isinstance(head, LogisticHead | RidgeHead) else 1


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
        Seed of the random weights and of `networks`, and of the head if that is
        None.

    Returns
    -------
    pipelines : dict
        From name to pipeline. ``"model features"`` comes first, networks by their
        names last.

    Raises
    ------
    ImportError
        If pyRiemann is not installed, or a network of braindecode is asked for, which
        is not.
    ValueError
        If there is no such network, or networks are asked for beside a regressor.

    Notes
    -----
    ``"random weights"`` is the model with random weights in a network of the same
    sizes, and extracts the same kinds of features.

    ``"sum of three kernels"`` has averages in 48 spatial components from 0 to 600 ms,
    log spectra by region in 21 bands from 2 to 100 Hz, and trial dynamics. Each is
    scaled to the same mean squared norm over training participants, so that a linear
    classifier adds up three kernels of the same trace [1]_. Without events there are
    spectra alone.

    ``"hand-made measures"`` is ``MEGFMTransformer(aggregation="measures")`` with the
    bundled weights: amplitudes, habituation and spectra, with maps of the responses.

    References
    ----------
    .. [1] Gönen M, Alpaydın E (2011). Multiple kernel learning algorithms. J Mach
       Learn Res 12:2211-2268, section 3.1 (the unweighted sum).

    Examples
    --------
    >>> from mne_megfm.evaluation import default_pipelines
    >>> list(default_pipelines())[:2]
    ['model features', 'random weights']
    """
    import_pyriemann()  # where it is missing, before features of others are computed
    head = LogisticHead(random_state=random_state) if head is None else head
    model = MEGFMTransformer(weights)
    features = {
        "model features": model,
        "random weights": with_random_weights(model, random_state),
        "original signals, evoked": EvokedFeatures("evoked"),
        "original signals, early-middle-late": EvokedFeatures("thirds"),
        "original signals, epochs": EvokedFeatures("epochs"),
        "band power": BandPower(),
        "trial dynamics": HabituationFeatures(),
        "band power + trial dynamics": FeatureUnion(
            [("bands", BandPower()), ("dynamics", HabituationFeatures())]
        ),
        "covariance tangent space": CovarianceTangent(),
        "sum of three kernels": KernelSum(),
        "hand-made measures": MEGFMTransformer(aggregation="measures"),
    }
    if sensors:
        features["original signals, evoked, own sensors"] = EvokedFeatures(
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


def choose_pipelines(
    pipelines: Mapping[str, BaseEstimator] | None, y: NDArray, random_state: int
) -> Mapping[str, BaseEstimator]:
    """Check the pipelines given, or take those that suit the labels."""
    if pipelines is None:
        regress = type_of_target(y) == "continuous"
        if not regress:
            _check_whole_numbers(y)
        head = RidgeHead(random_state=random_state) if regress else None
        return default_pipelines(head, random_state=random_state)
    if not isinstance(pipelines, Mapping) or not pipelines:
        raise TypeError(
            "Expected pipelines as a dict from name to pipeline, with one at least, "
            f"got {pipelines!r}."
        )
    kinds = {name: is_regressor(pipeline) for name, pipeline in pipelines.items()}
    if len(set(kinds.values())) > 1:
        raise ValueError(
            "Expected either classifiers or regressors, got regressors "
            f"{[name for name, kind in kinds.items() if kind]} beside classifiers; "
            "compare them separately."
        )
    for name, pipeline in pipelines.items():
        if found := fitted_before(pipeline):
            warn(
                f"The pipeline {name!r} holds {', '.join(found)} fitted before; if "
                "that was on participants of test folds, results look better than they "
                "are, and permuted labels do not show it."
            )
    return {name: _split_frozen(pipeline) for name, pipeline in pipelines.items()}


# more classes than this are numbers to predict
_MOST_CLASSES = 10


def _check_whole_numbers(y: NDArray) -> None:
    """Refuse numbers that can only be meant for regression, such as ages in years."""
    if y.dtype.kind not in "iuf":
        return
    values, counts = np.unique(y, return_counts=True)
    if len(values) > _MOST_CLASSES or (len(values) > 2 and counts.min() < 2):
        raise ValueError(
            f"Expected classes in y, got {len(values)} different whole numbers from "
            f"{values[0]:g} to {values[-1]:g}, the rarest of {counts.min()} "
            "participants: whole numbers are taken as classes. For regression, as of "
            "ages in years, pass pipelines=default_pipelines(RidgeHead()), with "
            "RidgeHead from mne_megfm.estimators; names of classes can be strings."
        )


def _split_frozen(pipeline: BaseEstimator) -> BaseEstimator:
    """Split a frozen encoder from its head, so that it extracts but once."""
    if not isinstance(pipeline, MEGFMClassifier | MEGFMRegressor):
        return pipeline
    frozen = pipeline.strategy == "probe" and pipeline.sample != "epoch"
    return pipeline.to_pipeline() if frozen else pipeline


def applicable(
    pipelines: Mapping[str, BaseEstimator], frozen: FrozenFeatures, samples: Samples
) -> dict[str, BaseEstimator]:
    """Leave out default pipelines that extract nothing from these recordings."""
    chosen = {}
    for name, pipeline in pipelines.items():
        if frozen.is_empty(pipeline.steps[0][1]):
            reason = "no recording that it can use, such as epochs around events"
            samples.exclude("pipeline", name, reason)
        else:
            chosen[name] = pipeline
    return chosen
