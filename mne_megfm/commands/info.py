"""Tell what a checkpoint is, what is installed, or which parts there are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._options import Command, run_as_module

if TYPE_CHECKING:
    from ..plugins import PartInfo


@click.command(
    cls=Command,
    examples="""
    mne-megfm info
    mne-megfm info megfm-tiny
    mne-megfm info OUT --json
    mne-megfm info --plugins
    """,
)
@click.argument("weights", required=False)
@click.option("--plugins", is_flag=True, help="List all parts that have names.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print config.json, or the list, as JSON."
)
def command(weights: str | None, plugins: bool, as_json: bool) -> None:
    """Tell what WEIGHTS are, or, without, what is installed.

    WEIGHTS is the name of bundled weights, a checkpoint's folder or hf://owner/name,
    which is looked up on the Hugging Face hub. All files are checked on the way. With
    --plugins, parts of all kinds are listed: where they come from, and what they are,
    or why they cannot be used.
    """
    if plugins:
        if weights is not None:
            raise click.UsageError(
                f"Expected no WEIGHTS with --plugins, got {weights}."
            )
        _show_parts(as_json)
        return
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


def _show_parts(as_json: bool) -> None:
    """Print the parts of all kinds, those of each kind below its name."""
    from ..plugins import KINDS, describe

    parts = {kind: describe(kind) for kind in KINDS}
    if as_json:
        rows = [asdict(part) for found in parts.values() for part in found]
        click.echo(json.dumps(rows, indent=2))
        return
    texts = {
        part: (part.name, _from(part), part.error and f"NOT USABLE: {part.error}")
        for found in parts.values()
        for part in found
    }
    widths = [max(len(text[i]) for text in texts.values()) for i in (0, 1)]
    for kind, found in parts.items():
        click.echo(f"{kind} (entry points: {KINDS[kind].group})")
        for part in found:
            name, where, error = texts[part]
            columns = f"  {name:<{widths[0]}}  {where:<{widths[1]}}  "
            click.echo((columns + (error or part.summary)).rstrip())


def _from(part: PartInfo) -> str:
    if part.origin == "built in":
        return part.origin
    return f"{part.origin} ({part.entry_point})"


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
