"""From a store of windows to a checkpoint."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from mne.utils import ProgressBar

from ..models import Backbone, BackboneConfig, freeze_encoder
from ..plugins import make_backbone, resolve
from ..sensors import canonical_array, canonical_kernel
from ..store import WindowStore
from ..utils.files import sweep, write_whole
from ..weights import (
    PARTICIPANT_PARTS,
    load_checkpoint,
    weights_path,
)
from ..weights.checkpoint import check_backbone
from ._checkpoint_writer import Product
from ._distributed import LOCK, Ranks, hold, join_ranks, local_device, whole
from ._objective import NoiseAndCropping
from ._pretrain import plan_batches, pretrain
from ._settings import PretrainSettings
from .history import History

RUN = "run"


def pretrain_store(
    store: WindowStore | str | os.PathLike,
    directory: str | os.PathLike,
    settings: PretrainSettings | None = None,
    *,
    overwrite: bool = False,
    stop: Callable[[], bool] | None = None,
) -> History:
    """Pretrain on a store of windows and write a checkpoint.

    The same as ``mne-megfm pretrain``. The folder is a checkpoint with the best
    weights from the first epoch on, has ``history.csv`` and ``curves.png``, and keeps
    the run in ``run/``: called again with the same settings, an interrupted run goes
    on. The participant encoder of ``settings.weights``, if they have one, goes with the
    checkpoint as it is: it reads signals, not what the trained network makes of them.
    Under ``torchrun``, several processes train together.

    Parameters
    ----------
    store : WindowStore | path-like
        What to train on.
    directory : path-like
        Where to write; empty, new, or with a run of the same settings.
    settings : PretrainSettings, optional
        The rest.
    overwrite : bool
        Whether to start again where there is a run or a checkpoint.
    stop : callable, optional
        Asked after each step; once it gives True, the run is saved and ends.

    Returns
    -------
    history : History
        Losses and explained shares of each epoch.

    Raises
    ------
    FileExistsError
        If there are files other than a run's and ``overwrite`` is False.
    ValueError
        If the store does not fit the model or is damaged, or the run has other
        settings or is damaged.
    RuntimeError
        If training diverged, was stopped, or lost one of its processes, or another run
        is writing to the folder.
    """
    settings = PretrainSettings() if settings is None else settings
    store = store if isinstance(store, WindowStore) else WindowStore.open(store)
    directory = Path(directory).expanduser()
    device = local_device(_find_device(settings.device))
    model = _start(settings, store)
    parts = {}
    if settings.weights is not None:
        # they read signals on the canonical array, which training does not change
        start = weights_path(settings.weights)
        for part in PARTICIPANT_PARTS:
            loaded = part.load(start, model.kernel)
            if loaded is not None:
                parts[part] = loaded
    masking = _part("maskings", settings.masking)
    objective = _part("objectives", settings.objective)
    pooling = None
    if settings.pooling is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.random_state)
            pooling = _part("poolings", settings.pooling)
    augmentation = _augmentation(settings, model.config)
    if settings.decoder_only:
        freeze_encoder(model)
    with ExitStack() as stack:
        stack.enter_context(join_ranks(device))
        ranks = Ranks()
        # whatever is wrong with the settings is found before anything is written
        plan_batches(
            model,
            store,
            steps_per_epoch=settings.steps_per_epoch,
            batch_size=settings.batch_size,
            accumulate=settings.accumulate,
            validation_fraction=settings.validation_fraction,
            random_state=settings.random_state,
        )
        _check_folder(directory, overwrite, ranks)
        stack.enter_context(hold(directory / RUN, ranks, device))
        _check_store(store, ranks, device)
        _claim(directory, settings, overwrite, ranks)
        product = Product(
            store, directory, settings, model, ranks.size, device, parts, pooling
        )
        history = pretrain(
            model.to(device),
            store,
            torch.from_numpy(np.array(canonical_array().region_pos)),
            masking=masking,
            objective=objective,
            augmentation=augmentation,
            max_epochs=settings.epochs,
            steps_per_epoch=settings.steps_per_epoch,
            batch_size=settings.batch_size,
            accumulate=settings.accumulate,
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            clip=settings.clip,
            warmup=settings.warmup,
            validation_fraction=settings.validation_fraction,
            max_valid=settings.max_valid,
            patience=settings.patience,
            bf16=settings.bf16,
            compiled=settings.compiled,
            sharded=settings.sharded,
            random_state=settings.random_state,
            directory=directory / RUN,
            save_minutes=settings.save_minutes,
            stop=stop,
            after_epoch=product.update,
        )
        best = {name: whole(array).cpu() for name, array in model.state_dict().items()}
        if ranks.first:
            product.finish(history, best)
    return history


def _check_folder(directory: Path, overwrite: bool, ranks: Ranks) -> None:
    """See that the folder may be written to, before any time is spent."""
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(
            f"Expected a folder at {directory}, got a file; choose another path."
        )
    run = directory / RUN
    taken = directory.is_dir() and any(directory.iterdir()) and not run.is_dir()
    if taken and not overwrite:
        raise FileExistsError(
            f"Expected an empty or new folder, or one with a run to continue, at "
            f"{directory}, got other files; choose another one, or overwrite."
        )
    if ranks.size > 1:
        dist.barrier()  # none looks when another has begun to write


def _check_store(store: WindowStore, ranks: Ranks, device: torch.device) -> None:
    """Read all windows once, shared out among the processes, to find damaged ones."""
    files = store.files[ranks.number :: ranks.size]
    if ranks.first:
        files = ProgressBar(files, mesg="Checking the store")
    damaged = store.damaged(files)
    (n_damaged,) = ranks.sum([float(len(damaged))], device)
    if n_damaged:
        shown = ", ".join(damaged[:4]) or "seen by another process"
        raise ValueError(
            f"Expected the recordings that were written in {store.path}, got "
            f"{n_damaged:.0f} damaged ones ({shown}); `mne-megfm check {store.path}` "
            "lists their files: delete them, and prepare these recordings again."
        )


def _claim(
    directory: Path, settings: PretrainSettings, overwrite: bool, ranks: Ranks
) -> None:
    """Make the folder this run's."""
    run = directory / RUN
    if ranks.first:
        if overwrite:
            for path in run.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != LOCK:
                    path.unlink()
        sweep(directory)
        sweep(run)
        content = json.dumps(settings.to_dict(), indent=2) + "\n"
        write_whole(run / "settings.json", content.encode())
    if ranks.size > 1:
        dist.barrier()


def _start(settings: PretrainSettings, store: WindowStore) -> Backbone:
    """Load the weights to go on from, or draw random ones; check against the data."""
    if settings.weights is not None:
        model = load_checkpoint(weights_path(settings.weights))
        check_backbone(model, settings.backbone, settings.weights)
    else:
        kernel = torch.tensor(canonical_kernel(), dtype=torch.float32)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.random_state)
            model = make_backbone(settings.backbone, settings.model, kernel)
    config = model.config
    for name in ("n_sensors", "n_times", "sfreq"):
        if getattr(config, name) != getattr(store, name):
            raise ValueError(
                f"Expected a store with {name}={getattr(config, name)}, as the model "
                f"has, got {getattr(store, name)} in {store.path}; prepare it "
                "again, or change the model."
            )
    return model


def _part(kind: str, spec: dict) -> Callable:
    """Make a part by its name and arguments; a mixture by those of its parts."""
    params = {key: value for key, value in spec.items() if key != "name"}
    if kind == "maskings" and "kinds" in params:
        params["kinds"] = [_part(kind, each) for each in params["kinds"]]
    return resolve(kind, spec["name"], **params)


def _augmentation(
    settings: PretrainSettings, config: BackboneConfig
) -> NoiseAndCropping | None:
    if settings.augmentation is None:
        return None
    pos = torch.tensor(canonical_array().pos)
    try:
        return NoiseAndCropping(pos, config.patch_length, **settings.augmentation)
    except TypeError as error:
        raise ValueError(
            "Expected arguments of NoiseAndCropping in augmentation, got "
            f"{settings.augmentation} ({error}); correct them."
        ) from error


def _find_device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    if name != "cpu" and not available:
        raise ValueError(
            f"Expected a GPU that torch can use for device={name!r}, got none; take "
            "device='cpu', or install torch for your GPU."
        )
    return torch.device(name)
