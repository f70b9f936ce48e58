"""Axes along which average responses stand out from the noise of trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy.linalg import eigh

from ..models import TrialInputs

# trials of more power than this many times the median are left out here
_ODD = 4.0


def _leading(signal: np.ndarray, noise: np.ndarray, n: int, ridge: float) -> np.ndarray:
    """Axes of the largest signal per noise, scaled to noise of variance 1."""
    size = len(noise)
    noise = noise + ridge * np.trace(noise) / size * np.eye(size)
    _, axes = eigh(signal, noise, subset_by_index=(size - n, size - 1))
    axes = axes[:, ::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0)
    return axes * np.sign(largest)


class _Contrast:
    """Covariance of averages against that of single trials, person by person."""

    def __init__(self) -> None:
        self.signal: np.ndarray | float = 0.0
        self.noise: np.ndarray | float = 0.0
        self.sizes: list[float] = []

    def add(self, trials: np.ndarray) -> None:
        """Take in trials of one state, shape (n_trials, n_values, n_repeats)."""
        rest = trials - trials.mean(0)
        power = np.square(rest).mean((1, 2))
        trials = trials[power <= _ODD * np.median(power)]
        mean = trials.mean(0)
        rest = (trials - mean).transpose(1, 0, 2).reshape(trials.shape[1], -1)
        noise = rest @ rest.T / rest.shape[1] * len(trials) / (len(trials) - 1)
        size = np.trace(noise) / len(noise)
        # all participants count alike, however large their fields
        signal = mean @ mean.T / mean.shape[1] - noise / len(trials)
        self.signal = self.signal + signal / size
        self.noise = self.noise + noise / size
        self.sizes.append(size)


def fit_trial_inputs(
    inputs: TrialInputs,
    read: Callable[[], Iterable[np.ndarray]],
    log_spectra: np.ndarray,
) -> None:
    """Find the axes by which trials are known, without labels.

    Spatial, temporal and joint axes are those of denoising source separation [1]_:
    joint diagonalisation of the covariance of average responses, noise subtracted,
    and the covariance of single trials around them. Spectra get principal axes.

    Parameters
    ----------
    inputs : TrialInputs
        Changed in place.
    read : callable
        Gives an iterator over segments of shape (n_trials, n_sensors, n_after) in
        tesla, one array a person and state; called three times.
    log_spectra : ndarray, shape (n, n_regions, n_bands)
        Log spectra of windows of many people.

    References
    ----------
    .. [1] de Cheveigné & Simon (2008), "Denoising based on spatial filtering",
       J Neurosci Methods 171:331-339, section 2.3.
    """
    unit = float(inputs.unit)
    n_space, n_time = inputs.space.shape[1], inputs.time.shape[1]
    n_response, n_spectral = inputs.joint.shape[1], inputs.spectrum_axes.shape[1]

    contrast = _Contrast()
    for segments in read():
        contrast.add(segments / unit)
    space = _leading(contrast.signal, contrast.noise, n_space, 1e-3)
    contrast = _Contrast()
    for segments in read():
        contrast.add(np.einsum("nct,ck->ntk", segments / unit, space, optimize=True))
    time = _leading(contrast.signal, contrast.noise, n_time, 1e-3)
    contrast = _Contrast()
    for segments in read():
        both = np.einsum("nct,ck->nkt", segments / unit, space, optimize=True) @ time
        contrast.add(both.reshape(len(both), -1, 1))
    joint = _leading(contrast.signal, contrast.noise, n_response, 2e-3)
    # noise of a typical person becomes 1
    joint = joint / np.sqrt(np.median(contrast.sizes))

    values = log_spectra.reshape(len(log_spectra), -1).astype(np.float64)
    mean = values.mean(0)
    variance, axes = np.linalg.eigh(np.cov(values.T))
    axes = axes[:, ::-1][:, :n_spectral]
    axes = axes / np.sqrt(variance[::-1][:4].mean())
    for name, value in (
        ("space", space),
        ("time", time),
        ("joint", joint),
        ("spectrum_mean", mean),
        ("spectrum_axes", axes),
    ):
        getattr(inputs, name).copy_(torch.tensor(value, dtype=torch.float32))
