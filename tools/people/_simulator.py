"""Whole simulated people in torch, on the components of a field bank."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mne_megfm.models.posterior_encoder import (
    PARAMETER_NAMES,
    PARAMETERS,
    draw_scores,
    parameter_values,
)

SFREQ = 250.0
N_TIMES, ONSET = 250, 50  # samples of a window; the stimulus
N_REST, N_TRIALS = 48, 40
N_WINDOWS = N_REST + 2 * N_TRIALS
_KNOT = 10  # samples between knots of slow courses
_N_KNOTS = N_WINDOWS * N_TIMES // _KNOT
_PER_WINDOW = N_TIMES // _KNOT
_T = N_WINDOWS * N_TIMES
_N_GROUPS, _N_PATCHES = 3, 24
_BANDS = 36

# mean places on the right, m from the centre (x right, y front, z up)
_AUDITORY, _SI, _SII = (
    (0.050, 0.008, 0.020),
    (0.040, -0.004, 0.049),
    (0.049, 0.004, 0.029),
)
_ALPHA, _OCCIPITAL, _MU = (
    (0.022, -0.058, 0.028),
    (0.010, -0.066, 0.010),
    (0.040, -0.006, 0.048),
)
_BETA, _FRONTAL = (0.036, 0.008, 0.050), (0.034, 0.040, 0.040)
_MIDLINE, _TEMPORAL = (0.006, 0.048, 0.042), (0.055, 0.004, 0.002)
_PARIETAL = (0.032, -0.042, 0.045)
_DOWN = (0.0, -0.35, -0.94)


@dataclass
class FieldBank:
    """Fields of many heads in many arrays, as `people._bank` makes them."""

    pos: Tensor
    gain: Tensor
    noise: Tensor
    artifacts: Tensor

    @classmethod
    def of(cls, arrays, device: str = "cpu") -> FieldBank:
        """Take the arrays of a bank to a device."""
        names = ("pos", "gain", "noise", "artifacts")
        return cls(*(torch.as_tensor(arrays[name]).to(device) for name in names))

    def __len__(self) -> int:
        return len(self.pos)


@dataclass
class People:
    """Simulated recordings.

    Parameters
    ----------
    data : Tensor, shape (n, 64, n_windows, n_times)
        Windows of rest, then trials of sounds, then of a nerve, in components.
    valid : Tensor of bool, shape (n, n_windows)
        Which windows were recorded.
    times : Tensor, shape (n, n_windows)
        Time of a window in its recording (s).
    scores : Tensor, shape (n, n_parameters)
        The truth, in standard deviations of the prior.
    """

    data: Tensor
    valid: Tensor
    times: Tensor
    scores: Tensor


class _Draw:
    """Random numbers of one generator and device."""

    def __init__(self, generator: torch.Generator, device):
        self.g, self.device = generator, device

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.g, device=self.device)

    def uniform(self, low, high, *shape):
        u = torch.rand(*shape, generator=self.g, device=self.device)
        return low + (high - low) * u

    def log(self, median, sd, *shape):
        return median * (sd * self.normal(*shape)).exp()

    def chance(self, p, *shape):
        return (self.uniform(0, 1, *shape) < p).float()


def simulate(
    bank: FieldBank,
    n: int,
    generator: torch.Generator,
    scores: Tensor | None = None,
    entries: Tensor | None = None,
    filtered: bool = False,
) -> People:
    """Simulate people.

    Parameters
    ----------
    bank : FieldBank
        Fields.
    n : int
        How many people.
    generator : torch.Generator
        Source of randomness, on the bank's device.
    scores : Tensor, optional
        Standard scores of all parameters, (n, n_parameters); drawn by default.
    entries : Tensor of int, optional
        Which heads and arrays, (n,); drawn by default.
    filtered : bool
        Whether recordings go through usual band-pass filters.

    Returns
    -------
    people : People
        The recordings; ``scores`` hold the places that the bank had.
    """
    device = bank.pos.device
    d = _Draw(generator, device)
    z = draw_scores(n, generator, device) if scores is None else scores.clone()
    if entries is None:
        entries = torch.randint(len(bank), (n,), generator=generator, device=device)
    v = parameter_values(z)
    gain, pos = bank.gain[entries].float(), bank.pos[entries]
    sources = _Sources(d, v, z, pos, gain)
    times, recent, run, valid = _timing(d, n)
    data = _background(d, v, gain, pos, bank.noise[entries].float(), bank, entries)
    topographies, rows = _rhythms(d, v, sources)
    more, noise_rows = _artifacts(d, bank.artifacts[entries])
    gains = torch.cat([topographies, more], 2)
    rows = torch.cat([rows, noise_rows], 1)
    data.baddbmm_(gains, rows)
    data = data.view(n, data.shape[1], N_WINDOWS, N_TIMES)
    _add_responses(d, v, sources, data, recent, run)
    if filtered:
        data = _filter(d, data)
    return People(data, valid, times, sources.scores)


class _Sources:
    """Places, directions and fields of a person's sources."""

    def __init__(self, d: _Draw, v: dict, z: Tensor, pos: Tensor, gain: Tensor):
        n = len(z)
        self.side = 2 * d.chance(0.5, n) - 1  # of the cortex that a hand reaches
        want, direction, self.where = [], [], {}

        def add(name, place, side, ori=None, shift=None, spread=0.004, flip=None):
            mirror = torch.ones(n, 3, device=z.device)
            mirror[:, 0] = side
            at = torch.tensor(place, device=z.device) * mirror
            if shift is not None:
                at = at + shift
            at = at + (spread * d.normal(n, 3)).clamp(-0.012, 0.012)
            noise = d.normal(n, 3)
            if ori is None:
                way = noise
            else:
                way = torch.tensor(ori, device=z.device) * mirror
                if flip is not None:
                    way = way * flip[:, None]
                way = way + 0.35 * noise
            self.where.setdefault(name, []).append(len(want))
            want.append(at)
            direction.append(way)

        zero = torch.zeros(n, device=z.device)
        shift = torch.stack([zero, v["auditory_front"], v["auditory_up"]], 1)
        up = tuple(-x for x in _DOWN)
        # folds differ: in some people the currents point the other way
        sounds, nerve, second = (1 - 2 * d.chance(0.5, n) for _ in range(3))
        for side in (-1.0, 1.0):
            add("N100m", _AUDITORY, side, _DOWN, shift, 0.002, sounds)
        for name, ori in (("P50m", up), ("P200m", up), ("sustained", _DOWN)):
            for side in (-1.0, 1.0):
                add(name, _AUDITORY, side, ori, shift, 0.004, sounds)
        shift = v["SI_lateral"][:, None] * torch.stack([self.side, zero, zero - 0.6], 1)
        add("N20m", _SI, self.side, (0.2, 1.0, 0.0), shift, 0.001, nerve)
        add("P35m", _SI, self.side, (-0.2, -1.0, 0.0), shift, 0.002, nerve)
        add("P60m", _SI, self.side, (-0.2, -1.0, 0.1), shift, 0.003, nerve)
        for side in (-1.0, 1.0):
            add("SII", _SII, side, (0.0, 0.2, 0.97), flip=second)
        for name, place in (
            ("alpha", _ALPHA),
            ("occipital", _OCCIPITAL),
            ("mu", _MU),
            ("beta", _BETA),
            ("frontal", _FRONTAL),
            ("midline", _MIDLINE),
            ("temporal", _TEMPORAL),
            ("gamma", _AUDITORY),
        ):
            # each person has these somewhere around there; both sides alike
            around = (0.007 * d.normal(n, 3)).clamp(-0.015, 0.015)
            if name == "gamma":
                around = 0.03 * d.normal(n, 3)
            elif name == "temporal":
                behind = torch.tensor(_PARIETAL) - torch.tensor(_TEMPORAL)
                around = around + d.chance(0.5, n, 1) * behind.to(z.device)
            for side in (-1.0, 1.0):
                mirror = torch.tensor([side, 1.0, 1.0], device=z.device)
                add(name, place, side, shift=around * mirror, spread=0.005)
        for side in (-1.0, 1.0):
            add("induced_auditory", _AUDITORY, side, spread=0.006)
        add("induced_nerve", _SI, self.side, spread=0.006)
        add("induced_theta", _MIDLINE, 1.0, spread=0.01)
        want, direction = torch.stack(want, 1), torch.stack(direction, 1)
        index = torch.cdist(want, pos).argmin(2)
        # more sources anywhere: responses of other shapes, other rhythms
        n_sites = pos.shape[1]
        anywhere = torch.randint(
            n_sites // 3, n_sites, (n, 10), generator=d.g, device=z.device
        )
        self.where["other_response"] = list(range(want.shape[1], want.shape[1] + 6))
        self.where["other_rhythm"] = list(range(want.shape[1] + 6, want.shape[1] + 10))
        index = torch.cat([index, anywhere], 1)
        direction = torch.cat([direction, d.normal(n, 10, 3)], 1)
        at = pos.gather(1, index[..., None].expand(-1, -1, 3))
        coefs = torch.stack([(t * direction).sum(2) for t in tangents(at)], 2)
        coefs = coefs / coefs.norm(dim=2, keepdim=True).clamp(min=1e-3)
        take = index[:, None, :, None].expand(-1, gain.shape[1], -1, 2)
        self.field = (gain.gather(2, take) * coefs[:, None]).sum(3)
        self.scores = z.clone()
        self._tell(z, at)

    def _tell(self, z: Tensor, at: Tensor) -> None:
        """Correct the scores of places to those that the bank had."""

        def put(name, value):
            ii = PARAMETER_NAMES.index(name)
            score = (value - PARAMETERS[ii].mean) / PARAMETERS[ii].sd
            self.scores[:, ii] = score.clamp(-3, 3)

        pair = at[:, self.where["N100m"]]
        put("auditory_front", pair[..., 1].mean(1) - _AUDITORY[1])
        put("auditory_up", pair[..., 2].mean(1) - _AUDITORY[2])
        si = at[:, self.where["N20m"][0]]
        put("SI_lateral", si[:, 0].abs() - _SI[0])

    def of(self, *names: str) -> Tensor:
        """Get the fields of some sources, (n, 64, n_sources)."""
        return self.field[:, :, [ii for name in names for ii in self.where[name]]]


def tangents(radial: Tensor) -> tuple[Tensor, Tensor]:
    """Give two unit vectors perpendicular to vectors (..., 3), as the bank has them."""
    radial = radial / radial.norm(dim=-1, keepdim=True).clamp(min=1e-9)
    axis = torch.eye(3, device=radial.device)[radial.abs().argmin(-1)]
    first = torch.linalg.cross(radial, axis)
    first = first / first.norm(dim=-1, keepdim=True)
    return first, torch.linalg.cross(radial, first)


def _timing(d: _Draw, n: int):
    """Draw times of windows, recent stimuli, places in the run, what is recorded."""
    n_run = torch.where(
        d.uniform(0, 1, n, 2) < 0.5,
        torch.full((n, 2), float(N_TRIALS), device=d.device),
        d.uniform(9.51, N_TRIALS + 0.49, n, 2).round(),
    )
    index = torch.arange(N_TRIALS, device=d.device).float()
    trains = d.chance(0.65, n, 1)
    length = d.uniform(4, 10.49, n, 1).round()
    gap = d.uniform(0.8, 6.0, n, 1)
    base, spread = d.uniform(1.0, 1.3, n, 1), d.uniform(0.0, 0.5, n, 1)
    times, recent, run, valid = [], [], [], []
    every = d.chance(0.7, n, 1)
    for state in range(2):
        place = (index % length) * trains
        steps = base + spread * d.uniform(0, 1, n, N_TRIALS)
        steps = steps + gap * trains * (place == 0)
        at = steps.cumsum(1)
        before = (at[:, :, None] - at[:, None, :]) / 1.5
        count = torch.where(before > 0, (-before.clamp(min=0)).exp(), 0.0).sum(2)
        recent.append(torch.where(trains > 0, place, count))
        run.append((index / (n_run[:, state : state + 1] - 1)).clamp(max=1.0))
        times.append(at)
        there = index < n_run[:, state : state + 1]
        keep = torch.maximum(every, d.chance(0.7, n, N_TRIALS)).bool()
        valid.append(there & keep)
    rest = torch.arange(N_REST, device=d.device).float()
    n_rest = torch.where(d.uniform(0, 1, n, 1) < 0.5, 40.0, d.uniform(12, 48, n, 1))
    times = torch.cat([rest.expand(n, -1), *times], 1)
    valid = torch.cat([rest < n_rest, *valid], 1)
    return times, recent, run, valid


def _spectrum(freqs: Tensor, exponent: Tensor, knee: Tensor, band) -> Tensor:
    """Power of 1/f noise of unit variance in a band, (..., n_freqs), per Hz."""
    power = (knee[..., None] ** 2 + freqs**2) ** (-exponent[..., None] / 2)
    inside = (freqs >= band[0]) & (freqs <= band[1])
    width = (freqs[-1] - freqs[0]) / (len(freqs) - 1)
    return power / (power[..., inside].sum(-1, keepdim=True) * width)


def _background(d, v, gain, pos, noise, bank, entries) -> Tensor:
    """Draw background and noise of sensors and room, (n, 64, T)."""
    n, n_comp = gain.shape[:2]
    n_freqs = _T // 2 + 1
    step = SFREQ / _T
    freqs = torch.arange(n_freqs, device=d.device) * step
    # sizes of sources, and which spectrum they have
    n_sites = pos.shape[1]
    lean = 0.3 * d.normal(n, 1, 3)
    lean[:, 0, 1] = v["background_front"]
    size = (pos / 0.07 * lean).sum(2)
    size = (size + d.uniform(0.1, 0.7, n, 1) * d.normal(n, n_sites)).exp()
    # named sites are many at the same places
    size = size * v["background_size"][:, None]
    size[:, : n_sites - 280] *= 0.2
    group = torch.randint(_N_GROUPS, (n, n_sites), generator=d.g, device=d.device)
    covs = []
    for ii in range(_N_GROUPS):
        part = (gain * (size * (group == ii))[:, None, :, None]).flatten(2)
        covs.append(part @ part.mT)
    centre = torch.randint(n_sites, (n, _N_PATCHES), generator=d.g, device=d.device)
    centre = pos.gather(1, centre[..., None].expand(-1, -1, 3))
    reach = d.uniform(0.008, 0.03, n, _N_PATCHES, 1)
    weight = (-0.5 * (torch.cdist(centre, pos) / reach) ** 2).exp()
    weight = weight * 0.26 * v["background_size"][:, None, None]
    weight = weight * d.log(1.0, 0.5, n, _N_PATCHES, 1)
    coefs = torch.stack(
        [(t[:, None] * d.normal(n, _N_PATCHES, 1, 3)).sum(3) for t in tangents(pos)], 3
    )
    weight = (weight[..., None] * coefs).flatten(2)
    patches = gain.flatten(2) @ weight.mT
    covs[0] = covs[0] + patches @ patches.mT
    exponent = v["background_slope"][:, None] + 0.2 * d.normal(n, _N_GROUPS)
    knee = d.log(1.0, 0.8, n, _N_GROUPS)
    spectra = _spectrum(freqs, exponent.clamp(0.3, 2.6), knee, (2.0, 40.0))
    # sensors: white, with a drift; room: uniform fields and gradients that drift
    level = d.log(1.0, 0.35, n, 1)
    drift = (d.log(0.6, 0.8, n, 1) / freqs.clamp(min=0.2)) ** 2
    white = level**2 * (1.0 + drift)
    covs.append(noise * 1e-3)
    room = bank.artifacts[entries][:, :, -8:]
    mix = d.normal(n, 8, 8)
    mix[:, 3:] /= d.uniform(0.5, 3.0, n, 1, 1)
    room = room @ mix * d.log(0.8e-13, 1.0, n, 1, 1)
    covs.append(room @ room.mT)
    far = _spectrum(
        freqs, d.uniform(1.0, 2.4, n, 1), d.log(0.1, 0.1, n, 1), (0.1, 10.0)
    )
    spectra = torch.cat([spectra, white[:, None], far], 1)
    covs = torch.stack(covs, 1)
    # one mixing matrix a band, and the exact total power at each frequency
    edges = torch.logspace(math.log10(0.4), math.log10(SFREQ / 2), _BANDS + 1)
    edges = (edges / step).round().long().tolist()
    edges = [1, *edges[1:-1], n_freqs]
    middle = [(a + b) // 2 for a, b in zip(edges[:-1], edges[1:], strict=True)]
    at = spectra[:, :, middle]
    cov = torch.einsum("ngb,ngcd->nbcd", at, covs)
    eye = torch.eye(n_comp, device=d.device)
    trace = cov.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    mix = torch.linalg.cholesky_ex(cov + 1e-4 * trace * eye)[0]
    traces = covs.diagonal(dim1=-2, dim2=-1).sum(-1)
    total = torch.einsum("ngf,ng->nf", spectra, traces).clamp(min=1e-12)
    scale = 0.5 * math.sqrt(step) * total.sqrt()
    spec = torch.zeros(n, n_comp, n_freqs, 2, device=d.device)
    for ii, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        white = d.normal(n, n_comp, 2 * (b - a))
        fit = scale[:, a:b] / total[:, middle[ii], None].sqrt()
        white = (mix[:, ii] @ white).view(n, n_comp, b - a, 2)
        spec[:, :, a:b] = white * fit[:, None, :, None]
    spec = torch.view_as_complex(spec)
    return torch.fft.irfft(spec, _T, norm="forward")


def _slow(d, n, rows, cutoff) -> Tensor:
    """Draw slow rows of unit variance at the knots; cutoff (n, rows) in Hz."""
    freqs = torch.fft.rfftfreq(_N_KNOTS, _KNOT / SFREQ).to(d.device)
    amp = 1.0 / (1.0 + (freqs / cutoff[..., None]) ** 2)
    amp[..., 0] = 0.0
    amp = amp / (amp.square().sum(-1, keepdim=True)).sqrt()
    spec = torch.view_as_complex(d.normal(n, rows, len(freqs), 2)) * amp * 0.5
    return torch.fft.irfft(spec, _N_KNOTS, norm="forward")


def _narrow(d, n, rows, width) -> Tensor:
    """Draw complex envelopes with Gaussian spectra; width (n, rows) in Hz."""
    freqs = torch.fft.fftfreq(_N_KNOTS, _KNOT / SFREQ).to(d.device)
    amp = (-0.25 * (freqs / width[..., None]) ** 2).exp()
    amp = amp / amp.square().sum(-1, keepdim=True).sqrt()
    spec = torch.view_as_complex(d.normal(n, rows, _N_KNOTS, 2)) * amp
    return torch.fft.ifft(spec, norm="forward")


def _bursts(d, n, rows, rate, width) -> Tensor:
    """Draw bumps of about unit height; rate (1/s), width (sd in s), (n, rows)."""
    hit = d.uniform(0, 1, n, rows, _N_KNOTS) < rate[..., None] * _KNOT / SFREQ
    hit = hit * d.log(1.0, 0.45, n, rows, _N_KNOTS)
    freqs = torch.fft.rfftfreq(_N_KNOTS, _KNOT / SFREQ).to(d.device)
    width = width.clamp(min=0.03)
    shape = (-2 * (math.pi * width[..., None] * freqs) ** 2).exp()
    shape = shape * width[..., None] * math.sqrt(2 * math.pi) * SFREQ / _KNOT
    return torch.fft.irfft(torch.fft.rfft(hit) * shape, _N_KNOTS).clamp(min=0.0)


def _to_samples(knots: Tensor) -> Tensor:
    """Join knots (..., n_knots) by lines."""
    after = torch.cat([knots[..., 1:], knots[..., -1:]], -1)
    frac = torch.arange(_KNOT, device=knots.device) / _KNOT
    return (knots[..., None] + (after - knots)[..., None] * frac).flatten(-2)


def _mixed(own: Tensor, common: Tensor, share: Tensor) -> Tensor:
    """Mix rows (n, k, T) with a common one (n, T) that has a share of the variance."""
    share = share.view(-1, 1, 1)
    return share.sqrt() * common[:, None] + (1 - share).sqrt() * own


def _rhythms(d, v, sources) -> tuple[Tensor, Tensor]:
    """Draw rhythms: fields (n, 64, k) and courses (n, k, T)."""
    n = len(v["alpha_size"])
    names = (
        "alpha",
        "occipital",
        "mu",
        "beta",
        "frontal",
        "midline",
        "temporal",
        "gamma",
    )
    rows = {name: slice(2 * ii, 2 * ii + 2) for ii, name in enumerate(names)}
    n_rows = 16
    other = sources.where["other_rhythm"]
    total = n_rows + len(other) + 4

    def both(x):
        return x[:, None].expand(-1, 2)

    def sides(x):
        return torch.stack([(-0.5 * x).exp(), (0.5 * x).exp()], 1)

    freq = torch.cat(
        [
            both(v["alpha_frequency"]),
            both(v["alpha_frequency"] + 0.3 * d.normal(n)),
            both(v["alpha_frequency"] + v["mu_frequency"]),
            both(v["beta_frequency"]),
            both(v["beta_frequency"] + 2.0 + 2.5 * d.normal(n)),
            both(v["theta_frequency"]),
            both(v["theta_frequency"] + 0.3 * d.normal(n)),
            both(v["gamma_frequency"]),
            d.uniform(math.log(2.0), math.log(45.0), n, len(other)).exp(),
            both(d.log(52.0, 0.2, n)),
            d.log(52.0, 0.2, n)[:, None],
            v["theta_frequency"][:, None],
        ],
        1,
    )
    alpha, beta, theta = v["alpha_size"], v["beta_size"], v["theta_size"]
    lean = sides(v["alpha_asymmetry"])
    tilt = sides(v["beta_asymmetry"])
    small = [sides(0.25 * d.normal(n)) for _ in range(6)]
    own = d.log(0.5, 0.7, n, len(other)) * (4.0 / freq[:, n_rows : n_rows + len(other)])
    own = own.clamp(max=1.5) * d.chance(0.7, n, len(other))
    induced = v["induced_gamma"][:, None]
    size = torch.cat(
        [
            alpha[:, None] * lean,
            (alpha * v["alpha_occipital"])[:, None] * lean * small[0],
            v["mu_size"][:, None] * sides(v["mu_asymmetry"]),
            beta[:, None] * tilt,
            beta[:, None] * 0.8 * d.log(1.0, 0.3, n, 1) * tilt * small[1],
            theta[:, None] * small[2],
            (theta * v["theta_temporal"])[:, None] * small[3],
            v["gamma_size"][:, None] * small[4],
            own,
            induced * d.log(1.0, 0.3, n, 1) * small[5],
            induced * d.log(1.0, 0.3, n, 1),
            v["induced_theta"][:, None],
        ],
        1,
    )
    width = freq * d.uniform(0.05, 0.16, n, total)
    for name, share in (
        ("alpha", "alpha_bandwidth"),
        ("occipital", "alpha_bandwidth"),
        ("mu", "alpha_bandwidth"),
        ("midline", "theta_bandwidth"),
        ("temporal", "theta_bandwidth"),
    ):
        own = (0.1 * d.normal(n)).exp() if name == "mu" else 1.0
        width[:, rows[name]] = (v[share] * own)[:, None] * freq[:, rows[name]]
    width = width.clamp(0.25, 3.5)
    width[:, rows["gamma"]] = d.uniform(2.0, 4.5, n, 1)
    z = _narrow(d, n, total, width)
    for name, share in (
        ("alpha", v["alpha_envelope_coupling"]),
        ("mu", v["mu_envelope_coupling"]),
        ("beta", v["beta_envelope_coupling"]),
    ):
        # the right side has the left one's envelope, in part, and a phase of its own
        part = rows[name]
        left, right = z[:, part.start], z[:, part.start + 1]
        size_ = (
            share.sqrt()[:, None] * left + (1 - share).sqrt()[:, None] * right
        ).abs()
        z[:, part.start + 1] = torch.polar(size_, right.angle())
    for name, share in (
        ("alpha", v["alpha_phase_coupling"]),
        ("mu", v["mu_phase_coupling"]),
        ("beta", d.normal(n).sigmoid() * 0.5),
    ):
        lag = torch.polar(torch.ones(n, device=d.device), 1.0 * d.normal(n))
        part = rows[name]
        left = z[:, part.start].clone()
        z[:, part.start + 1] = (
            share.sqrt()[:, None] * left * lag[:, None]
            + (1 - share).sqrt()[:, None] * z[:, part.start + 1]
        )
    # the temporal theta rhythms follow the midline one by about a quarter cycle
    share = v["theta_lagged_coupling"].sqrt()[:, None, None]
    angle = math.pi / 2 * (1 + 0.25 * d.normal(n))
    lag = torch.polar(torch.ones(n, device=d.device), -angle)[:, None, None]
    common = z[:, rows["midline"].start : rows["midline"].start + 1]
    rest_ = (1 - share**2).sqrt()
    z[:, rows["temporal"]] = share * common * lag + rest_ * z[:, rows["temporal"]]
    z[:, rows["midline"].start + 1] = (
        0.8 * common[:, 0] + 0.6 * z[:, rows["midline"].start + 1]
    )
    # swelling and ebbing, in part together on both sides
    slow = _slow(d, n, total, d.log(0.25, 0.5, n, total))
    depth = 0.35 * d.log(1.0, 0.3, n, total)
    depth[:, rows["alpha"]] = depth[:, rows["occipital"]] = v["alpha_modulation"][
        :, None
    ]
    depth[:, rows["mu"]] = (v["alpha_modulation"] * d.log(1.0, 0.15, n))[:, None]
    shared = _slow(d, n, 4, d.log(0.25, 0.5, n, 4))
    for ii, (name, share) in enumerate(
        (
            ("alpha", v["alpha_envelope_coupling"]),
            ("mu", v["mu_envelope_coupling"]),
            ("beta", v["beta_envelope_coupling"]),
        )
    ):
        slow[:, rows[name]] = _mixed(slow[:, rows[name]], shared[:, ii], share)
    slow[:, rows["occipital"]] = _mixed(
        slow[:, rows["occipital"]], slow[:, rows["alpha"]].mean(1), 0.5 + 0 * alpha
    )
    amp = (depth[..., None] * (slow - depth[..., None])).exp()
    # bursts of beta
    part = slice(rows["beta"].start, rows["frontal"].stop)
    rate = v["beta_burst_rate"][:, None].expand(-1, 4)
    long = v["beta_burst_duration"][:, None].expand(-1, 4)
    burst = _bursts(d, n, 4, rate, long)
    share = v["beta_envelope_coupling"].view(-1, 1, 1)
    burst[:, 1] = torch.where(
        d.uniform(0, 1, n, 1) < 0.5 * share[:, 0], burst[:, 0], burst[:, 1]
    )
    b = v["beta_burst_depth"].view(-1, 1, 1)
    shape = (1 - b) + b * burst
    amp[:, part] *= shape / shape.square().mean(2, keepdim=True).sqrt().clamp(min=0.1)
    # gamma goes with the phase of theta
    t = torch.arange(_N_KNOTS, device=d.device) * (_KNOT / SFREQ)
    turn = 2 * math.pi * freq[:, rows["temporal"], None] * t
    phase = z[:, rows["temporal"]].angle() + turn
    pac = v["theta_gamma_coupling"].clamp(-0.2, 1.0).view(-1, 1, 1)
    amp[:, rows["gamma"]] *= 1 + pac * phase.cos()
    amp = amp * size[..., None]
    amp = _with_stimuli(d, v, sources, amp.view(n, total, N_WINDOWS, _PER_WINDOW), rows)
    field = sources.of(
        *names, "other_rhythm", "induced_auditory", "induced_nerve", "induced_theta"
    )
    za = z * amp.flatten(2)
    # mu is arched: its first harmonic keeps its phase
    part = rows["mu"]
    arch = za[:, part] * z[:, part] / z[:, part].abs().clamp(min=1e-3)
    arch = arch * d.uniform(0.1, 0.4, n, 1, 1)
    za = torch.cat([za, arch], 1)
    freq = torch.cat([freq, 2 * freq[:, part]], 1)
    field = torch.cat([field, field[:, :, part]], 2)
    t = torch.arange(_T, device=d.device) / SFREQ
    angle = 2 * math.pi * (freq[..., None] * t).frac()
    courses = _to_samples(za.real) * angle.cos() - _to_samples(za.imag) * angle.sin()
    return field, courses


def _with_stimuli(d, v, sources, amp, rows) -> Tensor:
    """Change rhythms after stimuli, and between rest and tasks."""
    n = len(amp)
    t = (torch.arange(_PER_WINDOW, device=amp.device) * _KNOT - ONSET) / SFREQ

    def bump(at, width):
        return (-0.5 * ((t - at.view(-1, 1)) / width.view(-1, 1)) ** 2).exp()

    sound = slice(N_REST, N_REST + N_TRIALS)
    nerve = slice(N_REST + N_TRIALS, N_WINDOWS)
    task = slice(N_REST, N_WINDOWS)
    ratio = (0.5 * v["alpha_at_rest"]).exp().view(-1, 1, 1, 1)
    part = slice(rows["alpha"].start, rows["occipital"].stop)
    amp[:, part, :N_REST] *= ratio
    amp[:, part, task] /= ratio
    drop = bump(d.uniform(0.2, 0.45, n), d.uniform(0.08, 0.16, n))
    depth = v["alpha_suppression"].clamp(max=0.95)[:, None]
    amp[:, part, task] *= (1 - depth * drop)[:, None, None]
    # the side of the hand, and less of it the other
    right = sources.side > 0
    less = d.uniform(0.2, 0.7, n)
    own = torch.stack([torch.where(right, less, 1.0), torch.where(right, 1.0, less)], 1)
    drop = bump(d.uniform(0.22, 0.38, n), d.uniform(0.09, 0.16, n))
    depth = (v["mu_suppression"].clamp(max=0.95)[:, None] * own)[..., None]
    amp[:, rows["mu"], nerve] *= (1 - depth * drop[:, None])[:, :, None]
    early = bump(d.uniform(0.18, 0.3, n), d.uniform(0.07, 0.12, n))
    late = bump(d.uniform(0.5, 0.72, n), d.uniform(0.08, 0.14, n))
    beta = 1 - 0.7 * depth * early[:, None]
    beta = beta + (v["beta_rebound"][:, None] * own)[..., None] * late[:, None]
    amp[:, rows["beta"], nerve] *= beta.clamp(min=0.05)[:, :, None]
    # induced: gamma after both kinds of stimuli, theta
    first = rows["gamma"].stop + len(sources.where["other_rhythm"])
    rise = bump(d.uniform(0.08, 0.3, n), d.uniform(0.04, 0.12, n))
    trial = d.log(1.0, 0.3, n, 1, N_TRIALS, 1)
    gamma = amp[:, first : first + 2, sound] * rise[:, None, None] * trial
    nerve_gamma = amp[:, first + 2 : first + 3, nerve] * rise[:, None, None]
    theta = amp[:, first + 3 : first + 4, task]
    slow = bump(d.uniform(0.15, 0.35, n), d.uniform(0.1, 0.16, n))
    theta = theta * slow[:, None, None]
    amp[:, first:] = 0.0
    amp[:, first : first + 2, sound] = gamma
    amp[:, first + 2 : first + 3, nerve] = nerve_gamma
    amp[:, first + 3 : first + 4, task] = theta
    return amp


def _add_responses(d, v, sources, data, recent, run) -> None:
    """Add responses to the trials, in place."""
    n = len(data)
    t = (torch.arange(N_TIMES, device=data.device) - ONSET) / SFREQ
    ear = torch.randint(3, (n,), generator=d.g, device=data.device) - 1  # side, 0: both
    lag = d.uniform(0.002, 0.012, n)
    size = v["auditory_size"][:, None]
    lean = torch.stack(
        [(-0.5 * v["auditory_asymmetry"]).exp(), (0.5 * v["auditory_asymmetry"]).exp()],
        1,
    )
    ipsi = torch.stack([ear < 0, ear > 0], 1).float()
    lean = lean * (1 - 0.2 * ipsi)

    def pair(x):
        return x[:, None] + lag[:, None] * ipsi

    P50 = 0.5 * v["N100m_latency"] + 0.004 * d.normal(n)
    latency = torch.cat(
        [
            pair(v["N100m_latency"]),
            pair(P50),
            pair(v["P200m_latency"]),
            torch.zeros(n, 2, device=data.device),
        ],
        1,
    )
    width = v["N100m_width"][:, None] * torch.cat(
        [
            torch.ones(n, 2, device=data.device),
            d.log(0.55, 0.15, n, 1).expand(-1, 2),
            d.log(1.65, 0.2, n, 1).expand(-1, 2),
            torch.ones(n, 2, device=data.device),
        ],
        1,
    )
    moment = size * torch.cat(
        [
            lean,
            lean * v["P50m_ratio"][:, None],
            lean * v["P200m_ratio"][:, None],
            lean * v["auditory_sustained"][:, None],
        ],
        1,
    )
    habituates = torch.tensor([1.0, 1.0, 0.5, 0.5, 1.0, 1.0, 0.8, 0.8])
    fields = sources.of("N100m", "P50m", "P200m", "sustained")
    start, stop = d.uniform(0.1, 0.18, n, 1, 1), d.uniform(0.35, 0.7, n, 1, 1)
    plateau = ((t - start) / 0.02).sigmoid() * ((stop - t) / 0.04).sigmoid()
    _respond(
        d,
        v,
        data,
        slice(N_REST, N_REST + N_TRIALS),
        fields,
        latency,
        width,
        moment,
        habituates,
        recent[0],
        run[0],
        t,
        plateau,
        sources,
        0,
    )
    size = v["somatosensory_size"][:, None]
    lean = torch.stack(
        [(-0.5 * v["SII_asymmetry"]).exp(), (0.5 * v["SII_asymmetry"]).exp()], 1
    )
    far = torch.stack([sources.side > 0, sources.side < 0], 1).float()
    lean = lean * (1 - 0.25 * far)
    latency = torch.stack(
        [
            v["N20m_latency"],
            v["N20m_latency"] + 0.014 + 0.0025 * d.normal(n),
            v["P60m_latency"],
            v["SII_latency"] + far[:, 0] * lag,
            v["SII_latency"] + far[:, 1] * lag,
        ],
        1,
    )
    width = torch.stack(
        [
            d.log(0.0025, 0.15, n),
            d.log(0.0055, 0.15, n),
            d.log(0.011, 0.2, n),
            *[d.log(0.024, 0.2, n)] * 2,
        ],
        1,
    )
    moment = size * torch.cat(
        [
            v["N20m_ratio"][:, None],
            d.log(1.1, 0.3, n, 1),
            v["P60m_ratio"][:, None],
            lean * v["SII_ratio"][:, None],
        ],
        1,
    )
    habituates = torch.tensor([0.6, 0.8, 0.8, 1.0, 1.0])
    fields = sources.of("N20m", "P35m", "P60m", "SII")
    _respond(
        d,
        v,
        data,
        slice(N_REST + N_TRIALS, N_WINDOWS),
        fields,
        latency,
        width,
        moment,
        habituates,
        recent[1],
        run[1],
        t,
        None,
        sources,
        1,
    )


def _respond(
    d,
    v,
    data,
    part,
    fields,
    latency,
    width,
    moment,
    habituates,
    recent,
    run,
    t,
    plateau,
    sources,
    state,
) -> None:
    """Add the responses of one state."""
    n, n_own = latency.shape
    k = 3  # more deflections of any place, latency and width
    others = sources.where["other_response"][k * state : k * state + k]
    fields = torch.cat([fields, sources.field[:, :, others]], 2)
    late = d.uniform(math.log(0.04), math.log(0.55), n, k).exp()
    latency = torch.cat([latency, late], 1)
    width = torch.cat([width, (late * d.uniform(0.12, 0.35, n, k)).clamp(0.006)], 1)
    extra = d.log(0.5, 0.8, n, k).clamp(max=3.0) * d.chance(0.6, n, k)
    moment = torch.cat([moment, extra * (2 * d.chance(0.5, n, k) - 1)], 1)
    habituates = torch.cat([habituates, torch.full((k,), 0.8)]).to(data.device)
    # trials: a common size and shift, and those of each deflection
    spread = v["trial_variability"].view(-1, 1, 1)
    gain = spread * (
        0.8 * d.normal(n, 1, N_TRIALS) + 0.6 * d.normal(n, n_own + k, N_TRIALS)
    )
    decline = v["habituation"] + 0.1 * d.normal(n)
    within = (v["adaptation"] + 0.07 * d.normal(n)).clamp(-0.2, 0.95)
    h = habituates[None, :, None]
    gain = gain - h * decline.view(-1, 1, 1) * run[:, None]
    ebb = (1 - (-recent / 1.5).exp())[:, None]
    gain = gain.exp() * (1 - within.view(-1, 1, 1) * h * ebb)
    shift = v["latency_jitter"].view(-1, 1, 1) * (
        0.8 * d.normal(n, 1, N_TRIALS) + 0.6 * d.normal(n, n_own + k, N_TRIALS)
    )
    shift = shift * (latency / 0.08).clamp(max=1.0)[..., None]
    rel = t - (latency[..., None] + shift)[..., None]
    rel = rel / width[..., None, None]
    rel = torch.where(rel > 0, rel / 1.25, rel)
    rows = (-0.5 * rel.square()).exp()
    if plateau is not None:
        rows[:, n_own - 2 : n_own] = plateau[:, None]
    rows = rows * (gain * moment[..., None])[..., None]
    data[:, :, part] += (fields @ rows.flatten(2)).unflatten(2, (N_TRIALS, N_TIMES))


def _artifacts(d, fields) -> tuple[Tensor, Tensor]:
    """Draw heart, eyes, muscles and mains: fields (n, 64, k), courses (n, k, T)."""
    n = len(fields)
    eyes, muscles, heart, room = fields.split([2, 5, 3, 8], 2)
    t = torch.arange(_T, device=d.device) / SFREQ
    # heart: R and T waves
    rate = d.uniform(0.9, 1.4, n, 1)
    beat = rate * t + 0.08 * _to_samples(_slow(d, n, 1, d.log(0.1, 0.1, n, 1)))[:, 0]
    since = (beat + d.uniform(0, 1, n, 1)).frac() / rate - 0.3
    axes = d.normal(n, 3, 2)
    axes = axes / axes.norm(dim=1, keepdim=True) * d.log(0.07e-6, 0.7, n, 1, 1)
    waves = torch.stack(
        [
            (-0.5 * (since / 0.011).square()).exp()
            - 0.25 * (-0.5 * ((since - 0.03) / 0.01).square()).exp(),
            0.3 * (-0.5 * ((since - 0.27) / 0.05).square()).exp(),
        ],
        1,
    )
    rates = torch.cat([d.log(0.15, 0.6, n, 1), d.log(0.05, 0.8, n, 5)], 1)
    widths = torch.cat([d.uniform(0.05, 0.1, n, 1), d.uniform(0.05, 0.4, n, 5)], 1)
    bumps = _bursts(d, n, 6, rates, widths)
    blink = _to_samples(bumps[:, :1])
    gaze = _to_samples(_slow(d, n, 1, d.log(0.25, 0.3, n, 1)))
    noise = d.normal(n, 5, _T)
    noise = torch.diff(noise, dim=2, prepend=noise[..., :1])
    tone = d.log(1.0, 0.8, n, 5, 1)
    muscle = 0.6 * noise * _to_samples(0.12 + 3.0 * bumps[:, 1:]) * tone
    mains = torch.where(d.uniform(0, 1, n, 1) < 0.5, 50.0, 60.0)
    angle = (mains + 0.03 * d.normal(n, 1)) * t
    angle = angle.view(n, N_WINDOWS, N_TIMES) + d.uniform(0, 1, n, N_WINDOWS, 1)
    angle = 2 * math.pi * angle.flatten(1)
    size = d.log(3e-14, 1.2, n, 1, 1) * d.chance(0.6, n, 1, 1)
    rows = torch.cat(
        [waves, blink, gaze, muscle, torch.stack([angle.cos(), angle.sin()], 1)], 1
    )
    gains = torch.cat(
        [
            heart @ axes,
            eyes[:, :, :1] * d.log(50e-9, 0.5, n, 1, 1),
            eyes[:, :, 1:] * d.log(15e-9, 0.5, n, 1, 1),
            muscles * d.log(3.5e-9, 0.7, n, 1, 1),
            room @ d.normal(n, 8, 2) * size,
        ],
        2,
    )
    return gains, rows


def _filter(d, data: Tensor) -> Tensor:
    """Send recordings through usual filters, one of them each."""
    n = len(data)
    edges = torch.tensor(
        [
            (0.0, 0.0),
            (0.1, 0.0),
            (0.1, 80.0),
            (0.3, 100.0),
            (0.5, 0.0),
            (0.5, 40.0),
            (1.0, 45.0),
            (1.0, 40.0),
            (1.0, 100.0),
            (0.0, 80.0),
        ],
        device=data.device,
    )
    which = edges[torch.randint(len(edges), (n,), generator=d.g, device=data.device)]
    freqs = torch.fft.rfftfreq(_T, 1 / SFREQ).to(data.device)
    low, high = which[:, :1], which[:, 1:]
    gain = 1 / (1 + (low / freqs.clamp(min=1e-6)) ** 8)
    gain = gain / (1 + (freqs / torch.where(high > 0, high, 1e4)) ** 8)
    spec = torch.fft.rfft(data.flatten(2))
    spec *= gain[:, None]
    return torch.fft.irfft(spec, _T).view_as(data)
