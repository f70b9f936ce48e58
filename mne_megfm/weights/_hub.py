"""Weights on the Hugging Face hub, for those who ask by name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import ModuleType

SCHEME = "hf://"
#: All that is taken from a repository or brought there. Whole names: in the patterns
#: of the hub's client, * goes into folders, such as that of the run.
FILES = [
    "README.md",
    "config.json",
    "model.safetensors",
    "participant.json",
    "participant.safetensors",
    "preprocessing.json",
]


def download_weights(name: str) -> Path:
    """Download a checkpoint from the Hugging Face hub, or find it in the cache.

    ``weights="hf://owner/name"`` of an estimator does this.

    Parameters
    ----------
    name : str
        ``hf://owner/name`` or ``hf://owner/name@revision``.

    Returns
    -------
    path : Path
        The folder in the cache of huggingface_hub, whose settings apply
        (``HF_HOME``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``).

    Raises
    ------
    FileNotFoundError
        If there is no such repository, or it cannot be reached.
    ImportError
        If huggingface_hub is not installed.
    ValueError
        If the name is not of that form.
    """
    repository, revision = _parse(name)
    hub = _import_hub()
    try:
        path = hub.snapshot_download(
            repository, revision=revision, allow_patterns=FILES
        )
    except (OSError, hub.errors.HfHubHTTPError) as error:
        raise FileNotFoundError(
            f"Expected weights at {name}, got {type(error).__name__}: {error}; check "
            "the name, the network and your rights, or copy the folder by hand and "
            "give its path."
        ) from error
    return Path(path)


def upload_weights(
    directory: str | os.PathLike, name: str, *, private: bool = True
) -> str:
    """Upload a checkpoint to the Hugging Face hub.

    Only the files of a checkpoint go there: no run, no log, nothing else that lies in
    the folder.

    Parameters
    ----------
    directory : path-like
        The checkpoint.
    name : str
        ``hf://owner/name`` or ``hf://owner/name@revision``; the repository is made
        if there is none.
    private : bool
        Whether a new repository is private.

    Returns
    -------
    url : str
        Where the commit can be seen.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint in the folder.
    ImportError
        If huggingface_hub is not installed.
    ValueError
        If the name is not of that form.
    """
    repository, revision = _parse(name)
    directory = Path(directory).expanduser()
    if not all((directory / n).is_file() for n in ("config.json", "model.safetensors")):
        raise FileNotFoundError(
            f"Expected a checkpoint with config.json and model.safetensors at "
            f"{directory}, got none; give a folder written by save_pretrained or "
            "`mne-megfm pretrain`."
        )
    api = _import_hub().HfApi()
    api.create_repo(repository, private=private, exist_ok=True)
    commit = api.upload_folder(
        repo_id=repository,
        folder_path=directory,
        revision=revision,
        allow_patterns=FILES,
        commit_message="Upload weights for mne-megfm",
    )
    return str(commit.commit_url)


def _parse(name: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", str(name))
    if match is None:
        raise ValueError(
            f"Expected hf://owner/name or hf://owner/name@revision, got {name!r}; "
            "correct the name."
        )
    return match[1], match[2]


def _import_hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "Expected huggingface_hub for weights by hf://owner/name, got none; "
            "install it: pip install 'mne-megfm[hub]'."
        ) from error
    return huggingface_hub
