"""Hidden parts of a recording, and bad channels, predicted from the rest.

Of bad channels, two linear maps from the good ones are stacked: by way of the canonical
array, which knows how fields of a head and of far sources look, and that of MNE. Which
is better differs between arrays, and with the noise; good channels show which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import mne
import numpy as np
import torch
from mne.io import BaseRaw
from mne.transforms import Transform
from mne.utils import ProgressBar, _check_option, _validate_type, logger
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..estimators import MEGFMTransformer
from ..inputs import (
    Recording,
    as_recordings,
    centre_windows,
    iter_windows,
)
from ..inputs.checks import check_rows, report_left_out
from ..models import Completed, complete_recording, draw_masks, sample_mask
from ..sensors.geometry import ORIGIN, read_geometry
from ..utils.logs import verbose
from ._sensor_predictor import CanonicalRow, SensorPredictor


# -- hidden parts ----------------------------------------------------------------------
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
    weights : dict of str to float | None
        What the prediction is made of: weights of the network, the field, the
        covariance over sensors and Wiener interpolation, where they are known.
    """

    original: NDArray[np.float32]
    reconstructed: NDArray[np.float32]
    mask: NDArray[np.bool_]
    sfreq: float
    sensors: NDArray[np.float64]
    ch_names: tuple[str, ...]
    weights: dict[str, float] | None = None


class CentredWindows(NamedTuple):
    """Windows of a recording on the canonical array, of mean 0 over it.

    Attributes
    ----------
    recording : Recording
        The recording.
    data : Tensor, shape (n_windows, n_canonical, n_times)
        The windows, in T.
    n_valid : Tensor of int, shape (n_windows,)
        Recorded samples of each.
    starts : Tensor of int, shape (n_windows,)
        First sample of each on one time line; epochs are far from each other.
    """

    recording: Recording
    data: torch.Tensor
    n_valid: torch.Tensor
    starts: torch.Tensor


def centred_windows(inst: Any, transformer: MEGFMTransformer) -> CentredWindows:
    """Cut a recording into windows without its mean at each virtual sensor.

    An offset of the recording is no signal. It is taken over the recording rather
    than over a window, where knowing it would give away the mean of what is hidden.
    """
    check_is_fitted(transformer, "model_")
    recordings = as_recordings(
        inst,
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
    recording = recordings[0]
    start = np.concatenate([block.start for block in blocks]) * config.patch_length
    row = np.concatenate([block.row for block in blocks])
    position = np.searchsorted(recording.index, row)
    if recording.kind == "raw":
        rate = config.sfreq / recording.sfreq
        start += np.round(recording.rows[position] * rate).astype(int)
    else:
        start += position * (int(start.max()) + 2 * config.n_times)
    return CentredWindows(
        recording, torch.from_numpy(data), torch.from_numpy(n_valid),
        torch.from_numpy(start),
    )  # fmt: skip


def complete_windows(
    windows: CentredWindows,
    transformer: MEGFMTransformer,
    masking: Callable,
    generator: torch.Generator,
) -> tuple[torch.Tensor, Completed]:
    """Draw masks for the windows of a recording and predict what they hide.

    Returns
    -------
    mask : Tensor of bool, shape (n_windows, n_regions, n_patches)
        The masks.
    completed : Completed
        The predictions.
    """
    model, config = transformer.model_, transformer.config_
    array = transformer.sensor_mapping_.array
    region_pos = torch.from_numpy(np.array(array.region_pos))

    def draw(generator: torch.Generator) -> torch.Tensor:
        n = len(windows.data)
        return draw_masks(masking, n, windows.n_valid, config, region_pos, generator)

    mask = draw(generator)
    device = next(model.parameters()).device
    with torch.inference_mode():
        completed = complete_recording(
            model,
            windows.data.to(device),
            mask.to(device),
            draw,
            n_valid=windows.n_valid.to(device),
            starts=windows.starts.to(device),
            batch_size=transformer.batch_size,
        )
    return mask, completed


# A Raw is worked on in pieces of so many s, each with that much around it.
_PIECE, _MARGIN = 30.0, 1.0


@verbose
def reconstruct(
    inst: Any,
    transformer: MEGFMTransformer,
    mask: Callable | None = None,
    on: str = "sensors",
    *,
    fill_bads: bool = False,
    random_state: int = 0,
    return_mask: bool = False,
    verbose: bool | str | int | None = None,
) -> Any:
    """Hide parts of a recording and put predictions in their place.

    Parameters
    ----------
    inst : Raw | Epochs | Evoked | MEGSamples
        The recording, in tesla. Not changed. MEGSamples for ``on='canonical'`` alone.
    transformer : MEGFMTransformer
        A fitted transformer.
    mask : callable | None
        What to hide, for instance a
        :class:`~mne_megfm.models.TimeBlockMasking`. None hides nothing: good
        channels become what the canonical array knows of them, which leaves out
        noise that cannot come from a head.
    on : {"sensors", "canonical"}
        Where to: the recording's own channels, or the canonical array, where the model
        works. There, rows of the recording are windows, centred over its length.
    fill_bads : bool
        Whether to fill bad channels too, which then are no longer bad; on sensors
        alone. The canonical array and MNE's
        :meth:`~mne.io.Raw.interpolate_bads` (``mode="accurate"``, about a sphere at
        (0, 0, 4) cm) are stacked, by weights that predict good channels best from
        other good ones.
    random_state : int
        Seed of the masks.
    return_mask : bool
        Whether to return where signal was hidden.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    inst : Raw | Epochs | Evoked | Reconstruction
        A copy with the same channels, times, events, metadata, projectors and
        annotations. With a mask, what was not hidden is unchanged. On the canonical
        array: original, prediction and mask as a `Reconstruction`.
    hidden : ndarray of bool, shape as the data
        Which samples of which channels were hidden; if ``return_mask``.

    Raises
    ------
    TypeError
        If ``inst`` is not one MNE object with signals, or ``mask`` not a callable.
    ValueError
        If the data do not look like MEG in tesla, or there are too few channels; on the
        canonical array, without a mask, or of several recordings.

    See Also
    --------
    score_reconstruction : How well that is predicted.

    Notes
    -----
    A mask is drawn for each second. A channel is hidden with the region of the
    virtual sensor next to it. Hidden samples are not looked at anywhere: a hidden
    channel is left out of the mapping to the canonical array, which is computed again
    for each set of hidden channels (that takes time where a mask hides other
    channels in each patch, as :class:`~mne_megfm.models.RandomMasking` does),
    and neither offsets nor the resampling filter know them. Where fewer than 20
    channels are left, all are taken for hidden.

    Predictions have frequencies up to half of the model's sampling rate, 125 Hz.
    Without a mask, nothing is resampled.

    Rows are predicted in windows of 1 s that overlap by half; a Raw is read in pieces
    of 30 s. The result is in memory.

    The prediction is stacked: the network, the field of the sensors visible at the
    same time, the covariance over sensors, and Wiener interpolation in space and time.
    Covariances and weights come from what is visible of the recording (64 windows at
    most), of which some is hidden too to find the weights. What adds nothing in a
    recording has a weight near 0 there. See
    :func:`~mne_megfm.interpret.score_reconstruction`.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import reconstruct
    >>> from mne_megfm.models import TimeBlockMasking
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=2,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> transformer = MEGFMTransformer().fit(epochs)
    >>> result, hidden = reconstruct(
    ...     epochs, transformer, TimeBlockMasking(0.3), return_mask=True
    ... )
    >>> len(result), round(float(hidden.mean()), 2)
    (2, 0.3)
    >>> windows = reconstruct(epochs, transformer, TimeBlockMasking(0.3), "canonical")
    >>> windows.reconstructed.shape
    (2, 192, 250)
    """
    check_is_fitted(transformer, "model_")
    _check_option("on", on, ("sensors", "canonical"))
    if on == "canonical":
        if not callable(mask) or fill_bads or return_mask:
            raise ValueError(
                "Expected a mask and neither fill_bads nor return_mask with "
                f"on='canonical', got mask={mask!r}, fill_bads={fill_bads} and "
                f"return_mask={return_mask}; the mask is part of the result."
            )
        return _on_canonical(inst, transformer, mask, random_state)
    _validate_type(inst, (BaseRaw, mne.BaseEpochs, mne.Evoked), "inst")
    if mask is not None and not callable(mask):
        raise TypeError(
            f"Expected mask as a callable or None, got {mask!r}; pass for instance "
            "TimeBlockMasking(0.3) of mne_megfm.models."
        )
    if mask is None:
        return _project(inst, transformer, fill_bads, return_mask)
    found, hidden = predict_hidden(
        inst, transformer, mask, fill_bads=fill_bads, random_state=random_state
    )
    return (found["model"], hidden) if return_mask else found["model"]


def _open(inst: Any, transformer: MEGFMTransformer) -> tuple:
    """Read what an MNE object is as one recording, and make a copy to write to."""
    duration = len(inst.times) / inst.info["sfreq"]
    recordings = as_recordings(inst, duration=duration, reject_by_annotation=False)
    predictor = SensorPredictor(transformer, recordings[0])
    out = inst.copy()
    if not isinstance(out, mne.Evoked):
        out.load_data()
    # pieces of a Raw look at what is around them, so they are read from the original
    source = inst if isinstance(inst, BaseRaw) else out
    picks = [inst.ch_names.index(name) for name in predictor.names]
    return recordings, predictor, out, source, picks


def _project(
    inst: Any, transformer: MEGFMTransformer, fill_bads: bool, return_mask: bool
) -> Any:
    """Take good channels to the canonical array and back; fill bad ones if asked."""
    recordings, predictor, out, source, picks = _open(inst, transformer)
    recording = recordings[0]
    good = ~np.isin(predictor.names, inst.info["bads"])
    rows, silent = list(_rows(out)), np.zeros(len(predictor.good), bool)
    for row in ProgressBar(rows, mesg="Reconstructing"):
        data = _read(source, row, predictor.good)
        flat, far = check_rows(data, recording, row.index)
        report_left_out(recording, flat, far, recordings.reported)
        silent |= flat | far
        new = predictor.back @ predictor.project(data, flat | far)
        old = _read(source, row, predictor.names)
        new = np.where(good[:, None], new, old)
        _data(out)[row.place(out, picks)] = new[:, row.core]
    if fill_bads:
        fill_bad_channels(inst, out, predictor, silent)
    if return_mask:
        return out, np.zeros(_data(out).shape, bool)
    return out


def predict_hidden(
    inst: Any,
    transformer: MEGFMTransformer,
    masking: Callable,
    names: tuple[str, ...] = ("model",),
    *,
    fill_bads: bool = False,
    random_state: int = 0,
) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """Hide parts of a recording and predict them, on its own sensors.

    Parameters
    ----------
    inst : Raw | Epochs | Evoked
        The recording.
    transformer : MEGFMTransformer
        A fitted transformer.
    masking : callable
        What to hide.
    names : tuple of str
        Predictions that are wanted: ``"model"``, or one of what it is made of.
    fill_bads : bool
        Whether to fill bad channels.
    random_state : int
        Seed of the masks.

    Returns
    -------
    found : dict of str to Raw | Epochs | Evoked
        A copy for each of the names.
    hidden : ndarray of bool, shape as the data
        What was hidden.
    """
    recordings, predictor, out, source, picks = _open(inst, transformer)
    recording = recordings[0]
    good = ~np.isin(predictor.names, inst.info["bads"])
    rows = list(_rows(out))
    generator = torch.Generator().manual_seed(random_state)
    tokens = [predictor.draw(masking, row.length, generator) for row in rows]
    offset = _offsets(predictor, source, rows, tokens)
    canonical: list[CanonicalRow] = []
    silent = np.zeros(len(predictor.good), bool)
    pairs = list(zip(rows, tokens, strict=True))
    for row, token in ProgressBar(pairs, mesg="Reconstructing"):
        data = _read(source, row, predictor.good)
        flat, far = check_rows(data, recording, row.index)
        report_left_out(recording, flat, far, recordings.reported)
        silent |= flat | far
        canonical.append(predictor.prepare(data, token, flat | far, offset))
    config = transformer.config_
    if isinstance(inst, BaseRaw):
        rate = config.sfreq / recording.sfreq
        starts = [round(row.start * rate) for row in rows]
    else:  # rows that have nothing to do with each other
        size = max(row.signal.shape[1] for row in canonical) + 2 * config.n_times
        starts = [size * number for number in range(len(rows))]
    signals = predictor.complete(canonical, starts, masking, names)
    hidden = np.zeros(_data(out).shape, bool)
    found = {name: out.copy() for name in names}
    for number, (row, token) in enumerate(pairs):
        away = predictor.spread(token, row.length) & good[:, None]
        at = row.place(out, picks)
        hidden[at] = away[:, row.core]
        old = _read(source, row, predictor.names)
        for name, copy in found.items():
            new = predictor.finish(canonical[number], signals[name][number])
            _data(copy)[at] = np.where(away, new, old)[:, row.core]
    if fill_bads:
        for copy in found.values():
            fill_bad_channels(copy, copy, predictor, silent)
    return found, hidden


def _on_canonical(
    inst: Any, transformer: MEGFMTransformer, mask: Callable, random_state: int
) -> Reconstruction:
    """Predict hidden parts of a recording's windows on the canonical array."""
    windows = centred_windows(inst, transformer)
    config = transformer.config_
    generator = torch.Generator().manual_seed(random_state)
    hidden, completed = complete_windows(windows, transformer, mask, generator)
    mapping = transformer.sensor_mapping_.mapping(windows.recording)
    return Reconstruction(
        original=windows.data.numpy(),
        reconstructed=completed.model.cpu().numpy(),
        mask=sample_mask(hidden, windows.n_valid, config).numpy(),
        sfreq=config.sfreq,
        sensors=mapping.from_canonical.T,
        ch_names=mapping.all_ch_names,
        weights=completed.weights,
    )


class _Row(NamedTuple):
    """A row of a recording: what is looked at, and what of it is written."""

    index: int
    start: int
    length: int
    core: slice

    def place(self, inst: Any, picks: list[int]) -> tuple:
        """Index of the core in the data of an MNE object."""
        first, last = self.start + self.core.start, self.start + self.core.stop
        time = np.arange(first, last)
        at = np.ix_(picks, time)
        return (self.index, *at) if isinstance(inst, mne.BaseEpochs) else at


def _rows(inst: Any) -> Iterator[_Row]:
    """Give the rows of an MNE object; those of a Raw are pieces with a margin."""
    n_times = len(inst.times)
    if not isinstance(inst, BaseRaw):
        n_rows = len(inst) if isinstance(inst, mne.BaseEpochs) else 1
        for index in range(n_rows):
            yield _Row(index, 0, n_times, slice(0, n_times))
        return
    piece, margin = (round(s * inst.info["sfreq"]) for s in (_PIECE, _MARGIN))
    for index, first in enumerate(range(0, n_times, piece)):
        last = min(first + piece, n_times)
        start, stop = max(first - margin, 0), min(last + margin, n_times)
        yield _Row(index, start, stop - start, slice(first - start, last - start))


def _data(inst: Any) -> NDArray[np.float64]:
    """Give the data of a loaded MNE object, to write to."""
    if isinstance(inst, mne.BaseEpochs):
        return inst.get_data(copy=False)
    return inst.data if isinstance(inst, mne.Evoked) else inst._data


def _read(inst: Any, row: _Row, names: list[str]) -> NDArray[np.float64]:
    """Read some channels of a row."""
    if isinstance(inst, BaseRaw):
        stop = row.start + row.length
        return inst.get_data(names, row.start, stop, verbose="error")
    data = _data(inst)
    data = data if data.ndim == 2 else data[row.index]
    return data[[inst.ch_names.index(name) for name in names]]


def _offsets(
    predictor: SensorPredictor,
    inst: Any,
    rows: list[_Row],
    tokens: list[NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Average the visible samples of each good channel; NaN if there are none."""
    total, count = np.zeros((2, len(predictor.good)))
    for row, token in zip(rows, tokens, strict=True):
        seen = ~predictor.spread(token, row.length)[predictor.at]
        data = _read(inst, row, predictor.good)
        total += np.where(seen, data, 0.0)[:, row.core].sum(1)
        count += seen[:, row.core].sum(1)
    out = np.full(len(total), np.nan)
    return np.divide(total, count, out=out, where=count > 0)


# -- bad channels ----------------------------------------------------------------------
# good channels are left out in so many rounds, so many at a time
_ROUNDS, _SHARE = 3, 0.1
# weight that the canonical array's is drawn towards, and how far
_PRIOR, _RIDGE = 0.25, 0.01


def fill_bad_channels(
    inst: Any,
    out: Any,
    predictor: SensorPredictor,
    silent: NDArray[np.bool_] | None = None,
) -> None:
    """Fill the bad channels of an MNE object, which then are no longer bad.

    Parameters
    ----------
    inst : Raw | Epochs | Evoked
        What good channels are taken from.
    out : Raw | Epochs | Evoked
        A loaded copy to write to.
    predictor : SensorPredictor
        The way to the canonical array and back.
    silent : ndarray of bool, shape (n_good,) | None
        Good channels that are not to be taken from.
    """
    names = np.array(predictor.names)
    bad = np.isin(names, inst.info["bads"])
    out.info["bads"] = [name for name in inst.info["bads"] if name not in names]
    if not bad.any():
        return
    used = np.isin(names, predictor.good)
    if silent is not None:
        used[predictor.at[silent]] = False
    picks = [inst.ch_names.index(name) for name in names]
    data = inst.data if isinstance(inst, mne.Evoked) else inst.get_data()
    data = np.moveaxis(data[..., picks, :], -2, 0)  # channels first
    sources = data[used].reshape(used.sum(), -1)
    centred = sources - sources.mean(1, keepdims=True)
    maps = stacked_maps(predictor, bad, used, centred @ centred.T)
    filled = np.tensordot(maps, data[used], 1)
    target = out.data if isinstance(out, mne.Evoked) else out._data
    target[..., np.array(picks)[bad], :] = np.moveaxis(filled, 0, -2)


def stacked_maps(
    predictor: SensorPredictor,
    bad: NDArray[np.bool_],
    used: NDArray[np.bool_],
    covariance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Stack maps from good channels to bad ones.

    Weights are found for each kind of coil, by predicting a tenth of the good channels
    at a time from the others. They add up to one, so that a field that both get right
    comes out right: with predictions p and q of a truth t, w p + (1 - w) q is nearest
    at ``w = sum (t - q)(p - q) / sum (p - q)^2`` [1]_, drawn towards 1/4 and cut to 0
    to 1.

    Parameters
    ----------
    predictor : SensorPredictor
        The way to the canonical array and back.
    bad, used : ndarray of bool, shape (n_names,)
        Channels to fill, and those to take from.
    covariance : ndarray, shape (n_used, n_used)
        Of the channels that are used, of any size.

    Returns
    -------
    maps : ndarray, shape (n_bad, n_used)
        The maps.

    References
    ----------
    .. [1] Breiman (1996), "Stacked regressions", Machine Learning 24, section 2.
    """
    geometry = read_geometry(predictor.recording.info)
    order = [geometry.names.index(name) for name in predictor.names]
    kinds = np.array(geometry.kinds)[order]
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(np.flatnonzero(used))
    size = max(round(_SHARE * used.sum()), 1)
    sums = {kind: np.zeros(2) for kind in set(kinds)}
    for number in range(_ROUNDS):
        gone = np.zeros_like(used)
        gone[shuffled[number * size : (number + 1) * size]] = True
        kept = used & ~gone
        first, second = (f(predictor, gone, kept) for f in (canonical_map, mne_map))
        apart = first - second
        inner, at = kept[used], gone[used]
        within, cross = covariance[np.ix_(inner, inner)], covariance[np.ix_(at, inner)]
        # sums over samples of (t - q)(p - q) and of (p - q)^2, for each channel
        missing = np.sum((cross - second @ within) * apart, 1)
        power = np.sum((apart @ within) * apart, 1)
        for kind, total in sums.items():
            of = kinds[gone] == kind
            total += missing[of].sum(), power[of].sum()
    first, second = (f(predictor, bad, used) for f in (canonical_map, mne_map))
    out = second.copy()
    for kind, (missing, power) in sums.items():
        share = missing / power if power > 0 else _PRIOR
        weight = np.clip((share + _RIDGE * _PRIOR) / (1 + _RIDGE), 0.0, 1.0)
        logger.debug(f"Bad channels, {kind}: weight of the canonical array {weight}.")
        of = kinds[bad] == kind
        out[of] += weight * (first - second)[of]
    return out


def canonical_map(
    predictor: SensorPredictor, bad: NDArray[np.bool_], used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Map some channels to others by way of the canonical array."""
    names = np.array(predictor.names)
    left_out = tuple(name for name in predictor.good if name not in set(names[used]))
    mapping = predictor.mapping(left_out)
    order = [mapping.ch_names.index(name) for name in names[used]]
    return predictor.back[bad] @ mapping.to_canonical[:, order]


def mne_map(
    predictor: SensorPredictor, bad: NDArray[np.bool_], used: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Map some channels to others as ``interpolate_bads(mode="accurate")`` does."""
    info = predictor.recording.info
    geometry = read_geometry(info)
    named = dict(zip(geometry.names, geometry.loc[~geometry.is_reference], strict=True))
    names = [n for n, b, u in zip(predictor.names, bad, used, strict=True) if b or u]
    picks = [info["ch_names"].index(name) for name in names]
    info = mne.pick_info(info, picks, verbose="error")
    # places in the head, also where the head's own place is not known
    info["dev_head_t"] = Transform("meg", "head")
    for ch in info["chs"]:
        ch["loc"] = named[ch["ch_name"]].copy()
    filled = bad[bad | used]
    info["bads"] = np.array(names)[filled].tolist()
    # what it does with one channel at a time is what it does with any signal
    raw = mne.io.RawArray(np.eye(len(names)), info, verbose="error")
    raw.interpolate_bads(mode="accurate", origin=ORIGIN, verbose="error")
    return raw.get_data()[np.ix_(filled, ~filled)]
