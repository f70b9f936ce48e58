"""Weights with their configuration on disk: safetensors and JSON, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from ..models import MaskedSignalTransformer, ModelConfig
from ._files import find_together, sha256, write_together

FORMAT = "mne-megfm 1"
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
PREPROCESSING = "preprocessing.json"
#: Endings of files of weights that run code when they are read.
PICKLES = {".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth"}


def save_checkpoint(
    directory: str | os.PathLike,
    model: MaskedSignalTransformer,
    *,
    card: str = "",
    training: dict | None = None,
    preprocessing: dict | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a model with all that is needed to use it.

    The folder gets ``model.safetensors``, ``config.json`` (sizes, training, and the
    hashes of the files that belong to it), ``preprocessing.json`` (what a window is)
    and ``README.md`` (the model card). Killed at any moment, it leaves the checkpoint
    that was there or the new one, and :func:`load_checkpoint` reads it.

    Parameters
    ----------
    directory : path-like
        Where to; made if it does not exist.
    model : MaskedSignalTransformer
        The model.
    card : str
        The model card, in Markdown.
    training : dict, optional
        What the weights have seen, kept in ``config.json``.
    preprocessing : dict, optional
        How recordings came to be windows, added to what the model's sizes say in
        ``preprocessing.json``.
    overwrite : bool
        Whether an existing checkpoint may be replaced.

    Returns
    -------
    directory : Path
        Where it was written.

    Raises
    ------
    FileExistsError
        If there is something already and ``overwrite`` is False.

    Examples
    --------
    >>> import tempfile
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.pretraining import load_checkpoint, save_checkpoint
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(folder + "/mine", model)
    ...     load_checkpoint(path).config.d_model
    32
    """
    directory = Path(directory).expanduser()
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(
            f"Expected a folder at {directory}, got a file; choose another path."
        )
    if not overwrite and directory.is_dir() and any(directory.iterdir()):
        raise FileExistsError(
            f"Expected no files in {directory}, got some; pass overwrite=True to "
            "replace the checkpoint, or choose another folder."
        )
    directory.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    windows = _describe_windows(model.config) | (preprocessing or {})
    checked = {
        WEIGHTS: save(state, metadata={"format": FORMAT}),
        PREPROCESSING: _json(windows),
    }
    config = {
        "format": FORMAT,
        "sha256": {n: hashlib.sha256(data).hexdigest() for n, data in checked.items()},
        "model": model.config.to_dict(),
        "training": training or {},
    }
    card = card or "# A checkpoint of mne-megfm\n"
    files = {**checked, CARD: card.encode(), CONFIG: _json(config)}
    write_together(directory, files, last=CONFIG)
    return directory


def _json(content: dict) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()


def _describe_windows(config: ModelConfig) -> dict:
    """Tell what every window of a model is."""
    return {
        "array": f"canonical, {config.n_sensors} virtual magnetometers",
        "unit": "T",
        "sfreq": config.sfreq,
        "n_times": config.n_times,
    }


def read_config(directory: str | os.PathLike) -> dict:
    """Read ``config.json`` of a checkpoint, and check the files that belong to it.

    Parameters
    ----------
    directory : path-like
        The checkpoint.

    Returns
    -------
    config : dict
        With ``"format"``, ``"model"`` (see :class:`~mne_megfm.models.ModelConfig`),
        ``"training"`` (what the weights have seen) and ``"sha256"`` (of the files).

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint.
    ValueError
        If it is of another kind or version, or damaged.

    Examples
    --------
    >>> import tempfile
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.pretraining import read_config, save_checkpoint
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_checkpoint(folder, model, training={"epochs": 3})
    ...     read_config(path)["training"]
    {'epochs': 3}
    """
    return _read(Path(directory).expanduser())[0]


def _read(directory: Path) -> tuple[dict, Path]:
    """Read the configuration, and find the weights that belong to it."""
    missing = [n for n in (CONFIG, WEIGHTS) if not (directory / n).is_file()]
    if missing:
        message = (
            f"Expected a checkpoint folder with {CONFIG} and {WEIGHTS} at "
            f"{directory}, but {' and '.join(missing)} is missing; "
        )
        pickles = sorted(p.name for p in directory.glob("*") if p.suffix in PICKLES)
        if WEIGHTS in missing and pickles:
            raise FileNotFoundError(
                f"{message}{', '.join(pickles)} may be pickled, and pickles run code "
                "when they are read, so they never are: ask for safetensors."
            )
        raise FileNotFoundError(
            f"{message}give the name of bundled weights or a folder written by "
            "save_pretrained or `mne-megfm pretrain`."
        )
    # what a crash left aside is the new checkpoint, or else the one in place counts
    found = find_together(directory, CONFIG) or {}
    path = found.get(CONFIG, directory / CONFIG)
    try:
        config = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"Expected JSON in {path}, got something else ({error}); the file is "
            "damaged: copy the checkpoint again."
        ) from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        got = config.get("format") if isinstance(config, dict) else config
        raise ValueError(
            f"Expected a checkpoint of format {FORMAT!r} at {directory}, got {got!r}; "
            "use the version of mne-megfm that wrote it."
        )
    for part in ("sha256", "model", "training"):
        if not isinstance(config.get(part), dict):
            raise ValueError(
                f"Expected a table {part!r} in {path}, got {config.get(part)!r}; the "
                "file is damaged: copy the checkpoint again."
            )
    if WEIGHTS not in found:
        listed = {WEIGHTS: None} | config["sha256"]
        wrong = [
            name
            for name, digest in listed.items()
            if not (directory / name).is_file() or sha256(directory / name) != digest
        ]
        raise ValueError(
            f"Expected in {directory} the files whose hashes {CONFIG} has, got other "
            f"ones: {', '.join(wrong)}; damaged, or of another checkpoint: copy all "
            "files again."
        )
    return config, found[WEIGHTS]


def load_checkpoint(directory: str | os.PathLike) -> MaskedSignalTransformer:
    """Read a model back, strictly: every array must match.

    Parameters
    ----------
    directory : path-like
        A folder written by :func:`save_checkpoint`.

    Returns
    -------
    model : MaskedSignalTransformer
        The model in evaluation mode, on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint.
    ValueError
        If it is damaged, or its arrays are not those of its configuration.

    Examples
    --------
    See :func:`save_checkpoint`.
    """
    config, path = _read(Path(directory).expanduser())
    try:
        with safe_open(path, "pt") as file:
            kind = (file.metadata() or {}).get("format")
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"Expected safetensors in {path}, got something else ({error}); the file "
            "is damaged or of another kind: copy the checkpoint again."
        ) from error
    if kind != FORMAT:
        raise ValueError(
            f"Expected weights of format {FORMAT!r} in {path}, got {kind!r}; the "
            "folder mixes files of different programs."
        )
    # its random start is replaced, and must not cost the caller random numbers
    with torch.random.fork_rng(devices=[]):
        model = MaskedSignalTransformer(ModelConfig.from_dict(config["model"]))
    check_state(state, model.state_dict(), str(path))
    model.load_state_dict(state, strict=True)
    return model.eval()


def check_state(state: dict, expected: dict, source: str) -> None:
    """Compare names and shapes of arrays, and say how many match.

    Parameters
    ----------
    state : dict of Tensor
        What was read.
    expected : dict of Tensor
        What the configuration asks for.
    source : str
        Where it was read, for the message.

    Raises
    ------
    ValueError
        If any array is missing, unknown, or of another shape, or not finite.
    """
    matched = {
        name
        for name, array in expected.items()
        if name in state and state[name].shape == array.shape
    }
    wrong = sorted((set(expected) | set(state)) - matched)
    if wrong:
        shown = ", ".join(wrong[:4]) + (", ..." if len(wrong) > 4 else "")
        raise ValueError(
            f"Expected {len(expected)} arrays as its configuration says in {source}, "
            f"but only {len(matched)} match (not: {shown}); the weights and the "
            "configuration are not of one checkpoint."
        )
    damaged = [n for n, a in state.items() if not bool(torch.isfinite(a).all())]
    if damaged:
        raise ValueError(
            f"Expected finite weights in {source}, got NaN or infinity in "
            f"{', '.join(damaged[:4])}; the checkpoint is damaged or training diverged."
        )
