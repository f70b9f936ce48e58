"""Where the bundled weights are."""

from __future__ import annotations

import re
from pathlib import Path

from ._hub import SCHEME, download_weights

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
