"""Pretraining: of a model on windows, and from a store of windows to a checkpoint.

A plain loop rather than skorch's: masks are drawn per batch, there is no label, an
interrupted run must continue to the same weights, and that is shorter to say here
than to bend a supervised trainer to it. (Supervised fine-tuning is skorch's field.)
"""

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
from mne.utils import ProgressBar, logger
from torch import Tensor, nn

from ..models import (
    Backbone,
    BackboneConfig,
    MaskedSignalTransformer,
    NoiseAndCropping,
    WindowArray,
    build_pooling,
    draw_masks,
    freeze_encoder,
)
from ..plugins import make_backbone, resolve
from ..sensors import canonical_array, canonical_kernel
from ..store import WindowStore, split_groups
from ..utils.files import sweep, write_whole
from ..weights import (
    PARTICIPANT_PARTS,
    load_checkpoint,
    weights_path,
)
from ..weights.checkpoint import check_backbone
from ._checkpoint_writer import Product
from ._objective import (
    Objective,
    build_objective,
    fit_objective,
    resolve_objective,
)
from ._reconstruction import MaskedReconstruction
from ._run import (
    FILE,
    LOCK,
    History,
    Ranks,
    Run,
    hold,
    join_ranks,
    local_device,
    replicate,
    shard,
    whole,
)
from ._settings import PretrainSettings, check_settings
from ._trainer import (
    Batches,
    Step,
    Trainer,
    check_pairs,
    check_targets,
    choose_windows,
    look_at_windows,
    pairs_of,
    warmup_cosine,
)


# -- a model on windows ----------------------------------------------------------------
def pretrain(
    model: Backbone,
    windows: WindowArray | WindowStore,
    region_pos: Tensor,
    *,
    masking: Callable[..., Tensor],
    objective: Objective,
    built: bool = False,
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
        ``MaskedReconstruction``. What it trains of its own begins from the seed.
    built : bool
        Whether the objective was built for this model already, from the same seed.
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
    check_hides(masking, windows, model.config, region_pos)
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
        max_valid=max_valid,
        random_state=random_state,
        objective=objective,
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
    if not built:
        build_objective(objective, model, random_state)
    with hold(directory, ranks, model.kernel.device):
        if hasattr(objective, "fit"):
            # also of a run that goes on, whose state then replaces what is found
            looked_at = look_at_windows(
                windows, batches, random_state, model.kernel.device
            )
            fit_objective(objective, model, looked_at, random_state)
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
            valid=valid,
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


def check_hides(
    masking: Callable[..., Tensor],
    windows: WindowArray | WindowStore,
    config: BackboneConfig,
    region_pos: Tensor,
) -> None:
    """Check that a masking hides something where windows have a single patch.

    Parameters
    ----------
    masking : callable
        The masking.
    windows : WindowArray | WindowStore
        What to train on.
    config : BackboneConfig
        Sizes of windows and patches.
    region_pos : Tensor, shape (n_regions, 3)
        Positions of the regions in m.

    Raises
    ------
    ValueError
        If it hides nothing, so that there would be nothing to predict.
    """
    if not len(windows) or max(windows.n_valid) > config.patch_length:
        return
    longest = torch.tensor([max(windows.n_valid)])
    generator = torch.Generator().manual_seed(0)
    drawn = draw_masks(masking, 8, longest, config, region_pos, generator)
    if not drawn.any():
        raise ValueError(
            "Expected a masking that hides a part of windows of at most "
            f"{int(longest)} samples, which are a single patch, got "
            f"{masking!r}, which hides nothing; use 'random' or 'space-block', or "
            "longer windows."
        )


def plan_batches(
    model: Backbone,
    windows: WindowArray | WindowStore,
    *,
    steps_per_epoch: int | None,
    batch_size: int,
    accumulate: int | None,
    validation_fraction: float,
    max_valid: int | None,
    random_state: int,
    objective: Objective,
) -> tuple[Batches, np.ndarray]:
    """Split the data and plan the batches of a run; nothing is computed or written.

    Parameters
    ----------
    model, windows, steps_per_epoch, batch_size, accumulate : object
        See `pretrain`.
    validation_fraction, max_valid, random_state : float, int
        See `pretrain`.
    objective : callable
        The objective, which may ask for pairs of windows, or for their targets.

    Returns
    -------
    batches : Batches
        What this process trains on.
    valid : array of int
        Windows to validate on.

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
    if isinstance(windows, WindowStore):  # no participant is on both sides
        train, valid = windows.split(validation_fraction, random_state)
    else:
        groups = windows.recording
        train, valid = split_groups(groups, validation_fraction, random_state)
    valid = choose_windows(valid, max_valid, random_state)
    pairs = pairs_of(objective)
    batches = Batches(windows, train, batch_size, n_parts, random_state, ranks, pairs)
    check_targets(batches.labels, objective)
    if pairs is not None:
        check_pairs(batches.labels, pairs, train, valid, batch_size // n_parts)
    return batches, valid


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


# -- a store to a checkpoint -----------------------------------------------------------
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
    region_pos = torch.from_numpy(np.array(canonical_array().region_pos))
    masking = _part("maskings", settings.masking)
    objective = _part("objectives", settings.objective)
    build_objective(objective, model, settings.random_state)
    pooling = None
    if settings.pooling is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.random_state)
            pooling = _part("poolings", settings.pooling)
            build_pooling(pooling, model)
    augmentation = _augmentation(settings, model.config)
    if settings.decoder_only:
        freeze_encoder(model)
    with ExitStack() as stack:
        stack.enter_context(join_ranks(device))
        ranks = Ranks()
        # whatever is wrong with the settings is found before anything is written
        check_hides(masking, store, model.config, region_pos)
        plan_batches(
            model,
            store,
            steps_per_epoch=settings.steps_per_epoch,
            batch_size=settings.batch_size,
            accumulate=settings.accumulate,
            validation_fraction=settings.validation_fraction,
            max_valid=settings.max_valid,
            random_state=settings.random_state,
            objective=objective,
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
            region_pos,
            masking=masking,
            objective=objective,
            built=True,
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
