"""Heart, eyes, muscles, surroundings and sensor noise."""

from __future__ import annotations

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
