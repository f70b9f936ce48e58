"""Networks of braindecode as backbones: their sizes, channels, positions and tokens.

braindecode is imported when a network is made, not before.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..models import BackboneConfig, check_numbers
from ..sensors import (
    canonical_array,
    electrode_names,
    nearest_electrodes,
    nearest_sensors,
)
from ._braindecode_adapter import (
    BraindecodeEncoder,
    BraindecodeReconstructor,
    NetworkConfig,
    ReconstructorConfig,
)
from ._networks import braindecode_models


# -- sizes -----------------------------------------------------------------------------
@dataclass(frozen=True)
class LabramConfig(ReconstructorConfig):
    """Sizes of LaBraM, by default those of LaBraM-base."""

    d_model: int = 200
    n_layers: int = 12
    n_heads: int = 10


@dataclass(frozen=True)
class CBraModConfig(ReconstructorConfig):
    """Sizes of CBraMod, by default those that were published."""

    d_model: int = 200
    n_layers: int = 12
    n_heads: int = 8


@dataclass(frozen=True)
class ReveConfig(ReconstructorConfig):
    """Sizes of REVE, by default those of REVE-base."""

    d_model: int = 512
    n_layers: int = 22
    n_heads: int = 8


@dataclass(frozen=True)
class BiotConfig(ReconstructorConfig):
    """Sizes of BIOT, by default those that were published."""

    d_model: int = 256
    n_layers: int = 4
    n_heads: int = 8


@dataclass(frozen=True)
class SignalJepaConfig(ReconstructorConfig):
    """Sizes of SignalJEPA, by default those that were published."""

    d_model: int = 64
    n_layers: int = 8
    n_heads: int = 8


@dataclass(frozen=True)
class LunaConfig(NetworkConfig):
    """Sizes of LUNA, by default those of LUNA-base; ``d_model`` is of all queries."""

    d_model: int = 256
    n_layers: int = 8
    n_heads: int = 2
    n_queries: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, {"n_queries": (1, 1024)})


@dataclass(frozen=True)
class EegptConfig(NetworkConfig):
    """Sizes of EEGPT, by default those that were published."""

    d_model: int = 512
    n_layers: int = 8
    n_heads: int = 8


@dataclass(frozen=True)
class EegnetConfig(BackboneConfig):
    """Sizes of EEGNet: ``d_model`` filters in space, half as many in time."""

    d_model: int = 16


# -- networks with a token for each channel --------------------------------------------
class Labram(BraindecodeReconstructor):
    """LaBraM (Jiang et al. 2024, ICLR), 200 Hz, sensors named by nearest electrode."""

    config_class = LabramConfig
    network_name, rate, gain, length, step = "Labram", 200.0, 0.2, 200, 200
    along_time = ("temporal_embedding",)

    def make_network(self, models: Any, n_times: int) -> nn.Module:
        """Make it; see `Network.make_network`."""
        config = self.config
        fits = config.d_model % 100 == 0 and config.d_model % config.n_heads == 0
        self._expect(fits, "d_model to be a multiple of 100 and of n_heads")
        order = models.labram.LABRAM_CHANNEL_ORDER
        self._names = nearest_electrodes(_single(order))[0]
        return models.Labram(
            n_times=n_times,
            n_chans=config.n_sensors,
            n_outputs=0,
            sfreq=self.rate,
            conv_out_channels=config.d_model // 25,
            num_layers=config.n_layers,
            num_heads=config.n_heads,
        )

    def _plain(self, network: nn.Module) -> nn.Module:
        for block in network.blocks:
            del block.mlp.normalization  # a function that made it, and does not pickle
        return super()._plain(network)

    def tokens(self, x: Tensor) -> Tensor:
        """Run it; see `Network.tokens`."""
        found = self.network(x, return_features=True, ch_names=self._names)
        return found["features"].unflatten(1, (x.shape[1], -1))

    def parts(self) -> tuple[list[str], str, list[str]]:
        """Name its parts; see `Network.parts`."""
        before = ["patch_embed", "cls_token", "position_embedding"]
        return [*before, "temporal_embedding"], "blocks", ["norm"]


class CBraMod(BraindecodeReconstructor):
    """CBraMod (Wang et al. 2025, ICLR), 200 Hz, without positions."""

    config_class = CBraModConfig
    network_name, rate, gain, length, step = "CBraMod", 200.0, 0.2, 200, 200

    def make_network(self, models: Any, n_times: int) -> nn.Module:
        """Make it; see `Network.make_network`."""
        config = self.config
        fits = config.n_heads % 2 == 0 and 200 % config.n_heads == 0
        self._expect(fits, "n_heads to be even and to divide 200")
        return models.CBraMod(
            n_times=n_times,
            n_chans=config.n_sensors,
            n_layer=config.n_layers,
            nhead=config.n_heads,
            emb_dim=config.d_model,
            return_encoder_output=True,
        )

    def tokens(self, x: Tensor) -> Tensor:
        """Run it; see `Network.tokens`."""
        return self.network(x, return_features=True)["features"]

    def parts(self) -> tuple[list[str], str, list[str]]:
        """Name its parts; see `Network.parts`."""
        return ["patch_embedding"], "encoder.layers", ["proj_out"]


class Reve(BraindecodeReconstructor):
    """REVE (El Ouahidi et al. 2025, NeurIPS), 200 Hz, sensors at nearest electrode."""

    config_class = ReveConfig
    network_name, rate, gain, length, step = "REVE", 200.0, 1.0, 200, 180
    not_taken = ("final_layer.", "cls_query_token")

    def make_network(self, models: Any, n_times: int) -> nn.Module:
        """Make it; see `Network.make_network`."""
        config = self.config
        fits = config.d_model <= 512 and config.d_model % (2 * config.n_heads) == 0
        self._expect(fits, "d_model of at most 512, a multiple of twice n_heads")
        pos = torch.tensor(nearest_electrodes()[1], dtype=torch.float32, device="cpu")
        self.register_buffer("positions", pos, persistent=False)
        with _without_position_bank():
            network = models.REVE(
                n_times=n_times,
                n_chans=config.n_sensors,
                n_outputs=1,
                sfreq=self.rate,
                embed_dim=config.d_model,
                depth=config.n_layers,
                heads=config.n_heads,
                head_dim=config.d_model // config.n_heads,
            )
        network._position_bank = nn.Identity()
        return network

    def network_input(self, windows: Tensor) -> Tensor:
        """Bring windows to its input, and clip them at 15 as in its training."""
        return super().network_input(windows).clamp(-15.0, 15.0)

    def tokens(self, x: Tensor) -> Tensor:
        """Run it; see `Network.tokens`."""
        pos = self.positions.expand(len(x), -1, -1)
        return self.network(x, pos=pos, return_features=True)["features"]

    def parts(self) -> tuple[list[str], str, list[str]]:
        """Name its parts; see `Network.parts`."""
        return ["to_patch_embedding", "mlp4d", "ln"], "transformer.layers", []


class Biot(BraindecodeReconstructor):
    """BIOT (Yang et al. 2023, NeurIPS), 200 Hz, 18 differences of sensors."""

    config_class = BiotConfig
    network_name, rate, gain, length, step = "BIOT", 200.0, 0.5, 200, 100

    def mount(self) -> tuple[np.ndarray, np.ndarray]:
        """Give differences of the sensors nearest to the electrodes of its channels."""
        # references on the ears have no sensor near them: electrodes above them do
        ears = {"A1": "T9", "A2": "T10"}
        order = braindecode_models().biot.BIOT_CHANNEL_ORDER
        ends = np.array(
            [
                nearest_sensors(ears.get(name, name) for name in pair.split("-"))
                for pair in order
            ]
        )
        eye = np.eye(canonical_array().n_sensors)
        channels = eye[ends[:, 0]] - eye[ends[:, 1]]
        return channels, _nearest_channel(channels)

    def make_network(self, models: Any, n_times: int) -> nn.Module:
        """Make it; see `Network.make_network`."""
        config = self.config
        fits = config.d_model % (2 * config.n_heads) == 0
        self._expect(fits, "d_model to be a multiple of twice n_heads")
        return models.BIOT(
            n_times=n_times,
            n_chans=len(self.channels),
            n_outputs=1,
            sfreq=int(self.rate),
            embed_dim=config.d_model,
            num_heads=config.n_heads,
            num_layers=config.n_layers,
        )

    def tokens(self, x: Tensor) -> Tensor:
        """Run its encoder up to the mean over tokens, which it ends with."""
        encoder, n_channels = self.network.encoder, x.shape[1]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its window is rectangular
            spectra = encoder.stft(x.flatten(0, 1)[:, None])
        spectra = encoder.patch_embedding(spectra)
        spectra = spectra.unflatten(0, (-1, n_channels))
        channel = encoder.channel_tokens(encoder.index)[:, None]
        embedded = encoder.positional_encoding((spectra + channel).flatten(0, 1))
        embedded = embedded.unflatten(0, (-1, n_channels))
        tokens = encoder.transformer(embedded.flatten(1, 2))
        return tokens.unflatten(1, (n_channels, -1))

    def parts(self) -> tuple[list[str], str, list[str]]:
        """Name its parts; see `Network.parts`."""
        before = ["encoder.patch_embedding", "encoder.channel_tokens"]
        return before, "encoder.transformer.layers.layers", []


class SignalJepa(BraindecodeReconstructor):
    """SignalJEPA (Guetschel et al. 2024), 128 Hz, sensors by nearest electrode."""

    config_class = SignalJepaConfig
    network_name, rate, gain, length, step = "SignalJEPA", 128.0, 20.0, 128, 128
    extra = 24  # its convolutions reach so far into the next second
    not_taken = ("final_layer.", "transformer.decoder.")

    def make_network(self, models: Any, n_times: int) -> nn.Module:
        """Make it; see `Network.make_network`."""
        config = self.config
        fits = config.d_model == 64 and 64 % config.n_heads == 0
        self._expect(fits, "d_model=64 and n_heads that divide it")
        sizes = {
            "n_times": n_times,
            "sfreq": self.rate,
            "channel_embedding": "pretrain_aligned",
            "transformer__num_encoder_layers": config.n_layers,
            "transformer__num_decoder_layers": 1,
            "transformer__nhead": config.n_heads,
        }
        # without channels, it has those that it was trained on
        known = models.SignalJEPA(**sizes).chs_info
        names, pos, _ = nearest_electrodes(ch["ch_name"] for ch in known)
        places = zip(names, pos, strict=True)
        chs_info = [{"ch_name": name, "loc": tuple(loc)} for name, loc in places]
        return models.SignalJEPA(chs_info=chs_info, **sizes)

    def _plain(self, network: nn.Module) -> nn.Module:
        network.transformer.decoder = nn.Identity()
        # made here, since one made in inference could not be copied
        n_steps = (self._n_padded - self.extra) // self.step
        network.pos_encoder._check_encoding_time(n_steps)
        return super()._plain(network)

    def tokens(self, x: Tensor) -> Tensor:
        """Run it; see `Network.tokens`."""
        found = self.network(x, return_features=True)["features"]
        return found.unflatten(1, (x.shape[1], -1))

    def parts(self) -> tuple[list[str], str, list[str]]:
        """Name its parts; see `Network.parts`."""
        after = ["transformer.encoder.norm"]
        return ["feature_encoder", "pos_encoder"], "transformer.encoder.layers", after


# -- networks with tokens of the whole head --------------------------------------------
class Luna(BraindecodeEncoder):
    """LUNA (Döner et al. 2025, NeurIPS), 256 Hz, sensors by position."""

    config_class = LunaConfig
    network_name, rate, gain, length, step = "LUNA", 256.0, 1.0, 40, 40
    not_taken = ("final_layer.", "decoder_head.", "channel_emb.", "mask_token")

    def make_network(self, models: Any, n_times: int) -> nn.Module:
        """Make it; see `Network.make_network`."""
        config = self.config
        width, rest = divmod(config.d_model, config.n_queries)
        fits = not rest and width % 16 == 0 and width % (2 * config.n_heads) == 0
        self._expect(
            fits, "d_model / n_queries to be a multiple of 16 and of twice n_heads"
        )
        pos = torch.tensor(canonical_array().pos, dtype=torch.float32, device="cpu")
        self.register_buffer("positions", pos, persistent=False)
        return models.LUNA(
            n_times=n_times,
            n_chans=config.n_sensors,
            n_outputs=0,
            sfreq=self.rate,
            embed_dim=width,
            num_queries=config.n_queries,
            depth=config.n_layers,
            num_heads=config.n_heads,
        )

    def _plain(self, network: nn.Module) -> nn.Module:
        del network.decoder_head, network.channel_emb
        network.mask_token = None
        return super()._plain(network)

    def tokens(self, x: Tensor) -> Tensor:
        """Run it up to the norm before its head."""
        network = self.network
        pos = self.positions.expand(len(x), -1, -1)
        queries, _ = network.cross_attn(network.prepare_tokens(x, pos)[0])
        steps = queries.flatten(1).unflatten(0, (len(x), -1))
        for block in network.blocks:
            steps = block(steps)
        return network.norm(steps)[:, None]

    def parts(self) -> tuple[list[str], str, list[str]]:
        """Name its parts; see `Network.parts`."""
        before = ["patch_embed", "freq_embed", "channel_location_embedder"]
        return [*before, "cross_attn"], "blocks", ["norm"]


class Eegpt(BraindecodeEncoder):
    """EEGPT (Wang et al. 2024, NeurIPS), 256 Hz, sensors nearest to its electrodes."""

    config_class = EegptConfig
    network_name, rate, gain, length, step = "EEGPT", 256.0, 0.02, 64, 32
    not_taken = ("final_layer.", "chan_proj.", "chans_id", "predictor", "reconstructor")

    def mount(self) -> tuple[np.ndarray, np.ndarray]:
        """Give the sensor nearest to each electrode that it knows."""
        self._names = list(braindecode_models().eegpt.EEGPT_CHANNELS)
        array = canonical_array()
        channels = np.eye(array.n_sensors)[nearest_sensors(self._names)]
        return channels, np.ones((array.n_regions, 1))

    def make_network(self, models: Any, n_times: int) -> nn.Module:
        """Make it; see `Network.make_network`."""
        config = self.config
        fits = config.d_model % config.n_heads == 0
        self._expect(fits, "d_model to be a multiple of n_heads")
        return models.EEGPT(
            n_times=n_times,
            chs_info=[{"ch_name": name} for name in self._names],
            sfreq=self.rate,
            embed_dim=config.d_model,
            depth=config.n_layers,
            num_heads=config.n_heads,
            chan_proj_type="none",
            return_encoder_output=True,
        )

    def tokens(self, x: Tensor) -> Tensor:
        """Run it, and take the mean of its summary tokens of each step."""
        return self.network(x).mean(2)[:, None]

    def parts(self) -> tuple[list[str], str, list[str]]:
        """Name its parts; see `Network.parts`."""
        names = ("patch_embed", "chan_embed", "summary_token")
        before = [f"target_encoder.{name}" for name in names]
        return before, "target_encoder.blocks", ["target_encoder.norm"]


class Eegnet(BraindecodeEncoder):
    """EEGNet (Lawhern et al. 2018, J. Neural Eng. 15, 056013), 128 Hz, all sensors."""

    config_class = EegnetConfig
    network_name, rate, gain, length, step = "EEGNet", 128.0, 1.0, 32, 32

    def make_network(self, models: Any, n_times: int) -> nn.Module:
        """Make it; see `Network.make_network`."""
        config = self.config
        self._expect(config.d_model % 2 == 0, "an even d_model")
        return models.EEGNet(
            n_times=n_times,
            n_chans=config.n_sensors,
            n_outputs=1,
            sfreq=self.rate,
            F1=config.d_model // 2,
            D=2,
        )

    def tokens(self, x: Tensor) -> Tensor:
        """Run it up to its head."""
        return self.network(x)[:, :, 0].transpose(1, 2)[:, None]

    def layer_groups(self) -> list[list[str]]:
        """Name its convolutions, each with its batch norm."""
        return [
            ["network.conv_temporal", "network.bnorm_temporal"],
            ["network.conv_spatial", "network.bnorm_1"],
            ["network.conv_separable_depth", "network.conv_separable_point"],
            ["network.bnorm_2"],
        ]


# -- channels and positions ------------------------------------------------------------
def _nearest_channel(channels: np.ndarray) -> np.ndarray:
    """Give each region the channel whose sensors are nearest, as a matrix."""
    array = canonical_array()
    share = np.abs(channels) / np.abs(channels).sum(1, keepdims=True)
    apart = np.linalg.norm(
        (share @ array.pos)[None] - array.region_pos[:, None], axis=2
    )
    return (np.arange(len(channels)) == apart.argmin(1)[:, None]).astype(float)


def _single(names: Sequence[str]) -> list[str]:
    """Leave out differences of electrodes, and names not of the 10-05 system."""
    known = set(electrode_names())
    return [name for name in names if name.upper() in known]


@contextmanager
def _without_position_bank() -> Iterator[None]:
    """Keep REVE from fetching positions of electrodes: it is given those of sensors.

    It looks for a file in a folder that an environment variable names, which is its way
    for computers without a network.
    """
    name, file = "REVE_POSITIONS_PATH", "reve_positions.json"
    before = os.environ.get(name)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, file), "w", encoding="utf-8") as stream:
            json.dump({"none": [0.0, 0.0, 0.0]}, stream)
        os.environ[name] = folder
        try:
            yield
        finally:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before
