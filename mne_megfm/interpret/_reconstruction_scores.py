"""How well hidden signal is predicted, beside interpolation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch
from mne.io import BaseRaw
from mne.utils import ProgressBar, _validate_type, verbose
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..estimators import MEGFMTransformer
from ..inputs import Recording, as_recordings, centre_windows, iter_windows
from ..models import (
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    draw_masks,
    masked_r2,
    sample_mask,
)
from ..sensors.geometry import read_geometry
from ._reconstruct import reconstruct

#: The masks that results are reported for.
MASKS = {
    "random 80 %": RandomMasking(0.8),
    "time blocks of 300 ms": TimeBlockMasking(0.3, 3),
    "quarter of the sensors": SpaceBlockMasking(0.25),
}


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """One kind of mask over the windows of a recording.

    Attributes
    ----------
    original : ndarray, shape (n_windows, n_canonical, n_times)
        Canonical field in T, centred over the recording.
    reconstructed : ndarray, shape (n_windows, n_canonical, n_times)
        The same with the hidden part replaced by the prediction, in T.
    mask : ndarray of bool, shape (n_windows, n_canonical, n_times)
        Where the signal was hidden.
    sfreq : float
        Sampling rate in Hz.
    sensors : ndarray, shape (n_canonical, n_canonical_to_sensors)
        The way back, ``data = reconstructed.transpose(0, 2, 1) @ sensors``, to the
        recording's own MEG channels in T (T/m for planar gradiometers).
    ch_names : tuple of str
        Those channels.
    """

    original: NDArray[np.float32]
    reconstructed: NDArray[np.float32]
    mask: NDArray[np.bool_]
    sfreq: float
    sensors: NDArray[np.float64]
    ch_names: tuple[str, ...]


def _centred_windows(
    transformer: MEGFMTransformer, X: Any
) -> tuple[Recording, torch.Tensor, torch.Tensor]:
    """Cut a recording into windows without its mean at each virtual sensor.

    An offset of the recording is no signal. It is taken over the recording rather
    than over a window, where knowing it would give away the mean of what is hidden.
    """
    check_is_fitted(transformer, "model_")
    recordings = as_recordings(
        X,
        duration=transformer.duration,
        overlap=transformer.overlap,
    )
    if len(recordings) != 1:
        raise ValueError(
            f"Expected one recording, got {len(recordings)}; pass them one by one."
        )
    config = transformer.config_
    blocks = list(
        iter_windows(
            recordings,
            transformer.sensor_mapping_,
            sfreq=config.sfreq,
            n_times=config.n_times,
            patch=config.patch_length,
            batch_size=transformer.batch_size,
        )
    )
    data = np.concatenate([block.data for block in blocks])
    n_valid = np.concatenate([block.n_valid for block in blocks])
    centre_windows(data, n_valid)
    return recordings[0], torch.from_numpy(data), torch.from_numpy(n_valid)


@verbose
def score_reconstruction(
    transformer: MEGFMTransformer,
    X: Any,
    *,
    masks: Mapping[str, Any] | None = None,
    n_draws: int = 10,
    seed: int = 0,
    verbose: bool | str | int | None = None,
) -> pd.DataFrame:
    """Compare predictions of hidden signal with interpolation over field and time.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    X : Epochs | Raw | Evoked | MEGSamples
        One recording, in tesla. It is centred over its length.
    masks : dict of str to callable | None
        What to hide; by default 80 %% of the tokens at random, all sensors for 300 ms
        of each second, and a quarter of the sensors all the time. Of windows that
        are shorter than a second, the same shares are hidden.
    n_draws : int
        Masks drawn for each window.
    seed : int
        Seed of the masks.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    scores : DataFrame
        R² (1 is perfect, 0 as good as predicting nothing) of ``model``, ``field``
        and ``time`` for each kind of mask, see
        :func:`~mne_megfm.models.masked_r2`.

    Raises
    ------
    ValueError
        If ``X`` is not one recording, or does not look like MEG in tesla.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import score_reconstruction
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("rest",),
    ...     arrays=("ctf151",),
    ...     n_epochs=4,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("rest")[0]
    >>> transformer = MEGFMTransformer().fit(epochs)
    >>> scores = score_reconstruction(transformer, epochs, n_draws=1)
    >>> scores.columns.tolist()
    ['model', 'field', 'time']
    """
    _, data, n_valid = _centred_windows(transformer, X)
    region_pos = torch.from_numpy(
        np.array(transformer.sensor_mapping_.array.region_pos)
    )
    rows = {
        name: masked_r2(
            transformer.model_,
            data,
            masking,
            region_pos,
            n_valid=n_valid,
            n_draws=n_draws,
            seed=seed,
        )
        for name, masking in ProgressBar(
            list((MASKS if masks is None else masks).items()), mesg="Masks"
        )
    }
    return pd.DataFrame(rows).T.rename_axis("mask")


@verbose
def masked_reconstruction(
    transformer: MEGFMTransformer,
    X: Any,
    masking: Any,
    *,
    seed: int = 0,
    verbose: bool | str | int | None = None,
) -> Reconstruction:
    """Hide parts of a recording and predict them from the rest.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    X : Epochs | Raw | Evoked | MEGSamples
        One recording, in tesla. It is centred over its length.
    masking : callable
        What to hide, for instance a
        :class:`~mne_megfm.models.TimeBlockMasking`.
    seed : int
        Seed of the masks.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    reconstruction : Reconstruction
        Original, prediction and mask on the canonical array.

    Raises
    ------
    ValueError
        If ``X`` is not one recording, or does not look like MEG in tesla.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import masked_reconstruction
    >>> from mne_megfm.models import TimeBlockMasking
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("rest",),
    ...     arrays=("ctf151",),
    ...     n_epochs=2,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("rest")[0]
    >>> transformer = MEGFMTransformer().fit(epochs)
    >>> result = masked_reconstruction(transformer, epochs, TimeBlockMasking())
    >>> result.reconstructed.shape
    (2, 192, 250)
    """
    recording, data, n_valid = _centred_windows(transformer, X)
    model, config = transformer.model_, transformer.config_
    array = transformer.sensor_mapping_.array
    generator = torch.Generator().manual_seed(seed)
    region_pos = torch.from_numpy(np.array(array.region_pos))
    mask = draw_masks(masking, len(data), n_valid, config, region_pos, generator)
    parts = []
    device = next(model.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(data), transformer.batch_size):
            part = slice(start, start + transformer.batch_size)
            batch = (x[part].to(device) for x in (data, mask, n_valid))
            parts.append(model.reconstruct(*batch).cpu())
    mapping = transformer.sensor_mapping_.mapping(recording)
    return Reconstruction(
        original=data.numpy(),
        reconstructed=torch.cat(parts).numpy(),
        mask=sample_mask(mask, n_valid, config).numpy(),
        sfreq=config.sfreq,
        sensors=mapping.from_canonical.T,
        ch_names=mapping.all_ch_names,
    )


#: Origin of the sphere for ``interpolate_bads``, in head coordinates (m).
ORIGIN = (0.0, 0.0, 0.04)
_FOLDS = 5


def time_interpolation(
    data: NDArray[np.float64], hidden: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Put straight lines between the visible samples of each channel.

    ``data`` and ``hidden`` have the shape (n_rows, n_channels, n_times) throughout this
    module. Where a channel is hidden in all of a row, nothing can be said (NaN).
    """
    out, time = data.copy(), np.arange(data.shape[-1])
    for one, away in zip(out, hidden, strict=True):
        for row, gone in zip(one, away, strict=True):
            if gone.all():
                row[:] = np.nan
            elif gone.any():
                row[gone] = np.interp(time[gone], time[~gone], row[~gone])
    return out


def sensor_interpolation(
    data: NDArray[np.float64], hidden: NDArray[np.bool_], info: mne.Info
) -> NDArray[np.float64]:
    """Interpolate hidden channels from the visible ones by ``interpolate_bads``.

    Where all channels are hidden, nothing can be said (NaN).
    """
    out = data.copy()
    columns = hidden.transpose(0, 2, 1)
    sets, which = np.unique(
        columns.reshape(-1, columns.shape[-1]), axis=0, return_inverse=True
    )
    which = which.reshape(columns.shape[:2])
    for number, bad in enumerate(sets):
        rows, times = np.nonzero(which == number)
        if bad.all():
            out[rows, :, times] = np.nan
        elif bad.any():
            raw = mne.io.RawArray(data[rows, :, times].T, info, verbose="error")
            raw.info["bads"] = np.array(info["ch_names"])[bad].tolist()
            raw.interpolate_bads(origin=ORIGIN, verbose="error")
            out[rows, :, times] = raw.get_data().T
    return out


def pca_prediction(
    data: NDArray[np.float64], hidden: NDArray[np.bool_], n_components: int
) -> NDArray[np.float64]:
    """Predict hidden samples by probabilistic PCA over channels and times.

    Axes are those of whole rows (nothing hidden: an advantage) that are not predicted,
    in five folds. With weights W of the axes and the noise variance s², as by Tipping
    and Bishop (1999), J R Stat Soc B 61, 611-622, a row is W z + mean, with
    z = (W'W + s² I)^-1 W' (x - mean) over its visible samples.

    Axes are at most half as many as the rows that they come from. With fewer than five
    rows, nothing can be said (NaN).
    """
    n = len(data)
    out = np.full(data.shape, np.nan)
    if n < _FOLDS:
        return out
    flat, gone, new = (x.reshape(n, -1) for x in (data, hidden, out))
    for fold in range(_FOLDS):
        test = np.arange(n) % _FOLDS == fold
        train = flat[~test]
        mean = train.mean(0)
        _, size, axes = np.linalg.svd(train - mean, full_matrices=False)
        k = min(n_components, len(train) // 2)
        variance = size**2 / (len(train) - 1)
        noise = variance[k:].sum() / (flat.shape[1] - k)
        gain = np.sqrt(np.maximum(variance[:k] - noise, 0.0))
        weights = gain[:, None] * axes[:k]
        for row in np.flatnonzero(test):
            seen = ~gone[row]
            part = weights[:, seen]
            inner = part @ part.T + noise * np.eye(k)
            code = np.linalg.solve(inner, part @ (flat[row] - mean)[seen])
            new[row] = np.where(seen, flat[row], code @ weights + mean)
    return out


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
    ...     1,
    ...     states=("rest",),
    ...     arrays=("opm64",),
    ...     n_epochs=5,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("rest")[0]
    >>> scores = score_on_sensors(MEGFMTransformer().fit(epochs), epochs)
    >>> scores["method"].unique().tolist()
    ['model', 'time', 'interpolate_bads', 'pca']
    """
    duration = len(inst.times) / inst.info["sfreq"]
    recording = as_recordings(inst, duration=duration, reject_by_annotation=False)[0]
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
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=10,
    ...     random_state=0,
    ...     verbose=False,
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
