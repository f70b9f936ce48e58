"""Whitening in space by hand: a baseline of two benchmarks, apart from the package."""

import numpy as np


def spatial_whitener(before, ridge=0.01):
    """Find the matrix that whitens sensors by their covariance before the stimulus.

    Parameters
    ----------
    before : ndarray, shape (n_rows, n_sensors, n_times)
        Training rows, before the stimulus alone.
    ridge : float
        What is added to the eigenvalues, as a share of their mean.

    Returns
    -------
    matrix : ndarray, shape (n_sensors, n_sensors)
        The inverse square root of the covariance.
    """
    before = before - before.mean(-1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(np.hstack(list(before))))
    values = values.clip(min=0) + ridge * values.mean()
    return (vectors / np.sqrt(values)) @ vectors.T
