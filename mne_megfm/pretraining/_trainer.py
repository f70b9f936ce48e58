"""The training loop: batches, steps, validation.

So a run can be taken up at any step, and each of several processes can draw what is
its own. A batch is cut into parts, which are the unit of both: one process computes
all parts in turn, or several some each, with the same result.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mne.utils import ProgressBar, logger
from torch import Tensor, nn

from ..models import (
    Backbone,
    BackboneConfig,
    Masks,
    WindowArray,
    WindowBatch,
    draw_masks_and_targets,
)
from ..store import ShardSampler, WindowStore
from ._objective import Objective
from ._reconstruction import Measured
from ._run import (
    History,
    LostRankError,
    Ranks,
    Run,
    is_lost_peer,
    is_sharded,
    without_exchange,
)

TRAINING, VALIDATION = 0, 1


class Part(NamedTuple):
    """Part of a batch."""

    step: int
    share: float  # of the batch's windows
    last: bool  # of this process's parts of the batch
    batch: WindowBatch
    generator: torch.Generator


class Labels:
    """What is known of the windows of a data set, as numbers.

    Parameters
    ----------
    windows : WindowArray | WindowStore
        The data.
    """

    def __init__(self, windows: WindowArray | WindowStore) -> None:
        array = getattr(windows, "array", None)
        if array is None and isinstance(windows, WindowStore):
            array = windows.table["array"].to_numpy(str)[windows.recording]
        self._numbers = {"recording": np.unique(windows.recording, return_inverse=True)}
        for name, known in (
            ("participant", getattr(windows, "participant", None)),
            ("state", windows.state),
            ("array", array),
        ):
            # of a store, an array that is not stated has no name
            if known is not None and np.asarray(known).astype(str).astype(bool).any():
                self._numbers[name] = np.unique(known, return_inverse=True)
        self._values = {
            name: np.asarray(known)
            for name in ("start", "targets")
            if (known := getattr(windows, name, None)) is not None
        }
        self.names = {
            name: tuple(map(str, known))
            for name, (known, _) in self._numbers.items()
            if name != "recording"
        }

    @property
    def has_targets(self) -> bool:
        """Whether there is something to predict of each window."""
        return "targets" in self._values

    def numbers(self, name: str) -> np.ndarray | None:
        """Give the number of each window's participant, say; None if not known."""
        return self._numbers[name][1] if name in self._numbers else None

    def batch(
        self,
        data: Tensor | np.ndarray,
        n_valid: Tensor | np.ndarray,
        index: np.ndarray,
        device: torch.device,
    ) -> WindowBatch:
        """Put windows and what is known of them together, on a device."""
        known = {name: which[index] for name, (_, which) in self._numbers.items()}
        known |= {name: values[index] for name, values in self._values.items()}
        return WindowBatch(
            torch.as_tensor(data).to(device),
            torch.as_tensor(n_valid).to(device),
            names=self.names,
            **{name: torch.as_tensor(v).to(device) for name, v in known.items()},
        )


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
    random_state : int
        Seed of the order and of the streams.
    ranks : Ranks
        This process among the others.
    pairs : str | None
        Of what windows come in pairs, see `Objective`.
    """

    def __init__(
        self,
        windows: WindowArray | WindowStore,
        index: np.ndarray,
        batch_size: int,
        n_parts: int,
        random_state: int,
        ranks: Ranks,
        pairs: str | None = None,
    ) -> None:
        self.windows = windows
        self.labels = Labels(windows)
        groups = None if pairs is None else self.labels.numbers(pairs)
        self.random_state = random_state
        #: The windows that all processes together go through.
        self.index = index
        self.parts = ranks.share(n_parts)
        self._samplers = [
            ShardSampler(
                index,
                batch_size,
                random_state=random_state,
                rank=part,
                world_size=n_parts,
                groups=None if groups is None else groups[index],
            )
            for part in self.parts
        ]
        #: Batches in a pass.
        self.n_batches = len(self._samplers[0])
        self._size, self._larger = divmod(len(index), self.n_batches)

    def steps(self, first: int, last: int, device: torch.device) -> Iterator[Part]:
        """Yield the parts of the batches of steps ``first`` to ``last - 1``."""
        asked: deque[np.ndarray] = deque()
        stream = self.windows.stream(_noted(self._indices(first, last), asked))
        for number, (data, n_valid) in enumerate(stream):
            step = first + number // len(self.parts)
            at = number % len(self.parts)
            size = self._size + (step % self.n_batches < self._larger)
            yield Part(
                step,
                len(data) / size,
                at == len(self.parts) - 1,
                self.labels.batch(data, n_valid, asked.popleft(), device),
                stream_of(self.random_state, TRAINING, step, self.parts[at]),
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


def _noted(
    indices: Iterator[np.ndarray], asked: deque[np.ndarray]
) -> Iterator[np.ndarray]:
    """Pass indices on, and keep those whose windows have not come yet."""
    for index in indices:
        asked.append(index)
        yield index


def warmup_cosine(step: int, n_steps: int, n_warmup: int) -> float:
    """Give the share of the highest learning rate: linear warm-up, then half a cosine.

    A function of the step alone, and not a scheduler of torch, which has a state: so a
    run can go on at any step.

    Parameters
    ----------
    step : int
        The step, counted from 0.
    n_steps, n_warmup : int
        Steps of the run, and those of the warm-up.

    Returns
    -------
    share : float
        From 1 / n_warmup up to 1, then down to 0.01.
    """
    if step < n_warmup:
        return (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.505 + 0.495 * math.cos(math.pi * min(done, 1.0))


def stream_of(random_state: int, *numbers: int) -> torch.Generator:
    """Make the random stream that belongs to some numbers."""
    state = np.random.SeedSequence([random_state, *numbers]).generate_state(
        1, np.uint64
    )
    return torch.Generator().manual_seed(int(state[0]))


MASKS_PER_BATCH = 8


class Step(nn.Module):
    """A model with its objective, as one module to call.

    Parameters
    ----------
    model : Backbone
        The model.
    objective : callable
        ``objective(model, batch) -> loss``.
    """

    def __init__(self, model: Backbone, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    @property
    def measures(self) -> bool:
        """Whether the objective tells how well hidden signal is predicted."""
        return hasattr(self.objective, "measure")

    def forward(
        self, batch: WindowBatch, bf16: bool, measure: bool
    ) -> Tensor | Measured:
        """Compute the loss, or all that the objective measures."""
        device = batch.windows.device.type
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            if measure and self.measures:
                return self.objective.measure(self.model, batch)
            loss = self.objective(self.model, batch)
        if not isinstance(loss, Tensor) or loss.shape:
            raise TypeError(
                f"Expected a loss of shape () of {self.objective!r}, got "
                f"{tuple(loss.shape) if isinstance(loss, Tensor) else repr(loss)}; "
                "average it over the windows."
            )
        return Measured(loss, None, None) if measure else loss


def n_views(objective: Objective) -> int:
    """Tell how many views of each window an objective takes, 1 or 2."""
    return getattr(objective, "n_views", 1)


def pairs_of(objective: Objective) -> str | None:
    """Tell of what windows of a batch are to come in pairs; None if they need not."""
    return getattr(objective, "pairs", None)


def check_targets(labels: Labels, objective: Objective) -> None:
    """Check that windows have targets, where the objective asks for them.

    Raises
    ------
    ValueError
        If they have none.
    """
    if getattr(objective, "needs_targets", False) and not labels.has_targets:
        raise ValueError(
            f"Expected targets of all windows (embeddings of what was shown, say) for "
            f"{objective!r}, got none; give them as y in fit, as embeddings of "
            "prepare, or with WindowStore.append, or take another objective."
        )


def check_pairs(
    labels: Labels, pairs: str, train: np.ndarray, valid: np.ndarray, part_size: int
) -> None:
    """Check that batches can have pairs, and others to tell them from.

    Parameters
    ----------
    labels : Labels
        What is known of the windows.
    pairs : str
        What the pairs are of.
    train, valid : array of int
        Windows to train on, and those held out.
    part_size : int
        Windows that are compared with each other.

    Raises
    ------
    ValueError
        If they cannot.
    """
    numbers = labels.numbers(pairs)
    if numbers is None:
        raise ValueError(
            f"Expected windows whose {pairs} is known, since the objective compares "
            f"two windows of one {pairs} with those of others, got none; give a list "
            "of recordings with an element for each participant, a store, or another "
            "objective."
        )
    if part_size < 4:
        raise ValueError(
            f"Expected at least 4 windows of a batch together for pairs of one {pairs} "
            f"beside others, got {part_size}; raise batch_size, or lower accumulate."
        )
    for index, name in ((train, "to train on"), (valid, "held out")):
        sizes = np.unique(numbers[index], return_counts=True)[1]
        if len(sizes) < 2 or sizes.max() < 2:
            raise ValueError(
                f"Expected windows {name} with two of one {pairs} at least, beside "
                f"another {pairs}, got {sizes.sum()} windows of {len(sizes)}; give "
                "more recordings, change validation_fraction, or take another "
                "objective."
            )


def draw_batch_masks(
    masking: Callable[..., Tensor],
    n_valid: Tensor,
    config: BackboneConfig,
    region_pos: Tensor,
    generator: torch.Generator,
) -> Masks:
    """Draw the masks of a batch; neighbours in it share them.

    Field interpolation solves a system for each mask, so that fewer are quicker.
    """
    n = len(n_valid)
    n_masks = min(n, MASKS_PER_BATCH)
    drawn = draw_masks_and_targets(
        masking, n_masks, n_valid, config, region_pos, generator
    )
    times, device = -(-n // n_masks), n_valid.device
    return Masks(*(m.repeat_interleave(times, 0)[:n].to(device) for m in drawn))


# windows that an objective looks at before training, at most
_N_LOOKED_AT = 512


def look_at_windows(
    windows: WindowArray | WindowStore,
    batches: Batches,
    random_state: int,
    device: torch.device,
) -> WindowBatch:
    """Draw windows to train on for ``fit`` of objectives, the same in each process."""
    index = choose_windows(batches.index, _N_LOOKED_AT, random_state)
    return batches.labels.batch(*windows.take(index), index, device)


ALL = "all"


def choose_windows(
    index: np.ndarray, most: int | None, random_state: int
) -> np.ndarray:
    """Draw windows to validate on, where there are more than wanted."""
    if most is None or len(index) <= most:
        return index
    return np.sort(
        np.random.default_rng([random_state, 2]).choice(index, most, replace=False)
    )


def validate(
    step: nn.Module,
    objective: Objective,
    config: BackboneConfig,
    windows: WindowArray | WindowStore,
    labels: Labels,
    index: np.ndarray,
    masking: Callable[..., Tensor],
    region_pos: Tensor,
    *,
    random_state: int,
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
        Empty for an objective that predicts no signal.
    """
    measures = hasattr(objective, "measure")
    states = None if windows.state is None else np.asarray(windows.state)[index]
    names = [ALL] if states is None else [ALL, *np.unique(states).tolist()]
    pairs = pairs_of(objective)
    if pairs is None:
        # small batches draw more masks, of every kind
        batch_size = max(1, min(batch_size, len(index) // 8))
        cuts = np.arange(batch_size, len(index), batch_size)
        parts = np.split(np.arange(len(index)), cuts)
    else:
        groups = labels.numbers(pairs)[index]
        parts = list(ShardSampler(len(index), batch_size, groups=groups).epoch(0))
    starts = np.cumsum([0, *map(len, parts)])
    # error and power by state, then the loss
    sums = np.zeros(2 * len(names) + 1)
    step.eval()
    # sharded parameters cannot be gathered in inference mode
    sharded = any(is_sharded(p) for p in step.parameters())
    with torch.no_grad() if sharded else torch.inference_mode():
        # all processes take as many turns: sharded parameters are gathered in each
        for turn in range(-(-len(parts) // ranks.size)):
            number = turn * ranks.size + ranks.number
            counts = number < len(parts)
            number = min(number, len(parts) - 1)
            part, start = parts[number], int(starts[number])
            batch = labels.batch(*windows.take(index[part]), index[part], device)
            generator = stream_of(random_state, VALIDATION, start)
            mask, scored = draw_batch_masks(
                masking, batch.n_valid, config, region_pos, generator
            )
            if n_views(objective) > 1:
                other = draw_batch_masks(
                    masking, batch.n_valid, config, region_pos, generator
                )
                view = replace(batch, mask=other.hidden, scored=other.targets)
                batch = replace(batch, view=view)
            got = step(replace(batch, mask=mask, scored=scored), bf16, True)
            if not counts:
                continue
            sums[-1] += float(got.loss) * len(batch)
            if not measures:
                continue
            for i, name in enumerate(names):
                chosen = slice(None)
                if name != ALL:
                    chosen = torch.from_numpy(states[part] == name).to(device)
                sums[2 * i] += float(got.error[chosen].sum(dtype=torch.float64))
                sums[2 * i + 1] += float(got.power[chosen].sum(dtype=torch.float64))
    *sums, loss = ranks.sum(sums.tolist(), device)
    if not measures:
        return loss / len(index), {}
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
    model : Backbone
        The model.
    objective : callable
        The objective.
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

    model: Backbone
    objective: Objective
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
            outcome = self._validate()
            self._save()
        logger.info(outcome)  # once it will not be lost

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
        batch = self._view(part)
        if n_views(self.objective) > 1:
            batch = replace(batch, view=self._view(part))
        with without_exchange(self.step, not part.last):
            loss = self.step(batch, self.bf16, False)
            # the mean over processes that follows makes it the sum of the shares
            (loss * (part.share * self.ranks.size)).backward()
        return float(loss.detach()) * part.share

    def _view(self, part: Part) -> WindowBatch:
        """Draw the augmentation and the masks of a batch."""
        data, n_valid = part.batch.windows, part.batch.n_valid
        if self.augmentation is not None:
            data, n_valid = self.augmentation(data, n_valid, part.generator)
        mask, scored = draw_batch_masks(
            self.masking, n_valid, self.model.config, self.region_pos, part.generator
        )
        return replace(
            part.batch, windows=data, n_valid=n_valid, mask=mask, scored=scored
        )

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
        torch.nn.utils.clip_grad_norm_(self.step.parameters(), self.clip)
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        if hasattr(self.objective, "after_step"):
            self.objective.after_step(self.model)
        run.step += 1
        run.total += loss

    def _validate(self) -> str:
        """Score what is held out, keep the best weights, and say how it went."""
        settings, history, run = self.run.settings, self.history, self.run
        loss, r2 = validate(
            self.step,
            self.objective,
            self.model.config,
            self.windows,
            self.batches.labels,
            self.valid,
            self.masking,
            self.region_pos,
            random_state=settings["random_state"],
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
        return (
            f"Epoch {history.epoch[-1]}/{self.max_epochs}: train "
            f"{history.train_loss[-1]:.4f}, valid {loss:.4f}"
            f"{f'; R² {shares}' if shares else ''}"
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
