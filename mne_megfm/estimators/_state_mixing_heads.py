"""Heads that mix states of a participant by attention; states may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval
from torch import Tensor

from ..models import StateMixingPredictor
from ..participants import MeanStdAggregator, RowEncoder
from ..participants.aggregation import STATISTICS, RowStatistics
from ._sequence_heads import (
    SequenceClassifier,
    SequenceRegressor,
    Steps,
    principal_axes,
)


class StateAggregator(MeanStdAggregator):
    """Mean and standard deviation over rows, a step for each state.

    A state that a participant lacks is NaN.
    """

    #: Chosen by a head, not by the user.
    of_head = True

    def fit(self, extracted: Sequence[RowStatistics]) -> StateAggregator:
        """Learn which states there are, see `Aggregator.fit`."""
        super().fit(extracted)
        widths = {state: len(values) for state, values in self.fill.items()}
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"Expected as many features of the rows of all states, got {widths}; "
                "cut rows of one length, or use a pooling over time, as 'rwmoe', "
                "'space' or 'mean'."
            )
        return self

    def transform(self, extracted: Sequence[RowStatistics]) -> NDArray[np.float32]:
        """Stack the states of each participant, see `Aggregator.transform`.

        The shape is (n_elements, n_states, n_features).
        """
        self.check_states(extracted)
        n_features = len(self.fill[self.states[0]])
        shape = len(extracted), len(self.states), n_features
        out = np.full(shape, np.nan, np.float32)
        for row, entry in zip(out, extracted, strict=True):
            for state, (form, values) in entry.items():
                self.forms[state].check(form, f"state {state!r}")
                row[self.states.index(state)] = values
        return out

    def names(self, encoder: RowEncoder) -> list[str]:
        """Name the features of a step, see `Aggregator.names`."""
        of_row = encoder.names(self.forms[self.states[0]].n_patches)
        return [f"{s}_{name}" for s in STATISTICS for name in of_row]


class _Network(StateMixingPredictor):
    """A predictor that is called with a batch."""

    def forward(self, batch: Steps) -> Tensor:
        return super().forward(batch.steps, batch.seen)


class _StateMixing:
    """What both heads have: their network and its settings."""

    _keeps_missing = True
    _settings: dict = {
        **dict.fromkeys(
            ("n_tokens", "n_heads"), [Interval(Integral, 1, None, closed="left")]
        ),
        "state_dropout": [Interval(Real, 0, 1, closed="left")],
    }

    @staticmethod
    def make_aggregator() -> StateAggregator:
        """Make the aggregator that gives the states of this head."""
        return StateAggregator()

    def _axes(
        self, sequences: Sequence[Steps]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        steps = np.concatenate([one.steps.double().numpy() for one in sequences])
        seen = np.concatenate([one.seen.numpy() for one in sequences])
        if not seen.any(0).all():
            raise ValueError(
                "Expected participants with each state among those that are trained "
                f"on, got none with state number {np.flatnonzero(~seen.any(0))[0]}; "
                "leave this state out, or give more participants."
            )
        # of each state around its own mean: which states there are must not matter
        centre = np.stack([steps[at, i].mean(0) for i, at in enumerate(seen.T)])
        around = (steps - centre) * seen[..., None]
        means = around.sum(1) / seen.sum(1, keepdims=True)
        return centre, principal_axes(means, self.n_components)[1]

    def _make_network(self, centre: Tensor, axes: Tensor, n_outputs: int) -> _Network:
        if self.d_model % self.n_heads:
            raise ValueError(
                f"Expected d_model to be a multiple of n_heads, got {self.d_model} and "
                f"{self.n_heads}; change one of them."
            )
        return _Network(
            centre,
            axes,
            n_outputs,
            self.d_model,
            self.n_tokens,
            self.n_heads,
            self.state_dropout,
        )


class StateMixingClassifier(_StateMixing, SequenceClassifier):
    """Classify participants by cross-attention over states that may be missing.

    What is known of each state is projected on the axes along which training
    participants differ most. A classifier that is linear in the mean over the states
    that are there, :class:`LogisticHead`, is where training starts; a token that goes
    through the states in their order, and takes from each what attention gives
    (cascaded cross-attention [1]_), adds what depends on the state. In training, states
    are left out at random. A share of the participants is held out: the epoch with the
    least loss on them is kept, which may be the start, and they give the temperature of
    probabilities.

    Parameters
    ----------
    class_weight : {"balanced"} | dict | None
        Weights of the classes, see :class:`LogisticHead`.
    n_components : int
        Axes, at most one less than training participants.
    d_model, n_tokens, n_heads : int
        Width, tokens that stand for a state, and heads of attention.
    state_dropout : float
        Share of the states that is left out in training.
    max_epochs : int
        Epochs of training, at most.
    lr : float
        Learning rate.
    patience : int
        Training stops after so many epochs without a lower held-out loss.
    batch_size : int
        Participants in a batch.
    validation_fraction : float
        Share of training participants held out.
    device : str
        What is trained on: ``"cpu"``, ``"cuda"``, ... or ``"auto"``. Predictions are
        made on the CPU.
    random_state : int | RandomState | None
        Seed of the split, the weights, the states left out and the order of batches.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels.
    network_ : StateMixingPredictor
        The trained network.
    history_ : DataFrame
        Losses of the epochs; epoch 0 is the linear classifier.

    References
    ----------
    .. [1] Liu et al. (2023), "Cascaded multi-modal mixing transformers for Alzheimer's
       disease classification with incomplete data", NeuroImage 277:120267, section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.estimators import StateMixingClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((20, 2, 3)), np.arange(20) % 2
    >>> X[y == 1] += 1.0
    >>> X[3, 1] = np.nan  # a participant without the second state
    >>> StateMixingClassifier(max_epochs=2, random_state=0).fit(X, y).predict(X).shape
    (20,)
    """

    _parameter_constraints: dict = {
        **SequenceClassifier._parameter_constraints,
        **_StateMixing._settings,
    }

    def __init__(
        self,
        class_weight: str | dict | None = None,
        *,
        n_components: int = 32,
        d_model: int = 32,
        n_tokens: int = 4,
        n_heads: int = 4,
        state_dropout: float = 0.3,
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
        self.n_tokens = n_tokens
        self.n_heads = n_heads
        self.state_dropout = state_dropout
        self.max_epochs = max_epochs
        self.lr = lr
        self.patience = patience
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state


class StateMixingRegressor(_StateMixing, SequenceRegressor):
    """Predict numbers of participants by cross-attention over states.

    As :class:`StateMixingClassifier`, with squared errors, and :class:`RidgeHead` on
    the mean over states where training starts.

    Parameters
    ----------
    n_components, d_model, n_tokens, n_heads, state_dropout : int or float
        See :class:`StateMixingClassifier`.
    max_epochs, lr, patience, batch_size, validation_fraction : float or int
        See :class:`StateMixingClassifier`.
    device : str
        See :class:`StateMixingClassifier`.
    random_state : int | RandomState | None
        Seed.

    Attributes
    ----------
    network_ : StateMixingPredictor
        The trained network.
    history_ : DataFrame
        Losses of the epochs; epoch 0 is the ridge regression.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.estimators import StateMixingRegressor
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((20, 2, 3)), np.linspace(20.0, 70.0, 20)
    >>> StateMixingRegressor(max_epochs=2, random_state=0).fit(X, y).predict(X).shape
    (20,)
    """

    _parameter_constraints: dict = {
        **SequenceRegressor._parameter_constraints,
        **_StateMixing._settings,
    }

    def __init__(
        self,
        *,
        n_components: int = 32,
        d_model: int = 32,
        n_tokens: int = 4,
        n_heads: int = 4,
        state_dropout: float = 0.3,
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
        self.n_tokens = n_tokens
        self.n_heads = n_heads
        self.state_dropout = state_dropout
        self.max_epochs = max_epochs
        self.lr = lr
        self.patience = patience
        self.batch_size = batch_size
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state


def state_mixing_head(
    task: str = "classification",
    class_weight: str | dict | None = None,
    device: str = "cpu",
    random_state: int | None = None,
) -> StateMixingClassifier | StateMixingRegressor:
    """Make the head ``"mixing"``: attention over the states of a participant.

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
    head : StateMixingClassifier | StateMixingRegressor
        The head.
    """
    given: dict[str, Any] = {"device": device, "random_state": random_state}
    if task == "regression":
        return StateMixingRegressor(**given)
    return StateMixingClassifier(class_weight, **given)
