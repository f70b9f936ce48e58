"""Filters in space by hand: baselines of two benchmarks."""

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


def response_filter(before, after, n_components=8):
    """Find the whitener, and the patterns that rows share after the stimulus.

    Parameters
    ----------
    before, after : ndarray, shape (n_rows, n_sensors, n_times)
        Training rows, before and after the stimulus, around the mean before it.
    n_components : int
        Patterns that are kept.

    Returns
    -------
    matrix : ndarray, shape (n_components, n_sensors)
        The filters of denoising source separation.
    """
    whitener = spatial_whitener(before)
    rows = whitener @ after
    total = rows.sum(0)
    shared = total @ total.T - np.einsum("nst,nrt->sr", rows, rows)
    return np.linalg.eigh(shared)[1][:, -n_components:].T @ whitener
