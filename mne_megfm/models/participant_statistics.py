"""What the participant encoder reads: statistics of a person's windows and trials.

All is computed from windows on components (see `ParticipantPosterior`), in one pass,
in torch, for some people at a time. There is no learning in here: places are looked
at by beamformers of the person's own covariance, responses by spatial filters of the
person's own averages.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SFREQ, N_TIMES, ONSET = 250.0, 250, 50
#: Kinds of states, in the order in which windows stand.
KINDS = ("rest", "auditory", "somatosensory")
N_COMPONENTS, N_PLACES = 64, 40
#: Frequencies (Hz) and times after the stimulus (s) of time-frequency power.
TF_FREQS = (4, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 46, 55, 65, 75, 85)
TF_TIMES = (-0.1, 0.02, 0.12, 0.22, 0.32, 0.42, 0.52, 0.62)
#: Bins (Hz, both included) of spectra; mains are left out.
BINS = (
    *((f, f) for f in range(2, 25)),
    *((f, f + 2) for f in range(25, 46, 3)),
    (52, 57),
    (63, 67),
    (68, 72),
    (73, 77),
    (78, 82),
    (83, 88),
    (89, 97),
)
#: Groups of frequencies in which places are compared.
GROUPS = ((4, 6), (8, 10, 12), (15, 18, 22, 27), (33, 40, 46), (55, 65, 75, 85))
#: Edges (Hz) of the bands of these groups, whose filters are used there.
EDGES = ((2, 8), (8, 14), (14, 30), (30, 48), (48, 98))
PATCH, FIRST, N_PATCHES = 4, -10, 40  # of averages, in samples from the stimulus
N_AXES, COURSE_FIRST, COURSE_STEP, N_COURSE = 4, -25, 2, 87
SEGMENTS = ((0.0, 0.04), (0.03, 0.08), (0.07, 0.15), (0.13, 0.27), (0.25, 0.55))
_LOADING = 0.03
_FLOOR = 1e-6
_USUAL = 3.0  # of single trials along a filter


@dataclass
class Statistics:
    """Tokens of some people.

    Parameters
    ----------
    places : Tensor, shape (n, 20, n_place)
        Spectra, changes after stimuli, envelopes and connections of places: the mean
        of a place on the left and its mirror image, then how they differ.
    averages : Tensor, shape (n, 2, 40, n_average)
        Averages of the two states with stimuli, by patches of 16 ms.
    trials : Tensor, shape (n, 2, n_trials, n_trial)
        Single trials in their order.
    whole : Tensor, shape (n, n_whole)
        What is known of the whole recording.
    has_trial : Tensor of bool, shape (n, 2, n_trials)
        Which trials there are.
    """

    places: Tensor
    averages: Tensor
    trials: Tensor
    whole: Tensor
    has_trial: Tensor

    @classmethod
    def join(cls, many: list[Statistics]) -> Statistics:
        """Join the statistics of people."""
        names = ("places", "averages", "trials", "whole", "has_trial")
        return cls(*(torch.cat([getattr(s, name) for s in many]) for name in names))

    def parts(self) -> dict[str, Tensor]:
        """Get the four kinds of tokens by name."""
        names = ("places", "averages", "trials", "whole")
        return {name: getattr(self, name) for name in names}


def inverse_root(matrix: Tensor, n_steps: int = 16) -> Tensor:
    """Find the symmetric inverse root of positive definite matrices.

    By the coupled Newton-Schulz iteration [1]_: products of matrices alone, so that it
    is fast on any device.

    References
    ----------
    .. [1] Higham NJ (2008). Functions of Matrices, SIAM, eq. 6.35.
    """
    eye = torch.eye(matrix.shape[-1], device=matrix.device, dtype=matrix.dtype)
    # the largest absolute row sum bounds the largest eigenvalue
    size = matrix.abs().sum(-1).amax(-1)[..., None, None]
    y, z = matrix / size, eye.expand_as(matrix)
    for _ in range(n_steps):
        t = 1.5 * eye - 0.5 * (z @ y)
        y, z = y @ t, t @ z
    return z / size.sqrt()


def _dominant(matrix: Tensor, k: int, n_steps: int = 12) -> Tensor:
    """Find the k leading eigenvectors of symmetric matrices, (n, size, k)."""
    n, size = len(matrix), matrix.shape[-1]
    start = torch.eye(size, device=matrix.device)[:, : 2 * k].expand(n, -1, -1)
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    # of nothing, any vectors, with values that differ: derivatives divide by that
    distinct = torch.linspace(1.0, 0.5, size, device=matrix.device).diag()
    matrix = torch.where(trace > 1e-12, matrix / trace.clamp(min=1e-12), distinct)
    matrix = matrix + 1e-5 * torch.eye(size, device=matrix.device)
    q = _orthonormal(matrix @ start + 1e-3 * start)
    for _ in range(n_steps):
        q = _orthonormal(matrix @ q)
    _, inner = torch.linalg.eigh(q.mT @ matrix @ q)
    return q @ inner.flip(-1)[..., :k]


def _orthonormal(q: Tensor) -> Tensor:
    """Make the columns of matrices orthonormal, by Cholesky's factor of their Gram."""
    gram = q.mT @ q
    level = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    gram = gram + 1e-6 * level * torch.eye(q.shape[2], device=q.device)
    root = torch.linalg.cholesky_ex(gram)[0]
    return torch.linalg.solve_triangular(root, q.mT, upper=False).mT


class PersonStatistics:
    """Compute statistics of people on one device.

    Parameters
    ----------
    place_gain : Tensor, shape (64, 40, 2)
        Fields of two dipoles at each of the places, on components.
    places : Tensor, shape (40, 3)
        Where they are: the left side, then its mirror image (m).
    span : tuple of int
        First and last sample of a window that was recorded, of 250.
    """

    def __init__(
        self, place_gain: Tensor, places: Tensor, span: tuple[int, int] = (0, N_TIMES)
    ):
        self.place_gain, self.span = place_gain, span
        device = place_gain.device
        self.areas = _areas(places)
        start, stop = span
        t = torch.arange(N_TIMES, device=device)
        self.inside = ((t >= start) & (t < stop)).float()
        taper = torch.zeros(N_TIMES, device=device)
        taper[start:stop] = torch.hann_window(stop - start, False, device=device)
        self.taper = taper / taper.square().sum().sqrt()
        first = EDGES[0][0]
        bins = torch.zeros(EDGES[-1][1] - first, len(BINS), device=device)
        for ii, (low, high) in enumerate(BINS):
            bins[low - first : high + 1 - first, ii] = 1 / (high - low + 1)
        self.bins = bins
        self.kernels = self._kernels(device)

    def _kernels(self, device) -> Tensor:
        """Windowed waves, (250, n_freqs * n_times * 2)."""
        t = (torch.arange(N_TIMES, device=device) - ONSET) / SFREQ
        freqs = torch.tensor(TF_FREQS, device=device).float()[:, None, None]
        at = torch.tensor(TF_TIMES, device=device)[None, :, None]
        width = (0.75 / freqs).clamp(0.05, 0.11)
        bell = (-0.5 * ((t - at) / width) ** 2).exp() * self.inside
        wave = torch.polar(bell, -2 * math.pi * freqs * t)
        # what is not recorded is not there to be seen: same power for white noise
        norm = bell.square().sum(-1, keepdim=True).sqrt()
        full = (-0.5 * (t / 0.05) ** 2).exp().square().sum().sqrt()
        wave = torch.where(norm > 0.25 * full, wave / norm.clamp(min=1e-3), 0.0 * wave)
        wave = torch.view_as_real(wave).permute(2, 0, 1, 3)
        return wave.reshape(N_TIMES, -1).contiguous()

    def __call__(
        self, data: Tensor, valid: Tensor, times: Tensor, counts: tuple[int, int, int]
    ) -> Statistics:
        """Compute the statistics.

        Parameters
        ----------
        data : Tensor, shape (n, 64, n_windows, 250)
            Windows on components, the stimulus at sample 50.
        valid : Tensor of bool, shape (n, n_windows)
            Which are recordings.
        times : Tensor, shape (n, n_windows)
            When they were recorded (s).
        counts : tuple of int
            Windows of rest, of sounds, of a nerve: they stand in this order.
        """
        weight = valid.float()
        x = data * self.inside
        mean = x.sum(3, keepdim=True) / self.inside.sum()
        x = (x - mean) * self.inside
        # windows with artefacts count less
        size = _root(x.square().mean((1, 3)))
        usual = _median(size, valid)
        weight = (
            weight * (2.5 * usual[:, None] / size.clamp(min=1e-9)).clamp(max=1) ** 2
        )
        starts = [0, counts[0], counts[0] + counts[1], sum(counts)]
        parts = [slice(a, b) for a, b in zip(starts[:-1], starts[1:], strict=True)]
        averages = [_average(x[:, :, part], weight[:, part]) for part in parts[1:]]
        rest = [x[:, :, parts[0]]]
        for part, average in zip(parts[1:], averages, strict=True):
            rest.append(x[:, :, part] - average[:, :, None])
        x = torch.cat(rest, 2) * valid[:, None, :, None]
        cov = self._covariance(x, weight)
        root = inverse_root(cov)
        places, whole = self._places(x, weight, parts)
        left, right = places.chunk(2, 1)
        places = torch.cat([left + right, left - right], 2) / 2
        patches, trials, summaries, more = [], [], [], []
        for part, average in zip(parts[1:], averages, strict=True):
            centred = self._baseline(average)
            n_eff = weight[:, part].sum(1) ** 2 / weight[:, part].square().sum(1).clamp(
                min=1e-6
            )
            patches.append(self._patches(centred, root, n_eff))
            tokens, summary = self._trials(
                x[:, :, part],
                average,
                root,
                weight[:, part],
                valid[:, part],
                times[:, part],
            )
            trials.append(tokens)
            summaries.append(summary)
            more += [n_eff.clamp(min=0.5).log()]
        n_rest = weight[:, parts[0]].sum(1).clamp(min=0.5).log()
        diagonal = cov.diagonal(dim1=1, dim2=2).log()
        whole = [whole, diagonal, torch.stack([n_rest, *more], 1), *summaries]
        whole = torch.cat(whole, 1)
        has = torch.stack([valid[:, part] for part in parts[1:]], 1)
        found = (places, torch.stack(patches, 1), torch.stack(trials, 1), whole)
        return Statistics(*(values.nan_to_num(0.0) for values in found), has)

    def _covariance(self, x: Tensor, weight: Tensor) -> Tensor:
        n_samples = self.inside.sum() * weight.sum(1).clamp(min=1e-6)
        scaled = x * _root(weight)[:, None, :, None]
        flat = scaled.flatten(2)
        cov = flat @ flat.mT / n_samples[:, None, None]
        trace = cov.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        eye = torch.eye(x.shape[1], device=x.device)
        return cov + _LOADING * trace * eye + 1e-6 * eye

    def _baseline(self, average: Tensor) -> Tensor:
        before = self.inside.clone()
        before[ONSET:] = 0.0
        mean = (average * before).sum(-1, keepdim=True) / before.sum().clamp(min=1.0)
        return (average - mean) * self.inside

    def _patches(self, average: Tensor, root: Tensor, n_eff: Tensor) -> Tensor:
        """Cut averages to patches: whitened, as they are, and at places of both sides.

        Places by minimum-norm estimates, of both directions of the current.
        """
        a = ONSET + FIRST
        part = average[..., a : a + PATCH * N_PATCHES]
        white = (root @ part) * n_eff.clamp(min=1.0).sqrt()[:, None, None]
        gain = root @ (1e-8 * self.place_gain.flatten(1))
        gram = gain @ gain.mT
        trace = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        eye = torch.eye(gram.shape[1], device=gram.device)
        inverse = inverse_root(gram / trace + 0.3 * eye, 10)
        size = (gain.mT @ (inverse @ (inverse @ white))) / trace.sqrt()
        size = size.unflatten(1, (N_PLACES, 2)).square().sum(2)
        size = size.unflatten(2, (N_PATCHES, PATCH)).mean(3).add(0.02).log()
        left, right = size.chunk(2, 1)
        size = torch.cat([left + right, left - right], 1).mT
        white = _squash(white, 6.0).unflatten(2, (N_PATCHES, PATCH))
        raw = _squash(4.0 * part, 6.0).unflatten(2, (N_PATCHES, PATCH)).mean(3).mT
        return torch.cat([white.permute(0, 2, 1, 3).flatten(2), raw, size], 2)

    def _trials(self, rest, average, root, weight, valid, times):
        """Summarise trials by the person's own spatial filters, and their course."""
        n, _, n_trials, _ = rest.shape
        white = root @ self._baseline(average)
        after = white[..., ONSET : ONSET + 140]
        axes = _dominant(after @ after.mT, N_AXES)
        course = axes.mT @ white
        peak = course[..., ONSET : ONSET + 140]
        at = peak.abs().argmax(2, keepdim=True)
        axes = axes * peak.gather(2, at).sign().mT
        filters = axes.mT @ root
        mean = filters @ average
        single = filters @ rest.flatten(2)
        single = single.unflatten(2, (n_trials, N_TIMES)).transpose(1, 2)
        w = weight / weight.sum(1, keepdim=True).clamp(min=1e-6)
        # a trial must not predict itself
        own = single * (w / (1 - w).clamp(min=0.05))[:, :, None, None]
        template = mean[:, None] - own
        slope = torch.gradient(template, dim=3)[0]
        single = (single + mean[:, None]) * valid[:, :, None, None]
        measures = []
        for low, high in SEGMENTS:
            a, b = ONSET + round(low * SFREQ), ONSET + round(high * SFREQ)
            for other in (template, slope):
                here = other[..., a:b]
                norm = here.square().sum(3).add(1e-4).sqrt()
                measures.append((single[..., a:b] * here).sum(3) / norm / _USUAL)
            measures.append(template[..., a:b].square().sum(3).add(1e-4).log())
        a = ONSET + COURSE_FIRST
        cut = single[..., a : a + COURSE_STEP * N_COURSE]
        cut = cut.unflatten(3, (N_COURSE, COURSE_STEP)).mean(4)
        size = rest.square().mean((1, 3)).add(1e-6).log()
        order = valid.float().cumsum(1) - 1
        order = order / order.amax(1, keepdim=True).clamp(min=1)
        before = times[:, :, None] - times[:, None, :]
        counted = (before > 0) & valid[:, None, :]
        recent = [
            torch.where(counted, (-before.clamp(min=0) / tau).exp(), 0.0).sum(2)
            for tau in (1.5, 8.0)
        ]
        when = [order, order**2, (-3 * order).exp(), *recent]
        measures = torch.cat(measures, 2)
        summary = _courses(measures, order, recent[0], weight)
        out = torch.cat(
            [
                measures,
                cut.flatten(2),
                torch.stack([size, *when], 2),
            ],
            2,
        )
        return _squash(out, 8.0) * valid[..., None], _squash(summary, 6.0)

    def _places(self, x, weight, parts) -> tuple[Tensor, Tensor]:
        n, n_comp, n_windows, _ = x.shape
        n_f, n_t = len(TF_FREQS), len(TF_TIMES)
        spec = torch.fft.rfft(x * self.taper)
        tf = (x.flatten(0, 2) @ self.kernels).view(n, n_comp, n_windows, n_f, n_t, 2)
        tf = torch.view_as_complex(tf).permute(0, 3, 1, 2, 4)
        filters, gains = self._filters(tf, weight)
        # what each place does, band by band, by filters of that band
        groups = range(len(GROUPS))
        index = [ii for ii in groups for _ in GROUPS[ii]]
        tf = filters[:, index].to(tf.dtype) @ tf.flatten(3)
        tf = tf.view(n, n_f, N_PLACES, n_windows, n_t).permute(0, 2, 3, 1, 4)
        tf = tf.contiguous()
        courses = [
            (filters[:, ii].to(spec.dtype) @ spec[..., low:high].flatten(2)).unflatten(
                2, (n_windows, high - low)
            )
            for ii, (low, high) in zip(groups, EDGES, strict=True)
        ]
        power = torch.cat([c.abs().square() for c in courses], 3) @ self.bins
        wide = _weighted(power, weight, parts[0])
        task = _weighted(power, weight, slice(parts[1].start, parts[2].stop))
        features = [wide.add(_FLOOR).log(), task.add(_FLOOR).log(), gains]
        energy = tf.abs().square()
        seen = self.kernels.abs().sum(0).view(n_f, n_t, 2).sum(2) > 0
        for part in parts[1:]:
            mean = _weighted(energy[:, :, part].flatten(3), weight[:, part])
            mean = mean.add(_FLOOR).log().unflatten(2, (n_f, n_t)) * seen
            usual = mean.sum(3, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
            features.append(((mean - usual) * seen).flatten(2))
        relative = energy * seen
        for part in (parts[0], slice(0, n_windows)):
            features.append(_envelopes(relative[:, :, part], weight[:, part], seen))
        slow = torch.cat(courses[:2], 3)[..., 3 - EDGES[0][0] : 13 - EDGES[0][0]]
        features.append(self._phase_amplitude(slow, courses[-1], weight))
        features.append(_connections(tf, energy, weight, seen, self.areas))
        places = torch.cat([f.flatten(2) for f in features], 2)
        mean = torch.cat([wide, task], 2).add(_FLOOR).log().mean(1)
        return places, mean

    def _filters(self, tf: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Find beamformers of unit gain, band by band, along the most power.

        Returns
        -------
        filters : Tensor, shape (n, n_groups, 40, 64)
            They give moments in 10 nA m.
        gains : Tensor, shape (n, 40, n_groups)
            Log of what they make of white noise.
        """
        covs, k = [], 0
        scale = weight / weight.sum(1, keepdim=True).clamp(min=1e-6)
        for group in GROUPS:
            part = torch.view_as_real(tf[:, k : k + len(group)])
            part = part * _root(scale)[:, None, None, :, None, None]
            flat = part.transpose(1, 2).flatten(2)
            covs.append(flat @ flat.mT)
            k += len(group)
        cov = torch.stack(covs, 1)
        trace = cov.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        eye = torch.eye(cov.shape[-1], device=cov.device)
        cov = cov / trace.clamp(min=1e-9)
        root = inverse_root(cov + _LOADING * eye)
        gain = self.place_gain.flatten(1)
        solved = ((root @ root) @ gain).unflatten(3, (N_PLACES, 2))
        solved = solved.permute(0, 1, 3, 4, 2)
        inner = torch.einsum("ngpkc,cpj->ngpkj", solved, self.place_gain)
        filters = _inverse2(inner) @ solved
        power = filters @ cov[:, :, None] @ filters.mT
        # of any scale, so that squares in the derivative do not vanish
        size = power.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        power = power / size.detach().clamp(min=1e-30)
        across, along = 2 * power[..., 0, 1], power[..., 0, 0] - power[..., 1, 1]
        # without power, or with the same in all directions, any direction will do
        along = torch.where((across == 0) & (along == 0), 1.0, along)
        angle = 0.5 * torch.atan2(across, along)
        way = torch.stack([angle.cos(), angle.sin()], -1)
        filters = 1e8 * (filters * way[..., None]).sum(-2)
        return filters, filters.square().sum(3).add(1e-9).log().transpose(1, 2)

    def _phase_amplitude(self, slow: Tensor, fast: Tensor, weight: Tensor) -> Tensor:
        """Tell how fast activity goes with the phase of slow activity, (n, 40, 10)."""
        low, high = EDGES[-1]
        full = fast.new_zeros(*fast.shape[:3], N_TIMES // 2 + 1)
        full[..., low:high] = fast
        full[..., 58:62] = 0.0
        full[..., 98:] = 0.0
        course = torch.fft.irfft(full, N_TIMES).square()
        course = torch.fft.rfft(course - course.mean(-1, keepdim=True))[..., 3:13]
        w = weight[:, None, :, None]
        cross = (course * slow.conj() * w).sum(2).abs()
        norm = (course.abs().square() * w).sum(2) * (slow.abs().square() * w).sum(2)
        return cross / norm.add(1e-20).sqrt()


def _inverse2(m: Tensor) -> Tensor:
    """Invert 2 x 2 matrices."""
    a, b, c, d = m[..., 0, 0], m[..., 0, 1], m[..., 1, 0], m[..., 1, 1]
    det = (a * d - b * c).clamp(min=1e-20)
    out = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
    return out / det[..., None, None]


#: Values of the whole recording that are there with a state, by state.
N_COURSES = 4 * 3 * N_AXES * len(SEGMENTS)


def _root(x: Tensor) -> Tensor:
    """Take square roots whose derivative at 0 is 0, not infinite.

    Windows that are not there have no weight, and must have no derivative.
    """
    there = x > 0
    return torch.where(there, x, 1.0).sqrt() * there


def _squash(x: Tensor, size: float) -> Tensor:
    return size * torch.asinh(x / size)


def _median(values: Tensor, valid: Tensor) -> Tensor:
    return values.masked_fill(~valid, float("nan")).nanmedian(1).values.nan_to_num(1.0)


def _average(x: Tensor, weight: Tensor) -> Tensor:
    w = weight / weight.sum(1, keepdim=True).clamp(min=1e-6)
    return torch.einsum("ncwt,nw->nct", x, w)


def _courses(measures: Tensor, order: Tensor, recent: Tensor, weight: Tensor) -> Tensor:
    """Summarise measures of trials: mean, spread, decline, effect of recent stimuli.

    Parameters
    ----------
    measures : Tensor, shape (n, n_trials, k)
        Measures.
    order, recent, weight : Tensor, shape (n, n_trials)
        Place in the run, count of recent stimuli, and weight of a trial.

    Returns
    -------
    courses : Tensor, shape (n, 4 * k)
        Mean, log spread, and both slopes relative to the mean.
    """
    w = weight / weight.sum(1, keepdim=True).clamp(min=1e-6)
    design = torch.stack([order, recent], 2)
    design = design - (design * w[..., None]).sum(1, keepdim=True)
    mean = (measures * w[..., None]).sum(1)
    around = measures - mean[:, None]
    gram = (design * w[..., None]).mT @ design
    ridge = torch.diag(torch.tensor([0.01, 0.05], device=w.device))
    slopes = _inverse2(gram + ridge) @ ((design * w[..., None]).mT @ around)
    fitted = design @ slopes
    spread = ((around - fitted).square() * w[..., None]).sum(1).add(1e-3).sqrt()
    base = mean.abs() + 0.3
    return torch.cat([mean, spread.log(), slopes[:, 0] / base, slopes[:, 1] / base], 1)


def _weighted(values: Tensor, weight: Tensor, part: slice | None = None) -> Tensor:
    """Average over windows, (n, places, k)."""
    if part is not None:
        values, weight = values[:, :, part], weight[:, part]
    w = weight / weight.sum(1, keepdim=True).clamp(min=1e-6)
    # (n, places, k, windows) @ (n, 1, windows, 1)
    return (values.transpose(2, 3) @ w[:, None, :, None])[..., 0]


def _envelopes(energy: Tensor, weight: Tensor, seen: Tensor) -> Tensor:
    """Summarise the course of power, by place and frequency, (n, 40, 16 * 7)."""
    n, n_places, n_windows, n_f, n_t = energy.shape
    count = seen.sum(1).clamp(min=1)

    def over(values):  # mean over windows, then times
        mean = _weighted(values.flatten(3), weight).unflatten(2, (n_f, -1))
        return mean.sum(3) / count

    mean = over(energy)
    relative = energy / mean[:, :, None, :, None].clamp(min=1e-12)
    square = relative.square()
    second, third = over(square), over(square * relative)
    logs = over(relative.clamp(min=1e-4).log() * seen)
    by_window = (relative.sum(4) / count).clamp(min=1e-3).log()
    mean_log = _weighted(by_window, weight)
    slow = _weighted((by_window - mean_log[:, :, None]).square(), weight)
    out = [second.add(1e-3).log(), third.add(1e-3).log(), logs, slow.add(1e-3).log()]
    for lag in (1, 2, 4):
        both = (seen[:, lag:] & seen[:, :-lag]).float()
        product = relative[..., lag:] * relative[..., :-lag] * both
        product = _weighted(product.flatten(3), weight).unflatten(2, (n_f, -1)).sum(3)
        out.append(product / both.sum(1).clamp(min=1) - 1)
    return _squash(torch.stack(out, 3).flatten(2), 4.0)


def _areas(places: Tensor) -> Tensor:
    """Make what averages places over areas, (40, 12): six of each side."""
    side = places[: N_PLACES // 2]
    side = side / side.norm(dim=1, keepdim=True)
    anchors = torch.tensor(
        [
            (-0.3, 0.9, 0.2),
            (-0.6, 0.5, 0.6),
            (-0.5, 0.0, 0.87),
            (-0.95, 0.1, 0.1),
            (-0.5, -0.6, 0.6),
            (-0.4, -0.9, 0.1),
        ],
        device=places.device,
    )
    nearest = (side @ (anchors / anchors.norm(dim=1, keepdim=True)).T).argmax(1)
    one = torch.nn.functional.one_hot(nearest, len(anchors)).float()
    one = one / one.sum(0).clamp(min=1)
    zero = torch.zeros_like(one)
    return torch.cat([torch.cat([one, zero], 1), torch.cat([zero, one], 1)])


def _connections(tf, energy, weight, seen, areas) -> Tensor:
    """Compare places: envelopes, and phases in step and lagged, (n, 40, 13 * 5 * 4).

    A place is compared with its mirror image, then with areas of its own side and of
    the other.
    """
    out = []
    at = {f: ii for ii, f in enumerate(TF_FREQS)}
    w = weight / weight.sum(1, keepdim=True).clamp(min=1e-6)
    for group in GROUPS:
        index = slice(at[group[0]], at[group[-1]] + 1)
        z = tf[..., index, :]
        e = energy[..., index, :].mean(3) + 1e-9
        # phases
        scaled = z * _root(w)[:, None, :, None, None]
        cross = 0.0
        for ii in range(len(group)):
            flat = scaled[:, :, :, ii].flatten(2)
            c = flat @ flat.mH
            d = c.diagonal(dim1=1, dim2=2).real.clamp(min=1e-12).sqrt()
            c = c / (d[:, :, None] * d[:, None, :])
            cross = cross + torch.stack([c.real.square(), c.imag.square()], 3)
        cross = (cross / len(group)).add(1e-4).sqrt()
        # envelopes, fast and slow
        times = seen[index].all(0)
        logs = e[..., times].log()
        slow = logs.mean(3)
        out += [_correlate(logs, w), _correlate(slow[..., None], w), *cross.unbind(3)]
    half = N_PLACES // 2
    all_ = torch.stack(out, 1)
    mirror = all_.diagonal(half, 2, 3)
    mirror = torch.cat([mirror, mirror], 2)[..., None]
    eye = torch.eye(N_PLACES, device=all_.device)
    by_area = (all_ * (1 - eye)) @ areas
    k = areas.shape[1] // 2
    right = by_area[:, :, half:].roll(k, 3)
    by_area = torch.cat([by_area[:, :, :half], right], 2)
    return torch.cat([mirror, by_area], 3).permute(0, 2, 1, 3).flatten(2)


def _correlate(values: Tensor, w: Tensor) -> Tensor:
    """Correlate places over windows and times, (n, 40, 40)."""
    mean = torch.einsum("npwt,nw->np", values, w) / values.shape[3]
    centred = (values - mean[:, :, None, None]) * _root(w)[:, None, :, None]
    flat = centred.flatten(2)
    c = flat @ flat.mT
    d = c.diagonal(dim1=1, dim2=2).clamp(min=1e-9).sqrt()
    return c / (d[:, :, None] * d[:, None, :])
