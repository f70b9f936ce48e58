"""The state of a run, written so that it can go on, and checked for damage."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

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
from ._distributed import Ranks, is_parted, parted_like, whole
from .history import History

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
        return any(is_parted(p) for p in self.model.parameters())

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
