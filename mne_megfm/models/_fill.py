"""What is known of hidden patches without any learning.

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
