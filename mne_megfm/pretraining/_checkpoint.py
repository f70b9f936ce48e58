"""Weights with their configuration on disk: safetensors and JSON, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .._integrity import Header, parse_sealed_json, sealed_json
from ..models import MaskedSignalTransformer, ModelConfig
from ._files import find_together, write_together

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
        PREPROCESSING: (json.dumps(windows, indent=2) + "\n").encode(),
    }
    config = {
        "format": FORMAT,
        "sha256": {n: hashlib.sha256(data).hexdigest() for n, data in checked.items()},
        "model": model.config.to_dict(),
        "training": training or {},
    }
    card = card or "# A checkpoint of mne-megfm\n"
    files = {**checked, CARD: card.encode(), CONFIG: sealed_json(config)}
    write_together(directory, files, last=CONFIG)
    return directory


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
    found = find_together(directory, CONFIG, (WEIGHTS, PREPROCESSING))
    config = parse_sealed_json(found[CONFIG].read_bytes())
    if config.get("format") != FORMAT:
        raise ValueError(
            f"Expected a checkpoint of format {FORMAT!r} at {directory}, got "
            f"{config.get('format')!r}; use the version of mne-megfm that wrote it."
        )
    for part in ("model", "training"):
        if not isinstance(config.get(part), dict):
            raise ValueError(
                f"Expected a table {part!r} in {found[CONFIG]}, got "
                f"{config.get(part)!r}; the file is damaged: copy the checkpoint again."
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
    sizes = ModelConfig.from_dict(config["model"])
    state = read_arrays(path, FORMAT, lambda: MaskedSignalTransformer(sizes))
    # its random start is replaced, and must not cost the caller random numbers
    with torch.random.fork_rng(devices=[]):
        model = MaskedSignalTransformer(sizes)
    model.load_state_dict(state, strict=True)
    return model.eval()


def read_arrays(
    path: Path, kind: str, make: Callable[[], nn.Module]
) -> dict[str, Tensor]:
    """Read the arrays of a module, once their sizes are known to be right.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        Format that its header has to name.
    make : callable
        Makes the module. It is called without memory for arrays, so that sizes that
        are not those of the file cost none.

    Returns
    -------
    state : dict of Tensor
        The arrays by name.

    Raises
    ------
    ValueError
        If the file is none, or its arrays are not those of the module, or not finite.
    """
    try:
        with path.open("rb") as file:
            header = Header.read(file, path.stat().st_size)
    except ValueError as error:
        raise ValueError(
            f"Expected safetensors in {path}, got something else: {error}; the file is "
            "damaged or of another kind: copy the checkpoint again."
        ) from error
    found = header.metadata.get("format")
    if found != kind:
        raise ValueError(
            f"Expected weights of format {kind!r} in {path}, got {found!r}; the "
            "folder mixes files of different programs."
        )
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        expected = {k: tuple(v.shape) for k, v in make().state_dict().items()}
    check_names(
        {k: shape for k, (_, shape, _) in header.arrays.items()}, expected, path
    )
    state = load_file(path)
    check_finite(state, path)
    return state


def check_names(
    shapes: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    source: Path,
) -> None:
    """Compare names and shapes of arrays, and say how many match.

    Parameters
    ----------
    shapes : dict of tuple of int
        Shape of each array that is there.
    expected : dict of tuple of int
        What the configuration asks for.
    source : Path
        Where they are, for the message.

    Raises
    ------
    ValueError
        If any array is missing, unknown, or of another shape.
    """
    wrong = sorted(k for k in {*shapes, *expected} if shapes.get(k) != expected.get(k))
    if wrong:
        matched = len(set(expected) - set(wrong))
        shown = ", ".join(wrong[:4]) + (", ..." if len(wrong) > 4 else "")
        raise ValueError(
            f"Expected {len(expected)} arrays as its configuration says in {source}, "
            f"but only {matched} match (not: {shown}); the weights and the "
            "configuration are not of one checkpoint."
        )


def check_finite(state: Mapping[str, Tensor], source: Path) -> None:
    """Check that arrays are finite.

    Parameters
    ----------
    state : dict of Tensor
        The arrays.
    source : Path
        Where they were read, for the message.

    Raises
    ------
    ValueError
        If one has NaN or infinity.
    """
    damaged = [n for n, a in state.items() if not bool(torch.isfinite(a).all())]
    if damaged:
        raise ValueError(
            f"Expected finite weights in {source}, got NaN or infinity in "
            f"{', '.join(damaged[:4])}; the checkpoint is damaged or training diverged."
        )
