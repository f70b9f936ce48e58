"""Pretrain a model on a store of windows."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from ._options import Command, run_as_module


@click.command(
    cls=Command,
    examples="""
    mne-megfm pretrain STORE OUT
    mne-megfm pretrain STORE OUT --config pretrain.toml --epochs 50 --bf16
    mne-megfm pretrain STORE OUT --masking time-block --mask-ratio 0.4
    mne-megfm pretrain STORE OUT --weights megfm-tiny --lr 1e-4
    torchrun --nproc-per-node=4 -m mne_megfm.commands.pretrain STORE OUT --bf16
    """,
)
@click.argument("store", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings in TOML; flags come before it.",
)
@click.option("--weights", help="Go on from these; without, from random ones.")
@click.option(
    "--backbone",
    help="masked-transformer, hybrid-ssm, braindecode:NAME or a plug-in; default: that "
    "of the weights.",
)
@click.option(
    "--decoder-only/--whole-model",
    default=None,
    help="Leave the encoder, and so features, as they are.",
)
@click.option(
    "--masking", help="mixed, local, random, time-block, space-block or a plug-in."
)
@click.option("--mask-ratio", type=float, help="Share that is hidden.")
@click.option(
    "--objective",
    help="huber+logspec, log-error, band-balanced, statistics, "
    "participant-consistency, latent, time-frequency codes, contrastive or a plug-in.",
)
@click.option("--epochs", type=int)
@click.option("--steps-per-epoch", type=int, help="Default: a pass.")
@click.option("--batch-size", type=int, help="Over all processes.")
@click.option("--accumulate", type=int, help="Parts of a batch.")
@click.option("--lr", type=float, help="Highest learning rate.")
@click.option(
    "--validation-fraction", type=float, help="Share of participants held out."
)
@click.option("--patience", type=int, help="Epochs without progress.")
@click.option("--bf16/--fp32", default=None, help="bfloat16 autocast or not.")
@click.option("--compile/--no-compile", "compiled", default=None, help="torch.compile.")
@click.option(
    "--sharded/--copied", default=None, help="With several processes: FSDP2 or DDP."
)
@click.option("--device", help="cpu, cuda or auto.")
@click.option("--seed", "random_state", type=int)
@click.option("--save-minutes", type=float, help="Within an epoch.")
@click.option("--name", help="Name of the weights, for their card.")
@click.option("--licence", help="Licence of the weights, for their card.")
@click.option("--overwrite", is_flag=True, help="Start again where there is a run.")
def command(
    store: Path,
    out: Path,
    config: Path | None,
    masking: str | None,
    mask_ratio: float | None,
    objective: str | None,
    overwrite: bool,
    **flags: Any,
) -> None:
    """Pretrain a model on the windows in STORE and write a checkpoint to OUT.

    OUT can be used as MEGFMTransformer(weights="OUT") from the first epoch on; it has
    the model card, history.csv and curves.png, and with --weights their participant
    encoder, that `features --participants` uses. Interrupted (Ctrl-C,
    SIGTERM), the run is saved; the same command goes on from there.
    """
    from mne.utils import logger, use_log_level

    from ..pretraining import PretrainSettings, StoppedError, pretrain_store

    changes = {name: value for name, value in flags.items() if value is not None}
    for kind, name in (("masking", masking), ("objective", objective)):
        if name is not None:
            changes[kind] = {"name": name}
    try:
        if config is None:
            settings = PretrainSettings(**changes)
        else:
            settings = PretrainSettings.read(config, **changes)
        if mask_ratio is not None:
            hidden = {**settings.masking, "mask_ratio": mask_ratio}
            settings = settings.change(masking=hidden)
    except ValueError as error:  # called wrongly
        raise click.UsageError(str(error)) from error
    first = os.environ.get("RANK", "0") == "0"
    with _stopped_by_signals() as stop, use_log_level(None if first else "error"):
        try:
            history = pretrain_store(
                store, out, settings, overwrite=overwrite, stop=stop
            )
        except StoppedError:
            if first:
                raise
            click.get_current_context().exit(1)  # one message is enough
        logger.info(
            f"Best epoch {history.best_epoch} of {len(history.epoch)}: loss "
            f"{min(history.valid_loss):.4f} on held-out participants."
        )


@contextmanager
def _stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """Turn the signals that end a job into a wish to stop after the step."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if number in received and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: at once
        received.append(number)

    names = [n for n in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, n)]
    before = {n: signal.signal(getattr(signal, n), receive) for n in names}
    try:
        yield lambda: bool(received)
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


if __name__ == "__main__":
    run_as_module("pretrain")
