"""Tell what a checkpoint is, or what is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ._options import Command, run_as_module


@click.command(
    cls=Command,
    examples="""
    mne-megfm info
    mne-megfm info megfm-tiny
    mne-megfm info OUT --json
    """,
)
@click.argument("weights", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print config.json as it is.")
def command(weights: str | None, as_json: bool) -> None:
    """Tell what WEIGHTS are, or, without, what is installed.

    WEIGHTS is the name of bundled weights, a checkpoint's folder or hf://owner/name,
    which is looked up on the Hugging Face hub. All files are checked on the way.
    """
    if weights is None:
        if as_json:
            raise click.UsageError("Expected WEIGHTS with --json, got none.")
        from .._sys_info import sys_info

        sys_info()
        return
    from ..weights import load_checkpoint, read_config, weights_path

    path = weights_path(weights)
    model = load_checkpoint(path)
    config = read_config(path)
    if as_json:
        click.echo(json.dumps(config, indent=2))
        return
    n_parameters = sum(p.numel() for p in model.parameters())
    rows = {
        "Folder": path,
        "Format": config["format"],
        "Parameters": f"{n_parameters:,} in {len(model.state_dict())} arrays, all read",
        "Size": f"{_size(path) / 1e6:.1f} MB",
        **_seen(config["training"]),
    }
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        click.echo(f"{name:<{width}}{value}")


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.glob("*.safetensors"))


def _seen(training: dict[str, Any]) -> dict[str, str]:
    """Tell the scalar facts of training; lists of losses are for ``--json``."""
    return {
        name.replace("_", " ").capitalize(): str(value)
        for name, value in training.items()
        if isinstance(value, str | int | float)
    }


if __name__ == "__main__":
    run_as_module("info")
