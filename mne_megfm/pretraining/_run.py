"""State of a run that survives an interruption."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from ..models import MaskedSignalTransformer
from ._checkpoint import check_state
from ._history import History

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
        decay = [p for p in model.parameters() if p.ndim >= 2]
        plain = [p for p in model.parameters() if p.ndim < 2]
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
        self.best = {k: v.clone() for k, v in model.state_dict().items()}
        self.step = 0

    def save(self, directory: Path) -> None:
        """Write all of it to one file, replaced as a whole."""
        directory.mkdir(parents=True, exist_ok=True)
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        state |= {f"best.{k}": v for k, v in self.best.items()}
        for number, slots in self.optimizer.state_dict()["state"].items():
            state |= {f"adam.{number}.{k}": v for k, v in slots.items()}
        state = {k: v.detach().cpu().clone().contiguous() for k, v in state.items()}
        # one file holds all, so that what it holds belongs together
        notes = {
            "settings": json.dumps(self.settings, sort_keys=True),
            "history": json.dumps(asdict(self.history)),
            "step": str(self.step),
        }
        aside = directory / f"{FILE}.writing"
        aside.write_bytes(save(state, metadata=notes))
        os.replace(aside, directory / FILE)
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
                self.model.load_state_dict(part)
            else:
                self.best = {k: v.to(expected[k].device) for k, v in part.items()}
        adam = self.optimizer.state_dict()
        for key, value in state.items():
            if key.startswith("adam."):
                _, number, slot = key.split(".")
                adam["state"].setdefault(int(number), {})[slot] = value
        self.optimizer.load_state_dict(adam)
        self.history = History(**json.loads(notes["history"]))
        self.step = int(notes["step"])
