"""The training loop: batches, steps, validation.

So a run can be taken up at any step, and each of several processes can draw what is
its own. A batch is cut into parts, which are the unit of both: one process computes
all parts in turn, or several some each, with the same result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mne.utils import ProgressBar, logger
from torch import Tensor, nn

from ..models import (
    MaskedSignalTransformer,
    ModelConfig,
    WindowArray,
    draw_masks,
    to_patches,
)
from ..store import ShardSampler, WindowStore
from ._distributed import (
    LostRankError,
    Ranks,
    is_lost_peer,
    is_parted,
    without_exchange,
)
from ._run import Run
from .history import History

TRAINING, VALIDATION = 0, 1


class Part(NamedTuple):
    """Part of a batch."""

    step: int
    share: float  # of the batch's windows
    last: bool  # of this process's parts of the batch
    windows: Tensor  # (n, n_sensors, n_times), tesla
    n_valid: Tensor  # (n,)
    generator: torch.Generator


class Batches:
    """The parts of any steps' batches that one process computes.

    Windows come once in each pass, in an order drawn at random for each.

    Parameters
    ----------
    windows : WindowArray | WindowStore
        The data.
    index : array of int
        The windows to go through.
    batch_size : int
        Windows in a batch at most.
    n_parts : int
        Parts of a batch, a multiple of the number of processes.
    seed : int
        Seed of the order and of the streams.
    ranks : Ranks
        This process among the others.
    """

    def __init__(
        self,
        windows: WindowArray | WindowStore,
        index: np.ndarray,
        batch_size: int,
        n_parts: int,
        seed: int,
        ranks: Ranks,
    ) -> None:
        self.windows = windows
        self.seed = seed
        self.parts = ranks.share(n_parts)
        self._samplers = [
            ShardSampler(index, batch_size, seed=seed, rank=part, world_size=n_parts)
            for part in self.parts
        ]
        #: Batches in a pass.
        self.n_batches = len(self._samplers[0])
        self._size, self._larger = divmod(len(index), self.n_batches)

    def steps(self, first: int, last: int, device: torch.device) -> Iterator[Part]:
        """Yield the parts of the batches of steps ``first`` to ``last - 1``."""
        stream = self.windows.stream(self._indices(first, last))
        for number, (data, n_valid) in enumerate(stream):
            step = first + number // len(self.parts)
            at = number % len(self.parts)
            size = self._size + (step % self.n_batches < self._larger)
            yield Part(
                step,
                len(data) / size,
                at == len(self.parts) - 1,
                torch.as_tensor(data).to(device),
                torch.as_tensor(n_valid).to(device),
                stream_of(self.seed, TRAINING, step, self.parts[at]),
            )

    def _indices(self, first: int, last: int) -> Iterator[np.ndarray]:
        step = first
        while step < last:
            number, skipped = divmod(step, self.n_batches)
            # an epoch of the sampler is a pass; its number, too, counts from 1
            of_parts = zip(*(s.epoch(number + 1) for s in self._samplers), strict=True)
            for position, parts in enumerate(of_parts):
                if position >= skipped and step < last:
                    yield from parts
                    step += 1


def stream_of(seed: int, *numbers: int) -> torch.Generator:
    """Make the random stream that belongs to some numbers."""
    state = np.random.SeedSequence([seed, *numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


MASKS_PER_BATCH = 8


class Measured(NamedTuple):
    """How well a batch is predicted."""

    loss: Tensor  # ()
    error: Tensor  # (n,), squared error of each window, in units of scale squared
    power: Tensor  # (n,), what predicting nothing would leave


class Step(nn.Module):
    """A model with its objective, as one module to call.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The model.
    objective : callable
        The loss.
    """

    def __init__(
        self, model: MaskedSignalTransformer, objective: Callable[..., Tensor]
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, data: Tensor, n_valid: Tensor, mask: Tensor, bf16: bool, measure: bool
    ) -> Tensor | Measured:
        """Compute the loss where ``mask`` hides what was recorded."""
        model = self.model
        scaled, hidden = model.scale(data, n_valid, mask)
        target = to_patches(scaled.windows, model.config)
        with torch.autocast(data.device.type, torch.bfloat16, enabled=bf16):
            predicted = model.predict_patches(target, hidden)
        # hidden holds what was never recorded, too: nothing to compare with there
        compared = mask & _recorded(model.config, n_valid)
        if compared.any():
            loss = self.objective(predicted, target, compared)
        else:  # a mean over nothing would be NaN
            loss = predicted.sum() * 0.0
        if not measure:
            return loss
        # squares of tesla underflow in float32: compare at network scale
        unit = (scaled.unit / model.config.scale)[..., None, None]
        at = compared[..., None, None]
        error, power = (
            torch.where(at, x * unit, 0.0).square().sum((1, 2, 3, 4))
            for x in (predicted - target, target)
        )
        return Measured(loss, error, power)


def _recorded(config: ModelConfig, n_valid: Tensor) -> Tensor:
    ends = torch.arange(1, config.n_patches + 1, device=n_valid.device)
    return (ends * config.patch_length <= n_valid[:, None])[:, None]


def draw_batch_masks(
    masking: Callable[..., Tensor],
    n_valid: Tensor,
    config: ModelConfig,
    region_pos: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Draw the masks of a batch; neighbours in it share them.

    Field interpolation solves a system for each mask, so that fewer are quicker.
    """
    n = len(n_valid)
    n_masks = min(n, MASKS_PER_BATCH)
    masks = draw_masks(masking, n_masks, n_valid, config, region_pos, generator)
    return masks.repeat_interleave(-(-n // n_masks), 0)[:n].to(n_valid.device)


ALL = "all"


def choose_windows(index: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    """Draw windows to validate on, where there are more than wanted."""
    if most is None or len(index) <= most:
        return index
    return np.sort(np.random.default_rng([seed, 2]).choice(index, most, replace=False))


def validate(
    step: nn.Module,
    config: ModelConfig,
    windows: WindowArray | WindowStore,
    index: np.ndarray,
    masking: Callable[..., Tensor],
    region_pos: Tensor,
    *,
    seed: int,
    batch_size: int,
    bf16: bool,
    device: torch.device,
    ranks: Ranks,
) -> tuple[float, dict[str, float]]:
    """Compute the loss and R² by state, over all processes.

    Returns
    -------
    loss : float
        Mean over windows.
    r2 : dict
        Explained share of the hidden field for ``"all"`` and each state, with the
        masks of training, by the network alone: ``1 - sum (b - b_hat)^2 / sum b^2``.
    """
    states = None if windows.state is None else np.asarray(windows.state)[index]
    names = [ALL] if states is None else [ALL, *np.unique(states).tolist()]
    # small batches draw more masks, of every kind
    batch_size = max(1, min(batch_size, len(index) // 8))
    starts = range(0, len(index), batch_size)
    # error and power by state, then the loss
    sums = np.zeros(2 * len(names) + 1)
    step.eval()
    # sharded parameters cannot be gathered in inference mode
    parted = any(is_parted(p) for p in step.parameters())
    with torch.no_grad() if parted else torch.inference_mode():
        # all processes take as many turns: sharded parameters are gathered in each
        for turn in range(-(-len(starts) // ranks.size)):
            number = turn * ranks.size + ranks.number
            counts = number < len(starts)
            start = starts[number if counts else -1]
            part = slice(start, start + batch_size)
            data, n_valid = (
                torch.as_tensor(x).to(device) for x in windows.take(index[part])
            )
            generator = stream_of(seed, VALIDATION, start)
            mask = draw_batch_masks(masking, n_valid, config, region_pos, generator)
            got = step(data, n_valid, mask, bf16, True)
            if not counts:
                continue
            sums[-1] += float(got.loss) * len(data)
            for i, name in enumerate(names):
                chosen = slice(None)
                if name != ALL:
                    chosen = torch.from_numpy(states[part] == name).to(device)
                sums[2 * i] += float(got.error[chosen].sum(dtype=torch.float64))
                sums[2 * i + 1] += float(got.power[chosen].sum(dtype=torch.float64))
    *sums, loss = ranks.sum(sums.tolist(), device)
    r2 = {
        name: 1.0 - error / power if power else float("nan")
        for name, error, power in zip(names, sums[::2], sums[1::2], strict=True)
    }
    return loss / len(index), r2


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
