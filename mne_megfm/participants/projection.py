"""Axes along which average responses stand out from the noise of trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy.linalg import eigh
from sklearn.utils.extmath import svd_flip

from ..models import TrialInputs

# trials of more power than this many times the median are left out here
_ODD = 4.0


def _leading(signal: np.ndarray, noise: np.ndarray, n: int, ridge: float) -> np.ndarray:
    """Axes of the largest signal per noise, scaled to noise of variance 1."""
    size = len(noise)
    noise = noise + ridge * np.trace(noise) / size * np.eye(size)
    _, axes = eigh(signal, noise, subset_by_index=(size - n, size - 1))
    # eigenvectors have no sign of their own: fix it, for reproducible features
    return svd_flip(axes[:, ::-1], None)[0]


class _Contrast:
    """Covariance of averages against that of single trials, person by person."""

    def __init__(self) -> None:
        self._signal: np.ndarray | float = 0.0
        self._noise: np.ndarray | float = 0.0
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
        self._signal = self._signal + signal / size
        self._noise = self._noise + noise / size
        self.sizes.append(size)

    @property
    def signal(self) -> np.ndarray:
        """Mean covariance of averages, shape (n_values, n_values)."""
        return self._signal / len(self.sizes)

    @property
    def noise(self) -> np.ndarray:
        """Mean covariance of single trials, so that its mean variance is 1."""
        return self._noise / len(self.sizes)


def fit_trial_inputs(
    inputs: TrialInputs,
    read: Callable[[], Iterable[np.ndarray]],
    log_spectra: np.ndarray,
) -> None:
    """Find the projection of trials, without labels.

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

    _keep(inputs, space, time, joint, *_spectral_axes(log_spectra, n_spectral))


def fit_untrained_inputs(inputs: TrialInputs, windows: np.ndarray) -> None:
    """Give a participant encoder with random weights the axes of most power.

    Parameters
    ----------
    inputs : TrialInputs
        Changed in place.
    windows : ndarray, shape (n, n_sensors, n_times)
        Fields in tesla, such as random ones.
    """
    n_response = inputs.joint.shape[1]
    segments = windows[:, :, : inputs.n_after] / float(inputs.unit)
    n, n_sensors, n_after = segments.shape
    by_sensor = np.moveaxis(segments, 1, 0).reshape(n_sensors, -1)
    by_time = segments.reshape(-1, n_after).T
    powers, axes = [], []
    for values, n_axes in (
        (by_sensor, inputs.space.shape[1]),
        (by_time, inputs.time.shape[1]),
    ):
        power, vectors = np.linalg.eigh(values @ values.T / values.shape[1])
        powers.append(power[::-1][:n_axes])
        axes.append(vectors[:, ::-1][:, :n_axes])
    space, time = axes
    both = np.einsum("nct,ck,tl->nkl", segments, space, time, optimize=True)
    # of pairs of axes, those that most was to be expected of, each of variance 1
    leading = np.outer(*powers).ravel().argsort()[::-1][:n_response]
    spread = both.reshape(n, -1)[:, leading].std(0)
    joint = np.zeros((both[0].size, n_response))
    joint[leading, np.arange(n_response)] = 1 / spread
    with torch.inference_mode():
        spectra = inputs.log_spectrum(torch.as_tensor(windows, dtype=torch.float32))
    n_spectral = inputs.spectrum_axes.shape[1]
    _keep(inputs, space, time, joint, *_spectral_axes(spectra.numpy(), n_spectral))


def _spectral_axes(log_spectra: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and principal axes of log spectra."""
    values = log_spectra.reshape(len(log_spectra), -1).astype(np.float64)
    variance, axes = np.linalg.eigh(np.cov(values.T))
    return values.mean(0), axes[:, ::-1][:, :n] / np.sqrt(variance[::-1][:4].mean())


def _keep(inputs: TrialInputs, *values: np.ndarray) -> None:
    names = ("space", "time", "joint", "spectrum_mean", "spectrum_axes")
    for name, value in zip(names, values, strict=True):
        value = np.ascontiguousarray(value, dtype=np.float32)
        getattr(inputs, name).copy_(torch.from_numpy(value))
