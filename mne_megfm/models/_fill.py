"""What is known of hidden patches without any learning.

Two interpolations, both linear in the visible signal: from the other sensors at
the same time (physics), and from the same sensors at other times. The decoder
gets both and learns what to trust and what to add; they are also the baselines
that it is measured against.
"""

from __future__ import annotations

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
    n, n_regions, n_patches, n_in_region, length = patches.shape
    filled = torch.zeros_like(patches).transpose(1, 2).flatten(0, 1).flatten(1, 2)
    flat = patches.transpose(1, 2).flatten(0, 1).flatten(1, 2)
    columns = hidden.transpose(1, 2).reshape(-1, n_regions)
    patterns, which = torch.unique(columns, dim=0, return_inverse=True)
    order = which.argsort()
    for rows, pattern in zip(
        order.split(torch.bincount(which).tolist()), patterns, strict=True
    ):
        if pattern.all() or not pattern.any():
            continue
        at = pattern.repeat_interleave(n_in_region)
        h, v = at.nonzero().squeeze(1), (~at).nonzero().squeeze(1)
        gram = kernel[v][:, v] + regularization * torch.eye(
            len(v), dtype=kernel.dtype, device=kernel.device
        )
        weights = torch.linalg.solve(gram, kernel[v][:, h]).T.to(patches.dtype)
        filled[rows[:, None], h] = weights @ flat[rows[:, None], v]
    return (
        filled.unflatten(1, (n_regions, n_in_region))
        .unflatten(0, (n, n_patches))
        .transpose(1, 2)
    )


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
