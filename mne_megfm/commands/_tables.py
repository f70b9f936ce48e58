"""Tables that commands read and write: CSV, TSV and parquet."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click
import pandas as pd

SUFFIXES = (".csv", ".tsv", ".parquet")


def check_target(path: Path, overwrite: bool, suffixes: tuple[str, ...]) -> None:
    """See that a file can be written, before time is spent on what it will hold."""
    if path.suffix not in suffixes:
        raise click.UsageError(
            f"Expected a file that ends with {' or '.join(suffixes)}, got {path.name}."
        )
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"Expected a new file, got {path}, which exists; choose another one, or "
            "pass --overwrite."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"Expected a folder {path.parent} to write to, got none; make it first."
        )
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise PermissionError(
            f"Expected a folder to write to, got {path.parent}, where that fails "
            f"({error}); choose another one."
        ) from error


def read_table(path: Path) -> pd.DataFrame:
    """Read a table by its suffix; participants are names, also if digits."""
    if path.suffix not in SUFFIXES:
        raise click.UsageError(
            f"Expected a table that ends with {' or '.join(SUFFIXES)}, got {path.name}."
        )
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    names = dict.fromkeys(("participant", "participant_id", "state", "file"), str)
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=names)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table by its suffix, aside first."""
    aside = path.with_name(f".writing-{path.name}")
    try:
        if path.suffix == ".parquet":
            frame.to_parquet(aside, index=False)
        else:
            separator = "\t" if path.suffix == ".tsv" else ","
            frame.to_csv(aside, sep=separator, index=False)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
