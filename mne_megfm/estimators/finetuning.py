"""Fine-tuning of all weights or of low-rank adapters."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold
from torch import Tensor, nn

from ..inputs import Recordings
from ..models import add_adapters
from ._heads import LogisticHead, RidgeHead, as_logits, balance, fit_temperature
from ._transformer import MEGFMTransformer
from .finetuning_modules import (
    Batch,
    ParticipantBatch,
    ParticipantDraws,
    ParticipantNetwork,
    RowDraws,
    RowStore,
    TunedNetwork,
    read_people,
    reads_trials,
    rows_of_samples,
)

Split = tuple[NDArray[np.int_], NDArray[np.int_]]


class ClassificationTask:
    """Labels: one output a class, cross entropy, one temperature.

    Parameters
    ----------
    classes : ndarray, shape (n_classes,)
        The labels.
    class_weight : {"balanced"} | dict | None
        Weights of the classes.
    seed : int
        Seed of splits.
    """

    def __init__(
        self, classes: NDArray, class_weight: str | dict | None, seed: int
    ) -> None:
        self.classes = classes
        self.class_weight = class_weight
        self.seed = seed
        self.temperature = 1.0

    def targets(self, y: NDArray, weight: NDArray) -> tuple[Tensor, Tensor]:
        """Give class numbers, and weights with a mean of 1."""
        codes = np.searchsorted(self.classes, y)
        weight = balance(codes, y, weight, self.class_weight)
        weight = torch.as_tensor(weight / weight.mean(), dtype=torch.float32)
        return torch.as_tensor(codes), weight

    def split(self, y: NDArray, groups: NDArray, fraction: float) -> Split:
        """Hold out groups, with all classes on both sides."""
        least = min(len(np.unique(groups[y == label])) for label in self.classes)
        n_folds = min(round(1 / fraction), least)
        if least >= 3:
            splitter = StratifiedGroupKFold(
                n_folds, shuffle=True, random_state=self.seed
            )
            for train, valid in splitter.split(y, y, groups):
                sides = [len(np.unique(y[side])) for side in (train, valid)]
                if min(sides) == len(self.classes):
                    return train, valid
        raise ValueError(
            "Expected at least 3 participants of each class, to train on some and stop "
            f"by others, got {least} of one; add participants, or use a linear head."
        )

    def start(
        self, X: NDArray, y: NDArray, weight: NDArray, groups: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Fit the linear head that training starts from."""
        head = LogisticHead(self.class_weight, random_state=self.seed)
        head.fit(X, y, weight, groups)
        if len(self.classes) == 2:
            both = np.array([-0.5, 0.5])
            return both[:, None] * head.coef_, both * head.intercept_
        return head.coef_, head.intercept_

    def finish(self, outputs: NDArray, y: NDArray, weight: NDArray) -> None:
        """Calibrate by outputs for the samples held out, those with weight."""
        used = weight > 0
        codes, weights = self.targets(y[used], weight[used])
        self.temperature, _ = fit_temperature(
            outputs[used], codes.numpy(), weights.numpy()
        )

    def decision_function(self, outputs: NDArray) -> NDArray[np.float64]:
        """Turn outputs into decisions."""
        logits = outputs / self.temperature
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, outputs: NDArray) -> NDArray[np.float64]:
        """Turn outputs into probabilities."""
        return softmax(as_logits(self.decision_function(outputs)), axis=1)

    def predict(self, outputs: NDArray) -> NDArray:
        """Turn outputs into labels."""
        return self.classes[outputs.argmax(1)]


class RegressionTask:
    """Numbers: one output, squared error.

    Parameters
    ----------
    seed : int
        Seed of splits.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.mean, self.scale = 0.0, 1.0

    def targets(self, y: NDArray, weight: NDArray) -> tuple[Tensor, Tensor]:
        """Give scaled numbers, and weights with a mean of 1."""
        self.mean, self.scale = float(y.mean()), float(y.std()) or 1.0
        scaled = (y - self.mean) / self.scale
        weight = torch.as_tensor(weight / weight.mean(), dtype=torch.float32)
        return torch.as_tensor(scaled, dtype=torch.float32), weight

    def split(self, y: NDArray, groups: NDArray, fraction: float) -> Split:
        """Hold out groups."""
        n_groups = len(np.unique(groups))
        if n_groups < 4:
            raise ValueError(
                "Expected at least 4 participants, to train on some and stop by "
                f"others, got {n_groups}; add participants, or use a linear head."
            )
        n_valid = max(1, round(fraction * n_groups))
        splitter = GroupShuffleSplit(1, test_size=n_valid, random_state=self.seed)
        return next(splitter.split(y, groups=groups))

    def start(
        self, X: NDArray, y: NDArray, weight: NDArray, groups: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Fit the linear head that training starts from."""
        head = RidgeHead(random_state=self.seed)
        head.fit(X, (y - self.mean) / self.scale, weight, groups)
        return head.coef_, head.intercept_

    def finish(self, outputs: NDArray, y: NDArray, weight: NDArray) -> None:
        """Do nothing: numbers need no calibration."""

    def predict(self, outputs: NDArray) -> NDArray[np.float64]:
        """Turn outputs into numbers."""
        return outputs[:, 0] * self.scale + self.mean


# participants in a batch where trials of each are few numbers
_PEOPLE = 16


@dataclass(frozen=True)
class Tuning:
    """Settings of fine-tuning.

    Parameters
    ----------
    lora_rank : int | None
        Rank of the adapters; None trains the encoder itself.
    n_epochs_per_state : int
        Rows of each state that a sample is seen through in an epoch.
    validation_fraction, max_epochs, lr, layer_decay, patience : float or int
        See the estimators.
    seed : int
        Seed of draws, adapters and shuffling.
    """

    lora_rank: int | None
    n_epochs_per_state: int
    validation_fraction: float
    max_epochs: int
    lr: float
    layer_decay: float
    patience: int
    seed: int


class _Data(NamedTuple):
    """Labels or numbers of all samples, and who is trained on."""

    y: NDArray
    weight: NDArray
    groups: NDArray
    train: NDArray[np.int_]
    valid: NDArray[np.int_]
    targets: Tensor
    weights: Tensor


class _Parts(NamedTuple):
    """A network at its start, and what it is trained on and stopped by."""

    network: TunedNetwork | ParticipantNetwork
    draws: RowDraws | ParticipantDraws
    held_out: RowDraws | ParticipantDraws
    batch_size: int


def layer_rates(
    groups: list[list[str]], lr: float, decay: float
) -> list[tuple[str, dict]]:
    """Give each layer its learning rate: the deeper, the lower.

    Howard & Ruder (2018), "Universal language model fine-tuning for text
    classification", ACL, section 3.2; with one factor a layer as in Clark et al.
    (2020), "ELECTRA", ICLR, appendix B.

    Parameters
    ----------
    groups : list of list of str
        Names of modules and parameters of the encoder, from its input to its output
        (``layer_groups``).
    lr : float
        Rate of the head and of the last group.
    decay : float
        Factor from one group to the one before.

    Returns
    -------
    rates : list of tuple
        Patterns of parameter names with their settings; the first match counts.
    """
    return [
        (f"encoder.{name}{inside}", {"lr": lr * decay ** (len(groups) - 1 - number)})
        for number, names in enumerate(groups)
        for name in names
        for inside in ("", ".*")
    ]


def fine_tune(
    transformer: MEGFMTransformer,
    recordings: Recordings,
    features: NDArray[np.float32],
    task: ClassificationTask | RegressionTask,
    given: tuple[NDArray, NDArray, NDArray],
    tuning: Tuning,
) -> tuple[TunedNetwork | ParticipantNetwork, pd.DataFrame]:
    """Train a copy of a transformer's encoder, and a head, on labels or numbers.

    With a participant encoder it is this encoder that is trained, which
    sees all of a person; the window encoder otherwise.

    The head begins as the one that suits the frozen encoder, so that early steps do not
    spoil the encoder (Kumar et al. 2022, "Fine-tuning can distort pretrained features
    and underperform out-of-distribution", ICLR, section 3).

    Parameters
    ----------
    transformer : MEGFMTransformer
        The fitted transformer; not changed.
    recordings : Recordings
        What it was fitted to.
    features : ndarray, shape (n_samples, n_features)
        What it makes of them.
    task : ClassificationTask | RegressionTask
        What to predict.
    given : tuple of ndarray
        Labels or numbers, weights and groups of the samples.
    tuning : Tuning
        The settings.

    Returns
    -------
    network : TunedNetwork | ParticipantNetwork
        The trained network, in evaluation mode.
    history : DataFrame
        Losses of the epochs; epoch 0 is the linear head on the frozen encoder.

    Raises
    ------
    ImportError
        If skorch is not installed.
    """
    from .training_loop import train_network

    y, weight, groups = given
    train, valid = task.split(y, groups, tuning.validation_fraction)
    data = _Data(y, weight, groups, train, valid, *task.targets(y, weight))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tuning.seed)
        if reads_trials(transformer):
            parts = _start_participant_encoder(
                transformer, recordings, features, task, data, tuning
            )
        else:
            parts = _start_windows(transformer, recordings, task, data, tuning)
        network, draws, held_out, batch_size = parts
        history = train_network(
            network,
            draws,
            held_out,
            max_epochs=tuning.max_epochs,
            lr=tuning.lr,
            weight_decay=0.01,
            patience=tuning.patience,
            batch_size=batch_size,
            device=network.centre.device,
            seed=tuning.seed,
            param_groups=layer_rates(
                network.encoder.layer_groups(), tuning.lr, tuning.layer_decay
            ),
            collate=draws.collate,
        )
    with torch.inference_mode():
        device = network.centre.device
        outputs = [network(b.to(device)) for b in _batches(held_out, batch_size)]
    task.finish(torch.cat(outputs).double().cpu().numpy(), y[valid], weight[valid])
    return network, history


def _start_windows(
    transformer: MEGFMTransformer,
    recordings: Recordings,
    task: ClassificationTask | RegressionTask,
    data: _Data,
    tuning: Tuning,
) -> _Parts:
    """Begin with the window encoder, and rows of samples."""
    whole = transformer.sample_ == "participant"
    states = sorted(set(recordings.states.tolist())) if whole else [""]
    n_rows = tuning.n_epochs_per_state
    store = RowStore(
        recordings,
        *rows_of_samples(recordings, transformer.sample_, states),
        # four times as many to draw from
        4 * n_rows,
        transformer,
    )
    every_person, held_out = (
        # twice as many where nothing is drawn
        RowDraws(store, samples, data.targets, data.weights, 2 * n_rows)
        for samples in (np.arange(len(data.y)), data.valid)
    )
    draws = RowDraws(store, data.train, data.targets, data.weights, n_rows, tuning.seed)
    # a batch of participants has about as many windows as the transformer encodes
    batch_size = max(1, transformer.batch_size // (n_rows * len(states)))
    network = TunedNetwork(
        _to_train(transformer.model_, tuning.lora_rank),
        copy.deepcopy(transformer.pooling_),
        states,
        store.n_patches,
        spread=whole,
    )
    network.eval()
    with torch.inference_mode():
        device = network.encoder.token_mean.device
        features = [
            network.extract(batch.to(device)).cpu()
            for batch in _batches(every_person, batch_size)
        ]
    network.start_head(
        torch.cat(features).double().numpy(), lambda X: _start(task, data, X)
    )
    return _Parts(network, draws, held_out, batch_size)


def _start_participant_encoder(
    transformer: MEGFMTransformer,
    recordings: Recordings,
    features: NDArray[np.float32],
    task: ClassificationTask | RegressionTask,
    data: _Data,
    tuning: Tuning,
) -> _Parts:
    """Begin with the participant encoder, and trials of participants."""
    encoder = transformer.participant_encoder_
    people = list(read_people(recordings, transformer))
    every_person, held_out = (
        ParticipantDraws(people, features, samples, data.targets, data.weights, encoder)
        for samples in (np.arange(len(people)), data.valid)
    )
    draws = ParticipantDraws(
        people,
        features,
        data.train,
        data.targets,
        data.weights,
        encoder,
        tuning.n_epochs_per_state,
        tuning.seed,
    )
    network = ParticipantNetwork(_to_train(encoder, tuning.lora_rank))
    with torch.inference_mode():
        tokens = [
            encoder.encode(b.trials)[:, 0] for b in _batches(every_person, _PEOPLE)
        ]
    network.start_head(
        torch.cat(tokens).double().numpy(),
        features.astype(np.float64),
        lambda X: _start(task, data, X),
    )
    return _Parts(network, draws, held_out, _PEOPLE)


def _start(
    task: ClassificationTask | RegressionTask, data: _Data, X: NDArray
) -> tuple[NDArray, NDArray]:
    """Fit the first head to those who are trained on."""
    given = (values[data.train] for values in (X, data.y, data.weight, data.groups))
    return task.start(*given)


def _to_train(model: nn.Module, rank: int | None) -> nn.Module:
    """Copy a model, with adapters where a rank is given."""
    model = copy.deepcopy(model)
    return model if rank is None else add_adapters(model, rank)


def _batches(
    data: RowDraws | ParticipantDraws, batch_size: int
) -> Iterator[Batch | ParticipantBatch]:
    for first in range(0, len(data), batch_size):
        last = min(first + batch_size, len(data))
        yield data.collate([data[i] for i in range(first, last)])[0]
