"""How training in `fit` is set, and the model that it starts from."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from numbers import Integral, Real

import numpy as np
import torch
from mne.utils import logger
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval
from torch import nn

from ..models import Backbone, BackboneConfig, WindowArray, build_pooling
from ..participants import Aggregator
from ..plugins import backbone_config, make_backbone, resolve
from ..sensors import CanonicalSensorMapping
from ..weights import (
    load_checkpoint,
    load_pooling,
    read_config,
    weights_path,
)
from ..weights.checkpoint import check_backbone


# -- settings --------------------------------------------------------------------------
class Pretraining(BaseEstimator):
    """Masked pretraining in `fit` of :class:`~mne_megfm.MEGFMTransformer`.

    A search reaches its parameters as ``pretraining__mask_ratio``.

    Parameters
    ----------
    max_epochs : int
        Epochs of training, at most.
    masking : str | callable
        What is hidden: ``"mixed"``, ``"local"``, ``"random"``, ``"time-block"``,
        ``"space-block"``, the name of a plug-in or an instance, see
        :mod:`mne_megfm.models`.
    mask_ratio : float
        Share that a masking given by name hides.
    objective : str | callable
        What is minimised: ``"huber+logspec"``, ``"log-error"``, ``"band-balanced"``,
        ``"statistics"``, ``"participant-consistency"``, ``"latent"``, ``"time-frequency
        codes"``, ``"contrastive"`` (to embeddings, the ``y`` of `fit`), the name of a
        plug-in or an instance, which is copied.
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


# -- models ----------------------------------------------------------------------------
#: What ``aggregation="auto"`` tries, until weights have what is needed.
AUTO = ("parameters+measures", "measures", "mean_std")


def start_model(
    weights: str | os.PathLike | None,
    sensor_mapping: CanonicalSensorMapping,
    backbone: str | None,
    config: dict | BackboneConfig | None,
    seed: int,
) -> tuple[Backbone, dict]:
    """Load weights or draw random ones; give the model and what it has seen."""
    kernel = torch.from_numpy(np.array(sensor_mapping.kernel)).float()
    if weights is None:
        if not isinstance(config, BackboneConfig):
            array = sensor_mapping.array
            sizes = {"n_sensors": array.n_sensors, "n_regions": array.n_regions}
            config = backbone_config(backbone, sizes | (config or {}))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = make_backbone(backbone, config, kernel)
        # as of loaded weights: some layers behave otherwise in training
        return model.eval(), {}
    if config is not None:
        raise ValueError(
            f"Expected config=None with weights={str(weights)!r}, which bring their "
            f"own, got {config!r}; leave one of them out."
        )
    path = weights_path(weights)
    model = load_checkpoint(path)
    check_backbone(model, backbone, weights)
    if model.kernel.shape != kernel.shape or not torch.allclose(
        model.kernel, kernel, atol=1e-3
    ):
        raise ValueError(
            f"Expected weights for the array of the sensor mapping {sensor_mapping!r}, "
            f"got others in {path}; use the mapping that they were trained with."
        )
    # load_checkpoint is strict: had any array not matched, it would have raised
    n_arrays = len(model.state_dict())
    logger.debug(f"Loaded {n_arrays} of {n_arrays} arrays from {path}.")
    return model, read_config(path)["training"]


def start_aggregator(
    spec: str | Aggregator,
    weights: str | os.PathLike | None,
    model: Backbone,
    fields: WindowArray | None,
    pretraining: Pretraining | None,
    seed: int,
) -> tuple[Aggregator, dict]:
    """Make an aggregator, or copy the one given; with its weights.

    Those are loaded, or, with ``fields`` beside random weights of the model, random.
    Also gives what they have seen.
    """
    for name in AUTO if spec == "auto" else (spec,):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            aggregator = copy.deepcopy(resolve("aggregators", name))
        seen: dict | None = {}
        if weights is not None:
            seen = aggregator.load(weights_path(weights), model)
        elif fields is not None:
            seen = {} if aggregator.draw(fields, model, seed) else None
        elif aggregator.own_files:
            seen = None  # nothing trains it beside a model that starts at random
        if seen is not None:
            if spec == "auto" and name != AUTO[0]:
                logger.info(
                    f"Weights {weights} lack parts of the default: features of "
                    f"participants are those of aggregation={name!r}."
                )
            return aggregator.eval(), seen
    raise ValueError(
        f"Expected weights with a participant encoder for aggregation={spec!r}, got "
        f"weights={weights!r} with pretraining={pretraining!r}, which have none; use "
        "aggregation='auto' for means and standard deviations over trials."
    )


def start_pooling(
    spec: str | nn.Module,
    weights: str | os.PathLike | None,
    model: Backbone,
    seed: int,
) -> tuple[nn.Module, bool]:
    """Make a pooling, or copy the one given; with its state from the weights.

    Also says whether it still has to be fitted.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pooling = copy.deepcopy(resolve("poolings", spec))
        build_pooling(pooling, model)
    loaded = False
    if weights is not None and pooling.state_dict():
        loaded = load_pooling(weights_path(weights), pooling)
    return pooling.eval(), hasattr(pooling, "fit") and not loaded


def find_device(name: str) -> torch.device:
    """Find a device by name; ``"auto"`` is a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"Expected a device that torch knows, got {name!r}; use 'cpu', 'cuda' or "
            "'auto'."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"Expected a device that is there, got {name!r} without a usable GPU; use "
            "device='cpu' or 'auto'."
        )
    return device
