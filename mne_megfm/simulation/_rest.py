"""People at rest: MEG and fMRI of regions whose rhythms wax and wane.

The power of rhythms drives the haemodynamic response of a region, up or down: alpha and
beta go with less of it, gamma with more (Scheeringa et al. 2011, Neuron 69:572-583).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mne
import numpy as np
from mne.utils import logger
from numpy.typing import NDArray
from scipy import fft, signal

from ..utils.logs import verbose
from ._areas import check_surfaces, draw_areas, place_areas, source_positions
from ._brain import narrowband
from ._cortex import template_source_space
from ._forward import make_array_info
from ._recorders import (
    MOMENT,
    MegRecorder,
    double_gamma,
    fixed_gain,
    pairwise_distances,
    solve_forwards,
)

#: Rhythms: centre and standard deviation in Hz, relative amplitude, and what their
#: power does to the haemodynamic response.
RHYTHMS = {
    "theta": (6.0, 0.7, 0.8, 0.3),
    "alpha": (10.0, 0.8, 1.2, -0.8),
    "beta": (20.0, 2.0, 0.7, -0.4),
    "gamma": (38.0, 3.0, 0.4, 0.7),
}
# power follows slow noise up to this frequency, Hz
_SLOW = 0.1
# factors that regions share, and their part of the variance of slow noise
_N_SHARED, _SHARED = 3, 0.3


@dataclass(frozen=True)
class RestExperiment:
    """Recordings of people at rest, and what is true of them.

    Attributes
    ----------
    meg : dict of mne.io.Raw
        MEG of each person.
    forwards : dict of mne.Forward
        Their forward solutions, of one source space.
    noise_covs : dict of mne.Covariance
        Covariance of everything that does not come from the regions.
    fmri : dict of array
        Scans of each person in the same minutes, shape (n_scans, n_regions).
    tr : float
        Time between scans in s.
    labels : list of mne.Label
        The regions.
    src : mne.SourceSpaces
        The source space.
    centres : array of int, shape (n_regions,)
        Index of the source at the centre of each.
    coupling : array of shape (n_regions, n_rhythms)
        What the power of each rhythm does to the haemodynamic response, mean over
        people.
    powers : dict of array
        True power of each rhythm at each scan, shape (n_scans, n_regions, n_rhythms).
    driven : dict of array
        fMRI without noise, shape (n_scans, n_regions).
    """

    meg: dict[str, mne.io.BaseRaw]
    forwards: dict[str, mne.Forward] = field(repr=False)
    noise_covs: dict[str, mne.Covariance] = field(repr=False)
    fmri: dict[str, NDArray[np.float64]]
    tr: float
    labels: list[mne.Label] = field(repr=False)
    src: mne.SourceSpaces
    centres: NDArray[np.int_]
    coupling: NDArray[np.float64]
    powers: dict[str, NDArray[np.float64]] = field(repr=False)
    driven: dict[str, NDArray[np.float64]] = field(repr=False)


@verbose
def simulate_rest(
    n_people: int = 4,
    duration: float = 300.0,
    *,
    n_regions: int = 16,
    sfreq: float = 100.0,
    arrays: Sequence[str] = ("ctf151", "kit157", "4d248"),
    meg_snr: float = 0.5,
    fmri_snr: float = 0.5,
    tr: float = 2.0,
    hrf_peak: float = 5.0,
    differences: float = 0.2,
    src: mne.SourceSpaces | None = None,
    random_state: int | None = None,
    verbose: bool | str | int | None = None,
) -> RestExperiment:
    """Simulate MEG and fMRI of people at rest.

    Parameters
    ----------
    n_people : int
        How many people, ``'P1'``, ``'P2'`` and so on.
    duration : float
        How long each is recorded, in s.
    n_regions : int
        Regions at random places, 25 mm apart or more.
    sfreq : float
        Rate of MEG in Hz, 100 or more.
    arrays : sequence of str
        MEG systems, in turn over people, as ``make_array_info`` knows them.
    meg_snr : float
        Power of the rhythms over that of all noise, median over sensors.
    fmri_snr : float
        Variance of what the rhythms drive over that of noise.
    tr : float
        Time between scans in s.
    hrf_peak : float
        When haemodynamic responses are largest in s, mean over people, whose standard
        deviation is 0.5 s.
    differences : float
        How much people differ in what a rhythm does to a region (standard deviation).
    src : mne.SourceSpaces | None
        Surface source space on fsaverage in MRI coordinates. None makes one of 1284
        sources on the surfaces that nilearn has.
    random_state : int | None
        Seed.
    verbose : bool | str | int | None
        Log level.

    Returns
    -------
    experiment : RestExperiment
        Recordings and truth.

    Raises
    ------
    ValueError
        If a number is out of range.
    ImportError
        If `src` is None and nilearn is not installed.

    Notes
    -----
    MEG and fMRI are of the same minutes, which no scanner allows today; EEG and fMRI
    are. The logarithm of a rhythm's power is Gaussian noise below 0.1 Hz, of which a
    third is shared between regions. Heads, noise and haemodynamic responses are those
    of ``simulate_naturalistic``.

    Examples
    --------
    See :doc:`/guide/stories`, which has one.
    """
    for name, value in (("n_people", n_people), ("n_regions", n_regions)):
        if value < 1:
            raise ValueError(f"Expected {name} of 1 or more, got {value!r}.")
    numbers = {"meg_snr": meg_snr, "fmri_snr": fmri_snr, "tr": tr, "hrf_peak": hrf_peak}
    for name, value in numbers.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"Expected a positive {name}, got {value!r}.")
    if sfreq < 100:
        raise ValueError(
            f"Expected sfreq of at least 100 Hz, got {sfreq}: rhythms go up to 45 Hz."
        )
    if duration < 60:
        raise ValueError(f"Expected a duration of at least 60 s, got {duration}.")
    rng = np.random.default_rng(random_state)
    src = template_source_space() if src is None else src
    check_surfaces(src)
    areas = draw_areas(rng, n_regions, src)
    maps, centres = place_areas(areas, src)
    mean = np.array([rhythm[3] for rhythm in RHYTHMS.values()])
    coupling = mean * np.exp(0.5 * rng.standard_normal((n_regions, len(mean))))
    loadings = rng.standard_normal((n_regions, len(mean), _N_SHARED))
    loadings *= np.sqrt(_SHARED) / np.linalg.norm(loadings, axis=2, keepdims=True)
    out = RestExperiment(
        {},
        {},
        {},
        {},
        float(tr),
        _regions(src, centres),
        src,
        centres,
        coupling,
        {},
        {},
    )
    for i in range(n_people):
        name = f"P{i + 1}"
        logger.info("Simulating %s", name)
        power, courses = _rhythms(rng, loadings, duration, sfreq)
        info = make_array_info(
            arrays[i % len(arrays)], sfreq, head_pos="random", random_state=rng
        )
        forward, _ = solve_forwards(rng, info, src, 0.0, 0.0)
        meg = MegRecorder.make(
            rng, info, fixed_gain(forward), maps, {name: courses}, meg_snr
        )
        out.meg[name] = meg.record(rng, courses)
        out.forwards[name] = forward
        out.noise_covs[name] = meg.noise_cov(rng)
        own = coupling + differences * rng.standard_normal(coupling.shape)
        peak = hrf_peak + float(np.clip(rng.standard_normal(), -2, 2)) * 0.5
        # 10 Hz are enough for what is slower than 0.1 Hz
        step = int(sfreq // 10)
        slow = power[:, :, ::step]
        kernel = double_gamma(np.arange(0, 32, step / sfreq), peak, peak + 10.0)
        drive = np.einsum("rb,rbt->tr", own, slow - slow.mean(axis=2, keepdims=True))
        driven = signal.fftconvolve(drive, kernel[:, None], axes=0)[: len(drive)]
        n_scans = int(duration / tr + 1e-9)
        at = np.round(np.arange(n_scans) * tr * sfreq / step).astype(int)
        driven = driven[at] / np.std(driven[at], axis=0) * np.sqrt(fmri_snr)
        white = rng.standard_normal(driven.shape)
        noise = signal.lfilter([1.0], [1.0, -0.3], white, axis=0) * np.sqrt(1 - 0.09)
        out.fmri[name] = 100.0 + driven + noise
        out.driven[name] = driven
        out.powers[name] = slow[:, :, at].transpose(2, 0, 1)
    return out


def _rhythms(
    rng: np.random.Generator, loadings: NDArray, duration: float, sfreq: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw powers (n_regions, n_rhythms, n_times) and courses (n_regions, n_times)."""
    n_times = int(round(duration * sfreq))
    n_regions, n_rhythms, n_shared = loadings.shape
    n_fft = 2 * fft.next_fast_len((n_times + 1) // 2)
    freqs = fft.rfftfreq(n_fft, 1 / sfreq)
    inside = (freqs > 0) & (freqs <= _SLOW)

    def slow(*shape: int) -> NDArray:
        spectrum = np.zeros((*shape, len(freqs)), complex)
        draw = rng.standard_normal((2, *shape, inside.sum()))
        spectrum[..., inside] = draw[0] + 1j * draw[1]
        rows = fft.irfft(spectrum, n_fft, axis=-1)[..., :n_times]
        return rows / rows.std(axis=-1, keepdims=True)

    shared = slow(n_shared)
    powers, courses = np.empty((n_regions, n_rhythms, n_times)), []
    for r in range(n_regions):
        course = 0.0
        for b, (freq, width, amplitude, _) in enumerate(RHYTHMS.values()):
            level = loadings[r, b] @ shared + np.sqrt(1 - _SHARED) * slow()
            power = np.exp(0.7 * level)
            powers[r, b] = power / power.mean()
            # a steady carrier: its own waxing and waning is fast
            carrier = narrowband(rng, freq, width, n_times, sfreq)
            carrier = carrier.real / np.maximum(np.abs(carrier), 1e-3)
            course = course + amplitude * np.sqrt(powers[r, b]) * carrier
        courses.append(course)
    courses = np.array(courses)
    return powers, courses * (5 * MOMENT / courses.std(axis=1, keepdims=True))


def _regions(src: mne.SourceSpaces, centres: NDArray) -> list[mne.Label]:
    """Make a region of the sources within 15 mm of a centre, each in one at most."""
    points = source_positions(src)
    side = np.repeat(np.arange(len(src)), [s["nuse"] for s in src])
    vertices = np.concatenate([s["vertno"] for s in src])
    away = pairwise_distances(points)[:, centres]
    away[side[:, None] != side[centres]] = np.inf
    nearest = away.argmin(axis=1)
    labels = []
    for i, centre in enumerate(centres):
        inside = (nearest == i) & (away[:, i] < 0.015)
        labels.append(
            mne.Label(
                np.sort(vertices[inside]),
                hemi=("lh", "rh")[side[centre]],
                name=f"region{i + 1}",
                subject="fsaverage",
                verbose="error",
            )
        )
    return labels
