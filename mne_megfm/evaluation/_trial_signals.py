"""The original signals of all trials, as networks take them."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ._description import Description, ParticipantDescriber
from ._signals import SFREQ, Trials

_UNIT = 1e-12  # in pT, half precision holds what MEG has


class TrialSignals(ParticipantDescriber, auto_wrap_output_keys=None):
    """All trials of participants on the canonical array, for networks.

    Parameters
    ----------
    decim : int
        So many samples, of 4 ms, are averaged to one.
    max_trials : int
        Trials of a state that are kept at most, evenly spread over the recording.
    window : float
        Length of a row of a Raw (s).

    Attributes
    ----------
    states_ : list of str
        States of the training participants, sorted.
    sfreq_ : float
        Sampling rate of the result (Hz).

    See Also
    --------
    NetworkClassifier : What follows in a pipeline.

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import TrialSignals
    >>> cohort = simulate_cohort(2, states=("auditory",), n_epochs=3, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> trials = TrialSignals().fit_transform(X)
    >>> trials[0]["auditory"].shape
    (3, 192, 125)
    """

    _parameter_constraints: dict = {
        "decim": [Interval(Integral, 1, None, closed="left")],
        "max_trials": [Interval(Integral, 1, None, closed="left")],
        **ParticipantDescriber._parameter_constraints,
    }

    def __init__(
        self, *, decim: int = 2, max_trials: int = 60, window: float = 1.0
    ) -> None:
        self.decim = decim
        self.max_trials = max_trials
        self.window = window

    def fit_described(
        self, descriptions: list[Description], y: Any = None
    ) -> TrialSignals:
        """Learn which states there are.

        Parameters
        ----------
        descriptions : list of dict
            What `describe` gave for the training participants.
        y : None
            Not used.

        Returns
        -------
        self : TrialSignals
            The fitted transformer.

        Raises
        ------
        ValueError
            If the trials of a state differ in length.
        """
        self._validate_params()
        self.states_ = sorted({state for entry in descriptions for state in entry})
        self.sfreq_ = SFREQ / self.decim
        self.fill_ = {}  # nothing stands for what is missing: it is left out
        for state in self.states_:
            lengths = {e[state].shape[-1] for e in descriptions if state in e}
            if len(lengths) > 1:
                raise ValueError(
                    f"Expected trials of one length in state {state!r}, got "
                    f"{sorted(lengths)} samples at {self.sfreq_:g} Hz; crop all epochs "
                    "of a state to the same length."
                )
        return self

    def transform_described(
        self, descriptions: list[Description]
    ) -> list[dict[str, NDArray[np.float16]]]:
        """Give the trials of the states seen in `fit`.

        Parameters
        ----------
        descriptions : list of dict
            What `describe` gave.

        Returns
        -------
        trials : list of dict
            For each participant, from state to an array of shape (n_trials, 192,
            n_times), in pT.
        """
        return [
            {state: trials for state, trials in entry.items() if state in self.states_}
            for entry in descriptions
        ]

    def set_output(self, *, transform: str | None = None) -> TrialSignals:
        """Leave the output as it is: trials are no table.

        Parameters
        ----------
        transform : str | None
            Not used.

        Returns
        -------
        self : TrialSignals
            The transformer.
        """
        return self

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Give the names of the states, which the dicts of trials have as keys.

        Parameters
        ----------
        input_features : None
            Not used; here for scikit-learn.

        Returns
        -------
        names : ndarray of str, shape (n_states,)
            The states seen in `fit`.
        """
        check_is_fitted(self, "states_")
        return np.array(self.states_, dtype=object)

    def _describe_state(self, trials: Trials) -> NDArray[np.float16]:
        data = trials.data
        if len(data) > self.max_trials:
            spread = np.linspace(0, len(data) - 1, self.max_trials)
            data = data[spread.round().astype(int)]
        n = data.shape[-1] // self.decim * self.decim
        shape = (*data.shape[:-1], n // self.decim, self.decim)
        return (data[..., :n].reshape(shape).mean(-1) / _UNIT).astype(np.float16)
