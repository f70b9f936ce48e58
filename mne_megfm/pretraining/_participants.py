"""Pretraining of the participant encoder: hide whole trials, predict them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mne.utils import ProgressBar, logger
from torch import Tensor
from torch.nn import functional as F

from ..models import ParticipantTransformer, Trials
from ..participants import PersonTrials, collate
from ._run import FILE, History, Ranks, Run, hold
from ._settings import check_settings
from ._trainer import warmup_cosine

# share of people of whom a whole state is hidden, and of states left out altogether
_WHOLE_STATE, _LEFT_OUT = 0.2, 0.15
_FEWEST, _MOST = 6, 30
_HUBER = 3.0


def hide_trials(
    trials: Trials, generator: torch.Generator, ratio: float | None = None
) -> Tensor:
    """Draw which trials are hidden.

    Parameters
    ----------
    trials : Trials
        Trials of n participants.
    generator : torch.Generator
        Source of randomness.
    ratio : float, optional
        Share that is hidden; by default drawn for each person from 0.4 to 0.9, and
        of every fifth person a whole state too.

    Returns
    -------
    hidden : Tensor of bool, shape (n, n_trials)
        At least one trial of each person stays visible.
    """
    n, most = trials.seen.shape
    share = 0.4 + 0.5 * torch.rand(n, 1, generator=generator)
    draw = torch.rand(n, most, generator=generator)
    hidden = trials.seen & (draw < (share if ratio is None else ratio))
    if ratio is None:
        chosen = torch.rand(n, generator=generator) < _WHOLE_STATE
        state = torch.randint(0, 3, (n, 1), generator=generator)
        hidden |= chosen[:, None] & (trials.state == state) & trials.seen
    alone = (trials.seen & ~hidden).sum(1) == 0
    draw = draw.masked_fill(~trials.seen, -1.0)
    hidden[alone, draw[alone].argmax(1)] = False
    return hidden


def participant_encoder_loss(
    encoder: ParticipantTransformer, trials: Trials, hidden: Tensor
) -> Tensor:
    """Compute how far hidden trials are from both predictions.

    Parameters
    ----------
    encoder : ParticipantTransformer
        The model.
    trials : Trials
        Trials of n participants.
    hidden : Tensor of bool, shape (n, n_trials)
        Which are hidden.

    Returns
    -------
    loss : Tensor
        Huber loss of responses, in units of each person's noise so that all count
        alike, plus squares of spectra; mean of both predictions.
    """
    n_response = encoder.config.n_response
    target = trials.response / trials.noise[:, None, None]
    responds = (hidden & trials.responds).float()
    losses = []
    for predicted in encoder(trials, hidden):
        response = F.smooth_l1_loss(
            predicted[..., :n_response], target, reduction="none", beta=_HUBER
        ).mean(-1)
        spectrum = (predicted[..., n_response:] - trials.spectrum).square().mean(-1)
        losses.append(
            2 * _HUBER * (response * responds).sum() / responds.sum().clamp(min=1)
            + (spectrum * hidden).sum() / hidden.sum().clamp(min=1)
        )
    return sum(losses) / len(losses)


def _thinned(person: PersonTrials, rng: np.random.Generator) -> PersonTrials:
    """Leave out states and trials at random, other ones each time."""
    kinds = np.unique(person.kind)
    kept = kinds[rng.random(len(kinds)) > _LEFT_OUT]
    kept = kept if len(kept) else kinds
    index = []
    for kind in kept:
        at = np.flatnonzero(person.kind == kind)
        n = min(len(at), int(rng.integers(_FEWEST, _MOST + 1)))
        index.append(np.sort(rng.permutation(at)[:n]))
    return person.take(np.concatenate(index))


def pretrain_participant_encoder(
    encoder: ParticipantTransformer,
    people: Sequence[PersonTrials],
    *,
    max_epochs: int = 15,
    steps_per_epoch: int = 100,
    batch_size: int = 32,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    n_valid: int = 64,
    random_state: int = 0,
    directory: str | os.PathLike | None = None,
) -> History:
    """Train the participant encoder to predict hidden trials, without labels.

    The weights of the epoch with the least loss on held-out participants are kept.
    With a ``directory``, the run is saved after every epoch and continues from there.

    Parameters
    ----------
    encoder : ParticipantTransformer
        The model, trained in place; its inputs are fixed.
    people : sequence of PersonTrials
        Participants.
    max_epochs : int
        Epochs at most.
    steps_per_epoch : int
        Batches in an epoch.
    batch_size : int
        Participants in a batch, each with a random part of its trials.
    lr : float
        Highest learning rate.
    weight_decay : float
        Decay of matrices.
    n_valid : int
        Participants held out.
    random_state : int
        Seed of split, order and masks.
    directory : path-like, optional
        Where to keep the run.

    Returns
    -------
    history : History
        Losses of every epoch.

    Raises
    ------
    ValueError
        If a number is out of range, there are too few participants, or the folder
        holds another run or a damaged one.
    RuntimeError
        If the loss is not finite, or another run is writing to the folder.
    """
    check_settings(
        max_epochs=max_epochs,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        random_state=random_state,
    )
    if n_valid < 1:
        raise ValueError(f"Expected n_valid of at least 1, got {n_valid}; raise it.")
    if len(people) <= n_valid:
        raise ValueError(
            f"Expected more than the {n_valid} participants that are held out, got "
            f"{len(people)}; give more, or lower n_valid."
        )
    order = np.random.default_rng(random_state).permutation(len(people))
    held_out = collate([people[i] for i in order[:n_valid]], encoder.inputs)
    train = [people[i] for i in order[n_valid:]]
    masks = [hide_trials(held_out, torch.Generator().manual_seed(i)) for i in range(3)]
    n_steps = max_epochs * steps_per_epoch
    n_warmup = max(1, n_steps // 20)
    settings = {
        "n_people": len(people),
        "max_epochs": max_epochs,
        "steps_per_epoch": steps_per_epoch,
        "batch_size": batch_size,
        "lr": lr,
        "weight_decay": weight_decay,
        "n_valid": n_valid,
        "random_state": random_state,
        "model": encoder.config.to_dict(),
    }
    directory = None if directory is None else Path(directory).expanduser()
    with hold(directory, Ranks(), torch.device("cpu")):
        run = Run(encoder, lr, weight_decay, settings)
        if directory is not None and (directory / FILE).is_file():
            run.load(directory)
        history = run.history
        for epoch in range(len(history.epoch) + 1, max_epochs + 1):
            # an epoch's stream depends on its number alone, so that runs can resume
            rng = np.random.default_rng([random_state, epoch])
            generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
            encoder.train()
            total = 0.0
            for _ in ProgressBar(range(steps_per_epoch), mesg=f"Epoch {epoch}"):
                for group in run.optimizer.param_groups:
                    group["lr"] = lr * warmup_cosine(run.step, n_steps, n_warmup)
                chosen = rng.integers(0, len(train), batch_size)
                batch = collate(
                    [_thinned(train[i], rng) for i in chosen], encoder.inputs
                )
                loss = participant_encoder_loss(
                    encoder, batch, hide_trials(batch, generator)
                )
                if not bool(torch.isfinite(loss)):
                    raise RuntimeError(
                        f"Expected a finite loss, got {float(loss.detach())} in epoch "
                        f"{epoch}; lower lr, or look for artefacts in the data."
                    )
                run.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
                run.optimizer.step()
                run.step += 1
                total += float(loss.detach())
            encoder.eval()
            with torch.inference_mode():
                losses = [
                    float(participant_encoder_loss(encoder, held_out, mask))
                    for mask in masks
                ]
            valid_loss = float(np.mean(losses))
            best = min(history.valid_loss, default=math.inf)
            history.append(
                epoch=epoch,
                train_loss=total / steps_per_epoch,
                valid_loss=valid_loss,
                lr=run.optimizer.param_groups[0]["lr"],
            )
            if valid_loss < best:
                run.best = run.weights()
            logger.info(
                f"Epoch {epoch}/{max_epochs}: train {total / steps_per_epoch:.4f}, "
                f"valid {valid_loss:.4f}"
            )
            if directory is not None:
                run.write(directory, run.state())
        encoder.load_state_dict(run.best)
        encoder.eval()
        return history
