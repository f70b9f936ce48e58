"""Band power of participants."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from ..sensors import canonical_array
from ._description import ParticipantDescriber
from ._signals import SFREQ, Trials

#: Edges of the bands in Hz; the upper edge belongs to the next band.
BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}


class BandPower(ParticipantDescriber):
    """Log power in frequency bands, by region of the canonical array.

    Parameters
    ----------
    bands : dict | None
        From name to edges in Hz; None for delta (1-4), theta (4-8), alpha (8-13),
        beta (13-30) and gamma (30-45).
    window : float
        Length of a row of a Raw (s).

    Attributes
    ----------
    states_ : list of str
        States of the training participants, sorted.
    fill_ : dict
        What stands for each state where it is missing.

    Notes
    -----
    Spectra are those of Welch [1]_ over trials or windows: Hann windows of one second
    at most, each without its mean. Power (T²) is averaged over the 8 virtual
    magnetometers of a region and over trials before the logarithm.

    References
    ----------
    .. [1] Welch P (1967). The use of fast Fourier transform for the estimation of
       power spectra. IEEE Trans Audio Electroacoust 15:70-73.

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import BandPower
    >>> cohort = simulate_cohort(2, states=("rest",), n_epochs=3, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> BandPower().fit_transform(X).shape  # 24 regions x 5 bands, 1 for missing
    (2, 121)
    """

    _parameter_constraints: dict = {
        "bands": [Mapping, None],
        **ParticipantDescriber._parameter_constraints,
    }

    def __init__(
        self,
        bands: Mapping[str, tuple[float, float]] | None = None,
        *,
        window: float = 1.0,
    ) -> None:
        self.bands = bands
        self.window = window

    def _describe_state(self, trials: Trials) -> NDArray[np.floating]:
        bands = BANDS if self.bands is None else self.bands
        n_trials, n_sensors, n_times = trials.data.shape
        freqs, power = welch(trials.data, SFREQ, nperseg=min(int(SFREQ), n_times))
        shape = (n_trials, canonical_array().n_regions, -1, len(freqs))
        power = power.reshape(shape).mean((0, 2), dtype=np.float64)
        columns = []
        for name, (low, high) in bands.items():
            inside = (freqs >= low) & (freqs < high)
            if not inside.any():
                raise ValueError(
                    f"Expected bands that hold a frequency of the spectrum, got {name} "
                    f"from {low:g} to {high:g} Hz with frequencies {freqs[1]:g} Hz "
                    "apart; use a wider band or longer epochs."
                )
            columns.append(power[:, inside].mean(1))
        return np.log(np.concatenate(columns))

    def _names(self, n_values: int) -> list[str]:
        bands = BANDS if self.bands is None else self.bands
        return [
            f"region{region:02d}_{name}"
            for name in bands
            for region in range(canonical_array().n_regions)
        ]
