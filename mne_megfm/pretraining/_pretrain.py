"""The training loop.

A plain loop rather than skorch's: masks are drawn per batch, there is no label, an
interrupted run must continue to the same weights, and that is shorter to say here
than to bend a supervised trainer to it. (Supervised fine-tuning is skorch's field.)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mne.utils import logger
from torch import Tensor, nn

from ..models import Backbone, MaskedSignalTransformer, WindowArray
from ..store import WindowStore
from ._distributed import Ranks, hold, replicate, shard
from ._objective import MaskedReconstruction, Objective, resolve_objective
from ._run import FILE, Run
from ._settings import check_settings
from ._trainer import Batches, Step, Trainer, choose_windows, warmup_cosine
from .history import History


def pretrain(
    model: Backbone,
    windows: WindowArray | WindowStore,
    region_pos: Tensor,
    *,
    masking: Callable[..., Tensor],
    objective: Objective,
    augmentation: Callable[..., tuple[Tensor, Tensor]] | None = None,
    max_epochs: int = 50,
    steps_per_epoch: int | None = None,
    batch_size: int = 64,
    accumulate: int | None = None,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    clip: float = 1.0,
    warmup: float = 0.05,
    validation_fraction: float = 0.1,
    max_valid: int | None = None,
    patience: int | None = None,
    bf16: bool = False,
    compiled: bool = False,
    sharded: bool = False,
    random_state: int = 0,
    directory: str | os.PathLike | None = None,
    save_minutes: float | None = None,
    stop: Callable[[], bool] | None = None,
    after_epoch: Callable[[History, dict[str, Tensor]], None] | None = None,
) -> History:
    """Train a model for an objective, such as to predict hidden from visible signal.

    AdamW [1]_ with linear warm-up and cosine decay. The weights of the epoch with
    the least loss on held-out recordings are kept. With a ``directory``, the run is
    saved after every epoch, and between if ``save_minutes`` are over, and continues
    from there when called again; on one CPU process it ends with the same weights as
    an uninterrupted run, bit by bit.

    Where torch.distributed has been initialised, as `pretrain_store` does under
    ``torchrun``, each process computes its share of every batch.

    Parameters
    ----------
    model : Backbone
        The model, trained in place.
    windows : WindowArray | WindowStore
        What to train on.
    region_pos : Tensor, shape (n_regions, 3)
        Positions of the regions in m, for block masks.
    masking : callable
        Draws masks, see ``MixedMasking``.
    objective : callable
        ``objective(model, batch) -> loss``, see
        :class:`~mne_megfm.pretraining.Objective` and
        ``MaskedReconstruction``.
    augmentation : callable, optional
        Changes training batches, see
        ``NoiseAndCropping``.
    max_epochs : int
        Epochs to train at most.
    steps_per_epoch : int, optional
        Batches in an epoch; by default as many as go through all windows once.
    batch_size : int
        Windows in a batch at most, over all processes.
    accumulate : int, optional
        Parts that a batch is computed in, to need less memory; a multiple of the
        number of processes, which it is by default. Random masks are drawn for each
        part, so that results depend on it, but not on the number of processes.
    lr : float
        Highest learning rate.
    weight_decay : float
        Decay of matrices.
    clip : float
        Largest norm of the gradient.
    warmup : float
        Share of all steps with a rising learning rate.
    validation_fraction : float
        Share of the recordings (of the participants, in a store) held out.
    max_valid : int, optional
        Windows of those to validate on, drawn once, where there are more.
    patience : int, optional
        Stop after so many epochs without a lower loss on held-out recordings.
    bf16 : bool
        Whether to use bfloat16 autocast, quick where the hardware has it.
    compiled : bool
        Whether to compile the layers of the model (``torch.compile``); needs a
        compiler, and a resumed run may differ by rounding.
    sharded : bool
        Whether processes share parameters and optimiser out among them (FSDP2)
        rather than hold a copy each, for models too large for one device.
    random_state : int
        Seed of the split, the order and the masks.
    directory : path-like, optional
        Where to keep the run.
    save_minutes : float, optional
        Save the run also within an epoch, when so many minutes have passed.
    stop : callable, optional
        Asked after each step; once it gives True, in any process, the run is saved
        and `StoppedError` raised.
    after_epoch : callable, optional
        Called after each epoch in the first process, with the history and the best
        weights so far.

    Returns
    -------
    history : History
        Losses of every epoch.

    Raises
    ------
    ValueError
        If a number is out of range, there are too few windows, some have changed since
        they were written, or the folder holds another run or a damaged one.
    RuntimeError
        If the loss is not finite, the run was asked to stop (`StoppedError`), another
        process is lost (`LostRankError`), or another run is writing to the folder.

    References
    ----------
    .. [1] Loshchilov & Hutter (2019), "Decoupled weight decay regularization",
       ICLR, algorithm 2.

    Examples
    --------
    >>> import mne, numpy as np, torch
    >>> from mne_megfm.models import (
    ...     MaskedSignalTransformer,
    ...     MixedMasking,
    ...     ModelConfig,
    ...     WindowArray,
    ... )
    >>> from mne_megfm import pretraining
    >>> rng = np.random.default_rng(0)
    >>> windows = WindowArray(
    ...     rng.standard_normal((8, 192, 250)).astype(np.float16), unit=1e-13
    ... )
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> with mne.utils.use_log_level("error"):
    ...     history = pretraining.pretrain(
    ...         model,
    ...         windows,
    ...         torch.randn(24, 3),
    ...         masking=MixedMasking(),
    ...         objective=pretraining.MaskedReconstruction(),
    ...         max_epochs=2,
    ...     )
    >>> history.epoch
    [1, 2]
    """
    ranks = Ranks()
    objective = resolve_objective(objective)
    check_settings(
        max_epochs=max_epochs,
        lr=lr,
        weight_decay=weight_decay,
        clip=clip,
        warmup=warmup,
        max_valid=max_valid,
        patience=patience,
        bf16=bf16,
        compiled=compiled,
        sharded=sharded,
        **({} if save_minutes is None else {"save_minutes": save_minutes}),
    )
    batches, valid = plan_batches(
        model,
        windows,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        accumulate=accumulate,
        validation_fraction=validation_fraction,
        random_state=random_state,
    )
    n_batches = steps_per_epoch or batches.n_batches
    settings = {
        "n_windows": len(windows),
        "data": getattr(windows, "fingerprint", None),
        "max_epochs": max_epochs,
        "steps_per_epoch": n_batches,
        "batch_size": batch_size,
        "accumulate": ranks.size if accumulate is None else accumulate,
        "lr": lr,
        "weight_decay": weight_decay,
        "clip": clip,
        "warmup": warmup,
        "validation_fraction": validation_fraction,
        "max_valid": max_valid,
        "bf16": bf16,
        "random_state": random_state,
        "masking": repr(masking),
        "objective": repr(objective),
        "augmentation": repr(augmentation),
        "model": model.config.to_dict(),
    }
    directory = None if directory is None else Path(directory).expanduser()
    with hold(directory, ranks, model.kernel.device):
        step = _prepare(model, objective, compiled, sharded, ranks)
        run = Run(model, lr, weight_decay, settings, objective)
        if directory is not None and (directory / FILE).is_file():
            run.load(directory)
            logger.info(
                f"Continuing in epoch {len(run.history.epoch) + 1} of {max_epochs}, "
                f"after step {run.step}."
            )
        n_steps = n_batches * max_epochs
        n_warmup = max(1, round(warmup * n_steps))
        trainer = Trainer(
            model=model,
            objective=objective,
            step=step,
            run=run,
            ranks=ranks,
            windows=windows,
            batches=batches,
            valid=choose_windows(valid, max_valid, random_state),
            region_pos=region_pos,
            masking=masking,
            augmentation=augmentation,
            rate=lambda number: lr * warmup_cosine(number, n_steps, n_warmup),
            n_batches=n_batches,
            directory=directory,
            save_minutes=save_minutes,
            stop=stop,
        )
        history = run.history
        while len(history.epoch) < max_epochs:
            if patience is not None and len(history.epoch) - _best(history) >= patience:
                break
            trainer.train_epoch()
            if after_epoch is not None and ranks.first:
                after_epoch(history, run.best)
        run.set_weights(run.best)
        model.eval()
        return history


def plan_batches(
    model: Backbone,
    windows: WindowArray | WindowStore,
    *,
    steps_per_epoch: int | None,
    batch_size: int,
    accumulate: int | None,
    validation_fraction: float,
    random_state: int,
) -> tuple[Batches, np.ndarray]:
    """Split the data and plan the batches of a run; nothing is computed or written.

    Parameters
    ----------
    model, windows, steps_per_epoch, batch_size, accumulate : object
        See `pretrain`.
    validation_fraction, random_state : float, int
        See `pretrain`.

    Returns
    -------
    batches : Batches
        What this process trains on.
    valid : array of int
        Windows held out.

    Raises
    ------
    ValueError
        If a number is out of range, or they do not go with the data or the number of
        processes.
    """
    ranks = Ranks()
    check_settings(
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        accumulate=accumulate,
        validation_fraction=validation_fraction,
        random_state=random_state,
    )
    n_parts = ranks.size if accumulate is None else accumulate
    if n_parts % ranks.size or batch_size % n_parts:
        raise ValueError(
            f"Expected batch_size to be a multiple of accumulate, and that of the "
            f"{ranks.size} processes (accumulate=None takes their number), got "
            f"{batch_size} and {accumulate}; change one of them."
        )
    if len(windows) < 2:
        raise ValueError(
            f"Expected at least 2 windows to pretrain on, got {len(windows)}; give "
            "more data."
        )
    if not (windows.n_valid >= model.config.patch_length).any():
        raise ValueError(
            "Expected windows with at least one whole patch of "
            f"{model.config.patch_length} samples at {model.config.sfreq:g} Hz, got at "
            f"most {max(windows.n_valid)} samples; give longer epochs."
        )
    train, valid = windows.split(validation_fraction, random_state)
    return Batches(windows, train, batch_size, n_parts, random_state, ranks), valid


def _prepare(
    model: Backbone,
    objective: Objective,
    compiled: bool,
    sharded: bool,
    ranks: Ranks,
) -> nn.Module:
    """Make the module that this process calls: compiled, copied or sharded."""
    if compiled:
        for layer in model.layers():
            # the number of visible tokens differs from batch to batch
            layer.compile(dynamic=True)
    step = Step(model, objective).to(model.kernel.device)
    if ranks.size == 1:
        return step
    if sharded:
        shard(model, step)
        return step
    built_in = type(model) is MaskedSignalTransformer
    all_used = built_in and isinstance(objective, MaskedReconstruction)
    return replicate(step, model.kernel.device, all_used=all_used)


def _best(history: History) -> int:
    return history.best_epoch if history.epoch else 0
