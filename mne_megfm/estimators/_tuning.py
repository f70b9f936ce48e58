"""Training encoder and head together on labels: adapters, or all of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..inputs import Recordings
from ..models import add_adapters
from ._level_network import (
    LevelBatch,
    LevelDraws,
    LevelNetwork,
    read_people,
    reads_trials,
)
from ._network import Batch, TunedNetwork, rows_of_samples
from ._rows import RowDraws, RowStore
from ._tasks import ClassificationTask, RegressionTask
from ._training import train_network
from ._transformer import MEGFMTransformer

# participants in a batch where trials of each are few numbers
_PEOPLE = 16
# what comes before the blocks, in the window encoder and in the level
_EMBEDDING = ("mixing", "embed.", "region_position", "time_position")
_LEVEL_EMBEDDING = ("embed_", "state.", "when.", "token")


@dataclass(frozen=True)
class Tuning:
    """Settings of fine-tuning.

    Parameters
    ----------
    rank : int | None
        Rank of the adapters; None trains the encoder itself.
    n_rows : int
        Rows of each state that a sample is seen through in an epoch.
    valid_fraction, max_epochs, lr, lr_decay, patience : float or int
        See the estimators.
    seed : int
        Seed of draws, adapters and shuffling.
    """

    rank: int | None
    n_rows: int
    valid_fraction: float
    max_epochs: int
    lr: float
    lr_decay: float
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

    network: TunedNetwork | LevelNetwork
    draws: RowDraws | LevelDraws
    held_out: RowDraws | LevelDraws
    batch_size: int
    embedding: tuple[str, ...]


def layer_rates(
    n_blocks: int, lr: float, decay: float, embedding: Sequence[str] = _EMBEDDING
) -> list[tuple[str, dict]]:
    """Give each layer its learning rate: the deeper, the lower.

    Howard & Ruder (2018), "Universal language model fine-tuning for text
    classification", ACL, section 3.2; with one factor a layer as in Clark et al.
    (2020), "ELECTRA", ICLR, appendix B.

    Parameters
    ----------
    n_blocks : int
        Blocks of the encoder.
    lr : float
        Rate of the head and of what follows the last block.
    decay : float
        Factor from one layer to the next below.
    embedding : sequence of str
        How names of parameters before the blocks begin.

    Returns
    -------
    groups : list of tuple
        Patterns of parameter names with their settings; the first match counts.
    """
    rates = [
        (f"encoder.blocks.{block}.*", {"lr": lr * decay ** (n_blocks - block)})
        for block in range(n_blocks)
    ]
    below = {"lr": lr * decay ** (n_blocks + 1)}
    return rates + [(f"encoder.{name}*", below) for name in embedding]


def fine_tune(
    transformer: MEGFMTransformer,
    recordings: Recordings,
    features: NDArray[np.float32],
    task: ClassificationTask | RegressionTask,
    given: tuple[NDArray, NDArray, NDArray],
    tuning: Tuning,
) -> tuple[TunedNetwork | LevelNetwork, pd.DataFrame]:
    """Train a copy of a transformer's encoder, and a head, on labels or numbers.

    For participants with a level over trials it is the level that is trained, which
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
    network : TunedNetwork | LevelNetwork
        The trained network, in evaluation mode.
    history : DataFrame
        Losses of the epochs; epoch 0 is the linear head on the frozen encoder.
    """
    y, weight, groups = given
    train, valid = task.split(y, groups, tuning.valid_fraction)
    data = _Data(y, weight, groups, train, valid, *task.targets(y, weight))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tuning.seed)
        if reads_trials(transformer):
            parts = _start_level(transformer, recordings, features, task, data, tuning)
        else:
            parts = _start_windows(transformer, recordings, task, data, tuning)
        network, draws, held_out, batch_size, embedding = parts
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
                len(network.encoder.blocks), tuning.lr, tuning.lr_decay, embedding
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
    whole = transformer.unit_ == "participant"
    states = sorted(set(recordings.states.tolist())) if whole else [""]
    n_rows = tuning.n_rows
    store = RowStore(
        recordings,
        *rows_of_samples(recordings, transformer.unit_, states),
        # four times as many to draw from
        4 * n_rows,
        transformer,
    )
    everybody, held_out = (
        # twice as many where nothing is drawn
        RowDraws(store, samples, data.targets, data.weights, 2 * n_rows)
        for samples in (np.arange(len(data.y)), data.valid)
    )
    draws = RowDraws(store, data.train, data.targets, data.weights, n_rows, tuning.seed)
    # a batch of participants has about as many windows as the transformer encodes
    batch_size = max(1, transformer.batch_size // (n_rows * len(states)))
    network = TunedNetwork(
        _to_train(transformer.model_, tuning.rank),
        transformer.pooling_,
        states,
        store.n_patches,
        spread=whole,
    )
    network.eval()
    with torch.inference_mode():
        device = network.encoder.token_mean.device
        described = [
            network.describe(batch.to(device)).cpu()
            for batch in _batches(everybody, batch_size)
        ]
    network.start_head(
        torch.cat(described).double().numpy(), lambda X: _start(task, data, X)
    )
    return _Parts(network, draws, held_out, batch_size, _EMBEDDING)


def _start_level(
    transformer: MEGFMTransformer,
    recordings: Recordings,
    features: NDArray[np.float32],
    task: ClassificationTask | RegressionTask,
    data: _Data,
    tuning: Tuning,
) -> _Parts:
    """Begin with the level over trials, and trials of participants."""
    level = transformer.level_
    people = list(read_people(recordings, transformer))
    everybody, held_out = (
        LevelDraws(people, features, samples, data.targets, data.weights, level)
        for samples in (np.arange(len(people)), data.valid)
    )
    draws = LevelDraws(
        people,
        features,
        data.train,
        data.targets,
        data.weights,
        level,
        tuning.n_rows,
        tuning.seed,
    )
    network = LevelNetwork(_to_train(level, tuning.rank))
    with torch.inference_mode():
        tokens = [level.encode(b.trials)[:, 0] for b in _batches(everybody, _PEOPLE)]
    network.start_head(
        torch.cat(tokens).double().numpy(),
        features.astype(np.float64),
        lambda X: _start(task, data, X),
    )
    return _Parts(network, draws, held_out, _PEOPLE, _LEVEL_EMBEDDING)


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
    data: RowDraws | LevelDraws, batch_size: int
) -> Iterator[Batch | LevelBatch]:
    for first in range(0, len(data), batch_size):
        last = min(first + batch_size, len(data))
        yield data.collate([data[i] for i in range(first, last)])[0]
