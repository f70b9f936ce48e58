"""Activity of the brain: ongoing and evoked.

Latencies, moments, places and directions are typical of the MEG literature, as
reviewed by Hari and Forss (1999, Phil Trans R Soc B 354:1145-1154) for SI and SII,
and by Hämäläinen et al. (1993, Rev Mod Phys 65:413-497) for auditory cortex.
"""

from __future__ import annotations

from dataclasses import dataclass

import mne
import numpy as np
from scipy import fft

from ._forward import Head, sensor_scale, tangential


def spectral_noise(
    rng: np.random.Generator, amplitude: np.ndarray, n_times: int, n_rows: int
) -> np.ndarray:
    """Draw Gaussian noise with a given amplitude spectrum.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    amplitude : array of shape (n_freqs,) or (n_rows, n_freqs)
        Amplitude at the frequencies of ``rfft`` of `n_times` samples, scaled so
        that the sum of squares over the positive frequencies is the variance.
    n_times, n_rows : int
        Size of the result. `n_times` should be a good FFT length.

    Returns
    -------
    x : array of shape (n_rows, n_times), float32
    """
    n_freqs = n_times // 2 + 1
    re_im = rng.standard_normal((n_rows, n_freqs, 2), dtype=np.float32)
    spec = re_im.view(np.complex64)[..., 0]
    # With norm="forward" a bin a (re + i im) becomes a wave of variance 4 a^2.
    spec *= (0.5 * np.asarray(amplitude)).astype(np.float32)
    spec[:, 0] = 0.0
    return fft.irfft(spec, n_times, axis=1, norm="forward", overwrite_x=True)


def power_law(
    freqs: np.ndarray, exponent: float, knee: float, band: tuple = (2.0, 40.0)
) -> np.ndarray:
    """Amplitude of 1/f noise with a knee, of unit variance in a band.

    ``power ~ (knee**2 + f**2) ** (-exponent / 2)``.
    """
    amp = (knee**2 + freqs**2) ** (-exponent / 4.0)
    inside = (freqs >= band[0]) & (freqs <= band[1])
    if not inside.any():
        inside = freqs > 0
    return amp / np.sqrt(np.sum(amp[inside] ** 2))


def narrowband(
    rng: np.random.Generator, freq: float, width: float, n_times: int, sfreq: float
) -> np.ndarray:
    """Draw a waxing and waning rhythm as an analytic signal of unit power.

    Parameters
    ----------
    freq, width : float
        Peak and standard deviation of the spectral peak in Hz.

    Returns
    -------
    z : array of shape (n_times,), complex64
        ``z.real`` has variance 1, ``abs(z)`` is its envelope.
    """
    freqs = np.arange(n_times) * (sfreq / n_times)
    amp = np.exp(-0.25 * ((freqs - freq) / width) ** 2)
    amp[n_times // 2 :] = 0.0
    amp /= np.sqrt(np.sum(amp**2))
    re_im = rng.standard_normal((n_times, 2), dtype=np.float32)
    spec = re_im.view(np.complex64)[:, 0] * amp.astype(np.float32)
    return fft.ifft(spec, norm="forward", overwrite_x=True)


def bursts(
    rng: np.random.Generator,
    rate: float,
    duration: tuple[float, float],
    n_times: int,
    sfreq: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an envelope of Gaussian bursts.

    Parameters
    ----------
    rate : float
        Bursts a second.
    duration : tuple of two floats
        Shortest and longest full width at half maximum in s.

    Returns
    -------
    envelope : array of shape (n_times,), float32
        Sum of bursts of height about one.
    onsets : array of shape (n_bursts,)
        Centres of the bursts in samples.
    """
    envelope = np.zeros(n_times, np.float32)
    n_bursts = rng.poisson(rate * n_times / sfreq)
    centres = np.sort(rng.integers(0, n_times, n_bursts))
    widths = rng.uniform(*duration, n_bursts) * sfreq / 2.355
    heights = rng.gamma(4.0, 0.25, n_bursts)
    for centre, width, height in zip(centres, widths, heights, strict=True):
        start, stop = max(0, int(centre - 4 * width)), int(centre + 4 * width) + 1
        t = np.arange(start, min(stop, n_times))
        envelope[t] += height * np.exp(-0.5 * ((t - centre) / width) ** 2)
    return envelope, centres


def slow_rows(
    rng: np.random.Generator, n_rows: int, n_times: int, step: int, walk: bool
) -> np.ndarray:
    """Draw slow rows: noise (or a random walk) at knots, joined by lines.

    Returns
    -------
    x : array of shape (n_rows, n_times), float32
        Rows of unit variance at the knots (walks: of zero mean as well).
    """
    n_knots = n_times // step + 2
    knots = rng.standard_normal((n_rows, n_knots), dtype=np.float32)
    if walk:
        np.cumsum(knots, axis=1, out=knots)
        knots -= knots.mean(axis=1, keepdims=True)
        knots /= knots.std(axis=1, keepdims=True) + 1e-6
    frac = (np.arange(step, dtype=np.float32) / step)[None, None]
    left, right = knots[:, :-1, None], knots[:, 1:, None]
    rows = left + (right - left) * frac
    return rows.reshape(n_rows, -1)[:, :n_times]


def filter_rows(
    rows: np.ndarray, sfreq: float, l_freq: float | None, h_freq: float | None
) -> np.ndarray:
    """Filter rows forward and backward (zero phase, Butterworth-shaped)."""
    n_fft = fft.next_fast_len(rows.shape[1], real=True)
    spec = fft.rfft(rows, n_fft, axis=1)
    spec *= filter_response(fft.rfftfreq(n_fft, 1.0 / sfreq), l_freq, h_freq)
    return fft.irfft(spec, n_fft, axis=1, overwrite_x=True)[:, : rows.shape[1]]


def filter_response(
    freqs: np.ndarray, l_freq: float | None, h_freq: float | None
) -> np.ndarray:
    """Squared magnitude of 4th order Butterworth filters at frequencies."""
    gain = np.ones(len(freqs), np.float32)
    if l_freq is not None:
        with np.errstate(divide="ignore"):
            gain /= 1.0 + (l_freq / np.maximum(freqs, 1e-12)) ** 8
        gain[freqs == 0] = 0.0
    if h_freq is not None:
        gain /= 1.0 + (freqs / h_freq) ** 8
    return gain


# Number of groups of background sources that share a spectrum.
_N_GROUPS = 4
# Number of patches of sources that go together.
_N_PATCHES = 40
# Share of the background's variance, in units of the noise, that may be left out.
_LEFT_OUT = 2e-3

# Rhythm: (place, moment in A m, bursts per second or 0 for waxing and waning).
_RHYTHMS = {
    "alpha": ("alpha", 12e-9, 0.0),
    "occipital": ("occipital", 8e-9, 0.0),
    "mu": ("mu", 8e-9, 0.0),
    "beta": ("beta", 6e-9, 0.9),
    "frontal_beta": ("frontal_beta", 5e-9, 0.7),
    "midline_theta": ("midline_theta", 7e-9, 0.4),
    "temporal_theta": ("temporal_theta", 6e-9, 0.4),
}


class Brain:
    """Ongoing activity of one person.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    head : Head
        The person's head.
    traits : dict
        The person's traits.
    """

    def __init__(self, rng: np.random.Generator, head: Head, traits: dict):
        self.head = head
        self._draw_background(rng)
        self._draw_rhythms(rng, traits)
        self.positions = np.array([source["pos"] for source in self.rhythms])

    def _draw_background(self, rng):
        n_pos = len(self.head.background)
        exponent = np.clip(1.15 + 0.3 * rng.standard_normal(), 0.6, 2.1)
        exponents = exponent + 0.3 * rng.standard_normal(_N_GROUPS)
        self.exponents = np.clip(exponents, 0.4, 2.4)
        self.knees = np.exp(rng.uniform(np.log(0.2), np.log(4.0), _N_GROUPS))
        # Size of a source (A m between 2 and 40 Hz), and how sizes differ.
        self.size = 1.9e-9 * np.exp(0.5 * rng.standard_normal())
        spread = rng.uniform(0.1, 0.7)
        self.source_size = np.exp(spread * rng.standard_normal((2, n_pos)))
        self.group = rng.integers(0, _N_GROUPS, (2, n_pos))
        # How strongly the background swells and ebbs.
        self.envelope = rng.uniform(0.1, 0.6)
        # Patches: neighbouring sources that go together.
        centres = self.head.background[rng.integers(0, n_pos, _N_PATCHES)]
        reach = rng.uniform(0.008, 0.030, (_N_PATCHES, 1))
        dist = np.linalg.norm(centres[:, None] - self.head.background, axis=-1)
        size = 0.26 * self.size * np.exp(0.5 * rng.standard_normal((_N_PATCHES, 1)))
        self.patches = size * np.exp(-0.5 * (dist / reach) ** 2)
        self.patch_ori = rng.standard_normal((_N_PATCHES, 3))
        # A few places with a rhythm of their own, anywhere, at any frequency.
        n_own = int(rng.integers(2, 9))
        self.own_freqs = np.exp(rng.uniform(np.log(1.5), np.log(45.0), n_own))
        self.own_width = self.own_freqs * rng.uniform(0.08, 0.4, n_own)
        self.own_index = rng.integers(0, n_pos, n_own)
        size = 7e-9 * np.exp(0.6 * rng.standard_normal(n_own))
        self.own_size = size * np.sqrt(4.0 / self.own_freqs)

    def _draw_rhythms(self, rng, traits):
        self.freqs = self._draw_freqs(rng, traits)
        self.rhythms = []
        for name, (place, moment, rate) in _RHYTHMS.items():
            present = rng.random() < 0.88
            size = np.exp(0.6 * rng.standard_normal()) * moment * present
            width = min(rng.uniform(0.06, 0.16) * self.freqs[name], 2.5)
            for trait in ("theta", "beta"):
                if trait in name:
                    size = size * traits[trait]
            for hemi, sign in (("lh", -1), ("rh", 1)):
                side = np.exp(0.2 * rng.standard_normal())
                pos, ori = self.head.place(rng, place, sign, spread=0.007)
                self.rhythms.append(
                    dict(
                        name=name,
                        hemi=hemi,
                        pos=pos,
                        ori=ori,
                        freq=float(self.freqs[name]),
                        width=float(width),
                        moment=float(size * side),
                        rate=rate,
                    )
                )
        # Share of a rhythm that both hemispheres have in common, and shape of mu.
        self.shared = rng.uniform(0.1, 0.8)
        self.harmonic = rng.uniform(0.1, 0.45)
        self.eyes_closed = rng.random() < 0.5
        # Waves that travel over the back of the head, some 15 cm long.
        self.wave_size = 1.2e-9 * np.exp(0.6 * rng.standard_normal())
        self.wave_vector = rng.standard_normal(3) * 2 * np.pi / 0.15
        self.wave_ori = rng.standard_normal((len(self.head.background), 3))

    @staticmethod
    def _draw_freqs(rng, traits) -> dict:
        alpha = traits["alpha_frequency"]
        return {
            "alpha": alpha,
            "occipital": alpha + 0.3 * rng.standard_normal(),
            "mu": alpha + 0.6 + 0.5 * rng.standard_normal(),
            "beta": 20.0 + 2.0 * rng.standard_normal(),
            "frontal_beta": 23.0 + 3.0 * rng.standard_normal(),
            "midline_theta": 5.8 + 0.6 * rng.standard_normal(),
            "temporal_theta": 5.2 + 0.8 * rng.standard_normal(),
        }

    def set_gains(
        self, background: np.ndarray, rhythms: np.ndarray, info: mne.Info
    ) -> None:
        """Keep what the sensors see of each part.

        Parameters
        ----------
        background : array of shape (n_channels, n_positions, 3)
            Lead field of the background positions.
        rhythms : array of shape (n_channels, n_rhythms, 3)
            Lead field of the rhythms' sources.
        info : mne.Info
            Sensors.
        """
        head, scale = self.head, sensor_scale(info)[:, None]
        single = np.einsum("cpk,opk->ocp", background, head.background_ori)
        single = single * (self.source_size * self.size)[:, None]
        self.group_gain = []
        for group in range(_N_GROUPS):
            gain = np.hstack([single[o][:, self.group[o] == group] for o in range(2)])
            # As many rows as the sensors can distinguish.
            u, s, _ = np.linalg.svd(gain / scale, full_matrices=False)
            left = 1.0 - np.cumsum(s**2) / np.sum(s**2)
            n_keep = int(np.searchsorted(-left, -_LEFT_OUT)) + 1
            self.group_gain.append(u[:, :n_keep] * s[:n_keep] * scale)
        rel = head.background - head.origin
        gains = []
        for weight, ori in zip(self.patches, self.patch_ori, strict=True):
            ori = self._currents(np.broadcast_to(ori, rel.shape)) * weight[:, None]
            gains.append(np.tensordot(background, ori, axes=2))
        self.patch_gain = np.array(gains).T
        ori = np.array([s["ori"] * s["moment"] for s in self.rhythms])
        self.rhythm_gain = np.einsum("csk,sk->cs", rhythms, ori)
        ori = self._currents(self.wave_ori)
        behind = np.exp(-0.5 * ((rel[:, 1] / head.radius + 0.8) / 0.45) ** 2)
        phase = np.exp(1j * (rel @ self.wave_vector))
        wave = np.einsum("cpk,pk->cp", background, ori) @ (behind * phase)
        self.wave_gain = np.stack([wave.real, wave.imag], axis=1) * self.wave_size
        self.own_gain = single[0][:, self.own_index] / (
            self.source_size[0, self.own_index] * self.size
        )
        self.own_gain = self.own_gain * self.own_size

    def _currents(self, ori: np.ndarray) -> np.ndarray:
        """Turn directions at background positions into those of currents."""
        head = self.head
        if head.cortex is not None:
            return head.background_ori[0]
        return tangential(head.background - head.origin, ori)

    def rows(
        self,
        rng: np.random.Generator,
        state: str,
        n_times: int,
        sfreq: float,
        onsets: np.ndarray | None,
        sides: dict,
        truth: dict,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Draw gains and time courses of a recording.

        Returns
        -------
        gains, rows : list of arrays of shape (n_channels, k) and (k, n_times)
        """
        gains, rows = self._background_rows(rng, n_times, sfreq)
        more = self._rhythm_rows(rng, state, n_times, sfreq, onsets, sides, truth)
        return gains + more[0], rows + more[1]

    def _background_rows(self, rng, n_times, sfreq):
        gains, rows = [], []
        freqs = fft.rfftfreq(n_times, 1.0 / sfreq)
        step = max(int(sfreq // 2), 1)
        amps = [
            power_law(freqs, exponent, knee)
            for exponent, knee in zip(self.exponents, self.knees, strict=True)
        ]
        for gain, amp in zip(self.group_gain, amps, strict=True):
            group = spectral_noise(rng, amp, n_times, gain.shape[1])
            swell = slow_rows(rng, 1, n_times, step, walk=False)
            group *= np.exp(self.envelope * swell)
            gains.append(gain)
            rows.append(group)
        amps = np.array([amps[ii % _N_GROUPS] for ii in range(_N_PATCHES)])
        patches = spectral_noise(rng, amps, n_times, _N_PATCHES)
        swell = slow_rows(rng, _N_PATCHES, n_times, step, walk=False)
        patches *= np.exp(self.envelope * swell)
        gains.append(self.patch_gain)
        rows.append(patches)
        for freq, width, gain in zip(
            self.own_freqs, self.own_width, self.own_gain.T, strict=True
        ):
            if freq < 0.4 * sfreq:
                gains.append(gain[:, None])
                rows.append(narrowband(rng, freq, width, n_times, sfreq).real[None])
        return gains, rows

    def _rhythm_rows(self, rng, state, n_times, sfreq, onsets, sides, truth):
        gains, rows, common = [], [], {}
        truth["bursts"] = {}
        alpha_factor = 1.6 if state == "rest" and self.eyes_closed else 0.8
        for source, gain in zip(self.rhythms, self.rhythm_gain.T, strict=True):
            name, hemi = source["name"], source["hemi"]
            z = narrowband(rng, source["freq"], source["width"], n_times, sfreq)
            # Both hemispheres share a part of their rhythm.
            other = common.setdefault(name, z)
            if other is not z:
                z = np.sqrt(self.shared) * other + np.sqrt(1 - self.shared) * z
            wave = z.real.astype(np.float32)
            if name == "mu":
                # Arch-shaped: the first harmonic keeps its phase.
                wave += self.harmonic * (z**2).real / np.maximum(np.abs(z), 1e-3)
            if source["rate"]:
                envelope, centres = bursts(
                    rng, source["rate"], (0.12, 0.5), n_times, sfreq
                )
                wave *= 0.4 + 1.3 * envelope
                truth["bursts"][name, hemi] = centres / sfreq
            if name in ("alpha", "occipital"):
                wave *= alpha_factor
            if state == "somatosensory" and name in ("mu", "beta"):
                same_side = (hemi == "lh") == (sides[state] == "left")
                depth = 0.4 if same_side else 1.0
                wave *= _desynchronise(onsets, n_times, sfreq, name, depth)
            gains.append(gain[:, None])
            rows.append(wave[None])
        z = narrowband(rng, self.freqs["alpha"], 0.9, n_times, sfreq)
        gains.append(self.wave_gain * alpha_factor)
        rows.append(np.stack([z.real, z.imag]))
        return gains, rows


def _desynchronise(onsets, n_times, sfreq, name, depth):
    """Return the factor by which stimuli change a sensorimotor rhythm."""
    t = np.arange(int(1.0 * sfreq)) / sfreq
    drop = -0.5 * np.exp(-0.5 * ((t - 0.3) / 0.12) ** 2)
    if name == "beta":
        drop += 0.6 * np.exp(-0.5 * ((t - 0.7) / 0.12) ** 2)
    factor = np.ones(n_times, np.float32)
    for onset in onsets:
        stop = min(onset + len(t), n_times)
        factor[onset:stop] += depth * drop[: stop - onset]
    return np.maximum(factor, 0.1)


@dataclass(frozen=True)
class _Peak:
    """One deflection of a response.

    Mean latency, its spread between persons and width in s, dipole moment in A m,
    usual direction of the current, and how much it habituates.
    """

    name: str
    place: str
    latency: float
    latency_sd: float
    width: float
    moment: float
    direction: tuple
    habituates: float


_DOWN, _UP = (0.0, -0.35, -0.94), (0.0, 0.35, 0.94)
_PEAKS = {
    "auditory": (
        _Peak("P50m", "auditory", 0.050, 0.005, 0.009, 10e-9, _UP, 0.5),
        _Peak("N100m", "auditory", 0.098, 0.008, 0.017, 32e-9, _DOWN, 1.0),
        _Peak("P200m", "auditory", 0.180, 0.014, 0.028, 18e-9, _UP, 1.0),
    ),
    "somatosensory": (
        _Peak("N20m", "si", 0.0205, 0.0012, 0.0024, 13e-9, (0.2, 1.0, 0.0), 0.6),
        _Peak("P35m", "si", 0.035, 0.003, 0.0055, 20e-9, (-0.2, -1.0, 0.0), 0.8),
        _Peak("P60m", "si", 0.060, 0.005, 0.011, 14e-9, (-0.2, -1.0, 0.1), 0.8),
        _Peak("SII", "sii", 0.098, 0.011, 0.024, 18e-9, (0.0, 0.2, 0.97), 1.0),
    ),
}


@dataclass
class EvokedSource:
    """One peak of one source in one person (the truth about it).

    Attributes
    ----------
    name : str
        Deflection, as in ``'N100m'``.
    hemi : str
        ``'lh'`` or ``'rh'``.
    pos, ori : array of shape (3,)
        Position (head coordinates, m) and direction of the current.
    latency, width : float
        Mean latency and standard deviation of the deflection's shape, s.
    moment : float
        Peak dipole moment without habituation, A m.
    habituates : float
        Share of the person's habituation that acts on it.
    trial_latency, trial_gain : array of shape (n_trials,)
        Latency (s) and relative size in each trial.
    """

    name: str
    hemi: str
    pos: np.ndarray
    ori: np.ndarray
    latency: float
    width: float
    moment: float
    habituates: float
    trial_latency: np.ndarray | None = None
    trial_gain: np.ndarray | None = None


def draw_sources(
    rng: np.random.Generator, state: str, head: Head, amplitude: float, side: str
) -> list[EvokedSource]:
    """Draw a person's response sources.

    Parameters
    ----------
    state : str
        ``'auditory'`` or ``'somatosensory'``.
    amplitude : float
        The person's response size relative to the mean.
    side : str
        Stimulated ear or wrist: ``'left'``, ``'right'`` or (sounds) ``'both'``.
    """
    sources, placed = [], {}
    for peak in _PEAKS[state]:
        lag = 0.002 + 0.010 * rng.random()
        size = np.exp(0.25 * rng.standard_normal())
        shift = peak.latency_sd * np.clip(rng.standard_normal(), -2.5, 2.5)
        width = peak.width * np.exp(0.15 * rng.standard_normal())
        for hemi, sign in (("lh", -1), ("rh", 1)):
            contra = side == "both" or (side == "left") == (hemi == "rh")
            balance = np.exp(0.15 * rng.standard_normal())
            where = head.place(rng, peak.place, sign, peak.direction)
            if (peak.place, sign) in placed and peak.place != "auditory":
                # Deflections of SI share their place within millimetres.
                where = (placed[peak.place, sign], where[1])
            placed.setdefault((peak.place, sign), where[0])
            if peak.place == "si" and not contra:
                continue
            far = 1.0 if contra else 0.7
            sources.append(
                EvokedSource(
                    name=peak.name,
                    hemi=hemi,
                    pos=where[0],
                    ori=where[1],
                    latency=peak.latency + shift + (0.0 if contra else lag),
                    width=width,
                    moment=peak.moment * size * balance * far * amplitude,
                    habituates=peak.habituates,
                )
            )
    return sources


def draw_trials(
    rng: np.random.Generator,
    sources: list[EvokedSource],
    train: np.ndarray,
    habituation: float,
    adaptation: float,
) -> None:
    """Draw latency and size of each source in each trial, in place.

    The size falls over the run as ``exp(-habituation * k / (n - 1))`` and within
    a train as ``1 - adaptation * (1 - exp(-j / 1.5))``, `k` and `j` counting the
    trials in the run and in the train.
    """
    n_trials = len(train)
    run = np.arange(n_trials) / max(n_trials - 1, 1)
    common = np.exp(0.18 * rng.standard_normal(n_trials))
    shift = 0.03 * rng.standard_normal(n_trials)
    for src in sources:
        own = np.exp(0.15 * rng.standard_normal(n_trials))
        jitter = np.clip(shift + 0.02 * rng.standard_normal(n_trials), -0.1, 0.1)
        decline = np.exp(-habituation * src.habituates * run)
        within = 1.0 - adaptation * src.habituates * (1.0 - np.exp(-train / 1.5))
        src.trial_gain = common * own * decline * np.maximum(within, 0.0)
        src.trial_latency = src.latency * (1.0 + jitter)


def response_rows(
    sources: list[EvokedSource], onsets: np.ndarray, n_times: int, sfreq: float
) -> np.ndarray:
    """Make the time courses of response sources.

    Parameters
    ----------
    onsets : array of shape (n_trials,)
        Samples of the stimuli.

    Returns
    -------
    rows : array of shape (n_sources, n_times), float32
        Dipole moments relative to each source's ``moment``.
    """
    rows = np.zeros((len(sources), n_times), np.float32)
    for row, src in zip(rows, sources, strict=True):
        span = int(np.ceil((src.latency * 1.15 + 5.0 * src.width) * sfreq)) + 1
        t = np.arange(span) / sfreq
        rel = (t[None] - src.trial_latency[:, None]) / src.width
        # The falling flank is a little slower than the rising one.
        rel = np.where(rel > 0, rel / 1.25, rel)
        wave = src.trial_gain[:, None] * np.exp(-0.5 * rel**2)
        idx = onsets[:, None] + np.arange(span)[None]
        ok = (idx >= 0) & (idx < n_times)
        np.add.at(row, idx[ok], wave[ok].astype(np.float32))
    return rows
