"""Interpolation by the field and in time, and how far each is trusted.

Two interpolations, both linear in the visible signal: from the other sensors at
the same time (physics), and from the same sensors at other times. The decoder
gets both and learns what to trust and what to add; they are also the baselines
that it is measured against.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
    filled, _ = field_estimates(patches, hidden, kernel, (regularization,))
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
