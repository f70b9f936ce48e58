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


def weighted_log_loss(
    decision: NDArray[np.float64],
    codes: NDArray[np.int_],
    weight: NDArray[np.float64],
) -> float:
    """Compute the mean of minus the log of the true label's probability."""
    log_proba = log_softmax(as_logits(decision), axis=1)
    return -float(np.average(log_proba[np.arange(len(codes)), codes], weights=weight))


def fit_temperature(
    decision: NDArray[np.float64],
    codes: NDArray[np.int_],
    weight: NDArray[np.float64],
) -> tuple[float, float]:
    """Find the temperature that makes held-out decisions most likely.

    One number that all decisions are divided by: it changes no ranking, and needs few
    participants (Guo et al. 2017, "On calibration of modern neural networks", ICML,
    section 4.2).

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
    """
    best = minimize_scalar(
        lambda log_t: weighted_log_loss(decision / np.exp(log_t), codes, weight),
        bounds=(np.log(_COOLEST), np.log(_HOTTEST)),
        method="bounded",
    )
    return float(np.exp(best.x)), float(best.fun)
