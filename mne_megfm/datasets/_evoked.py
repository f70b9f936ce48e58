"""Responses to sounds and to median-nerve stimuli.

Latencies, moments, places and directions are typical of the MEG literature, as
reviewed by Hari and Forss (1999, Phil Trans R Soc B 354:1145-1154) for SI and SII,
and by Hämäläinen et al. (1993, Rev Mod Phys 65:413-497) for auditory cortex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._anatomy import Head


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
