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
from mne.transforms import Transform, apply_trans, invert_transform
from mne.utils import logger, verbose
from numpy.typing import NDArray
from scipy import fft, signal
from scipy.stats import gamma

from ._brain import power_law, spectral_noise
from ._cortex import (
    mesh_distances,
    template_source_space,
    template_sphere,
    template_trans,
)
from ._forward import make_array_info, sensor_scale
from ._stories import BANDS, Story, feature_bands, make_story

# RMS of the driven current at the centre of an area, A m (a patch of a few cm2 of
# cortex; Hämäläinen et al. 1993)
_MOMENT = 2e-9


@dataclass(frozen=True)
class Area:
    """A piece of cortex that responds to some features.

    Parameters
    ----------
    name : str
        What it is called.
    position : tuple of float
        Near which point of fsaverage it lies (MNI305, mm).
    feature : str
        What it responds to: ``'envelope'``, ``'onsets'``, ``'words'``,
        ``'embedding'``.
    latency : float
        When its response to an impulse is largest, in s.
    width : float
        How long it is, as the standard deviation of the first half wave, in s.
    extent : float
        Its size, as the standard deviation along the cortex, in m.
    """

    name: str
    position: tuple[float, float, float]
    feature: str
    latency: float
    width: float = 0.03
    extent: float = 0.008

    def kernel(self, sfreq: float) -> NDArray[np.float64]:
        """Sample the response to an impulse: a wave and a weaker one after it.

        Parameters
        ----------
        sfreq : float
            Rate in Hz.

        Returns
        -------
        kernel : array of shape (n_times,)
            The response, from the impulse on; its largest value is about 1.
        """
        times = np.arange(0.0, self.latency + 8 * self.width, 1 / sfreq)
        late = (times - self.latency - 2.5 * self.width) / (1.5 * self.width)
        wave = np.exp(-0.5 * ((times - self.latency) / self.width) ** 2)
        return wave - 0.5 * np.exp(-0.5 * late**2)


#: Areas of the language network, from early to late.
LANGUAGE_AREAS = (
    Area("auditory-lh", (-45.0, -22.0, 8.0), "envelope", 0.08),
    Area("auditory-rh", (47.0, -20.0, 8.0), "envelope", 0.09),
    Area("superior temporal-lh", (-61.0, -25.0, 2.0), "onsets", 0.12),
    Area("superior temporal-rh", (61.0, -22.0, 0.0), "onsets", 0.13),
    Area("middle temporal-lh", (-58.0, -44.0, -2.0), "words", 0.22, 0.04),
    Area("angular-lh", (-44.0, -66.0, 32.0), "embedding", 0.32, 0.05),
    Area("inferior frontal-lh", (-49.0, 22.0, 12.0), "embedding", 0.40, 0.05),
)


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
    _check_surfaces(src)
    if not isinstance(areas, Sequence):
        areas = _draw_areas(rng, int(areas), src)
    maps, centres = _place(areas, src)
    names = [f"story{i + 1}" for i in range(n_stories)]
    counts = _repeats(n_repeats, names)
    stories = {s: make_story(rng, duration, sfreq, n_embedding) for s in names}
    bands = feature_bands(n_embedding)
    mixing = {
        a.name: _mixing(rng, a, bands[a.feature].stop - bands[a.feature].start)
        for a in areas
    }
    courses = _courses(stories, areas, mixing, bands, adaptation)
    scale = _MOMENT / np.std(np.hstack(list(courses.values())), axis=1, keepdims=True)
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
        true, handed = _forwards(rng, info, src, head_error, conductor_error)
        gain = _fixed(true)
        meg = _Meg.make(rng, info, gain, maps, own, meg_snr)
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


def _check_surfaces(src: mne.SourceSpaces) -> None:
    frames = {int(s["coord_frame"]) for s in src}
    if any(s["type"] != "surf" for s in src) or frames != {5}:
        raise ValueError(
            "Expected a surface source space in MRI coordinates, got "
            f"{src!r}; make one with mne.setup_source_space."
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
def _positions(src: mne.SourceSpaces) -> NDArray:
    return np.vstack([s["rr"][s["vertno"]] for s in src])


def _draw_areas(
    rng: np.random.Generator, n_areas: int, src: mne.SourceSpaces
) -> tuple[Area, ...]:
    """Draw areas at least 25 mm apart, away from the midline and the base."""
    points = 1e3 * _positions(src)
    allowed = points[(np.abs(points[:, 0]) > 25) & (points[:, 2] > -25)]
    chosen: list[NDArray] = []
    for point in allowed[rng.permutation(len(allowed))]:
        if all(np.linalg.norm(point - other) > 25 for other in chosen):
            chosen.append(point)
        if len(chosen) == n_areas:
            break
    else:
        raise ValueError(
            f"Expected as many areas as fit 25 mm apart ({len(chosen)}), got {n_areas}."
        )
    latencies = np.linspace(0.06, 0.45, n_areas) + rng.uniform(-0.01, 0.01, n_areas)
    kinds = [BANDS[min(3, 4 * i // n_areas)] for i in range(n_areas)]
    return tuple(
        Area(f"area{i + 1}", tuple(map(float, chosen[i])), kinds[i], float(latency))
        for i, latency in enumerate(latencies)
    )


def _place(
    areas: Sequence[Area], src: mne.SourceSpaces
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Find the sources of each area."""
    points = _positions(src)
    first = np.cumsum([0] + [s["nuse"] for s in src])
    maps, centres = np.zeros((len(points), len(areas))), []
    for column, area in enumerate(areas):
        distance = np.linalg.norm(points - 1e-3 * np.array(area.position), axis=1)
        centre = int(distance.argmin())
        if distance[centre] > 0.02:
            raise ValueError(
                f"Expected {area.name} within 20 mm of the cortex, got "
                f"{area.position}; give MNI positions in mm."
            )
        hemi = int(np.searchsorted(first, centre, side="right") - 1)
        away = mesh_distances(
            src[hemi], src[hemi]["vertno"][centre - first[hemi]], 5 * area.extent
        )
        maps[first[hemi] : first[hemi + 1], column] = np.exp(
            -0.5 * (away / area.extent) ** 2
        )
        centres.append(centre)
    return maps, np.array(centres)


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


# -- MEG -------------------------------------------------------------------------------
def _forwards(
    rng: np.random.Generator,
    info: mne.Info,
    src: mne.SourceSpaces,
    head_error: float,
    conductor_error: float,
) -> tuple[mne.Forward, mne.Forward]:
    """Compute the true forward solution, and the one that is handed out."""

    def solve(dev_head_t: Transform, shift: NDArray) -> mne.Forward:
        measured = info.copy()
        with measured._unlock():
            measured["dev_head_t"] = dev_head_t
        return mne.make_forward_solution(
            measured,
            template_trans(),
            src,
            template_sphere(tuple(shift)),
            meg=True,
            eeg=False,
            mindist=0.0,
            verbose="error",
        )

    true = solve(info["dev_head_t"], np.zeros(3))
    if not head_error and not conductor_error:
        return true, true
    moved = info["dev_head_t"]["trans"].copy()
    moved[:3, 3] += head_error * _direction(rng)
    shift = conductor_error * _direction(rng)
    return true, solve(Transform("meg", "head", moved), shift)


def _direction(rng: np.random.Generator) -> NDArray:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def _fixed(forward: mne.Forward) -> NDArray[np.float64]:
    """Give the lead field along the normals, shape (n_channels, n_sources)."""
    fixed = mne.convert_forward_solution(
        forward, surf_ori=True, force_fixed=True, verbose="error"
    )
    return fixed["sol"]["data"]


@dataclass(frozen=True)
class _Meg:
    """One person's MEG: fields of areas, of other activity, and noise of sensors."""

    info: mne.Info
    fields: NDArray[np.float64]
    ongoing: NDArray[np.float64]
    white: NDArray[np.float64]

    @classmethod
    def make(
        cls,
        rng: np.random.Generator,
        info: mne.Info,
        gain: NDArray,
        maps: NDArray,
        courses: Mapping[str, NDArray],
        snr: float,
    ) -> _Meg:
        fields = gain @ maps
        driven = np.var(fields @ np.hstack(list(courses.values())), axis=1)
        patches = gain[:, rng.integers(0, gain.shape[1], 150)]
        patches = patches * rng.gamma(4.0, 0.25, 150)
        white = sensor_scale(info) * np.sqrt(info["sfreq"] / 2)
        # the noise of sensors is what it is; other activity is set by the SNR, and at
        # least a tenth of the noise of sensors
        power = np.sum(patches**2, axis=1)
        kinds = np.array([ch["coil_type"] for ch in info["chs"]])
        kind = kinds == np.bincount(kinds).argmax()
        wanted = np.median(driven[kind]) / snr - np.median(white[kind] ** 2)
        wanted = max(wanted, 0.1 * np.median(white[kind] ** 2))
        patches = patches * np.sqrt(wanted / np.median(power[kind]))
        return cls(info, fields, patches, white)

    def noise(self, rng: np.random.Generator, n_times: int) -> NDArray[np.float64]:
        n_fft = fft.next_fast_len(n_times, real=True)
        n_fft += n_fft % 2
        freqs = fft.rfftfreq(n_fft, 1 / self.info["sfreq"])
        amplitude = power_law(freqs, 1.0, 1.0, (0.0, freqs[-1]))
        rows = spectral_noise(rng, amplitude, n_fft, self.ongoing.shape[1])
        white = rng.standard_normal((len(self.white), n_times))
        return self.ongoing @ rows[:, :n_times] + self.white[:, None] * white

    def record(self, rng: np.random.Generator, courses: NDArray) -> mne.io.BaseRaw:
        data = self.fields @ courses + self.noise(rng, courses.shape[1])
        return mne.io.RawArray(data, self.info.copy(), verbose="error")

    def noise_cov(self, rng: np.random.Generator) -> mne.Covariance:
        """Estimate the covariance of a minute of silence."""
        data = self.noise(rng, max(3000, int(60 * self.info["sfreq"])))
        raw = mne.io.RawArray(data, self.info.copy(), verbose="error")
        return mne.compute_raw_covariance(
            raw, method="shrunk", rank="info", verbose="error"
        )


# -- fMRI ------------------------------------------------------------------------------
def double_gamma(
    times: NDArray[np.float64], peak: float, undershoot: float
) -> NDArray[np.float64]:
    """Compute a haemodynamic response: one gamma density minus a sixth of another."""
    wave = gamma.pdf(times, peak + 1) - gamma.pdf(times, undershoot + 1) / 6
    return wave / wave.sum()


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
        points = _positions(src)
        side = np.repeat(np.arange(len(src)), [s["nuse"] for s in src])
        near = np.exp(-0.5 * (_pairwise(points) / 0.006) ** 2)
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


def _pairwise(points: NDArray) -> NDArray:
    return np.linalg.norm(points[:, None] - points[None], axis=2)


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
    points = _positions(src)
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
