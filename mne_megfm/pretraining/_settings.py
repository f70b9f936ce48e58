"""Settings of a pretraining run, from a file, flags or Python."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from ..plugins import backbone_config

NOT_STATED = "not stated"
_TYPES = {
    "bool": bool,
    "int": Integral,
    "float": Real,
    "str": str,
    "dict": dict,
    "None": type(None),
}
#: Where numbers may lie; brackets that are square include the end.
_RANGES = {
    "epochs": "[1, inf)",
    "steps_per_epoch": "[1, inf)",
    "batch_size": "[2, inf)",
    "accumulate": "[1, inf)",
    "lr": "(0, 1]",
    "weight_decay": "[0, inf)",
    "clip": "(0, inf)",
    "warmup": "[0, 1]",
    "validation_fraction": "(0, 1)",
    "max_valid": "[1, inf)",
    "patience": "[1, inf)",
    "random_state": "[0, 4294967295]",
    "save_minutes": "[0, inf)",
}


@dataclass(frozen=True)
class PretrainSettings:
    """What `pretrain_store` does, apart from its data.

    Parameters
    ----------
    weights : str | None
        Weights to go on from; None starts from random ones.
    backbone : str | None
        Name of the backbone: ``"masked-transformer"``, ``"hybrid-ssm"``, a network of
        braindecode such as ``"braindecode:labram"``, or a plug-in. None
        stands for that of the weights, or without weights for
        ``"masked-transformer"``.
    model : dict
        Fields of the configuration of the backbone that differ from their defaults
        (see ``ModelConfig`` and ``HybridConfig``); with ``weights=None`` only.
    masking : dict
        ``name`` of the masking, and its arguments.
    objective : dict
        ``name`` of the objective, and its arguments; see ``Objective``.
    pooling : dict | None
        ``name`` of a pooling, and its arguments: one that learns from tokens
        (see :class:`~mne_megfm.models.Pooling`) is fitted after training, and its
        state is kept with the weights.
    decoder_only : bool
        Whether to leave the encoder, and so features, as they are; with ``weights``
        to go on from.
    augmentation : dict | None
        Arguments of ``NoiseAndCropping``; None leaves
        windows as they are.
    epochs : int
        Epochs of training.
    steps_per_epoch : int | None
        Batches between validations; by default a pass through the data.
    batch_size : int
        Windows in a batch, over all processes.
    accumulate : int | None
        Parts that a batch is computed in; by default one a process.
    lr : float
        Highest learning rate.
    weight_decay : float
        Decay of matrices.
    clip : float
        Largest norm of the gradient.
    warmup : float
        Share of the steps with a rising learning rate.
    validation_fraction : float
        Share of the participants held out.
    max_valid : int | None
        Windows of theirs that are looked at after each epoch; None takes all.
    patience : int | None
        Epochs without a better held-out loss after which training stops.
    bf16 : bool
        Whether to use bfloat16 autocast.
    compiled : bool
        Whether to use ``torch.compile``.
    sharded : bool
        Whether several processes share out the model (FSDP2) rather than copy it.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"auto"``: a GPU if there is one.
    random_state : int
        Seed of weights, split, order and masks.
    save_minutes : float
        Minutes between saves within an epoch.
    name : str
        Name of the weights, for their card.
    licence : str
        Licence of the weights, for their card.

    Raises
    ------
    ValueError
        If a value is of another type, out of range, or does not go with another one.

    Examples
    --------
    >>> from mne_megfm.pretraining import PretrainSettings
    >>> PretrainSettings(epochs=3).change(batch_size=128).batch_size
    128
    """

    weights: str | None = None
    backbone: str | None = None
    model: dict = field(default_factory=dict)
    masking: dict = field(default_factory=lambda: {"name": "mixed"})
    objective: dict = field(default_factory=lambda: {"name": "huber+logspec"})
    pooling: dict | None = None
    decoder_only: bool = False
    augmentation: dict | None = None
    epochs: int = 30
    steps_per_epoch: int | None = None
    batch_size: int = 64
    accumulate: int | None = None
    lr: float = 1e-3
    weight_decay: float = 0.05
    clip: float = 1.0
    warmup: float = 0.05
    validation_fraction: float = 0.1
    max_valid: int | None = 4096
    patience: int | None = None
    bf16: bool = False
    compiled: bool = False
    sharded: bool = False
    device: str = "auto"
    random_state: int = 0
    save_minutes: float = 10.0
    name: str = "mine"
    licence: str = NOT_STATED

    def __post_init__(self) -> None:
        check_settings(**{e.name: getattr(self, e.name) for e in fields(self)})
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Real) and hasattr(value, "item"):  # of NumPy
                object.__setattr__(self, entry.name, value.item())
        if self.decoder_only and self.weights is None:
            raise ValueError(
                "Expected weights to go on from with decoder_only=True, got None: "
                "features of random weights would stay random; give weights."
            )
        if self.weights is not None and self.model:
            raise ValueError(
                f"Expected no sizes with weights={self.weights!r}, which have "
                f"theirs, got {self.model}; leave one of them out."
            )
        if self.weights is None:
            backbone_config(self.backbone, self.model)
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ValueError(
                f"Expected device to be 'cpu', 'cuda' or 'auto', got {self.device!r}; "
                "correct it."
            )
        for kind, example in (
            ("masking", "mixed"),
            ("objective", "huber+logspec"),
            ("pooling", "projection"),
        ):
            part = getattr(self, kind)
            if part is not None and not isinstance(part.get("name"), str):
                raise ValueError(
                    f"Expected a name in {kind}, got {part!r}; write for example "
                    f'{kind} = {{name = "{example}"}}.'
                )

    @classmethod
    def read(cls, path: str | os.PathLike, **changes: Any) -> PretrainSettings:
        """Read settings from a TOML file.

        Parameters
        ----------
        path : path-like
            The file: a ``key = value`` for each setting that differs from the
            default, and tables ``[model]``, ``[masking]``, ``[objective]``,
            ``[pooling]`` and ``[augmentation]``.
        **changes
            Settings that come before those of the file.

        Returns
        -------
        settings : PretrainSettings
            The settings.

        Raises
        ------
        ValueError
            If it is not TOML, or has a setting that there is not or a wrong value.
        """
        path = Path(path).expanduser()
        try:
            content = tomllib.loads(path.read_text("utf-8-sig"))
        except (ValueError, RecursionError) as error:  # also of its encoding
            raise ValueError(
                f"Expected TOML in {path}, got something else: {error}; correct it."
            ) from error
        return cls().change(**content | changes)

    def change(self, **changes: Any) -> PretrainSettings:
        """Change some settings.

        Parameters
        ----------
        **changes
            New values by name.

        Returns
        -------
        settings : PretrainSettings
            Other settings.

        Raises
        ------
        ValueError
            If there is no such setting, or a value is of another type or out of range.
        """
        known = [entry.name for entry in fields(self)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            near = get_close_matches(unknown[0], known, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(
                f"Expected settings among {', '.join(known)}; got "
                f"{', '.join(unknown)}{meant}; correct the name."
            )
        return replace(self, **changes)

    def to_dict(self) -> dict:
        """Give the settings as plain values.

        Returns
        -------
        settings : dict
            One entry a setting.
        """
        return asdict(self)


def check_settings(**settings: Any) -> None:
    """Check types and ranges of settings, in whatever way they were given.

    Parameters
    ----------
    **settings
        Values by name. ``max_epochs`` is checked as ``epochs`` is.

    Raises
    ------
    ValueError
        If one is of another type, or out of range.
    """
    types = {entry.name: str(entry.type) for entry in fields(PretrainSettings)}
    for called, value in settings.items():
        name = called.removeprefix("max_") if called == "max_epochs" else called
        names = types[name].split(" | ")
        fits = any(isinstance(value, _TYPES[kind]) for kind in names)
        # True is a whole number to Python, but not to those who write settings
        if not fits or (isinstance(value, bool) and "bool" not in names):
            raise ValueError(
                f"Expected {called} to be {' or '.join(names)}, got {value!r}; "
                "correct it."
            )
        interval = _RANGES.get(name)
        if interval and value is not None and not _lies_in(value, interval):
            raise ValueError(
                f"Expected {called} to be in {interval}, got {value!r}; correct it."
            )
    rate, decay = settings.get("lr", 0.0), settings.get("weight_decay", 0.0)
    if rate * decay >= 1:
        raise ValueError(
            f"Expected lr * weight_decay < 1, got {rate} * {decay}: each step would "
            "reverse the sign of weights; lower weight_decay."
        )
    size, parts = settings.get("batch_size"), settings.get("accumulate")
    if size and parts and size % parts:
        raise ValueError(
            f"Expected batch_size to be a multiple of accumulate, got {size} and "
            f"{parts}: parts of a batch are of one size; change one of them."
        )


def _lies_in(value: float, interval: str) -> bool:
    """Tell whether a number lies in an interval such as ``"[0, inf)"``."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value >= low if interval[0] == "[" else value > low
    below = value <= high if interval[-1] == "]" else value < high
    return above and below
