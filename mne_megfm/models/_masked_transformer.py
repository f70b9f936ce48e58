"""The transformer that is pretrained by masked-signal reconstruction; its sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._signal_reconstructor import SignalReconstructor, initialize
from .backbone import BackboneConfig, check_numbers, identity
from .windows import to_patches

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
        hold less information on what is there.
        """
        return (self.n_layers + 1) // 2


class Attention(nn.Module):
    """Multi-head self-attention over tokens (Vaswani et al. 2017, eq. 1).

    There is no dropout, so evaluation is deterministic by construction.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def _split(self, x: Tensor) -> Tensor:
        n, length, d_model = x.shape
        return (
            self.qkv(x)
            .view(n, length, 3, self.n_heads, d_model // self.n_heads)
            .permute(2, 0, 3, 1, 4)
        )

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Attend to the tokens that ``seen (n, length)`` marks, or to all."""
        query, key, value = self._split(x)
        bias = None if seen is None else seen[:, None, None, :]
        if query.dtype is torch.bfloat16 and query.device.type == "cpu":
            # the fused kernel's backward pass is several times slower there
            scores = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
            if bias is not None:
                # not -inf: a row without any visible token must stay finite, or its
                # gradient spoils the whole batch
                scores = scores.masked_fill(~bias, torch.finfo(scores.dtype).min)
            mixed = scores.softmax(-1) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    """Pre-norm transformer layer (Xiong et al. 2020, fig. 1b)."""

    def __init__(self, d_model: int, n_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(d_model * mlp_ratio)
        self.norm1 = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, n_heads)
        self.norm2 = nn.LayerNorm(d_model)
        self.expand = nn.Linear(d_model, hidden)
        self.contract = nn.Linear(hidden, d_model)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Mix tokens, then transform each of them."""
        x = x + self.attention(self.norm1(x), seen)
        hidden = F.gelu(self.expand(self.norm2(x)), approximate="tanh")
        return x + self.contract(hidden)


def gather_visible(tokens: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pack the visible tokens of each row to the front.

    Parameters
    ----------
    tokens : Tensor, shape (n, length, d_model)
        All tokens.
    hidden : Tensor of bool, shape (n, length)
        Tokens to leave out.

    Returns
    -------
    packed : Tensor, shape (n, most, d_model)
        Visible tokens, in order; rows with fewer end with hidden ones.
    index : Tensor of int, shape (n, most)
        Where each came from.
    real : Tensor of bool, shape (n, most)
        False for the hidden tokens at the end of short rows.
    """
    most = int((~hidden).sum(1).max())
    # a stable sort keeps the order of the tokens
    index = hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    packed = tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
    return packed, index, ~hidden.gather(1, index)


class MaskedSignalNetwork(SignalReconstructor):
    """What networks of the package have in common: embedding, layers, decoder.

    See ``SignalReconstructor`` for the decoder. A child says which layers there are
    (``make_layers``), and how tokens go through them (``mix``).

    Parameters
    ----------
    config : ModelConfig
        Sizes and scale.
    kernel : Tensor, shape (n_sensors, n_sensors), optional
        Gram matrix of the canonical lead fields with a mean diagonal of 1, needed
        for field interpolation. None stands for the identity: no physics.
    """

    def make_encoder(self) -> None:
        """Make embedding, layers and the last norm."""
        config = self.config
        d_model, n_in = config.d_model, config.sensors_per_region
        # sensors lie differently in every region: each gets its own small mixing
        self.mixing = nn.Parameter(identity(n_in).repeat(config.n_regions, 1, 1))
        self.embed = nn.Linear(config.token_length, d_model)
        self.region_position = nn.Parameter(torch.zeros(config.n_regions, 1, d_model))
        self.time_position = nn.Parameter(torch.zeros(config.n_patches, d_model))
        self.blocks = nn.ModuleList(self.make_layers(config.n_layers))
        self.norm = nn.LayerNorm(d_model)

    def start_layers(self) -> None:
        """Draw the weights of linear layers and of positions."""
        self.start_linear_layers()
        nn.init.xavier_uniform_(self.embed.weight)
        for name, parameter in self.named_parameters():
            if name.endswith("_position"):
                nn.init.trunc_normal_(parameter, std=0.2)

    def start_linear_layers(self) -> None:
        """Draw the weights that the linear layers start from."""
        self.apply(initialize)

    def layer_groups(self) -> list[list[str]]:
        """Name the parts of the encoder: embedding, each layer, the last norm.

        Returns
        -------
        groups : list of list of str
            Names of modules and parameters.
        """
        embedding = ["mixing", "embed", "region_position", "time_position"]
        layers = [[f"blocks.{number}"] for number in range(len(self.blocks))]
        return [embedding, *layers, ["norm"]]

    def encode_patches(
        self, patches: Tensor, hidden: Tensor, n_layers: int | None = None
    ) -> Tensor:
        """Encode scaled patches; tokens at hidden places come out as zero."""
        blocks = self.blocks[:n_layers]
        # the last norm belongs to the last layer
        norm = self.norm if len(blocks) == len(self.blocks) else _plain_norm
        mixed = torch.einsum("nrpst,ros->nrpot", patches, self.mixing)
        tokens = self.embed(mixed.flatten(3))
        tokens = tokens + self.region_position + self.time_position
        tokens = norm(self.mix(blocks, tokens, hidden))
        return tokens.masked_fill(hidden[..., None], 0.0)

    def encode(
        self,
        windows: Tensor,
        n_valid: Tensor | None = None,
        mask: Tensor | None = None,
        n_layers: int | None = None,
    ) -> Tensor:
        """Turn windows into tokens.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Canonical field in tesla.
        n_valid : Tensor of int, shape (n,), optional
            Recorded samples of each window; all by default.
        mask : Tensor of bool, shape (n, n_regions, n_patches), optional
            Tokens to hide.
        n_layers : int, optional
            Layers to go through; ``config.n_feature_layers`` by default, as for
            features.

        Returns
        -------
        tokens : Tensor, shape (n, n_regions, n_patches, d_model)
            The layer's output, normalised; zero where hidden or not recorded.
        """
        if n_layers is None:
            n_layers = self.config.n_feature_layers
        scaled, hidden = self.scale(windows, n_valid, mask)
        patches = to_patches(scaled.windows, self.config)
        return self.encode_patches(patches, hidden, n_layers)


class MaskedSignalTransformer(MaskedSignalNetwork):
    """Transformer over (region, patch) tokens of canonical MEG windows.

    Every token attends to all others, those of other regions and patches. Hidden tokens
    are left out of the encoder. See ``MaskedSignalNetwork`` for how tokens are made
    and turned back to signal.

    Parameters
    ----------
    config : ModelConfig
        Sizes and scale.
    kernel : Tensor, shape (n_sensors, n_sensors), optional
        Gram matrix of the canonical lead fields with a mean diagonal of 1, needed
        for field interpolation. None stands for the identity: no physics.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> windows = torch.randn(2, 192, 250) * 1e-13
    >>> model.eval().encode(windows).shape
    torch.Size([2, 24, 10, 32])
    """

    config_class = ModelConfig

    def make_layers(self, n_layers: int) -> Iterable[nn.Module]:
        """Make transformer layers, see ``MaskedSignalNetwork.make_layers``."""
        config = self.config
        return [
            Block(config.d_model, config.n_heads, config.mlp_ratio)
            for _ in range(n_layers)
        ]

    def mix(
        self, layers: Iterable[nn.Module], tokens: Tensor, hidden: Tensor | None = None
    ) -> Tensor:
        """Let tokens attend to all visible ones, see ``MaskedSignalNetwork.mix``."""
        shape = tokens.shape
        tokens = tokens.flatten(1, 2)
        if hidden is None or not hidden.any():
            for layer in layers:
                tokens = layer(tokens)
            return tokens.view(shape)
        packed, index, real = gather_visible(tokens, hidden.flatten(1))
        seen = None if bool(real.all()) else real
        for layer in layers:
            packed = layer(packed, seen)
        out = torch.zeros(tokens.shape, dtype=packed.dtype, device=packed.device)
        return out.scatter(1, index[..., None].expand_as(packed), packed).view(shape)


def _plain_norm(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:])


# -- tokens to tokens ------------------------------------------------------------------
class LatentPredictor(nn.Module):
    """A small transformer from visible tokens to those of hidden places.

    Parameters
    ----------
    config : BackboneConfig
        Sizes of the backbone whose tokens it reads.
    width : int
        Width of its own tokens.
    n_layers : int
        Its layers.
    """

    def __init__(self, config: BackboneConfig, width: int, n_layers: int) -> None:
        super().__init__()
        self.enter = nn.Linear(config.d_model, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.region_position = nn.Parameter(torch.empty(config.n_regions, 1, width))
        self.time_position = nn.Parameter(torch.empty(config.n_patches, width))
        self.blocks = nn.ModuleList(Block(width, 4, 2.0) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, config.d_model)
        for position in (self.region_position, self.time_position):
            nn.init.trunc_normal_(position, std=0.2)

    def forward(self, tokens: Tensor, hidden: Tensor, recorded: Tensor) -> Tensor:
        """Predict tokens.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_regions, n_patches, d_model)
            Tokens of the visible part.
        hidden : Tensor of bool, shape (n, n_regions, n_patches)
            Where they are hidden.
        recorded : Tensor of bool, shape (n, n_patches)
            Patches with samples.

        Returns
        -------
        predicted : Tensor, shape as ``tokens``
            A prediction everywhere.
        """
        x = torch.where(hidden[..., None], self.mask_token, self.enter(tokens))
        x = (x + self.region_position + self.time_position).flatten(1, 2)
        seen = recorded[:, None].expand(hidden.shape).flatten(1)
        seen = seen | ~seen.any(1, keepdim=True)  # a row of nothing stays finite
        for block in self.blocks:
            x = block(x, seen)
        return self.leave(self.norm(x)).view(tokens.shape)
