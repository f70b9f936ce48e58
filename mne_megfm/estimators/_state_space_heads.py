"""Heads that go through the rows of a participant one by one, and their sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ..inputs import Recordings
from ..inputs.windows import RowForm
from ..models import StateSpacePredictor
from ..participants import Aggregator, RowEncoder
from ._heads import take_weighted

if TYPE_CHECKING:
    from .finetuning import ClassificationTask, RegressionTask

# -- sequences -------------------------------------------------------------------------
# from state to the form of its rows and one vector for each row, in their order
RowSequences = dict[str, tuple[RowForm, NDArray[np.float32]]]


class SequenceAggregator(Aggregator):
    """A participant's rows as a sequence, for heads that go through steps.

    Rows follow one another as they were recorded, state after state in the order of
    their names. A state that a participant lacks leaves the sequence shorter.

    Attributes
    ----------
    states : list of str
        States of the training data, sorted.
    forms : dict
        Length and start of the rows of each state.
    """

    #: Chosen by a head, not by the user.
    of_head = True

    def __init__(self) -> None:
        super().__init__()
        self.states: list[str] = []
        self.forms: dict[str, RowForm] = {}

    def read(self, recordings: Recordings, encoder: RowEncoder) -> list[RowSequences]:
        """Encode and pool the rows of each state of each element.

        See `Aggregator.read`. Of each state there are the form of its rows and an array
        of shape (n_rows, n_features).
        """
        config = encoder.model.config
        found: list[dict[str, list]] = [{} for _ in range(recordings.n_elements)]
        for recording in recordings:
            form = RowForm.of(recording, config)
            for row in recording.index:
                state = str(recordings.states[row])
                entry = found[recordings.elements[row]].setdefault(state, [form, {}])
                entry[0].check(form, f"state {state!r}")
        for rows, pooled in encoder.features(recordings):
            for row, values in zip(rows, pooled, strict=True):
                state = str(recordings.states[row])
                found[recordings.elements[row]][state][1][int(row)] = values
        return [
            {
                state: (form, np.stack([values[row] for row in sorted(values)]))
                for state, (form, values) in entries.items()
            }
            for entries in found
        ]

    def fit(self, extracted: Sequence[RowSequences]) -> SequenceAggregator:
        """Learn which states there are, and how long their rows are.

        See `Aggregator.fit`.
        """
        self.states = sorted({state for entry in extracted for state in entry})
        self.forms, widths = {}, {}
        for state in self.states:
            known = [entry[state] for entry in extracted if state in entry]
            self.forms[state] = known[0][0]
            for form, _ in known:
                self.forms[state].check(form, f"state {state!r}")
            widths[state] = known[0][1].shape[1]
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"Expected as many features of the rows of all states, got {widths}; "
                "cut rows of one length, or use a pooling over time, as 'rwmoe', "
                "'space' or 'mean'."
            )
        return self

    def transform(self, extracted: Sequence[RowSequences]) -> NDArray[np.float32]:
        """Put the rows of each participant one after another.

        See `Aggregator.transform`; but here there is a sequence for each element,
        shape (n_elements, n_steps, n_features), with NaN after its last row.
        """
        self.check_states(extracted)
        joined = []
        for entry in extracted:
            for state, (form, _) in entry.items():
                self.forms[state].check(form, f"state {state!r}")
            joined.append(np.concatenate([entry[state][1] for state in sorted(entry)]))
        longest = max(len(rows) for rows in joined)
        shape = len(joined), longest, joined[0].shape[1]
        out = np.full(shape, np.nan, np.float32)
        for sequence, rows in zip(out, joined, strict=True):
            sequence[: len(rows)] = rows
        return out

    def names(self, encoder: RowEncoder) -> list[str]:
        """Name the features of a step, see `Aggregator.names`."""
        return encoder.names(self.forms[self.states[0]].n_patches)


# -- heads -----------------------------------------------------------------------------
@dataclass(frozen=True)
class _Steps:
    """Sequences of a batch, padded: steps, and which of them are there."""

    steps: Tensor  # (n, n_steps, n_features)
    seen: Tensor  # (n, n_steps)

    def __len__(self) -> int:
        return len(self.steps)

    def to(self, device: str | torch.device) -> _Steps:
        return _Steps(self.steps.to(device), self.seen.to(device))


class _Sequences(Dataset):
    """Sequences with a target and a weight each."""

    def __init__(
        self,
        sequences: Sequence[Tensor],
        index: NDArray[np.int_],
        targets: Tensor,
        weights: Tensor,
    ) -> None:
        self.sequences, self.index = sequences, index
        self.targets, self.weights = targets, weights

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> tuple:
        at = int(self.index[number])
        return self.sequences[at], self.targets[at], self.weights[at]

    @staticmethod
    def collate(items: Sequence[tuple]) -> tuple[_Steps, tuple]:
        sequences, targets, weights = zip(*items, strict=True)
        seen = [torch.ones(len(steps), dtype=torch.bool) for steps in sequences]
        padded = (pad_sequence(list(x), batch_first=True) for x in (sequences, seen))
        return _Steps(*padded), (torch.stack(targets), torch.stack(weights))


class _StateSpaceNetwork(StateSpacePredictor):
    """A predictor that is called with a batch."""

    def forward(self, batch: _Steps) -> Tensor:
        return super().forward(batch.steps, batch.seen)


def _split_sequences(X: NDArray[np.floating]) -> list[Tensor]:
    """Take the steps of each sequence that are there; rows of a table are one each."""
    X = np.asarray(X, dtype=np.float32)
    if X.ndim not in (2, 3):
        raise ValueError(
            "Expected sequences of shape (n_samples, n_steps, n_features), or a table "
            f"of one step each, got {X.ndim} dimensions; reshape them."
        )
    X = X[:, None] if X.ndim == 2 else X
    seen = ~np.isnan(X).all(2)
    if not np.isfinite(X[seen]).all() or not seen.any(1).all():
        raise ValueError(
            "Expected finite steps, at least one a sequence, and NaN in all features "
            "of padding, got others; remove or replace them."
        )
    return [torch.from_numpy(x[at]) for x, at in zip(X, seen, strict=True)]


class _StateSpaceHead(BaseEstimator):
    """What both heads with state spaces have: settings, and their training."""

    #: Takes the rows of a participant one by one instead of one row of features.
    reads_sequences = True

    _parameter_constraints: dict = {
        **{
            name: [Interval(Integral, 1, None, closed="left")]
            for name in (
                "n_components",
                "d_model",
                "d_state",
                "n_layers",
                "max_epochs",
                "patience",
                "batch_size",
            )
        },
        "causal": ["boolean"],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "device": [str],
        "random_state": ["random_state"],
    }

    def _fit(
        self,
        X: NDArray[np.floating],
        y: NDArray,
        weight: NDArray[np.float64],
        groups: NDArray,
        task: ClassificationTask | RegressionTask,
    ) -> None:
        # skorch takes a second to import, which predicting need not wait for
        from ._initialization import find_device
        from .finetuning import train_network

        sequences = _split_sequences(X)
        self.n_features_in_ = sequences[0].shape[1]
        means = np.stack([steps.double().mean(0).numpy() for steps in sequences])
        train, valid = task.split(y, groups, self.validation_fraction)
        targets, weights = task.targets(y, weight)
        centre, axes = _between(means[train], self.n_components)
        projected = (means - centre) @ axes.T
        given = (values[train] for values in (projected, y, weight, groups))
        coef, intercept = task.start(*given)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed)
            network = _StateSpaceNetwork(
                torch.as_tensor(centre, dtype=torch.float32),
                torch.as_tensor(axes, dtype=torch.float32),
                len(coef),
                self.d_model,
                self.d_state,
                self.n_layers,
                self.causal,
            )
            with torch.no_grad():
                network.linear.weight.copy_(torch.as_tensor(coef))
                network.linear.bias.copy_(torch.as_tensor(intercept))
            draws, held_out = (
                _Sequences(sequences, index, targets, weights)
                for index in (train, valid)
            )
            self.history_ = train_network(
                network,
                draws,
                held_out,
                max_epochs=self.max_epochs,
                lr=self.lr,
                weight_decay=0.01,
                patience=self.patience,
                batch_size=self.batch_size,
                device=find_device(self.device),
                seed=task.seed,
                collate=_Sequences.collate,
            )
        self.network_, self.task_ = network.cpu(), task
        outputs = self._outputs(np.asarray(X)[valid])
        task.finish(outputs, y[valid], weight[valid])

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _outputs(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute outputs one by one: those of a sequence do not depend on others."""
        check_is_fitted(self, "network_")
        if not len(X) or np.shape(X)[-1] != self.n_features_in_:
            raise ValueError(
                f"Expected sequences of {self.n_features_in_} features, one sequence "
                f"or more, got shape {np.shape(X)}; give steps like those of fit."
            )
        with torch.inference_mode():
            outputs = [
                self.network_(_Steps(x[None], torch.ones(1, len(x), dtype=torch.bool)))
                for x in _split_sequences(X)
            ]
        return torch.cat(outputs).double().numpy()


def _between(
    means: NDArray[np.float64], n_components: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find where sequences differ: principal axes of their means, at a common scale."""
    centre = means.mean(0)
    _, strength, axes = np.linalg.svd(means - centre, full_matrices=False)
    n_axes = max(1, int((strength[:n_components] > 1e-6 * strength[0]).sum()))
    spread = np.sqrt(np.sum(strength[:n_axes] ** 2) / len(means)) or 1.0
    return centre, axes[:n_axes] / spread


class StateSpaceClassifier(ClassifierMixin, _StateSpaceHead):
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
        **_StateSpaceHead._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
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

    def fit(
        self,
        X: NDArray[np.floating],
        y: NDArray,
        sample_weight: NDArray[np.floating] | None = None,
        groups: NDArray | None = None,
    ) -> StateSpaceClassifier:
        """Fit the linear start, train and calibrate.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_steps, n_features)
            Sequences; steps that are NaN in all features are padding. A table of shape
            (n_samples, n_features) has one step each.
        y : ndarray, shape (n_samples,)
            Labels.
        sample_weight : ndarray, shape (n_samples,), optional
            Weights; 0 leaves a sample out.
        groups : ndarray, shape (n_samples,), optional
            What must stay together when some are held out; each sample for itself by
            default.

        Returns
        -------
        self : StateSpaceClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If there are fewer than three groups of a class, or steps that are not
            finite.
        """
        from .finetuning import ClassificationTask

        self._validate_params()
        X, y, weight, groups = take_weighted(X, y, sample_weight, groups)
        self.classes_ = np.unique(y)
        task = ClassificationTask(self.classes_, self.class_weight, self._draw_seed())
        self._fit(X, y, weight, groups, task)
        return self

    def decision_function(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute calibrated decisions.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_steps, n_features)
            Sequences.

        Returns
        -------
        decision : ndarray, shape (n_samples,) or (n_samples, n_classes)
            Log odds of ``classes_[1]`` with two classes, else logits.
        """
        outputs = self._outputs(X)
        return self.task_.decision_function(outputs)

    def predict_proba(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Compute calibrated probabilities.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_steps, n_features)
            Sequences.

        Returns
        -------
        proba : ndarray, shape (n_samples, n_classes)
            One column a class, in the order of ``classes_``.
        """
        outputs = self._outputs(X)
        return self.task_.predict_proba(outputs)

    def predict(self, X: NDArray[np.floating]) -> NDArray:
        """Predict the most likely label.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_steps, n_features)
            Sequences.

        Returns
        -------
        labels : ndarray, shape (n_samples,)
            The labels.
        """
        outputs = self._outputs(X)
        return self.task_.predict(outputs)


class StateSpaceRegressor(RegressorMixin, _StateSpaceHead):
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

    def fit(
        self,
        X: NDArray[np.floating],
        y: NDArray[np.floating],
        sample_weight: NDArray[np.floating] | None = None,
        groups: NDArray | None = None,
    ) -> StateSpaceRegressor:
        """Fit the linear start and train.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_steps, n_features)
            Sequences, see :meth:`StateSpaceClassifier.fit`.
        y : ndarray, shape (n_samples,)
            Targets.
        sample_weight : ndarray, shape (n_samples,), optional
            Weights; 0 leaves a sample out.
        groups : ndarray, shape (n_samples,), optional
            What must stay together when some are held out; each sample for itself by
            default.

        Returns
        -------
        self : StateSpaceRegressor
            The fitted regressor.

        Raises
        ------
        ValueError
            If there are fewer than four groups, or steps that are not finite.
        """
        from .finetuning import RegressionTask

        self._validate_params()
        X, y, weight, groups = take_weighted(X, y, sample_weight, groups)
        task = RegressionTask(self._draw_seed())
        self._fit(X, y.astype(np.float64), weight, groups, task)
        return self

    def predict(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Predict targets.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_steps, n_features)
            Sequences.

        Returns
        -------
        targets : ndarray, shape (n_samples,)
            The targets.
        """
        outputs = self._outputs(X)
        return self.task_.predict(outputs)


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
