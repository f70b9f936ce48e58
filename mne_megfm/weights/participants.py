"""Weights of the encoders of participants, in the folder of a checkpoint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from ..models import (
    ParticipantConfig,
    ParticipantPosterior,
    ParticipantTransformer,
    PosteriorConfig,
)
from ..utils.files import parse_sealed_json, sealed_json, sha256, write_whole
from .checkpoint import read_arrays


@dataclass(frozen=True)
class ParticipantPart:
    """One kind of weights of participants, and the two files that it is kept in.

    Attributes
    ----------
    name : str
        What it is called in messages.
    format : str
        Of its files.
    stem : str
        Name of its files, without their endings.
    key : str
        Of what it has seen, in a provenance.
    make : callable
        Makes it from the sizes in its configuration.
    sizes : callable
        Finds the sizes of a given one.
    """

    name: str
    format: str
    stem: str
    key: str
    make: Callable[[Mapping[str, Any]], nn.Module]
    sizes: Callable[[Any], dict]

    @property
    def weights(self) -> str:
        """Name of the file of arrays."""
        return f"{self.stem}.safetensors"

    @property
    def config(self) -> str:
        """Name of the file that has its sizes and hashes."""
        return f"{self.stem}.json"

    def save(
        self,
        directory: str | os.PathLike,
        module: nn.Module,
        kernel: Tensor,
        training: dict | None = None,
    ) -> Path:
        """Write weights of participants into the folder of window weights.

        Parameters
        ----------
        directory : path-like
            A checkpoint folder.
        module : Module
            The network.
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
        >>> from mne_megfm.weights import PARTICIPANT_ENCODER
        >>> encoder = ParticipantTransformer(ParticipantConfig(d_model=32, n_layers=1))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = PARTICIPANT_ENCODER.save(folder, encoder, torch.eye(192))
        ...     PARTICIPANT_ENCODER.load(path, torch.eye(192))[0].config.d_model
        32
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        state = {
            k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()
        }
        if all(_is_half(state[name]) for name, _ in module.named_parameters()):
            # nothing is lost: they were in half precision when they were read
            state |= {k: state[k].half() for k, _ in module.named_parameters()}
        content = to_bytes(state, metadata={"format": self.format})
        config = {
            "format": self.format,
            "model": self.sizes(module),
            "kernel": kernel_hash(kernel),
            "sha256": hashlib.sha256(content).hexdigest(),
            "training": training or {},
        }
        # temporary files that are moved, the configuration last: it has the hash
        for name, data in ((self.weights, content), (self.config, sealed_json(config))):
            write_whole(directory / name, data)
        return directory

    def load(
        self, directory: str | os.PathLike, kernel: Tensor
    ) -> tuple[Any, dict] | None:
        """Read weights of participants back, strictly; None if the checkpoint has none.

        Parameters
        ----------
        directory : path-like
            A checkpoint folder.
        kernel : Tensor, shape (n_sensors, n_sensors)
            Kernel of the window weights there.

        Returns
        -------
        found : tuple of (Module, dict) | None
            The network in evaluation mode, in single precision, and what it has seen.

        Raises
        ------
        ValueError
            If files are damaged, of another kind, or of other weights.
        """
        directory = Path(directory).expanduser()
        path, config_path = directory / self.weights, directory / self.config
        found = [p.name for p in (path, config_path) if p.is_file()]
        if not found:
            return None
        if len(found) == 1:
            raise ValueError(
                f"Expected both {self.weights} and {self.config} in {directory}, got "
                f"only {found[0]}; copy the checkpoint again, or delete that file to "
                f"use the checkpoint without its {self.name}."
            )
        again = (
            "the file is damaged or of another checkpoint: copy the checkpoint again."
        )
        try:
            config = parse_sealed_json(config_path.read_bytes())
            kind, sizes = config["format"], config["model"]
            expected, fingerprint = config["sha256"], config["kernel"]
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                self.make(sizes)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"Expected the configuration of a {self.name} in {config_path}, got "
                f"something else ({error!r}); {again}"
            ) from error
        if kind != self.format or sha256(path) != expected:
            raise ValueError(
                f"Expected the {self.name} of format {self.format!r} that belongs to "
                f"{config_path} in {path}, got other contents; {again}"
            )
        if fingerprint != kernel_hash(kernel):
            raise ValueError(
                f"Expected a {self.name} for the array of the weights in {directory}, "
                f"got one of another (fingerprint {fingerprint}); {again}"
            )
        state = read_arrays(path, self.format, lambda: self.make(sizes))
        # its random start is replaced, and must not cost the caller random numbers
        with torch.random.fork_rng(devices=[]):
            module = self.make(sizes)
        module.load_state_dict(state, strict=True)
        return module.eval(), config.get("training", {})


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


def _is_half(values: Tensor) -> bool:
    """Whether half precision holds all values as they are."""
    return values.is_floating_point() and torch.equal(values.half().float(), values)


PARTICIPANT_ENCODER = ParticipantPart(
    "participant encoder",
    "mne-megfm participant 1",
    "participant",
    "participant_encoder",
    lambda sizes: ParticipantTransformer(ParticipantConfig(**sizes)),
    lambda encoder: encoder.config.to_dict(),
)
POSTERIOR = ParticipantPart(
    "posterior encoder",
    "mne-megfm posterior 1",
    "posterior",
    "posterior",
    lambda sizes: ParticipantPosterior(PosteriorConfig(**sizes)),
    lambda posterior: posterior.config.to_dict(),
)
#: All that a checkpoint may have.
PARTICIPANT_PARTS = (PARTICIPANT_ENCODER, POSTERIOR)


def delete_participant_parts(directory: str | os.PathLike) -> None:
    """Delete all weights of participants from a checkpoint.

    Parameters
    ----------
    directory : path-like
        The checkpoint folder.
    """
    for part in PARTICIPANT_PARTS:
        for name in (part.config, part.weights):
            (Path(directory) / name).unlink(missing_ok=True)
