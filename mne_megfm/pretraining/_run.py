"""State of a run that survives an interruption."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from ..models import MaskedSignalTransformer
from ._checkpoint import check_state
from ._files import write_whole
from ._history import History
from ._ranks import Ranks, is_parted, parted_like, whole

FILE = "run.safetensors"


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
            "settings": json.dumps(self.settings, sort_keys=True),
            "history": json.dumps(asdict(self.history)),
            "step": str(self.step),
            "total": repr(self.total),
        }
        write_whole(directory / FILE, save(state, metadata=notes))
        self.history.to_csv(directory / "history.csv")

    def load(self, directory: Path) -> None:
        """Take up a run of the same settings."""
        path = directory / FILE
        try:
            with safe_open(path, "pt") as file:
                notes = file.metadata()
            state = load_file(path)
        except SafetensorError as error:
            raise ValueError(
                f"Expected a saved run in {path}, got something else ({error}); the "
                "file is damaged: delete it to start the run again."
            ) from error
        if json.loads(notes["settings"]) != self.settings:
            raise ValueError(
                f"Expected the settings of the run in {path} to continue it, got "
                f"others: {notes['settings']} there, "
                f"{json.dumps(self.settings, sort_keys=True)} here; use those, or "
                "another folder."
            )
        expected = self.model.state_dict()
        for name in ("model", "best"):
            part = {
                k[len(name) + 1 :]: v
                for k, v in state.items()
                if k.startswith(f"{name}.")
            }
            check_state(part, expected, str(path))
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
        self.history = History(**json.loads(notes["history"]))
        self.step = int(notes["step"])
        self.total = float(notes["total"])
