"""The level over trials on disk, beside the weights it belongs to."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from safetensors.torch import save

from .._integrity import parse_sealed_json, sealed_json
from ..models import ParticipantConfig, ParticipantTransformer
from ._checkpoint import read_arrays
from ._files import sha256, write_whole

FORMAT = "mne-megfm participant 1"
LEVEL, LEVEL_CONFIG = "participant.safetensors", "participant.json"


def kernel_hash(kernel: torch.Tensor) -> str:
    """Give the fingerprint of an array of virtual sensors.

    Parameters
    ----------
    kernel : Tensor, shape (n_sensors, n_sensors)
        Gram matrix of its lead fields, as window weights keep it.

    Returns
    -------
    fingerprint : str
        The same for kernels that differ by rounding alone.
    """
    rounded = (kernel.cpu().double() * 100).round().to(torch.int32).numpy()
    return hashlib.sha256(rounded.tobytes()).hexdigest()[:16]


def save_level(
    directory: str | os.PathLike,
    level: ParticipantTransformer,
    kernel: torch.Tensor,
    training: dict | None = None,
) -> Path:
    """Write the level into the folder of window weights.

    Parameters
    ----------
    directory : path-like
        A checkpoint folder.
    level : ParticipantTransformer
        The level.
    kernel : Tensor, shape (n_sensors, n_sensors)
        Kernel of the array that it was trained on.
    training : dict, optional
        What it has seen.

    Returns
    -------
    directory : Path
        The folder.

    Examples
    --------
    >>> import tempfile, torch
    >>> from mne_megfm.models import ParticipantConfig, ParticipantTransformer
    >>> from mne_megfm.pretraining import load_level, save_level
    >>> level = ParticipantTransformer(ParticipantConfig(d_model=32, n_layers=1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save_level(folder, level, torch.eye(192))
    ...     load_level(path, torch.eye(192))[0].config.d_model
    32
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().cpu().contiguous() for k, v in level.state_dict().items()}
    content = save(state, metadata={"format": FORMAT})
    config = {
        "format": FORMAT,
        "level": level.config.to_dict(),
        "kernel": kernel_hash(kernel),
        "sha256": hashlib.sha256(content).hexdigest(),
        "training": training or {},
    }
    # written aside, then moved, the configuration last: it vouches for the weights
    for name, data in (
        (LEVEL, content),
        (LEVEL_CONFIG, sealed_json(config)),
    ):
        write_whole(directory / name, data)
    return directory


def delete_level(directory: str | os.PathLike) -> None:
    """Delete the level of a checkpoint, if it has one.

    Parameters
    ----------
    directory : path-like
        The checkpoint folder.
    """
    for name in (LEVEL_CONFIG, LEVEL):
        (Path(directory) / name).unlink(missing_ok=True)


def load_level(
    directory: str | os.PathLike, kernel: torch.Tensor
) -> tuple[ParticipantTransformer, dict] | None:
    """Read the level of a checkpoint back, strictly; None if it has none.

    Parameters
    ----------
    directory : path-like
        A checkpoint folder.
    kernel : Tensor, shape (n_sensors, n_sensors)
        Kernel of the window weights there.

    Returns
    -------
    level : tuple of (ParticipantTransformer, dict) | None
        The level in evaluation mode, and what it has seen.

    Raises
    ------
    ValueError
        If files are damaged, of another kind, or of other weights.
    """
    directory = Path(directory).expanduser()
    path, config_path = directory / LEVEL, directory / LEVEL_CONFIG
    found = [p.name for p in (path, config_path) if p.is_file()]
    if not found:
        return None
    if len(found) == 1:
        raise ValueError(
            f"Expected both {LEVEL} and {LEVEL_CONFIG} in {directory}, got only "
            f"{found[0]}; copy the checkpoint again, or delete that file to use the "
            "checkpoint without its level over trials."
        )
    again = "the file is damaged or of another checkpoint: copy the checkpoint again."
    try:
        config = parse_sealed_json(config_path.read_bytes())
        kind = config["format"]
        sizes = ParticipantConfig(**config["level"])
        expected, fingerprint = config["sha256"], config["kernel"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected the description of a level over trials in {config_path}, got "
            f"something else ({error!r}); {again}"
        ) from error
    if kind != FORMAT or sha256(path) != expected:
        raise ValueError(
            f"Expected the level of format {FORMAT!r} that {config_path} describes in "
            f"{path}, got other contents; {again}"
        )
    if fingerprint != kernel_hash(kernel):
        raise ValueError(
            f"Expected a level over trials for the array of the weights in "
            f"{directory}, got one of another (fingerprint {fingerprint}); {again}"
        )
    state = read_arrays(path, FORMAT, lambda: ParticipantTransformer(sizes))
    # its random start is replaced, and must not cost the caller random numbers
    with torch.random.fork_rng(devices=[]):
        level = ParticipantTransformer(sizes)
    level.load_state_dict(state, strict=True)
    return level.eval(), config.get("training", {})
