"""Probabilities that mean what they say: temperature scaling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

# wide enough for any honest correction, and decisions keep their order within
_COOLEST, _HOTTEST = 0.05, 20.0


def as_logits(decision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give binary decisions two columns, whose softmax is the logistic function."""
    if decision.ndim == 2:
        return decision
    return np.stack([-decision / 2, decision / 2], axis=1)


def fit_temperature(
    decision: NDArray[np.float64],
    codes: NDArray[np.int_],
    weight: NDArray[np.float64],
) -> tuple[float, float]:
    """Find the temperature that makes held-out decisions most likely.

    One number that all decisions are divided by [1]_: it changes no ranking, and needs
    few participants. Labels are taken as a little uncertain, the less the more there
    are of a class [2]_: otherwise a handful that is told apart without error would make
    probabilities of 0 and 1.

    Parameters
    ----------
    decision : array, shape (n,) or (n, n_classes)
        Decisions about samples that their model was not fitted on.
    codes : array of int, shape (n,)
        Numbers of their classes.
    weight : array, shape (n,)
        Their weights.

    Returns
    -------
    temperature : float
        At most 20, which decisions no better than chance get.
    loss : float
        Weighted log loss at this temperature.

    References
    ----------
    .. [1] Guo et al. (2017), "On calibration of modern neural networks", ICML,
       section 4.2.
    .. [2] Platt (1999), "Probabilistic outputs for support vector machines", section
       2.2.
    """
    logits = as_logits(decision)
    n_classes = logits.shape[1]
    counts = np.bincount(codes, minlength=n_classes)
    sure = (counts + 1) / (counts + 2)
    wanted = np.repeat(((1 - sure) / (n_classes - 1))[codes, None], n_classes, axis=1)
    wanted[np.arange(len(codes)), codes] = sure[codes]

    def loss(log_t: float) -> float:
        log_proba = log_softmax(logits / np.exp(log_t), axis=1)
        return -float(np.average((wanted * log_proba).sum(1), weights=weight))

    bounds = (np.log(_COOLEST), np.log(_HOTTEST))
    best = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(best.x)), float(best.fun)
