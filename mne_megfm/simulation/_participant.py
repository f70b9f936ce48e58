"""A simulated participant: settings, traits, artefacts and noise, recordings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from numbers import Integral, Real

import mne
import numpy as np
from scipy import fft
from scipy.signal import lfilter

from ._brain import (
    bursts,
    filter_response,
    narrowband,
    power_law,
    slow_rows,
    spectral_noise,
)
from ._forward import (
    NOISE_DENSITY,
    coil_average,
    coil_kind,
    magnetic_dipole,
    sensor_scale,
    uniform_and_gradients,
)

STATES = ("rest", "auditory", "somatosensory")
EVENT_ID = {name: ii + 1 for ii, name in enumerate(STATES)}
LABELS = ("control", "migraine")

# Filters that laboratories use, in Hz; none is the most frequent.
_FILTERS = (
    (None, None),
    (None, None),
    (None, None),
    (None, 80.0),
    (0.1, None),
    (0.1, 80.0),
    (0.3, 100.0),
    (0.5, None),
    (0.5, 40.0),
    (1.0, None),
    (1.0, 45.0),
    (1.0, 100.0),
)


def check_label(label: str) -> None:
    """Raise if a label is not known."""
    if label not in LABELS:
        raise ValueError(f"Expected a label, one of {LABELS}, got {label!r}.")


@dataclass
class Settings:
    """How recordings are made; see `simulate_cohort` for the meaning."""

    states: tuple[str, ...] = STATES
    n_epochs: int | dict = 40
    epoch_duration: float = 1.0
    tmin: float = -0.2
    sfreq: float = 250.0
    isi_jitter: float = 0.15
    train_length: int = 10
    train_gap: float = 1.0
    raw_states: tuple[str, ...] = ()
    filters: object = None
    line_freq: object = "random"
    brain: float = 1.0
    noise: float = 1.0
    artifacts: float = 1.0
    head_pos: object = "random"
    n_bads: int = 0
    n_times: int = field(init=False)
    n_before: int = field(init=False)

    @classmethod
    def from_kwargs(cls, kwargs: dict) -> Settings:
        """Make settings from keyword arguments."""
        known = [f.name for f in fields(cls) if f.init]
        for name in kwargs:
            if name not in known:
                raise TypeError(
                    f"Expected settings among {', '.join(known)}, got {name!r}."
                )
        return cls(**kwargs)

    def __post_init__(self):
        self.states = _check_states("states", self.states)
        self.raw_states = _check_states("raw_states", self.raw_states)
        if not self.states:
            raise ValueError(f"Expected at least one state of {STATES}, got none.")
        for name in ("sfreq", "epoch_duration"):
            _check_number(name, getattr(self, name), above=0.0)
        for name in ("isi_jitter", "train_gap", "brain", "noise", "artifacts"):
            _check_number(name, getattr(self, name), least=0.0)
        _check_number("tmin", self.tmin)
        if self.sfreq < 100.0:
            raise ValueError(
                f"Expected sfreq of at least 100 Hz, got {self.sfreq}; simulate at a "
                "higher rate and resample."
            )
        if not isinstance(self.n_epochs, dict):
            self.n_epochs = dict.fromkeys(self.states, self.n_epochs)
        for state in self.states:
            _check_count(f"n_epochs of {state}", self.n_epochs.get(state), 1)
        _check_count("train_length", self.train_length, 1)
        _check_count("n_bads", self.n_bads, 0)
        self.n_times = int(round(self.epoch_duration * self.sfreq))
        self.n_before = int(round(-self.tmin * self.sfreq))
        if not 0 <= self.n_before < self.n_times:
            raise ValueError(
                "Expected tmin between minus epoch_duration and 0, so that the "
                f"stimulus is in the epoch, got {self.tmin} with epochs of "
                f"{self.epoch_duration} s."
            )
        self._check_filters()
        line = self.line_freq
        if line is not None and not (isinstance(line, str) and line == "random"):
            _check_number("line_freq", line, above=0.0)

    def _check_filters(self):
        if self.filters is None or self.filters == "random":
            return
        if not isinstance(self.filters, (tuple, list)) or len(self.filters) != 2:
            raise ValueError(
                "Expected filters to be None, 'random' or a pair (l_freq, h_freq), "
                f"got {self.filters!r}."
            )
        low, high = self.filters = tuple(self.filters)
        for name, value in (("l_freq", low), ("h_freq", high)):
            if value is not None:
                _check_number(name, value, above=0.0)
        if high is not None and not (low or 0.0) < high < self.sfreq / 2:
            raise ValueError(
                "Expected h_freq above l_freq and below half of sfreq, got "
                f"{self.filters} at {self.sfreq} Hz."
            )

    def draw_filters(self, rng: np.random.Generator) -> tuple:
        """Return (l_freq, h_freq) of a participant's recordings."""
        low, high = _FILTERS[rng.integers(len(_FILTERS))]
        if self.filters is None:
            return None, None
        if self.filters != "random":
            return self.filters
        return low, (None if high is None or high > 0.45 * self.sfreq else high)

    def draw_line(self, rng: np.random.Generator) -> float | None:
        """Return the mains frequency that a participant's recordings show."""
        visible, first = rng.random() < 0.8, rng.random() < 0.5
        if self.line_freq != "random":
            return self.line_freq
        return (50.0 if first else 60.0) if visible else None


def _check_states(name: str, states) -> tuple[str, ...]:
    states = (states,) if isinstance(states, str) else tuple(states)
    for state in states:
        if state not in STATES:
            raise ValueError(
                f"Expected {name} among {', '.join(STATES)}, got {state!r}."
            )
    return tuple(state for state in STATES if state in states)


def _check_number(name: str, value, *, least=-np.inf, above=-np.inf) -> None:
    good = isinstance(value, Real) and np.isfinite(value)
    if not good or value < least or value <= above:
        limit = f" above {above:g}" if above > -np.inf else ""
        limit = f" of at least {least:g}" if least > -np.inf else limit
        raise ValueError(f"Expected {name} to be a number{limit}, got {value!r}.")


def _check_count(name: str, value, least: int) -> None:
    if not isinstance(value, Integral) or value < least:
        raise ValueError(
            f"Expected {name} to be an integer of at least {least}, got {value!r}."
        )


# Mean and spread of each trait between persons. Traits in LOG_TRAITS are factors:
# mean and spread are those of their logarithm.
TRAITS = {
    "habituation": (0.35, 0.20),
    "adaptation": (0.35, 0.12),
    "amplitude": (0.0, 0.35),
    "theta": (0.0, 0.40),
    "alpha_frequency": (10.2, 0.9),
    "beta": (0.0, 0.35),
}
LOG_TRAITS = ("amplitude", "theta", "beta")


@dataclass(frozen=True)
class MigraineEffects:
    """Shifts of patients' traits at ``effect_size=1``.

    Each effect is a shift of the mean of a trait in units of the standard
    deviation of that trait between persons (Cohen's d of the trait). Persons
    differ more from one another than the groups do, and what a recording shows of
    a trait is diluted further by noise. The directions are taken from the papers
    named; the sizes are choices, near the upper end of what is reported.

    Parameters
    ----------
    habituation : float
        Decline of responses over a run (control: by 30 % of the log-amplitude,
        0.35 ± 0.20). Negative: less habituation between attacks [1]_, [2]_.
    adaptation : float
        Decline of responses within a train of stimuli (0.35 ± 0.12). Negative:
        less gating of repeated stimuli [3]_.
    amplitude : float
        Size of the responses (log-factor, ± 0.35). Positive: larger responses,
        as of SI to median-nerve stimuli in chronic migraine [4]_ (in episodic
        migraine between attacks the same study found smaller ones at first) and
        of auditory cortex to loud sounds [2]_.
    theta : float
        Amplitude of theta rhythms (log-factor, ± 0.40). Positive: more theta
        power between attacks, by a meta-analysis of 27 studies [5]_.
    alpha_frequency : float
        Peak frequency of alpha (10.2 ± 0.9 Hz). Negative: slower with longer
        disease [6]_ (the same study found no difference of the group means
        between attacks, so that this effect is the least certain).
    beta : float
        Amplitude of beta rhythms (log-factor, ± 0.35). Negative: lower beta
        power between attacks [7]_, lower beta connectivity [5]_.

    References
    ----------
    .. [1] Coppola G, Di Lorenzo C, Schoenen J, Pierelli F (2013). Habituation and
       sensitization in primary headaches. J Headache Pain 14:65.
       doi:10.1186/1129-2377-14-65
    .. [2] Ambrosini A, Rossi P, De Pasqua V, Pierelli F, Schoenen J (2003). Lack
       of habituation causes high intensity dependence of auditory evoked cortical
       potentials in migraine. Brain 126:2009-2015. doi:10.1093/brain/awg206
    .. [3] Ambrosini A, De Pasqua V, Afra J, Sandor PS, Schoenen J (2001). Reduced
       gating of middle-latency auditory evoked potentials (P50) in migraine
       patients. Neurosci Lett 306:132-134. doi:10.1016/S0304-3940(01)01871-7
    .. [4] Coppola G, Iacovelli E, Bracaglia M, Serrao M, Di Lorenzo C, Pierelli F
       (2013). Electrophysiological correlates of episodic migraine chronification:
       evidence for thalamic involvement. J Headache Pain 14:76.
       doi:10.1186/1129-2377-14-76
    .. [5] Resting-state electroencephalography and magnetoencephalography in
       migraine - a systematic review and meta-analysis (2024). J Headache Pain
       25:147. doi:10.1186/s10194-024-01857-5
    .. [6] Bjørk MH, Stovner LJ, Nilsen BM, Stjern M, Hagen K, Sand T (2009). The
       occipital alpha rhythm related to the "migraine cycle" and headache burden.
       Clin Neurophysiol 120:464-471. doi:10.1016/j.clinph.2008.11.018
    .. [7] Cao Z, Lin CT, Chuang CH, et al. (2016). Resting-state EEG power and
       coherence vary between migraine phases. J Headache Pain 17:102.
       doi:10.1186/s10194-016-0697-7

    Examples
    --------
    Only the loss of habituation:

    >>> from mne_megfm.simulation import MigraineEffects
    >>> effects = MigraineEffects(
    ...     adaptation=0, amplitude=0, theta=0, alpha_frequency=0, beta=0
    ... )
    >>> effects.habituation
    -0.9
    """

    habituation: float = -0.9
    adaptation: float = -0.8
    amplitude: float = 0.8
    theta: float = 0.8
    alpha_frequency: float = -0.8
    beta: float = -0.8

    def __post_init__(self):
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not isinstance(value, Real) or not np.isfinite(value):
                raise ValueError(
                    f"Expected the effect {entry.name!r} to be a finite number of "
                    f"standard deviations, got {value!r}; use 0 for no effect."
                )


def draw_traits(
    rng: np.random.Generator, label: str, effects: MigraineEffects, effect_size: float
) -> dict[str, float]:
    """Draw a person's traits; a patient's are shifted after the draw.

    The draws are the same whatever the label is, so that with an effect size of 0
    a patient equals the control with the same seed.
    """
    traits = {}
    shifted = float(effect_size) if label == "migraine" else 0.0
    for name, (mean, sd) in TRAITS.items():
        z = float(np.clip(rng.standard_normal(), -2.8, 2.8))
        value = mean + sd * (z + shifted * getattr(effects, name))
        traits[name] = float(np.exp(value)) if name in LOG_TRAITS else value
    return traits


# Places relative to the head's centre, m: eyes, and muscles at temples and neck.
EYES = np.array([[-0.032, 0.078, -0.022], [0.032, 0.078, -0.022]])
MUSCLES = np.array(
    [
        [-0.068, 0.030, -0.010],
        [0.068, 0.030, -0.010],
        [-0.050, -0.060, -0.030],
        [0.050, -0.060, -0.030],
        [0.0, -0.078, -0.020],
    ]
)


# Channels whose noise is drawn together.
_BLOCK = 16


class Surroundings:
    """A person's artefacts and noise, drawn once and used in every state.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    info : mne.Info
        Sensors.
    eye_gain, muscle_gain : array of shape (n_channels, n_positions, 3)
        Lead fields of the places in ``EYES`` and ``MUSCLES``.
    line_freq : None | float
        Mains frequency in Hz.
    noise, artifacts : float
        Factors on sensor noise and on artefacts of the body.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        info: mne.Info,
        eye_gain: np.ndarray,
        muscle_gain: np.ndarray,
        line_freq: float | None,
        noise: float,
        artifacts: float,
    ):
        self.n_channels = len(info["chs"])
        self._draw_heart(rng, info, artifacts)
        self._draw_eyes(rng, eye_gain, artifacts)
        self._draw_muscles(rng, muscle_gain, artifacts)
        self._draw_room(rng, info, line_freq, noise)
        self._draw_sensors(rng, info, noise)

    def _draw_heart(self, rng, info, artifacts):
        # A magnetic dipole in the chest (A m^2), with two axes that turn.
        chest = np.array([0.03, 0.02, -0.36]) + 0.03 * rng.standard_normal(3)
        axes = rng.standard_normal((3, 2))
        axes /= np.linalg.norm(axes, axis=0)
        field = coil_average(info, magnetic_dipole(chest))
        self.heart_gain = field @ axes * _factor(rng, 0.08e-6, 0.7) * artifacts
        self.heart_rate = rng.uniform(0.9, 1.4)

    def _draw_eyes(self, rng, eye_gain, artifacts):
        # Both eyes move together; lids go up and down, gaze sideways (A m).
        lid = np.array([0.15, 0.2, 1.0]) + 0.15 * rng.standard_normal(3)
        gaze = np.array([1.0, 0.1, 0.1]) + 0.15 * rng.standard_normal(3)
        both = eye_gain.sum(axis=1)
        size = np.array([_factor(rng, 60e-9, 0.5), _factor(rng, 20e-9, 0.5)])
        self.eye_gain = np.stack([both @ lid, both @ gaze], axis=1) * size * artifacts
        self.blink_rate = _factor(rng, 0.2, 0.6)
        self.saccade_rate = _factor(rng, 0.5, 0.6)

    def _draw_muscles(self, rng, muscle_gain, artifacts):
        ori = rng.standard_normal((muscle_gain.shape[1], 3))
        ori /= np.linalg.norm(ori, axis=1, keepdims=True)
        tone = np.exp(0.8 * rng.standard_normal(len(ori)))
        gain = np.einsum("cpk,pk->cp", muscle_gain, ori * tone[:, None])
        self.muscle_gain = gain * _factor(rng, 4.2e-9, 0.7) * artifacts
        self.muscle_rate = _factor(rng, 0.06, 0.8)
        self.muscle_low = rng.uniform(18.0, 40.0)

    def _draw_room(self, rng, info, line_freq, noise):
        gain = coil_average(info, uniform_and_gradients)
        # Gradiometers are balanced to some tenths of a percent.
        planar = np.array([coil_kind(ch) == "planar" for ch in info["chs"]])
        error = 0.002 * rng.standard_normal((self.n_channels, 3))
        gain[:, :3] += error * np.where(planar, 1.0 / 0.0168, 1.0)[:, None]
        self.room_gain = gain
        # Uniform fields in T; their gradients a metre or so smaller.
        weight = np.r_[np.ones(3), np.full(5, 1.0 / rng.uniform(0.5, 3.0))][:, None]
        self.drift = _factor(rng, 1.1e-13, 1.0) * noise
        self.drift_mix = rng.standard_normal((8, 8)) * weight
        self.drift_exponent = rng.uniform(1.0, 2.4)
        # Shaking floors and machines: frequency, width, size.
        self.shakes = [
            (rng.uniform(4, 45), rng.uniform(0.3, 4), _factor(rng, 4e-14, 0.9) * noise)
            for _ in range(rng.integers(0, 5))
        ]
        self.shake_mix = rng.standard_normal((8, 5)) * weight
        # Mains and its harmonics, each with a pattern that turns in a cycle.
        self.line_freq = line_freq
        self.line_offset = 0.04 * rng.standard_normal()
        self.line_mix = rng.standard_normal((8, 4, 2)) * weight[..., None]
        harmonics = np.array([1.0, 0.25, 0.4, 0.15])
        self.line_size = _factor(rng, 4e-14, 1.3) * harmonics * noise

    def _draw_sensors(self, rng, info, noise):
        nominal = sensor_scale(info)
        own = np.exp(0.15 * rng.standard_normal(self.n_channels))
        self.density = nominal * own * _factor(rng, 1.0, 0.25) * noise
        self.sensor_drift = _factor(rng, 2.0, 0.8)
        offset = _factor(rng, 2e-13, 1.3) / NOISE_DENSITY["mag"]
        self.offset = offset * nominal * noise

    def spoil(self, rng: np.random.Generator, n_bads: int) -> np.ndarray:
        """Make channels bad: very noisy, or flat but for a little noise."""
        bads = np.sort(rng.choice(self.n_channels, n_bads, replace=False))
        self.density[bads] *= np.where(rng.random(n_bads) < 0.5, 40.0, 1e-3)
        return bads

    def rows(
        self, rng: np.random.Generator, n_times: int, sfreq: float, truth: dict
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Draw gains and time courses of everything but the sensors' own noise.

        Returns
        -------
        gains, rows : list of arrays of shape (n_channels, k) and (k, n_times)
        """
        gains, rows = [], []
        beats = self._heart(rng, n_times, sfreq)
        gains.append(self.heart_gain)
        rows.append(beats[0])
        truth["heartbeats"] = beats[1] / sfreq
        eyes, blinks, saccades = self._eyes(rng, n_times, sfreq)
        gains.append(self.eye_gain)
        rows.append(eyes)
        truth["blinks"], truth["saccades"] = blinks / sfreq, saccades / sfreq
        muscle = self._muscle(rng, n_times, sfreq)
        gains.append(self.muscle_gain)
        rows.append(muscle)
        freqs = fft.rfftfreq(n_times, 1.0 / sfreq)
        amp = power_law(freqs, self.drift_exponent, 0.1, band=(0.1, 10.0))
        gains.append(self.room_gain @ self.drift_mix * self.drift)
        rows.append(spectral_noise(rng, amp, n_times, 8))
        for ii, (freq, width, size) in enumerate(self.shakes):
            if freq >= 0.45 * sfreq:
                continue
            gains.append(self.room_gain @ self.shake_mix[:, ii : ii + 1] * size)
            rows.append(narrowband(rng, freq, width, n_times, sfreq).real[None])
        if self.line_freq is not None:
            self._line(rng, n_times, sfreq, gains, rows)
        return gains, rows

    def _heart(self, rng, n_times, sfreq):
        n_beats = int(n_times / sfreq * self.heart_rate) + 3
        gaps = (1.0 + 0.05 * rng.standard_normal(n_beats)) / self.heart_rate
        beats = np.cumsum(gaps) - rng.uniform(0.3, 1.0) / self.heart_rate
        out = np.zeros((2, n_times), np.float32)
        # P, Q, R, S and T waves: delay (s), width (s), height on the two axes.
        waves = (
            (-0.17, 0.025, 0.10, 0.05),
            (-0.028, 0.009, -0.12, 0.0),
            (0.0, 0.011, 1.0, 0.15),
            (0.030, 0.010, -0.25, 0.1),
            (0.27, 0.050, 0.15, 0.30),
        )
        span = np.arange(int(-0.3 * sfreq), int(0.5 * sfreq))
        shape = np.zeros((2, len(span)))
        for delay, width, one, two in waves:
            bump = np.exp(-0.5 * ((span / sfreq - delay) / width) ** 2)
            shape += np.array([one, two])[:, None] * bump
        centres = np.round(beats * sfreq).astype(int)
        idx = centres[:, None] + span[None]
        ok = (idx >= 0) & (idx < n_times)
        for axis in range(2):
            values = np.broadcast_to(shape[axis], idx.shape)
            np.add.at(out[axis], idx[ok], values[ok].astype(np.float32))
        return out, centres[(centres >= 0) & (centres < n_times)]

    def _eyes(self, rng, n_times, sfreq):
        out = np.zeros((2, n_times), np.float32)
        out[0], blinks = bursts(rng, self.blink_rate, (0.10, 0.25), n_times, sfreq)
        saccades = np.sort(
            rng.integers(0, n_times, rng.poisson(self.saccade_rate * n_times / sfreq))
        )
        np.add.at(out[1], saccades, 1.5 * rng.standard_normal(len(saccades)))
        # Gaze jumps and drifts back to the middle.
        out[1] = _leaky_steps(out[1], decay=np.exp(-1.0 / (2.0 * sfreq)))
        return out, blinks, saccades

    def _muscle(self, rng, n_times, sfreq):
        freqs = fft.rfftfreq(n_times, 1.0 / sfreq)
        amp = filter_response(freqs, self.muscle_low, 110.0)
        amp /= np.sqrt(np.sum(amp**2))
        n_rows = self.muscle_gain.shape[1]
        rows = spectral_noise(rng, amp, n_times, n_rows)
        for row in rows:
            # Some tone all the time, and bursts when jaw or neck move.
            active, _ = bursts(rng, self.muscle_rate, (0.1, 1.0), n_times, sfreq)
            row *= 0.15 + 4.0 * active
        return rows

    def _line(self, rng, n_times, sfreq, gains, rows):
        t = np.arange(n_times) / sfreq
        base = self.line_freq + self.line_offset
        for ii, size in enumerate(self.line_size):
            freq = base * (ii + 1)
            if freq >= 0.48 * sfreq:
                break
            size = size * np.exp(0.1 * rng.standard_normal())
            phase = 2 * np.pi * (freq * t + rng.random())
            rows.append(np.stack([np.cos(phase), np.sin(phase)]).astype(np.float32))
            gains.append(self.room_gain @ self.line_mix[:, ii] * size)

    def add_sensor_noise(
        self,
        rng: np.random.Generator,
        data: np.ndarray,
        sfreq: float,
        filters: tuple,
    ) -> None:
        """Add each sensor's own noise, drift and offset to `data`, in place.

        Parameters
        ----------
        data : array of shape (n_channels, n_times), float32
            The fields so far.
        filters : tuple of (l_freq, h_freq)
            Filters that the recording went through.
        """
        n_times = data.shape[1]
        l_freq, h_freq = filters
        sd = (self.density * np.sqrt(sfreq / 2.0)).astype(np.float32)[:, None]
        offset = (self.offset * rng.standard_normal(self.n_channels))[:, None]
        step = max(int(sfreq // 2), 1)
        # A few channels at a time stay in the processor's cache.
        for start in range(0, len(data), _BLOCK):
            part = slice(start, start + _BLOCK)
            block, scale = data[part], sd[part]
            if h_freq is None:
                white = rng.standard_normal(block.shape, dtype=np.float32)
            else:
                n_fft = fft.next_fast_len(n_times, real=True)
                freqs = fft.rfftfreq(n_fft, 1.0 / sfreq)
                amp = filter_response(freqs, l_freq, h_freq) / np.sqrt(n_fft / 2.0)
                white = spectral_noise(rng, amp, n_fft, len(block))[:, :n_times]
            if l_freq is None:
                drift = slow_rows(rng, len(block), n_times, step, walk=True)
                drift *= np.float32(0.3 * self.sensor_drift)
                white += drift
            white *= scale
            block += white
            if l_freq is None:
                block += offset[part].astype(np.float32)


def _factor(rng: np.random.Generator, median: float, sd: float) -> float:
    """Draw a log-normal value."""
    return median * float(np.exp(sd * rng.standard_normal()))


def _leaky_steps(kicks: np.ndarray, decay: float) -> np.ndarray:
    """Integrate kicks with a leak: ``y[t] = decay * y[t - 1] + kicks[t]``."""
    return lfilter([1.0], [1.0, -decay], kicks).astype(np.float32)


@dataclass
class Participant:
    """Recordings of one simulated participant, and the truth about them.

    Attributes
    ----------
    name : str
        As in ``'sub-0003'``.
    label : str
        ``'control'`` or ``'migraine'``.
    array : str
        The MEG array.
    recordings : dict
        From state to :class:`mne.EpochsArray` or :class:`mne.io.RawArray`.
    truth : dict
        What was simulated. Positions are in head coordinates (m), times in s,
        moments in A m:

        ``traits``
            The person's traits (see :class:`MigraineEffects`).
        ``head_origin``, ``brain_radius``, ``dev_head_t``
            Sphere and head position.
        ``sides``, ``eyes``
            Stimulated ear and wrist; positions of the eyes.
        ``rhythms``
            List of dicts: ``name``, ``hemi``, ``pos``, ``ori``, ``freq``,
            ``width``, ``moment`` (0 where the person has none), ``rate``.
        ``background``
            Exponents and knees of the 1/f spectra.
        ``filters``, ``line_freq``
            What the recording went through.
        ``states``
            For each state ``onsets`` (from the start of the recording),
            ``train`` (place in the train), ``sources`` (the responses, each with
            its place, latency, moment, and latency and size in each trial),
            ``bursts``, ``heartbeats``, ``blinks`` and ``saccades`` (times).
    """

    name: str
    label: str
    array: str
    recordings: dict
    truth: dict = field(repr=False)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the recorded states."""
        return tuple(self.recordings)

    def epochs(self, state: str | None = None) -> mne.BaseEpochs:
        """Return the epochs of a state, or of all states in one object.

        Parameters
        ----------
        state : None | str
            A state; None joins all; ``event_id`` names the state of each.

        Returns
        -------
        epochs : mne.Epochs
            The epochs (a copy if states are joined).
        """
        chosen = self.states if state is None else (state,)
        for name in chosen:
            if name not in self.recordings:
                raise ValueError(
                    f"Expected a state of {self.name}, one of "
                    f"{', '.join(self.states)}, got {name!r}."
                )
            if not isinstance(self.recordings[name], mne.BaseEpochs):
                raise ValueError(
                    f"Expected epochs of state {name!r}, got a Raw; simulate it "
                    "without raw_states, or use participant.recordings."
                )
        parts = [self.recordings[name] for name in chosen]
        if len(parts) == 1:
            return parts[0]
        return mne.concatenate_epochs(parts, verbose="error")


def make_epochs(
    data: np.ndarray,
    info: mne.Info,
    state: str,
    onsets: np.ndarray,
    train: np.ndarray,
    person: Participant,
    opts: Settings,
) -> mne.EpochsArray:
    """Cut data of shape (n_channels, n_epochs * n_times) into epochs."""
    n_epochs = len(onsets)
    # Written in the order that EpochsArray wants, so that it need not copy.
    out = np.empty((n_epochs, len(data), opts.n_times))
    out[...] = data.reshape(len(data), n_epochs, opts.n_times).transpose(1, 0, 2)
    events = np.c_[onsets, np.zeros_like(onsets), np.full(n_epochs, EVENT_ID[state])]
    return mne.EpochsArray(
        out,
        info,
        events,
        tmin=-opts.n_before / opts.sfreq,
        event_id={state: EVENT_ID[state]},
        metadata=_metadata(state, train, person),
        proj=False,
        verbose="error",
    )


def make_raw(
    data: np.ndarray, info: mne.Info, state: str, onsets: np.ndarray
) -> mne.io.RawArray:
    """Wrap continuous data; stimuli become annotations."""
    raw = mne.io.RawArray(data.astype(np.float64), info.copy(), verbose="error")
    if state != "rest":
        times = onsets / info["sfreq"]
        raw.set_annotations(mne.Annotations(times, 0.0, state), verbose="error")
    return raw


def _metadata(state: str, train: np.ndarray, person: Participant):
    """Make the epochs' metadata; without pandas there is none."""
    try:
        import pandas as pd
    except ImportError:
        return None
    return pd.DataFrame(
        dict(
            participant=person.name,
            label=person.label,
            array=person.array,
            state=state,
            trial=np.arange(len(train)),
            train=train,
        )
    )
