"""Settings of a pretraining run, from a file, flags or Python."""

from __future__ import annotations

import os
import tomllib
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

NOT_STATED = "not stated"
_TYPES = {
    "bool": bool,
    "int": int,
    "float": (int, float),
    "str": str,
    "dict": dict,
    "None": type(None),
}


@dataclass(frozen=True)
class PretrainSettings:
    """What `pretrain_store` does, apart from its data.

    Parameters
    ----------
    weights : str | None
        Weights to go on from; None starts from random ones.
    model : dict
        Sizes that differ from those of :class:`~mne_megfm.models.ModelConfig`; with
        ``weights=None`` only.
    masking : dict
        ``name`` of the masking, and its arguments.
    objective : dict
        ``name`` of the objective, and its arguments.
    decoder_only : bool
        Whether to leave the encoder, and so features, as they are; with ``weights``
        to go on from.
    augmentation : dict | None
        Arguments of :class:`~mne_megfm.pretraining.NoiseAndCropping`; None leaves
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
    valid_fraction : float
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
    seed : int
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
        If a value is of another type.

    Examples
    --------
    >>> from mne_megfm.pretraining import PretrainSettings
    >>> PretrainSettings(epochs=3).change(batch_size=128).batch_size
    128
    """

    weights: str | None = None
    model: dict = field(default_factory=dict)
    masking: dict = field(default_factory=lambda: {"name": "mixed"})
    objective: dict = field(default_factory=lambda: {"name": "huber+logspec"})
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
    valid_fraction: float = 0.1
    max_valid: int | None = 4096
    patience: int | None = None
    bf16: bool = False
    compiled: bool = False
    sharded: bool = False
    device: str = "auto"
    seed: int = 0
    save_minutes: float = 10.0
    name: str = "mine"
    licence: str = NOT_STATED

    def __post_init__(self) -> None:
        for entry in fields(self):
            _check_type(entry, getattr(self, entry.name))
        if self.decoder_only and self.weights is None:
            raise ValueError(
                "Expected weights to go on from with decoder_only=True, got None: "
                "features of random weights would stay random; give weights."
            )
        for kind in ("masking", "objective"):
            if not isinstance(getattr(self, kind).get("name"), str):
                raise ValueError(
                    f"Expected a name in {kind}, got {getattr(self, kind)!r}; write "
                    f'for example {kind} = {{name = "{_default(kind)["name"]}"}}.'
                )

    @classmethod
    def read(cls, path: str | os.PathLike) -> PretrainSettings:
        """Read settings from a TOML file.

        Parameters
        ----------
        path : path-like
            The file: a ``key = value`` for each setting that differs from the
            default, and tables ``[model]``, ``[masking]``, ``[objective]`` and
            ``[augmentation]``.

        Returns
        -------
        settings : PretrainSettings
            The settings.

        Raises
        ------
        ValueError
            If it is not TOML, or has a setting that there is not.
        """
        path = Path(path).expanduser()
        try:
            content = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"Expected TOML in {path}, got something else: {error}; correct it."
            ) from error
        return cls().change(**content)

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
            If there is no such setting, or a value is of another type.
        """
        known = [entry.name for entry in fields(self)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise ValueError(
                f"Expected settings among {', '.join(known)}; got "
                f"{', '.join(unknown)}; correct the name."
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


def _default(name: str) -> Any:
    (entry,) = (entry for entry in fields(PretrainSettings) if entry.name == name)
    if entry.default_factory is not MISSING:
        return entry.default_factory()
    return entry.default


def _check_type(entry: Field, value: Any) -> None:
    names = str(entry.type).split(" | ")
    allowed = [_TYPES[name] for name in names]
    fits = any(isinstance(value, kind) for kind in allowed)
    # True is a whole number to Python, but not to those who write settings
    if not fits or (isinstance(value, bool) and "bool" not in names):
        raise ValueError(
            f"Expected {entry.name} to be {' or '.join(names)}, got {value!r}; "
            "correct it."
        )
