"""Networks trained on the trials of participants: their trials, and the classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn import Module
from torch.utils.data import Dataset

from ..estimators.finetuning import ClassificationTask
from ..plugins import get
from ..utils.validation import check_groups, check_labels
from ._participant_features import (
    SFREQ,
    ParticipantFeatures,
    StateFeatures,
    Trials,
    decimate,
)

_UNIT = 1e-12  # in pT, half precision holds what MEG has


class TrialSignals(ParticipantFeatures, auto_wrap_output_keys=None):
    """All trials of participants on the canonical array, for networks.

    Parameters
    ----------
    decim : int
        So many samples, of 4 ms, are averaged to one.
    max_trials : int
        Trials of a state that are kept at most, evenly spread over the recording.
    duration : float
        Length of a row of a Raw (s).

    Attributes
    ----------
    states_ : list of str
        States of the training participants, sorted.
    sfreq_ : float
        Sampling rate of the result (Hz).

    See Also
    --------
    NetworkClassifier : What follows in a pipeline.

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import TrialSignals
    >>> cohort = simulate_cohort(2, states=("auditory",), n_epochs=3, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> trials = TrialSignals().fit_transform(X)
    >>> trials[0]["auditory"].shape
    (3, 192, 125)
    """

    _parameter_constraints: dict = {
        "decim": [Interval(Integral, 1, None, closed="left")],
        "max_trials": [Interval(Integral, 1, None, closed="left")],
        **ParticipantFeatures._parameter_constraints,
    }

    def __init__(
        self, *, decim: int = 2, max_trials: int = 60, duration: float = 1.0
    ) -> None:
        self.decim = decim
        self.max_trials = max_trials
        self.duration = duration

    def _fit_extracted(
        self, extracted: list[StateFeatures], y: Any = None
    ) -> TrialSignals:
        """Learn which states there are; their trials must be of one length."""
        self._validate_params()
        self.states_ = sorted({state for entry in extracted for state in entry})
        self.sfreq_ = SFREQ / self.decim
        self.fill_ = {}  # nothing stands for what is missing: it is left out
        for state in self.states_:
            lengths = {e[state].shape[-1] for e in extracted if state in e}
            if len(lengths) > 1:
                raise ValueError(
                    f"Expected trials of one length in state {state!r}, got "
                    f"{sorted(lengths)} samples at {self.sfreq_:g} Hz; crop all epochs "
                    "of a state to the same length."
                )
        return self

    def _transform_extracted(
        self, extracted: list[StateFeatures]
    ) -> list[dict[str, NDArray[np.float16]]]:
        """Give the trials of the states seen in `fit`, in pT."""
        return [
            {state: trials for state, trials in entry.items() if state in self.states_}
            for entry in extracted
        ]

    def set_output(self, *, transform: str | None = None) -> TrialSignals:
        """Leave the output as it is: trials are no table.

        Parameters
        ----------
        transform : str | None
            Not used.

        Returns
        -------
        self : TrialSignals
            The transformer.
        """
        return self

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Give the names of the states, which the dicts of trials have as keys.

        Parameters
        ----------
        input_features : None
            Not used; here for scikit-learn.

        Returns
        -------
        names : ndarray of str, shape (n_states,)
            The states seen in `fit`.
        """
        check_is_fitted(self, "states_")
        return np.array(self.states_, dtype=object)

    def _state_features(self, trials: Trials) -> NDArray[np.float16]:
        data = trials.data
        if len(data) > self.max_trials:
            spread = np.linspace(0, len(data) - 1, self.max_trials)
            data = data[spread.round().astype(int)]
        return (decimate(data, self.decim) / _UNIT).astype(np.float16)


Participant = dict[str, NDArray[np.floating]]


class NetworkClassifier(ClassifierMixin, BaseEstimator):
    """Classify participants by a network that is trained on their trials.

    Each state has a network of its own. The decision on a participant is the mean over
    trials, then over states; a state that a participant lacks is left out.

    Parameters
    ----------
    network : str | callable
        ``"shallow-fbcsp"`` or ``"eegnet"``, which need braindecode, another name of
        ``mne_megfm.plugins.available("networks")``, or a function that makes a torch
        module of ``n_chans``, ``n_outputs``, ``n_times`` and ``sfreq``. It maps
        trials, shape (n, n_chans, n_times), to a logit for each class.
    sfreq : float
        Sampling rate of the trials (Hz), as ``TrialSignals().sfreq_``.
    max_epochs : int
        Epochs of training, at most.
    class_weight : {"balanced"} | dict | None
        Weights of the classes, as in scikit-learn.
    lr : float
        Learning rate.
    weight_decay : float
        Weight decay of AdamW.
    n_trials : int
        Trials of each participant in an epoch, drawn again each time.
    validation_fraction : float
        Share of the training participants that training is stopped by.
    patience : int
        Training stops after so many epochs without a lower held-out loss.
    batch_size : int
        Trials in a batch.
    device : str
        Where to compute: ``"cpu"``, ``"cuda"``, ...
    random_state : int | RandomState | None
        Seed of weights, draws and the participants held out.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels.
    networks_ : dict
        From state to the trained network.
    scales_ : dict
        From state to the spread of the training trials, which trials are divided by.
    shapes_ : dict
        From state to the numbers of channels and samples of a trial.
    history_ : dict
        From state to losses of its epochs; epoch 0 is before training.

    See Also
    --------
    TrialSignals : The step before, from recordings to trials.
    mne_megfm.MEGFMClassifier : A pretrained network, trained on.

    Notes
    -----
    The epoch with the least loss on held-out participants is kept, which may be the
    start; the same participants give the temperature that
    probabilities are calibrated with. A state in which trained or held-out participants
    lack a class is not used.

    Examples
    --------
    >>> import numpy as np
    >>> from torch.nn import Flatten, Linear, Sequential
    >>> from mne_megfm.evaluation import NetworkClassifier
    >>> def linear(n_chans, n_outputs, n_times, sfreq):
    ...     return Sequential(Flatten(), Linear(n_chans * n_times, n_outputs))
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(["control", "migraine"], 6)
    >>> X = [{"rest": rng.standard_normal((4, 2, 5)) + (l == "control")} for l in y]
    >>> NetworkClassifier(linear, random_state=0).fit(X, y).predict_proba(X).shape
    (12, 2)
    """

    _parameter_constraints: dict = {
        "network": [str, callable],
        "sfreq": [Interval(Real, 0, None, closed="neither")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "n_trials": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        network: str | Callable[..., Module] = "shallow-fbcsp",
        *,
        sfreq: float = 125.0,
        max_epochs: int = 30,
        class_weight: str | dict | None = None,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        n_trials: int = 8,
        validation_fraction: float = 0.2,
        patience: int = 5,
        batch_size: int = 64,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.network = network
        self.sfreq = sfreq
        self.max_epochs = max_epochs
        self.class_weight = class_weight
        self.lr = lr
        self.weight_decay = weight_decay
        self.n_trials = n_trials
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.batch_size = batch_size
        self.device = device
        self.random_state = random_state

    # -- training -----------------------------------------------------------
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Sequence[Participant], y: Any, groups: Any = None
    ) -> NetworkClassifier:
        """Train a network for each state.

        Parameters
        ----------
        X : list of dict
            For each participant, from state to trials, shape (n_trials, n_chans,
            n_times).
        y : array-like, shape (n_participants,)
            Labels.
        groups : array-like, shape (n_participants,), optional
            What must stay together when participants are held out.

        Returns
        -------
        self : NetworkClassifier
            The fitted classifier.

        Raises
        ------
        ImportError
            If the network is one of braindecode, which is not installed.
        ValueError
            If there are fewer than three participants of a class, or no state that
            can be used.
        """
        y = check_labels(y, len(X), "participant")
        check_classification_targets(y)
        groups = check_groups(groups, len(X), "participant")
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.classes_ = np.unique(y)
        self.task_ = ClassificationTask(self.classes_, self.class_weight, seed)
        train, valid = self.task_.split(y, groups, self.validation_fraction)
        self.networks_, self.shapes_ = {}, {}
        self.scales_, self.history_ = {}, {}
        for number, state in enumerate(sorted({s for entry in X for s in entry})):
            sides = [
                np.array([i for i in side if state in X[i]], int)
                for side in (train, valid)
            ]
            if all(len(np.unique(y[side])) == len(self.classes_) for side in sides):
                self._fit_state(state, X, y, sides, seed + number)
        if not self.networks_:
            raise ValueError(
                "Expected a state that training and held-out participants of each "
                f"class have, got none among {len(X)} participants; add participants."
            )
        some = [i for i in valid if any(state in X[i] for state in self.networks_)]
        outputs = self._outputs([X[i] for i in some])
        self.task_.finish(outputs, y[some], np.ones(len(some)))
        return self

    def _fit_state(
        self,
        state: str,
        X: Sequence[Participant],
        y: NDArray,
        sides: list[NDArray[np.int_]],
        seed: int,
    ) -> None:
        # skorch takes a second to import
        from ..estimators.training_loop import train_network

        known = np.concatenate([X[i][state].ravel() for i in sides[0]])
        self.scales_[state] = float(known.std(dtype=np.float64)) or 1.0
        parts = []
        for side, draw in zip(sides, (seed, None), strict=True):
            targets, weights = self.task_.targets(y[side], np.ones(len(side)))
            trials = [X[i][state] for i in side]
            parts.append(
                _Trials(
                    trials, self.scales_[state], targets, weights, self.n_trials, draw
                )
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.shapes_[state] = X[sides[0][0]][state].shape[1:]
            network = self._make(self.shapes_[state])
            self.history_[state] = train_network(
                network,
                *parts,
                max_epochs=self.max_epochs,
                lr=self.lr,
                weight_decay=self.weight_decay,
                patience=self.patience,
                batch_size=self.batch_size,
                device=self.device,
                seed=seed,
            )
        self.networks_[state] = network

    def _make(self, shape: tuple[int, int]) -> Module:
        named = isinstance(self.network, str)
        factory = get("networks", self.network) if named else self.network
        return factory(
            n_chans=shape[0],
            n_outputs=len(self.classes_),
            n_times=shape[1],
            sfreq=self.sfreq,
        )

    # -- predicting ---------------------------------------------------------
    def _outputs(self, X: Sequence[Participant]) -> NDArray[np.float64]:
        """Average logits over trials, then over states; shape (n, n_classes)."""
        check_is_fitted(self, "networks_")
        outputs = []
        for number, entry in enumerate(X):
            found = [
                self._logits(state, trials).mean(0)
                for state, trials in entry.items()
                if state in self.networks_
            ]
            if not found:
                raise ValueError(
                    f"Expected participants with a state of {sorted(self.networks_)}, "
                    f"got {sorted(entry)} in element {number}; leave it out."
                )
            outputs.append(np.mean(found, axis=0))
        return np.stack(outputs)

    def _logits(self, state: str, trials: NDArray[np.floating]) -> NDArray[np.float64]:
        network, scale = self.networks_[state].eval(), self.scales_[state]
        device = next(network.parameters()).device
        logits = []
        with torch.inference_mode():
            for first in range(0, len(trials), self.batch_size):
                part = _scaled(trials[first : first + self.batch_size], scale)
                logits.append(network(part.to(device)).double().cpu())
        return torch.cat(logits).numpy()

    def decision_function(self, X: Sequence[Participant]) -> NDArray[np.float64]:
        """Compute calibrated decisions.

        Parameters
        ----------
        X : list of dict
            The participants, as in `fit`.

        Returns
        -------
        decision : ndarray, shape (n_participants,) or (n_participants, n_classes)
            Log odds of ``classes_[1]`` with two classes, else logits.
        """
        return self.task_.decision_function(self._outputs(X))

    def predict_proba(self, X: Sequence[Participant]) -> NDArray[np.float64]:
        """Compute calibrated probabilities.

        Parameters
        ----------
        X : list of dict
            The participants, as in `fit`.

        Returns
        -------
        proba : ndarray, shape (n_participants, n_classes)
            One column a class, in the order of ``classes_``.
        """
        return self.task_.predict_proba(self._outputs(X))

    def predict(self, X: Sequence[Participant]) -> NDArray:
        """Predict the most likely label.

        Parameters
        ----------
        X : list of dict
            The participants, as in `fit`.

        Returns
        -------
        labels : ndarray, shape (n_participants,)
            The labels.
        """
        return self.task_.predict(self._outputs(X))

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        if "networks_" in state:
            # networks with parametrized weights, as EEGNet, cannot be pickled whole
            arrays = {
                name: {key: array.cpu() for key, array in net.state_dict().items()}
                for name, net in self.networks_.items()
            }
            state = state | {"networks_": arrays}
        return state

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "networks_" in state:
            self.networks_ = {}
            for name, arrays in state["networks_"].items():
                with torch.random.fork_rng(devices=[]):
                    self.networks_[name] = self._make(self.shapes_[name])
                self.networks_[name].load_state_dict(arrays)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True
        return tags


class _Trials(Dataset):
    """So many trials of each participant: drawn, or without a seed evenly spread."""

    def __init__(
        self,
        trials: list[NDArray[np.floating]],
        scale: float,
        targets: Tensor,
        weights: Tensor,
        n_trials: int,
        seed: int | None,
    ) -> None:
        self.trials = trials
        self.scale = scale
        self.targets = targets
        self.weights = weights
        self.n_trials = n_trials
        self._rng = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.trials) * self.n_trials

    def __getitem__(self, index: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        participant, number = divmod(index, self.n_trials)
        trials = self.trials[participant]
        if self._rng is None:
            chosen = number * len(trials) // self.n_trials
        else:
            chosen = int(self._rng.integers(len(trials)))
        target = self.targets[participant], self.weights[participant]
        return _scaled(trials[chosen], self.scale), target


def _scaled(trials: NDArray[np.floating], scale: float) -> Tensor:
    return torch.from_numpy(np.asarray(trials, np.float32) / np.float32(scale))
