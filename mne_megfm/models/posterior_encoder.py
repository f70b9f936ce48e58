"""What people differ in, and a transformer that infers it from their recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import identity
from .participant_statistics import (
    BINS,
    GROUPS,
    KINDS,
    N_AXES,
    N_COMPONENTS,
    N_COURSE,
    N_COURSES,
    N_PATCHES,
    N_PLACES,
    N_TIMES,
    ONSET,
    PATCH,
    SEGMENTS,
    SFREQ,
    TF_FREQS,
    TF_TIMES,
    PersonStatistics,
    Statistics,
)

# -- parameters ------------------------------------------------------------------------
#: Standard deviations beyond which no participant is drawn.
FURTHEST = 2.5


@dataclass(frozen=True)
class Parameter:
    """One thing that people differ in.

    Parameters
    ----------
    name, unit : str
        What it is called and measured in.
    mean, sd : float
        Of the prior, which is normal; of the logarithm where ``scale`` is ``'log'``,
        of the log odds where it is ``'logit'``.
    scale : str
        ``'linear'``, ``'log'`` or ``'logit'``.
    """

    name: str
    mean: float
    sd: float
    scale: str = "linear"
    unit: str = ""

    def value(self, z: Tensor) -> Tensor:
        """Turn standard scores to values in the parameter's unit."""
        x = self.mean + self.sd * z
        if self.scale == "log":
            return x.exp()
        return x.sigmoid() if self.scale == "logit" else x


def _log(value: float) -> float:
    return float(torch.tensor(value).log())


_P = Parameter
#: All parameters, in the order of the columns of scores. Moments are in 10 nA m.
PARAMETERS = (
    # responses to sounds
    _P("auditory_size", _log(2.8), 0.5, "log", "10 nAm"),
    _P("auditory_asymmetry", 0.0, 0.6, "linear", "log(right/left)"),
    _P("auditory_front", 0.0, 0.009, "linear", "m"),
    _P("auditory_up", 0.0, 0.007, "linear", "m"),
    _P("P50m_ratio", _log(0.3), 0.5, "log", "of N100m"),
    _P("N100m_latency", 0.100, 0.011, "linear", "s"),
    _P("N100m_width", _log(0.017), 0.25, "log", "s"),
    _P("P200m_ratio", _log(0.5), 0.55, "log", "of N100m"),
    _P("P200m_latency", 0.185, 0.02, "linear", "s"),
    _P("auditory_sustained", 0.22, 0.25, "linear", "of N100m"),
    # responses to stimuli of a nerve
    _P("somatosensory_size", _log(1.7), 0.5, "log", "10 nAm"),
    _P("SI_lateral", 0.0, 0.008, "linear", "m"),
    _P("N20m_latency", 0.0207, 0.0016, "linear", "s"),
    _P("N20m_ratio", _log(0.75), 0.4, "log", "of the size"),
    _P("P60m_latency", 0.061, 0.007, "linear", "s"),
    _P("P60m_ratio", _log(0.8), 0.45, "log", "of the size"),
    _P("SII_ratio", _log(1.0), 0.55, "log", "of the size"),
    _P("SII_latency", 0.100, 0.013, "linear", "s"),
    _P("SII_asymmetry", 0.0, 0.5, "linear", "log(right/left)"),
    # single trials
    _P("habituation", 0.35, 0.35, "linear", "log over the run"),
    _P("adaptation", 0.35, 0.25, "linear", "share"),
    _P("latency_jitter", _log(0.007), 0.7, "log", "s"),
    _P("trial_variability", _log(0.25), 0.5, "log", "log size"),
    # what stimuli change in rhythms
    _P("mu_suppression", 0.4, 0.32, "linear", "share"),
    _P("beta_rebound", 0.5, 0.5, "linear", "share"),
    _P("alpha_suppression", 0.15, 0.3, "linear", "share"),
    _P("induced_gamma", _log(0.6), 0.9, "log", "10 nAm"),
    _P("induced_theta", _log(0.6), 0.8, "log", "10 nAm"),
    # ongoing activity
    _P("alpha_frequency", 10.1, 1.1, "linear", "Hz"),
    _P("alpha_size", _log(1.1), 0.5, "log", "10 nAm"),
    _P("alpha_asymmetry", 0.0, 0.7, "linear", "log(right/left)"),
    _P("alpha_occipital", _log(0.7), 0.55, "log", "of parietal"),
    _P("alpha_at_rest", 0.25, 0.4, "linear", "log(rest/task)"),
    _P("alpha_modulation", _log(0.4), 0.45, "log", "log size"),
    _P("mu_frequency", 0.6, 0.8, "linear", "Hz above alpha"),
    _P("mu_size", _log(0.9), 0.5, "log", "10 nAm"),
    _P("mu_asymmetry", 0.0, 0.6, "linear", "log(right/left)"),
    _P("beta_frequency", 20.0, 2.5, "linear", "Hz"),
    _P("beta_size", _log(0.6), 0.5, "log", "10 nAm"),
    _P("beta_asymmetry", 0.0, 0.6, "linear", "log(right/left)"),
    _P("beta_burst_rate", _log(0.9), 0.6, "log", "1/s"),
    _P("beta_burst_depth", 0.8, 1.3, "logit", "share"),
    _P("theta_frequency", 5.7, 0.7, "linear", "Hz"),
    _P("theta_size", _log(0.7), 0.5, "log", "10 nAm"),
    _P("theta_temporal", _log(0.85), 0.5, "log", "of midline"),
    _P("gamma_frequency", _log(52.0), 0.2, "log", "Hz"),
    _P("gamma_size", _log(0.4), 0.8, "log", "10 nAm"),
    _P("background_slope", 1.15, 0.35, "linear", "exponent"),
    _P("background_size", _log(0.17), 0.4, "log", "10 nAm"),
    _P("background_front", 0.0, 0.35, "linear", "log per 7 cm"),
    # connections
    _P("mu_envelope_coupling", 0.0, 1.5, "logit", "share"),
    _P("alpha_envelope_coupling", 0.0, 1.5, "logit", "share"),
    _P("beta_envelope_coupling", 0.0, 1.5, "logit", "share"),
    _P("alpha_phase_coupling", -0.7, 1.3, "logit", "share"),
    _P("mu_phase_coupling", -0.7, 1.3, "logit", "share"),
    _P("theta_lagged_coupling", -0.5, 1.5, "logit", "share"),
    _P("theta_gamma_coupling", 0.35, 0.35, "linear", "share"),
    # how long rhythms stay in phase
    _P("alpha_bandwidth", _log(0.09), 0.35, "log", "of the frequency"),
    _P("theta_bandwidth", _log(0.11), 0.4, "log", "of the frequency"),
    _P("beta_burst_duration", _log(0.1), 0.35, "log", "s"),
)
PARAMETER_NAMES = tuple(parameter.name for parameter in PARAMETERS)
N_PARAMETERS = len(PARAMETERS)


def draw_scores(n: int, generator: torch.Generator, device: str = "cpu") -> Tensor:
    """Draw people's standard scores, (n, n_parameters)."""
    z = torch.randn(n, N_PARAMETERS, generator=generator, device=device)
    return z.clamp(-FURTHEST, FURTHEST)


def parameter_values(z: Tensor) -> dict[str, Tensor]:
    """Turn standard scores to values by name."""
    return {p.name: p.value(z[:, ii]) for ii, p in enumerate(PARAMETERS)}


# -- network ---------------------------------------------------------------------------
_N_TF = len(TF_FREQS) * len(TF_TIMES)
_N_ENV = 7 * len(TF_FREQS)
#: Sizes of the features of a place, in their order, and the state each needs
#: (-1: any).
PLACE_LAYOUT = (
    (len(BINS), 0),
    (len(BINS), 3),
    (len(GROUPS), -1),
    (_N_TF, 1),
    (_N_TF, 2),
    (_N_ENV, 0),
    (_N_ENV, -1),
    (10, -1),
    (4 * len(GROUPS) * 13, -1),
)
PLACE_LAYOUT = 2 * PLACE_LAYOUT  # the mean of both sides, and their difference
N_PAIRS = N_PLACES // 2
N_PLACE = sum(size for size, _ in PLACE_LAYOUT)
N_AVERAGE = 64 * PATCH + 64 + N_PLACES
N_TRIAL = 3 * N_AXES * len(SEGMENTS) + N_AXES * N_COURSE + 6
N_WHOLE = 2 * len(BINS) + 64 + 3 + 2 * N_COURSES
_N_GATHER = 24  # values of each token that the posterior is computed from
_KINDS = ("places", "averages", "trials", "whole")


@dataclass(frozen=True)
class PosteriorConfig:
    """Sizes of the participant encoder.

    Parameters
    ----------
    d_model, n_layers, n_heads : int
        Width, layers and attention heads.
    mlp_ratio : float
        Hidden width of the feed-forward part as a multiple of ``d_model``.
    n_person : int
        Tokens that gather what the person is like.
    dropout : float
        Share of values that are dropped in training.
    """

    d_model: int = 224
    n_layers: int = 4
    n_heads: int = 7
    mlp_ratio: float = 3.0
    n_person: int = 11
    dropout: float = 0.1

    def to_dict(self) -> dict:
        """Give the sizes as plain numbers."""
        return asdict(self)


class Inputs(NamedTuple):
    """What the encoder reads of some people, at one scale.

    Parameters
    ----------
    places, averages, trials, whole : Tensor
        As in `Statistics`.
    has_trial : Tensor of bool, shape (n, 2, n_trials)
        Which trials there are.
    states : Tensor of bool, shape (n, 3)
        Which states there are: rest, sounds, a nerve.
    """

    places: Tensor
    averages: Tensor
    trials: Tensor
    whole: Tensor
    has_trial: Tensor
    states: Tensor


class _Block(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, d: int, n_heads: int, ratio: float, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.expand = nn.Linear(d, int(d * ratio))
        self.contract = nn.Linear(int(d * ratio), d)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        n, length, d = x.shape
        qkv = self.qkv(self.norm1(x)).view(n, length, 3, self.n_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        mixed = self.out(mixed.transpose(1, 2).reshape(n, length, d))
        x = x + F.dropout(mixed, self.dropout, self.training)
        hidden = self.contract(F.gelu(self.expand(self.norm2(x)), approximate="tanh"))
        return x + F.dropout(hidden, self.dropout, self.training)


class PosteriorEncoder(nn.Module):
    """Posterior of a person's parameters from statistics of the recordings.

    Amortised inference [1]_: trained on simulated people, each new, the network tells
    mean and variance of every parameter in units of the prior's standard deviation.
    So a mean's spread over people is its reliability.

    Parameters
    ----------
    config : PosteriorConfig
        Sizes.
    rebuilds : bool
        Whether it can rebuild hidden tokens, for pretraining.

    References
    ----------
    .. [1] Cranmer K, Brehmer J, Louppe G (2020). The frontier of simulation-based
       inference. PNAS 117:30055-30062. doi:10.1073/pnas.1912789117
    """

    def __init__(self, config: PosteriorConfig, rebuilds: bool = False) -> None:
        super().__init__()
        self.config, d = config, config.d_model
        sizes = dict(
            places=(N_PAIRS, N_PLACE),
            averages=(2, N_PATCHES, N_AVERAGE),
            trials=(N_TRIAL,),
            whole=(N_WHOLE,),
        )
        for name, size in sizes.items():
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_scale", torch.ones(size[-1:]))
        self.embed = nn.ModuleDict(
            {name: nn.Linear(size[-1], d) for name, size in sizes.items()}
        )
        self.flags = nn.Linear(3, d)
        # in place: on the device "meta" a product imports a compiler (see `identity`)
        self.place = nn.Parameter(torch.randn(N_PAIRS, d).mul_(0.1))
        self.time = nn.Parameter(torch.randn(2, N_PATCHES, d).mul_(0.1))
        self.state = nn.Parameter(torch.randn(2, d).mul_(0.1))
        self.person = nn.Parameter(torch.randn(config.n_person, d).mul_(0.1))
        self.hidden = nn.ParameterDict(
            {name: nn.Parameter(torch.randn(d).mul_(0.1)) for name in _KINDS[:3]}
        )
        self.blocks = nn.ModuleList(
            _Block(d, config.n_heads, config.mlp_ratio, config.dropout)
            for _ in range(config.n_layers)
        )
        self.norm = nn.LayerNorm(d)
        self.gather = nn.Linear(d, _N_GATHER)
        n_read = config.n_person + 1 + N_PAIRS + 2 * N_PATCHES
        self.posterior = nn.Sequential(
            nn.Linear(n_read * _N_GATHER, 384),
            nn.GELU(),
            nn.Linear(384, 2 * N_PARAMETERS),
        )
        self.rebuild = nn.ModuleDict(
            {name: nn.Linear(d, sizes[name][-1]) for name in _KINDS[:3] if rebuilds}
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, 0.7)
                nn.init.zeros_(module.bias)
        layout = torch.tensor([s for size, s in PLACE_LAYOUT for _ in range(size)])
        self.register_buffer("_needs", layout, persistent=False)
        self.register_buffer("fitted", torch.tensor(False))

    @torch.no_grad()
    def fit_scales(self, statistics: Statistics) -> None:
        """Take mean and spread of each feature from people with all states.

        What the network computes stays the same: its weights follow the new scales.
        """
        shifted = dict(places=self.place, averages=self.time)
        for name, x in statistics.parts().items():
            x = x.float()
            if name == "trials":
                x = x[statistics.has_trial]
            keep = dict(places=1, averages=2, trials=0, whole=0)[name]
            mean = x.mean(0)
            spread = (x - mean).flatten(0, keep).square().mean(0).sqrt().clamp(min=1e-3)
            old_mean, old_scale = (
                getattr(self, f"{name}_{what}") for what in ("mean", "scale")
            )
            linear = self.embed[name]
            shift = F.linear((mean - old_mean) / old_scale, linear.weight)
            if self.fitted:
                shifted.get(name, linear.bias).add_(shift)
                linear.weight.mul_(spread / old_scale)
            old_mean.copy_(mean)
            old_scale.copy_(spread)
        self.fitted.fill_(True)

    def standard(self, statistics: Statistics, states: Tensor) -> Inputs:
        """Scale features; those of states that are missing become 0.

        Parameters
        ----------
        statistics : Statistics
            Of n people.
        states : Tensor of bool, shape (n, 3)
            Which states were recorded: rest, sounds, a nerve.
        """
        x = {}
        for name, values in statistics.parts().items():
            mean, scale = (
                getattr(self, f"{name}_{what}") for what in ("mean", "scale")
            )
            x[name] = ((values.float() - mean) / scale).clamp(-6, 6)
        table = torch.cat(
            [states, states[:, 1:].any(1, keepdim=True), states[:, :1] | True], 1
        )
        present = table[:, self._needs % 5]
        has_trial = statistics.has_trial & states[:, 1:, None]
        return Inputs(
            x["places"] * present[:, None],
            x["averages"] * states[:, 1:, None, None],
            x["trials"] * has_trial[..., None],
            torch.cat(
                [
                    x["whole"][:, : -2 * N_COURSES],
                    x["whole"][:, -2 * N_COURSES :]
                    * states[:, 1:].repeat_interleave(N_COURSES, 1),
                ],
                1,
            ),
            has_trial,
            states,
        )

    def encode(self, people: Inputs, hidden: dict[str, Tensor] | None = None) -> Tensor:
        """Turn inputs into tokens; those of the person come first."""
        n, d = len(people.states), self.config.d_model

        def embedded(name):
            x = getattr(people, name)
            x = F.dropout(x, 2 * self.config.dropout, self.training)
            return self.embed[name](x)

        places, trials = embedded("places"), embedded("trials")
        averages = embedded("averages").flatten(1, 2)
        if hidden is not None:
            # places and times of what is hidden stay known, and the order of trials
            when = F.linear(
                people.trials[..., -5:], self.embed["trials"].weight[:, -5:]
            )
            asked = (when + self.hidden["trials"]).flatten(1, 2)
            trials = _replaced(trials.flatten(1, 2), asked, hidden["trials"])
            trials = trials.view(n, 2, -1, d)
            places = _replaced(places, self.hidden["places"], hidden["places"])
            averages = _replaced(averages, self.hidden["averages"], hidden["averages"])
        states = people.states.to(places.dtype)
        whole = embedded("whole") + self.flags(states)
        tokens = torch.cat(
            [
                self.person.expand(n, -1, -1).to(places.dtype),
                whole[:, None],
                places + self.place.to(places.dtype),
                averages + self.time.flatten(0, 1).to(places.dtype),
                (trials + self.state[:, None].to(places.dtype)).flatten(1, 2),
            ],
            1,
        )
        there = torch.ones_like(people.states[:, :1])
        seen = torch.cat(
            [
                there.expand(-1, self.config.n_person + 1 + N_PAIRS),
                people.states[:, 1:].repeat_interleave(N_PATCHES, 1),
                people.has_trial.flatten(1),
            ],
            1,
        )
        bias = torch.zeros(seen.shape, dtype=tokens.dtype, device=tokens.device)
        bias = bias.masked_fill(~seen, -1e4)[:, None, None]
        bias = bias.expand(-1, -1, seen.shape[1], -1)
        for block in self.blocks:
            tokens = block(tokens, bias)
        return self.norm(tokens)

    def forward(
        self, people: Inputs, hidden: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Infer the posterior.

        Parameters
        ----------
        people : Inputs
            What `standard` gave.
        hidden : dict of Tensor, optional
            Tokens to hide, as `hide` draws them.

        Returns
        -------
        mean, log_var : Tensor, shape (n, n_parameters)
            In units of the prior's standard deviation.
        loss : Tensor
            Of hidden tokens, rebuilt from the others; 0 if nothing is hidden.
        """
        tokens = self.encode(people, hidden)
        k = self.config.n_person
        # tokens in their places say more than a mean of them
        read = self.gather(tokens[:, : k + 1 + N_PAIRS + 2 * N_PATCHES])
        there = people.states[:, 1:].repeat_interleave(N_PATCHES, 1)
        there = torch.cat([there.new_ones(len(there), k + 1 + N_PAIRS), there], 1)
        read = F.dropout(
            read * there[..., None], 2 * self.config.dropout, self.training
        )
        out = self.posterior(read.flatten(1)).float()
        mean, log_var = out.chunk(2, 1)
        log_var = log_var.clamp(-6.0, 1.5)
        if hidden is None:
            return mean, log_var, mean.new_zeros(())
        tokens = tokens[:, k + 1 :]
        split = [N_PAIRS, 2 * N_PATCHES, tokens.shape[1] - N_PAIRS - 2 * N_PATCHES]
        loss = 0.0
        for name, part in zip(_KINDS[:3], tokens.split(split, 1), strict=True):
            index = hidden[name]
            target = getattr(people, name).flatten(1, -2)
            there = torch.ones_like(index, dtype=torch.float32)
            if name == "averages":
                states = people.states[:, 1:].repeat_interleave(N_PATCHES, 1)
                there = states.gather(1, index).float()
            elif name == "trials":
                there = people.has_trial.flatten(1).gather(1, index).float()
            rebuilt = self.rebuild[name](_picked(part, index))
            error = F.smooth_l1_loss(
                rebuilt.float(), _picked(target, index).float(), reduction="none"
            ).mean(2)
            loss = loss + (error * there).sum() / there.sum().clamp(min=1)
        return mean, log_var, loss


def _picked(tokens: Tensor, index: Tensor) -> Tensor:
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[2]))


def _replaced(tokens: Tensor, by: Tensor, index: Tensor) -> Tensor:
    by = by.to(tokens.dtype).expand_as(tokens)
    at = index[..., None].expand(-1, -1, tokens.shape[2])
    return tokens.scatter(1, at, by.gather(1, at))


def hide(people: Inputs, share: float) -> dict[str, Tensor]:
    """Draw which tokens are hidden: pairs of places, runs of averages, trials.

    Returns
    -------
    hidden : dict of Tensor of int, shape (n, k)
        Their places in the order of tokens of their kind.
    """
    n, device = len(people.states), people.states.device
    n_trials = people.has_trial.shape[1] * people.has_trial.shape[2]

    def draw(size):
        score = torch.rand(n, size, device=device)
        return score.topk(max(1, round(share * size)), 1).indices

    runs = draw(2 * N_PATCHES // 5)
    runs = (5 * runs[..., None] + torch.arange(5, device=device)).flatten(1)
    return dict(places=draw(N_PAIRS), averages=runs, trials=draw(n_trials))


def posterior_loss(mean: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
    """Negative log likelihood of the truth, (n, n_parameters), without constants."""
    return 0.5 * (log_var + (z - mean).square() * (-log_var).exp())


N_SENSORS = 192
#: Windows of rest and trials of a state that are read; of more, these are spread
#: evenly over the recording.
MOST = 60
_SHORTEST = N_TIMES // 2


class StateWindows(NamedTuple):
    """Windows or trials of one state.

    Parameters
    ----------
    data : Tensor, shape (n, 192, n_times)
        Canonical signals (T) at 250 Hz.
    tmin : float
        Time of the first sample from the stimulus (s).
    times : Tensor, shape (n,)
        Times of the stimuli, or of the windows (s).
    """

    data: Tensor
    tmin: float
    times: Tensor


class StateComponents(NamedTuple):
    """Windows or trials of one state as the encoder's statistics need them.

    Parameters
    ----------
    data : Tensor, shape (n, 64, 250)
        Components, in units of their usual noise; the stimulus is at sample 50. Zero
        where nothing was recorded.
    span : tuple of int
        First recorded sample, and the end.
    times : Tensor, shape (n,)
        Times of the stimuli, or of the windows (s).
    """

    data: Tensor
    span: tuple[int, int]
    times: Tensor

    @classmethod
    def join(cls, parts: Sequence[StateComponents]) -> StateComponents:
        """Join recordings of one state, in their order.

        Parameters
        ----------
        parts : sequence of StateComponents
            The recordings.

        Returns
        -------
        joined : StateComponents
            All windows; recorded is what all of them have.
        """
        start = max(part.span[0] for part in parts)
        stop = min(part.span[1] for part in parts)
        data = torch.cat([part.data for part in parts])
        times = torch.cat([part.times for part in parts])
        return cls(data, (start, stop), times)


class ParticipantPosterior(nn.Module):
    """From canonical windows of one participant to the posterior of parameters.

    Parameters
    ----------
    config : PosteriorConfig
        Sizes of the encoder.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import ParticipantPosterior, PosteriorConfig, StateWindows
    >>> config = PosteriorConfig(d_model=32, n_layers=1, n_heads=4)
    >>> infer = ParticipantPosterior(config).eval()
    >>> rest = StateWindows(1e-13 * torch.randn(12, 192, 250), 0.0, torch.arange(12.0))
    >>> mean, variance = infer({"rest": rest})
    >>> mean.shape, bool((variance > 0).all())
    (torch.Size([60]), True)
    """

    def __init__(self, config: PosteriorConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = PosteriorEncoder(config)
        # components of the canonical array, and fields of the places on them
        self.register_buffer("whiten", identity(N_COMPONENTS, N_SENSORS).mul_(1e12))
        size = N_COMPONENTS, N_PLACES, 2
        gain = torch.normal(0.0, 1.0, size, generator=torch.Generator())
        self.register_buffer("place_gain", gain.mul_(1e7))
        self.register_buffer("places", torch.randn(N_PLACES, 3).mul_(0.05))

    def components(self, kind: str, windows: StateWindows) -> StateComponents | None:
        """Find the components of windows of one state.

        Parameters
        ----------
        kind : str
            ``'rest'``, ``'auditory'`` or ``'somatosensory'``.
        windows : StateWindows
            One or more windows.

        Returns
        -------
        components : StateComponents | None
            Of all windows. None if less than half a second lies between 0.2 s before
            and 0.8 s after the stimulus, which says too little.
        """
        if kind not in KINDS:
            raise ValueError(
                f"Expected one of the states {', '.join(KINDS)}, got {kind!r}; rename "
                "the state."
            )
        data, tmin, times = windows
        if not len(data) or data.shape[1] != N_SENSORS:
            raise ValueError(
                f"Expected windows of {kind!r} of shape (n, {N_SENSORS}, n_times) with "
                f"n of at least 1, got {tuple(data.shape)}; give canonical signals."
            )
        # windows of rest have no stimulus: any 250 samples will do
        first = 0 if kind == "rest" else round(-tmin * SFREQ) - ONSET
        start, stop = max(0, -first), min(N_TIMES, data.shape[2] - first)
        if stop - start < _SHORTEST:
            return None
        signals = data[..., first + start : first + stop].to(self.whiten)
        out = self.whiten.new_zeros(len(data), N_COMPONENTS, N_TIMES)
        out[..., start:stop] = self.whiten @ signals
        return StateComponents(out, (start, stop), torch.as_tensor(times))

    def forward(self, states: Mapping[str, StateWindows]) -> tuple[Tensor, Tensor]:
        """Infer one participant's parameters.

        Parameters
        ----------
        states : mapping of str to StateWindows
            Recordings by state: one or more of ``'rest'``, ``'auditory'`` and
            ``'somatosensory'``.

        Returns
        -------
        mean, variance : Tensor, shape (n_parameters,)
            Posterior, in units of the prior's standard deviation; see
            `PARAMETERS`.

        Raises
        ------
        ValueError
            If there is a state that is not known, or no window in one.
        """
        found = {kind: self.components(kind, one) for kind, one in states.items()}
        return self.infer({kind: c for kind, c in found.items() if c is not None})

    def infer(self, states: Mapping[str, StateComponents]) -> tuple[Tensor, Tensor]:
        """Infer one participant's parameters from components.

        Parameters
        ----------
        states : mapping of str to StateComponents
            By state; of none, the posterior is the prior.

        Returns
        -------
        mean, variance : Tensor, shape (n_parameters,)
            As of `forward`.
        """
        states = {kind: _spread(states[kind]) for kind in KINDS if kind in states}
        if states:
            # what all states have
            start = max(one.span[0] for one in states.values())
            stop = min(one.span[1] for one in states.values())
            span = start, stop
        if not states or span[1] - span[0] < _SHORTEST:
            mean = self.whiten.new_zeros(N_PARAMETERS)
            return mean, torch.ones_like(mean)
        lengths = {kind: len(one.times) for kind, one in states.items()}
        n_trials = max([1, *(n for kind, n in lengths.items() if kind != "rest")])
        counts = lengths.get("rest", 1), n_trials, n_trials
        data = self.whiten.new_zeros(N_COMPONENTS, sum(counts), N_TIMES)
        valid = torch.zeros(sum(counts), dtype=torch.bool, device=data.device)
        times = data.new_zeros(sum(counts))
        at = 0
        for kind, count in zip(KINDS, counts, strict=True):
            if kind in states:
                here = slice(at, at + lengths[kind])
                data[:, here] = states[kind].data.to(data).transpose(0, 1)
                valid[here] = True
                times[here] = states[kind].times.to(times)
            at += count
        read = PersonStatistics(self.place_gain, self.places, span)
        statistics = read(data[None], valid[None], times[None], counts)
        present = torch.tensor([[kind in states for kind in KINDS]], device=data.device)
        mean, log_var, _ = self.encoder(self.encoder.standard(statistics, present))
        return mean[0], log_var[0].exp()


def _spread(one: StateComponents) -> StateComponents:
    """Keep at most `MOST` windows, spread evenly over the recording."""
    n = len(one.times)
    if n <= MOST:
        return one
    index = torch.linspace(0, n - 1, MOST).round().long()
    return StateComponents(one.data[index], one.span, one.times[index])
