"""How well hidden signal is predicted on a recording's own sensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mne
import numpy as np
import pandas as pd
from mne.io import BaseRaw
from mne.utils import ProgressBar, verbose
from numpy.typing import NDArray

from ..estimators import MEGFMTransformer
from ..inputs import as_recordings
from ..pretraining import SpaceBlockMasking, TimeBlockMasking
from ..sensors._geometry import read_geometry
from ._baselines import pca_prediction, sensor_interpolation, time_interpolation
from ._reconstruct import reconstruct

_MASKS = {
    "time blocks of 300 ms": TimeBlockMasking(0.3, 3),
    "quarter of the sensors": SpaceBlockMasking(0.25),
}


@verbose
def score_on_sensors(
    transformer: MEGFMTransformer,
    inst: Any,
    *,
    masks: Mapping[str, Any] | None = None,
    seed: int = 0,
    verbose: bool | str | int | None = None,
) -> pd.DataFrame:
    """Score predictions of hidden signal by state and kind of sensor.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    inst : Raw | Epochs | Evoked
        The recording, in tesla.
    masks : dict of str to callable | None
        What to hide; by default all sensors for 300 ms of each second, and a quarter
        of the sensors all the time.
    seed : int
        Seed of the masks.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    scores : DataFrame
        One row for each ``mask``, ``state``, ``sensors`` (kind of coil) and ``method``:
        ``r2`` (1 is perfect, 0 as good as each channel's mean over the recording),
        ``correlation`` and ``relative_error`` over the ``n_samples`` hidden samples of
        good channels. NaN where a method cannot predict.

    Raises
    ------
    ValueError
        If the data do not look like MEG in tesla, or a mask hides nothing.

    See Also
    --------
    reconstruct : What is scored.
    score_reconstruction : Scores on the canonical array.

    Notes
    -----
    Methods beside the model: straight lines in ``time``;
    :meth:`~mne.Evoked.interpolate_bads` with the hidden channels as bad ones, about a
    sphere at (0, 0, 4) cm; ``pca``, probabilistic PCA over channels and times of as
    many components as the model is wide (if there are twice as many rows), whose axes
    come from other, whole rows of the same recording. All see each sample less each
    channel's mean over what is visible. A Raw is a row a second.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import score_on_sensors
    >>> cohort = simulate_cohort(
    ...     1, states=("rest",), arrays=("opm64",), n_epochs=5, verbose=False
    ... )
    >>> epochs = cohort.epochs("rest")[0]
    >>> scores = score_on_sensors(MEGFMTransformer().fit(epochs), epochs)
    >>> scores["method"].unique().tolist()
    ['model', 'time', 'interpolate_bads', 'pca']
    """
    window = len(inst.times) / inst.info["sfreq"]
    recording = as_recordings(inst, window=window, reject_by_annotation=False)[0]
    info = mne.pick_info(inst.info, recording.picks, verbose="error")
    geometry = read_geometry(info)
    order = [geometry.names.index(name) for name in info["ch_names"]]
    kinds = np.array(geometry.kinds)[order]
    whole = _rows(inst, inst.copy(), recording.picks)
    states = recording.states
    if len(states) != len(whole):  # a Raw, of one state
        states = np.repeat(states, len(whole))
    centre = whole.mean((0, 2))[:, None]
    found = []
    chosen = _MASKS if masks is None else masks
    for name, masking in ProgressBar(list(chosen.items()), mesg="Masks"):
        result, hidden = reconstruct(
            transformer, inst, masking, seed=seed, return_mask=True
        )
        hidden = _cut(hidden, inst, recording.picks).astype(bool)
        if not hidden.any():
            raise ValueError(
                f"Expected the mask {name!r} to hide some signal, got none hidden; "
                "raise its ratio."
            )
        guesses = _guesses(whole, hidden, info, kinds, transformer.config_.d_model)
        guesses = {"model": _rows(inst, result, recording.picks), **guesses}
        for state in dict.fromkeys(states):
            for kind in dict.fromkeys(kinds):
                at = hidden & (states == state)[:, None, None]
                at &= (kinds == kind)[:, None]
                for method, guess in guesses.items():
                    values = signal_scores((whole - centre)[at], (guess - centre)[at])
                    key = {"mask": name, "state": state, "sensors": kind}
                    found.append({**key, "method": method, **values})
    return pd.DataFrame(found)


def _guesses(
    whole: NDArray[np.float64],
    hidden: NDArray[np.bool_],
    info: mne.Info,
    kinds: NDArray[np.str_],
    n_components: int,
) -> dict[str, NDArray[np.float64]]:
    """Predict by all baselines, from what is visible less its mean."""
    seen = np.maximum((~hidden).sum((0, 2)), 1)
    mean = (np.where(hidden, 0.0, whole).sum((0, 2)) / seen)[:, None]
    data = np.where(hidden, 0.0, whole - mean)
    size = np.ones(len(kinds))
    for kind in set(kinds):  # T and T/m side by side
        size[kinds == kind] = data[:, kinds == kind].std()
    size = size[:, None]
    # axes come from whole rows, but those that are predicted are hidden in part
    pca = pca_prediction((whole - mean) / size, hidden, n_components) * size
    return {
        "time": time_interpolation(data, hidden) + mean,
        "interpolate_bads": sensor_interpolation(data, hidden, info) + mean,
        "pca": pca + mean,
    }


def signal_scores(
    truth: NDArray[np.float64], guess: NDArray[np.float64]
) -> dict[str, float]:
    """Score a guess of centred signals: R², correlation, relative error."""
    if not truth.size or not np.isfinite(guess).all():
        values = dict.fromkeys(("r2", "correlation", "relative_error"), np.nan)
        return {**values, "n_samples": truth.size}
    error = np.sum((guess - truth) ** 2) / np.sum(truth**2)
    apart = np.std(guess) > 0 and np.std(truth) > 0
    return {
        "r2": float(1 - error),
        "correlation": float(np.corrcoef(truth, guess)[0, 1]) if apart else np.nan,
        "relative_error": float(np.sqrt(error)),
        "n_samples": truth.size,
    }


def _rows(inst: Any, of: Any, picks: NDArray[np.intp]) -> NDArray[np.float64]:
    """Give the data of an MNE object as rows."""
    data = of.data if isinstance(of, mne.Evoked) else of.get_data()
    return _cut(data, inst, picks)


def _cut(data: NDArray, inst: Any, picks: NDArray[np.intp]) -> NDArray:
    """Cut data to the shape (n_rows, n_picks, n_times); of a Raw, rows of 1 s."""
    data = data[..., picks, :]
    if data.ndim == 3:
        return data
    if not isinstance(inst, BaseRaw):
        return data[None]
    length = min(round(inst.info["sfreq"]), data.shape[1])
    n_rows = data.shape[1] // length
    data = data[:, : n_rows * length].reshape(len(data), n_rows, length)
    return data.transpose(1, 0, 2)
