"""Backbones: from canonical windows to tokens, and maybe back; which parts train."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .windows import (
    Scaled,
    from_patches,
    sample_mask,
    scale_windows,
    to_patches,
    valid_patches,
)

# -- configuration ---------------------------------------------------------------------
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
    "n_spectral": (1, 65_536),
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
    n_spectral : int
        Axes of the power of the tokens of each region, which follow the spectrum.

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
    n_spectral: int = 6

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


def identity(n: int, m: int | None = None) -> Tensor:
    """Make an identity matrix, on any device at little cost.

    On the device "meta", where sizes are looked at before memory is taken, `torch.eye`
    imports a compiler, which takes more than a second.

    Parameters
    ----------
    n, m : int
        Rows and columns; as many columns as rows by default.

    Returns
    -------
    matrix : Tensor, shape (n, m)
        Ones on the diagonal.
    """
    return torch.zeros(n, n if m is None else m).fill_diagonal_(1.0)


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


# -- backbones -------------------------------------------------------------------------
@runtime_checkable
class Backbone(Protocol):
    """What the package uses of a backbone.

    A backbone is a :class:`torch.nn.Module` that is made by
    ``Backbone(config, kernel)``. ``BaseBackbone`` has all of this but
    ``config_class``, ``encode`` and ``layer_groups``.

    Attributes
    ----------
    config_class : type
        A frozen dataclass, child of ``BackboneConfig``. It is written to
        ``config.json`` and read from there.
    config : BackboneConfig
        Sizes and scale of this backbone.
    kernel : Tensor, shape (n_sensors, n_sensors)
        Gram matrix of the canonical lead fields, a buffer that is saved.
    token_mean : Tensor, shape (n_regions, n_patches, d_model)
        Mean token at every place, a buffer that is saved.
    token_axes : Tensor, shape (n_regions, n_components, d_model)
        Axes for compact pooling, a buffer that is saved.
    token_power : Tensor, shape (n_regions, d_model)
        Mean square of the tokens, a buffer that is saved.
    spectral_axes : Tensor, shape (n_regions, n_spectral, d_model)
        Axes of the log power of tokens, a buffer that is saved.
    spectral_offset : Tensor, shape (n_regions, n_spectral)
        Mean projection on these axes, a buffer that is saved.

    See Also
    --------
    Reconstructor : A backbone that also predicts hidden signal.
    """

    config_class: ClassVar[type[BackboneConfig]]
    config: BackboneConfig
    kernel: Tensor
    token_mean: Tensor
    token_axes: Tensor
    token_power: Tensor
    spectral_axes: Tensor
    spectral_offset: Tensor

    def encode(
        self,
        windows: Tensor,
        n_valid: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Turn windows into tokens, see ``BaseBackbone.encode``."""

    def scale(
        self,
        windows: Tensor,
        n_valid: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Scaled, Tensor]:
        """Bring windows to scale, see ``BaseBackbone.scale``."""

    def set_token_axes(self, mean: Tensor, axes: Tensor) -> None:
        """Keep axes of the tokens, see ``BaseBackbone.set_token_axes``."""

    def set_spectral_axes(self, power: Tensor, axes: Tensor, offset: Tensor) -> None:
        """Keep axes of their power, see ``BaseBackbone.set_spectral_axes``."""

    def layer_groups(self) -> list[list[str]]:
        """Name parts by depth, see ``BaseBackbone.layer_groups``."""

    def layers(self) -> list[nn.Module]:
        """List layers, see ``BaseBackbone.layers``."""


@runtime_checkable
class Reconstructor(Backbone, Protocol):
    """A backbone that predicts hidden signal from visible signal.

    Masked reconstruction needs this: as an objective of pretraining, for ``score``, and
    in :mod:`mne_megfm.interpret`. A child of ``BaseBackbone`` has to add
    ``predict_patches`` alone.

    See Also
    --------
    Backbone : What every backbone has.
    """

    def predict_patches(self, patches: Tensor, hidden: Tensor) -> Tensor:
        """Predict scaled patches, see ``BaseBackbone``."""

    def reconstruct(
        self, windows: Tensor, mask: Tensor, n_valid: Tensor | None = None
    ) -> Tensor:
        """Predict hidden signal, see ``BaseBackbone.reconstruct``."""


class BaseBackbone(nn.Module):
    """What backbones have in common.

    A child sets ``config_class`` and writes ``encode`` and ``layer_groups``. One that
    predicts hidden signal adds ``predict_patches(patches, hidden)``: scaled patches of
    shape (n, n_regions, n_patches, sensors_per_region, patch_length), and a mask of
    shape (n, n_regions, n_patches), to predicted patches in float32. It must not look
    at hidden patches.

    Parameters
    ----------
    config : BackboneConfig
        Sizes and scale.
    kernel : Tensor, shape (n_sensors, n_sensors), optional
        Gram matrix of the canonical lead fields with a mean diagonal of 1. None stands
        for the identity: no physics.

    See Also
    --------
    mne_megfm.testing.plugin_checks : Checks of a backbone.

    Examples
    --------
    A backbone that looks at each patch of each region by itself:

    >>> import torch
    >>> from mne_megfm.models import BackboneConfig, BaseBackbone, to_patches
    >>> class PatchNetwork(BaseBackbone):
    ...     config_class = BackboneConfig
    ...
    ...     def __init__(self, config, kernel=None):
    ...         super().__init__(config, kernel)
    ...         self.embed = torch.nn.Linear(config.token_length, config.d_model)
    ...
    ...     def encode(self, windows, n_valid=None, mask=None):
    ...         scaled, hidden = self.scale(windows, n_valid, mask)
    ...         patches = to_patches(scaled.windows, self.config).flatten(3)
    ...         return self.embed(patches) * ~hidden[..., None]
    ...
    ...     def layer_groups(self):
    ...         return [["embed"]]
    >>> backbone = PatchNetwork(BackboneConfig(d_model=16))
    >>> backbone.encode(torch.randn(2, 192, 250) * 1e-13).shape
    torch.Size([2, 24, 10, 16])
    """

    config_class: ClassVar[type[BackboneConfig]]

    def __init__(self, config: BackboneConfig, kernel: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        if kernel is None:
            kernel = identity(config.n_sensors)
        self.register_buffer("kernel", kernel.to(torch.float32).clone())
        # axes of each region's tokens, filled after training (see set_token_axes)
        self.register_buffer(
            "token_mean",
            torch.zeros(config.n_regions, config.n_patches, config.d_model),
        )
        first = identity(config.d_model)[: config.n_components]
        self.register_buffer("token_axes", first.repeat(config.n_regions, 1, 1))
        shape = config.n_regions, config.n_spectral, config.d_model
        self.register_buffer("token_power", torch.ones(shape[0], shape[2]))
        self.register_buffer("spectral_axes", torch.zeros(shape))
        self.register_buffer("spectral_offset", torch.zeros(shape[:2]))

    def set_token_axes(self, mean: Tensor, axes: Tensor) -> None:
        """Keep axes of the tokens with the weights.

        Parameters
        ----------
        mean : Tensor, shape (n_regions, n_patches, d_model)
            Mean token at every place.
        axes : Tensor, shape (n_regions, n_components, d_model)
            Rows to project the tokens of each region on, scaled so that the
            projections of a token have unit variance together.
        """
        self.token_mean.copy_(mean)
        self.token_axes.copy_(axes)

    def set_spectral_axes(self, power: Tensor, axes: Tensor, offset: Tensor) -> None:
        """Keep axes of the power of the tokens with the weights.

        Parameters
        ----------
        power : Tensor, shape (n_regions, d_model)
            Mean square of the tokens, around their mean at each place.
        axes : Tensor, shape (n_regions, n_spectral, d_model)
            Rows to project the log power of each region's tokens on, relative to
            ``power``, scaled so that the projections of a region have together a
            variance of one for each patch.
        offset : Tensor, shape (n_regions, n_spectral)
            Mean projection.
        """
        self.token_power.copy_(power)
        self.spectral_axes.copy_(axes)
        self.spectral_offset.copy_(offset)

    def scale(
        self,
        windows: Tensor,
        n_valid: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Scaled, Tensor]:
        """Bring windows to the network's scale, judged by what is visible.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Canonical field in tesla.
        n_valid : Tensor of int, shape (n,), optional
            Recorded samples of each window; all by default.
        mask : Tensor of bool, shape (n, n_regions, n_patches), optional
            Tokens to hide.

        Returns
        -------
        scaled : Scaled
            Dimensionless windows with their offset and unit in tesla. Hidden samples
            are still there.
        hidden : Tensor of bool, shape (n, n_regions, n_patches)
            Tokens that are masked or not recorded.
        """
        n_valid = self._full(windows, n_valid)
        hidden = self._hidden(mask, n_valid)
        scaled = scale_windows(windows, hidden, n_valid, self.kernel, self.config)
        return scaled, hidden

    @abstractmethod
    def encode(
        self,
        windows: Tensor,
        n_valid: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Turn windows into tokens.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Canonical field in tesla.
        n_valid : Tensor of int, shape (n,), optional
            Recorded samples of each window; all by default.
        mask : Tensor of bool, shape (n, n_regions, n_patches), optional
            Tokens to hide; what they stand for must not be looked at.

        Returns
        -------
        tokens : Tensor, shape (n, n_regions, n_patches, d_model)
            Zero where hidden or not recorded.
        """
        raise NotImplementedError

    @abstractmethod
    def layer_groups(self) -> list[list[str]]:
        """Name the parts that `encode` goes through, from signal to tokens.

        Fine-tuning lowers the learning rate by one factor from each group to the one
        before. Adapters are put on the linear layers of all groups but the first.
        Training of the decoder alone leaves all groups as they are.

        Returns
        -------
        groups : list of list of str
            Names of modules or parameters, as ``named_modules`` and
            ``named_parameters`` have them: together all that `encode` uses.
        """
        raise NotImplementedError

    def layers(self) -> list[nn.Module]:
        """List the layers that are compiled, and shared out among GPUs, by themselves.

        Returns
        -------
        layers : list of Module
            The elements of all :class:`torch.nn.ModuleList` of the backbone that are
            no such lists themselves.
        """
        return [
            layer
            for module in self.modules()
            if isinstance(module, nn.ModuleList)
            for layer in module
            if not isinstance(layer, nn.ModuleList)  # which has no forward
        ]

    def reconstruct(
        self, windows: Tensor, mask: Tensor, n_valid: Tensor | None = None
    ) -> Tensor:
        """Replace the masked part of windows by the prediction from the rest.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Canonical field in tesla.
        mask : Tensor of bool, shape (n, n_regions, n_patches)
            Tokens to hide and predict.
        n_valid : Tensor of int, shape (n,), optional
            Recorded samples of each window; all by default.

        Returns
        -------
        reconstructed : Tensor, shape (n, n_sensors, n_times)
            Windows in tesla, unchanged where not masked.

        Raises
        ------
        TypeError
            If the backbone has no ``predict_patches``.
        """
        check_reconstructs(self)
        scaled, hidden = self.scale(windows, n_valid, mask)
        patches = to_patches(scaled.windows, self.config)
        predicted = from_patches(self.complete_patches(patches, hidden), self.config)
        at = sample_mask(mask, self._full(windows, n_valid), self.config)
        return torch.where(at, scaled.to_tesla(predicted), windows)

    def complete_patches(self, patches: Tensor, hidden: Tensor) -> Tensor:
        """Predict scaled patches for `reconstruct`: by ``predict_patches``.

        Parameters
        ----------
        patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
            Scaled patches; values in hidden ones are not looked at.
        hidden : Tensor of bool, shape (n, n_regions, n_patches)
            Where to predict.

        Returns
        -------
        predicted : Tensor, shape as ``patches``
            The prediction at hidden places.
        """
        return self.predict_patches(patches, hidden)

    def _hidden(self, mask: Tensor | None, n_valid: Tensor) -> Tensor:
        recorded = valid_patches(n_valid, self.config)[:, None]
        recorded = recorded.expand(-1, self.config.n_regions, -1)
        return ~recorded if mask is None else mask | ~recorded

    def _full(self, windows: Tensor, n_valid: Tensor | None) -> Tensor:
        if n_valid is not None:
            return n_valid
        return torch.full((len(windows),), windows.shape[-1], device=windows.device)


def check_reconstructs(model: Backbone) -> None:
    """Check that a backbone predicts hidden signal.

    Parameters
    ----------
    model : Backbone
        The backbone.

    Raises
    ------
    TypeError
        If it has no ``predict_patches``.
    """
    if not callable(getattr(model, "predict_patches", None)):
        raise TypeError(
            "Expected a backbone that predicts hidden signal, as masked pretraining, "
            f"scores and reconstruction need, got {type(model).__name__}, which makes "
            "tokens alone (it has no predict_patches); use another backbone, or for "
            "pretraining an objective of your own that needs tokens alone."
        )


def is_within(name: str, parts: list[str]) -> bool:
    """Tell whether a parameter or module is one of some parts, or inside one.

    Parameters
    ----------
    name : str
        Name as of ``named_parameters``.
    parts : list of str
        Names of modules or parameters, as of ``layer_groups``.

    Returns
    -------
    within : bool
        Whether it is.
    """
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def encoder_parameters(model: Backbone) -> Iterator[tuple[str, nn.Parameter]]:
    """Go through the parameters that tokens depend on.

    Parameters
    ----------
    model : Backbone
        The backbone.

    Yields
    ------
    name : str
        Name of the parameter.
    parameter : Parameter
        The parameter.
    """
    parts = [name for group in model.layer_groups() for name in group]
    for name, parameter in model.named_parameters():
        if is_within(name, parts):
            yield name, parameter


def freeze_encoder(model: Backbone) -> None:
    """Let further training change the decoder alone: tokens stay as they are.

    Parameters
    ----------
    model : Backbone
        The backbone, changed in place.

    Raises
    ------
    ValueError
        If it has no parameters besides those of its encoder.

    Examples
    --------
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.models import freeze_encoder
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> freeze_encoder(model)
    >>> model.embed.weight.requires_grad, model.head.weight.requires_grad
    (False, True)
    """
    for _, parameter in encoder_parameters(model):
        parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            "Expected a backbone with a decoder to train alone, got "
            f"{type(model).__name__}, all of which is encoder; train all of it."
        )


# -- low-rank adapters -----------------------------------------------------------------
class LowRankLinear(nn.Module):
    """A linear layer with a low-rank correction.

    Computes ``base(x) + up @ down @ x`` [1]_ with a scale of 1; ``up`` begins at 0, so
    the layer begins as it was.

    Parameters
    ----------
    base : torch.nn.Linear
        The layer, which is kept and frozen.
    rank : int
        Rank of the correction.

    References
    ----------
    .. [1] Hu et al. (2022), "LoRA: low-rank adaptation of large language models",
       ICLR, eq. 3.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import LowRankLinear
    >>> layer = LowRankLinear(torch.nn.Linear(6, 4), rank=2)
    >>> layer(torch.zeros(3, 6)).shape
    torch.Size([3, 4])
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        if not 1 <= rank <= min(base.weight.shape):
            raise ValueError(
                f"Expected a rank from 1 to {min(base.weight.shape)}, the rank of the "
                f"layer, got {rank}; lower it."
            )
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    @property
    def weight(self) -> Tensor:
        """Weight with the correction, for modules that take it and not the layer.

        The attention of torch does so with its last layer.
        """
        return self.base.weight + self.up @ self.down

    @property
    def bias(self) -> Tensor | None:
        """Bias of the layer, which has no correction."""
        return self.base.bias

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer with its correction.

        Parameters
        ----------
        x : Tensor, shape (..., in_features)
            Input.

        Returns
        -------
        y : Tensor, shape (..., out_features)
            Output.
        """
        return self.base(x) + F.linear(F.linear(x, self.down), self.up)

    def merged(self) -> nn.Linear:
        """Add the correction to the weights.

        Returns
        -------
        layer : torch.nn.Linear
            A plain layer that computes the same.
        """
        layer = nn.Linear(
            self.base.in_features,
            self.base.out_features,
            bias=self.base.bias is not None,
            device=self.base.weight.device,
        )
        with torch.no_grad():
            layer.weight.copy_(self.weight)
            if self.bias is not None:
                layer.bias.copy_(self.bias)
        return layer


def add_adapters(model: nn.Module, rank: int) -> nn.Module:
    """Freeze a model and put adapters on the linear layers of its encoder.

    Those of the first of its ``layer_groups``, the embedding, stay as they are.

    Parameters
    ----------
    model : Backbone | ParticipantTransformer
        The model; changed in place.
    rank : int
        Rank of the adapters. Narrower layers, such as those of state spaces, get
        adapters of their own rank, with which a correction can be any matrix.

    Returns
    -------
    model : torch.nn.Module
        The same model, of which only the adapters are trained.

    Raises
    ------
    ValueError
        If the rank is below 1 or larger than that of every layer, or there is no such
        layer.

    Examples
    --------
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig, add_adapters
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> model = add_adapters(model, rank=2)
    >>> sum(p.numel() for p in model.parameters() if p.requires_grad)
    896
    """
    parts = [name for group in model.layer_groups()[1:] for name in group]
    ranks = [
        min(layer.weight.shape)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and is_within(name, parts)
    ]
    if not ranks:
        raise ValueError(
            "Expected linear layers after the first of the layer groups to put "
            f"adapters on, got none in {type(model).__name__}; fine-tune without "
            "adapters (strategy='finetune')."
        )
    if not 1 <= rank <= max(ranks):
        raise ValueError(
            f"Expected a rank from 1 to {max(ranks)}, that of the widest layer of "
            f"{type(model).__name__}, got {rank}; change lora_rank."
        )
    model.requires_grad_(False)
    _replace(
        model,
        nn.Linear,
        lambda layer: LowRankLinear(layer, min(rank, *layer.weight.shape)),
        lambda name: is_within(name, parts),
    )
    return model


def merge_adapters(model: nn.Module) -> nn.Module:
    """Turn adapters into changes of the weights that they stand beside.

    Parameters
    ----------
    model : torch.nn.Module
        A model with or without adapters; changed in place.

    Returns
    -------
    model : torch.nn.Module
        The same model with plain layers, whose arrays have their first names again.
    """
    _replace(model, LowRankLinear, LowRankLinear.merged)
    return model


def _replace(
    model: nn.Module,
    kind: type[nn.Module],
    make: Callable[..., nn.Module],
    wanted: Callable[[str], bool] = lambda name: True,
) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, kind) and wanted(name):
            above, _, own = name.rpartition(".")
            setattr(model.get_submodule(above), own, make(module))
