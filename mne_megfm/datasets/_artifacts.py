"""Heart, eyes, muscles, surroundings and sensor noise."""

from __future__ import annotations

import mne
import numpy as np
from scipy import fft

from ._anatomy import (
    Head,
    coil_average,
    coil_kind,
    magnetic_dipole,
    uniform_and_gradients,
)
from ._signals import (
    bursts,
    filter_response,
    narrowband,
    power_law,
    slow_rows,
    spectral_noise,
)

# White noise of usual sensors, T/sqrt(Hz) (planar: T/m/sqrt(Hz)).
NOISE_DENSITY = {
    "planar": 3.0e-13,
    "mag": 4.5e-15,
    "axial": 5.0e-15,
    "opm": 13e-15,
}

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


def sensor_scale(info: mne.Info) -> np.ndarray:
    """Nominal noise density of each channel, T/sqrt(Hz) or T/m/sqrt(Hz)."""
    return np.array([NOISE_DENSITY[coil_kind(ch)] for ch in info["chs"]])


class Surroundings:
    """A person's artefacts and noise, drawn once and used in every state.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    info : mne.Info
        Sensors.
    head : Head
        The head model.
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
        head: Head,
        eye_gain: np.ndarray,
        muscle_gain: np.ndarray,
        line_freq: float | None,
        noise: float,
        artifacts: float,
    ):
        self.n_channels = len(info["chs"])
        lognormal = lambda median, sd: median * np.exp(sd * rng.standard_normal())  # noqa: E731
        # Heart: a magnetic dipole in the chest, seen as a far field.
        chest = np.array([0.03, 0.02, -0.36]) + 0.03 * rng.standard_normal(3)
        heart = coil_average(info, magnetic_dipole(chest))
        axes = rng.standard_normal((3, 2))
        axes /= np.linalg.norm(axes, axis=0)
        self.heart_gain = heart @ axes * lognormal(0.08e-6, 0.7) * artifacts
        self.heart_rate = rng.uniform(0.9, 1.4)
        # Eyes: both move together; lids move up and down, gaze goes sideways.
        lid = np.array([0.15, 0.2, 1.0]) + 0.15 * rng.standard_normal(3)
        gaze = np.array([1.0, 0.1, 0.1]) + 0.15 * rng.standard_normal(3)
        both = eye_gain.sum(axis=1)
        self.eye_gain = np.stack([both @ lid, both @ gaze], axis=1) * (
            np.array([lognormal(60e-9, 0.5), lognormal(20e-9, 0.5)]) * artifacts
        )
        self.blink_rate = lognormal(0.2, 0.6)
        self.saccade_rate = lognormal(0.5, 0.6)
        # Muscles: independent fibres at each place, tense or not.
        ori = rng.standard_normal((muscle_gain.shape[1], 3))
        ori /= np.linalg.norm(ori, axis=1, keepdims=True)
        tone = np.exp(0.8 * rng.standard_normal(len(ori)))
        self.muscle_gain = np.einsum("cpk,pk->cp", muscle_gain, ori * tone[:, None])
        self.muscle_gain *= lognormal(3e-9, 0.7) * artifacts
        self.muscle_rate = lognormal(0.06, 0.8)
        self.muscle_low = rng.uniform(18.0, 40.0)
        # Surroundings: uniform fields and gradients, with imperfect balance.
        room = coil_average(info, uniform_and_gradients)
        lone = np.array([ch["loc"][9:12] for ch in info["chs"]])
        planar = np.array([coil_kind(ch) == "planar" for ch in info["chs"]])
        error = 0.004 * rng.standard_normal((self.n_channels, 1))
        room[:, :3] += lone * error * np.where(planar, 60.0, 1.0)[:, None] * 0.5
        self.room_gain = room
        self.drift = lognormal(0.8e-13, 1.0) * noise
        self.drift_mix = rng.standard_normal((8, 8)) * (
            np.r_[np.ones(3), np.full(5, 1.0 / rng.uniform(0.5, 3.0))][:, None]
        )
        self.drift_exponent = rng.uniform(1.0, 2.4)
        self.shakes = [
            (rng.uniform(4.0, 45.0), rng.uniform(0.3, 4.0), lognormal(4e-14, 0.9))
            for _ in range(rng.integers(0, 5))
        ]
        self.shake_mix = rng.standard_normal((8, 5)) * self.drift_mix.std(1)[:, None]
        self.shake_scale = noise
        # Mains and its harmonics.
        self.line_freq = line_freq
        self.line_mix = rng.standard_normal((8, 4, 2)) * (
            np.r_[np.ones(3), np.full(5, 1.0)][:, None, None]
        )
        self.line_size = lognormal(2.5e-14, 1.1) * np.array([1.0, 0.25, 0.4, 0.15])
        self.line_size = self.line_size * noise
        self.line_offset = 0.04 * rng.standard_normal()
        # Sensors.
        density = sensor_scale(info)
        self.density = density * lognormal(1.0, 0.25) * noise
        self.density *= np.exp(0.15 * rng.standard_normal(self.n_channels))
        self.sensor_drift = lognormal(2.0, 0.8)
        self.offset = lognormal(2e-13, 1.3) / NOISE_DENSITY["mag"] * density * noise

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
            gains[-1] = gains[-1] * self.shake_scale
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
        if h_freq is None:
            white = rng.standard_normal(data.shape, dtype=np.float32)
        else:
            n_fft = fft.next_fast_len(n_times, real=True)
            freqs = fft.rfftfreq(n_fft, 1.0 / sfreq)
            amp = filter_response(freqs, l_freq, h_freq) / np.sqrt(n_fft / 2.0)
            white = spectral_noise(rng, amp, n_fft, len(data))[:, :n_times]
        white *= sd
        data += white
        if l_freq is None:
            step = max(int(sfreq // 2), 1)
            drift = slow_rows(rng, len(data), n_times, step, walk=True)
            drift *= sd * np.float32(self.sensor_drift * 0.3)
            data += drift
            offset = self.offset * rng.standard_normal(self.n_channels)
            data += offset.astype(np.float32)[:, None]


def _leaky_steps(kicks: np.ndarray, decay: float) -> np.ndarray:
    """Integrate kicks with a leak: ``y[t] = decay * y[t - 1] + kicks[t]``."""
    from scipy.signal import lfilter

    return lfilter([1.0], [1.0, -decay], kicks).astype(np.float32)
