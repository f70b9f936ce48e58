"""Interpolation of hidden signal, and how far it is trusted.

Two interpolations are linear in the visible signal: from the other sensors at the same
time (physics), and from the same sensors at other times. The decoder gets both and
learns what to trust and what to add.

The third, Wiener interpolation, is the conditional mean of a Gaussian process with a
few spatial components, each with its own autocovariance in time, and white noise. All
of it is estimated from what is visible of the recording itself, so it needs no
training. All three are baselines that a pretrained network must be compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# -- field and time --------------------------------------------------------------------
FIELD_REGULARIZATION = 1e-2


def field_interpolation(
    patches: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    regularization: float = FIELD_REGULARIZATION,
) -> Tensor:
    """Fill hidden patches by the minimum-norm field of the visible sensors.

    With the Gram matrix K of the lead fields, the minimum-norm estimate from the
    visible sensors v gives at the hidden sensors h [1]_
    ``K_hv (K_vv + lambda I)^-1 b_v``.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The signal; values in hidden patches are not looked at.
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Where the signal is hidden.
    kernel : Tensor, shape (n_sensors, n_sensors)
        Gram matrix of the lead fields, with a mean diagonal of 1.
    regularization : float
        Noise variance in units of the kernel's mean diagonal.

    Returns
    -------
    filled : Tensor, shape as ``patches``
        The estimate where hidden, 0 elsewhere and where nothing is visible.

    References
    ----------
    .. [1] Hämäläinen & Ilmoniemi (1994), "Interpreting magnetic fields of the brain:
       minimum norm estimates", Med. Biol. Eng. Comput. 32, eq. 9-11.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import field_interpolation
    >>> patches = torch.ones(1, 3, 1, 1, 4)  # three sensors, one of them hidden
    >>> hidden = torch.tensor([True, False, False])[None, :, None]
    >>> kernel = torch.full((3, 3), 0.5).fill_diagonal_(1.0)
    >>> field_interpolation(patches, hidden, kernel, 0.5)[0, :, 0, 0, 0].tolist()
    [0.5, 0.0, 0.0]
    """
    filled, _ = _estimate(patches, hidden, kernel, (regularization,), False)
    return torch.where(hidden[..., None, None], filled[0], 0.0)


def field_estimates(
    patches: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    regularizations: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Estimate each region from the other visible ones, hidden or not.

    What is hidden is filled as by :func:`field_interpolation`. What is visible is
    predicted from the *other* visible regions: how far off that is tells how far
    the field can be trusted at this moment. With ``G = K_vv + lambda I``, the error of
    leaving out region r is ``([G^-1]_rr)^-1 [G^-1 b_v]_r`` [1]_.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The signal; values in hidden patches are not looked at.
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Where the signal is hidden.
    kernel : Tensor, shape (n_sensors, n_sensors)
        Gram matrix of the lead fields, with a mean diagonal of 1.
    regularizations : sequence of float
        Noise variances, in units of the kernel's mean diagonal.

    Returns
    -------
    estimates : Tensor, shape (k, n, n_regions, n_patches, sensors_per_region, length)
        Estimates for each regularisation; 0 at moments that are all visible or all
        hidden.
    partly : Tensor of bool, shape (n, n_patches)
        Moments that are neither.

    References
    ----------
    .. [1] Hastie, Tibshirani & Friedman (2009), "The elements of statistical
       learning", 2nd ed., section 7.10, eq. 7.64, for blocks.
    """
    return _estimate(patches, hidden, kernel, regularizations, True)


def _estimate(
    patches: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    regularizations: Sequence[float],
    leave_out: bool,
) -> tuple[Tensor, Tensor]:
    """Estimate what is hidden and, by leaving it out, what is visible (or give 0)."""
    n, n_regions, n_patches, n_in_region, _ = patches.shape
    flat = patches.transpose(1, 2).flatten(0, 1).flatten(1, 2)
    out = torch.zeros(
        (len(regularizations), *flat.shape), dtype=patches.dtype, device=patches.device
    )
    columns = hidden.transpose(1, 2).reshape(-1, n_regions)
    n_hidden = columns.sum(1)
    partly = (n_hidden > 0) & (n_hidden < n_regions)
    patterns, which = torch.unique(columns, dim=0, return_inverse=True)
    # moments with as many hidden regions are solved together
    counts = patterns.sum(1)
    for count in counts[(counts > 0) & (counts < n_regions)].unique().tolist():
        chosen = (counts == count).nonzero()[:, 0]
        rows = (n_hidden == count).nonzero()[:, 0]
        pattern = torch.searchsorted(chosen, which[rows])
        gone = patterns[chosen].repeat_interleave(n_in_region, 1)
        n_gone = count * n_in_region
        # hidden sensors first, then visible ones, each in their order
        order = gone.int().argsort(dim=1, descending=True, stable=True)
        h, v = order[:, :n_gone], order[:, n_gone:]
        signal = flat[rows[:, None], v[pattern]]
        # in double precision: a clean field is close to singular
        exact = kernel.double()
        cross, gram = exact[h[:, :, None], v[:, None]], exact[v[:, :, None], v[:, None]]
        eye = torch.eye(v.shape[1], dtype=exact.dtype, device=exact.device)
        for number, value in enumerate(regularizations):
            factor = torch.linalg.cholesky(gram + value * eye)
            fill = torch.cholesky_solve(cross.mT, factor).mT.to(patches.dtype)
            out[number, rows[:, None], h[pattern]] = fill[pattern] @ signal
            if leave_out:
                left = eye - _leave_out(torch.cholesky_inverse(factor), n_in_region)
                out[number, rows[:, None], v[pattern]] = (
                    left.to(patches.dtype)[pattern] @ signal
                )
    out = out.unflatten(2, (n_regions, n_in_region)).unflatten(1, (n, n_patches))
    return out.transpose(2, 3), partly.view(n, n_patches)


def _leave_out(inverse: Tensor, size: int) -> Tensor:
    """Find the maps from signals to the errors of leaving out blocks of a size."""
    n, n_sensors, _ = inverse.shape
    blocks = inverse.unflatten(1, (-1, size)).unflatten(3, (-1, size))
    own = blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1)
    rows = inverse.reshape(n, -1, size, n_sensors)
    return torch.linalg.solve(own, rows).reshape(n, n_sensors, n_sensors)


def time_interpolation(patches: Tensor, hidden: Tensor) -> Tensor:
    """Fill hidden patches by straight lines between visible samples of a sensor.

    Beyond the first and the last visible sample the value is held, as
    :func:`numpy.interp` does.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The signal; values in hidden patches are not looked at.
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Where the signal is hidden.

    Returns
    -------
    filled : Tensor, shape as ``patches``
        The estimate where hidden, 0 elsewhere and where nothing is visible.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import time_interpolation
    >>> patches = torch.arange(6.0).reshape(1, 1, 3, 1, 2)  # 0 1 | 2 3 | 4 5
    >>> hidden = torch.tensor([[[False, True, False]]])
    >>> time_interpolation(patches, hidden).flatten().tolist()
    [0.0, 0.0, 2.0, 3.0, 0.0, 0.0]
    """
    n_patches, length = patches.shape[2], patches.shape[-1]
    index = torch.arange(n_patches, device=patches.device).expand(hidden.shape)
    before = torch.where(hidden, -1, index).cummax(-1).values
    after = torch.where(hidden, n_patches, index).flip(-1).cummin(-1).values.flip(-1)
    has_before, has_after = before >= 0, after < n_patches
    expand = (*hidden.shape, patches.shape[3])
    last = patches[..., -1].gather(2, before.clamp(min=0)[..., None].expand(expand))
    first = patches[..., 0].gather(
        2, after.clamp(max=n_patches - 1)[..., None].expand(expand)
    )
    # hold the only side there is
    left = torch.where(has_before[..., None], last, first)[..., None]
    right = torch.where(has_after[..., None], first, last)[..., None]
    step = torch.arange(1, length + 1, device=patches.device)
    start = (index - before - 1) * length
    span = (after - before - 1) * length + 1
    weight = (start[..., None] + step) / span[..., None]
    weight = torch.where((has_before & has_after)[..., None], weight, 0.0)
    filled = left + (right - left) * weight[..., None, :]
    known = (hidden & (has_before | has_after))[..., None, None]
    return torch.where(known, filled, 0.0).to(patches.dtype)


N_FOLDS = 4
# a weight that may as well be anything from 0 to 1
_PRIOR_MEAN, _PRIOR_VARIANCE = 1 / 2, 1 / 12


def visible_folds(hidden: Tensor) -> Tensor:
    """Share out the visible tokens, alike over regions and over moments.

    Parameters
    ----------
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Where the signal is hidden.

    Returns
    -------
    folds : Tensor of bool, shape (4, n, n_regions, n_patches)
        Each visible token is in one of them.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models._interpolation import visible_folds
    >>> folds = visible_folds(torch.zeros(1, 24, 10, dtype=torch.bool))
    >>> folds.sum(0).unique().tolist(), folds[:, 0].sum((1, 2)).tolist()
    ([1], [60, 60, 60, 60])
    """
    _, n_regions, n_patches = hidden.shape
    region = torch.arange(n_regions, device=hidden.device)[:, None]
    patch = torch.arange(n_patches, device=hidden.device)
    number = torch.arange(N_FOLDS, device=hidden.device)[:, None, None, None]
    return ~hidden & ((region + patch) % N_FOLDS == number)


def stacking_weight(first: Tensor, second: Tensor, truth: Tensor, at: Tensor) -> Tensor:
    """Weigh two predictions so that together they come closest to the truth.

    With predictions p and q of a truth t, ``w p + (1 - w) q`` is closest to t at
    ``w = sum (t - q)(p - q) / sum (p - q)^2`` (stacked regressions with weights that
    add up to one [1]_). Few tokens tell little of w: its variance v, which allows for
    samples of a token that are alike [2]_, decides how far it is drawn towards one
    half, ``(w / v + 6) / (1 / v + 12)``, as if any weight from 0 to 1 had been as
    likely as another (mean 1/2, variance 1/12). Then it is cut to 0 to 1.

    Parameters
    ----------
    first, second : Tensor, shape (k, n, n_regions, n_patches, n_sensors, length)
        Predictions of k folds.
    truth : Tensor, shape (n, n_regions, n_patches, n_sensors, length)
        What they are of.
    at : Tensor of bool, shape (k, n, n_regions, n_patches)
        Tokens to compare.

    Returns
    -------
    weight : Tensor, shape (n,)
        That of the first one in each window, 1/2 where nothing can be compared.

    References
    ----------
    .. [1] Breiman (1996), "Stacked regressions", Machine Learning 24, section 2.
    .. [2] Liang & Zeger (1986), "Longitudinal data analysis using generalized linear
       models", Biometrika 73, theorem 1, with m / (m - 1) for m tokens.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models._interpolation import stacking_weight
    >>> truth = torch.randn(1, 2, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    >>> at = torch.ones(1, 1, 2, 3, dtype=torch.bool)
    >>> stacking_weight(1.3 * truth[None], 0.9 * truth[None], truth, at)
    tensor([0.2500])
    """
    at = at[..., None, None]
    apart = torch.where(at, first - second, 0.0)
    missing = torch.where(at, truth - second, 0.0)
    # sums over samples: one number for each fold and token
    product, power = ((apart * x).double().sum((4, 5)) for x in (missing, apart))
    count = (power > 0).sum((0, 2, 3))
    total = power.sum((0, 2, 3))
    known = count > 1
    divisor = torch.where(known, total, 1.0)
    weight = product.sum((0, 2, 3)) / divisor
    left = product - weight[None, :, None, None] * power
    variance = left.square().sum((0, 2, 3)) / divisor.square()
    variance = variance * count / (count - 1).clamp(min=1)
    share = _PRIOR_VARIANCE / (_PRIOR_VARIANCE + variance)
    drawn = share * weight + (1 - share) * _PRIOR_MEAN
    return torch.where(known, drawn.clamp(0.0, 1.0), _PRIOR_MEAN).to(truth.dtype)


#: The decoder gets the errors of the token itself, of its time and of the window.
N_SCOPES = 3
# of the scaled signal's power: silent sensors have no share that could be explained
_FLOOR = 1e-6
_LEAST, _MOST = -6.0, 2.0


def field_trust(
    patches: Tensor, estimates: Tensor, hidden: Tensor, partly: Tensor
) -> Tensor:
    """Compare estimates of visible regions from other ones with the truth.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The signal; values in hidden patches are not looked at.
    estimates : Tensor, shape (k, n, n_regions, n_patches, sensors_per_region, length)
        Estimates of each region from other visible regions.
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Where the signal is hidden.
    partly : Tensor of bool, shape (n, n_patches)
        Moments at which there are estimates.

    Returns
    -------
    trust : Tensor, shape (n, n_regions, n_patches, 3 * k)
        Logarithm of the share of the power that each estimate leaves unexplained: of
        the token, of all tokens visible at its moment, and of all in the window. It
        is 0, as for an estimate of zero, where there is nothing to compare.

    Examples
    --------
    >>> import math, torch
    >>> from mne_megfm.models._interpolation import field_trust
    >>> patches = torch.ones(1, 2, 1, 1, 4)
    >>> hidden = torch.tensor([False, True])[None, :, None]
    >>> estimates = torch.full((1, 1, 2, 1, 1, 4), 0.9)
    >>> trust = field_trust(patches, estimates, hidden, torch.tensor([[True]]))
    >>> trust[0, :, 0].div(2 * math.log(10)).round(decimals=3).tolist()  # of 0.1 ** 2
    [[-1.0, -1.0, -1.0], [0.0, -1.0, -1.0]]
    """
    compared = ~hidden & partly[:, None]
    power = torch.where(compared, patches.square().mean((-2, -1)), 0.0)
    error = torch.where(compared, (estimates - patches).square().mean((-2, -1)), 0.0)
    own = _log_ratio(error, power)
    moment = _log_ratio(error.sum(2, keepdim=True), power.sum(1, keepdim=True))
    window = _log_ratio(error.sum((2, 3), keepdim=True), power.sum((1, 2), True))
    trust = torch.stack([own, moment.expand_as(own), window.expand_as(own)], -1)
    return trust.movedim(0, -2).flatten(-2)


def _log_ratio(error: Tensor, power: Tensor) -> Tensor:
    ratio = (error + _FLOOR) / (power + _FLOOR)
    return ratio.log().clamp(_LEAST, _MOST)


# -- Wiener interpolation --------------------------------------------------------------
N_COMPONENTS = 24
# what the covariance is drawn towards: the field of sources everywhere, as if so many
# samples had been seen, and what of it is noise
_PRIOR_SAMPLES, _PRIOR_NOISE = 20.0, 0.1
_N_STEPS = 4
# variances in time that are left out, in units of the noise
_NEGLIGIBLE = 1e-2
# of the conjugate gradients; windows at a time
_TOLERANCE, _MOST_STEPS, _N_WINDOWS = 1e-3, 200, 8


class GaussianComponents(NamedTuple):
    """A stationary Gaussian process over sensors and times.

    ``x(t) = axes z(t) + e(t)``, with independent components z and white noise e.

    Parameters
    ----------
    axes : Tensor, shape (n_sensors, n_components)
        Orthonormal topographies.
    autocovariance : Tensor, shape (n_components, n_lags)
        Of each component, in squared units of the signal, from lag 0 on.
    noise : float
        Variance of the noise at each sensor and sample.
    covariance : Tensor, shape (n_sensors, n_sensors)
        Over sensors, at one time, in full.
    """

    axes: Tensor
    autocovariance: Tensor
    noise: float
    covariance: Tensor


def fit_components(
    patches: Tensor,
    hidden: Tensor,
    kernel: Tensor,
    starts: Tensor | None = None,
    n_components: int = N_COMPONENTS,
) -> GaussianComponents:
    """Estimate spatial components and their autocovariances from visible signal.

    The covariance over sensors is the maximum a posteriori estimate by expectation
    maximisation for data with missing values [1]_, with an inverse Wishart prior about
    the Gram matrix of the lead fields; components are its leading eigenvectors, and the
    noise is the mean of the eigenvalues that are left. The autocovariances are those of
    the components' conditional means, over all pairs of moments at which anything is
    visible, divided by the number of moments (the biased estimate, which is positive
    semidefinite [2]_). This makes them small at lags of which few pairs tell.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        Windows of one recording, of mean 0 over it.
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Where the signal is hidden, or was not recorded.
    kernel : Tensor, shape (n_sensors, n_sensors)
        Gram matrix of the lead fields, with a mean diagonal of 1.
    starts : Tensor of int, shape (n,), optional
        First sample of each window on the recording's time line, which gives pairs of
        moments in two windows; None if windows have nothing to do with each other.
    n_components : int
        How many components.

    Returns
    -------
    components : GaussianComponents
        In double precision.

    References
    ----------
    .. [1] Little & Rubin (2002), "Statistical analysis with missing data", 2nd ed.,
       section 11.2.
    .. [2] Brockwell & Davis (1991), "Time series: theory and methods", 2nd ed.,
       section 7.2.
    """
    n, n_regions, n_patches, n_in_region, length = patches.shape
    seen = ~hidden
    signal = torch.where(seen[..., None, None], patches.double(), 0.0)
    signal = signal.transpose(1, 2).flatten(2, 3)  # window, patch, sensor, sample
    seen = seen.transpose(1, 2).repeat_interleave(n_in_region, 2)
    covariance = _covariance(signal.flatten(0, 1), seen.flatten(0, 1), kernel.double())
    values, vectors = torch.linalg.eigh(covariance)
    k = min(n_components, len(values) - 1)
    values, axes = values.flip(0), vectors.flip(1)[:, :k]
    floor = 1e-6 * values.mean()
    noise, size = values[k:].mean().clamp(min=floor), values[:k].clamp(min=floor)

    # conditional means of the components, moment by moment
    weighted = axes.T * seen[:, :, None]
    precision = weighted @ axes / noise + torch.diag(1.0 / size)
    means = torch.linalg.solve(precision, weighted @ signal / noise)
    known = seen.any(-1)
    means = (means * known[..., None, None]).transpose(1, 2).flatten(2)
    present = known.repeat_interleave(length, 1)
    shape = _autocovariance(means, present, starts)
    scale = size / shape[:, 0].clamp(min=1e-12 * float(size[0]))
    return GaussianComponents(axes, shape * scale[:, None], float(noise), covariance)


def _covariance(signal: Tensor, seen: Tensor, kernel: Tensor) -> Tensor:
    """Estimate a covariance over sensors from samples with missing sensors.

    ``signal`` (moments, sensors, samples) is 0 where it is not ``seen`` (moments,
    sensors).
    """
    some = seen.any(1)
    signal, seen = signal[some], seen[some]
    length = signal.shape[-1]
    power = float(signal.square().sum() / (seen.sum() * length).clamp(min=1))
    power = power or 1.0
    eye = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    prior = power * ((1.0 - _PRIOR_NOISE) * kernel + _PRIOR_NOISE * eye)
    if not len(signal):
        return prior
    patterns, which = torch.unique(seen, dim=0, return_inverse=True)
    count = torch.bincount(which, minlength=len(patterns)) * length
    covariance = prior
    for _ in range(_N_STEPS):
        gain = _gain(covariance, patterns)
        rest = covariance - gain @ (covariance * patterns[:, :, None])
        filled = gain[which] @ signal
        total = torch.einsum("msl,mtl->st", filled, filled)
        total = total + torch.einsum("p,pst->st", count.to(rest.dtype), rest)
        total = total + _PRIOR_SAMPLES * prior
        covariance = total / (_PRIOR_SAMPLES + float(count.sum()))
        covariance = (covariance + covariance.T) / 2
    return covariance


def _gain(covariance: Tensor, patterns: Tensor) -> Tensor:
    """Find the maps from visible sensors to the conditional means of all sensors."""
    visible = patterns.to(covariance.dtype)
    # hidden sensors become independent ones of variance 1, which tell nothing
    inner = covariance * visible[:, :, None] * visible[:, None]
    size = covariance.diagonal().mean()
    inner = inner + torch.diag_embed((1.0 - visible) * size + 1e-9 * size)
    gain = covariance * visible[:, None]
    return torch.linalg.solve(inner, gain.mT).mT


def covariance_interpolation(
    patches: Tensor, hidden: Tensor, covariance: Tensor
) -> Tensor:
    """Fill hidden patches by their conditional mean given sensors at the same time.

    With the covariance C over sensors, visible sensors v give at hidden sensors h
    ``C_hv C_vv^-1 x_v``: kriging over space alone, as field interpolation is, but with
    the covariance of the recording in place of that of all sources.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The signal; values in hidden patches are not looked at.
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Where the signal is hidden.
    covariance : Tensor, shape (n_sensors, n_sensors)
        Over sensors, see :func:`fit_components`.

    Returns
    -------
    filled : Tensor, shape as ``patches``
        The estimate where hidden, 0 elsewhere.
    """
    n_patches, n_in_region = patches.shape[2:4]
    at = hidden[..., None, None]
    signal = torch.where(at, 0.0, patches.double()).transpose(1, 2).flatten(2, 3)
    seen = (~hidden).transpose(1, 2).repeat_interleave(n_in_region, 2).flatten(0, 1)
    patterns, which = torch.unique(seen, dim=0, return_inverse=True)
    gain = _gain(covariance.double(), patterns)[which]
    filled = (gain @ signal.flatten(0, 1)).unflatten(0, (-1, n_patches))
    filled = filled.unflatten(2, (-1, n_in_region)).transpose(1, 2)
    return torch.where(at, filled, 0.0).to(patches.dtype)


def _autocovariance(means: Tensor, present: Tensor, starts: Tensor | None) -> Tensor:
    """Estimate autocovariances of signals (windows, components, times) with gaps."""
    n, k, n_times = means.shape
    if starts is None:
        line, on = means, present.to(means.dtype)
    else:
        at = (starts - starts.min())[:, None] + torch.arange(
            n_times, device=means.device
        )
        size = int(at.max()) + 1
        line = torch.zeros((1, k, size), dtype=means.dtype, device=means.device)
        on = torch.zeros((1, size), dtype=means.dtype, device=means.device)
        line[0][:, at[present]] = means.transpose(0, 1)[:, present]
        on[0, at[present]] = 1.0
    size = line.shape[-1] + n_times
    power = torch.fft.rfft(line * on[:, None], n=size).abs().square().sum(0)
    lagged = torch.fft.irfft(power, n=size)[:, :n_times]
    # of all moments, not of the pairs: a periodogram's, so positive semidefinite
    return lagged / on.sum().clamp(min=1.0)


def wiener_interpolation(
    patches: Tensor, hidden: Tensor, components: GaussianComponents
) -> Tensor:
    """Fill hidden patches by their conditional mean given the visible ones.

    With the covariance C of a Gaussian process over sensors and times, the visible
    samples v give at the hidden samples h the conditional mean
    ``C_hv (C_vv + s^2 I)^-1 x_v``, which is Wiener's filter for stationary signals [1]_
    and kriging with a known mean in geostatistics [2]_. It is solved for the
    components, by conjugate gradients, all windows at a time.

    Parameters
    ----------
    patches : Tensor, shape (n, n_regions, n_patches, sensors_per_region, length)
        The signal; values in hidden patches are not looked at.
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        Where the signal is hidden.
    components : GaussianComponents
        From :func:`fit_components`, with at least as many lags as samples in a window.

    Returns
    -------
    filled : Tensor, shape as ``patches``
        The estimate where hidden, 0 elsewhere.

    References
    ----------
    .. [1] Wiener (1949), "Extrapolation, interpolation, and smoothing of stationary
       time series", MIT Press, chapters 3 and 4.
    .. [2] Rasmussen & Williams (2006), "Gaussian processes for machine learning",
       MIT Press, eq. 2.23.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models._interpolation import (
    ...     GaussianComponents,
    ...     wiener_interpolation,
    ... )
    >>> rhythm = torch.cos(torch.arange(50) * 0.4)  # what follows from 25 samples of it
    >>> components = GaussianComponents(
    ...     torch.ones(1, 1), rhythm[None], 1e-6, torch.ones(1, 1)
    ... )
    >>> patches, hidden = rhythm.view(1, 1, 2, 1, 25), torch.tensor([[[False, True]]])
    >>> filled = wiener_interpolation(patches, hidden, components)
    >>> bool(torch.allclose(filled[hidden], patches[hidden], atol=1e-3))
    True
    """
    n_patches, length = patches.shape[2], patches.shape[-1]
    axes, noise = components.axes.double(), components.noise
    lag = torch.arange(n_patches * length, device=patches.device)
    lag = (lag[:, None] - lag).abs()
    size, basis = torch.linalg.eigh(components.autocovariance.double()[:, lag])
    # directions far below the noise add nothing; the eigenvalues ascend
    n_kept = max(int((size > _NEGLIGIBLE * noise).sum(1).max()), 1)
    basis = basis * size.clamp(min=0.0).sqrt()[:, None]
    basis = basis[..., -n_kept:].contiguous()
    parts = [
        _conditional_mean(signal, gone, axes, basis, noise)
        for signal, gone in zip(
            patches.split(_N_WINDOWS), hidden.split(_N_WINDOWS), strict=True
        )
    ]
    return torch.cat(parts).to(patches.dtype) if parts else torch.zeros_like(patches)


def _conditional_mean(
    patches: Tensor, hidden: Tensor, axes: Tensor, basis: Tensor, noise: float
) -> Tensor:
    """Fill hidden patches of some windows.

    Components are ``z = basis u`` with independent u of variance 1. What is known of
    them is ``(I + basis' W basis) u = basis' A' x / s^2``, where ``W = A' M A / s^2``
    has one block for each patch. Without those parts of W that couple components, a
    system for each component is left, which is solved exactly: this is the
    preconditioner. Where all sensors are hidden together nothing else is needed.
    """
    _, _, n_patches, n_in_region, length = patches.shape
    at = hidden[..., None, None]
    seen = (~hidden).transpose(1, 2).repeat_interleave(n_in_region, 2).double()
    signal = torch.where(at, 0.0, patches.double()).transpose(1, 2).flatten(2, 3)
    block = (axes.T * seen[:, :, None]) @ axes / noise  # window, patch, k, k

    def to_patches(u: Tensor) -> Tensor:
        z = torch.einsum("ktc,nkc->nkt", basis, u)
        return z.unflatten(2, (n_patches, length)).transpose(1, 2)

    def from_patches(z: Tensor) -> Tensor:
        z = z.transpose(1, 2).flatten(2)
        return torch.einsum("ktc,nkt->nkc", basis, z)

    pieces = basis.unflatten(1, (n_patches, length))
    products = pieces.mT @ pieces  # k, patch, coordinate, coordinate
    own = block.diagonal(dim1=2, dim2=3)
    alone = torch.einsum("npk,kpcd->nkcd", own, products)
    alone.diagonal(dim1=2, dim2=3).add_(1.0)
    # its inverse is applied to one vector at a time, which takes as long as reading it
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(alone)).float()
    u = _conjugate_gradients(
        lambda u: u + from_patches(block @ to_patches(u)),
        lambda r: (inverse @ r[..., None].float())[..., 0].double(),
        from_patches(axes.T @ signal / noise),
    )
    filled = (axes @ to_patches(u)).unflatten(2, (-1, n_in_region)).transpose(1, 2)
    return torch.where(at, filled, 0.0)


def _conjugate_gradients(
    apply: Callable[[Tensor], Tensor],
    precondition: Callable[[Tensor], Tensor],
    target: Tensor,
) -> Tensor:
    """Solve one positive definite system for each row."""
    solution, residual = torch.zeros_like(target), target
    direction = scaled = precondition(residual)
    size = (residual * scaled).sum((1, 2), keepdim=True)
    enough = size * _TOLERANCE**2
    tiny = torch.finfo(target.dtype).tiny
    for _ in range(_MOST_STEPS):
        if bool((size <= enough).all()):
            break
        image = apply(direction)
        step = size / (direction * image).sum((1, 2), keepdim=True).clamp(min=tiny)
        solution = solution + step * direction
        residual = residual - step * image
        scaled = precondition(residual)
        before, size = size, (residual * scaled).sum((1, 2), keepdim=True)
        direction = scaled + size / before.clamp(min=tiny) * direction
    return solution
