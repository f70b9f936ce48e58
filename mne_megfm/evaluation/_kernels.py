"""A strong baseline: averages, spectra and trial dynamics with equal weight."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ..sensors import canonical_array
from ._baselines import N_SENSORS, HabituationFeatures, leading_fields
from ._participant_features import (
    SFREQ,
    Description,
    ParticipantDescriber,
    Trials,
    trials_by_state,
)

_PICOTESLA = 1e-12
#: Averages are taken until so many seconds after the event.
_UNTIL = 0.6
#: Edges of the bands in Hz: 1 Hz wide at first, wider at higher frequencies.
BAND_EDGES = np.unique(np.geomspace(2, 101, 25).round().astype(int))
# far below what any sensor measures (pT²/Hz): what filters leave has a logarithm
_FLOOR = 1e-12


class ResponseAverages(ParticipantDescriber):
    """Average over trials in the leading spatial components, after the event.

    Parameters
    ----------
    rank : int
        Spatial components that the canonical sensors are reduced to.
    duration : float
        Length of a row of a Raw (s); those are not used.

    Notes
    -----
    From 0 to 600 ms, in pT, relative to the mean before the event (to the mean of the
    average itself, if epochs begin with the event). A Raw, and states named rest, have
    no averages.
    """

    _parameter_constraints: dict = {
        "rank": [Interval(Integral, 1, N_SENSORS, closed="both")],
        **ParticipantDescriber._parameter_constraints,
    }

    def __init__(self, rank: int = 48, *, duration: float = 1.0) -> None:
        self.rank = rank
        self.duration = duration

    def _describe_state(self, trials: Trials) -> NDArray[np.floating] | None:
        times = trials.tmin + np.arange(trials.data.shape[-1]) / SFREQ
        before = times < -1e-6
        after = ~before & (times < _UNTIL - 1e-6)
        if not trials.locked or not after.any():
            return None
        data = leading_fields(self.rank) @ (trials.data / _PICOTESLA).mean(0)
        base = before if before.any() else after
        data = data - data[:, base].mean(1, keepdims=True)
        return data[:, after].ravel()

    def _names(self, n_values: int) -> list[str]:
        n_times = n_values // self.rank
        return [
            f"component{component:02d}_t{step:03d}"
            for component in range(self.rank)
            for step in range(n_times)
        ]


class LogSpectra(ParticipantDescriber):
    """Log power spectra by region, from 2 to 100 Hz.

    Parameters
    ----------
    duration : float
        Length of a row of a Raw (s).

    Notes
    -----
    Spectra are those of Welch over trials or windows, in steps of 1 Hz. Power is
    averaged over trials and over the 8 virtual magnetometers of a region, and its
    logarithm over 21 bands that are 1 Hz wide at 2 Hz and 15 Hz wide at 100 Hz.
    """

    def __init__(self, *, duration: float = 1.0) -> None:
        self.duration = duration

    def _describe_state(self, trials: Trials) -> NDArray[np.floating]:
        data = trials.data / _PICOTESLA
        n_fft = int(SFREQ)
        # shorter trials are padded, so that there is a value each 1 Hz
        freqs, power = welch(
            data, SFREQ, nperseg=min(n_fft, data.shape[-1]), nfft=n_fft
        )
        power = power.mean(0, dtype=np.float64)
        power = power.reshape(canonical_array().n_regions, -1, len(freqs)).mean(1)
        log = np.log(np.maximum(power, _FLOOR))
        bands = [
            log[:, (freqs >= low) & (freqs < high)].mean(1)
            for low, high in zip(BAND_EDGES[:-1], BAND_EDGES[1:], strict=True)
        ]
        return np.stack(bands, 1).ravel()

    def _names(self, n_values: int) -> list[str]:
        return [
            f"region{region:02d}_{low}Hz"
            for region in range(canonical_array().n_regions)
            for low in BAND_EDGES[:-1]
        ]


class KernelSum(ParticipantDescriber):
    """Averages, log spectra and trial dynamics side by side, each with equal weight.

    Each of the three is centred and divided by one number, so that participants of
    training have a mean squared norm of 1 in it. Their inner products are then the sum
    of three linear kernels of the same trace [1]_, whatever the number of columns; a
    linear classifier needs nothing else.

    Parameters
    ----------
    rank : int
        Spatial components of the averages.
    duration : float
        Length of a row of a Raw (s).

    Attributes
    ----------
    states_ : list of str
        States of the training participants, sorted.
    fill_ : dict
        For each part what stands for a missing state.
    parts_ : dict
        From the name of a part (``"averages"``, ``"spectra"``, ``"dynamics"``) to its
        transformer, and the mean and size of its columns in training. A part that no
        training participant has (averages of rest) is not there.

    See Also
    --------
    HabituationFeatures : The trial dynamics.

    References
    ----------
    .. [1] Gönen M, Alpaydın E (2011). Multiple kernel learning algorithms. J Mach
       Learn Res 12:2211-2268, section 3.1 (the unweighted sum).
    """

    _parameter_constraints: dict = ResponseAverages._parameter_constraints

    def __init__(self, rank: int = 48, *, duration: float = 1.0) -> None:
        self.rank = rank
        self.duration = duration

    def _new_parts(self) -> dict[str, ParticipantDescriber]:
        return {
            "averages": ResponseAverages(self.rank, duration=self.duration),
            "spectra": LogSpectra(duration=self.duration),
            "dynamics": HabituationFeatures(duration=self.duration),
        }

    def _read_participants(self, X: Any) -> list[dict[str, Description]]:
        """Describe each participant, from part to state to a vector."""
        people = []
        for trials in trials_by_state(self._recordings(X)):
            found = {}
            for name, part in self._new_parts().items():
                by_state = {s: part._describe_state(t) for s, t in trials.items()}
                found[name] = {s: v for s, v in by_state.items() if v is not None}
            people.append(found)
        return people

    def _fit_extracted(
        self, extracted: list[dict[str, Description]], y: Any = None
    ) -> KernelSum:
        """Learn states, what fills a missing one, and the size of each part."""
        self._validate_params()
        self.parts_, self.fill_ = {}, {}
        for name, part in self._new_parts().items():
            own = [entry[name] for entry in extracted]
            if not any(own):
                continue
            columns = part._fit_extracted(own)._transform_extracted(own)
            mean = columns.mean(0)
            size = np.sqrt(np.square(columns - mean).sum(1).mean())
            self.parts_[name] = part, mean, size if size > 0 else 1.0
            self.fill_[name] = part.fill_
        parts = [part for part, _, _ in self.parts_.values()]
        self.states_ = sorted({state for part in parts for state in part.states_})
        return self

    def _transform_extracted(
        self, extracted: list[dict[str, Description]]
    ) -> NDArray[np.float64]:
        check_is_fitted(self, "parts_")
        blocks = [
            (part._transform_extracted([entry[name] for entry in extracted]) - mean)
            / size
            for name, (part, mean, size) in self.parts_.items()
        ]
        return np.hstack(blocks)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the features.

        Parameters
        ----------
        input_features : None
            Not used; here for scikit-learn.

        Returns
        -------
        names : ndarray of str, shape (n_features,)
            For each part ``<part>_<state>_<name>``, and ``<part>_<state>_missing``.
        """
        check_is_fitted(self, "parts_")
        return np.array(
            [
                f"{name}_{feature}"
                for name, (part, _, _) in self.parts_.items()
                for feature in part.get_feature_names_out()
            ],
            dtype=object,
        )
