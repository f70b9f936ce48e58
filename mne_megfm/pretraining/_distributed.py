"""Several processes that train together, and the lock on a run's folder.

``torchrun`` starts the processes and sets the environment; torch.distributed joins
them and exchanges gradients. A single process needs none of it.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..models import Backbone


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


def is_parted(tensor: Tensor) -> bool:
    """Tell whether a tensor is a DTensor, without importing what that is."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """Gather a tensor that may be sharded among the processes; all must call."""
    tensor = tensor.detach()
    return tensor.full_tensor() if is_parted(tensor) else tensor


def parted_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Part a whole tensor as another one is; all must call."""
    if not is_parted(like):
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
