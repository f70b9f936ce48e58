"""Responses of the panel's people to stimuli, trial by trial."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._anatomy import ROWS, SFREQ

N_TRIALS, N_BEFORE, N_TIMES = 40, 75, 300  # epochs from -0.3 to 0.896 s
TIMES = (np.arange(N_TIMES) - N_BEFORE) / SFREQ
_TRAIN = 8  # stimuli, then a pause
_AUDITORY, _SOMATOSENSORY = 24e-9, 12e-9  # Am: N100m and N20m
_SOMATOSENSORY_JITTER = 0.001  # s


def deflection(times: NDArray, peak: float, width: float) -> NDArray[np.float64]:
    """Evaluate a wave that rises faster than it falls, with a height of 1.

    Parameters
    ----------
    times : ndarray
        After the stimulus (s).
    peak : float
        Time of the peak (s).
    width : float
        The wave falls from its peak as a Gaussian of this SD at first (s).

    Returns
    -------
    wave : ndarray
        ``(t / peak)^k exp(k (1 - t / peak))`` with ``k = (peak / width)^2``, 0 before
        the stimulus.
    """
    ratio = np.maximum(times / peak, 1e-6)
    return np.exp((peak / width) ** 2 * (np.log(ratio) + 1 - ratio))


def plateau(times: NDArray, first: float, last: float) -> NDArray[np.float64]:
    """Evaluate what rises to 1 at a time and falls at another."""
    rise, fall = (1 + np.tanh((times - t) / 0.05) for t in (first, last))
    return (rise - fall) / 2


def draw_shapes(rng: np.random.Generator) -> dict[str, float]:
    """Draw what responses differ in beside the traits: latencies, widths, balances."""
    return {
        "latency": np.exp(rng.normal(0, 0.05)),  # of P50m and P200m
        "width": np.exp(rng.normal(0, 0.15)),
        "lag": rng.normal(0.0, 0.003),  # of the right auditory cortex (s)
        "sii_latency": rng.normal(0.105, 0.008),
        "sii_right": np.exp(rng.normal(-0.2, 0.25)),
        "p35m": np.exp(rng.normal(-0.3, 0.25)),
        "auditory": np.exp(rng.normal(0, 0.15)),
        "somatosensory": np.exp(rng.normal(0, 0.15)),
        "gamma_frequency": rng.normal(62.0, 4.0),
    }


def draw_onsets(rng: np.random.Generator) -> NDArray[np.int_]:
    """Draw the samples of the stimuli: five trains of eight, with pauses of 5 s."""
    gaps = rng.uniform(1.25, 1.5, N_TRIALS)
    gaps[::_TRAIN] += 5.0
    gaps[0] = 1.0
    return np.round(np.cumsum(gaps) * SFREQ).astype(int)


def trial_gains(
    rng: np.random.Generator, traits: dict[str, float], log_alpha: NDArray
) -> NDArray[np.float64]:
    """Draw the gains of the trials of a run.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    traits : dict of str to float
        Of the person.
    log_alpha : ndarray, shape (n_trials,)
        Log envelope of alpha before each stimulus.

    Returns
    -------
    gains : ndarray, shape (n_trials,)
        Around the size of the person's responses, not below 0.
    """
    order = np.arange(len(log_alpha))
    gains = 1 - traits["habituation"] * order / (len(order) - 1)
    gains *= 1 + traits["recovery"] * np.exp(-(order % _TRAIN) / 0.8)
    gains *= 1 + traits["amplitude_variability"] * rng.standard_normal(len(order))
    alpha = (log_alpha - log_alpha.mean()) / log_alpha.std()
    gains *= np.exp(traits["alpha_gain"] * alpha)
    return traits["response_size"] * np.maximum(gains, 0.0)


def auditory_waves(
    times: NDArray, traits: dict[str, float], shapes: dict[str, float]
) -> dict[str, NDArray[np.float64]]:
    """Evaluate the auditory response by source, with a gain of 1 (Am)."""
    waves = {}
    for side, sign in (("left", -0.5), ("right", 0.5)):
        at = times - (shapes["lag"] if side == "right" else 0.0)
        slower, width = shapes["latency"], shapes["width"]
        wave = -deflection(at, traits["n100m_latency"], 0.018 * width)
        wave += traits["p50m_ratio"] * deflection(at, 0.050 * slower, 0.009 * width)
        wave += traits["p200m_ratio"] * deflection(at, 0.185 * slower, 0.030 * width)
        wave -= traits["sustained_ratio"] * plateau(at, 0.30, 0.70)
        size = _AUDITORY * shapes["auditory"]
        size *= np.exp(sign * traits["n100m_laterality"])
        waves[f"auditory_{side}"] = size * wave
    return waves


def somatosensory_waves(
    times: NDArray, traits: dict[str, float], shapes: dict[str, float]
) -> dict[str, NDArray[np.float64]]:
    """Evaluate the somatosensory response by source, with a gain of 1 (Am)."""
    peak, width = traits["n20m_latency"], shapes["width"]
    size = _SOMATOSENSORY * shapes["somatosensory"]
    si = deflection(times, peak, 0.0035 * width)
    si -= shapes["p35m"] * deflection(times, peak + 0.014, 0.006 * width)
    si -= traits["p60m_ratio"] * deflection(times, 0.062, 0.012 * width)
    late = shapes["sii_latency"]
    sii = traits["sii_ratio"] * size
    return {
        "si": size * si,
        "sii_left": sii * deflection(times, late, 0.024 * width),
        "sii_right": sii
        * shapes["sii_right"]
        * deflection(times, late + 0.012, 0.026 * width),
    }


_WAVES = {"auditory": auditory_waves, "somatosensory": somatosensory_waves}


def add_responses(
    rng: np.random.Generator,
    state: str,
    moments: NDArray[np.float32],
    log_alpha: NDArray,
    traits: dict[str, float],
    shapes: dict[str, float],
) -> None:
    """Add evoked activity to trials, and change rhythms as stimuli do, in place.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    state : {"auditory", "somatosensory"}
        Which stimuli.
    moments : ndarray of float32, shape (n_sources, n_trials, n_times)
        Ongoing moments (Am).
    log_alpha : ndarray, shape (n_trials,)
        Log envelope of alpha before each stimulus.
    traits, shapes : dict of str to float
        Of the person.
    """
    n_trials = moments.shape[1]
    gains = trial_gains(rng, traits, log_alpha)
    jitter = traits["latency_jitter"] if state == "auditory" else _SOMATOSENSORY_JITTER
    times = TIMES - jitter * rng.standard_normal((n_trials, 1))
    for name, wave in _WAVES[state](times, traits, shapes).items():
        moments[ROWS[name]] += (gains[:, None] * wave).astype(np.float32)
    if state == "somatosensory":
        window = plateau(TIMES, 0.15, 0.60)
        loss = 1 - traits["mu_suppression"] * window
        gain = (1 - 0.4 * window) * (
            1 + traits["beta_rebound"] * plateau(TIMES, 0.50, 2.0)
        )
        for side, weight in (("left", 1.0), ("right", 0.5)):
            moments[ROWS[f"mu_{side}"]] *= (1 + weight * (loss - 1)).astype(np.float32)
            moments[ROWS[f"beta_{side}"]] *= (1 + weight * (gain - 1)).astype(
                np.float32
            )
    else:
        for side in ("left", "right"):
            for size, frequency, window in (
                (
                    traits["induced_gamma"],
                    shapes["gamma_frequency"],
                    plateau(TIMES, 0.08, 0.35),
                ),
                (traits["induced_theta"], 5.0, plateau(TIMES, 0.12, 0.50)),
            ):
                phase = rng.uniform(0, 2 * np.pi, (n_trials, 1))
                wave = np.sqrt(2) * np.cos(2 * np.pi * frequency * TIMES + phase)
                moments[ROWS[f"auditory_{side}"]] += (size * window * wave).astype(
                    np.float32
                )
