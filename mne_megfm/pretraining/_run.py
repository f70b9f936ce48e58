"""A run: the processes that share it, its folder, its losses, and its state.

``torchrun`` starts the processes and sets the environment; torch.distributed joins
them and exchanges gradients. A single process needs none of it. The state is written
so that the run can go on, and is checked for damage.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..models import Backbone
from ..utils.files import (
    DIGEST,
    UNSEALED,
    Header,
    check_seal,
    parse_json,
    seal,
    write_whole,
)
from ..weights import PARTICIPANT_PARTS, load_checkpoint
from ..weights.checkpoint import (
    CONFIG,
    WEIGHTS,
    check_finite,
    check_names,
)


# -- processes -------------------------------------------------------------------------
class LostRankError(RuntimeError):
    """One of the processes that train together is gone."""


class Ranks:
    """The processes that train together, as seen by one of them.

    Attributes
    ----------
    number : int
        Number of this process, from 0.
    size : int
        How many there are.
    """

    def __init__(self) -> None:
        joined = dist.is_available() and dist.is_initialized()
        self.number = dist.get_rank() if joined else 0
        self.size = dist.get_world_size() if joined else 1

    @property
    def first(self) -> bool:
        """Whether this process writes files."""
        return self.number == 0

    def sum(self, values: list[float], device: torch.device) -> list[float]:
        """Add numbers up over all processes."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(total)
        return total.tolist()

    def share(self, n_parts: int) -> range:
        """Which of ``n_parts`` equal parts of a batch are this process's."""
        each = n_parts // self.size
        return range(self.number * each, (self.number + 1) * each)


@contextmanager
def join_ranks(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started; without it, do nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """Give each process of a machine a GPU of its own."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


def shard(model: Backbone, step: nn.Module) -> None:
    """Part all parameters among the processes (FSDP2), layer by layer."""
    from torch.distributed.fsdp import fully_shard  # which takes long to import

    for layer in model.layers():
        fully_shard(layer)
    fully_shard(step)


def replicate(step: nn.Module, device: torch.device, *, all_used: bool) -> nn.Module:
    """Give each process a copy whose gradients are averaged (DDP).

    ``all_used`` says that each step uses all parameters, which saves a search.
    """
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(
        step,
        device_ids=ids,
        forward_sync_buffers=False,
        find_unused_parameters=not all_used,
    )


def without_exchange(step: nn.Module, wanted: bool) -> AbstractContextManager:
    """Keep gradients to this process, where more of the same batch is to come."""
    if wanted and isinstance(step, DistributedDataParallel):
        return step.no_sync()
    return nullcontext()


def is_sharded(tensor: Tensor) -> bool:
    """Tell whether a tensor is a DTensor, without importing what that is."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor that may be sharded among the processes; all must call."""
    tensor = tensor.detach()
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def parted_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Part a whole tensor as another one is; all must call."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    tensor = tensor.to(like.device)
    return distribute_tensor(tensor, like.device_mesh, like.placements)


def is_lost_peer(error: RuntimeError) -> bool:
    """Tell the failure of another process from an error of this one."""
    # gloo raises RuntimeError itself when a connection ends
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()


#: File of a run's folder that whoever holds it has locked; it says who that is.
LOCK = "lock"


@contextmanager
def hold(directory: Path | None, ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Hold the folder of a run; all processes that train together must call.

    The first of them has the lock. The system gives it back when that process ends in
    any way. A thread that has a folder may hold it once more.

    Parameters
    ----------
    directory : Path | None
        The folder; made if it is not there. Nothing is held for None.
    ranks : Ranks
        This process among the others.
    device : device
        Where they exchange numbers.

    Raises
    ------
    RuntimeError
        If another run has the folder.
    """
    if directory is None:
        yield
        return
    lock, holder = None, ""
    if ranks.first:
        directory.mkdir(parents=True, exist_ok=True)
        file = directory.resolve() / LOCK
        holder = _holder(file)  # some versions of filelock empty a file that they try
        lock = FileLock(file, is_singleton=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            lock = None
        else:
            with suppress(OSError):  # of Windows, where a locked file cannot be written
                me = f"process {os.getpid()} on {platform.node()}"
                file.write_text(me, "utf-8")
    (n_holders,) = ranks.sum([float(lock is not None)], device)
    if not n_holders:
        raise RuntimeError(
            f"Expected no other run in {directory}, got one{holder}; wait "
            "until it ends, stop it and call again to continue it, or choose another "
            "folder."
        )
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _holder(file: Path) -> str:
    """Tell who has locked a file, where that is known."""
    try:
        text = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" ({text})" if text else ""


# -- losses ----------------------------------------------------------------------------
@dataclass
class History:
    """One entry an epoch of training.

    Parameters
    ----------
    epoch : list of int
        Number of the epoch, from 1.
    train_loss : list of float
        Mean loss over the batches of the epoch.
    valid_loss : list of float
        Loss on the held-out recordings, always with the same masks.
    lr : list of float
        Learning rate at the end of the epoch.
    r2 : dict of list of float
        Explained share of the hidden signal of held-out recordings, by state and
        under ``"all"``.
    """

    epoch: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    r2: dict[str, list[float]] = field(default_factory=dict)

    def append(self, *, r2: dict[str, float] | None = None, **values: float) -> None:
        """Add an epoch.

        Parameters
        ----------
        r2 : dict of float, optional
            Explained shares.
        **values : float
            One value a field.
        """
        for name, value in values.items():
            getattr(self, name).append(value)
        for name, value in (r2 or {}).items():
            self.r2.setdefault(name, []).append(value)

    @property
    def columns(self) -> dict[str, list[float]]:
        """The table by column; explained shares as ``r2_<state>``."""
        names = ("epoch", "train_loss", "valid_loss", "lr")
        columns = {name: getattr(self, name) for name in names}
        return columns | {f"r2_{name}": values for name, values in self.r2.items()}

    @property
    def best_epoch(self) -> int:
        """Number of the epoch with the least loss on held-out recordings."""
        return self.epoch[int(np.argmin(self.valid_loss))]

    def to_csv(self, path: str | os.PathLike) -> None:
        """Write one line an epoch.

        Parameters
        ----------
        path : path-like
            The file; replaced as a whole.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(self.columns)
        writer.writerows(zip(*self.columns.values(), strict=True))
        write_whole(Path(path), text.getvalue().encode())

    @classmethod
    def from_csv(cls, path: str | os.PathLike) -> History:
        """Read what `to_csv` wrote, or the ``history.csv`` of a run.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        history : History
            One entry a line.

        Raises
        ------
        ValueError
            If it is another table.
        """
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(
                f"Expected a table in UTF-8 in {path}, got something else ({error}); "
                "pass the history.csv of a run."
            ) from error
        names = [f.name for f in fields(cls) if f.name != "r2"]
        if not rows or not set(names) <= set(rows[0]):
            got = [str(name) for name in rows[0]] if rows else ["no line"]
            raise ValueError(
                f"Expected the columns {', '.join(names)} and an epoch at least in "
                f"{path}, got {', '.join(got)}; pass the history.csv of a run."
            )
        columns = {
            name: [_number(row, name, n, path) for n, row in enumerate(rows, 1)]
            for name in rows[0]
        }
        return cls(
            epoch=[int(epoch) for epoch in columns["epoch"]],
            **{name: columns[name] for name in names if name != "epoch"},
            r2={
                name.removeprefix("r2_"): values
                for name, values in columns.items()
                if name.startswith("r2_")
            },
        )


def _number(row: dict, name: str, n: int, path: str | os.PathLike) -> float:
    try:
        return float(row[name])
    except (TypeError, ValueError) as error:  # None or a list, where cells do not fit
        raise ValueError(
            f"Expected a number in column {name} of {path}, got {row[name]!r} in row "
            f"{n}; pass the history.csv of a run as it was written."
        ) from error


# -- state -----------------------------------------------------------------------------
FILE = "run.safetensors"
_NOTES = "run"  # key of the notes among the header's metadata


class Run:
    """State of one run: everything that must survive an interruption."""

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        weight_decay: float,
        settings: dict,
        objective: Any = None,
    ) -> None:
        self.model = model
        #: What the objective trains of its own.
        self.objective = objective if isinstance(objective, nn.Module) else nn.Module()
        parameters = [*model.parameters(), *self.objective.parameters()]
        trained = [p for p in parameters if p.requires_grad]
        decay = [p for p in trained if p.ndim >= 2]
        plain = [p for p in trained if p.ndim < 2]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=lr,
            betas=(0.9, 0.95),
        )
        self.settings = settings
        self.history = History()
        #: Weights of the best epoch, whole and on the CPU of the first process.
        self.best = self.weights()
        #: Steps done, and the sum of their losses in the epoch that is not done.
        self.step = 0
        self.total = 0.0

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds but a part."""
        return any(is_sharded(p) for p in self.model.parameters())

    def weights(self) -> dict[str, Tensor]:
        """Gather a copy of the weights on the CPU; all processes must call."""
        return {k: whole(v).cpu().clone() for k, v in self.model.state_dict().items()}

    def set_weights(self, state: dict[str, Tensor]) -> None:
        """Put whole weights into the model; all processes must call."""
        _set_weights(self.model, state)

    def state(self) -> dict[str, Tensor]:
        """Gather all tensors of the run; all processes must call."""
        state = {f"model.{k}": v for k, v in self.weights().items()}
        state |= {f"best.{k}": v for k, v in self.best.items()}
        own = self.objective.state_dict()
        state |= {f"objective.{k}": whole(v).cpu().clone() for k, v in own.items()}
        for number, slots in self.optimizer.state_dict()["state"].items():
            state |= {f"adam.{number}.{k}": whole(v) for k, v in slots.items()}
        return state

    def save(self, directory: Path) -> None:
        """Gather everything and write it, in the first process; all must call."""
        state = self.state()
        if Ranks().first:
            self.write(directory, state)

    def write(self, directory: Path, state: dict[str, Tensor]) -> None:
        """Write tensors and what else belongs to the run: a file, replaced whole."""
        directory.mkdir(parents=True, exist_ok=True)
        state = {k: v.cpu().contiguous() for k, v in state.items()}
        # one file holds all, so that what it holds belongs together
        notes = {
            "settings": self.settings,
            "history": asdict(self.history),
            "step": self.step,
            "total": self.total,
        }
        text = json.dumps(UNSEALED | notes)
        write_whole(directory / FILE, seal(save(state, metadata={_NOTES: text})))
        self.history.to_csv(directory / "history.csv")

    def load(self, directory: Path) -> None:
        """Take up a run of the same settings."""
        path = directory / FILE
        notes, state = read_run(path)
        # as JSON has them: a tuple is a list there
        here = json.loads(json.dumps(self.settings))
        if notes["settings"] != here:
            there = notes["settings"]
            others = [
                f'"{key}": {there.get(key)!r} there, {here.get(key)!r} here'
                for key in sorted({*there, *here})
                if there.get(key) != here.get(key)
            ]
            raise ValueError(
                f"Expected the settings of the run in {path} to continue it, got "
                f"others ({'; '.join(others)}); use those, or another folder."
            )
        for name, module in (
            ("model", self.model),
            ("best", self.model),
            ("objective", self.objective),
        ):
            expected = {k: tuple(v.shape) for k, v in module.state_dict().items()}
            part = {
                k.removeprefix(f"{name}."): v
                for k, v in state.items()
                if k.startswith(f"{name}.")
            }
            check_names({k: tuple(v.shape) for k, v in part.items()}, expected, path)
            check_finite(part, path)
            if name == "best":
                self.best = part
            else:
                _set_weights(module, part)
        adam = self.optimizer.state_dict()
        parameters = [p for g in self.optimizer.param_groups for p in g["params"]]
        for key, value in state.items():
            if key.startswith("adam."):
                _, number, slot = key.split(".")
                if value.ndim:
                    value = parted_like(value, parameters[int(number)])
                adam["state"].setdefault(int(number), {})[slot] = value
        self.optimizer.load_state_dict(adam)
        self.history = History(**notes["history"])
        self.step, self.total = notes["step"], notes["total"]


def _set_weights(module: nn.Module, state: dict[str, Tensor]) -> None:
    own = module.state_dict()
    module.load_state_dict({k: parted_like(v, own[k]) for k, v in state.items()})


def _check_notes(notes: dict[str, Any]) -> None:
    """See that notes are what `Run.write` wrote, not what else has a hash that fits."""
    for name, kind in (("settings", dict), ("history", dict), ("step", int)):
        if type(notes.get(name)) is not kind:
            raise ValueError(f"it has no {name}")
    columns = dict(notes["history"])
    shares = columns.pop("r2", None)
    if not isinstance(shares, dict) or {*columns, "r2"} != set(asdict(History())):
        raise ValueError("its history has other columns")
    columns |= {f"r2_{name}": values for name, values in shares.items()}
    for name, values in (*columns.items(), ("total", [notes.get("total")])):
        numbers = isinstance(values, list) and all(
            type(value) in (int, float) for value in values
        )
        if not numbers or (name != "total" and len(values) != len(columns["epoch"])):
            raise ValueError(f"{name} is not one number an epoch")


def read_run(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a saved run, and check that nothing of it has changed.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    notes : dict
        Settings, history, steps done and the sum of their losses.
    state : dict of Tensor
        All tensors.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    data = path.read_bytes()
    try:
        header = Header.read(io.BytesIO(data), len(data))
        notes = parse_json(str(header.metadata.get(_NOTES)))
        check_seal(data, notes.pop(DIGEST, None))
        _check_notes(notes)
        return notes, load(data)
    except (ValueError, SafetensorError) as error:
        raise ValueError(
            f"Expected a saved run in {path}, got something else: {error}; the file is "
            "damaged: delete it to start the run again."
        ) from error


def find_damage(directory: str | os.PathLike) -> dict[str, str]:
    """Read all files of a checkpoint, and of the run that it comes from.

    Parameters
    ----------
    directory : path-like
        A checkpoint, the folder that `pretrain_store` wrote to, or its folder ``run``.

    Returns
    -------
    damage : dict of str
        For each part that was found (``"weights"``, ``"participant encoder"``,
        ``"run"``) what is wrong and what to do; empty where nothing is.

    Raises
    ------
    FileNotFoundError
        If there is neither a checkpoint nor a run.

    Notes
    -----
    The model card, ``history.csv`` and figures are for people: nothing is computed
    from them, and they have no hash.

    Examples
    --------
    >>> from mne_megfm.pretraining import find_damage
    >>> from mne_megfm.weights import weights_path
    >>> find_damage(weights_path("megfm-tiny"))
    {'weights': '', 'participant encoder': '', 'posterior encoder': ''}
    """
    directory = Path(directory).expanduser()
    damage, kernel = {}, None
    if any((directory / name).exists() for name in (CONFIG, WEIGHTS)):
        damage["weights"] = ""
        try:
            kernel = load_checkpoint(directory).kernel
        except (OSError, ValueError) as error:
            damage["weights"] = str(error)
    for part in PARTICIPANT_PARTS:
        files = [directory / name for name in (part.weights, part.config)]
        if not any(file.exists() for file in files):
            continue
        if kernel is None:
            damage[part.name] = (
                f"Expected weights that {files[0]} belongs to, got none that can be "
                "read; repair these first, then check again."
            )
            continue
        damage[part.name] = ""
        try:
            part.load(directory, kernel)
        except (OSError, ValueError) as error:
            damage[part.name] = str(error)
    for path in (directory / FILE, directory / "run" / FILE):
        if path.exists():
            damage["run"] = ""
            try:
                read_run(path)
            except (OSError, ValueError) as error:
                damage["run"] = str(error)
    if not damage:
        raise FileNotFoundError(
            f"Expected a checkpoint with {CONFIG} and {WEIGHTS}, or a run with {FILE}, "
            f"in {directory}, got neither; correct the path."
        )
    return damage
