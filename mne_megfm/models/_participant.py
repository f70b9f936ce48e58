"""The level over a participant's trials and windows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ._blocks import Block, initialize
from ._config import check_numbers
from ._trial_inputs import TrialInputs, Trials

#: Kinds of states that the level tells apart; any other name is "other".
STATES = ("rest", "auditory", "somatosensory", "other")
#: Time constants in s by which recent stimuli are counted.
RECENT = (1.5, 8.0)
_N_WHEN = 5 + len(RECENT)
#: Least and largest value of each size; there are no more axes than `TrialInputs` has.
_LIMITS = {
    "n_response": (1, 1200),
    "n_spectral": (1, 456),
    "d_model": (2, 65_536),
    "n_layers": (1, 256),
    "n_heads": (1, 1024),
    "mlp_ratio": (1e-3, 64.0),
    "n_measures": (1, 1000),
    "n_band_measures": (1, 1000),
}


@dataclass(frozen=True)
class ParticipantConfig:
    """Sizes of the level over trials.

    Parameters
    ----------
    n_response, n_spectral : int
        Coefficients of a trial's response and spectrum.
    d_model : int
        Width.
    n_layers, n_heads : int
        Layers and attention heads.
    mlp_ratio : float
        Hidden width of the feed-forward part as a multiple of ``d_model``.
    n_measures, n_band_measures : int
        Measures of a state's responses and of a person's spectrum, whose mean and
        spread over participants are kept with the weights.

    Raises
    ------
    ValueError
        If a number is out of range, or they do not fit together.

    Examples
    --------
    >>> from mne_megfm.models import ParticipantConfig
    >>> ParticipantConfig(d_model=32).n_layers
    3
    """

    n_response: int = 48
    n_spectral: int = 32
    d_model: int = 128
    n_layers: int = 3
    n_heads: int = 4
    mlp_ratio: float = 3.0
    n_measures: int = 4
    n_band_measures: int = 3

    def __post_init__(self) -> None:
        check_numbers(self, _LIMITS)
        if self.d_model % self.n_heads or int(self.d_model * self.mlp_ratio) < 1:
            raise ValueError(
                f"Expected d_model to be a multiple of n_heads, and mlp_ratio * "
                f"d_model of at least 1, got {self.d_model}, {self.n_heads} and "
                f"{self.mlp_ratio}; change one of them."
            )

    def to_dict(self) -> dict:
        """Give the sizes as plain numbers.

        Returns
        -------
        config : dict
            One entry a field.
        """
        return asdict(self)


class ParticipantTransformer(nn.Module):
    """Transformer over trials, which predicts hidden trials from the others.

    A trial is known by coefficients of its response and spectrum (`TrialInputs`), its
    kind of state, its place in the recording and how many stimuli came shortly
    before. A participant token gathers what describes the person. Hidden trials are
    predicted twice: from all visible ones, and from the participant token alone, as
    a masked autoencoder [1]_ one level above the signal.

    Parameters
    ----------
    config : ParticipantConfig
        Sizes.

    References
    ----------
    .. [1] He et al. (2022), "Masked autoencoders are scalable vision learners",
       CVPR, section 3.

    Examples
    --------
    >>> from mne_megfm.models import ParticipantConfig, ParticipantTransformer
    >>> level = ParticipantTransformer(ParticipantConfig(d_model=32, n_layers=1))
    >>> sum(p.numel() for p in level.parameters()) < 100_000
    True
    """

    def __init__(self, config: ParticipantConfig) -> None:
        super().__init__()
        self.config, d_model = config, config.d_model
        n_out = config.n_response + config.n_spectral
        self.inputs = TrialInputs(
            n_response=config.n_response, n_spectral=config.n_spectral
        )
        self.register_buffer("token_mean", torch.zeros(d_model))
        # mean and spread over participants of what is measured on trials and spectra,
        # and how a token tells what was not measured
        n_kinds, n_measures = len(STATES), config.n_measures
        self.register_buffer("measures_mean", torch.zeros(n_kinds, n_measures))
        self.register_buffer("measures_scale", torch.ones(n_kinds, n_measures))
        self.register_buffer("measures_map", torch.zeros(n_kinds, n_measures, d_model))
        self.register_buffer("bands_mean", torch.zeros(config.n_band_measures))
        self.register_buffer("bands_scale", torch.ones(config.n_band_measures))
        self.embed_response = nn.Linear(config.n_response, d_model)
        self.embed_spectrum = nn.Linear(config.n_spectral, d_model)
        self.embed_noise = nn.Linear(1, d_model)
        self.state = nn.Embedding(len(STATES), d_model)
        self.when = _mlp(_N_WHEN, d_model // 2, d_model)
        self.token = nn.Parameter(torch.zeros(1, 1, d_model))
        self.blocks = nn.ModuleList(
            Block(d_model, config.n_heads, config.mlp_ratio)
            for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        # what is asked for: a state at a time
        self.asked_state = nn.Embedding(len(STATES), d_model)
        self.asked_when = _mlp(_N_WHEN, d_model // 2, d_model)
        self.bridge = nn.Linear(d_model, d_model)
        self.mask_token = nn.Parameter(torch.zeros(d_model))
        self.decoder = Block(d_model, config.n_heads, 2.0)
        self.decoder_norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, n_out)
        self.token_head = _mlp(2 * d_model, 2 * d_model, d_model, n_out)

        self.apply(initialize)
        nn.init.normal_(self.token, std=0.02)
        for table, std in ((self.state, 0.2), (self.asked_state, 0.5)):
            nn.init.normal_(table.weight, std=std)
        for part in (self.embed_response, self.embed_spectrum):
            nn.init.xavier_uniform_(part.weight)
        for part in (self.when, self.asked_when, self.token_head):
            for layer in part:
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)

    def _times(self, trials: Trials) -> Tensor:
        known = ~trials.recent[..., :1].isnan()
        recent = trials.recent.nan_to_num().log1p() - 0.7 * known
        at = trials.position
        course = [2 * at - 1, (2 * at - 1) ** 2, (-3 * at).exp(), (math.pi * at).sin()]
        return torch.cat([torch.stack(course, -1), recent, known.float()], -1)

    def encode(self, trials: Trials, hidden: Tensor | None = None) -> Tensor:
        """Turn trials into tokens; the participant's token comes first.

        Parameters
        ----------
        trials : Trials
            Trials of n participants.
        hidden : Tensor of bool, shape (n, n_trials), optional
            Trials that must not be looked at.

        Returns
        -------
        tokens : Tensor, shape (n, 1 + n_trials, d_model)
            Tokens; those of hidden trials and of padding mean nothing.
        """
        visible = trials.seen if hidden is None else trials.seen & ~hidden
        noise = trials.noise[:, None, None]
        x = (
            self.embed_response(trials.response / noise)
            + self.embed_spectrum(trials.spectrum)
            + self.embed_noise(noise.log())
            + self.state(trials.state)
            + self.when(self._times(trials))
        )
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        seen = torch.cat([torch.ones_like(visible[:, :1]), visible], 1)
        for block in self.blocks:
            x = block(x, seen)
        return self.norm(x)

    def predict_from_token(self, token: Tensor, trials: Trials) -> Tensor:
        """Predict trials from the participant token alone.

        Parameters
        ----------
        token : Tensor, shape (n, d_model)
            Participant tokens.
        trials : Trials
            States and times to predict at.

        Returns
        -------
        predicted : Tensor, shape (n, n_trials, n_response + n_spectral)
            Response in units of the participant's noise, and spectrum.
        """
        asked = self._asked(trials)
        token = token[:, None].expand(-1, asked.shape[1], -1)
        return self.token_head(torch.cat([token, asked], -1))

    def _asked(self, trials: Trials) -> Tensor:
        return self.asked_state(trials.state) + self.asked_when(self._times(trials))

    def forward(self, trials: Trials, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Predict hidden trials from the others, and from the participant token.

        Parameters
        ----------
        trials : Trials
            Trials of n participants.
        hidden : Tensor of bool, shape (n, n_trials)
            Which to predict.

        Returns
        -------
        from_trials, from_token : Tensor, shape (n, n_trials, n_response + n_spectral)
            Predictions; see `predict_from_token`.
        """
        visible = trials.seen & ~hidden
        tokens = self.encode(trials, hidden)
        bridged = self.bridge(tokens)
        x = torch.where(visible[..., None], bridged[:, 1:], self.mask_token)
        x = torch.cat([bridged[:, :1], x + self._asked(trials)], 1)
        seen = torch.cat([torch.ones_like(visible[:, :1]), trials.seen], 1)
        x = self.decoder_norm(self.decoder(x, seen))
        return self.head(x[:, 1:]), self.predict_from_token(tokens[:, 0], trials)


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.GELU()]
    return nn.Sequential(*layers[:-1])
