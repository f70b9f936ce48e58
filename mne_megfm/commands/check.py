"""Find what of a store, of weights or of a run is damaged."""

from __future__ import annotations

from pathlib import Path

import click

from ._options import Command, run_as_module


@click.command(
    cls=Command,
    examples="""
    mne-megfm check STORE
    mne-megfm check OUT
    mne-megfm check megfm-tiny
    """,
)
@click.argument("path")
def command(path: str) -> None:
    """Read all of PATH and tell what has changed since it was written.

    PATH is a window store, a checkpoint, the folder of a run, the name of bundled
    weights, or hf://owner/name. The exit code is 1 if anything is damaged. Model cards
    and figures are not looked at: nothing is computed from them.
    """
    folder = Path(path).expanduser()
    is_store = (folder / "store.json").exists() or (folder / "recordings").is_dir()
    damage = _damage_to_store(folder) if is_store else _damage_to_weights(path)
    for part, message in damage.items():
        click.echo(f"{part}: {message or 'as it was written'}")
    n_damaged = sum(map(bool, damage.values()))
    if n_damaged:
        click.echo(f"{n_damaged} damaged in {path}", err=True)
        click.get_current_context().exit(1)


def _damage_to_store(folder: Path) -> dict[str, str]:
    """Read a store; give what is wrong by part, empty for the parts that are whole."""
    from mne.utils import ProgressBar

    from ..store import WindowStore

    try:
        store = WindowStore(folder)
    except (OSError, ValueError) as error:
        return {"store.json": str(error)}
    damage = {"store.json": ""}
    n_whole = 0
    for file in ProgressBar(store.files, mesg="Reading"):
        names = store.damaged([file])
        n_whole += not names
        for name in names:
            damage[f"recordings/{file.name}"] = (
                f"{name} is not as it was written; delete the file, and prepare "
                "the recording again."
            )
    damage[f"{n_whole} recordings"] = ""
    return damage


def _damage_to_weights(path: str) -> dict[str, str]:
    """Read weights and the run beside them, in a folder or by name."""
    from ..pretraining import find_damage
    from ..weights import available_weights, weights_path

    folder = Path(path).expanduser()
    if path in available_weights() or not folder.is_dir():
        folder = weights_path(path)
    return find_damage(folder)


if __name__ == "__main__":
    run_as_module("check")
