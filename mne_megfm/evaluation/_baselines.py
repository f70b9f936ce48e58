"""Baselines: features of participants without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..sensors import canonical_array, canonical_kernel
from ..utils.extras import needs_extra
from ._participant_features import (
    PROJECTIONS,
    SFREQ,
    ParticipantFeatures,
    StateFeatures,
    Trials,
    decimate,
    trials_by_state,
)

N_SENSORS = 192  # of the canonical array
_PICOTESLA = 1e-12


@lru_cache
def leading_fields(rank: int) -> NDArray[np.float64]:
    """Find the spatial patterns that sources in the head can make best.

    Leading eigenvectors of the Gram matrix of the canonical lead fields: they depend
    on no data.
    """
    _, vectors = np.linalg.eigh(canonical_kernel())
    return np.ascontiguousarray(vectors[:, : -rank - 1 : -1].T)


def import_pyriemann() -> tuple[type, type]:
    """Give pyRiemann's estimators of covariances and of their tangent space."""
    with needs_extra("compare", "covariances in the tangent space"):
        from pyriemann.estimation import Covariances
        from pyriemann.tangentspace import TangentSpace
    return Covariances, TangentSpace


class CovarianceTangent(ParticipantFeatures):
    """Covariance between virtual sensors, in the tangent space of their mean.

    Parameters
    ----------
    rank : int
        Spatial patterns that the canonical sensors are reduced to. Covariances of
        recordings with fewer good channels than that would be singular.
    metric : str
        Metric of the tangent space, as ``"riemann"`` or ``"logeuclid"``, see pyRiemann.
    duration : float
        Length of a row of a Raw (s).

    Attributes
    ----------
    states_ : list of str
        States of the training participants, sorted.
    fill_ : dict
        For each state the mean covariance of the training participants: the reference
        of the tangent space, and what stands for a missing state.

    Notes
    -----
    Each trial or window is taken without its mean. The covariance over all samples
    of a state is shrunk by an oracle-approximating amount (pyRiemann's ``"oas"``), and
    vectors of the tangent space are computed as in [1]_.

    References
    ----------
    .. [1] Barachant A, Bonnet S, Congedo M, Jutten C (2012). Multiclass brain-computer
       interface classification by Riemannian geometry. IEEE Trans Biomed Eng
       59:920-928. doi:10.1109/TBME.2011.2172210

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import CovarianceTangent
    >>> cohort = simulate_cohort(2, states=("rest",), n_epochs=3, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> CovarianceTangent(rank=4).fit_transform(X).shape  # 4 x 5 / 2, 1 for missing
    (2, 11)
    """

    _parameter_constraints: dict = {
        "rank": [Interval(Integral, 1, N_SENSORS, closed="both")],
        "metric": [str],
        **ParticipantFeatures._parameter_constraints,
    }

    def __init__(
        self, rank: int = 24, *, metric: str = "riemann", duration: float = 1.0
    ) -> None:
        self.rank = rank
        self.metric = metric
        self.duration = duration

    def _state_features(self, trials: Trials) -> NDArray[np.floating]:
        data = leading_fields(self.rank) @ (trials.data / _PICOTESLA)
        data = data - data.mean(-1, keepdims=True)
        joined = np.concatenate(list(data), axis=-1)
        covariances, _ = import_pyriemann()
        return covariances("oas").transform(joined[None])[0].ravel()

    def _fit_state(
        self, state: str, known: list[NDArray[np.floating]]
    ) -> NDArray[np.floating]:
        _, tangent_space = import_pyriemann()
        tangent = tangent_space(metric=self.metric).fit(self._matrices(known))
        return tangent.reference_.ravel()

    def _columns(
        self, state: str, values: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        _, tangent_space = import_pyriemann()
        # the mean of one matrix is that matrix
        reference = self._matrices([self.fill_[state]])
        tangent = tangent_space(metric=self.metric).fit(reference)
        return tangent.transform(self._matrices(values))

    def _names(self, n_values: int) -> list[str]:
        rows, columns = np.triu_indices(self.rank)
        return [f"pattern{i:02d}_pattern{j:02d}" for i, j in zip(rows, columns)]  # noqa: B905

    def _matrices(self, values: Sequence[NDArray]) -> NDArray[np.floating]:
        return np.reshape(values, (len(values), self.rank, self.rank))


#: Edges of the bands in Hz; the upper edge belongs to the next band.
BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 45.0),
}


class BandPower(ParticipantFeatures):
    """Log power in frequency bands, by region of the canonical array.

    Parameters
    ----------
    bands : dict | None
        From name to edges in Hz; None for delta (1-4), theta (4-8), alpha (8-13),
        beta (13-30) and gamma (30-45).
    duration : float
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
        **ParticipantFeatures._parameter_constraints,
    }

    def __init__(
        self,
        bands: Mapping[str, tuple[float, float]] | None = None,
        *,
        duration: float = 1.0,
    ) -> None:
        self.bands = bands
        self.duration = duration

    def _state_features(self, trials: Trials) -> NDArray[np.floating]:
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


def early_middle_late(data: NDArray[np.floating]) -> NDArray[np.floating]:
    """Average the first, second and last third of trials, shape (3, ...).

    A third without trials, since there are fewer than three, is the average of all.
    """
    thirds = np.array_split(data, 3)
    return np.stack([(third if len(third) else data).mean(0) for third in thirds])


class EvokedFeatures(ParticipantFeatures):
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
    duration : float
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
    >>> from mne_megfm.evaluation import EvokedFeatures
    >>> cohort = simulate_cohort(2, states=("auditory",), n_epochs=3, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> EvokedFeatures(decim=10).fit_transform(X).shape
    (2, 4801)
    """

    _parameter_constraints: dict = {
        "kind": [StrOptions({"evoked", "thirds", "epochs"})],
        "space": [StrOptions(set(PROJECTIONS))],
        "decim": [Interval(Integral, 1, None, closed="left")],
        **ParticipantFeatures._parameter_constraints,
    }

    def __init__(
        self,
        kind: str = "evoked",
        *,
        space: str = "canonical",
        decim: int = 2,
        duration: float = 1.0,
    ) -> None:
        self.kind = kind
        self.space = space
        self.decim = decim
        self.duration = duration

    @property
    def _space(self) -> str:
        return self.space

    def _state_features(self, trials: Trials) -> NDArray[np.floating] | None:
        data = trials.data
        if self.kind == "epochs":
            parts = np.stack([data.mean(0), data.std(0)])
        elif not trials.locked:
            return None
        elif self.kind == "thirds":
            parts = early_middle_late(data)
        else:
            parts = data.mean(0, keepdims=True)
        return decimate(parts, self.decim).ravel()

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


#: The features of each state, in this order.
DYNAMICS = (
    "early",
    "middle",
    "late",
    "slope",
    "variability",
    "trial_amplitude",
    "amplitude",
)


def single_trial_amplitudes(
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
    amplitudes : ndarray, shape (n_trials,)
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


class HabituationFeatures(ParticipantFeatures):
    """Amplitude of the response over trials: mean, habituation, variability.

    Each trial is projected on the participant's own average response, so that seven
    numbers a state say how large the response is and how it changes.

    Parameters
    ----------
    rank : int
        Spatial patterns that the canonical sensors are reduced to.
    shrinkage : float
        What is added to the noise covariance, as a share of its mean eigenvalue.
    duration : float
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
    mean, if they begin with the event). The amplitude of a trial is its inner product
    with the average of all *other* trials, scaled to length 1, with noise whitened
    across channels. For each state there are: mean amplitude of the early, middle and
    late third and the slope over all trials, relative to the mean amplitude
    (habituation); standard deviation of the amplitude, relative to the mean; logarithm
    of the mean amplitude, in units of the noise; logarithm of the RMS of the average
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
    >>> from mne_megfm.evaluation import HabituationFeatures
    >>> cohort = simulate_cohort(2, states=("auditory",), n_epochs=9, random_state=0)
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> HabituationFeatures().fit_transform(X).shape
    (2, 8)
    """

    _parameter_constraints: dict = {
        "rank": [Interval(Integral, 1, N_SENSORS, closed="both")],
        "shrinkage": [Interval(Real, 0, None, closed="neither")],
        **ParticipantFeatures._parameter_constraints,
    }

    def __init__(
        self, rank: int = 24, *, shrinkage: float = 0.05, duration: float = 1.0
    ) -> None:
        self.rank = rank
        self.shrinkage = shrinkage
        self.duration = duration

    def _state_features(self, trials: Trials) -> NDArray[np.floating] | None:
        n_trials, _, n_times = trials.data.shape
        if not trials.locked or n_trials < 3:
            return None
        after = trials.tmin + np.arange(n_times) / SFREQ >= -1e-6
        if not after.any():
            return None
        data = leading_fields(self.rank) @ (trials.data.astype(float) / _PICOTESLA)
        before = slice(None) if after.all() else ~after
        data -= data[..., before].mean(-1, keepdims=True)
        amplitudes = single_trial_amplitudes(data, after, self.shrinkage)
        spread = amplitudes.std()
        size = np.sqrt(np.mean(data[..., after].mean(0) ** 2))
        scale = max(abs(amplitudes.mean()), spread / np.sqrt(n_trials))
        slope = np.polyfit(np.linspace(-0.5, 0.5, n_trials), amplitudes, 1)[0]
        relative = np.array([*early_middle_late(amplitudes), slope, spread]) / scale
        return np.append(relative, np.log([scale, size]))

    def _names(self, n_values: int) -> list[str]:
        return list(DYNAMICS)


#: Averages are taken until so many seconds after the event.
_UNTIL = 0.6


#: Edges of the bands in Hz: 1 Hz wide at first, wider at higher frequencies.
BAND_EDGES = np.unique(np.geomspace(2, 101, 25).round().astype(int))


# far below what any sensor measures (pT²/Hz): what filters leave has a logarithm
_FLOOR = 1e-12


class ResponseAverages(ParticipantFeatures):
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
        **ParticipantFeatures._parameter_constraints,
    }

    def __init__(self, rank: int = 48, *, duration: float = 1.0) -> None:
        self.rank = rank
        self.duration = duration

    def _state_features(self, trials: Trials) -> NDArray[np.floating] | None:
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


class LogSpectra(ParticipantFeatures):
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

    def _state_features(self, trials: Trials) -> NDArray[np.floating]:
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


class KernelSum(ParticipantFeatures):
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

    def _new_parts(self) -> dict[str, ParticipantFeatures]:
        return {
            "averages": ResponseAverages(self.rank, duration=self.duration),
            "spectra": LogSpectra(duration=self.duration),
            "dynamics": HabituationFeatures(duration=self.duration),
        }

    def _read_participants(self, X: Any) -> list[dict[str, StateFeatures]]:
        """Extract from each participant, from part to state to a vector."""
        people = []
        for trials in trials_by_state(self._recordings(X)):
            found = {}
            for name, part in self._new_parts().items():
                by_state = {s: part._state_features(t) for s, t in trials.items()}
                found[name] = {s: v for s, v in by_state.items() if v is not None}
            people.append(found)
        return people

    def _fit_extracted(
        self, extracted: list[dict[str, StateFeatures]], y: Any = None
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
        self, extracted: list[dict[str, StateFeatures]]
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
