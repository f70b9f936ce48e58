"""Labels of participants, or of epochs, from MEG recordings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context, is_regressor
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from ..models import BackboneConfig
from ._initialization import FineTuning, Pretraining
from ._predictor import BaseMEGFMPredictor
from .finetuning import ClassificationTask


def _head_has(method: str) -> Callable[[Any], bool]:
    """Say whether a classifier's head has a method."""
    return lambda self: self.strategy != "probe" or self._head_has(method)


class MEGFMClassifier(ClassifierMixin, BaseMEGFMPredictor):
    """Classify participants, or epochs, by a pretrained transformer.

    ``strategy="probe"`` leaves the encoder as it was pretrained and fits a linear head
    on its features [1]_.

    Parameters
    ----------
    weights : str | path-like | None
        Weights of the encoder, see :class:`~mne_megfm.MEGFMTransformer`.
    strategy : {"probe", "lora", "finetune"}
        What is fitted: the head alone, low-rank adapters in the encoder [4]_, or all
        of the encoder. For participants the encoder is the participant encoder, where
        the weights have one.
    finetuning : FineTuning | None
        Settings of ``"lora"`` and ``"finetune"``; None takes those of
        :class:`~mne_megfm.estimators.FineTuning`.
    masking : str | callable | Pretraining | None
        What is hidden while `fit` pretrains the encoder on ``X``, without labels,
        before the head is fitted, as ``"local"``; or a
        :class:`~mne_megfm.estimators.Pretraining`, which has a masking and all other
        settings of it. None leaves the weights as they are.
    class_weight : {"balanced"} | dict | None
        Weights of the classes, as in scikit-learn. Probabilities are those of a
        population in which the classes are as frequent as weighted: with None as in
        training, with ``"balanced"`` all equally. Where one class is rare,
        ``"balanced"`` finds more of it, at the price of false alarms.
    positive : object
        Of two classes the one that sensitivity, scores and probabilities are reported
        for, by :func:`~mne_megfm.evaluation.compare` among others. It does not change
        the order of ``classes_``. None for the last of them.
    head : str | estimator
        What is fitted to the features: ``"logistic"`` is
        :class:`~mne_megfm.estimators.LogisticHead`; ``"ssm"`` a selective state space
        over the rows of each participant, in their order; the name of a plug-in, made
        with ``class_weight``, ``task`` (``"classification"``), ``device`` and
        ``random_state`` if it takes these; or a classifier of scikit-learn.
    sample : {"auto", "epoch", "participant"}
        What has a label, see :class:`~mne_megfm.MEGFMTransformer`.
    pooling : str | callable
        How tokens become features.
    sensor_mapping : str | callable
        How recordings reach the model's array, see
        :class:`~mne_megfm.MEGFMTransformer`. Fine-tuning takes signals not denoised.
    backbone : str | None
        Name of the network (see :class:`~mne_megfm.MEGFMTransformer`); None takes that
        of the weights, or with ``weights=None`` ``"masked-transformer"``.
    config : dict | BackboneConfig | None
        Fields of its configuration, for ``weights=None`` only.
    duration : float
        Length in s of the rows of a Raw.
    overlap : float
        Overlap in s of the rows of a Raw.
    batch_size : int
        Windows that are encoded or trained on at a time.
    device : str
        ``"cpu"``, ``"cuda"``, ... or ``"auto"``: a GPU if there is one. The
        participant encoder is small, and stays on the CPU.
    memory : path-like | joblib.Memory | None
        Where to keep what was read of each recording or participant, so that the same
        data are encoded once by the same weights, as the ``memory`` of scikit-learn's
        pipelines. None keeps nothing.
    random_state : int | RandomState | None
        Seed of folds and random weights.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`; None takes MNE's log level.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    positive_ : object
        Of two classes the positive one; None of several.
    transformer_ : MEGFMTransformer
        The fitted encoder, frozen.
    head_ : estimator
        The fitted head of ``strategy="probe"``.
    network_ : torch.nn.Module
        The fine-tuned network: encoder and head.
    history_ : DataFrame
        Losses of fine-tuning; epoch 0 is a linear head on the frozen encoder.
    sample_ : {"epoch", "participant"}
        What has a label.

    See Also
    --------
    MEGFMRegressor : The same for numbers.
    MEGFMTransformer : Features for any other estimator.

    Notes
    -----
    A missing state is imputed by the participant encoder from the other states; weights
    without one take the mean of the training data. A column marks it.

    The strength of regularisation is chosen by an inner cross-validation over groups,
    and the probabilities are calibrated by one temperature [2]_ found on the same
    held-out decisions. Each participant of a list is a group of its own. Epochs are
    not, so pass ``groups`` with them: otherwise the choice and the calibration look at
    other epochs of the same person, and are too sure.

    With ``head="ssm"``, tokens of each row (epoch, or window of a Raw) are pooled as
    ``pooling`` says, and the head goes through the rows of a participant, state after
    state: it begins as the linear head on their mean, and keeps what does better on
    held-out training participants. Samples that are epochs are sequences of one row.

    Fine-tuning (`skorch`) starts from the linear head that suits the frozen encoder
    [3]_, and trains encoder and head together. A share of the training participants is
    held out: the epoch with the least loss on them is kept, which may be the start.
    They also give the temperature. `network_` is trained, `transformer_` stays as
    pretrained. Participants are seen through half of their trials, drawn again in each
    epoch, by a copy of the participant encoder, whose token is added to the frozen
    features. Without a participant encoder, as for epochs, the window encoder is
    trained, with mean and spread over rows of each state as features of participants.

    References
    ----------
    .. [1] Alain & Bengio (2017), "Understanding intermediate layers using linear
       classifier probes", ICLR workshop.
    .. [2] Guo et al. (2017), "On calibration of modern neural networks", ICML,
       section 4.2.
    .. [3] Kumar et al. (2022), "Fine-tuning can distort pretrained features and
       underperform out-of-distribution", ICLR, section 3.
    .. [4] Hu et al. (2022), "LoRA: low-rank adaptation of large language models", ICLR,
       section 4.1.

    Examples
    --------
    >>> from mne_megfm import MEGFMClassifier, simulate_cohort
    >>> cohort = simulate_cohort(
    ...     6, states=("auditory",), arrays=("opm64",), n_epochs=3, random_state=0
    ... )
    >>> X = [participant.recordings for participant in cohort]
    >>> classifier = MEGFMClassifier(random_state=0).fit(X, cohort.labels)
    >>> classifier.predict_proba(X).shape
    (6, 2)
    """

    _default_head = "logistic"
    _task = "classification"
    _wrong_head = staticmethod(is_regressor)
    _parameter_constraints: dict = {
        **BaseMEGFMPredictor._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "positive": "no_validation",
    }

    def __init__(
        self,
        weights: str | os.PathLike | None = "megfm-tiny",
        *,
        strategy: str = "probe",
        finetuning: FineTuning | None = None,
        masking: str | Callable | Pretraining | None = None,
        class_weight: str | dict | None = None,
        positive: Any = None,
        head: str | BaseEstimator = "logistic",
        sample: str = "auto",
        pooling: str | Callable = "projection",
        sensor_mapping: str | Callable = "auto",
        backbone: str | None = None,
        config: dict | BackboneConfig | None = None,
        duration: float = 1.0,
        overlap: float = 0.0,
        batch_size: int = 64,
        device: str = "cpu",
        memory: str | os.PathLike | joblib.Memory | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool | str | int | None = None,
    ) -> None:
        super().__init__(
            weights,
            strategy=strategy,
            finetuning=finetuning,
            masking=masking,
            head=head,
            sample=sample,
            pooling=pooling,
            sensor_mapping=sensor_mapping,
            backbone=backbone,
            config=config,
            duration=duration,
            overlap=overlap,
            batch_size=batch_size,
            device=device,
            memory=memory,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight
        self.positive = positive

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> MEGFMClassifier:
        """Fit to labelled recordings.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, in tesla. For participants a list with, for each, an Epochs
            whose conditions are states, or a dict from state to recording.
        y : array-like, shape (n_samples,)
            A label for each participant, or for each row: numbers or strings.
        sample_weight : array-like, shape (n_samples,), optional
            Weights, times those of ``class_weight``. A weight of 2
            counts as the sample twice, as for scikit-learn's linear models, so that
            larger weights for all make the penalty count for less.
        groups : array-like, shape (n_samples,), optional
            The participant that each sample is from.

        Returns
        -------
        self : MEGFMClassifier
            The fitted classifier.

        Raises
        ------
        TypeError
            If ``X`` is not made of MNE objects.
        ValueError
            If labels are missing, too few or of one class only, if ``positive`` is none
            of two labels, if a participant is there twice, or ``X`` does not look like
            MEG in tesla.
        """
        self._fit(X, y, sample_weight, groups)
        return self

    def _check_targets(self, y: NDArray) -> NDArray:
        if type_of_target(y) == "continuous":
            raise ValueError(
                "Unknown label type: expected labels of classes, got numbers with "
                f"fractions, such as {y[y % 1 != 0][0]:g}; use MEGFMRegressor to "
                "predict numbers."
            )
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(
                f"Expected at least 2 classes in y, got one class: "
                f"{self.classes_.tolist()[0]!r}; give participants of each."
            )
        two = len(self.classes_) == 2
        known = self.classes_.tolist()
        if self.positive is not None and (not two or self.positive not in known):
            raise ValueError(
                f"Expected positive as one of two labels, got {self.positive!r} with "
                f"the labels {known}; name one of two, or None."
            )
        self.positive_ = (
            (known[1] if two else None) if self.positive is None else (self.positive)
        )
        return y

    def _head_params(self, seed: int) -> dict[str, Any]:
        return super()._head_params(seed) | {"class_weight": self.class_weight}

    def _make_task(self, seed: int) -> ClassificationTask:
        return ClassificationTask(self.classes_, self.class_weight, seed)

    # -- predicting ---------------------------------------------------------
    @available_if(_head_has("predict_proba"))
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Compute the probability of each class.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, as in `fit`.

        Returns
        -------
        proba : ndarray, shape (n_samples, n_classes)
            One column a class, in the order of ``classes_``.
        """
        return self._outputs(X, "predict_proba")

    @available_if(_head_has("decision_function"))
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Compute decisions.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, as in `fit`.

        Returns
        -------
        decision : ndarray, shape (n_samples,) or (n_samples, n_classes)
            Log odds of ``classes_[1]`` with two classes, else a logit for each.
        """
        return self._outputs(X, "decision_function")

    def predict(self, X: Any) -> NDArray:
        """Predict labels.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, as in `fit`.

        Returns
        -------
        labels : ndarray, shape (n_samples,)
            The most likely label of each.
        """
        return self._outputs(X, "predict")
