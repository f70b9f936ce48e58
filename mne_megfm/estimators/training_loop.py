"""The loop that trains networks on labels or numbers, by skorch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..utils.extras import needs_extra

with needs_extra("finetune", "training on labels (fine-tuning, and heads by torch)"):
    from skorch import NeuralNet
    from skorch.callbacks import Callback, GradientNormClipping
    from skorch.helper import predefined_split


class _WeightedLoss(nn.Module):
    """Cross entropy, or squared error, times the weight of each sample.

    Where a network gives a pair in training, the second is added.
    """

    def forward(
        self, output: Tensor | tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]
    ) -> Tensor:
        output, added = output if isinstance(output, tuple) else (output, 0.0)
        wanted, weight = target
        if wanted.is_floating_point():
            losses = (output[:, 0] - wanted).square()
        else:
            losses = F.cross_entropy(output, wanted, reduction="none")
        # not over the sum of weights: a batch of light samples should move little
        return (losses * weight).mean() + added


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
            raise KeyboardInterrupt  # how skorch is made to stop

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        net.module_.load_state_dict(self.best_)
        names = ["epoch", "train_loss", "valid_loss"]
        self.history_ = pd.DataFrame(self._losses, columns=names).set_index("epoch")


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
