"""The checkpoint that a run writes, and its model card."""

from __future__ import annotations

import copy
import io
import math
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from mne.utils import logger
from torch import Tensor, nn

from .. import __version__
from ..models import (
    Backbone,
    RandomMasking,
    Reconstructor,
    SpaceBlockMasking,
    TimeBlockMasking,
    fit_pooling,
    fit_token_projection,
    masked_r2,
)
from ..plugins import make_backbone, name_of
from ..sensors import canonical_array
from ..store import WindowStore
from ..utils.files import write_whole
from ..weights import (
    PARTICIPANT_PARTS,
    delete_participant_parts,
    save_checkpoint,
)
from ..weights.checkpoint import ParticipantPart
from ._run import History
from ._settings import NOT_STATED, PretrainSettings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def describe_run(
    store: WindowStore,
    *,
    backbone: str,
    n_held_out: int,
    settings: PretrainSettings,
    history: History,
    n_steps: int,
    n_processes: int,
    device: torch.device,
) -> dict:
    """Collect what the weights have seen, as kept in ``config.json``.

    Participants are counted, never named.
    """
    table = store.table
    # the folder of the checkpoint is private, its name is not
    weights = settings.weights and settings.weights.rstrip("/").rsplit("/")[-1]
    versions = {n: metadata.version(n) for n in ("mne", "numpy", "safetensors")}
    return {
        "name": settings.name,
        "backbone": backbone,
        "licence": settings.licence,
        "started_from": weights or "random weights",
        "participants": int(table["participant"].nunique()),
        "participants_held_out": n_held_out,
        "recordings": len(table),
        "windows": len(store),
        "hours": round(float(table["seconds"].sum()) / 3600, 3),
        "counts": _counts(table),
        "store": store.fingerprint,
        "settings": settings.to_dict() | {"weights": weights},
        "epochs": len(history.epoch),
        "epochs_planned": settings.epochs,
        "steps": n_steps,
        "best_epoch": history.best_epoch,
        "train_loss": [round(x, 5) for x in history.train_loss],
        "valid_loss": [round(x, 5) for x in history.valid_loss],
        "r2": {k: [round(x, 4) for x in v] for k, v in history.r2.items()},
        "processes": n_processes,
        "hardware": _hardware(device),
        "versions": {
            "mne-megfm": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            **versions,
        },
    }


def _counts(table: pd.DataFrame) -> list[dict]:
    """Count what there is of each state and array."""
    groups = table.groupby(["state", "array"], sort=True)
    return [
        {
            "state": state,
            "array": array or "not stated",
            "participants": int(part["participant"].nunique()),
            "recordings": len(part),
            "windows": int(part["n_windows"].sum()),
            "hours": round(float(part["seconds"].sum()) / 3600, 3),
        }
        for (state, array), part in groups
    ]


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {os.cpu_count()} cores, {device.type}"


# of one recording: they would name the participant, where a store has a single one
_OF_A_RECORDING = ("file", "sha256", "bytes")


def common_provenance(store: WindowStore) -> dict:
    """Collect what the provenance of all recordings agrees on: the parameters."""
    common: dict | None = None
    for name in store.table["name"]:
        provenance = store.notes(name)["provenance"]
        if common is None:
            common = {k: v for k, v in provenance.items() if k not in _OF_A_RECORDING}
        common = {
            key: value
            for key, value in common.items()
            if key in provenance and provenance[key] == value
        }
    return common or {}


def run_card(training: dict) -> str:
    """Write the model card of a run, in Markdown.

    Parameters
    ----------
    training : dict
        From `describe_run`, with ``"reconstruction"`` once that is measured.
    """
    t = training
    s = t["settings"]
    state = ""
    if t["epochs"] < t["epochs_planned"]:
        state = (
            f"**Not done:** saved after epoch {t['epochs']} of "
            f"{t['epochs_planned']} at most.\n\n"
        )
    data = _table(
        ["state", "array", "participants", "recordings", "windows", "hours"],
        t["counts"],
    )
    losses = _table(
        ["epoch", "training", "held out", *(f"R² {name}" for name in t["r2"])],
        [
            {
                "epoch": n + 1,
                "training": t["train_loss"][n],
                "held out": t["valid_loss"][n],
                **{f"R² {name}": values[n] for name, values in t["r2"].items()},
            }
            for n in range(t["epochs"])
        ],
    )
    versions = ", ".join(f"{name} {v}" for name, v in t["versions"].items())
    options = "\n".join(
        f"- `{name}`: `{value}`"
        for name, value in s.items()
        if name not in ("name", "licence", "weights")
    )
    return f"""---
library_name: mne-megfm
license: {"other" if t["licence"] == NOT_STATED else t["licence"].lower()}
tags: [MEG, masked-signal reconstruction]
---

# {t["name"]}

{state}Weights of the backbone `{t["backbone"]}` for mne-megfm, to be used by
`MEGFMTransformer(weights=...)` with this folder.

## Limits

- Not for diagnosis, nor for any other clinical use.
- What they carry over to other tasks, systems and populations than those below has
  not been measured here.

## Data

{t["windows"]} windows ({t["hours"]} hours) of {t["participants"]} participants,
{t["participants_held_out"]} of them held out for validation. Store: `{t["store"]}`.

{data}
How recordings came to be windows: `preprocessing.json`.

## Training

Started from {t["started_from"]}; {t["steps"]} steps in {t["epochs"]} epochs, of which
number {t["best_epoch"]}, with the least loss on held-out participants, is kept.
{t["processes"]} process(es) on {t["hardware"]}. {versions}.

{options}

## Losses

R²: explained share of the hidden signal of held-out participants, masks as in training.

{losses}{_reconstruction(t)}{_participants(t)}
## Licence

{t["licence"]}
"""


def _reconstruction(training: dict) -> str:
    if "reconstruction" not in training:
        return ""
    rows = [
        {"state": state, "hidden": mask, **r2}
        for state, masks in training["reconstruction"].items()
        for mask, r2 in masks.items()
    ]
    columns = ["state", "hidden", "model", "field", "time"]
    return (
        "\n## Masked reconstruction\n\n"
        "R² on held-out participants, beside minimum-norm interpolation of the field\n"
        "at the best of six regularisations (chosen on the hidden truth) and straight\n"
        "lines in time; "
        f"at most {training['reconstruction_windows']} windows a state, one mask "
        f"each,\nseed {training['settings']['random_state']}.\n\n"
        f"{_table(columns, rows)}"
    )


def _participants(training: dict) -> str:
    """Say whose the weights of participants are, and what they have seen."""
    out = ""
    for part in PARTICIPANT_PARTS:
        if part.key in training:
            seen = {
                k: v for k, v in training[part.key].items() if not isinstance(v, list)
            }
            listed = "".join(f"- {name}: {value}\n" for name, value in seen.items())
            out += (
                f"\n## {part.name.capitalize()}\n\n"
                f"`{part.weights}` is that of {training['started_from']}, unchanged: "
                "it was not\ntrained in this run, nor on the data above. What it has "
                f"seen (`{part.config}`):\n\n{listed}"
            )
    return out


def _table(columns: list[str], rows: list[dict]) -> str:
    lines = [columns, ["---"] * len(columns)]
    lines += [[str(row[column]) for column in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def draw_curves(history: History, losses: Axes, shares: Axes) -> None:
    """Draw losses, and explained shares, against epochs."""
    losses.plot(history.epoch, history.train_loss, label="training")
    losses.plot(history.epoch, history.valid_loss, label="held-out participants")
    losses.axvline(history.best_epoch, color="0.7", lw=1, zorder=0)
    losses.set(xlabel="epoch", ylabel="loss")
    losses.legend(frameon=False)
    for name, values in history.r2.items():
        shares.plot(history.epoch, values, label=name)
    shares.set(xlabel="epoch", ylabel="R² of hidden signal, held out")
    if history.r2:
        shares.legend(frameon=False)


def write_curves(history: History, directory: Path) -> None:
    """Write ``history.csv`` and ``curves.png``."""
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    history.to_csv(directory / "history.csv")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    draw_curves(history, *figure.subplots(1, 2))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    write_whole(directory / "curves.png", out.getvalue())


def write_tensorboard(history: History, directory: Path) -> None:
    """Write the last epoch as TensorBoard events, where TensorBoard is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.debug("No TensorBoard: losses are in history.csv and curves.png alone.")
        return
    with SummaryWriter(directory) as writer:
        for name, values in history.columns.items():
            if name != "epoch":
                writer.add_scalar(name, values[-1], history.epoch[-1])


#: Windows for the axes of compact pooling: after an epoch, and in the end.
AXES_WINDOWS, FINAL_AXES_WINDOWS = 256, 20_000
#: Held-out windows of each state that the card's scores are of.
SCORED_WINDOWS = 128
#: Kinds of masks that the card reports on, whatever was trained with.
SCORED_MASKS = {
    "random 80 %": RandomMasking(0.8),
    "time blocks of 300 ms": TimeBlockMasking(0.3),
    "quarter of the sensors": SpaceBlockMasking(0.25),
}


class Product:
    """Checkpoint, card and curves of a run, written by its first process.

    Parameters
    ----------
    store : WindowStore
        The data.
    directory : Path
        Where to write.
    settings : PretrainSettings
        Those of the run.
    model : Backbone
        The model that is trained.
    n_processes : int
        How many train together.
    device : device
        What they train on.
    parts : dict of tuple, optional
        Weights of participants that go with those of windows: from `ParticipantPart`
        to the network and what it has seen.
    pooling : Module | None
        A pooling to fit and to keep with the weights.
    """

    def __init__(
        self,
        store: WindowStore,
        directory: Path,
        settings: PretrainSettings,
        model: Backbone,
        n_processes: int,
        device: torch.device,
        parts: Mapping[ParticipantPart, tuple[nn.Module, dict]] | None = None,
        pooling: nn.Module | None = None,
    ) -> None:
        self.store = store
        self.directory = directory
        self.settings = settings
        self.config = model.config
        self.backbone = name_of("backbones", model)
        self.pooling, self._start_of_pooling = pooling, pooling
        self.n_processes = n_processes
        self.device = device
        self.parts = parts or {}
        self.train, self.valid = store.split(
            settings.validation_fraction, settings.random_state
        )
        self._preprocessing = common_provenance(store)

    def update(self, history: History, best: dict[str, Tensor]) -> None:
        """Write curves after an epoch, and the checkpoint if it is the best so far."""
        write_curves(history, self.directory)
        write_tensorboard(history, self.directory / "run" / "tensorboard")
        if history.best_epoch == history.epoch[-1]:
            self._write(self._model(best, AXES_WINDOWS), self._describe(history))

    def finish(self, history: History, best: dict[str, Tensor]) -> None:
        """Write the checkpoint with scores on what was held out."""
        write_curves(history, self.directory)
        model = self._model(best, FINAL_AXES_WINDOWS)
        training = self._describe(history)
        if isinstance(model, Reconstructor) and history.r2:
            training["reconstruction"] = self._score(model)
            training["reconstruction_windows"] = SCORED_WINDOWS
        self._write(model, training)
        logger.info(f"Wrote the checkpoint {self.directory}")

    def _describe(self, history: History) -> dict:
        held_out = np.unique(self.store.participant[self.valid])
        s = self.settings
        n_batches = s.steps_per_epoch or math.ceil(len(self.train) / s.batch_size)
        described = describe_run(
            self.store,
            backbone=self.backbone,
            n_held_out=len(held_out),
            settings=s,
            history=history,
            n_steps=n_batches * len(history.epoch),
            n_processes=self.n_processes,
            device=self.device,
        )
        return described | {p.key: seen for p, (_, seen) in self.parts.items()}

    def _model(self, state: dict[str, Tensor], n_windows: int) -> Backbone:
        """Make a model of gathered weights, and find the axes of its tokens."""
        # its random start is replaced, and must not change the random numbers of a run
        with torch.random.fork_rng(devices=[]):
            model = make_backbone(self.backbone, self.config, state["kernel"])
        model.load_state_dict(state)
        model.to(self.device)
        given = {"index": self.train, "random_state": self.settings.random_state}
        fit_token_projection(model, self.store, n_windows, **given)
        if self.pooling is not None:
            # from its start, or a run that was interrupted would end with another one
            self.pooling = copy.deepcopy(self._start_of_pooling)
            fit_pooling(self.pooling, model, self.store, **given)
        return model

    def _score(self, model: Reconstructor) -> dict[str, dict]:
        """Score masked reconstruction of held-out windows, by state and mask."""
        region_pos = torch.from_numpy(np.array(canonical_array().region_pos))
        rng = np.random.default_rng(self.settings.random_state)
        states = self.store.state[self.valid]
        scores = {}
        for state in np.unique(states).tolist():
            index = rng.permutation(self.valid[states == state])[:SCORED_WINDOWS]
            data, n_valid = map(torch.as_tensor, self.store.take(index))
            scores[state] = {
                name: {
                    key: round(value, 3)
                    for key, value in masked_r2(
                        model,
                        data,
                        masking,
                        region_pos,
                        n_valid=n_valid,
                        random_state=self.settings.random_state,
                    ).items()
                }
                for name, masking in SCORED_MASKS.items()
            }
        return scores

    def _write(self, model: Backbone, training: dict) -> None:
        # before the window weights: whoever finds these finds the others, too, also
        # where this process is killed in between
        for part, (network, seen) in self.parts.items():
            part.save(self.directory, network, model.kernel, seen)
        save_checkpoint(
            self.directory,
            model,
            pooling=self.pooling,
            card=run_card(training),
            training=training,
            preprocessing=self._preprocessing,
            overwrite=True,
        )
        # of a checkpoint that was there before
        delete_participant_parts(self.directory, kept=self.parts)
