"""Hidden parts of a recording, and bad channels, predicted by the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import mne
import numpy as np
import torch
from mne.io import BaseRaw
from mne.utils import ProgressBar, _check_option, _validate_type, verbose
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..estimators import MEGFMTransformer
from ..inputs import (
    Recording,
    as_recordings,
    centre_windows,
    iter_windows,
    rate_ratio,
    window_starts,
)
from ..inputs.checks import check_rows, report_left_out
from ..inputs.windows import resample_segment
from ..models import draw_masks, sample_mask
from ..sensors import SensorMapping
from ..sensors.geometry import MIN_CHANNELS, read_geometry


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


def centred_windows(
    inst: Any, transformer: MEGFMTransformer
) -> tuple[Recording, torch.Tensor, torch.Tensor]:
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
    return recordings[0], torch.from_numpy(data), torch.from_numpy(n_valid)


@dataclass(eq=False)
class SensorPredictor:
    """Ways from a recording's sensors to the model and back.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    recording : Recording
        The recording.
    """

    transformer: MEGFMTransformer
    recording: Recording
    _kept: dict[tuple[str, ...], SensorMapping] = field(default_factory=dict)

    def __post_init__(self) -> None:
        base, array = self.mapping(()), self.transformer.sensor_mapping_.array
        self.good = list(self.recording.ch_names)
        self.names = list(base.all_ch_names)
        self.back = base.from_canonical
        geometry = read_geometry(self.recording.info)
        order = [geometry.names.index(name) for name in self.names]
        apart = geometry.pos[order][:, None] - array.pos
        nearest = np.square(apart).sum(-1).argmin(1)
        #: region of each of `names`: that of the nearest virtual sensor
        self.region = array.region[nearest]
        #: where the good channels are among `names`
        self.at = np.array([self.names.index(name) for name in self.good])

    def mapping(self, names: tuple[str, ...]) -> SensorMapping:
        """Compute or look up the mapping without some channels."""
        if names not in self._kept:
            left_out = self.recording.left_out + names
            recording = replace(self.recording, left_out=left_out)
            self._kept[names] = self.transformer.sensor_mapping_.mapping(recording)
        return self._kept[names]

    def project(
        self, data: NDArray[np.float64], left_out: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Map good channels, but for some, to the canonical array."""
        names = tuple(np.array(self.good)[left_out].tolist())
        mapping = self.mapping(names)
        return mapping.to_canonical @ data[np.isin(self.good, mapping.ch_names)]

    # -- masks --------------------------------------------------------------
    def draw(
        self, masking: Callable, n_samples: int, generator: torch.Generator
    ) -> NDArray[np.bool_]:
        """Draw a mask over the tokens of a row, window after window.

        Returns
        -------
        tokens : ndarray of bool, shape (n_regions, n_patches)
            True where hidden.
        """
        config = self.transformer.config_
        region_pos = torch.from_numpy(
            np.array(self.transformer.sensor_mapping_.array.region_pos)
        )
        parts = []
        for first in range(0, self.n_model(n_samples), config.n_times):
            n_valid = min(config.n_times, self.n_model(n_samples) - first)
            mask = draw_masks(
                masking, 1, torch.tensor([n_valid]), config, region_pos, generator
            )
            parts.append(mask[0, :, : -(-n_valid // config.patch_length)].numpy())
        return np.concatenate(parts, 1)

    def n_model(self, n_samples: int) -> int:
        """Count the samples of a row at the model's rate."""
        up, down, _ = rate_ratio(self.recording.sfreq, self.transformer.config_.sfreq)
        return -(-n_samples * up // down)

    def spread(self, tokens: NDArray[np.bool_], n_samples: int) -> NDArray[np.bool_]:
        """Spread a mask over tokens to the recording's channels and samples."""
        config = self.transformer.config_
        up, down, _ = rate_ratio(self.recording.sfreq, config.sfreq)
        patch = np.arange(n_samples) * up // (down * config.patch_length)
        return tokens[self.region][:, patch]

    # -- prediction ---------------------------------------------------------
    def predict(
        self,
        data: NDArray[np.float64],
        tokens: NDArray[np.bool_],
        silent: NDArray[np.bool_],
        offset: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Predict the hidden part of a row; give the rest as it is mapped.

        Parameters
        ----------
        data : ndarray, shape (n_good, n_samples)
            Good channels.
        tokens : ndarray of bool, shape (n_regions, n_patches)
            What to hide. Values there are not looked at.
        silent : ndarray of bool, shape (n_good,)
            Channels that are left out of this row.
        offset : ndarray, shape (n_good,)
            Mean of each over what is visible in the recording; NaN if nothing is.

        Returns
        -------
        predicted : ndarray, shape (n_names, n_samples)
            All MEG channels.
        """
        config = self.transformer.config_
        n_samples = data.shape[1]
        up, down, _ = rate_ratio(self.recording.sfreq, config.sfreq)
        known = np.isfinite(offset)
        offset = np.where(known, offset, 0.0)
        level = self.back @ self.project(offset[:, None], ~known | silent)
        # a channel's own mean where it has one, that of the field elsewhere
        level[self.at[known], 0] = offset[known]
        data = data - offset[:, None]
        hidden = self.spread(tokens, n_samples)[self.at]
        # the filter that resamples must not carry hidden signal to visible samples
        visible = _bridge(data, hidden)
        visible = resample_segment(visible, up, down, n_out=self.n_model(n_samples))

        canonical = np.zeros((len(self.back.T), visible.shape[1]))
        unseen = tokens.copy()
        sets, which = np.unique(tokens, axis=1, return_inverse=True)
        for number, column in enumerate(sets.T):
            left_out = column[self.region[self.at]] | silent
            patches = which.ravel() == number
            if (~left_out).sum() < MIN_CHANNELS:
                unseen[:, patches] = True
                continue
            at = np.repeat(patches, config.patch_length)[: visible.shape[1]]
            canonical[:, at] = self.project(visible[:, at], left_out)
        canonical = self._complete(canonical, unseen)
        signal = resample_segment(canonical, down, up, n_out=n_samples)
        return self.back @ signal + level

    def _complete(
        self, signal: NDArray[np.float64], tokens: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Replace hidden tokens of a canonical row by the model's predictions.

        Windows overlap by half. Where several predict a token, they are weighed by
        how far from their ends it lies and by how much they see.
        """
        model, config = self.transformer.model_, self.transformer.config_
        n, length = config.n_patches, config.patch_length
        starts = window_starts(signal.shape[1], config.n_times, length, n // 2)
        windows = np.zeros((len(starts), config.n_sensors, config.n_times), np.float32)
        masks = np.zeros((len(starts), config.n_regions, n), bool)
        n_valid = np.empty(len(starts), int)
        for i, start in enumerate(starts):
            part = signal[:, start * length :][:, : config.n_times]
            windows[i, :, : part.shape[1]], n_valid[i] = part, part.shape[1]
            mask = tokens[:, start : start + n]
            masks[i, :, : mask.shape[1]] = mask
        recorded = np.arange(n) * length < n_valid[:, None]
        share = (~masks & recorded[:, None]).mean((1, 2))
        # nothing to predict, or nothing to predict it from
        useful = np.flatnonzero(masks.any((1, 2)) & (share > 0))
        total = np.zeros_like(signal)
        weight = np.zeros(-(-signal.shape[1] // length))
        taper = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1))
        device = next(model.parameters()).device
        size = self.transformer.batch_size
        for first in range(0, len(useful), size):
            at = useful[first : first + size]
            with torch.inference_mode():
                given = (
                    torch.from_numpy(x[at]).to(device)
                    for x in (windows, masks, n_valid)
                )
                predicted = model.reconstruct(*given).cpu().numpy()
            for i, window in zip(at, predicted, strict=True):
                stop = min(n, len(weight) - starts[i])
                gain = share[i] * taper[:stop]
                weight[starts[i] : starts[i] + stop] += gain
                samples = slice(starts[i] * length, starts[i] * length + n_valid[i])
                gain = np.repeat(gain, length)[: n_valid[i]]
                total[:, samples] += gain * window[:, : n_valid[i]]
        weight = np.repeat(weight, length)[: signal.shape[1]]
        predicted = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
        at = np.repeat(tokens, config.sensors_per_region, 0)
        at = np.repeat(at, length, 1)[:, : signal.shape[1]]
        return np.where(at, predicted, signal)


def _bridge(
    data: NDArray[np.float64], hidden: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Put straight lines between visible samples; zeros where there are none."""
    data, time = data.copy(), np.arange(data.shape[1])
    for row, away in zip(data, hidden, strict=True):
        if away.all():
            row[:] = 0.0
        elif away.any():
            row[away] = np.interp(time[away], time[~away], row[~away])
    return data


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
        alone.
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

    A Raw of any length is predicted in windows of 1 s that overlap by half, in pieces
    of 30 s. The result is in memory.

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
    duration = len(inst.times) / inst.info["sfreq"]
    recordings = as_recordings(inst, duration=duration, reject_by_annotation=False)
    recording = recordings[0]
    predictor = SensorPredictor(transformer, recording)
    out = inst.copy()
    if not isinstance(out, mne.Evoked):
        out.load_data()
    # pieces of a Raw look at what is around them, so they are read from the original
    source = inst if isinstance(inst, BaseRaw) else out
    rows = list(_rows(out))
    picks = [inst.ch_names.index(name) for name in predictor.names]
    good = ~np.isin(predictor.names, inst.info["bads"])

    tokens: list[Any] = [None] * len(rows)
    offset = np.zeros(len(predictor.good))
    if mask is not None:
        generator = torch.Generator().manual_seed(random_state)
        tokens = [predictor.draw(mask, row.length, generator) for row in rows]
        offset = _offsets(predictor, source, rows, tokens)
    hidden = np.zeros(_data(out).shape, bool) if return_mask else None
    pairs = list(zip(rows, tokens, strict=True))
    for row, token in ProgressBar(pairs, mesg="Reconstructing"):
        data = _read(source, row, predictor.good)
        flat, far = check_rows(data, recording, row.index)
        report_left_out(recording, flat, far, recordings.reported)
        left_out = flat | far
        if token is None:
            new = predictor.back @ predictor.project(data, left_out)
            away = np.zeros(new.shape, bool)
            change = good[:, None] | away
        else:
            new = predictor.predict(data, token, left_out, offset)
            change = away = predictor.spread(token, row.length) & good[:, None]
        if fill_bads:
            change = change | ~good[:, None]
        at = row.place(out, picks)
        old = _read(source, row, predictor.names)
        _data(out)[at] = np.where(change, new, old)[:, row.core]
        if hidden is not None:
            hidden[at] = away[:, row.core]
    if fill_bads:
        out.info["bads"] = [x for x in inst.info["bads"] if x not in predictor.names]
    return out if hidden is None else (out, hidden)


def _on_canonical(
    inst: Any, transformer: MEGFMTransformer, mask: Callable, random_state: int
) -> Reconstruction:
    """Predict hidden parts of a recording's windows on the canonical array."""
    recording, data, n_valid = centred_windows(inst, transformer)
    model, config = transformer.model_, transformer.config_
    array = transformer.sensor_mapping_.array
    generator = torch.Generator().manual_seed(random_state)
    region_pos = torch.from_numpy(np.array(array.region_pos))
    hidden = draw_masks(mask, len(data), n_valid, config, region_pos, generator)
    parts = []
    device = next(model.parameters()).device
    with torch.inference_mode():
        for start in range(0, len(data), transformer.batch_size):
            part = slice(start, start + transformer.batch_size)
            batch = (x[part].to(device) for x in (data, hidden, n_valid))
            parts.append(model.reconstruct(*batch).cpu())
    mapping = transformer.sensor_mapping_.mapping(recording)
    return Reconstruction(
        original=data.numpy(),
        reconstructed=torch.cat(parts).numpy(),
        mask=sample_mask(hidden, n_valid, config).numpy(),
        sfreq=config.sfreq,
        sensors=mapping.from_canonical.T,
        ch_names=mapping.all_ch_names,
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
