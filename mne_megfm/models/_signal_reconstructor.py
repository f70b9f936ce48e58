"""From tokens back to signal: the decoder that backbones share, and what it weighs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ._interpolation import (
    N_SCOPES,
    field_estimates,
    field_trust,
    stacking_weight,
    time_interpolation,
    visible_folds,
)
from .backbone import BackboneConfig, BaseBackbone, identity

# noise variances of the field interpolations, in units of the field's: from signals
# that are all brain to those that hardly continue from one sensor to the next
FILL_REGULARIZATIONS = (1e-4, 1e-2, 1e-1, 1.0)
N_FILLS = len(FILL_REGULARIZATIONS) + 1


def initialize(module: nn.Module) -> None:
    """Start linear layers from a truncated normal, as vision transformers do."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class SignalReconstructor(BaseBackbone):
    """A backbone with the decoder of the package.

    The encoder sees visible tokens alone, as in masked autoencoders [1]_. The
    decoder gets, for every hidden token, what interpolation over the field (from
    clean to noisy sensors, four steps) and over time say, weighs them for every
    sensor and adds what is left:
    ``a1 * field1 + ... + a4 * field4 + c * time + residual``. For every token it is
    given how far each of the fields is off where the truth is visible
    (see ``field_trust``).

    A child makes its encoder (``make_encoder``), says how it encodes scaled patches
    (``encode_patches``), which layers the decoder has (``make_layers``), and how tokens
    go through them (``mix``).

    Parameters
    ----------
    config : BackboneConfig
        Sizes and scale, with ``n_decoder_layers``.
    kernel : Tensor, shape (n_sensors, n_sensors), optional
        Gram matrix of the canonical lead fields with a mean diagonal of 1, needed
        for field interpolation. None stands for the identity: no physics.

    References
    ----------
    .. [1] He et al. (2022), "Masked autoencoders are scalable vision learners",
       CVPR, section 3.
    """

    def __init__(self, config: BackboneConfig, kernel: Tensor | None = None) -> None:
        super().__init__(config, kernel)
        n_in, width = config.sensors_per_region, self.decoder_width
        self.make_encoder()
        self.bridge = nn.Linear(config.d_model, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        self.embed_fill = nn.Linear(N_FILLS * config.token_length, width)
        self.embed_trust = nn.Linear(N_SCOPES * len(FILL_REGULARIZATIONS), width)
        self.decoder_region_position = nn.Parameter(
            torch.zeros(config.n_regions, 1, width)
        )
        self.decoder_time_position = nn.Parameter(torch.zeros(config.n_patches, width))
        self.decoder_blocks = nn.ModuleList(self.make_layers(config.n_decoder_layers))
        self.decoder_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.token_length)
        self.gate = nn.Linear(width, N_FILLS * n_in)
        self.unmixing = nn.Parameter(identity(n_in).repeat(config.n_regions, 1, 1))

        self.start_layers()
        # start as the mean of the interpolations
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, 1 / N_FILLS)

    @property
    def decoder_width(self) -> int:
        """Width of the tokens of the decoder."""
        return self.config.d_model

    @abstractmethod
    def make_encoder(self) -> None:
        """Make modules and parameters of the encoder, before those of the decoder."""
        raise NotImplementedError

    @abstractmethod
    def encode_patches(self, patches: Tensor, hidden: Tensor) -> Tensor:
        """Encode scaled patches for the decoder.

        Parameters
        ----------
        patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
            Scaled patches, zero where hidden.
        hidden : Tensor of bool, shape (n, n_regions, n_patches)
            Where the signal is hidden.

        Returns
        -------
        tokens : Tensor, shape (n, n_regions, n_patches, d_model)
            Tokens; zero where hidden.
        """
        raise NotImplementedError

    @abstractmethod
    def make_layers(self, n_layers: int) -> Iterable[nn.Module]:
        """Make layers of the network.

        Parameters
        ----------
        n_layers : int
            ``config.n_layers`` or ``config.n_decoder_layers``.

        Returns
        -------
        layers : iterable of Module
            The layers, from the first to the last.
        """
        raise NotImplementedError

    @abstractmethod
    def mix(
        self, layers: Iterable[nn.Module], tokens: Tensor, hidden: Tensor | None = None
    ) -> Tensor:
        """Send tokens through layers.

        Parameters
        ----------
        layers : iterable of Module
            Layers of the encoder, or of the decoder.
        tokens : Tensor, shape (n, n_regions, n_patches, width)
            Tokens.
        hidden : Tensor of bool, shape (n, n_regions, n_patches), optional
            Tokens that the others must not see; none by default.

        Returns
        -------
        tokens : Tensor, shape (n, n_regions, n_patches, width)
            Output of the last layer; anything finite where hidden.
        """
        raise NotImplementedError

    def start_layers(self) -> None:
        """Draw the weights that the layers start from."""
        self.apply(initialize)

    def fills(self, patches: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Interpolate hidden patches over the field and over time.

        Parameters
        ----------
        patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
            Scaled patches.
        hidden : Tensor of bool, shape (n, n_regions, n_patches)
            Where the signal is hidden.

        Returns
        -------
        fills : Tensor, shape (5, n, n_regions, n_patches, sensors_per_region, length)
            Minimum-norm field from the visible sensors, taken for clean to noisy in
            four steps, and straight lines between visible samples.
        trust : Tensor, shape (n, n_regions, n_patches, 12)
            How far each field is off where the truth is visible.
        """
        # lower precision would blur what is exact
        with torch.autocast(patches.device.type, enabled=False):
            fields, partly = field_estimates(
                patches, hidden, self.kernel, FILL_REGULARIZATIONS
            )
            trust = field_trust(patches, fields, hidden, partly)
            fields = torch.where(hidden[..., None, None], fields, 0.0)
            lines = time_interpolation(patches, hidden)
            return torch.cat([fields, lines[None]]), trust

    def predict_patches(self, patches: Tensor, hidden: Tensor) -> Tensor:
        """Predict scaled patches where hidden, from the visible ones.

        Parameters
        ----------
        patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
            Scaled patches; values in hidden ones are not looked at.
        hidden : Tensor of bool, shape (n, n_regions, n_patches)
            Where to predict.

        Returns
        -------
        predicted : Tensor, shape as ``patches``
            The prediction at hidden places, in float32; 0 elsewhere.
        """
        return self._predict(patches, hidden)[0]

    def _predict(self, patches: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Predict by the network, and by the field that visible regions speak for."""
        visible = torch.where(hidden[..., None, None], 0.0, patches)
        fills, trust = self.fills(visible, hidden)
        tokens = self.encode_patches(visible, hidden)
        states = torch.where(
            hidden[..., None],
            self.mask_token + self.embed_fill(fills.movedim(0, 3).flatten(3)),
            self.bridge(tokens),
        )
        states = states + self.embed_trust(trust)
        states = states + self.decoder_region_position + self.decoder_time_position
        states = self.decoder_norm(self.mix(self.decoder_blocks, states))
        residual = self.head(states).float().unflatten(-1, patches.shape[3:])
        residual = torch.einsum("nrpst,ros->nrpot", residual, self.unmixing.float())
        gates = self.gate(states).float().unflatten(-1, (N_FILLS, -1))
        predicted = (gates.movedim(-2, 0)[..., None] * fills).sum(0) + residual
        predicted = torch.where(hidden[..., None, None], predicted, 0.0)
        # of the whole window, the last of the scopes
        unexplained = trust[:, 0, 0].unflatten(-1, (-1, N_SCOPES))[..., -1]
        best = unexplained.argmin(-1)
        return predicted, fills[best, torch.arange(len(best), device=fills.device)]

    def complete_patches(self, patches: Tensor, hidden: Tensor) -> Tensor:
        """Predict scaled patches where hidden, by the network and the field together.

        Both are stacked [1]_: their weights in a window are those that predict its
        visible patches best when each quarter of them is hidden in turn (see
        ``stacking_weight``), so that a recording unlike those of training gets more of
        the field. Takes five times as long as ``predict_patches``. Where a moment is
        hidden at all sensors there is no field, and the network predicts alone.

        Parameters
        ----------
        patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
            Scaled patches; values in hidden ones are not looked at.
        hidden : Tensor of bool, shape (n, n_regions, n_patches)
            Where to predict.

        Returns
        -------
        predicted : Tensor, shape as ``patches``
            The prediction at hidden places, in float32; 0 elsewhere.

        References
        ----------
        .. [1] Breiman (1996), "Stacked regressions", Machine Learning 24, section 2.
        """
        network, field = self._predict(patches, hidden)
        partly = hidden & (~hidden).any(1, keepdim=True)
        if not bool(partly.any()):
            return network
        folds = visible_folds(hidden)
        gone = [hidden | fold for fold in folds]
        first, second = zip(*(self._predict(patches, h) for h in gone), strict=True)
        seen = torch.stack([(~h).any(1, keepdim=True) for h in gone])
        weight = stacking_weight(
            torch.stack(first), torch.stack(second), patches, folds & seen
        )
        weight = torch.where(partly, weight[:, None, None], 1.0)
        weight = weight[..., None, None]
        return weight * network + (1.0 - weight) * field
