"""Wiener interpolation: hidden signal as the conditional mean of a Gaussian process.

The process has a few spatial components, each with its own autocovariance in time, and
white noise. All of it is estimated from what is visible of the recording itself, so it
needs no training: the baseline that a pretrained network must be compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

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
    >>> from mne_megfm.models._wiener import GaussianComponents, wiener_interpolation
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
