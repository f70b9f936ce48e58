"""The participant encoder's network: trials in, a participant token out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ._masked_transformer import Block
from ._signal_reconstructor import initialize
from .backbone import check_numbers, identity

#: Edges in Hz, both included, of the bands of a window's spectrum.
BANDS = (
    *((f, f) for f in range(2, 15)),
    (15, 17),
    (18, 21),
    (22, 25),
    (26, 30),
    (31, 36),
    (37, 45),
)
# power below which a band counts as empty (filtered away), in the unit of the inputs
_FLOOR = 1e-3


class Trials(NamedTuple):
    """Trials and windows of some participants, padded to a common number.

    Parameters
    ----------
    response : Tensor, shape (n, n_trials, n_response)
        Coefficients of what follows the stimulus; zero where there is none.
    spectrum : Tensor, shape (n, n_trials, n_spectral)
        Coefficients of the log spectrum by region.
    state : Tensor of int, shape (n, n_trials)
        Kind of state.
    position : Tensor, shape (n, n_trials)
        Place in the recording, from 0 to 1.
    recent : Tensor, shape (n, n_trials, n_recent)
        How many stimuli came shortly before; NaN where not known.
    responds : Tensor of bool, shape (n, n_trials)
        Whether there is a stimulus.
    seen : Tensor of bool, shape (n, n_trials)
        False for padding.
    noise : Tensor, shape (n,)
        Size of the participant's noise in ``response``.
    """

    response: Tensor
    spectrum: Tensor
    state: Tensor
    position: Tensor
    recent: Tensor
    responds: Tensor
    seen: Tensor
    noise: Tensor


class TrialInputs(nn.Module):
    """Fixed linear maps from a trial to its coefficients.

    The response is what lies within half a second of the stimulus. It is mapped by
    axes in space, in time and of both together, along which average responses stand
    out from trials' noise. They are found once on participants for pretraining (see
    ``fit_trial_inputs``) and kept with the weights.

    Parameters
    ----------
    n_sensors, n_regions : int
        Virtual sensors and the regions they form.
    n_space, n_time : int
        Axes in space and in time.
    n_response, n_spectral : int
        Coefficients of response and spectrum.
    n_after : int
        Samples of the response, from the stimulus.
    sfreq : float
        Sampling rate in Hz.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import TrialInputs
    >>> inputs = TrialInputs()
    >>> components = inputs.components(torch.randn(3, 192, 125) * 1e-13)
    >>> components.shape, inputs.response(components).shape
    (torch.Size([3, 40, 30]), torch.Size([3, 48]))
    >>> inputs.log_spectrum(torch.randn(3, 192, 250) * 1e-13).shape
    torch.Size([3, 24, 19])
    """

    def __init__(
        self,
        n_sensors: int = 192,
        n_regions: int = 24,
        n_space: int = 40,
        n_time: int = 30,
        n_response: int = 48,
        n_spectral: int = 32,
        n_after: int = 125,
        sfreq: float = 250.0,
    ) -> None:
        super().__init__()
        self.n_regions, self.n_after, self.sfreq = n_regions, n_after, sfreq
        n_values = n_regions * len(BANDS)
        # field in tesla that becomes 1
        self.register_buffer("unit", torch.tensor(1e-12))
        self.register_buffer("space", identity(n_sensors)[:, :n_space].clone())
        self.register_buffer("time", identity(n_after)[:, :n_time].clone())
        self.register_buffer(
            "joint", identity(n_space * n_time)[:, :n_response].clone()
        )
        self.register_buffer("spectrum_mean", torch.zeros(n_values))
        self.register_buffer(
            "spectrum_axes", identity(n_values)[:, :n_spectral].clone()
        )

    def components(self, segments: Tensor) -> Tensor:
        """Map what follows stimuli to the axes of space and of time.

        Parameters
        ----------
        segments : Tensor, shape (n, n_sensors, n_after)
            Canonical field in tesla from the stimulus on; zero where not recorded.

        Returns
        -------
        components : Tensor, shape (n, n_space, n_time)
            Weights of pairs of axes.
        """
        field = (segments / self.unit).transpose(1, 2) @ self.space
        return field.transpose(1, 2) @ self.time

    def response(self, components: Tensor) -> Tensor:
        """Map components to coefficients.

        Parameters
        ----------
        components : Tensor, shape (n, n_space, n_time)
            As of `components`.

        Returns
        -------
        coefficients : Tensor, shape (n, n_response)
            In units of a typical trial's noise.
        """
        return components.flatten(1) @ self.joint

    def components_of(self, coefficients: Tensor) -> Tensor:
        """Find the smallest components with given coefficients.

        Parameters
        ----------
        coefficients : Tensor, shape (n, n_response)
            As of `response`.

        Returns
        -------
        components : Tensor, shape (n, n_space, n_time)
            Of least norm: `response` gives the coefficients back.
        """
        both = coefficients @ torch.linalg.pinv(self.joint)
        return both.unflatten(1, (self.space.shape[1], self.time.shape[1]))

    def field(self, coefficients: Tensor) -> Tensor:
        """Find the smallest field with given coefficients.

        Parameters
        ----------
        coefficients : Tensor, shape (n, n_response)
            As of `response`.

        Returns
        -------
        field : Tensor, shape (n, n_sensors, n_after)
            Canonical field in tesla, of least norm step by step: `components` and
            `response` give the coefficients back.
        """
        both = self.components_of(coefficients)
        over_time = both @ torch.linalg.pinv(self.time)
        return torch.linalg.pinv(self.space).T @ over_time * self.unit

    def log_spectrum(self, windows: Tensor, n_valid: Tensor | None = None) -> Tensor:
        """Compute the log power of windows by region and band.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Canonical field in tesla, zero after the recorded samples.
        n_valid : Tensor of int, shape (n,), optional
            Recorded samples; all by default.

        Returns
        -------
        spectrum : Tensor, shape (n, n_regions, n_bands)
            Natural logarithm of power, see ``BANDS``.
        """
        n, _, n_times = windows.shape
        length = torch.full((n,), n_times) if n_valid is None else n_valid
        length = length.to(windows.device)[:, None]
        at = torch.arange(n_times, device=windows.device)
        taper = 0.5 - 0.5 * torch.cos(2 * math.pi * (at + 0.5) / length)
        taper = torch.where(at < length, taper, 0.0)
        # equal power whatever was recorded
        taper = taper * (n_times / taper.square().sum(1, keepdim=True)).sqrt()
        values = torch.fft.rfft(windows / self.unit * taper[:, None])
        power = values.abs().square().unflatten(1, (self.n_regions, -1)).mean(2)
        per_hz = n_times / self.sfreq
        bands = [
            power[..., round(a * per_hz) : round(b * per_hz) + 1].mean(-1)
            for a, b in BANDS
        ]
        return (torch.stack(bands, -1) + _FLOOR).log()

    def spectrum(self, log_spectrum: Tensor) -> Tensor:
        """Map log spectra to coefficients.

        Parameters
        ----------
        log_spectrum : Tensor, shape (n, n_regions, n_bands)
            As of `log_spectrum`.

        Returns
        -------
        coefficients : Tensor, shape (n, n_spectral)
            Projections on the leading axes.
        """
        return (log_spectrum.flatten(1) - self.spectrum_mean) @ self.spectrum_axes


#: Kinds of states that the encoder distinguishes; any other name is "other".
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
    """Sizes of the participant encoder.

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
    before. A participant token gathers what trials have in common. Hidden trials are
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
    >>> encoder = ParticipantTransformer(ParticipantConfig(d_model=32, n_layers=1))
    >>> sum(p.numel() for p in encoder.parameters()) < 100_000
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
        self.state = _embedding(len(STATES), d_model)
        self.when = _mlp(_N_WHEN, d_model // 2, d_model)
        self.token = nn.Parameter(torch.zeros(1, 1, d_model))
        self.blocks = nn.ModuleList(
            Block(d_model, config.n_heads, config.mlp_ratio)
            for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        # what is asked for: a state at a time
        self.asked_state = _embedding(len(STATES), d_model)
        self.asked_when = _mlp(_N_WHEN, d_model // 2, d_model)
        self.bridge = nn.Linear(d_model, d_model)
        self.mask_token = nn.Parameter(torch.zeros(d_model))
        self.decoder = Block(d_model, config.n_heads, 2.0)
        self.decoder_norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, n_out)
        self.token_head = _mlp(2 * d_model, 2 * d_model, d_model, n_out)

        self.apply(initialize)
        _normal(self.token, 0.02)
        for table, std in ((self.state, 0.2), (self.asked_state, 0.5)):
            _normal(table.weight, std)
        for part in (self.embed_response, self.embed_spectrum):
            nn.init.xavier_uniform_(part.weight)
        for part in (self.when, self.asked_when, self.token_head):
            for layer in part:
                if isinstance(layer, nn.Linear):
                    nn.init.xavier_uniform_(layer.weight)

    def layer_groups(self) -> list[list[str]]:
        """Name the parts of the encoder: embedding, each layer, the last norm.

        Returns
        -------
        groups : list of list of str
            Names of modules and parameters.
        """
        embedding = ["embed_response", "embed_spectrum", "embed_noise"]
        embedding += ["state", "when", "token"]
        layers = [[f"blocks.{number}"] for number in range(len(self.blocks))]
        return [embedding, *layers, ["norm"]]

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


def _normal(weight: Tensor, std: float) -> None:
    """Draw values, where there are some: on "meta" that would import a compiler."""
    if not weight.is_meta:
        nn.init.normal_(weight, std=std)


def _embedding(n: int, width: int) -> nn.Embedding:
    """Make an embedding with the usual start, at little cost also on "meta"."""
    return nn.Embedding.from_pretrained(torch.randn(n, width), freeze=False)


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.GELU()]
    return nn.Sequential(*layers[:-1])


def state_kind(name: str) -> int:
    """Find the kind of a state by its name.

    Parameters
    ----------
    name : str
        The user's name.

    Returns
    -------
    kind : int
        Index into ``STATES``; unknown names are "other".

    Examples
    --------
    >>> from mne_megfm.models import state_kind
    >>> state_kind("Auditory/left"), state_kind("pain")
    (1, 3)
    """
    plain = name.partition("/")[0].strip().lower()
    return STATES.index(plain) if plain in STATES else STATES.index("other")
