"""The original signals as features."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions

from ..sensors import canonical_array
from ._description import ParticipantDescriber
from ._signals import PROJECTIONS, Trials


def early_middle_late(data: NDArray[np.floating]) -> NDArray[np.floating]:
    """Average the first, second and last third of trials, shape (3, ...).

    A third without trials, since there are fewer than three, is the average of all.
    """
    thirds = np.array_split(data, 3)
    return np.stack([(third if len(third) else data).mean(0) for third in thirds])


class OriginalSignals(ParticipantDescriber):
    """The MEG signals themselves, averaged over trials.

    Parameters
    ----------
    kind : {"evoked", "thirds", "epochs"}
        ``"evoked"``: the average of the trials of a state. ``"thirds"``: averages of
        its early, middle and late trials. ``"epochs"``: mean and standard deviation
        over trials, of recordings without events, too.
    space : {"canonical", "sensors"}
        The canonical array, or the recordings' own sensors, for participants
        recorded on the same array; bad channels are filled in.
    decim : int
        So many samples, of 4 ms, are averaged to one.
    window : float
        Length of a row of a Raw (s).

    Attributes
    ----------
    states_ : list of str
        States of the training participants, sorted.
    fill_ : dict
        What stands for each state where it is missing.

    See Also
    --------
    mne_megfm.CanonicalSensors : The same mapping for single recordings.

    Notes
    -----
    A Raw, and states named rest, have no events and are used by ``kind="epochs"``
    alone.

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import OriginalSignals
    >>> cohort = simulate_cohort(2, states=("auditory",), n_epochs=3, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> OriginalSignals(decim=10).fit_transform(X).shape
    (2, 4801)
    """

    _parameter_constraints: dict = {
        "kind": [StrOptions({"evoked", "thirds", "epochs"})],
        "space": [StrOptions(set(PROJECTIONS))],
        "decim": [Interval(Integral, 1, None, closed="left")],
        **ParticipantDescriber._parameter_constraints,
    }

    def __init__(
        self,
        kind: str = "evoked",
        *,
        space: str = "canonical",
        decim: int = 2,
        window: float = 1.0,
    ) -> None:
        self.kind = kind
        self.space = space
        self.decim = decim
        self.window = window

    @property
    def _space(self) -> str:
        return self.space

    def _describe_state(self, trials: Trials) -> NDArray[np.floating] | None:
        data = trials.data
        if self.kind == "epochs":
            parts = np.stack([data.mean(0), data.std(0)])
        elif not trials.locked:
            return None
        elif self.kind == "thirds":
            parts = early_middle_late(data)
        else:
            parts = data.mean(0, keepdims=True)
        n = parts.shape[-1] // self.decim * self.decim
        shape = (*parts.shape[:-1], n // self.decim, self.decim)
        return parts[..., :n].reshape(shape).mean(-1).ravel()

    def _names(self, n_values: int) -> list[str]:
        parts = {
            "evoked": ["average"],
            "thirds": ["early", "middle", "late"],
            "epochs": ["mean", "sd"],
        }[self.kind]
        n_of_part = n_values // len(parts)
        if self.space != "canonical":  # whose sensors they are is not known here
            return [f"{part}_{i:05d}" for part in parts for i in range(n_of_part)]
        sensors = canonical_array().ch_names
        return [
            f"{part}_{sensor}_t{step:03d}"
            for part in parts
            for sensor in sensors
            for step in range(n_of_part // len(sensors))
        ]
