"""Training encoder and head together on labels, by skorch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, GradientNormClipping
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..inputs import Recordings
from ..models import add_adapters
from ._network import Batch, TunedNetwork, rows_of_samples
from ._rows import RowDraws, RowStore
from ._tasks import ClassificationTask, RegressionTask
from ._transformer import MEGFMTransformer


class _WeightedLoss(nn.Module):
    """Cross entropy, or squared error, times the weight of each sample."""

    def forward(self, output: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        wanted, weight = target
        if wanted.is_floating_point():
            losses = (output[:, 0] - wanted).square()
        else:
            losses = F.cross_entropy(output, wanted, reduction="none")
        # not over the sum of weights: a batch of light samples should move little
        return (losses * weight).mean()


class _Net(NeuralNet):
    """skorch's loop; batches go to the device by themselves."""

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        return self.module_(x.to(self.device))


class _KeepBest(Callback):
    """Keep the weights with the least held-out loss, those of the start among them.

    skorch's own early stopping does not look at the weights before the first epoch. If
    training only makes things worse, what the linear head could do is kept.
    """

    def __init__(self, valid: Dataset, patience: int) -> None:
        self.valid = valid
        self.patience = patience

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        total = 0.0
        for batch in net.get_iterator(self.valid, training=False):
            total += len(batch[0]) * float(net.validation_step(batch)["loss"])
        self.best_loss_, self.best_epoch_ = total / len(self.valid), 0
        self._losses = [(0, np.nan, self.best_loss_)]
        self._keep(net)

    def _keep(self, net: NeuralNet) -> None:
        self.best_ = copy.deepcopy(net.module_.state_dict())

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        losses = net.history[-1, ("epoch", "train_loss", "valid_loss")]
        epoch, of_training, loss = losses
        if not np.isfinite(of_training):
            raise RuntimeError(
                f"Expected a finite loss, got {of_training} in epoch {epoch}; lower lr."
            )
        self._losses.append(losses)
        if loss < self.best_loss_:
            self.best_loss_, self.best_epoch_ = loss, epoch
            self._keep(net)
        elif epoch - self.best_epoch_ >= self.patience:
            raise KeyboardInterrupt  # how skorch is told to stop

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        net.module_.load_state_dict(self.best_)
        names = ["epoch", "train_loss", "valid_loss"]
        self.history_ = pd.DataFrame(self._losses, columns=names).set_index("epoch")


def layer_rates(n_blocks: int, lr: float, decay: float) -> list[tuple[str, dict]]:
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

    Returns
    -------
    groups : list of tuple
        Patterns of parameter names with their settings; the first match counts.
    """
    rates = [
        (f"encoder.blocks.{block}.*", {"lr": lr * decay ** (n_blocks - block)})
        for block in range(n_blocks)
    ]
    embedding = [
        (f"encoder.{name}*", {"lr": lr * decay ** (n_blocks + 1)})
        for name in ("mixing", "embed.", "region_position", "time_position")
    ]
    return rates + embedding


def train_network(
    network: nn.Module,
    draws: Dataset,
    held_out: Dataset,
    *,
    max_epochs: int,
    lr: float,
    weight_decay: float,
    patience: int,
    batch_size: int,
    device: str | torch.device,
    seed: int,
    param_groups: Sequence[tuple[str, dict]] = (),
    collate: Callable | None = None,
) -> pd.DataFrame:
    """Train a network until its held-out loss falls no more, and keep its best.

    Parameters
    ----------
    network : Module
        The network; changed in place, and left in evaluation mode.
    draws, held_out : Dataset
        Samples, each with a pair of target and weight, to train on and to stop by.
    max_epochs, lr, weight_decay, patience, batch_size, device, seed
        See the estimators.
    param_groups : sequence of tuple
        Patterns of parameter names with settings of their own.
    collate : callable | None
        Makes a batch of samples.

    Returns
    -------
    history : DataFrame
        Losses of the epochs; epoch 0 is the network as it was given.
    """
    best = _KeepBest(held_out, patience)
    _Net(
        network,
        criterion=_WeightedLoss,
        optimizer=torch.optim.AdamW,
        optimizer__param_groups=list(param_groups),
        optimizer__weight_decay=weight_decay,
        lr=lr,
        batch_size=batch_size,
        max_epochs=max_epochs,
        train_split=predefined_split(held_out),
        iterator_train__shuffle=True,
        iterator_train__generator=torch.Generator().manual_seed(seed),
        iterator_train__collate_fn=collate,
        iterator_valid__collate_fn=collate,
        callbacks=[best, GradientNormClipping(1.0)],
        device=device,
        verbose=0,
    ).fit(draws, None)
    network.eval()
    return best.history_


def fine_tune(
    transformer: MEGFMTransformer,
    recordings: Recordings,
    task: ClassificationTask | RegressionTask,
    given: tuple[NDArray, NDArray, NDArray],
    *,
    rank: int | None,
    n_rows: int,
    valid_fraction: float,
    max_epochs: int,
    lr: float,
    lr_decay: float,
    patience: int,
    seed: int,
) -> tuple[TunedNetwork, pd.DataFrame]:
    """Train a copy of a transformer's encoder, and a head, on labels or numbers.

    The head begins as the one that suits the frozen encoder, so that early steps do not
    spoil the encoder (Kumar et al. 2022, "Fine-tuning can distort pretrained features
    and underperform out-of-distribution", ICLR, section 3).

    Parameters
    ----------
    transformer : MEGFMTransformer
        The fitted transformer; not changed.
    recordings : Recordings
        What it was fitted to.
    task : ClassificationTask | RegressionTask
        What to predict.
    given : tuple of ndarray
        Labels or numbers, weights and groups of the samples.
    rank : int | None
        Rank of the adapters; None trains the encoder itself.
    n_rows : int
        Rows of each state that a sample is seen through in an epoch; twice as many
        where nothing is drawn, and four times as many to draw from.
    valid_fraction, max_epochs, lr, lr_decay, patience, seed
        See the estimators.

    Returns
    -------
    network : TunedNetwork
        The trained network, in evaluation mode.
    history : DataFrame
        Losses of the epochs; epoch 0 is the linear head on the frozen encoder.
    """
    y, weight, groups = given
    whole = transformer.unit_ == "participant"
    states = sorted(set(recordings.states.tolist())) if whole else [""]
    store = RowStore(
        recordings,
        *rows_of_samples(recordings, transformer.unit_, states),
        4 * n_rows,
        transformer,
    )
    train, valid = task.split(y, groups, valid_fraction)
    targets, weights = task.targets(y, weight)
    still, held_out = (
        RowDraws(store, samples, targets, weights, 2 * n_rows)
        for samples in (np.arange(len(y)), valid)
    )
    draws = RowDraws(store, train, targets, weights, n_rows, seed)
    device = transformer.model_.kernel.device
    # a batch of participants has about as many windows as the transformer encodes
    batch_size = max(1, transformer.batch_size // (n_rows * len(states)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = copy.deepcopy(transformer.model_)
        if rank is not None:
            add_adapters(encoder, rank)
        network = TunedNetwork(
            encoder, transformer.pooling_, states, store.n_patches, spread=whole
        )
        network.start_head(
            _describe(network, still, batch_size),
            lambda X: task.start(X[train], y[train], weight[train], groups[train]),
        )
        history = train_network(
            network,
            draws,
            held_out,
            max_epochs=max_epochs,
            lr=lr,
            weight_decay=0.01,
            patience=patience,
            batch_size=batch_size,
            device=device,
            seed=seed,
            param_groups=layer_rates(len(encoder.blocks), lr, lr_decay),
            collate=draws.collate,
        )
    with torch.inference_mode():
        outputs = [network(b.to(device)) for b in _batches(held_out, batch_size)]
    task.finish(torch.cat(outputs).double().cpu().numpy(), y[valid], weight[valid])
    return network, history


def _batches(data: RowDraws, batch_size: int) -> Iterator[Batch]:
    for first in range(0, len(data), batch_size):
        last = min(first + batch_size, len(data))
        yield data.collate([data[i] for i in range(first, last)])[0]


def _describe(
    network: TunedNetwork, data: RowDraws, batch_size: int
) -> NDArray[np.float64]:
    network.eval()
    with torch.inference_mode():
        described = [
            network.describe(batch.to(network.encoder.token_mean.device)).cpu()
            for batch in _batches(data, batch_size)
        ]
    return torch.cat(described).double().numpy()
