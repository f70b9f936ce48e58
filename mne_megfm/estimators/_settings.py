"""Settings of training inside `fit`, as parameters of one parameter."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real

from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval


class Pretraining(BaseEstimator):
    """Masked pretraining in `fit` of :class:`~mne_megfm.MEGFMTransformer`.

    A search reaches its parameters as ``pretraining__mask_ratio``.

    Parameters
    ----------
    max_epochs : int
        Epochs of training, at most.
    masking : str | callable
        What is hidden: ``"mixed"``, ``"random"``, ``"time-block"``, ``"space-block"``,
        the name of a plug-in or an instance, see :mod:`mne_megfm.models`.
    mask_ratio : float
        Share that a masking given by name hides.
    objective : str | callable
        Loss of the reconstruction: ``"huber+logspec"``, the name of a plug-in or an
        instance.
    lr : float
        Highest learning rate.
    validation_fraction : float
        Share of recordings (list elements; otherwise epochs) held out.
    patience : int | None
        Training stops after so many epochs without a better held-out loss; None never
        stops early.
    bf16 : bool
        Whether to train in bfloat16 where that is safe: quicker where the hardware
        has it, and less exact. Features are computed in float32 in any case.

    See Also
    --------
    FineTuning : Training on labels.
    mne_megfm.pretraining.pretrain_store : Pretraining on many recordings, from disk.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer
    >>> from mne_megfm.estimators import Pretraining
    >>> transformer = MEGFMTransformer(pretraining=Pretraining(max_epochs=2, lr=1e-4))
    >>> transformer.set_params(pretraining__mask_ratio=0.5).pretraining.mask_ratio
    0.5
    """

    _parameter_constraints: dict = {
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "masking": [str, callable],
        "mask_ratio": [Interval(Real, 0, 1, closed="neither")],
        "objective": [str, callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "bf16": ["boolean"],
    }

    def __init__(
        self,
        max_epochs: int = 10,
        *,
        masking: str | Callable = "mixed",
        mask_ratio: float = 0.8,
        objective: str | Callable = "huber+logspec",
        lr: float = 1e-3,
        validation_fraction: float = 0.1,
        patience: int | None = None,
        bf16: bool = False,
    ) -> None:
        self.bf16 = bf16
        self.max_epochs = max_epochs
        self.masking = masking
        self.mask_ratio = mask_ratio
        self.objective = objective
        self.lr = lr
        self.validation_fraction = validation_fraction
        self.patience = patience


class FineTuning(BaseEstimator):
    """Training on labels in `fit` of a classifier or regressor.

    For :class:`~mne_megfm.MEGFMClassifier` and :class:`~mne_megfm.MEGFMRegressor` with
    ``strategy="lora"`` or ``"finetune"``. A search reaches its parameters as
    ``finetuning__lr``.

    Parameters
    ----------
    max_epochs : int
        Epochs of training, at most.
    lora_rank : int
        Rank of the adapters of ``strategy="lora"`` [1]_.
    lr : float | None
        Learning rate of the head and the last layer; None takes 1e-3 for ``"lora"``
        and 1e-4 for ``"finetune"``.
    layer_decay : float
        Factor on the learning rate from each layer to the one before it.
    n_epochs_per_state : int
        MEG epochs or windows of each state of a participant in one pass of training,
        drawn at random for each pass; with a participant encoder, the fewest.
    validation_fraction : float
        Share of training participants held out, on which training is stopped.
    patience : int
        Training stops after so many epochs without a lower held-out loss.

    See Also
    --------
    Pretraining : Training without labels.

    References
    ----------
    .. [1] Hu et al. (2022), "LoRA: low-rank adaptation of large language models", ICLR,
       section 4.1.

    Examples
    --------
    >>> from mne_megfm import MEGFMClassifier
    >>> from mne_megfm.estimators import FineTuning
    >>> classifier = MEGFMClassifier(
    ...     strategy="lora", finetuning=FineTuning(max_epochs=5)
    ... )
    >>> classifier.set_params(finetuning__lora_rank=2).finetuning.lora_rank
    2
    """

    _parameter_constraints: dict = {
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "lora_rank": [Interval(Integral, 1, None, closed="left")],
        "lr": [Interval(Real, 0, None, closed="neither"), None],
        "layer_decay": [Interval(Real, 0, 1, closed="right")],
        "n_epochs_per_state": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "patience": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        max_epochs: int = 20,
        *,
        lora_rank: int = 8,
        lr: float | None = None,
        layer_decay: float = 0.7,
        n_epochs_per_state: int = 8,
        validation_fraction: float = 0.2,
        patience: int = 5,
    ) -> None:
        self.max_epochs = max_epochs
        self.lora_rank = lora_rank
        self.lr = lr
        self.layer_decay = layer_decay
        self.n_epochs_per_state = n_epochs_per_state
        self.validation_fraction = validation_fraction
        self.patience = patience
