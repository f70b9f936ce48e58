"""How far interpolation over the field can be trusted, judged by what is visible."""

from __future__ import annotations

import torch
from torch import Tensor

#: A token is told of itself, of its moment and of the window.
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
    >>> from mne_megfm.models._trust import field_trust
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
