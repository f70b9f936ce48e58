"""Epochs of training and validation of one run, in one process or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from mne.utils import ProgressBar, logger
from torch import Tensor, nn

from ..models import MaskedSignalTransformer
from ..store import WindowStore
from ._batches import Batches, Part
from ._history import History
from ._ranks import LostRankError, Ranks, is_lost_peer, without_exchange
from ._run import Run
from ._step import draw_batch_masks
from ._validation import validate
from ._windows import WindowArray


class StoppedError(RuntimeError):
    """A run was asked to stop, and has been saved."""


@dataclass
class Trainer:
    """What `pretrain` has set up, and the loop over it.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The model.
    step : Module
        The model with its objective, as this process calls it.
    run : Run
        State that survives an interruption.
    ranks : Ranks
        This process among the others.
    windows : WindowArray | WindowStore
        The data.
    batches : Batches
        Windows to train on, in their order.
    valid : array of int
        Windows to validate on.
    region_pos : Tensor, shape (n_regions, 3)
        Positions of the regions in m.
    masking, augmentation : callable
        What hides and what changes training batches.
    rate : callable
        Learning rate of a step.
    n_batches : int
        Steps of an epoch.
    directory : Path | None
        Where the run is kept.
    save_minutes : float | None
        When it is saved within an epoch.
    stop : callable | None
        Whether to stop.
    """

    model: MaskedSignalTransformer
    step: nn.Module
    run: Run
    ranks: Ranks
    windows: WindowArray | WindowStore
    batches: Batches
    valid: np.ndarray
    region_pos: Tensor
    masking: Callable[..., Tensor]
    augmentation: Callable[..., tuple[Tensor, Tensor]] | None
    rate: Callable[[int], float]
    n_batches: int
    directory: Path | None
    save_minutes: float | None
    stop: Callable[[], bool] | None
    _saved: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self) -> None:
        settings = self.run.settings
        self.device = self.model.kernel.device
        self.max_epochs = settings["max_epochs"]
        self.bf16, self.clip = settings["bf16"], settings["clip"]

    @property
    def history(self) -> History:
        """Losses of the epochs done."""
        return self.run.history

    def train_epoch(self) -> None:
        """Train an epoch, or what is left of one, validate, and save."""
        epoch = len(self.history.epoch) + 1
        with self._naming_lost_peers():
            self._train_until(epoch * self.n_batches)
            self._validate()
            self._save()

    def _train_until(self, last: int) -> None:
        self.step.train()
        loss = 0.0
        n_left = last - self.run.step
        progress = iter(
            ProgressBar(
                range(n_left), mesg=f"Epoch {last // self.n_batches}/{self.max_epochs}"
            )
            if self.ranks.first
            else range(n_left)
        )
        for part in self.batches.steps(self.run.step, last, self.device):
            loss += self._add_gradient(part)
            if not part.last:
                continue
            # one exchange tells the loss, and what any process is asked for
            wishes = [loss, float(self._is_due()), float(self._is_asked_to_stop())]
            loss, due, stopping = self.ranks.sum(wishes, self.device)
            self._update(loss)
            loss = 0.0
            next(progress)
            if due or stopping:
                self._save()
            if stopping:
                where = f" and saved in {self.directory}" if self.directory else ""
                raise StoppedError(
                    f"The run was stopped after step {self.run.step}{where}; the same "
                    "call continues it."
                )
        next(progress, None)  # which closes the bar

    def _add_gradient(self, part: Part) -> float:
        """Add the gradient of a part of a batch; give its share of the loss."""
        data, n_valid = part.windows, part.n_valid
        if self.augmentation is not None:
            data, n_valid = self.augmentation(data, n_valid, part.generator)
        config = self.model.config
        mask = draw_batch_masks(
            self.masking, n_valid, config, self.region_pos, part.generator
        )
        with without_exchange(self.step, not part.last):
            loss = self.step(data, n_valid, mask, self.bf16, False)
            # the mean over processes that follows makes it the sum of the shares
            (loss * (part.share * self.ranks.size)).backward()
        return float(loss.detach()) * part.share

    def _update(self, loss: float) -> None:
        """Step against the gradient of a whole batch."""
        run = self.run
        if not math.isfinite(loss):
            raise RuntimeError(
                f"Expected a finite loss, got {loss} in epoch "
                f"{len(self.history.epoch) + 1}, batch {run.step % self.n_batches}; "
                "lower lr, or look for artefacts in the data."
            )
        for group in run.optimizer.param_groups:
            group["lr"] = self.rate(run.step)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        run.step += 1
        run.total += loss

    def _validate(self) -> None:
        """Score what is held out, and keep the best weights."""
        settings, history, run = self.run.settings, self.history, self.run
        loss, r2 = validate(
            self.step,
            self.model.config,
            self.windows,
            self.valid,
            self.masking,
            self.region_pos,
            seed=settings["seed"],
            batch_size=settings["batch_size"],
            bf16=self.bf16,
            device=self.device,
            ranks=self.ranks,
        )
        better = loss < min(history.valid_loss, default=math.inf)
        history.append(
            epoch=len(history.epoch) + 1,
            train_loss=run.total / self.n_batches,
            valid_loss=loss,
            lr=self.rate(run.step - 1),
            r2=r2,
        )
        run.total = 0.0
        if better:
            run.best = run.weights()
        shares = ", ".join(f"{name} {value:.3f}" for name, value in r2.items())
        logger.info(
            f"Epoch {history.epoch[-1]}/{self.max_epochs}: train "
            f"{history.train_loss[-1]:.4f}, valid {loss:.4f}; R² {shares}"
        )

    def _is_due(self) -> bool:
        """Tell whether the first process wants to save."""
        if self.save_minutes is None or not self.ranks.first:
            return False
        return time.monotonic() - self._saved >= 60 * self.save_minutes

    def _is_asked_to_stop(self) -> bool:
        return self.stop is not None and bool(self.stop())

    def _save(self) -> None:
        if self.directory is not None:
            self.run.save(self.directory)
            self._saved = time.monotonic()

    @contextmanager
    def _naming_lost_peers(self) -> Iterator[None]:
        """Save what there is when another process is lost, and say so."""
        try:
            yield
        except RuntimeError as error:
            if self.ranks.size == 1 or not is_lost_peer(error):
                raise
            step, kept = self.run.step, "nothing was saved: give a directory"
            if self.directory is not None:
                kept = f"the run as last saved is in {self.directory}"
                if not self.run.is_sharded:
                    # every process has all of it, and the first may be the lost one
                    self.run.write(self.directory, self.run.state())
                    kept = f"the run is saved in {self.directory}"
            raise LostRankError(
                f"Expected all {self.ranks.size} processes to go on, but process "
                f"{self.ranks.number} lost another one after step {step} "
                f"({str(error).splitlines()[0]}); {kept}. Look for the first error in "
                "the log, and start the same command again to continue."
            ) from error
