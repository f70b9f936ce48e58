"""Heads of selective state spaces, which go through the rows of a participant."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval
from torch import Tensor

from ..models import StateSpacePredictor
from ._sequence_heads import SequenceClassifier, SequenceRegressor, Steps


class _Network(StateSpacePredictor):
    """A predictor that is called with a batch."""

    def forward(self, batch: Steps) -> Tensor:
        return super().forward(batch.steps, batch.seen)


class _StateSpaces:
    """What both heads have: their network and its settings."""

    _settings: dict = {
        **dict.fromkeys(
            ("d_state", "n_layers"), [Interval(Integral, 1, None, closed="left")]
        ),
        "causal": ["boolean"],
    }

    def _make_network(self, centre: Tensor, axes: Tensor, n_outputs: int) -> _Network:
        return _Network(
            centre,
            axes,
            n_outputs,
            self.d_model,
            self.d_state,
            self.n_layers,
            self.causal,
        )


class StateSpaceClassifier(_StateSpaces, SequenceClassifier):
    """Classify sequences by selective state spaces (Mamba), with calibration.

    Steps (rows of a participant) are projected on the axes along which means of
    training participants differ most. A classifier that is linear in the mean step,
    :class:`LogisticHead`, is where training starts; blocks of selective state spaces
    [1]_ add what follows from the order and the spread of steps. A share of the
    participants is held out: the epoch with the least loss on them is kept, which may
    be the start, and they give the temperature of probabilities.

    The cost is linear in the number of steps; padding changes nothing.

    Parameters
    ----------
    class_weight : {"balanced"} | dict | None
        Weights of the classes, see :class:`LogisticHead`.
    n_components : int
        Axes of steps, at most one less than training participants.
    d_model : int
        Width of the blocks.
    d_state : int
        Numbers of the state of each channel.
    n_layers : int
        Blocks.
    causal : bool
        Whether steps see earlier steps alone; both ways by default.
    max_epochs : int
        Epochs of training, at most.
    lr : float
        Learning rate.
    patience : int
        Training stops after so many epochs without a lower held-out loss.
    batch_size : int
        Sequences in a batch.
    validation_fraction : float
        Share of training participants held out.
    device : str
        What is trained on: ``"cpu"``, ``"cuda"``, ... or ``"auto"``. Predictions are
        made on the CPU.
    random_state : int | RandomState | None
        Seed of the split, the weights and the order of batches.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels.
    network_ : StateSpacePredictor
        The trained network.
    history_ : DataFrame
        Losses of the epochs; epoch 0 is the linear classifier.

    References
    ----------
    .. [1] Gu & Dao (2023), "Mamba: linear-time sequence modeling with selective state
       spaces", arXiv:2312.00752, eq. 2 and 4, algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.estimators import StateSpaceClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((20, 6, 3)), np.arange(20) % 2
    >>> X[y == 1] += 1.0
    >>> X[3, 4:] = np.nan  # a shorter sequence
    >>> StateSpaceClassifier(max_epochs=2, random_state=0).fit(X, y).predict(X).shape
    (20,)
    """

    _parameter_constraints: dict = {
        **SequenceClassifier._parameter_constraints,
        **_StateSpaces._settings,
    }

    def __init__(
        self,
        class_weight: str | dict | None = None,
        *,
        n_components: int = 32,
        d_model: int = 32,
        d_state: int = 8,
        n_layers: int = 1,
        causal: bool = False,
        max_epochs: int = 30,
        lr: float = 1e-3,
        patience: int = 5,
        batch_size: int = 16,
        validation_fraction: float = 0.2,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.class_weight = class_weight
        self.n_components = n_components
        self.d_model = d_model
        self.d_state = d_state
        self.n_layers = n_layers
        self.causal = causal
        self.max_epochs = max_epochs
        self.lr = lr
        self.patience = patience
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state


class StateSpaceRegressor(_StateSpaces, SequenceRegressor):
    """Predict numbers from sequences by selective state spaces (Mamba).

    As :class:`StateSpaceClassifier`, with squared errors, and :class:`RidgeHead` on the
    mean step where training starts.

    Parameters
    ----------
    n_components, d_model, d_state, n_layers, causal : int or bool
        See :class:`StateSpaceClassifier`.
    max_epochs, lr, patience, batch_size, validation_fraction : float or int
        See :class:`StateSpaceClassifier`.
    device : str
        See :class:`StateSpaceClassifier`.
    random_state : int | RandomState | None
        Seed of the split, the weights and the order of batches.

    Attributes
    ----------
    network_ : StateSpacePredictor
        The trained network.
    history_ : DataFrame
        Losses of the epochs; epoch 0 is the ridge regression.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.estimators import StateSpaceRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((20, 6, 3)), np.linspace(20.0, 70.0, 20)
    >>> StateSpaceRegressor(max_epochs=2, random_state=0).fit(X, y).predict(X).shape
    (20,)
    """

    _parameter_constraints: dict = {
        **SequenceRegressor._parameter_constraints,
        **_StateSpaces._settings,
    }

    def __init__(
        self,
        *,
        n_components: int = 32,
        d_model: int = 32,
        d_state: int = 8,
        n_layers: int = 1,
        causal: bool = False,
        max_epochs: int = 30,
        lr: float = 1e-3,
        patience: int = 5,
        batch_size: int = 16,
        validation_fraction: float = 0.2,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.d_model = d_model
        self.d_state = d_state
        self.n_layers = n_layers
        self.causal = causal
        self.max_epochs = max_epochs
        self.lr = lr
        self.patience = patience
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state


def state_space_head(
    task: str = "classification",
    class_weight: str | dict | None = None,
    device: str = "cpu",
    random_state: int | None = None,
) -> StateSpaceClassifier | StateSpaceRegressor:
    """Make the head ``"ssm"``: state spaces over a participant's rows.

    Parameters
    ----------
    task : {"classification", "regression"}
        What is predicted.
    class_weight : {"balanced"} | dict | None
        Weights of the classes.
    device : str
        What is trained on.
    random_state : int | None
        Seed.

    Returns
    -------
    head : StateSpaceClassifier | StateSpaceRegressor
        The head.
    """
    given: dict[str, Any] = {"device": device, "random_state": random_state}
    if task == "regression":
        return StateSpaceRegressor(**given)
    return StateSpaceClassifier(class_weight, **given)
