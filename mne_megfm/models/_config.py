"""The configuration that is saved beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

#: Least and largest value of each number. The largest are far above what is sensible,
#: and keep damage and slips from asking for memory that no machine has.
_LIMITS = {
    "n_sensors": (1, 10_000),
    "n_regions": (1, 10_000),
    "sfreq": (1e-3, 1e6),
    "patch_length": (1, 100_000),
    "n_patches": (1, 10_000),
    "d_model": (1, 65_536),
    "scale": (1e-30, 1.0),
    "max_rms": (1e-6, 1e9),
    "n_components": (1, 65_536),
}


@dataclass(frozen=True)
class BackboneConfig:
    """What the package has to know of any backbone: its windows and its tokens.

    The configuration of a backbone is a frozen dataclass that inherits from this one
    and adds fields of its own, each with a default. It is saved as JSON: values are
    numbers, strings, booleans, None, or lists of these.

    Parameters
    ----------
    n_sensors : int
        Virtual sensors of the canonical array.
    n_regions : int
        Regions that the sensors form; each has ``n_sensors // n_regions``
        consecutive sensors, and every token is one region during one patch.
    sfreq : float
        Sampling rate of the windows in Hz.
    patch_length : int
        Samples in a patch.
    n_patches : int
        Patches in a window.
    d_model : int
        Width of a token.
    scale : float
        Field in tesla that becomes 1 at the network's input.
    max_rms : float
        Windows whose root mean square exceeds this (in units of ``scale``) are
        shrunk to it, so that drifts and artefacts stay within what was trained.
    n_components : int
        Axes of the tokens of each region, kept with the weights for compact pooling.

    Raises
    ------
    ValueError
        If a number is out of range, or they do not fit together.

    See Also
    --------
    ModelConfig : The configuration of the built-in backbone.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from mne_megfm.models import BackboneConfig
    >>> @dataclass(frozen=True)
    ... class ConvolutionConfig(BackboneConfig):
    ...     kernel_size: int = 5
    >>> config = ConvolutionConfig(d_model=16, kernel_size=7)
    >>> config.n_times, config.to_dict()["kernel_size"]
    (250, 7)
    """

    n_sensors: int = 192
    n_regions: int = 24
    sfreq: float = 250.0
    patch_length: int = 25
    n_patches: int = 10
    d_model: int = 128
    scale: float = 4e-13
    max_rms: float = 4.0
    n_components: int = 16

    def __post_init__(self) -> None:
        check_numbers(self, _LIMITS)
        if self.n_sensors % self.n_regions:
            raise ValueError(
                f"Expected n_sensors to be a multiple of n_regions, got "
                f"{self.n_sensors} and {self.n_regions}; change one of them."
            )
        if self.n_components > self.d_model:
            raise ValueError(
                f"Expected n_components <= d_model, got {self.n_components} > "
                f"{self.d_model}; lower n_components."
            )

    @property
    def sensors_per_region(self) -> int:
        """Virtual sensors in a region."""
        return self.n_sensors // self.n_regions

    @property
    def n_times(self) -> int:
        """Samples in a window."""
        return self.n_patches * self.patch_length

    @property
    def token_length(self) -> int:
        """Values that a token stands for."""
        return self.sensors_per_region * self.patch_length

    def to_dict(self) -> dict:
        """Give the configuration as plain values.

        Returns
        -------
        config : dict
            One entry a field.
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, config: dict) -> Self:
        """Make a configuration from :meth:`to_dict`'s output.

        Parameters
        ----------
        config : dict
            One entry a field; all of them, no other.

        Returns
        -------
        config : BackboneConfig
            The configuration.

        Raises
        ------
        ValueError
            If a field is missing or not known.
        """
        names = {field.name for field in fields(cls)}
        if set(config) != names:
            raise ValueError(
                f"Expected exactly the fields of {cls.__name__}, got "
                f"{sorted(set(config) - names)} too many and "
                f"{sorted(names - set(config))} missing; the checkpoint may come "
                "from another version of the package that has the backbone."
            )
        return cls(**config)


_TRANSFORMER_LIMITS = {
    "n_layers": (1, 256),
    "n_heads": (1, 1024),
    "mlp_ratio": (1e-3, 64.0),
    "n_decoder_layers": (0, 256),
}


@dataclass(frozen=True)
class ModelConfig(BackboneConfig):
    """Shape and scale of a masked-signal transformer.

    Parameters
    ----------
    n_sensors : int
        Virtual sensors of the canonical array.
    n_regions : int
        Regions that the sensors form; each has ``n_sensors // n_regions``
        consecutive sensors, and every token is one region during one patch.
    sfreq : float
        Sampling rate of the windows in Hz.
    patch_length : int
        Samples in a patch.
    n_patches : int
        Patches in a window.
    d_model : int
        Width of a token.
    scale : float
        Field in tesla that becomes 1 at the network's input.
    max_rms : float
        Windows whose root mean square exceeds this (in units of ``scale``) are
        shrunk to it, so that drifts and artefacts stay within what was trained.
    n_components : int
        Axes of the tokens of each region, kept with the weights for compact pooling.
    n_layers : int
        Encoder layers.
    n_heads : int
        Attention heads in every layer.
    mlp_ratio : float
        Hidden width of the feed-forward part as a multiple of ``d_model``.
    n_decoder_layers : int
        Decoder layers, used for reconstruction alone.

    Raises
    ------
    ValueError
        If a number is out of range, or they do not fit together.

    Examples
    --------
    >>> from mne_megfm.models import ModelConfig
    >>> config = ModelConfig(d_model=32, n_layers=1)
    >>> config.n_times, config.sensors_per_region
    (250, 8)
    """

    n_layers: int = 4
    n_heads: int = 4
    mlp_ratio: float = 3.0
    n_decoder_layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, _TRANSFORMER_LIMITS)
        if self.d_model % self.n_heads:
            raise ValueError(
                f"Expected d_model to be a multiple of n_heads, got {self.d_model} and "
                f"{self.n_heads}; change one of them."
            )
        if int(self.d_model * self.mlp_ratio) < 1:
            raise ValueError(
                f"Expected mlp_ratio * d_model of at least 1, got {self.mlp_ratio} * "
                f"{self.d_model}; raise mlp_ratio."
            )

    @property
    def n_feature_layers(self) -> int:
        """Encoder layers before the tokens that features are made of.

        The first half of them, rounded up: later layers serve what is hidden, and
        tell less of what is there.
        """
        return (self.n_layers + 1) // 2


def check_numbers(config: Any, limits: Mapping[str, tuple[float, float]]) -> None:
    """Check that fields of a configuration are numbers in range.

    Parameters
    ----------
    config : dataclass
        The configuration; the fields are annotated as ``int`` or ``float``.
    limits : dict of tuple of float
        Least and largest value of each field to check.

    Raises
    ------
    ValueError
        If one is of another type, not finite, or out of range.
    """
    for field in fields(config):
        if field.name not in limits:
            continue
        value, whole = getattr(config, field.name), field.type in (int, "int")
        low, high = limits[field.name]
        if isinstance(value, bool) or not isinstance(
            value, int if whole else int | float
        ):
            raise ValueError(
                f"Expected {'a whole' if whole else 'a'} number for {field.name}, got "
                f"{value!r}; give every entry of the configuration as a plain number."
            )
        if not low <= value <= high:
            raise ValueError(
                f"Expected a positive {field.name}, got {value!r}; give one from "
                f"{low:g} to {high:g}."
            )
