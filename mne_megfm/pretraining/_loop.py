"""The training loop.

A plain loop rather than skorch's: masks are drawn per batch, there is no label, an
interrupted run must continue to the same weights, and that is shorter to say here
than to bend a supervised trainer to it. (Supervised fine-tuning is skorch's field.)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mne.utils import ProgressBar, logger
from torch import Tensor

from ..models import MaskedSignalTransformer, to_patches
from ._history import History
from ._masking import draw_masks
from ._run import FILE, Run
from ._windows import WindowArray

MASKS_PER_BATCH = 8


def _device_batch(
    windows: WindowArray, index: np.ndarray, device: torch.device
) -> tuple[Tensor, Tensor]:
    data, n_valid = windows.take(index)
    return data.to(device), n_valid.to(device)


def _rate(step: int, n_steps: int, n_warmup: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < n_warmup:
        return (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _loss(
    model: MaskedSignalTransformer,
    batch: tuple[Tensor, Tensor],
    masking: Callable[..., Tensor],
    objective: Callable[..., Tensor],
    region_pos: Tensor,
    generator: torch.Generator,
    bf16: bool,
) -> Tensor:
    data, n_valid = batch
    n = len(data)
    # neighbours in the batch share masks: field interpolation solves once a mask
    n_masks = min(n, MASKS_PER_BATCH)
    masks = draw_masks(masking, n_masks, n_valid, model.config, region_pos, generator)
    mask = masks.repeat_interleave(-(-n // n_masks), 0)[:n].to(data.device)
    scaled, hidden = model.scale(data, n_valid, mask)
    target = to_patches(scaled.windows, model.config)
    with torch.autocast(data.device.type, torch.bfloat16, enabled=bf16):
        predicted = model.predict_patches(target, hidden)
    # hidden holds what was never recorded, too: nothing to compare with there
    compared = mask & _recorded(model, n_valid)
    if not compared.any():  # a mean over nothing would be NaN
        return predicted.sum() * 0.0
    return objective(predicted, target, compared)


def _recorded(model: MaskedSignalTransformer, n_valid: Tensor) -> Tensor:
    config = model.config
    ends = torch.arange(1, config.n_patches + 1, device=n_valid.device)
    return (ends * config.patch_length <= n_valid[:, None])[:, None]


def pretrain(
    model: MaskedSignalTransformer,
    windows: WindowArray,
    region_pos: Tensor,
    *,
    masking: Callable[..., Tensor],
    objective: Callable[..., Tensor],
    augmentation: Callable[..., tuple[Tensor, Tensor]] | None = None,
    max_epochs: int = 50,
    schedule_epochs: int | None = None,
    steps_per_epoch: int | None = None,
    batch_size: int = 64,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    clip: float = 1.0,
    warmup: float = 0.05,
    valid_fraction: float = 0.1,
    patience: int | None = None,
    bf16: bool = False,
    seed: int = 0,
    directory: str | os.PathLike | None = None,
) -> History:
    """Train a model to predict hidden signal from visible signal.

    AdamW [1]_ with linear warm-up and cosine decay. The weights of the epoch with
    the least loss on held-out recordings are kept. With a ``directory``, the run is
    saved after every epoch and continues from there when called again; on one CPU
    thread pool it ends with the same weights as an uninterrupted run.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The model, trained in place.
    windows : WindowArray
        What to train on.
    region_pos : Tensor, shape (n_regions, 3)
        Positions of the regions in m, for block masks.
    masking : callable
        Draws masks, see :class:`~mne_megfm.pretraining.MixedMasking`.
    objective : callable
        The loss, see :class:`~mne_megfm.pretraining.SignalSpectrumLoss`.
    augmentation : callable, optional
        Changes training batches, see
        :class:`~mne_megfm.pretraining.NoiseAndCropping`.
    max_epochs : int
        Epochs to train at most.
    schedule_epochs : int, optional
        Epochs that the learning rate falls over; ``max_epochs`` by default.
    steps_per_epoch : int, optional
        Batches in an epoch; by default as many as go through all windows once.
    batch_size : int
        Windows in a batch.
    lr : float
        Highest learning rate.
    weight_decay : float
        Decay of matrices.
    clip : float
        Largest norm of the gradient.
    warmup : float
        Share of all steps with a rising learning rate.
    valid_fraction : float
        Share of the recordings held out.
    patience : int, optional
        Stop after so many epochs without a lower loss on held-out recordings.
    bf16 : bool
        Whether to use bfloat16 autocast, quick where the hardware has it.
    seed : int
        Seed of the split, the order and the masks.
    directory : path-like, optional
        Where to keep the run.

    Returns
    -------
    history : History
        Losses of every epoch.

    Raises
    ------
    ValueError
        If there are too few windows, or the folder holds another run.
    RuntimeError
        If the loss is not finite.

    References
    ----------
    .. [1] Loshchilov & Hutter (2019), "Decoupled weight decay regularization",
       ICLR, algorithm 2.

    Examples
    --------
    >>> import mne, numpy as np, torch
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm import pretraining
    >>> rng = np.random.default_rng(0)
    >>> windows = pretraining.WindowArray(
    ...     rng.standard_normal((8, 192, 250)).astype(np.float16), unit=1e-13
    ... )
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> with mne.utils.use_log_level("error"):
    ...     history = pretraining.pretrain(
    ...         model,
    ...         windows,
    ...         torch.randn(24, 3),
    ...         masking=pretraining.MixedMasking(),
    ...         objective=pretraining.SignalSpectrumLoss(),
    ...         max_epochs=2,
    ...     )
    >>> history.epoch
    [1, 2]
    """
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
    device = next(model.parameters()).device
    train, valid = windows.split(valid_fraction, seed)
    n_batches = steps_per_epoch or math.ceil(len(train) / batch_size)
    n_steps = n_batches * (schedule_epochs or max_epochs)
    n_warmup = max(1, round(warmup * n_steps))
    settings = {
        "n_windows": len(windows),
        "max_epochs": max_epochs,
        "schedule_epochs": schedule_epochs,
        "steps_per_epoch": n_batches,
        "batch_size": batch_size,
        "lr": lr,
        "weight_decay": weight_decay,
        "clip": clip,
        "warmup": warmup,
        "valid_fraction": valid_fraction,
        "bf16": bf16,
        "seed": seed,
        "masking": repr(masking),
        "objective": repr(objective),
        "augmentation": repr(augmentation),
        "model": model.config.to_dict(),
    }
    run = Run(model, lr, weight_decay, settings)
    directory = None if directory is None else Path(directory).expanduser()
    if directory is not None and (directory / FILE).is_file():
        run.load(directory)
        logger.info(f"Continuing after epoch {len(run.history.epoch)} of {max_epochs}")
    history = run.history
    common = (masking, objective, region_pos)
    first = len(history.epoch) + 1
    for epoch in range(first, max_epochs + 1):
        if patience is not None and epoch - 1 - _best(history) >= patience:
            break
        # an epoch's stream depends on its number alone, so that runs can resume
        rng = np.random.default_rng([seed, epoch])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        order = np.concatenate(
            [
                rng.permutation(train)
                for _ in range(math.ceil(n_batches * batch_size / len(train)))
            ]
        )
        model.train()
        total = 0.0
        for number in ProgressBar(range(n_batches), mesg=f"Epoch {epoch}/{max_epochs}"):
            index = order[number * batch_size : (number + 1) * batch_size]
            for group in run.optimizer.param_groups:
                group["lr"] = lr * _rate(run.step, n_steps, n_warmup)
            batch = _device_batch(windows, index, device)
            if augmentation is not None:
                batch = augmentation(*batch, generator)
            loss = _loss(model, batch, *common, generator, bf16)
            if not bool(torch.isfinite(loss)):
                raise RuntimeError(
                    f"Expected a finite loss, got {float(loss.detach())} in epoch "
                    f"{epoch}, batch {number}; lower lr, or look for artefacts in the "
                    "data."
                )
            run.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            run.optimizer.step()
            run.step += 1
            total += float(loss.detach())
        valid_loss = validation_loss(
            model, windows, valid, *common, seed=seed, batch_size=batch_size, bf16=bf16
        )
        best = min(history.valid_loss, default=math.inf)
        history.append(
            epoch=epoch,
            train_loss=total / n_batches,
            valid_loss=valid_loss,
            lr=run.optimizer.param_groups[0]["lr"],
        )
        if valid_loss < best:
            run.best = {k: v.clone() for k, v in model.state_dict().items()}
        logger.info(
            f"Epoch {epoch}/{max_epochs}: train {total / n_batches:.4f}, "
            f"valid {valid_loss:.4f}"
        )
        if directory is not None:
            run.save(directory)
    model.load_state_dict(run.best)
    model.eval()
    return history


def _best(history: History) -> int:
    return history.best_epoch if history.epoch else 0


def validation_loss(
    model: MaskedSignalTransformer,
    windows: WindowArray,
    index: np.ndarray,
    masking: Callable[..., Tensor],
    objective: Callable[..., Tensor],
    region_pos: Tensor,
    *,
    seed: int = 0,
    batch_size: int = 64,
    bf16: bool = False,
) -> float:
    """Compute the loss over given windows with masks that depend on the seed alone.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The model.
    windows : WindowArray
        The data.
    index : array of int
        Which windows.
    masking, objective : callable
        Mask and loss.
    region_pos : Tensor, shape (n_regions, 3)
        Positions of the regions in m.
    seed : int
        Seed of the masks.
    batch_size : int
        Windows at a time.
    bf16 : bool
        Whether to use bfloat16 autocast.

    Returns
    -------
    loss : float
        Mean over windows.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    # small batches draw more masks, of every kind
    batch_size = max(1, min(batch_size, len(index) // 8))
    model.eval()
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(index), batch_size):
            part = index[start : start + batch_size]
            batch = _device_batch(windows, part, device)
            loss = _loss(model, batch, masking, objective, region_pos, generator, bf16)
            total += float(loss) * len(part)
    return total / len(index)
