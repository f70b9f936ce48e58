"""Numbers for participants, or for epochs, from MEG recordings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin, _fit_context, is_classifier

from ._predictor import BaseMEGFMPredictor
from .finetuning import RegressionTask


class MEGFMRegressor(RegressorMixin, BaseMEGFMPredictor):
    """Predict a number, as an age or a score, by a pretrained transformer.

    ``strategy="probe"`` leaves the encoder as it was pretrained and fits a linear head
    on its features [1]_. `score` is R², as in scikit-learn.

    Parameters
    ----------
    weights : str | path-like | None
        Weights of the encoder, see :class:`~mne_megfm.MEGFMTransformer`.
    strategy : {"probe", "lora", "finetune"}
        What is fitted: the head alone, low-rank adapters in the encoder [3]_, or all
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
    head : str | estimator
        What is fitted to the features: ``"ridge"`` is
        :class:`~mne_megfm.estimators.RidgeHead`; ``"ssm"`` a selective state space over
        the rows of each participant, in their order; the name of a plug-in, made with
        ``task`` (``"regression"``), ``device`` and ``random_state`` if it takes these;
        or a regressor of scikit-learn.
    sample : {"auto", "epoch", "participant"}
        What has a label, see :class:`~mne_megfm.MEGFMTransformer`.
    pooling : str | callable
        How tokens become features.
    sensor_mapping : str | callable
        How recordings reach the model's array, see
        :class:`~mne_megfm.MEGFMTransformer`. Fine-tuning takes signals not denoised.
    backbone : str | None
        Name of the network; None takes that of the weights, or with ``weights=None``
        ``"masked-transformer"``.
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
    MEGFMClassifier : The same for labels.
    MEGFMTransformer : Features for any other estimator.

    Notes
    -----
    A state that a participant lacks is imputed by the participant encoder from the
    other states; with weights that have no such encoder, by the mean of the training
    data. What is missing is marked.

    The strength of regularisation is chosen by an inner cross-validation over groups.
    Each participant of a list is a group of its own. Epochs are not, so pass ``groups``
    with them: otherwise the choice looks at other epochs of the same person.

    With ``head="ssm"``, tokens of each row (epoch, or window of a Raw) are pooled as
    ``pooling`` says, and the head goes through the rows of a participant, state after
    state: it begins as the linear head on their mean, and keeps what does better on
    held-out training participants. Samples that are epochs are sequences of one row.

    Fine-tuning (`skorch`) starts from the linear head that suits the frozen encoder
    [2]_, and trains encoder and head together. A share of the training participants is
    held out: the epoch with the least loss on them is kept, which may be the start.
    `network_` is trained, `transformer_` stays as pretrained. What the encoder is for
    participants, see :class:`MEGFMClassifier`.

    References
    ----------
    .. [1] Alain & Bengio (2017), "Understanding intermediate layers using linear
       classifier probes", ICLR workshop.
    .. [2] Kumar et al. (2022), "Fine-tuning can distort pretrained features and
       underperform out-of-distribution", ICLR, section 3.
    .. [3] Hu et al. (2022), "LoRA: low-rank adaptation of large language models", ICLR,
       section 4.1.

    Examples
    --------
    >>> from mne_megfm import MEGFMRegressor, simulate_cohort
    >>> cohort = simulate_cohort(
    ...     6, states=("auditory",), arrays=("opm64",), n_epochs=3, random_state=0
    ... )
    >>> X = [participant.recordings for participant in cohort]
    >>> ages = [31.0, 25.0, 47.0, 52.0, 38.0, 60.0]
    >>> MEGFMRegressor(random_state=0).fit(X, ages).predict(X).shape
    (6,)
    """

    _default_head = "ridge"
    _task = "regression"
    _wrong_head = staticmethod(is_classifier)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> MEGFMRegressor:
        """Fit to labelled recordings.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, in tesla. For participants a list with, for each, an Epochs
            whose conditions are states, or a dict from state to recording.
        y : array-like, shape (n_samples,)
            A number for each participant, or for each row.
        sample_weight : array-like, shape (n_samples,), optional
            Weights. A weight of 2
            counts as the sample twice, as for scikit-learn's linear models, so that
            larger weights for all make the penalty count for less.
        groups : array-like, shape (n_samples,), optional
            The participant that each sample is from.

        Returns
        -------
        self : MEGFMRegressor
            The fitted regressor.

        Raises
        ------
        TypeError
            If ``X`` is not made of MNE objects.
        ValueError
            If numbers are missing, too few or infinite, if a participant is there
            twice, or ``X`` does not look like MEG in tesla.
        """
        self._fit(X, y, sample_weight, groups)
        return self

    def _check_targets(self, y: NDArray) -> NDArray[np.float64]:
        try:
            y = np.asarray(y, dtype=np.float64)
        except ValueError as error:
            raise ValueError(
                f"Expected numbers in y, got {y.tolist()[0]!r}; for labels use "
                "MEGFMClassifier."
            ) from error
        if not np.isfinite(y).all():
            raise ValueError("Expected finite numbers in y, got infinity; correct y.")
        return y

    def _make_task(self, seed: int) -> RegressionTask:
        return RegressionTask(seed)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predict numbers.

        Parameters
        ----------
        X : Epochs | Raw | Evoked | MEGSamples | list of these
            The recordings, as in `fit`.

        Returns
        -------
        y : ndarray, shape (n_samples,)
            A number for each sample.
        """
        return self._outputs(X, "predict")
