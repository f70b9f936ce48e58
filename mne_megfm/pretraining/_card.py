"""What a checkpoint says of the run that it came from."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING

import torch

from .._version import __version__
from ..store import WindowStore
from ._history import History
from ._settings import NOT_STATED, PretrainSettings

if TYPE_CHECKING:
    import pandas as pd


def describe_run(
    store: WindowStore,
    *,
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
    # where the checkpoint lay is nobody's business, what it is called is
    weights = settings.weights and settings.weights.rstrip("/").rsplit("/")[-1]
    versions = {n: metadata.version(n) for n in ("mne", "numpy", "safetensors")}
    return {
        "name": settings.name,
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


def common_provenance(store: WindowStore) -> dict:
    """Collect what the provenance of all recordings agrees on: the parameters."""
    common: dict | None = None
    for name in store.table["name"]:
        provenance = store.notes(name)["provenance"]
        if common is None:
            common = dict(provenance)
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

{state}Weights of the masked-signal transformer of mne-megfm, for
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

{losses}{_reconstruction(t)}{_encoder(t)}
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
        f"each,\nseed {training['settings']['seed']}.\n\n{_table(columns, rows)}"
    )


def _encoder(training: dict) -> str:
    """Say whose the participant encoder is, and what it has seen."""
    if "level" not in training:
        return ""
    seen = {k: v for k, v in training["level"].items() if not isinstance(v, list)}
    listed = "".join(f"- {name}: {value}\n" for name, value in seen.items())
    return (
        "\n## Participant encoder\n\n"
        f"`participant.safetensors` is that of {training['started_from']}, unchanged: "
        "it was not\ntrained in this run, nor on the data above. What it has seen "
        f"(`participant.json`):\n\n{listed}"
    )


def _table(columns: list[str], rows: list[dict]) -> str:
    lines = [columns, ["---"] * len(columns)]
    lines += [[str(row[column]) for column in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
