"""Signals whitened in space by the background of the training rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..inputs import Recording, Recordings
from ..models import BackboneConfig
from ..sensors import CanonicalArray
from .extraction import window_blocks

#: What follows the name of a sensor mapping whose signals are also whitened.
SUFFIX = "+whitened"
# least time before the stimulus, in s, that says enough of the background
_LEAST_BASELINE = 0.05
# of the mean eigenvalue: directions that hardly vary must not rule
_RIDGE = 1e-2
# standard deviation of whitened signals, in T: about that of the windows of pretraining
_AMPLITUDE = 2e-13


class WhitenedSensorMapping:
    r"""A sensor mapping followed by a whitener in space.

    Parameters
    ----------
    sensor_mapping : callable
        The mapping to the canonical array.
    covariance : ndarray, shape (n_sensors, n_sensors)
        Covariance of the background on that array, in T².

    Attributes
    ----------
    whitener : ndarray, shape (n_sensors, n_sensors)
        The symmetric whitener, with a gain by which the background comes out with a
        standard deviation of 0.2 pT at each sensor.

    See Also
    --------
    fit_whitening : Estimate the covariance from recordings.

    Notes
    -----
    With eigenvectors :math:`U` and eigenvalues :math:`\lambda` of the covariance, the
    whitener is :math:`U (\lambda + 0.01 \bar\lambda)^{-1/2} U^T`, ZCA whitening [1]_
    with a ridge. It is symmetric, so that a whitened sensor stays where it was.

    References
    ----------
    .. [1] Kessy, Lewin and Strimmer (2018), "Optimal whitening and decorrelation", The
       American Statistician 72:309-314.
    """

    def __init__(self, sensor_mapping: Callable, covariance: NDArray) -> None:
        self.sensor_mapping = sensor_mapping
        values, vectors = np.linalg.eigh(covariance)
        values = values.clip(min=0) + _RIDGE * values.mean()
        self.whitener = _AMPLITUDE * (vectors / np.sqrt(values)) @ vectors.T

    def __repr__(self) -> str:
        return f"WhitenedSensorMapping({self.sensor_mapping!r})"

    @property
    def array(self) -> CanonicalArray:
        """The array that windows come out on."""
        return self.sensor_mapping.array

    def __call__(self, recording: Recording) -> tuple[NDArray, list[str]]:
        """Give the matrix to the array and the channels it takes."""
        matrix, names = self.sensor_mapping(recording)
        return self.whitener @ matrix, names


def fit_whitening(
    recordings: Recordings,
    sensor_mapping: Callable,
    config: BackboneConfig,
    batch_size: int,
) -> WhitenedSensorMapping:
    """Estimate the background of rows, and whiten by it.

    The background is what there is before the stimulus, if rows begin at least 50 ms
    before it; otherwise all that is in the rows. All samples count the same, as in
    :func:`mne.compute_covariance`, however the rows are divided into recordings; but in
    rows longer than a window those in two windows count twice.

    Parameters
    ----------
    recordings : Recordings
        The training rows.
    sensor_mapping : callable
        The mapping to the canonical array.
    config : BackboneConfig
        What the network takes.
    batch_size : int
        Windows at a time.

    Returns
    -------
    mapping : WhitenedSensorMapping
        The mapping, followed by the whitener.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.sensors import CanonicalSensorMapping
    >>> from mne_megfm.estimators.whitening import fit_whitening
    >>> from mne_megfm.inputs import as_recordings
    >>> from mne_megfm.models import ModelConfig
    >>> cohort = simulate_cohort(
    ...     1, states=("auditory",), arrays=("ctf151",), n_epochs=4, random_state=0
    ... )
    >>> recordings = as_recordings(cohort.epochs("auditory")[0])
    >>> mapping = CanonicalSensorMapping()
    >>> fit_whitening(recordings, mapping, ModelConfig(), 4).whitener.shape
    (192, 192)
    """
    n_sensors = config.n_sensors
    total = np.zeros((n_sensors, n_sensors))
    n_samples = 0
    for recording in recordings:
        before = int(-recording.tmin * config.sfreq)  # whole samples before time 0
        if recording.kind == "raw" or before < _LEAST_BASELINE * config.sfreq:
            before = None
        blocks = window_blocks(recording.alone(), sensor_mapping, config, batch_size)
        for block in blocks:
            for window, start, n_valid in zip(
                block.data, block.start, block.n_valid, strict=True
            ):
                end = n_valid
                if before is not None:
                    end = min(n_valid, before - start * config.patch_length)
                if end > 1:
                    part = window[:, :end].astype(np.float64) * 1e12
                    part -= part.mean(axis=1, keepdims=True)
                    total += part @ part.T
                    n_samples += end - 1
    if not total.any():  # zeros before the stimulus
        total = np.eye(n_sensors)
    return WhitenedSensorMapping(sensor_mapping, 1e-24 * total / max(n_samples, 1))
