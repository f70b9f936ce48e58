"""What the response does from trial to trial."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval

from ._covariance import N_SENSORS, leading_fields
from ._description import ParticipantDescriber
from ._original import early_middle_late
from ._signals import SFREQ, Trials

_PICOTESLA = 1e-12
#: What each state is described by, in this order.
DYNAMICS = ("early", "middle", "late", "slope", "variability", "strength", "size")


def trial_strengths(
    data: NDArray[np.floating], after: NDArray[np.bool_], shrinkage: float
) -> NDArray[np.floating]:
    """Project each trial on the average of the others.

    Parameters
    ----------
    data : ndarray, shape (n_trials, n_channels, n_times)
        Trials, two at least.
    after : ndarray of bool, shape (n_times,)
        The samples after the event.
    shrinkage : float
        What is added to the noise covariance, as a share of its mean eigenvalue.

    Returns
    -------
    strengths : ndarray, shape (n_trials,)
        In units of the noise, which is whitened across channels.
    """
    n_trials, n_channels, n_times = data.shape
    noise = (data - data.mean(0)).transpose(1, 0, 2).reshape(n_channels, -1)
    cov = noise @ noise.T / noise.shape[1]
    cov += shrinkage * np.trace(cov) / n_channels * np.eye(n_channels)
    # any root of the inverse gives the same inner products
    white = np.linalg.solve(np.linalg.cholesky(cov), data)[..., after]
    white = white.reshape(n_trials, -1)
    others = (n_trials * white.mean(0) - white) / (n_trials - 1)
    return (white * others).sum(1) / np.linalg.norm(others, axis=1)


class TrialDynamics(ParticipantDescriber):
    """Strength of the response over trials: size, habituation, variability.

    Each trial is projected on the participant's own average response, so that seven
    numbers a state tell how large the response is and how it changes.

    Parameters
    ----------
    rank : int
        Spatial patterns that the canonical sensors are reduced to.
    shrinkage : float
        What is added to the noise covariance, as a share of its mean eigenvalue.
    window : float
        Length of a row of a Raw (s); those are not used, see Notes.

    Attributes
    ----------
    states_ : list of str
        States of the training participants, sorted.
    fill_ : dict
        What stands for each state where it is missing.

    Notes
    -----
    Trials are taken after the event, relative to their mean before it (or to their own
    mean, if they begin with the event). The strength of a trial is its inner product
    with the average of all *other* trials, scaled to length 1, with noise whitened
    across channels. For each state there are: mean strength of the early, middle and
    late third and the slope over all trials, relative to the mean strength
    (habituation); standard deviation of the strength, relative to the mean; logarithm
    of the mean strength, in units of the noise; logarithm of the RMS of the average
    response (pT). Where the mean is less than its standard error, that error takes its
    place.

    A Raw, states named rest, and states with fewer than three trials have no such
    numbers.

    References
    ----------
    .. [1] Coppola G, Di Lorenzo C, Schoenen J, Pierelli F (2013). Habituation and
       sensitization in primary headaches. J Headache Pain 14:65.
       doi:10.1186/1129-2377-14-65 (habituation as the change of amplitude over
       blocks of trials, and as its slope).

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import TrialDynamics
    >>> cohort = simulate_cohort(2, states=("auditory",), n_epochs=9, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> TrialDynamics().fit_transform(X).shape
    (2, 8)
    """

    _parameter_constraints: dict = {
        "rank": [Interval(Integral, 1, N_SENSORS, closed="both")],
        "shrinkage": [Interval(Real, 0, None, closed="neither")],
        **ParticipantDescriber._parameter_constraints,
    }

    def __init__(
        self, rank: int = 24, *, shrinkage: float = 0.05, window: float = 1.0
    ) -> None:
        self.rank = rank
        self.shrinkage = shrinkage
        self.window = window

    def _describe_state(self, trials: Trials) -> NDArray[np.floating] | None:
        n_trials, _, n_times = trials.data.shape
        if not trials.locked or n_trials < 3:
            return None
        after = trials.tmin + np.arange(n_times) / SFREQ >= -1e-6
        if not after.any():
            return None
        data = leading_fields(self.rank) @ (trials.data.astype(float) / _PICOTESLA)
        before = slice(None) if after.all() else ~after
        data -= data[..., before].mean(-1, keepdims=True)
        strengths = trial_strengths(data, after, self.shrinkage)
        spread = strengths.std()
        size = np.sqrt(np.mean(data[..., after].mean(0) ** 2))
        scale = max(abs(strengths.mean()), spread / np.sqrt(n_trials))
        slope = np.polyfit(np.linspace(-0.5, 0.5, n_trials), strengths, 1)[0]
        relative = np.array([*early_middle_late(strengths), slope, spread]) / scale
        return np.append(relative, np.log([scale, size]))

    def _names(self, n_values: int) -> list[str]:
        return list(DYNAMICS)
