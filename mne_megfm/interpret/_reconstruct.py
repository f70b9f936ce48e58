"""A recording with parts of it predicted, as the MNE object that it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mne
import numpy as np
import torch
from mne.io import BaseRaw
from mne.utils import ProgressBar, _validate_type, verbose
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ..estimators import MEGFMTransformer
from ..inputs import as_recordings
from ..inputs._checks import check_rows, report_left_out
from ._prediction import SensorPredictor

# A Raw is worked on in pieces of so many s, each with that much around it.
_PIECE, _MARGIN = 30.0, 1.0


@verbose
def reconstruct(
    transformer: MEGFMTransformer,
    inst: Any,
    mask: Callable | None = None,
    *,
    fill_bads: bool = False,
    seed: int = 0,
    return_mask: bool = False,
    verbose: bool | str | int | None = None,
) -> Any:
    """Hide parts of a recording and put predictions in their place.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer.
    inst : Raw | Epochs | Evoked
        The recording, in tesla. Not changed.
    mask : callable | None
        What to hide, for instance a
        :class:`~mne_megfm.pretraining.TimeBlockMasking`. None hides nothing: good
        channels become what the canonical array knows of them, which leaves out
        noise that cannot come from a head.
    fill_bads : bool
        Whether to fill bad channels too, which then are no longer bad.
    seed : int
        Seed of the masks.
    return_mask : bool
        Whether to return where signal was hidden.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    inst : Raw | Epochs | Evoked
        A copy with the same channels, times, events, metadata, projectors and
        annotations. With a mask, what was not hidden is unchanged.
    hidden : ndarray of bool, shape as the data
        Which samples of which channels were hidden; if ``return_mask``.

    Raises
    ------
    TypeError
        If ``inst`` is not one MNE object with signals, or ``mask`` not a callable.
    ValueError
        If the data do not look like MEG in tesla, or there are too few channels.

    See Also
    --------
    masked_reconstruction : The same on the canonical array, where the model works.

    Notes
    -----
    A mask is drawn for each second. A channel is hidden with the region of the
    virtual sensor next to it. Hidden samples are not looked at anywhere: a hidden
    channel is left out of the mapping to the canonical array, which is computed anew
    for each set of hidden channels (that takes time where a mask hides other
    channels in each patch, as :class:`~mne_megfm.pretraining.RandomMasking` does),
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
    >>> from mne_megfm.pretraining import TimeBlockMasking
    >>> cohort = simulate_cohort(
    ...     1, states=("auditory",), arrays=("opm64",), n_epochs=2, verbose=False
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> transformer = MEGFMTransformer().fit(epochs)
    >>> result, hidden = reconstruct(
    ...     transformer, epochs, TimeBlockMasking(0.3), return_mask=True
    ... )
    >>> len(result), round(float(hidden.mean()), 2)
    (2, 0.3)
    """
    check_is_fitted(transformer, "model_")
    _validate_type(inst, (BaseRaw, mne.BaseEpochs, mne.Evoked), "inst")
    if mask is not None and not callable(mask):
        raise TypeError(
            f"Expected mask as a callable or None, got {mask!r}; pass for instance "
            "TimeBlockMasking(0.3) of mne_megfm.pretraining."
        )
    window = len(inst.times) / inst.info["sfreq"]
    recordings = as_recordings(inst, window=window, reject_by_annotation=False)
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
        generator = torch.Generator().manual_seed(seed)
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
