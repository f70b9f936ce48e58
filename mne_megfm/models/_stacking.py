"""How far the network is to be believed beside the field, judged by what is visible."""

from __future__ import annotations

import torch
from torch import Tensor

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
    >>> from mne_megfm.models._stacking import visible_folds
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
    >>> from mne_megfm.models._stacking import stacking_weight
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
