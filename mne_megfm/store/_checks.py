"""Checks of what is to be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._store import WindowStore


def check_recording(
    windows: np.ndarray,
    name: str,
    participant: str,
    n_valid: np.ndarray | None,
    start: np.ndarray | None,
    store: WindowStore,
) -> tuple[np.ndarray, np.ndarray]:
    """Check what is to be appended, and fill in defaults.

    Parameters
    ----------
    windows, name, participant, n_valid, start
        See `WindowStore.append`.
    store : WindowStore
        Where it is to go.

    Returns
    -------
    n_valid, start : ndarray
        As they are to be written.

    Raises
    ------
    ValueError
        If something does not fit.
    """
    for key, text in (("name", name), ("participant", participant)):
        if not isinstance(text, str) or not text:
            raise ValueError(f"Expected {key} to be a text, got {text!r}.")
    n = len(windows)
    if n == 0 or windows.shape[1:] != (store.n_sensors, store.n_times):
        raise ValueError(
            f"Expected windows of shape (n, {store.n_sensors}, {store.n_times}) with "
            f"n of at least 1, got {windows.shape} for {name!r}."
        )
    if windows.dtype.kind != "f" or not np.isfinite(windows).all():
        raise ValueError(
            f"Expected finite windows in T, got {windows.dtype} with NaN or "
            f"infinity, or no floats, for {name!r}."
        )
    n_valid = np.full(n, store.n_times) if n_valid is None else np.asarray(n_valid)
    if n_valid.shape != (n,) or n_valid.min() < 1 or n_valid.max() > store.n_times:
        raise ValueError(
            f"Expected n_valid to be {n} numbers from 1 to {store.n_times}, got "
            f"{n_valid!r} for {name!r}."
        )
    if start is None:
        start = np.arange(n) * (store.n_times / store.sfreq)
    start = np.asarray(start)
    if start.shape != (n,):
        raise ValueError(
            f"Expected start to be {n} times in s, got shape {start.shape}."
        )
    return n_valid, start
