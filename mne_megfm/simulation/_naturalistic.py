"""People who listen to stories: MEG, fMRI and ECoG of known cortical sources.

Areas of a template cortex respond to features of speech through kernels of known place
and latency. What a person's MEG measures is their own lead field times the sources, and
what fMRI measures is the power of the sources through a haemodynamic response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mne
import numpy as np
from mne.transforms import apply_trans, invert_transform
from mne.utils import logger
from numpy.typing import NDArray
from scipy import fft, signal

from ..utils.logs import verbose
from ._areas import (
    LANGUAGE_AREAS,
    Area,
    check_surfaces,
    draw_areas,
    place_areas,
    source_positions,
)
from ._brain import power_law, spectral_noise
from ._cortex import template_source_space, template_trans
from ._forward import make_array_info
from ._recorders import (
    MOMENT,
    MegRecorder,
    double_gamma,
    fixed_gain,
    pairwise_distances,
    solve_forwards,
)
from ._stories import Story, feature_bands, make_story


@dataclass(frozen=True)
class NaturalisticExperiment:
    """Recordings of people who listen to stories, and what is true of them.

    Attributes
    ----------
    stimulus : dict of array
        Features of each story, shape (n_times, n_features).
    bands : dict of slice
        Columns of each group of features.
    sfreq : float
        Rate of features and MEG in Hz.
    recordings : dict of dict
        For each person ``'meg'`` (a list of ``mne.io.Raw`` for each story, one for
        each repeat), ``'forward'``, ``'noise_cov'``, ``'fmri'`` (a list of arrays of
        shape (n_scans, n_sources) for each story) and ``'tr'`` (s): what
        ``LatentSourceEncoder.fit`` takes.
    ecog : dict of dict
        For each person and story an ``mne.io.Raw`` of electrodes on the cortex.
    src : mne.SourceSpaces
        The common source space.
    areas : tuple of Area
        The areas, as they were drawn.
    centres : array of shape (n_areas,)
        Index of the source at the centre of each.
    maps : array of shape (n_sources, n_areas)
        How strong each area is at each source, at most 1.
    courses : dict of array
        Course of each area in each story, shape (n_areas, n_times), A m.
    forwards : dict of mne.Forward
        The forward solutions that the recordings were made with; those in
        ``recordings`` differ where errors were asked for.
    """

    stimulus: dict[str, NDArray]
    bands: dict[str, slice]
    sfreq: float
    recordings: dict[str, dict[str, Any]]
    ecog: dict[str, dict[str, mne.io.BaseRaw]]
    src: mne.SourceSpaces
    areas: tuple[Area, ...]
    centres: NDArray[np.int_]
    maps: NDArray[np.float64]
    courses: dict[str, NDArray]
    forwards: dict[str, mne.Forward] = field(repr=False)

    def sources(self, story: str) -> mne.SourceEstimate:
        """Give the true driven sources of a story.

        Parameters
        ----------
        story : str
            Its name.

        Returns
        -------
        stc : mne.SourceEstimate
            Currents along the normals of the cortex, A m.
        """
        vertices = [s["vertno"] for s in self.src]
        data = self.maps @ self.courses[story]
        return mne.SourceEstimate(data, vertices, 0.0, 1 / self.sfreq, "fsaverage")

    def positions(self) -> NDArray[np.float64]:
        """Give the positions of all sources.

        Returns
        -------
        positions : array of shape (n_sources, 3)
            In MRI coordinates, m.
        """
        return np.vstack([s["rr"][s["vertno"]] for s in self.src])


@verbose
def simulate_naturalistic(
    n_people: int = 3,
    n_stories: int = 4,
    *,
    duration: float = 60.0,
    sfreq: float = 50.0,
    n_embedding: int = 4,
    areas: Sequence[Area] | int = LANGUAGE_AREAS,
    arrays: Sequence[str] = ("ctf151", "kit157", "neuromag306"),
    n_repeats: Mapping[str, int] | int = 1,
    meg_snr: float = 0.1,
    fmri_snr: float = 0.3,
    tr: float = 2.0,
    hrf_peak: float = 5.0,
    adaptation: float = 0.5,
    differences: float = 0.2,
    n_electrodes: int = 0,
    head_error: float = 0.0,
    conductor_error: float = 0.0,
    src: mne.SourceSpaces | None = None,
    random_state: int | None = None,
    verbose: bool | str | int | None = None,
) -> NaturalisticExperiment:
    """Simulate people who listen to stories in MEG, in fMRI, and with ECoG.

    Parameters
    ----------
    n_people : int
        How many people; each has MEG and fMRI.
    n_stories : int
        How many stories, ``'story1'``, ``'story2'`` and so on.
    duration : float
        Length of each in s.
    sfreq : float
        Rate of features and MEG in Hz.
    n_embedding : int
        Dimensions of the word embeddings.
    areas : sequence of Area | int
        What responds; a number draws as many areas at random places, with latencies
        from 0.06 to 0.45 s.
    arrays : sequence of str
        MEG systems, in turn over people, as ``make_array_info`` knows them.
    n_repeats : int | dict of int
        How often each story is heard, or for single stories (others once).
    meg_snr : float
        Power of driven signals over that of all noise, median over sensors.
    fmri_snr : float
        Variance of driven signals over that of noise at the centres of areas.
    tr : float
        Time between scans in s.
    hrf_peak : float
        When haemodynamic responses are largest in s, mean over people, whose standard
        deviation is 0.5 s. Glover's response, which encoders know, is largest at 5 s.
    adaptation : float
        How much a response is divided by that of the second before it; 0 is none, so
        that sources are linear in the features.
    differences : float
        How much people differ in the strength of each area (standard deviation of
        its logarithm) and, times 20 ms, in its latency.
    n_electrodes : int
        Electrodes of ECoG for each person, near the areas in turn.
    head_error : float
        How far the head positions of the handed out forward solutions are off, in m.
    conductor_error : float
        How far the centres of their spheres are off, in m.
    src : mne.SourceSpaces | None
        Surface source space on fsaverage in MRI coordinates. None makes one of 1284
        sources on the surfaces that nilearn has.
    random_state : int | None
        Seed.
    verbose : bool | str | int | None
        Log level.

    Returns
    -------
    experiment : NaturalisticExperiment
        Stimulus, recordings and truth.

    Raises
    ------
    ValueError
        If a number is out of range, or a name is not known.
    ImportError
        If `src` is None and nilearn is not installed.

    Notes
    -----
    Heads are spheres fitted to the inner skull of fsaverage that MNE-Python ships. Each
    person sits elsewhere in the helmet. The haemodynamic response is a difference of
    two gamma densities with delays of the person (Friston et al. 1998, NeuroImage
    7:30-40). MEG noise is 1/f activity of 150 random patches of cortex, the same in
    strength as that of ``noise_cov``, and white noise of sensors; fMRI noise is an
    autoregression in time (0.3) that is smooth over the cortex.

    Examples
    --------
    See :doc:`/guide/stories`, which has one.
    """
    _check(locals())
    rng = np.random.default_rng(random_state)
    src = template_source_space() if src is None else src
    check_surfaces(src)
    if not isinstance(areas, Sequence):
        areas = draw_areas(rng, int(areas), src)
    maps, centres = place_areas(areas, src)
    names = [f"story{i + 1}" for i in range(n_stories)]
    counts = _repeats(n_repeats, names)
    stories = {s: make_story(rng, duration, sfreq, n_embedding) for s in names}
    bands = feature_bands(n_embedding)
    mixing = {
        a.name: _mixing(rng, a, bands[a.feature].stop - bands[a.feature].start)
        for a in areas
    }
    courses = _courses(stories, areas, mixing, bands, adaptation)
    scale = MOMENT / np.std(np.hstack(list(courses.values())), axis=1, keepdims=True)
    courses = {s: scale * c for s, c in courses.items()}
    recordings, ecog, forwards = {}, {}, {}
    for i in range(n_people):
        name = f"P{i + 1}"
        logger.info("Simulating %s", name)
        person = _Person.draw(rng, areas, differences, hrf_peak)
        own = _courses(stories, person.areas, mixing, bands, adaptation)
        own = {s: scale * person.gains[:, None] * c for s, c in own.items()}
        info = make_array_info(
            arrays[i % len(arrays)], sfreq, head_pos="random", random_state=rng
        )
        true, handed = solve_forwards(rng, info, src, head_error, conductor_error)
        gain = fixed_gain(true)
        meg = MegRecorder.make(rng, info, gain, maps, own, meg_snr)
        bold = _Bold.make(maps, own, centres, fmri_snr, tr, sfreq, person.hrf, src)
        recordings[name] = {
            "meg": {
                s: [meg.record(rng, own[s]) for _ in range(counts[s])] for s in own
            },
            "forward": handed,
            "noise_cov": meg.noise_cov(rng),
            "fmri": {
                s: [bold.record(rng, own[s]) for _ in range(counts[s])] for s in own
            },
            "tr": float(tr),
        }
        ecog[name] = _ecog(rng, src, centres, maps, own, sfreq, n_electrodes)
        forwards[name] = true
    return NaturalisticExperiment(
        {s: story.features for s, story in stories.items()},
        bands,
        float(sfreq),
        recordings,
        ecog,
        src,
        tuple(areas),
        centres,
        maps,
        courses,
        forwards,
    )


# -- checks ----------------------------------------------------------------------------
def _check(given: Mapping[str, Any]) -> None:
    for name in ("n_people", "n_stories", "n_embedding"):
        if given[name] < 1:
            raise ValueError(f"Expected {name} of 1 or more, got {given[name]!r}.")
    for name in ("duration", "sfreq", "meg_snr", "fmri_snr", "tr", "hrf_peak"):
        if not (np.isfinite(given[name]) and given[name] > 0):
            raise ValueError(f"Expected a positive {name}, got {given[name]!r}.")
    for name in ("adaptation", "differences", "head_error", "conductor_error"):
        if not (np.isfinite(given[name]) and given[name] >= 0):
            raise ValueError(f"Expected {name} of 0 or more, got {given[name]!r}.")
    if max(given["head_error"], given["conductor_error"]) > 0.05:
        raise ValueError(
            "Expected errors of the head model in m, at most 0.05, got "
            f"{given['head_error']} and {given['conductor_error']}; divide millimetres "
            "by 1000."
        )
    if given["duration"] < max(10.0, 2 * given["tr"]):
        raise ValueError(
            f"Expected stories of at least 10 s and two scans, got "
            f"{given['duration']} s."
        )
    if given["sfreq"] < 20:
        raise ValueError(
            f"Expected sfreq of at least 20 Hz, got {given['sfreq']}: kernels have "
            "half waves of 0.1 s."
        )


def _repeats(n_repeats: Mapping[str, int] | int, names: list[str]) -> dict[str, int]:
    if isinstance(n_repeats, Mapping):
        if unknown := set(n_repeats) - set(names):
            raise ValueError(
                f"Expected n_repeats of {', '.join(names)}, got {sorted(unknown)}."
            )
        counts = dict.fromkeys(names, 1) | dict(n_repeats)
    else:
        counts = dict.fromkeys(names, n_repeats)
    if min(counts.values()) < 1:
        raise ValueError(f"Expected n_repeats of 1 or more, got {n_repeats!r}.")
    return counts


# -- areas and what they do ------------------------------------------------------------
def _mixing(rng: np.random.Generator, area: Area, n_columns: int) -> NDArray:
    """Draw what an area makes of its features: a unit vector."""
    weights = rng.standard_normal(n_columns)
    return weights / np.linalg.norm(weights) if n_columns > 1 else np.ones(1)


def _courses(
    stories: Mapping[str, Story],
    areas: Sequence[Area],
    mixing: Mapping[str, NDArray],
    bands: Mapping[str, slice],
    adaptation: float,
) -> dict[str, NDArray]:
    """Compute the courses of areas, shape (n_areas, n_times), without units."""
    out = {}
    for name, story in stories.items():
        rows = []
        for area in areas:
            drive = story.features[:, bands[area.feature]] @ mixing[area.name]
            row = np.convolve(drive, area.kernel(story.sfreq))[: len(drive)]
            if adaptation:
                # a leaky memory of about one second, of the response itself
                decay = np.exp(-1 / story.sfreq)
                memory = signal.lfilter([1 - decay], [1, -decay], np.abs(row))
                row = row / (1 + adaptation * memory / (memory.mean() + 1e-12))
            rows.append(row - row.mean())
        out[name] = np.array(rows)
    return out


@dataclass(frozen=True)
class _Person:
    """How one person differs from others."""

    areas: tuple[Area, ...]
    gains: NDArray[np.float64]
    hrf: tuple[float, float]  # peak and undershoot, s

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        areas: Sequence[Area],
        differences: float,
        hrf_peak: float,
    ) -> _Person:
        gains = np.exp(differences * rng.standard_normal(len(areas)))
        shifts = np.clip(rng.standard_normal(len(areas)), -2, 2) * 0.02 * differences
        moved = tuple(
            replace(a, latency=a.latency + float(s))
            for a, s in zip(areas, shifts, strict=True)
        )
        peak = hrf_peak + float(np.clip(rng.standard_normal(), -2, 2)) * 0.5
        return cls(moved, gains, (peak, peak + 10.0))


# -- fMRI ------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Bold:
    """One person's fMRI: power of areas through a haemodynamic response, and noise."""

    maps: NDArray[np.float64]
    kernel: NDArray[np.float64]
    tr: float
    sfreq: float
    scale: float
    noise: float
    smooth: NDArray[np.float64]

    @classmethod
    def make(
        cls,
        maps: NDArray,
        courses: Mapping[str, NDArray],
        centres: NDArray,
        snr: float,
        tr: float,
        sfreq: float,
        hrf: tuple[float, float],
        src: mne.SourceSpaces,
    ) -> _Bold:
        kernel = double_gamma(np.arange(0, 32, 1 / sfreq), *hrf)
        points = source_positions(src)
        side = np.repeat(np.arange(len(src)), [s["nuse"] for s in src])
        near = np.exp(-0.5 * (pairwise_distances(points) / 0.006) ** 2)
        near *= side[:, None] == side[None]
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        bold = cls(maps, kernel, tr, sfreq, 1.0, 1.0, near)
        driven = np.vstack([bold.driven(c) for c in courses.values()])
        variance = np.median(np.var(driven[:, centres], axis=0))
        # in percent: the noise is 1
        return replace(bold, scale=float(np.sqrt(snr / variance)))

    def driven(self, courses: NDArray) -> NDArray[np.float64]:
        power = (self.maps @ courses) ** 2
        slow = signal.fftconvolve(power, self.kernel[None], axes=1)
        n_scans = int(np.floor(courses.shape[1] / self.sfreq / self.tr + 1e-9))
        at = np.round(np.arange(n_scans) * self.tr * self.sfreq).astype(int)
        return self.scale * slow[:, at].T

    def record(self, rng: np.random.Generator, courses: NDArray) -> NDArray:
        driven = self.driven(courses)
        white = rng.standard_normal(driven.shape) @ self.smooth
        noise = signal.lfilter([1.0], [1.0, -0.3], white, axis=0) * np.sqrt(1 - 0.09)
        return (100.0 + driven + self.noise * noise).astype(np.float64)


# -- ECoG ------------------------------------------------------------------------------
def _ecog(
    rng: np.random.Generator,
    src: mne.SourceSpaces,
    centres: NDArray,
    maps: NDArray,
    courses: Mapping[str, NDArray],
    sfreq: float,
    n_electrodes: int,
) -> dict[str, mne.io.BaseRaw]:
    """Record with electrodes a few millimetres from the centres of areas."""
    if not n_electrodes:
        return {}
    points = source_positions(src)
    at = points[centres[np.arange(n_electrodes) % len(centres)]]
    at = at + 0.004 * rng.standard_normal(at.shape)
    distance = np.linalg.norm(at[:, None] - points[None], axis=2)
    gain = np.exp(-0.5 * (distance / 0.006) ** 2) * 1e4  # V / (A m), about 20 uV
    names = [f"E{i + 1:02d}" for i in range(n_electrodes)]
    info = mne.create_info(names, sfreq, "ecog")
    place = apply_trans(invert_transform(template_trans()), at)
    montage = mne.channels.make_dig_montage(
        dict(zip(names, place, strict=True)), coord_frame="head"
    )
    info.set_montage(montage, verbose="error")
    out = {}
    driven = {s: gain @ (maps @ c) for s, c in courses.items()}
    level = np.std(np.hstack(list(driven.values())), axis=1)
    for story, data in driven.items():
        n_times = data.shape[1]
        n_fft = 2 * fft.next_fast_len(n_times)
        freqs = fft.rfftfreq(n_fft, 1 / sfreq)
        amplitude = power_law(freqs, 1.0, 1.0, (0.0, freqs[-1]))
        noise = spectral_noise(rng, amplitude, n_fft, n_electrodes)[:, :n_times]
        data = data + 2.0 * level[:, None] * noise
        out[story] = mne.io.RawArray(data, info.copy(), verbose="error")
    return out
