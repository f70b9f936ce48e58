"""Rows cut into windows at the rate of the model.

A row is resampled together with the samples around it, where the recording has
them, so that a piece comes out as if the whole signal had been resampled from
the row's first sample on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from mne.utils import warn

from .checks import check_rows, report_left_out, tell_left_out
from .reading import Piece, Recording, Recordings, as_recordings, read_rows

if TYPE_CHECKING:
    from ..models import ModelConfig


# Relative errors of the rate to try, and the largest of the two integers allowed:
# the filter has twenty times as many taps.
_RATE_TOLERANCES = [Fraction(1, 10**6), Fraction(1, 10**5), Fraction(1, 10**4)]
_MOST_STEPS = 10_000


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """Find the fraction of the smallest terms between two positive fractions."""
    whole = Fraction(floor(low))
    if whole == low:
        return whole
    if whole + 1 <= high:
        return whole + 1
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))


@lru_cache(maxsize=128)
def rate_ratio(sfreq_in: float, sfreq_out: float) -> tuple[int, int, float]:
    """Approximate a change of sampling rate by a ratio of small integers.

    Parameters
    ----------
    sfreq_in : float
        Sampling rate of the recording, in Hz.
    sfreq_out : float
        Sampling rate wanted, in Hz.

    Returns
    -------
    up : int
        Interpolation factor.
    down : int
        Decimation factor.
    error : float
        Relative error of the rate, ``up / down * sfreq_in / sfreq_out - 1``. At most
        1e-6 (1 us per second); 1e-5 or 1e-4 for rates that so nearly agree that
        more than 10 000 steps would be needed.

    Notes
    -----
    The simplest ratio within the tolerance is taken. Rounding of a rate, such as to
    the single precision that FIF files store, does not change it.

    Examples
    --------
    >>> from mne_megfm.inputs import rate_ratio
    >>> rate_ratio(1000.0, 250.0)
    (1, 4, 0.0)
    >>> up, down, error = rate_ratio(600.615, 250.0)
    >>> up, down, abs(error) < 1e-6
    (569, 1367, True)
    """
    exact = Fraction(sfreq_out) / Fraction(sfreq_in)
    for tolerance in _RATE_TOLERANCES:
        ratio = _simplest(exact * (1 - tolerance), exact * (1 + tolerance))
        if max(ratio.numerator, ratio.denominator) <= _MOST_STEPS:
            break
    return ratio.numerator, ratio.denominator, float(ratio / exact - 1)


def half_length(up: int, down: int) -> int:
    """Half the filter's length, in samples of the rate raised by ``up``."""
    return 10 * max(up, down)


def context_length(up: int, down: int) -> int:
    """Input samples on either side of a row that its output depends on."""
    if up == down:
        return 0
    return ceil(half_length(up, down) / up)


@lru_cache(maxsize=32)
def _design(up: int, down: int) -> np.ndarray:
    """Low-pass filter of `scipy.signal.resample_poly` (its default)."""
    from scipy.signal import firwin

    taps = 2 * half_length(up, down) + 1
    return up * firwin(taps, 1.0 / max(up, down), window=("kaiser", 5.0))


def resample_segment(
    x: np.ndarray, up: int, down: int, *, offset: int = 0, n_out: int
) -> np.ndarray:
    """Resample a segment, beginning at one of its samples.

    Parameters
    ----------
    x : ndarray, shape (n_channels, n_samples)
        The segment.
    up, down : int
        Change of rate, without a common factor.
    offset : int
        Sample of ``x`` at which the first output sample lies.
    n_out : int
        Number of output samples; those beyond the last input sample are
        extrapolated along a line.

    Returns
    -------
    y : ndarray, shape (n_channels, n_out)
        The resampled signal.

    Notes
    -----
    The line from the first to the last sample is taken out before filtering and
    put back afterwards. This is ``padtype="line"`` of
    `scipy.signal.resample_poly`, and more: the branches of a polyphase filter
    differ in gain by up to 7e-4, which would turn a static field of 1 nT, usual
    in recordings that are not filtered yet, into ripples of 700 fT.
    """
    from scipy.signal import upfirdn

    n_in = x.shape[-1]
    if up == down == 1 and offset + n_out <= n_in:
        return x[..., offset : offset + n_out]
    first = x[..., :1]
    slope = (x[..., -1:] - first) / max(n_in - 1, 1)
    rest = x - (first + slope * np.arange(n_in))

    taps = _design(up, down)
    centre = offset * up + half_length(up, down)
    shift = -centre % down  # zeros before the filter put the grid on ``offset``
    skip = (centre + shift) // down
    missing = (skip + n_out - 1) * down + 1 - ((n_in - 1) * up + len(taps) + shift)
    taps = np.pad(taps, (shift, max(missing, 0)))
    y = upfirdn(taps, rest, up, down, axis=-1)[..., skip : skip + n_out]
    return y + (first + slope * (offset + np.arange(n_out) * (down / up)))


def resampling_matrix(n_times: int, sfreq_in: float, sfreq_out: float) -> np.ndarray:
    """Give the resampling of signals of one length as a matrix.

    Parameters
    ----------
    n_times : int
        Samples of a signal.
    sfreq_in, sfreq_out : float
        Their rate, and the rate to resample to, in Hz.

    Returns
    -------
    matrix : ndarray, shape (n_times, n_out)
        ``signals @ matrix`` are resampled as by `resample_segment`, with as many
        samples as begin within the signal.

    Examples
    --------
    >>> from mne_megfm.inputs import resampling_matrix
    >>> resampling_matrix(250, 250.0, 200.0).shape
    (250, 200)
    """
    up, down, _ = rate_ratio(float(sfreq_in), float(sfreq_out))
    return resample_segment(np.eye(n_times), up, down, n_out=ceil(n_times * up / down))


# Below this sampling rate, in Hz, frequencies that matter are missing.
_LOWEST_SFREQ = 80.0

Projection = Callable[[Recording], tuple[np.ndarray, list[str]]]


@dataclass(frozen=True, eq=False)
class WindowBlock:
    """Windows on the canonical array.

    Attributes
    ----------
    data : ndarray of float32, shape (n, n_canonical, n_times)
        The windows, in T; zero after the valid samples.
    row : ndarray of int, shape (n,)
        Number of the row that each window belongs to.
    start : ndarray of int, shape (n,)
        First patch of the window inside its row, in patches.
    n_valid : ndarray of int, shape (n,)
        Number of valid samples, from the first.
    """

    data: np.ndarray
    row: np.ndarray
    start: np.ndarray
    n_valid: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


def window_starts(
    n_samples: int, n_times: int = 250, patch: int = 25, overlap: int = 0
) -> np.ndarray:
    """First patches of the windows that cover a row.

    Parameters
    ----------
    n_samples : int
        Length of the row, in samples at the model's rate.
    n_times : int
        Length of a window, in samples.
    patch : int
        Length of a patch, in samples.
    overlap : int
        Patches that neighbouring windows share at least.

    Returns
    -------
    starts : ndarray of int, shape (n_windows,)
        First patch of each window. The last window ends with the row's last patch,
        and overlaps the one before it as far as that needs.

    Examples
    --------
    >>> from mne_megfm.inputs import window_starts
    >>> window_starts(100), window_starts(625), window_starts(625, overlap=5)
    (array([0]), array([ 0, 10, 15]), array([ 0,  5, 10, 15]))
    """
    last = -(-n_samples // patch) - n_times // patch
    if last <= 0:
        return np.zeros(1, int)
    return np.append(np.arange(0, last, n_times // patch - overlap), last)


def centre_windows(
    data: np.ndarray, n_valid: np.ndarray, which: np.ndarray | None = None
) -> None:
    """Subtract the mean over some windows at each sensor, in place.

    Parameters
    ----------
    data : ndarray of float32, shape (n, n_sensors, n_times)
        Windows, zero after their valid samples.
    n_valid : ndarray of int, shape (n,)
        Valid samples of each.
    which : ndarray of bool, shape (n,) | None
        Windows of one recording; None for all.
    """
    index = np.arange(len(data)) if which is None else np.flatnonzero(which)
    total = np.zeros(data.shape[1])
    for i in index:
        total += data[i].sum(axis=1, dtype=np.float64)
    mean = (total / n_valid[index].sum()).astype(np.float32)[:, None]
    for i in index:
        data[i, :, : n_valid[i]] -= mean


def iter_windows(
    recordings: Recordings | Any,
    project: Projection,
    *,
    sfreq: float = 250.0,
    n_times: int = 250,
    patch: int = 25,
    overlap: int = 0,
    batch_size: int = 64,
    centre_rows: bool = False,
) -> Iterator[WindowBlock]:
    """Stream recordings as windows on the canonical array.

    Parameters
    ----------
    recordings : Recordings
        The recordings; anything else goes through `as_recordings`.
    project : callable
        ``project(recording)`` returns the matrix to the canonical array, shape
        (n_canonical, n_channels), and the names of those channels. It is given a
        `Recording` whose ``info`` lists channels that are left out among the bad ones.
    sfreq : float
        Sampling rate of the windows, in Hz.
    n_times : int
        Length of a window, in samples; a multiple of ``patch``.
    patch : int
        Length of a patch, in samples.
    overlap : int
        Patches that neighbouring windows of a long row share at least.
    batch_size : int
        Windows in a block; the last block may have fewer.
    centre_rows : bool
        Whether the mean of each row is subtracted at every canonical sensor, so that
        a constant offset of the recording changes nothing.

    Returns
    -------
    blocks : iterator of WindowBlock
        The windows. Blocks run over the ends of recordings. Rows come one recording
        after the other, which is their own order unless ``recordings`` comes from a
        `MEGSamples` that has mixed the rows of several objects: go by ``block.row``.

    Raises
    ------
    ValueError
        If a parameter is out of range, at once; and while iterating, if a row does
        not look like MEG in tesla, has NaN, or only flat channels.

    Notes
    -----
    Which channels are left out is known only when a row has been read, and its matrix
    depends on them. So ``project`` is a callable: it is asked once for each set of
    channels left out of a recording, while rows are read, and not once before.

    Rows are read in float64 in blocks of at most 64 MiB, mapped to the canonical
    array, resampled by a polyphase filter (that of `scipy.signal.resample_poly`:
    -6 dB at the new Nyquist frequency, less than -55 dB from 1.2 times that) and cut.
    A row of a Raw is resampled with the samples around it, up to the ends of the
    recording and to BAD spans; beyond them, and beyond the ends of epochs, the
    signal is continued along a line. Each row is computed by itself: it comes out
    the same whatever other rows are asked for.

    Recordings at less than ``sfreq`` are interpolated: nothing appears above their
    own Nyquist frequency, so that part of the spectrum which the model knows from
    training is empty. A warning is given below 80 Hz.

    A row of more than ``n_times`` samples becomes several windows, see
    `window_starts`. One that goes beyond a whole number of patches by no more than
    one sample of the recording loses that rest: it is the end point that MNE
    includes in epochs (-0.2 to 0.8 s at 1000 Hz has 1001 samples). A shorter row is
    filled up with zeros, as ``n_valid`` says.

    References
    ----------
    P. P. Vaidyanathan, Multirate Systems and Filter Banks, Prentice Hall, 1993,
    figure 4.3-8d, for the polyphase filter.

    Examples
    --------
    >>> import numpy as np, mne
    >>> from mne_megfm.inputs import iter_windows
    >>> info = mne.create_info(["MEG 1", "MEG 2"], 1000.0, "mag")
    >>> data = 1e-13 * np.random.default_rng(0).standard_normal((2, 5000))
    >>> raw = mne.io.RawArray(data, info, verbose=False)
    >>> def mean(recording):
    ...     return np.full((1, 2), 0.5), recording.ch_names
    >>> for block in iter_windows(raw, mean, batch_size=3):
    ...     print(block.data.shape, block.row)
    (3, 1, 250) [0 1 2]
    (2, 1, 250) [3 4]
    """
    counts = {
        "n_times": (n_times, 1),
        "patch": (patch, 1),
        "overlap": (overlap, 0),
        "batch_size": (batch_size, 1),
    }
    for name, (value, least) in counts.items():
        if not isinstance(value, Integral) or value < least:
            raise ValueError(
                f"Expected {name} to be an integer of at least {least}, got {value!r}."
            )
    if n_times % patch:
        raise ValueError(
            f"Expected n_times to be a multiple of patch ({patch}), got {n_times}; "
            f"{n_times - n_times % patch or patch} would do."
        )
    if overlap >= n_times // patch:
        raise ValueError(
            f"Expected overlap to be less than the {n_times // patch} patches of a "
            f"window, got {overlap}."
        )
    if not isinstance(sfreq, Real) or not 0 < sfreq < np.inf:
        raise ValueError(f"Expected sfreq to be a positive rate in Hz, got {sfreq!r}.")
    recordings = as_recordings(recordings)
    _warn_low_rate(recordings)
    windows = _windows(
        recordings, project, float(sfreq), n_times, patch, overlap, centre_rows
    )
    return _blocks(windows, n_times, batch_size)


def _warn_low_rate(recordings: Recordings) -> None:
    lowest = min(recording.sfreq for recording in recordings)
    if lowest < _LOWEST_SFREQ:
        warn(
            f"A recording has a sampling rate of {lowest:g} Hz, so nothing is known "
            f"above {lowest / 2:g} Hz, where the model expects signal. Use a "
            f"recording at {_LOWEST_SFREQ:g} Hz or more where there is one."
        )


def _blocks(
    windows: Iterator[tuple[np.ndarray, int, int, int]], n_times: int, batch_size: int
) -> Iterator[WindowBlock]:
    """Gather windows into blocks, filled up with zeros."""
    held: list[tuple[np.ndarray, int, int, int]] = []
    for window in windows:
        held.append(window)
        if len(held) == batch_size:
            yield _block(held, n_times)
            held = []
    if held:
        yield _block(held, n_times)


def _block(held: list[tuple[np.ndarray, int, int, int]], n_times: int) -> WindowBlock:
    data = np.zeros((len(held), held[0][0].shape[0], n_times), np.float32)
    for out, (signal, *_) in zip(data, held, strict=True):
        out[:, : signal.shape[1]] = signal
    row, start, n_valid = np.array([window[1:] for window in held], int).T
    return WindowBlock(data, row, start, n_valid)


def _windows(
    recordings: Recordings,
    project: Projection,
    sfreq: float,
    n_times: int,
    patch: int,
    overlap: int,
    centre_rows: bool,
) -> Iterator[tuple[np.ndarray, int, int, int]]:
    """Single windows (float32 signal, row, first patch, valid samples)."""
    for recording in recordings:
        up, down, _ = rate_ratio(recording.sfreq, sfreq)
        n_out = row_length(recording, sfreq, patch)
        starts = window_starts(n_out, n_times, patch, overlap)
        context = context_length(up, down)
        maps = Projections(recording, project, recordings.reported)
        for positions, pieces in read_rows(recording, context=context):
            for position, piece in zip(positions, pieces, strict=True):
                row = int(recording.index[position])
                signal = _canonical(maps, piece, row)
                signal = resample_segment(
                    signal, up, down, offset=piece.offset, n_out=n_out
                )
                if centre_rows:
                    signal -= signal.mean(axis=1, keepdims=True)
                signal = signal.astype(np.float32)
                for start in starts:
                    first = start * patch
                    window = signal[:, first : first + n_times]
                    yield window, row, int(start), window.shape[1]


def row_length(recording: Recording, sfreq: float = 250.0, patch: int = 25) -> int:
    """Count the samples of a row at the model's rate.

    Parameters
    ----------
    recording : Recording
        The recording.
    sfreq : float
        Sampling rate of the model, in Hz.
    patch : int
        Length of a patch, in samples.

    Returns
    -------
    n_samples : int
        Samples of a row after resampling, without a rest of at most one sample of
        the recording beyond whole patches, see `iter_windows`.
    """
    up, down, _ = rate_ratio(recording.sfreq, sfreq)
    if recording.kind == "raw":
        # The samples that follow are there, or missing by less than half a sample.
        n_out = max(round(recording.n_samples * sfreq / recording.sfreq), 1)
    else:
        n_out = -(-recording.n_samples * up // down)
    rest = n_out % patch
    # At most one sample of the recording, and not the whole of a short row.
    if rest < n_out and rest <= max(-(-up // down), 1):
        n_out -= rest
    return n_out


class Projections:
    """Matrices of a recording, one for each set of channels left out.

    Parameters
    ----------
    recording : Recording
        The recording.
    project : callable
        As in `iter_windows`: asked once for each set of channels left out.
    reported : set of str
        Channels that were named in the log, to which those left out are added.
    """

    def __init__(
        self, recording: Recording, project: Projection, reported: set[str]
    ) -> None:
        self.recording = recording
        self._project = project
        self._known: dict[bytes, tuple[np.ndarray, np.ndarray | slice]] = {}
        self._reported = reported

    def get(
        self, flat: np.ndarray, far: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | slice]:
        """Give the matrix, and which of the recording's good channels it takes.

        Parameters
        ----------
        flat, far : ndarray of bool, shape (n_channels,)
            Channels left out of a row, as `check_rows` finds them.

        Returns
        -------
        matrix : ndarray of float64, shape (n_canonical, n_used)
            To the canonical array.
        used : ndarray of int, shape (n_used,) | slice
            Positions among the good channels.

        Raises
        ------
        ValueError
            If too few channels are left.
        """
        key = (flat | far).tobytes()
        if key not in self._known:
            self._known[key] = self._make(flat, far)
        return self._known[key]

    def _make(
        self, flat: np.ndarray, far: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | slice]:
        recording, ch_names = self.recording, self.recording.ch_names
        names = report_left_out(recording, flat, far, self._reported)
        if names:
            recording = replace(recording, left_out=recording.left_out + names)
        try:
            matrix, used = self._project(recording)
        except ValueError as error:
            why = tell_left_out(self.recording, flat, far)
            if not why:
                raise
            raise ValueError(f"{error} {why}") from error
        if list(used) == ch_names:
            return matrix, slice(None)
        order = {name: i for i, name in enumerate(ch_names)}
        return matrix, np.array([order[name] for name in used])


def _canonical(maps: Projections, piece: Piece, row: int) -> np.ndarray:
    """One row, checked, with its context, on the canonical array."""
    if piece.own.shape[1] < 2:
        raise ValueError(
            f"Expected rows of two samples or more, got 1 in row {row}: features are "
            "of rows without their mean; cut longer rows."
        )
    matrix, order = maps.get(*check_rows(piece.own, maps.recording, row))
    signal = matrix @ piece.data[order]
    # The row itself has been checked; its context may belong to rows not asked for.
    if piece.data.shape[1] > piece.n_samples and not np.isfinite(signal).all():
        raise ValueError(
            f"Expected finite data, got NaN or infinity in the samples just before or "
            f"after row {row}, which resampling looks at; annotate that span as BAD."
        )
    return signal


class RowForm(NamedTuple):
    """Length and start of the rows of a recording.

    Attributes
    ----------
    n_samples : int
        Length at the model's rate.
    n_patches : int
        Patches that tokens cover, with padding.
    tmin : float | None
        Time of the first sample from the event, in s; None for windows of a Raw,
        which have no event.
    sfreq : float
        Sampling rate of the model, in Hz.
    tolerance : float
        By how much length and start may differ through sampling, in s.
    """

    n_samples: int
    n_patches: int
    tmin: float | None
    sfreq: float
    tolerance: float

    @classmethod
    def of(cls, recording: Recording, config: ModelConfig) -> RowForm:
        """Find the form of the rows of a recording."""
        n_samples = row_length(recording, config.sfreq, config.patch_length)
        starts = window_starts(n_samples, config.n_times, config.patch_length)
        return cls(
            n_samples,
            int(starts[-1]) + config.n_patches,
            None if recording.kind == "raw" else recording.tmin,
            config.sfreq,
            (1 + ceil(config.sfreq / recording.sfreq)) / config.sfreq,
        )

    def __str__(self) -> str:
        seconds = self.n_samples / self.sfreq
        if self.tmin is None:
            return f"rows of {seconds:.3g} s"
        return (
            f"rows of {seconds:.3g} s from {self.tmin:.3g} to "
            f"{self.tmin + seconds:.3g} s"
        )

    def differs(self, other: RowForm) -> bool:
        """Check whether rows are longer or shorter, or begin at another time."""
        apart = abs(self.n_samples - other.n_samples) / self.sfreq
        shifted = 0.0
        if self.tmin is not None and other.tmin is not None:
            shifted = abs(self.tmin - other.tmin)
        return max(apart, shifted) > max(self.tolerance, other.tolerance) + 1e-9

    def check(self, other: RowForm, where: str) -> None:
        """Check rows against these, which were there first.

        Parameters
        ----------
        other : RowForm
            Form of the other rows.
        where : str
            Whose rows they are, for the message.

        Raises
        ------
        ValueError
            If they are longer or shorter, or begin at another time from their event.
        """
        if not self.differs(other):
            return
        advice = "take windows of that length (duration=)"
        if self.tmin is not None:
            end = self.tmin + self.n_samples / self.sfreq
            advice = f"cut or crop them from {self.tmin:.3g} to {end:.3g} s"
        raise ValueError(
            f"Expected {self} as in fit, got {other} in {where}: features belong to "
            f"times within a row; {advice}, or fit on rows like these."
        )


def check_forms(
    recordings: Recordings, config: ModelConfig, first: RowForm | None = None
) -> RowForm:
    """Check that all rows are of one form.

    Parameters
    ----------
    recordings : Recordings
        The recordings.
    config : ModelConfig
        What the model takes.
    first : RowForm | None
        The form that they are to have; None for that of the first recording.

    Returns
    -------
    form : RowForm
        That form.

    Raises
    ------
    ValueError
        If a recording has rows of another form.
    """
    for recording in recordings:
        form = RowForm.of(recording, config)
        first = first or form
        first.check(form, f"row {recording.index[0]} ({recording.kind})")
    return first
