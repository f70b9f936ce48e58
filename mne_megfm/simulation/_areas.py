"""Areas of the cortex that simulated signals come from, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mne
import numpy as np
from numpy.typing import NDArray

from ._cortex import mesh_distances
from ._stories import BANDS


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


def check_surfaces(src: mne.SourceSpaces) -> None:
    """Check that sources are on surfaces in MRI coordinates."""
    frames = {int(s["coord_frame"]) for s in src}
    if any(s["type"] != "surf" for s in src) or frames != {5}:
        raise ValueError(
            "Expected a surface source space in MRI coordinates, got "
            f"{src!r}; make one with mne.setup_source_space."
        )


def source_positions(src: mne.SourceSpaces) -> NDArray[np.float64]:
    """Give the positions of all sources in use, m."""
    return np.vstack([s["rr"][s["vertno"]] for s in src])


def draw_areas(
    rng: np.random.Generator, n_areas: int, src: mne.SourceSpaces
) -> tuple[Area, ...]:
    """Draw areas at least 25 mm apart, away from the midline and the base."""
    points = 1e3 * source_positions(src)
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


def place_areas(
    areas: Sequence[Area], src: mne.SourceSpaces
) -> tuple[NDArray[np.float64], NDArray[np.int_]]:
    """Find the sources of each area."""
    points = source_positions(src)
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
