"""Haemodynamic responses of nilearn, and fMRI images at the sources."""

from __future__ import annotations

from typing import Any

import mne
import numpy as np
from numpy.typing import NDArray

from ..utils.extras import needs_extra

#: How long a haemodynamic response is, in s.
HRF_DURATION = 32.0


def hrf_basis(sfreq: float) -> NDArray[np.float64]:
    """Sample Glover's haemodynamic response and its derivatives.

    Parameters
    ----------
    sfreq : float
        Rate in Hz.

    Returns
    -------
    basis : array of shape (3, n_lags)
        The response, which sums to 1, and its derivatives with respect to time and
        dispersion, as nilearn's ``'glover + derivative + dispersion'`` has them
        (Glover 1999, NeuroImage 9:416-429).

    Raises
    ------
    ImportError
        If nilearn is not installed.
    """
    with needs_extra("encoding", "the haemodynamic response"):
        from nilearn.glm import first_level
    kinds = (
        first_level.glover_hrf,
        first_level.glover_time_derivative,
        first_level.glover_dispersion_derivative,
    )
    return np.array([f(1.0 / sfreq, 1, HRF_DURATION) for f in kinds])


def fit_hrf(x: NDArray, y: NDArray, trust: NDArray) -> NDArray[np.float64]:
    """Fit a haemodynamic response that all sources of a person share.

    Least squares over sources with their own slopes, in turn for slopes and for the
    weights of derivatives.

    Parameters
    ----------
    x : array of shape (3, n_scans, n_sources)
        Predictions with each function of the basis, centred.
    y : array of shape (n_scans, n_sources)
        The scans, centred.
    trust : array of shape (n_sources,)
        Weights of sources.

    Returns
    -------
    weights : array of shape (3,)
        Of the basis; the first is 1.
    """
    start = np.array([1.0, 0.0, 0.0])
    x = x / np.maximum(x[0].std(axis=0), 1e-3 * x[0].std() + 1e-30)
    weights = start
    for _ in range(5):
        whole = np.einsum("k,kts->ts", weights, x)
        slope = np.sum(whole * y, axis=0) / np.sum(whole**2 + 1e-6, axis=0)
        scaled = x * np.maximum(slope, 0.0)
        gram = np.einsum("jts,kts,s->jk", scaled, scaled, trust)
        cross = np.einsum("kts,ts,s->k", scaled, y, trust)
        if not gram[0, 0] > 0:
            return start
        inner = gram[1:, 1:] + 1e-2 * np.diag(np.diag(gram)[1:])
        more = np.linalg.solve(inner, cross[1:] - gram[1:, 0])
        # derivatives are corrections: delays beyond 2 s make no sense
        weights = np.r_[1.0, np.clip(more, -2.0, 2.0)]
    return weights


def scan_samples(
    n_scans: int, tr: float, start: float, sfreq: float
) -> NDArray[np.int_]:
    """Find the samples of the stimulus at which scans were taken.

    Parameters
    ----------
    n_scans : int
        How many.
    tr : float
        Time between them in s.
    start : float
        Time of the first in s, from the start of the stimulus.
    sfreq : float
        Rate of the stimulus in Hz.

    Returns
    -------
    samples : array of shape (n_scans,)
        The nearest samples.
    """
    return np.round((start + tr * np.arange(n_scans)) * sfreq).astype(int)


def is_image(scans: Any) -> bool:
    """Whether scans are an image of nilearn or a file of one, not an array."""
    return not isinstance(scans, np.ndarray | list | tuple)


def sample_image(image: Any, src: mne.SourceSpaces, tr: float, name: str) -> NDArray:
    """Sample an fMRI image at the vertices of a source space.

    Parameters
    ----------
    image : nibabel image | path-like | nilearn.surface.SurfaceImage
        Scans in MNI space, or on the surface that the source space is of.
    src : mne.SourceSpaces
        The source space, of two hemispheres, in MRI coordinates.
    tr : float
        Time between scans in s, to compare with the image's.
    name : str
        Whose it is, for messages.

    Returns
    -------
    scans : array of shape (n_scans, n_sources)
        The values.

    Raises
    ------
    ValueError
        If surfaces or the time between scans do not match.
    ImportError
        If nilearn is not installed.
    """
    with needs_extra("encoding", "images of fMRI"):
        from nilearn import surface
        from nilearn.image import load_img
    if len(src) != 2 or any(s["type"] != "surf" for s in src):
        raise ValueError(
            f"Expected fMRI of {name} as an array (n_scans, n_sources), got an image "
            "with a source space that is no pair of surfaces; sample the image at the "
            "positions of the sources."
        )
    if isinstance(image, surface.SurfaceImage):
        parts = (image.data.parts[side] for side in ("left", "right"))
        out = []
        for part, s in zip(parts, src, strict=True):
            if len(part) != s["np"]:
                raise ValueError(
                    f"Expected fMRI of {name} on the surface of the source space "
                    f"({s['np']} vertices), got {len(part)}; resample it to "
                    "fsaverage5 with nilearn, or give an array."
                )
            out.append(np.asarray(part)[s["vertno"]].T)
        return np.hstack(out)
    image = load_img(image)
    zooms = image.header.get_zooms()
    if len(zooms) != 4:
        raise ValueError(
            f"Expected scans over time (4-D) of {name}, got {len(zooms)} dimensions."
        )
    if zooms[3] > 0 and abs(zooms[3] - tr) > 0.01 * tr:
        raise ValueError(
            f"Expected tr of {name} as in the image ({zooms[3]:g} s), got {tr:g} s; "
            "correct the one that is wrong."
        )
    out = []
    for s in src:
        mesh = surface.InMemoryMesh(1e3 * s["rr"], s["tris"])
        out.append(surface.vol_to_surf(image, mesh)[s["vertno"]].T)
    return np.hstack(out)
