"""State of a run that survives an interruption."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .._integrity import DIGEST, UNSEALED, Header, check_seal, parse_json, seal
from ..models import MaskedSignalTransformer
from ._checkpoint import check_finite, check_names
from ._files import write_whole
from ._history import History
from ._ranks import Ranks, is_parted, parted_like, whole

FILE = "run.safetensors"
_NOTES = "run"  # key of the notes among the header's metadata


class Run:
    """State of one run: everything that must survive an interruption."""

    def __init__(
        self,
        model: MaskedSignalTransformer,
        lr: float,
        weight_decay: float,
        settings: dict,
    ) -> None:
        self.model = model
        trained = [p for p in model.parameters() if p.requires_grad]
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
        own = self.model.state_dict()
        self.model.load_state_dict(
            {k: parted_like(v, own[k]) for k, v in state.items()}
        )

    def state(self) -> dict[str, Tensor]:
        """Gather all tensors of the run; all processes must call."""
        state = {f"model.{k}": v for k, v in self.weights().items()}
        state |= {f"best.{k}": v for k, v in self.best.items()}
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
        expected = {k: tuple(v.shape) for k, v in self.model.state_dict().items()}
        for name in ("model", "best"):
            part = {
                k[len(name) + 1 :]: v
                for k, v in state.items()
                if k.startswith(f"{name}.")
            }
            check_names({k: tuple(v.shape) for k, v in part.items()}, expected, path)
            check_finite(part, path)
            if name == "model":
                self.set_weights(part)
            else:
                self.best = part
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
