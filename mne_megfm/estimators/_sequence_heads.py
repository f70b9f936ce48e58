"""What heads share that read a participant step by step, and the sequences of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ..inputs import Recordings
from ..inputs.windows import RowForm
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
class Steps:
    """Sequences of a batch, padded: steps, and which of them are there."""

    steps: Tensor  # (n, n_steps, n_features)
    seen: Tensor  # (n, n_steps)

    def __len__(self) -> int:
        return len(self.steps)

    def to(self, device: str | torch.device) -> Steps:
        """Move to a device."""
        return Steps(self.steps.to(device), self.seen.to(device))


class _Sequences(Dataset):
    """Sequences with a target and a weight each."""

    def __init__(
        self,
        sequences: Sequence[Steps],
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
    def collate(items: Sequence[tuple]) -> tuple[Steps, tuple]:
        sequences, targets, weights = zip(*items, strict=True)
        padded = (
            pad_sequence([part[0] for part in parts], batch_first=True)
            for parts in zip(*((s.steps, s.seen) for s in sequences), strict=True)
        )
        return Steps(*padded), (torch.stack(targets), torch.stack(weights))


def split_sequences(X: NDArray[np.floating], keep_missing: bool) -> list[Steps]:
    """Take the steps of each sequence; rows of a table are one each.

    Parameters
    ----------
    X : ndarray, shape (n_samples, n_steps, n_features) or (n_samples, n_features)
        Sequences; steps that are not there are NaN.
    keep_missing : bool
        Whether these stay, as zeros, since their place says what they are.

    Returns
    -------
    sequences : list of Steps
        Each by itself, as a batch of one.

    Raises
    ------
    ValueError
        If a sequence has no step, or a step is not finite.
    """
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
    out = []
    for steps, there in zip(X, seen, strict=True):
        if keep_missing:
            steps = np.where(there[:, None], steps, np.float32(0.0))
        else:
            steps, there = steps[there], there[there]
        out.append(Steps(*(torch.from_numpy(x)[None] for x in (steps, there))))
    return out


class SequenceHead(BaseEstimator):
    """What heads that read sequences have in common: settings, and their training.

    A child says by `_make_network` what is trained, and by `_axes` how steps are
    projected for the linear head where training starts.
    """

    #: Takes what is known of a participant step by step instead of one row of features.
    reads_sequences = True
    #: Whether the place of a step says what it is, so that missing ones stay.
    _keeps_missing = False

    _parameter_constraints: dict = {
        **{
            name: [Interval(Integral, 1, None, closed="left")]
            for name in (
                "n_components",
                "d_model",
                "max_epochs",
                "patience",
                "batch_size",
            )
        },
        "lr": [Interval(Real, 0, None, closed="neither")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "device": [str],
        "random_state": ["random_state"],
    }

    @staticmethod
    def make_aggregator() -> Aggregator:
        """Make the aggregator that gives the sequences of this head."""
        return SequenceAggregator()

    def _axes(
        self, sequences: Sequence[Steps]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Find the centre and the axes of the projection of steps."""
        means = np.stack([_mean_step(one) for one in sequences])
        return principal_axes(means, self.n_components)

    def _make_network(self, centre: Tensor, axes: Tensor, n_outputs: int) -> nn.Module:
        """Make the network; it is called with `Steps`, and has a ``linear`` part."""
        raise NotImplementedError

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
        from .training_loop import train_network

        sequences = split_sequences(X, self._keeps_missing)
        self.n_features_in_ = sequences[0].steps.shape[2]
        train, valid = task.split(y, groups, self.validation_fraction)
        targets, weights = task.targets(y, weight)
        centre, axes = self._axes([sequences[at] for at in train])
        means = [_mean_step(one, centre) for one in (sequences[at] for at in train)]
        given = (values[train] for values in (y, weight, groups))
        coef, intercept = task.start(np.stack(means) @ axes.T, *given)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed)
            centre, axes = (
                torch.as_tensor(values, dtype=torch.float32)
                for values in (centre, axes)
            )
            network = self._make_network(centre, axes, len(coef))
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
            sequences = split_sequences(X, self._keeps_missing)
            outputs = [self.network_(one) for one in sequences]
        return torch.cat(outputs).double().numpy()


def _mean_step(
    one: Steps, centre: NDArray[np.float64] | float = 0.0
) -> NDArray[np.float64]:
    """Give the mean of the steps that are there, around a centre."""
    steps, seen = one.steps[0].double().numpy() - centre, one.seen[0].numpy()
    return steps[seen].mean(0)


def principal_axes(
    means: NDArray[np.float64], n_components: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find where means of sequences differ: principal axes, at a common scale.

    Parameters
    ----------
    means : ndarray, shape (n_samples, n_features)
        Means of sequences.
    n_components : int
        Axes, at most.

    Returns
    -------
    centre : ndarray, shape (n_features,)
        Their mean.
    axes : ndarray, shape (n_components, n_features)
        Projections have unit variance in total.
    """
    centre = means.mean(0)
    _, strength, axes = np.linalg.svd(means - centre, full_matrices=False)
    n_axes = max(1, int((strength[:n_components] > 1e-6 * strength[0]).sum()))
    spread = np.sqrt(np.sum(strength[:n_axes] ** 2) / len(means)) or 1.0
    return centre, axes[:n_axes] / spread


class SequenceClassifier(ClassifierMixin, SequenceHead):
    """A classifier that reads sequences; probabilities are calibrated."""

    _parameter_constraints: dict = {
        **SequenceHead._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def fit(
        self,
        X: NDArray[np.floating],
        y: NDArray,
        sample_weight: NDArray[np.floating] | None = None,
        groups: NDArray | None = None,
    ) -> Self:
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
        self : SequenceClassifier
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


class SequenceRegressor(RegressorMixin, SequenceHead):
    """A regressor that reads sequences."""

    def fit(
        self,
        X: NDArray[np.floating],
        y: NDArray[np.floating],
        sample_weight: NDArray[np.floating] | None = None,
        groups: NDArray | None = None,
    ) -> Self:
        """Fit the linear start and train.

        Parameters
        ----------
        X : ndarray, shape (n_samples, n_steps, n_features)
            Sequences, see :meth:`SequenceClassifier.fit`.
        y : ndarray, shape (n_samples,)
            Targets.
        sample_weight : ndarray, shape (n_samples,), optional
            Weights; 0 leaves a sample out.
        groups : ndarray, shape (n_samples,), optional
            What must stay together when some are held out; each sample for itself by
            default.

        Returns
        -------
        self : SequenceRegressor
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
