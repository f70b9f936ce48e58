"""A causal network from features of a stimulus to courses of cortical sources.

Sources are a low-rank product: a few *components* in time, which the network computes
from the stimulus, times their *maps* over the cortex. So the fields of all sensors and
the power of all sources cost little: fields are linear in the components, and powers
are linear in their products.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class LatentSourceConfig:
    """Sizes of a `LatentSourceNetwork`.

    Attributes
    ----------
    n_features : int
        Columns of the stimulus.
    n_linear : int
        Columns that the linear path reads, after a projection.
    n_lags : int
        Samples that the linear path reads, the present one first.
    n_components : int
        Courses in time.
    n_sources : int
        Places.
    n_orientations : int
        Directions at each place, 1 or 3.
    d_model : int
        Width of the transformer.
    n_layers : int
        Its layers; 0 leaves the linear path alone.
    n_heads : int
        Heads of attention.
    context : int
        Samples that attention looks back in each layer, the present one included.
    dropout : float
        Share of activations that are left out in training.
    """

    n_features: int
    n_linear: int
    n_lags: int
    n_components: int
    n_sources: int
    n_orientations: int = 1
    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    context: int = 100
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("n_features", "n_linear", "n_lags", "n_components", "n_sources"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Expected {name} of 1 or more, got {getattr(self, name)}."
                )
        if self.n_orientations not in (1, 3):
            raise ValueError(
                f"Expected 1 or 3 orientations, got {self.n_orientations}."
            )
        if self.n_layers and (self.d_model % self.n_heads or self.context < 1):
            raise ValueError(
                "Expected d_model as a multiple of n_heads and context of 1 sample or "
                f"more, got {self.d_model}, {self.n_heads} and {self.context}."
            )

    @property
    def history(self) -> int:
        """How many samples before it an output depends on."""
        reach = 4 + self.n_layers * (self.context - 1) if self.n_layers else 0
        return max(self.n_lags - 1, reach)

    def to_dict(self) -> dict[str, Any]:
        """Give the sizes by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, sizes: dict[str, Any]) -> LatentSourceConfig:
        """Make it from what `to_dict` gave."""
        return cls(**{f.name: sizes[f.name] for f in fields(cls)})


class LatentSourceNetwork(nn.Module):
    """Features of a stimulus to components in time, and these to sources.

    A linear path (a causal convolution) and a transformer whose attention is causal and
    local add up. The transformer ends in zeros, so that a new network is the linear
    path alone.

    Parameters
    ----------
    config : LatentSourceConfig
        Its sizes.
    """

    def __init__(self, config: LatentSourceConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(config.n_features))
        self.register_buffer("scale", torch.ones(config.n_features))
        self.register_buffer("reduce", torch.zeros(config.n_features, config.n_linear))
        shape = (config.n_components, config.n_linear, config.n_lags)
        self.kernel = nn.Parameter(torch.zeros(shape))
        self.offset = nn.Parameter(torch.zeros(config.n_components))
        rows = config.n_sources * config.n_orientations
        self.maps = nn.Parameter(torch.zeros(rows, config.n_components))
        self.layers = nn.ModuleList()
        if config.n_layers:
            # how long ago something began is seen in its recent past
            self.embed = nn.Conv1d(config.n_features, config.d_model, 5)
            self.layers.extend(_LocalLayer(config) for _ in range(config.n_layers))
            self.norm = nn.LayerNorm(config.d_model)
            self.head = nn.Linear(config.d_model, config.n_components)
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, stimulus: Tensor) -> Tensor:
        """Compute the components.

        Parameters
        ----------
        stimulus : Tensor, shape (n_batch, n_times, n_features)
            Features from the start of a story on; before it is silence.

        Returns
        -------
        components : Tensor, shape (n_batch, n_times, n_components)
            Their courses. A sample depends on the stimulus up to it.
        """
        x = (stimulus - self.mean) / self.scale
        # features are padded after they are centred: silence is their mean
        linear = F.pad((x @ self.reduce).mT, (self.config.n_lags - 1, 0))
        out = F.conv1d(linear, self.kernel.flip(-1)).mT + self.offset
        if self.layers:
            hidden = self.embed(F.pad(x.mT, (4, 0))).mT
            for layer in self.layers:
                hidden = layer(hidden)
            out = out + self.head(self.norm(hidden))
        return out

    def sources(self, components: Tensor) -> Tensor:
        """Give the courses of all sources.

        Parameters
        ----------
        components : Tensor, shape (..., n_components)
            What `forward` gave.

        Returns
        -------
        sources : Tensor, shape (..., n_sources * n_orientations)
            The directions of a place follow one another.
        """
        return components @ self.maps.mT


class _LocalLayer(nn.Module):
    """A transformer layer whose attention looks back a fixed number of samples."""

    def __init__(self, config: LatentSourceConfig) -> None:
        super().__init__()
        width, self.n_heads, self.context = (
            config.d_model,
            config.n_heads,
            config.context,
        )
        self.before = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        # relative positions: one value a head and distance
        self.bias = nn.Parameter(torch.zeros(self.n_heads, self.context))
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(2 * width, width),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.out(self._attend(self.before(x))))
        return x + self.dropout(self.mlp(x))

    def _attend(self, x: Tensor) -> Tensor:
        """Attend in blocks of `context` samples, each to itself and the one before."""
        n_batch, n_times, width = x.shape
        size = self.context
        n_blocks = math.ceil(n_times / size)
        x = F.pad(x, (0, 0, 0, n_blocks * size - n_times))
        x = self.queries_keys_values(x)
        x = x.view(n_batch, n_blocks, size, 3, self.n_heads, -1)
        q, k, v = x.permute(3, 0, 1, 4, 2, 5)
        k, v = (torch.cat([F.pad(a, (0,) * 6 + (1, 0))[:, :-1], a], 3) for a in (k, v))
        # distance of query i to key j, where keys begin a block earlier
        at = torch.arange(size, device=x.device)
        distance = at[:, None] + size - torch.arange(2 * size, device=x.device)
        seen = (distance >= 0) & (distance < size)
        bias = self.bias[:, distance.clamp(0, size - 1)]
        bias = bias.masked_fill(~seen, -torch.inf).expand(n_blocks, -1, -1, -1)
        # nothing comes before the first block
        first = torch.zeros_like(bias[:1])
        first[..., :size] = -torch.inf
        bias = torch.cat([bias[:1] + first, bias[1:]])
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out = out.permute(0, 1, 3, 2, 4).reshape(n_batch, n_blocks * size, width)
        return out[:, :n_times]


def convolve_at(series: Tensor, kernels: Tensor, at: Tensor) -> Tensor:
    """Convolve some series with causal kernels, at some samples alone.

    Parameters
    ----------
    series : Tensor, shape (n_times, n_series)
        What is convolved; zeros come before and after it.
    kernels : Tensor, shape (n_kernels, n_lags)
        Weights of the present sample, the one before, and so on.
    at : Tensor of int, shape (n_samples,)
        Where. May lie beyond the end.

    Returns
    -------
    out : Tensor, shape (n_kernels, n_samples, n_series)
        The results.
    """
    n_lags = kernels.shape[1]
    out = []
    for part in at.split(64):
        first = max(0, int(part.min()) - n_lags + 1)
        last = min(len(series), int(part.max()) + 1)
        times = torch.arange(first, max(first, last), device=series.device)
        lag = part[:, None] - times
        weight = kernels[:, lag.clamp(0, n_lags - 1)]
        weight = weight * ((lag >= 0) & (lag < n_lags))
        out.append(weight @ series[times])
    return torch.cat(out, 1)


def bold(
    network: LatentSourceNetwork,
    components: Tensor,
    kernels: Tensor,
    at: Tensor,
    response: str = "power",
) -> Tensor:
    """Compute the haemodynamic response of all sources.

    Parameters
    ----------
    network : LatentSourceNetwork
        Whose maps are used.
    components : Tensor, shape (n_times, n_components)
        Courses of a story.
    kernels : Tensor, shape (n_kernels, n_lags)
        Haemodynamic responses at the rate of the components.
    at : Tensor of int, shape (n_scans,)
        Samples of the scans.
    response : str
        ``'power'``, the sum of squares over directions, ``'amplitude'``, its root, or
        ``'linear'``, the sources themselves, of one direction.

    Returns
    -------
    bold : Tensor, shape (n_kernels, n_scans, n_sources)
        One for each kernel.
    """
    config = network.config
    maps = network.maps
    if response == "linear":
        return convolve_at(components, kernels, at) @ maps.mT
    if response == "amplitude":
        power = network.sources(components).square()
        power = power.unflatten(1, (config.n_sources, -1)).sum(-1)
        # the root is not differentiable at 0
        return convolve_at((power + 1e-8).sqrt(), kernels, at)
    # u' z z' u is linear in z z', which is convolved in the place of n_sources powers
    products = (components[:, :, None] * components[:, None]).flatten(1)
    slow = convolve_at(products, kernels, at)
    shape = (config.n_sources, config.n_orientations, config.n_components)
    places = maps.view(shape)
    places = torch.einsum("soi,soj->sij", places, places).flatten(1)
    return slow @ places.mT
