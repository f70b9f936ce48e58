"""How well hidden signal is predicted, beside interpolation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch
from mne.io import BaseRaw
from mne.utils import ProgressBar, _check_option, _validate_type
from numpy.typing import NDArray

from ..estimators import MEGFMTransformer
from ..inputs import as_recordings
from ..models import (
    BASELINE_REGULARIZATIONS,
    RandomMasking,
    SpaceBlockMasking,
    TimeBlockMasking,
    field_interpolation,
    from_patches,
    sample_mask,
    time_interpolation as interpolate_patches,
    to_patches,
    valid_patches,
)
from ..sensors.geometry import read_geometry
from ..utils.logs import verbose
from ._reconstruct import (
    ORIGIN,
    CentredWindows,
    centred_windows,
    complete_windows,
    predict_hidden,
)

#: The masks that results are reported for.
MASKS = {
    "random 80 %": RandomMasking(0.8),
    "time blocks of 300 ms": TimeBlockMasking(0.3, 3),
    "quarter of the sensors": SpaceBlockMasking(0.25),
}


_TIME, _SPACE = "time blocks of 300 ms", "quarter of the sensors"
#: What is hidden by default, by what is scored.
_DEFAULTS = {
    "canonical": MASKS,
    "sensors": {name: MASKS[name] for name in (_TIME, _SPACE)},
    "evoked": {_TIME: MASKS[_TIME]},
}
#: What is scored on the canonical array.
COLUMNS = ("model", "network", "wiener", "field", "time")
#: On sensors: the stacked prediction, and two of its parts.
_ALONE = ("model", "network", "wiener")
#: Where the first large responses have their peak, in s after the stimulus.
_PEAKS = {
    "auditory": {"N100m": (0.07, 0.13)},
    "somatosensory": {"N20m": (0.015, 0.03)},
}


@verbose
def score_reconstruction(
    inst: Any,
    transformer: MEGFMTransformer,
    on: str = "canonical",
    *,
    masks: Mapping[str, Callable] | None = None,
    n_draws: int | None = None,
    peaks: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> pd.DataFrame:
    """Score predictions of hidden signal, beside interpolation.

    Parameters
    ----------
    inst : Raw | Epochs | Evoked | MEGSamples
        One recording, in tesla. MEGSamples for ``on='canonical'`` alone, and nothing
        but Epochs for ``on='evoked'``.
    transformer : MEGFMTransformer
        A fitted transformer.
    on : {"canonical", "sensors", "evoked"}
        What is scored: windows on the canonical array, where the model works; the
        recording's own channels; or averages over its trials.
    masks : dict of str to callable | None
        What to hide. By default 80 %% of the tokens at random (on the canonical array
        alone), all sensors for 300 ms of each second, and a quarter of the sensors all
        the time (not for averages). Of windows that are shorter than a second, the
        same shares are hidden.
    n_draws : int | None
        Masks drawn for each window on the canonical array, by default 3. On sensors
        and for averages there is one.
    peaks : dict of str to dict | None
        For averages: names of peaks of each state, and where to look for them (s); by
        default the N100m of ``auditory`` and the N20m of ``somatosensory``.
    random_state : int
        Seed of the masks.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    scores : DataFrame
        On the canonical array: R² (1 is perfect, 0 as good as the mean over the
        recording) for each mask of

        - ``model``: network, field, covariance over sensors and Wiener interpolation,
          stacked by weights from what is visible of the recording;
        - ``network``: the pretrained network alone;
        - ``wiener``: Wiener interpolation [1]_, the conditional mean of a Gaussian
          process of 24 spatial components, with the covariance and autocovariances of
          the visible part of the same recording;
        - ``field``: the minimum-norm field of the sensors visible at the same time, at
          the best of six regularisations, chosen with the hidden truth;
        - ``time``: straight lines between visible samples.

        On sensors: a row for each ``mask``, ``state``, ``sensors`` (kind of coil) and
        ``method``: ``r2`` (0 is as good as each channel's mean over the recording),
        ``correlation`` and ``relative_error`` over the ``n_samples`` hidden samples of
        good channels. NaN where a method cannot predict.

        Of averages: the same, and for each peak of the state, in ``<name>_latency`` and
        ``<name>_topography``, how much later it is than in the true average (s) and
        the correlation of the fields at the time of the true one.

    Raises
    ------
    TypeError
        If averages are to be scored of anything but Epochs.
    ValueError
        If ``inst`` is not one recording, or does not look like MEG in tesla, if a mask
        hides nothing, or if a parameter is of no use for ``on``.

    See Also
    --------
    reconstruct : What is scored.

    Notes
    -----
    On sensors, methods beside the model are ``network`` and ``wiener`` alone, as on
    the canonical array, taken back to the sensors; straight lines in ``time``;
    :meth:`~mne.Evoked.interpolate_bads` with the hidden channels as bad ones, about a
    sphere at (0, 0, 4) cm; ``pca``, probabilistic PCA over channels and times of as
    many components as the model is wide (if there are twice as many rows), whose axes
    come from other, whole rows of the same recording. All see each sample less each
    channel's mean over what is visible. A Raw is a row a second.

    The true average is that of all trials. It is compared with the average, at each
    channel and time, of the predictions in those trials in which that was hidden: of
    no trial is any visible sample in it. ``same trials`` is the average of what was
    hidden in truth, which is what perfect predictions would give from so few trials;
    ``time`` are straight lines between visible samples, and ``network`` and ``wiener``
    as above. A peak is where the sum of
    squares over the sensors of a kind is largest, to the sample.

    References
    ----------
    .. [1] Wiener (1949), "Extrapolation, interpolation, and smoothing of stationary
       time series", MIT Press, chapters 3 and 4.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import score_reconstruction
    >>> from mne_megfm.models import TimeBlockMasking
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=3,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> transformer = MEGFMTransformer().fit(epochs)
    >>> masks = {"300 ms": TimeBlockMasking(0.3)}
    >>> scores = score_reconstruction(epochs, transformer, masks=masks, n_draws=1)
    >>> scores.columns.tolist()
    ['model', 'network', 'wiener', 'field', 'time']
    >>> scores = score_reconstruction(epochs, transformer, masks=masks, on="sensors")
    >>> scores["method"].unique().tolist()
    ['model', 'network', 'wiener', 'time', 'interpolate_bads', 'pca']
    >>> scores = score_reconstruction(epochs, transformer, masks=masks, on="evoked")
    >>> scores["method"].tolist()
    ['model', 'network', 'wiener', 'time', 'same trials']
    """
    _check_option("on", on, tuple(_DEFAULTS))
    for name, value, of in (
        ("n_draws", n_draws, "canonical"),
        ("peaks", peaks, "evoked"),
    ):
        if value is not None and on != of:
            raise ValueError(
                f"Expected {name} for on={of!r} alone, got it for on={on!r}; leave it "
                "out."
            )
    masks = dict(_DEFAULTS[on] if masks is None else masks)
    if on == "canonical":
        n_draws = 3 if n_draws is None else n_draws
        return _score_canonical(inst, transformer, masks, n_draws, random_state)
    if on == "sensors":
        return _score_sensors(inst, transformer, masks, random_state)
    peaks = _PEAKS if peaks is None else peaks
    return _score_evoked(inst, transformer, masks, peaks, random_state)


def _score_canonical(
    inst: Any,
    transformer: MEGFMTransformer,
    masks: Mapping[str, Callable],
    n_draws: int,
    random_state: int,
) -> pd.DataFrame:
    """Compare predictions with interpolation over field and time."""
    windows = centred_windows(inst, transformer)
    rows = {}
    for name, masking in ProgressBar(list(masks.items()), mesg="Masks"):
        generator = torch.Generator().manual_seed(random_state)
        left: dict[str | float, float] = {}
        for _ in range(n_draws):
            for key, value in _errors(windows, transformer, masking, generator).items():
                left[key] = left.get(key, 0.0) + value
        total = left.pop("total")
        if not total:
            raise ValueError(
                f"Expected the mask {name!r} to hide some recorded signal, got none "
                "hidden; raise its ratio, or give longer windows."
            )
        left["field"] = min(left.pop(value) for value in BASELINE_REGULARIZATIONS)
        rows[name] = {column: 1.0 - left[column] / total for column in COLUMNS}
    return pd.DataFrame(rows).T.rename_axis("mask")


def _errors(
    windows: CentredWindows,
    transformer: MEGFMTransformer,
    masking: Callable,
    generator: torch.Generator,
) -> dict[str | float, float]:
    """Sum squared errors over what one draw hides, in units of the network's scale."""
    config = transformer.config_
    mask, completed = complete_windows(windows, transformer, masking, generator)
    at = sample_mask(mask, windows.n_valid, config)
    truth = windows.data / config.scale
    hidden = mask | ~valid_patches(windows.n_valid, config)[:, None]
    patches = to_patches(truth, config)
    visible = torch.where(hidden[..., None, None], 0.0, patches)
    kernel = transformer.model_.kernel.cpu()
    guesses: dict[str | float, torch.Tensor] = {
        value: field_interpolation(visible, hidden, kernel, value)
        for value in BASELINE_REGULARIZATIONS
    }
    guesses["time"] = interpolate_patches(visible, hidden)
    guesses = {key: from_patches(guess, config) for key, guess in guesses.items()}
    guesses["total"] = torch.zeros_like(truth)
    tesla = {"model": completed.model, **completed.parts}
    for name in ("model", "network", "wiener"):
        guesses[name] = tesla[name].cpu() / config.scale
    return {
        key: float((guess - truth)[at].double().square().sum())
        for key, guess in guesses.items()
    }


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


def _score_sensors(
    inst: Any,
    transformer: MEGFMTransformer,
    masks: Mapping[str, Callable],
    random_state: int,
) -> pd.DataFrame:
    """Score predictions by state and kind of sensor, beside baselines."""
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
    for name, masking in ProgressBar(list(masks.items()), mesg="Masks"):
        found_by, hidden = predict_hidden(
            inst, transformer, masking, _ALONE, random_state=random_state
        )
        hidden = _cut(hidden, inst, recording.picks).astype(bool)
        if not hidden.any():
            raise ValueError(
                f"Expected the mask {name!r} to hide some signal, got none hidden; "
                "raise its ratio."
            )
        guesses = _guesses(whole, hidden, info, kinds, transformer.config_.d_model)
        ours = {
            method: _rows(inst, result, recording.picks)
            for method, result in found_by.items()
        }
        guesses = {**ours, **guesses}
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


def _score_evoked(
    epochs: mne.BaseEpochs,
    transformer: MEGFMTransformer,
    masks: Mapping[str, Callable],
    peaks: Mapping[str, Mapping[str, tuple[float, float]]],
    random_state: int,
) -> pd.DataFrame:
    """Average hidden parts of single trials, and compare with the true average."""
    _validate_type(epochs, mne.BaseEpochs, "epochs")
    recording = as_recordings(epochs)[0]
    picks = recording.picks
    info = mne.pick_info(epochs.info, picks, verbose="error")
    geometry = read_geometry(info)
    order = [geometry.names.index(name) for name in info["ch_names"]]
    kinds = np.array(geometry.kinds)[order]
    found = []
    for mask, masking in ProgressBar(list(masks.items()), mesg="Masks"):
        found_by, hidden = predict_hidden(
            epochs, transformer, masking, _ALONE, random_state=random_state
        )
        hidden, whole = hidden[:, picks], epochs.get_data(picks)
        guesses = {
            **{method: result.get_data(picks) for method, result in found_by.items()},
            "time": time_interpolation(np.where(hidden, 0.0, whole), hidden),
            "same trials": whole,
        }
        for state in dict.fromkeys(recording.states):
            trials = recording.states == state
            truth = whole[trials].mean(0)
            for kind in dict.fromkeys(kinds):
                of = kinds == kind
                for method, guess in guesses.items():
                    average = _average(guess[trials][:, of], hidden[trials][:, of])
                    scored = np.isfinite(average)
                    values = signal_scores(truth[of][scored], average[scored])
                    for name, span in peaks.get(state, {}).items():
                        values |= _peak(name, span, epochs.times, truth[of], average)
                    key = {"mask": mask, "state": state, "sensors": kind}
                    found.append({**key, "method": method, **values})
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
