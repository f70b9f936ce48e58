"""What kind of store a folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ._commit import commit

#: Version of the layout on disk. Another one is refused.
VERSION = 1
FILE = "store.json"
_FORMAT = "mne-megfm window store"


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Make a folder a store.

    Parameters
    ----------
    folder : Path
        The folder.
    settings : dict
        Form of the windows.
    """
    content = {"format": _FORMAT, "version": VERSION} | settings
    commit(folder / FILE, (json.dumps(content, indent=1) + "\n").encode())


def read_settings(folder: Path) -> dict[str, Any]:
    """Read what kind of store this is.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    settings : dict
        Form of the windows.

    Raises
    ------
    FileNotFoundError
        If the folder holds no store.
    ValueError
        If it holds one of another version, or something else.
    """
    file = folder / FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"Expected a window store in {folder}, got no {FILE}; make one with "
            "`mne-megfm prepare` or WindowStore.create."
        )
    try:
        settings = json.loads(file.read_text("utf-8"))
        found = settings["format"], settings["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected the settings of a window store in {file}, got something else "
            f"({error!r}); the file is damaged or not ours."
        ) from error
    if found != (_FORMAT, VERSION):
        raise ValueError(
            f"Expected {_FORMAT!r} of version {VERSION} in {file}, got {found[0]!r} of "
            f"version {found[1]!r}; use the mne-megfm that wrote it, or prepare the "
            "recordings again."
        )
    return settings
