"""Averages of what was predicted in single trials, against the true averages."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import mne
import numpy as np
import pandas as pd
from mne.utils import _validate_type, verbose
from numpy.typing import NDArray

from ..estimators import MEGFMTransformer
from ..inputs import as_recordings
from ..pretraining import TimeBlockMasking
from ..sensors._geometry import read_geometry
from ._baselines import time_interpolation
from ._reconstruct import reconstruct
from ._sensor_scores import signal_scores

#: Where the first large responses have their peak, in s after the stimulus.
PEAKS = {
    "auditory": {"N100m": (0.07, 0.13)},
    "somatosensory": {"N20m": (0.015, 0.03)},
}


@verbose
def score_evoked(
    transformer: MEGFMTransformer,
    epochs: mne.BaseEpochs,
    mask: Callable | None = None,
    *,
    peaks: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    seed: int = 0,
    verbose: bool | str | int | None = None,
) -> pd.DataFrame:
    """Reconstruct hidden parts of single trials, average them, compare with the truth.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    epochs : Epochs
        The trials, in tesla; states are the names of their events.
    mask : callable | None
        What to hide in each trial; None hides all sensors for 300 ms.
    peaks : dict of str to dict | None
        For each state, names of peaks and where to look for them (s); by default the
        N100m of ``auditory`` and the N20m of ``somatosensory``.
    seed : int
        Seed of the masks.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    scores : DataFrame
        One row for each ``state``, ``sensors`` (kind of coil) and ``method``: ``r2``,
        ``correlation`` and ``relative_error``, and for each peak of the state, in
        ``<name>_latency`` and ``<name>_topography``, how much later it is than in the
        true average (s) and the correlation of the fields at the time of the true one.

    Raises
    ------
    TypeError
        If ``epochs`` are not Epochs.
    ValueError
        If the data do not look like MEG in tesla.

    Notes
    -----
    The true average is that of all trials. It is compared with the average, at each
    channel and time, of the predictions in those trials in which that was hidden: of
    no trial is any visible sample in it. ``same trials`` is the average of what was
    hidden in truth, which is what perfect predictions would give from so few trials;
    ``time`` are straight lines between visible samples. A peak is where the sum of
    squares over the sensors of a kind is largest, to the sample.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import score_evoked
    >>> cohort = simulate_cohort(
    ...     1, states=("auditory",), arrays=("opm64",), n_epochs=10, verbose=False
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> scores = score_evoked(MEGFMTransformer().fit(epochs), epochs)
    >>> scores["method"].tolist()
    ['model', 'time', 'same trials']
    """
    _validate_type(epochs, mne.BaseEpochs, "epochs")
    recording = as_recordings(epochs)[0]
    picks = recording.picks
    info = mne.pick_info(epochs.info, picks, verbose="error")
    geometry = read_geometry(info)
    order = [geometry.names.index(name) for name in info["ch_names"]]
    kinds = np.array(geometry.kinds)[order]
    result, hidden = reconstruct(
        transformer,
        epochs,
        TimeBlockMasking() if mask is None else mask,
        seed=seed,
        return_mask=True,
    )
    hidden, whole = hidden[:, picks], epochs.get_data(picks)
    guesses = {
        "model": result.get_data(picks),
        "time": time_interpolation(np.where(hidden, 0.0, whole), hidden),
        "same trials": whole,
    }
    found = []
    for state in dict.fromkeys(recording.states):
        trials = recording.states == state
        truth = whole[trials].mean(0)
        for kind in dict.fromkeys(kinds):
            of = kinds == kind
            for method, guess in guesses.items():
                average = _average(guess[trials][:, of], hidden[trials][:, of])
                scored = np.isfinite(average)
                values = signal_scores(truth[of][scored], average[scored])
                for name, span in (
                    (PEAKS if peaks is None else peaks).get(state, {}).items()
                ):
                    values |= _peak(name, span, epochs.times, truth[of], average)
                key = {"state": state, "sensors": kind, "method": method}
                found.append({**key, **values})
    return pd.DataFrame(found)


def _average(
    data: NDArray[np.float64], hidden: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Average trials where they were hidden; NaN where none was."""
    count = hidden.sum(0)
    total = np.where(hidden, data, 0.0).sum(0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _peak(
    name: str,
    span: tuple[float, float],
    times: NDArray[np.float64],
    truth: NDArray[np.float64],
    guess: NDArray[np.float64],
) -> dict[str, float]:
    """Compare latency and field of a peak; NaN where the guess is not known."""
    near = np.flatnonzero((times >= span[0]) & (times <= span[1]))
    out = {f"{name}_latency": np.nan, f"{name}_topography": np.nan}
    if not len(near) or not np.isfinite(guess[:, near]).all():
        return out
    true, other = (near[np.square(x[:, near]).sum(0).argmax()] for x in (truth, guess))
    out[f"{name}_latency"] = float(times[other] - times[true])
    topography = np.corrcoef(truth[:, true], guess[:, true])[0, 1]
    out[f"{name}_topography"] = float(topography)
    return out
