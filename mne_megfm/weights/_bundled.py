"""Weights by name: bundled with the package, or downloaded."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import ModuleType

from ..utils.extras import needs_extra

SCHEME = "hf://"
#: All that is taken from a repository or brought there. Whole names: in the patterns
#: of the hub's client, * goes into folders, such as that of the run.
FILES = [
    "README.md",
    "config.json",
    "model.safetensors",
    "participant.json",
    "participant.safetensors",
    "posterior.json",
    "posterior.safetensors",
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
    with needs_extra("hub", "weights by hf://owner/name"):
        import huggingface_hub
    return huggingface_hub


_FOLDER = Path(__file__).parent
#: What makes a folder one of weights; which of these is missing is said on reading.
_CHECKPOINT = ("config.json", "model.safetensors")


def available_weights() -> tuple[str, ...]:
    """List the weights that come with the package.

    Returns
    -------
    names : tuple of str
        Names for ``MEGFMTransformer(weights=...)``.

    Examples
    --------
    >>> from mne_megfm.weights import available_weights
    >>> available_weights()
    ('megfm-tiny',)
    """
    return tuple(sorted(path.parent.name for path in _FOLDER.glob("*/config.json")))


def weights_path(weights: str | Path) -> Path:
    """Find the folder of bundled weights or of a checkpoint.

    A network is asked only for names that begin with ``hf://``.

    Parameters
    ----------
    weights : str | Path
        Name of bundled weights, a folder written by ``save_pretrained`` or
        ``mne-megfm pretrain``, or ``hf://owner/name`` on the Hugging Face hub.

    Returns
    -------
    path : Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If there is neither.

    Examples
    --------
    >>> from mne_megfm.weights import weights_path
    >>> weights_path("megfm-tiny").name
    'megfm-tiny'
    """
    if str(weights) in available_weights():
        return _FOLDER / str(weights)
    if str(weights).startswith(SCHEME):
        return download_weights(str(weights))
    path = Path(weights).expanduser()
    if (
        path.is_dir()
        and str(weights)
        and any((path / n).is_file() for n in _CHECKPOINT)
    ):
        return path
    if not str(weights):
        what = "an empty name"
    elif path.is_dir():
        what = f"the folder {path.resolve()}, which has neither {_CHECKPOINT[0]} nor "
        what += _CHECKPOINT[1]
    else:
        what = "a file" if path.is_file() else repr(str(weights))
    raise FileNotFoundError(
        f"Expected the name of bundled weights {available_weights()} or a folder "
        f"with a checkpoint, got {what}; nothing is looked up on a network but "
        "hf://owner/name. Correct the name, or pass weights=None to start from "
        "scratch."
    )


def read_card(weights: str | Path) -> str:
    """Read the model card of weights, without what is meant for programs.

    Parameters
    ----------
    weights : str | Path
        As for `weights_path`.

    Returns
    -------
    text : str
        The card in Markdown, without the YAML at its head; empty if there is none.

    Raises
    ------
    FileNotFoundError
        If there are no such weights.

    Examples
    --------
    >>> from mne_megfm.weights import read_card
    >>> read_card("megfm-tiny").splitlines()[0]
    '# megfm-tiny'
    """
    path = weights_path(weights) / "README.md"
    if not path.is_file():
        return ""
    text = path.read_text("utf-8", errors="replace")
    return re.sub(r"\A---\s*\n.*?^---\s*$\n*", "", text, flags=re.DOTALL | re.MULTILINE)
