"""Checkpoints of a LatentSourceEncoder: one file of arrays, one of everything else."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save

from ..models import LatentSourceConfig, LatentSourceNetwork
from ..utils.files import find_together, parse_sealed_json, sealed_json, write_together
from ._source_space import SourceSpace

CONFIG, WEIGHTS = "encoder.json", "encoder.safetensors"
FORMAT = "mne-megfm latent sources 1"


@dataclass
class KnownPerson:
    """What is kept of a person.

    Attributes
    ----------
    ch_names : list of str
        MEG channels.
    gain : array of shape (n_channels, n_rows) | None
        Lead field in SI units for 1 nAm.
    whitener : array of shape (n_components, n_channels) | None
        From sensors to whitened components.
    hrf : array of shape (3,)
        Weights of Glover's response and its derivatives.
    scale : array of shape (n_sources,) | None
        From the response to power to the units of fMRI.
    tr : float
        Time between scans in s.
    """

    ch_names: list[str]
    gain: NDArray[np.float64] | None
    whitener: NDArray[np.float64] | None
    hrf: NDArray[np.float64]
    scale: NDArray[np.float64] | None
    tr: float


def save_encoder(encoder: Any, directory: str | os.PathLike, overwrite: bool) -> Path:
    """Write a fitted encoder.

    Parameters
    ----------
    encoder : LatentSourceEncoder
        The encoder.
    directory : path-like
        The folder.
    overwrite : bool
        Whether to replace a checkpoint.

    Returns
    -------
    directory : Path
        The folder.
    """
    directory = Path(directory).expanduser()
    if (directory / CONFIG).exists() and not overwrite:
        raise FileExistsError(
            f"Expected no checkpoint in {directory}, got one; give overwrite=True or "
            "another folder."
        )
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"network.{k}": v.detach().cpu().numpy()
        for k, v in encoder.network_.state_dict().items()
    }
    space = encoder.space_
    arrays["positions"] = space.positions
    arrays["evidence"] = encoder.evidence_
    arrays["variance"] = encoder.source_variance_
    for i, vertices in enumerate(space.vertices):
        arrays[f"vertices.{i}"] = np.asarray(vertices, dtype=np.int64)
    people = []
    for i, (name, person) in enumerate(encoder.people_.items()):
        people.append({"name": name, "ch_names": person.ch_names, "tr": person.tr})
        for key in ("gain", "whitener", "hrf", "scale"):
            if getattr(person, key) is not None:
                arrays[f"people.{i}.{key}"] = getattr(person, key)
    content = save(
        {k: np.ascontiguousarray(v) for k, v in arrays.items()},
        metadata={"format": FORMAT},
    )
    config = {
        "format": FORMAT,
        "sha256": {WEIGHTS: hashlib.sha256(content).hexdigest()},
        "parameters": _plain(encoder.get_params(deep=False)),
        "network": encoder.network_.config.to_dict(),
        "space": {
            "kind": space.kind,
            "subject": space.subject,
            "n_parts": len(space.vertices),
        },
        "people": people,
        "history": [float(x) for x in encoder.history_],
    }
    write_together(
        directory, {WEIGHTS: content, CONFIG: sealed_json(config)}, last=CONFIG
    )
    return directory


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Make JSON of parameters."""
    out = {}
    for name, value in parameters.items():
        if isinstance(value, np.generic | np.ndarray):
            value = value.tolist()
        out[name] = list(value) if isinstance(value, tuple) else value
    return out


def load_encoder(cls: type, directory: str | os.PathLike) -> Any:
    """Read an encoder back, strictly.

    Parameters
    ----------
    cls : type
        Its class.
    directory : path-like
        The folder.

    Returns
    -------
    encoder : LatentSourceEncoder
        The encoder.
    """
    directory = Path(directory).expanduser()
    missing = [n for n in (CONFIG, WEIGHTS) if not (directory / n).is_file()]
    if missing:
        raise FileNotFoundError(
            f"Expected a checkpoint with {CONFIG} and {WEIGHTS} in {directory}, but "
            f"{' and '.join(missing)} is missing; give a folder that "
            "LatentSourceEncoder.save wrote."
        )
    found = find_together(directory, CONFIG, (WEIGHTS,))
    config = parse_sealed_json(found[CONFIG].read_bytes())
    if config.get("format") != FORMAT:
        raise ValueError(
            f"Expected a checkpoint of format {FORMAT!r} in {directory}, got "
            f"{config.get('format')!r}; use the version of mne-megfm that wrote it."
        )
    # its hash is right, so it is what was written
    arrays = load(found[WEIGHTS].read_bytes())
    parameters = config["parameters"]
    parameters["modalities"] = tuple(parameters["modalities"])
    encoder = cls(**parameters)
    sizes = LatentSourceConfig.from_dict(config["network"])
    # its random start is replaced, and must not cost the caller random numbers
    with torch.random.fork_rng(devices=[]):
        network = LatentSourceNetwork(sizes)
    prefix = "network."
    network.load_state_dict(
        {
            k.removeprefix(prefix): torch.as_tensor(v)
            for k, v in arrays.items()
            if k.startswith(prefix)
        }
    )
    encoder.network_ = network.eval()
    encoder.n_features_in_ = sizes.n_features
    space = config["space"]
    encoder.space_ = SourceSpace(
        space["kind"],
        [arrays[f"vertices.{i}"] for i in range(space["n_parts"])],
        space["subject"],
        arrays["positions"],
    )
    encoder.evidence_ = arrays["evidence"]
    encoder.source_variance_ = arrays["variance"]
    encoder.history_ = config["history"]
    encoder.people_ = {
        p["name"]: KnownPerson(
            p["ch_names"],
            *(arrays.get(f"people.{i}.{k}") for k in ("gain", "whitener")),
            arrays[f"people.{i}.hrf"],
            arrays.get(f"people.{i}.scale"),
            p["tr"],
        )
        for i, p in enumerate(config["people"])
    }
    return encoder
