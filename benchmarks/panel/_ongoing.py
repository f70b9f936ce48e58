"""Ongoing activity of the panel's people: background, rhythms, bursts, couplings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import lfilter, lfiltic
from scipy.special import ndtri

from ._anatomy import N_NAMED, N_SOURCES, ROWS, SFREQ

_BACKGROUND = 5.5e-9  # Am, RMS of a source
_PIVOT = 12.0  # Hz: where slopes turn
_KNEE = 0.7  # Hz: below, the background is flat
_LOG_ENVELOPE = 0.5  # SD of the log envelope of mu
_BAND = 0.5  # Hz: envelopes are this slow
_BURST_BAND = 1.5  # Hz: and what starts bursts this
_SPILL = 400  # samples that are made and not used: noise made by FFT is periodic


def draw_habits(rng: np.random.Generator) -> dict[str, float]:
    """Draw what people differ in beside the traits of the panel.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    habits : dict of str to float
        Frequencies in Hz, sizes relative to the usual.
    """

    def size(spread: float) -> float:
        return float(np.exp(spread * rng.standard_normal()))

    return {
        "background": size(0.25),
        "alpha": size(0.35),
        "mu": size(0.35),
        "mu_frequency": rng.normal(10.8, 0.6),
        "beta": size(0.3),
        "beta_frequency": rng.normal(20.0, 1.5),
        "theta_frequency": rng.normal(5.8, 0.4),
        "frontal": size(0.3),
        "parietal": size(0.3),
        "frontal_frequency": rng.normal(15.0, 0.8),
        "gamma_frequency": rng.normal(72.0, 3.0),
    }


def _spectrum(
    rng: np.random.Generator, n_rows: int, n_times: int
) -> tuple[NDArray[np.complex64], NDArray[np.float32], int]:
    """Draw spectra of white noise of variance 1, and give their frequencies."""
    n_all = fft.next_fast_len(n_times + _SPILL, real=True)
    frequencies = fft.rfftfreq(n_all, 1 / SFREQ).astype(np.float32)
    draws = rng.standard_normal((n_rows, len(frequencies), 2), dtype=np.float32)
    spectra = draws.view(np.complex64)[..., 0]
    spectra *= np.float32(np.sqrt(n_all / 2))
    spectra[:, 0] = 0.0
    return spectra, frequencies, n_all


def background(
    rng: np.random.Generator, slopes: NDArray, n_times: int
) -> NDArray[np.float32]:
    """Make fractional noise, whose power falls as 1/f^slope above a knee.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    slopes : ndarray, shape (n_sources,)
        Exponent of each source.
    n_times : int
        Samples.

    Returns
    -------
    signals : ndarray of float32, shape (n_sources, n_times)
        With a power of 1 where a slope of 1.1 would have a variance of 1; slopes turn
        around 12 Hz, so that they do not change the power there.

    References
    ----------
    .. [1] Hosking JRM (1981). Fractional differencing. Biometrika 68:165-176,
       section 2: spectrum ``(2 sin(w / 2))^(-2 d)``, here with ``d = slope / 2``.
    """
    spectra, frequencies, n_all = _spectrum(rng, len(slopes), n_times)
    shape = (2 * np.sin(np.pi * frequencies / SFREQ)) ** 2
    shape += (2 * np.pi * _KNEE / SFREQ) ** 2
    pivot = (2 * np.sin(np.pi * _PIVOT / SFREQ)) ** 2
    usual = np.mean((shape / pivot) ** -0.55)
    log_gain = -0.25 * 2 * np.log(shape / pivot)
    slopes = np.asarray(slopes, dtype=np.float32)[:, None]
    spectra *= np.exp(0.5 * slopes * log_gain) / np.float32(np.sqrt(usual))
    return fft.irfft(spectra, n_all, axis=-1)[:, :n_times]


def oscillator(
    rng: np.random.Generator, n_times: int, frequency: float, lifetime: float
) -> NDArray[np.complex128]:
    """Make a noise-driven damped oscillator; real and imaginary part have variance 1.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_times : int
        Samples.
    frequency : float
        In Hz.
    lifetime : float
        Time after which the autocorrelation has fallen to 1/e (s).

    Returns
    -------
    signal : ndarray of complex, shape (n_times,)
        Its autocorrelation at lag t is ``exp(-t / lifetime + 2 pi i frequency t)``.
    """
    pole = np.exp(-1 / (lifetime * SFREQ) + 2j * np.pi * frequency / SFREQ)
    drive = rng.standard_normal((n_times + 1, 2)) @ [1, 1j]
    width = np.sqrt(1 - abs(pole) ** 2)
    start = lfiltic([width], [1, -pole], [drive[-1]])
    return lfilter([width], [1, -pole], drive[:-1], zi=start)[0]


def slow(rng: np.random.Generator, n_rows: int, n_times: int, band: float) -> NDArray:
    """Make Gaussian noise of variance 1 that has nothing much above a frequency."""
    spectra, frequencies, n_all = _spectrum(rng, n_rows, n_times)
    gain = np.exp(-0.5 * (frequencies / band) ** 2)
    gain[0] = 0.0
    gain /= np.sqrt(2 * np.sum(gain**2) / n_all)
    return fft.irfft(spectra * gain, n_all, axis=-1)[:, :n_times].astype(float)


def mu_rhythm(
    rng: np.random.Generator,
    n_times: int,
    frequency: float,
    harmonic: float,
    coupling: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make left and right mu, whose envelopes go together and whose phases do not.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_times : int
        Samples.
    frequency : float
        In Hz.
    harmonic : float
        Amplitude of the first harmonic relative to mu; its phase makes arches.
    coupling : float
        Correlation of the log envelopes.

    Returns
    -------
    signals, log_envelopes : ndarray, shape (2, n_times)
        The rhythm, of variance 1 without its harmonic.
    """
    shared, *own = slow(rng, 3, n_times, _BAND)
    # a negative coupling is one with opposite signs
    weight = np.sqrt(abs(coupling)) * np.array([[1.0], [np.sign(coupling)]])
    logs = weight * shared + np.sqrt(1 - abs(coupling)) * np.array(own)
    steps = rng.standard_normal((2, n_times)) * np.sqrt(2 / (0.4 * SFREQ))
    phase = 2 * np.pi * frequency / SFREQ * np.arange(n_times) + np.cumsum(steps, 1)
    phase += rng.uniform(0, 2 * np.pi, (2, 1))
    wave = np.cos(phase) + harmonic * np.sin(2 * phase)
    return np.sqrt(2) * np.exp(_LOG_ENVELOPE * logs - _LOG_ENVELOPE**2) * wave, logs


def burst_envelope(
    rng: np.random.Generator, n_times: int, duty: float
) -> NDArray[np.float64]:
    """Make the envelope of bursts that take a share of the time; mean square 1.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_times : int
        Samples.
    duty : float
        The share.

    Returns
    -------
    envelope : ndarray, shape (n_times,)
        High in bursts, near 0 between.
    """

    def soft(x: NDArray) -> NDArray:
        return 1 / (1 + np.exp(-(x - ndtri(1 - duty)) / 0.12))

    grid = np.linspace(-6, 6, 1201)
    weight = np.exp(-0.5 * grid**2)
    power = np.sum(weight * soft(grid) ** 2) / np.sum(weight)
    return soft(slow(rng, 1, n_times, _BURST_BAND)[0]) / np.sqrt(power)


def coupled_pair(
    rng: np.random.Generator, n_times: int, frequency: float, coherence: float
) -> NDArray[np.complex128]:
    """Make two oscillators of a coherence, the second a sixth of a cycle later.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_times : int
        Samples.
    frequency : float
        In Hz.
    coherence : float
        Magnitude of the coherency of the two.

    Returns
    -------
    signals : ndarray of complex, shape (2, n_times)
        Real and imaginary parts have variance 1.
    """
    first = oscillator(rng, n_times, frequency, 0.2)
    own = oscillator(rng, n_times, frequency, 0.2)
    second = coherence * first + np.sqrt(1 - coherence**2) * own
    return np.array([first, second * np.exp(-1j * np.pi / 3)])


def ongoing_sources(
    rng: np.random.Generator,
    n_times: int,
    traits: dict[str, float],
    habits: dict[str, float],
    rest: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Make the moments of all sources, without responses.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_times : int
        Samples.
    traits, habits : dict of str to float
        Of the person.
    rest : bool
        Whether alpha is that of rest.

    Returns
    -------
    moments : ndarray of float32, shape (n_sources, n_times)
        In Am.
    log_alpha : ndarray, shape (n_times,)
        Log envelope of alpha.
    """
    moments = np.zeros((N_SOURCES, n_times), dtype=np.float32)
    slopes = traits["background_slope"] + rng.normal(0, 0.1, N_SOURCES - N_NAMED)
    sizes = np.exp(rng.normal(0, 0.3, (len(slopes), 1))).astype(np.float32)
    sizes *= np.float32(_BACKGROUND * habits["background"])
    moments[N_NAMED:] = sizes * background(rng, slopes, n_times)

    def put(name: str, size: float, signal: NDArray) -> None:
        moments[ROWS[name]] += (size * signal).astype(np.float32)

    # alpha comes and goes in all of its sources together
    common = np.exp(0.35 * slow(rng, 1, n_times, _BAND)[0] - 0.35**2)
    power = np.zeros(n_times)
    for side, sign in (("left", -0.5), ("right", 0.5)):
        size = 14e-9 * habits["alpha"] * np.exp(sign * traits["alpha_laterality"])
        size *= 1.0 if rest else traits["alpha_reactivity"]
        for place in ("", "_parietal"):
            wave = oscillator(rng, n_times, traits["alpha_frequency"], 0.25) * common
            put(f"alpha_{side}{place}", size, wave.real)
            power += abs(wave) ** 2
    mu, _ = mu_rhythm(
        rng,
        n_times,
        habits["mu_frequency"],
        traits["mu_harmonic"],
        traits["mu_coupling"],
    )
    for side, signal in zip(("left", "right"), mu, strict=True):
        put(f"mu_{side}", 11e-9 * habits["mu"], signal)
        beta = oscillator(rng, n_times, habits["beta_frequency"], 0.12).real
        beta *= burst_envelope(rng, n_times, traits["beta_duty"])
        put(f"beta_{side}", 7e-9 * habits["beta"], beta)
    theta = [
        oscillator(rng, n_times, habits["theta_frequency"], traits["theta_lifetime"])
        for _ in range(2)
    ]
    put("theta", traits["theta_size"], theta[0].real)
    put("theta_left", 0.7 * traits["theta_size"], theta[1].real)
    frontal, parietal = coupled_pair(
        rng,
        n_times,
        habits["frontal_frequency"],
        traits["frontoparietal_coherence"],
    )
    put("frontal", 9e-9 * habits["frontal"], frontal.real)
    put("parietal", 9e-9 * habits["parietal"], parietal.real)
    depth = traits["theta_gamma_coupling"]
    rhythm = 1 + depth * np.cos(np.angle(theta[0]))
    rhythm /= np.sqrt(1 + depth**2 / 2)
    for name in ("gamma_front", "gamma_left", "gamma_back"):
        gamma = oscillator(rng, n_times, habits["gamma_frequency"], 0.02).real
        put(name, traits["gamma_size"], gamma * rhythm)
    return moments, np.log(power) / 2
