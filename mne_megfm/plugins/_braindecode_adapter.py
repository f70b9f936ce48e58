"""What networks of braindecode have in common as backbones.

What such a network is given: the canonical field, hidden and missing samples zero,
times a fixed factor, on channels that it knows, resampled to the rate that it was made
for. What becomes of its output: tokens of its channels are averaged over regions, its
steps in time over patches. braindecode is imported when a network is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from ..inputs import resampling_matrix
from ..models import (
    BackboneConfig,
    BaseBackbone,
    Block,
    SignalReconstructor,
    check_numbers,
    from_patches,
    initialize,
    to_patches,
)
from ..sensors import canonical_array
from ._networks import braindecode_models

# -- sizes -----------------------------------------------------------------------------
_LIMITS = {
    "n_layers": (1, 256),
    "n_heads": (1, 1024),
    "n_decoder_layers": (0, 256),
    "decoder_width": (4, 65_536),
}


@dataclass(frozen=True)
class NetworkConfig(BackboneConfig):
    """Sizes of a network of layers with attention heads; see `BackboneConfig`."""

    n_layers: int = 1
    n_heads: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, _LIMITS)


@dataclass(frozen=True)
class ReconstructorConfig(NetworkConfig):
    """The same with a decoder."""

    n_decoder_layers: int = 2
    decoder_width: int = 128


# -- what all have in common -----------------------------------------------------------
class Loaded(NamedTuple):
    """What was read of a file of weights.

    Attributes
    ----------
    read : list of str
        Arrays that were read.
    cut : list of str
        Those of them of which the first part was read: what follows is of later times.
    left_out : list of str
        Arrays of the file that are no part of the encoder, or were not wanted.
    drawn : list of str
        Arrays of the network that were not wanted, and stay random.
    """

    read: list[str]
    cut: list[str]
    left_out: list[str]
    drawn: list[str]


class Network:
    """A network of braindecode inside a backbone.

    Attributes
    ----------
    network_name : str
        Its class in ``braindecode.models``.
    rate : float
        Sampling rate that it was made for, in Hz.
    gain : float
        What it is given where the field is ``config.scale`` (0.4 pT). Networks that
        were trained on potentials get 0.4 pT as 20 uV, in their unit; those that were
        trained on signals of unit variance get 1. The factor is fixed, since amplitude
        is information, and the scale of a window would tell of its hidden part.
    length, step : int
        Samples at `rate` that a step of its output is of, and from one to the next.
    extra : int
        Samples that it needs besides.
    not_taken : tuple of str
        Beginnings of the names of arrays that features do not depend on: heads, and
        what served its own pretraining.
    along_time : tuple of str
        Arrays with one row a time, of which the first are used.
    """

    network_name: ClassVar[str]
    rate: ClassVar[float]
    gain: ClassVar[float]
    length: ClassVar[int]
    step: ClassVar[int]
    extra: ClassVar[int] = 0
    not_taken: ClassVar[tuple[str, ...]] = ("final_layer.",)
    along_time: ClassVar[tuple[str, ...]] = ()

    config: Any
    network: nn.Module
    resampling: Tensor
    channels: Tensor
    regions: Tensor
    times: Tensor

    def make_network(self, models: Any, n_times: int) -> nn.Module:
        """Make the network with random weights.

        Parameters
        ----------
        models : module
            ``braindecode.models``.
        n_times : int
            Samples of a window at its rate.

        Returns
        -------
        network : Module
            The network as braindecode makes it.
        """
        raise NotImplementedError

    def tokens(self, x: Tensor) -> Tensor:
        """Run the network.

        Parameters
        ----------
        x : Tensor, shape (n, n_channels, n_times)
            Its input.

        Returns
        -------
        tokens : Tensor, shape (n, n_channels | 1, n_steps, d_model)
            Its tokens; those of all channels together are of one channel.
        """
        raise NotImplementedError

    def mount(self) -> tuple[np.ndarray, np.ndarray]:
        """Tell which channels the network gets, and where they belong.

        Returns
        -------
        channels : ndarray, shape (n_channels, n_sensors)
            Channels as sums of sensors.
        regions : ndarray, shape (n_regions, n_channels | 1)
            Tokens of regions as sums of tokens of channels.
        """
        array = canonical_array()
        return np.eye(array.n_sensors), region_means()

    def make_encoder(self) -> None:
        """Make the network, and what brings signals to it and its tokens back."""
        config, array = self.config, canonical_array()
        sizes = (config.n_sensors, config.n_regions)
        if sizes != (array.n_sensors, array.n_regions):
            raise ValueError(
                f"Expected the canonical array of {array.n_sensors} sensors in "
                f"{array.n_regions} regions for networks of braindecode, which are "
                f"given their places, got {sizes[0]} in {sizes[1]}; use another "
                "backbone with this array."
            )
        resampling = resampling_matrix(config.n_times, config.sfreq, self.rate)
        n_input = resampling.shape[1]
        n_steps = 1 + max(0, ceil((n_input - self.length) / self.step))
        self._n_padded = self.length + self.step * (n_steps - 1) + self.extra
        channels, regions = self.mount()
        times = overlap_weights(
            np.arange(n_steps) * self.step / self.rate,
            self.length / self.rate,
            np.arange(config.n_patches) * config.patch_length / config.sfreq,
            config.patch_length / config.sfreq,
        )
        # they follow from the sizes, and are not saved
        for name, matrix in (
            ("resampling", resampling),
            ("channels", channels),
            ("regions", regions),
            ("times", times),
        ):
            value = torch.tensor(matrix, dtype=torch.float32, device="cpu")
            self.register_buffer(name, value, persistent=False)
        self.network = self._plain(self._made())

    def _made(self) -> nn.Module:
        """Make the network as braindecode makes it."""
        models = braindecode_models()
        # some read numbers from tensors, which those without memory do not have
        with warnings.catch_warnings(), torch.device("cpu"):
            warnings.simplefilter("ignore")  # of the other package
            return self.make_network(models, self._n_padded)

    def _plain(self, network: nn.Module) -> nn.Module:
        """Take away heads, dropout, and constraints of weights, which do not pickle."""
        network.final_layer = nn.Identity()
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            if parametrize.is_parametrized(module):
                for name in list(module.parametrizations):
                    parametrize.remove_parametrizations(module, name)
        return network

    def load_network(
        self, state: Mapping[str, Tensor], leave_out: Sequence[str] = ()
    ) -> Loaded:
        """Take weights of the network, strictly.

        Parameters
        ----------
        state : dict of Tensor
            Arrays under the names that braindecode has for them.
        leave_out : sequence of str
            Beginnings of the names of more arrays that are not wanted.

        Returns
        -------
        loaded : Loaded
            What was read, and what was not.

        Raises
        ------
        ValueError
            If an array of the encoder is missing, unknown or of another shape.
        """
        network = self._made()
        old_names = getattr(network, "mapping", None) or {}
        unwanted = (*self.not_taken, *leave_out)
        given = {old_names.get(name, name): array for name, array in state.items()}
        own = network.state_dict()
        expected = {k: v for k, v in own.items() if not k.startswith(unwanted)}
        found = {k: v for k, v in given.items() if not k.startswith(unwanted)}
        cut = []
        for name in self.along_time:
            n_rows = own[name].shape[1]
            if name in found and found[name].ndim > 1 and len(found[name][0]) > n_rows:
                found[name] = found[name][:, :n_rows]
                cut.append(name)
        missing = sorted(set(expected) - set(found))
        unknown = sorted(set(found) - set(expected))
        wrong = [
            f"{k} {tuple(found[k].shape)} instead of {tuple(expected[k].shape)}"
            for k in sorted(set(found) & set(expected))
            if found[k].shape != expected[k].shape
        ]
        if missing or unknown or wrong:
            n_match = len(set(found) & set(expected)) - len(wrong)
            parts = [
                f"{kind}: {', '.join(names)}"
                for kind, names in (
                    ("missing", missing),
                    ("unknown", unknown),
                    ("of another shape", wrong),
                )
                if names
            ]
            raise ValueError(
                f"Expected the {len(expected)} arrays of the encoder of "
                f"{self.network_name}, got {n_match} that match ({'; '.join(parts)}); "
                "give the sizes of these weights in config, or name in leave_out what "
                "is not to be read."
            )
        network.load_state_dict({**own, **found}, strict=True)
        self.network.load_state_dict(self._plain(network).state_dict(), strict=True)
        extra = tuple(leave_out)
        return Loaded(
            sorted(found),
            cut,
            sorted(set(given) - set(found)),
            sorted(k for k in own if extra and k.startswith(extra)),
        )

    def network_input(self, windows: Tensor) -> Tensor:
        """Bring scaled windows to what the network takes.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Windows at the scale of the backbone; zero where hidden or missing.

        Returns
        -------
        x : Tensor, shape (n, n_channels, n_times)
            Channels at the rate of the network, in its unit, with zeros at the end
            where its steps need more samples.
        """
        x = self.gain * (self.channels @ windows @ self.resampling)
        return F.pad(x, (0, self._n_padded - x.shape[-1]))

    def encode_patches(self, patches: Tensor, hidden: Tensor) -> Tensor:
        """Encode scaled patches, with zeros where they are hidden."""
        visible = patches.masked_fill(hidden[..., None, None], 0.0)
        # Fourier transforms have no half precision
        with torch.autocast(patches.device.type, enabled=False):
            x = self.network_input(from_patches(visible.float(), self.config))
            steps = self.tokens(x)
            tokens = torch.einsum("rc,ncsd->nrsd", self.regions, steps)
            tokens = torch.einsum("ps,nrsd->nrpd", self.times, tokens)
        return tokens.masked_fill(hidden[..., None], 0.0)

    def encode(
        self,
        windows: Tensor,
        n_valid: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Turn windows into tokens, see ``BaseBackbone.encode``."""
        scaled, hidden = self.scale(windows, n_valid, mask)
        return self.encode_patches(to_patches(scaled.windows, self.config), hidden)

    def layer_groups(self) -> list[list[str]]:
        """Name the parts of the network: embedding, each layer, what follows."""
        before, layers, after = self.parts()
        names = [
            name for name, _ in self.network.get_submodule(layers).named_children()
        ]
        groups = [before, *([f"{layers}.{name}"] for name in names), after]
        return [[f"network.{part}" for part in group] for group in groups if group]

    def parts(self) -> tuple[list[str], str, list[str]]:
        """Name what comes before the layers, the list of layers, and what follows."""
        raise NotImplementedError

    def _expect(self, fits: bool, expected: str) -> None:
        """Check sizes that the network fixes."""
        if not fits:
            raise ValueError(
                f"Expected {expected} for {self.network_name}, got {self.config}; "
                "correct the configuration."
            )


class BraindecodeEncoder(Network, BaseBackbone):
    """A network of braindecode that makes tokens alone.

    Its tokens do not tell one sensor from another, so that masked signals cannot be
    predicted from them. See the module for what it is given.
    """

    def __init__(self, config: BackboneConfig, kernel: Tensor | None = None) -> None:
        super().__init__(config, kernel)
        self.make_encoder()

    def mount(self) -> tuple[np.ndarray, np.ndarray]:
        """Give all sensors; each region gets the tokens of the whole head."""
        array = canonical_array()
        return np.eye(array.n_sensors), np.ones((array.n_regions, 1))


class BraindecodeReconstructor(Network, SignalReconstructor):
    """A network of braindecode with a token for each channel and step in time.

    The decoder of the package predicts hidden patches from these tokens, so that the
    network can be pretrained by masks.
    """

    @property
    def decoder_width(self) -> int:
        """Width of the tokens of the decoder."""
        return self.config.decoder_width

    def make_layers(self, n_layers: int) -> list[nn.Module]:
        """Make transformer layers for the decoder."""
        n_heads = 4 if self.decoder_width % 4 == 0 else 1
        return [Block(self.decoder_width, n_heads, 2.0) for _ in range(n_layers)]

    def mix(
        self, layers: Iterable[nn.Module], tokens: Tensor, hidden: Tensor | None = None
    ) -> Tensor:
        """Let all tokens of the decoder attend to each other."""
        mixed = tokens.flatten(1, 2)
        for layer in layers:
            mixed = layer(mixed)
        return mixed.view(tokens.shape)

    def start_layers(self) -> None:
        """Draw the weights of the decoder; the network has its own."""
        for part in (
            self.bridge,
            self.embed_fill,
            self.embed_trust,
            self.decoder_blocks,
        ):
            part.apply(initialize)
        for position in (self.decoder_region_position, self.decoder_time_position):
            nn.init.trunc_normal_(position, std=0.2)


def overlap_weights(
    starts: np.ndarray, length: float, patches: np.ndarray, duration: float
) -> np.ndarray:
    """Weigh steps in time by how far they overlap with patches.

    Parameters
    ----------
    starts : ndarray, shape (n_steps,)
        Where steps begin, in s.
    length : float
        How long they are, in s.
    patches : ndarray, shape (n_patches,)
        Where patches begin, in s.
    duration : float
        How long they are, in s.

    Returns
    -------
    weights : ndarray, shape (n_patches, n_steps)
        Rows with a sum of 1.
    """
    first = np.maximum(starts, patches[:, None])
    last = np.minimum(starts + length, patches[:, None] + duration)
    overlap = np.clip(last - first, 0.0, None)
    return overlap / overlap.sum(1, keepdims=True)


def region_means() -> np.ndarray:
    """Give means over the sensors of each region, shape (n_regions, n_sensors)."""
    array = canonical_array()
    inside = array.region == np.arange(array.n_regions)[:, None]
    return inside / inside.sum(1, keepdims=True)
