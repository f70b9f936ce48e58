"""What is wrong with recordings: a table, one row for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..utils.logs import verbose
from .checks import (
    FAR_OFF,
    ROBUST_Z,
    band_rms,
    check_drifts,
    check_units,
    drift_rms,
    far_off,
    is_flat,
    rms_about_line,
)
from .device import describe_array, device_to_head, is_maxwell_filtered
from .reading import Recording, as_list, is_single, raw_windows, read_rows, wrong_type

#: A channel is wrong throughout if it is so in this share of the rows, ...
_THROUGHOUT = 0.5
# ... and at times in this share.
_AT_TIMES = 0.1
#: The strongest channel to the median of its kind.
_ABOVE_ALL = 10.0
#: Power of the mains to that of frequencies beside it, in dB.
_LINE_NOISE = 10.0
#: Share of windows with artefacts, of bad channels, and of dropped trials.
_MANY = 0.1
#: Samples at the end of the range that follow each other, their time in a row (s), and
#: the values that a channel must have, since few are a coarse converter.
_RUN, _LEAST, _VALUES = 3, 0.02, 32
# of fewer rows nothing is known about what is usual
_FEWEST_ROWS = 10
# rows on which units and drifts are checked
_N_CHECKED = 20
_MAINS = (50.0, 60.0)
# shortest row (s) in which the mains can be distinguished from what is beside it
_SHORTEST = 0.4

_WHOLE = ("n_trials", "n_dropped", "compensation")


@verbose
def recording_quality(
    X: Any,
    *,
    names: Sequence[str] | None = None,
    verbose: bool | str | int | None = None,
) -> pd.DataFrame:
    """Describe the quality of recordings, one row for each.

    Nothing is changed and nothing is refused: what `MEGFMTransformer` would refuse is a
    remark here. Data are read in blocks of 64 MB.

    Parameters
    ----------
    X : Epochs | Raw | Evoked | MEGSamples | list
        The recordings. An element of a list may also be a list, or a dict from the name
        of a state to an object (or a list of objects, the runs of that state), for the
        recordings of one participant.
    names : sequence of str | None
        Names of the participants, one for each element. None for their positions.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    quality : DataFrame
        One row for each recording, in the order of ``X``. Times are in seconds,
        frequencies in Hz; lists of channels are text with commas; what is not known is
        NaN.

        ``participant``, ``state``, ``kind``
            Whose it is; the key of the dict, else the names of the events, the comment
            of an Evoked, or "rest"; "raw", "epochs" or "evoked".
        ``array``, ``n_channels``
            The MEG sensors in words, and their number, bad ones included, references
            not.
        ``sfreq``, ``highpass``, ``lowpass``
            Sampling rate and filters.
        ``duration``, ``bad_spans``
            Length of all data, and of the spans of a Raw that are annotated as BAD.
        ``n_trials``, ``n_dropped``, ``drop_reasons``
            Epochs kept (of an Evoked, averaged), epochs dropped, and why, as
            ``drop_log`` says.
        ``n_bad``, ``bad``
            Channels marked as bad.
        ``n_flat``, ``flat``
            Channels that are constant in at least half of the rows.
        ``n_noisy``, ``noisy``, ``n_weak``, ``weak``
            Channels that are more than 5 times as strong as their 8 nearest neighbours
            of the same kind, or less than a fifth, in at least half of the rows.
        ``n_intermittent``, ``intermittent``
            Channels of which one of these is true in a tenth to half of the rows.
        ``strongest``, ``strongest_ratio``
            The strongest channel by median RMS (about a straight line, over rows), and
            how many times it is as strong as the median of its kind.
        ``head_position``
            Whether the position of the head in the device is known.
        ``line_noise_50``, ``line_noise_60``
            Power at 50 and 60 Hz to that of frequencies beside it, in dB, of the median
            channel. NaN where a filter, the sampling rate or rows under 0.4 s do not
            show it.
        ``saturated``, ``saturated_channels``
            How long a channel is constant, or at an end of its range, that is not so
            throughout, and which channels.
        ``artefacts``
            Share of the rows that are far above the usual, see Notes.
        ``n_projectors``, ``n_projectors_active``, ``maxwell``, ``compensation``
            Projectors and those applied, whether signal-space separation was applied,
            and the grade of gradient compensation.
        ``remarks``
            What stands out, in words; empty if nothing does.

    Raises
    ------
    TypeError
        If ``X`` is of another kind.
    ValueError
        If there are no recordings, or ``names`` are not one for each element.

    Notes
    -----
    Rows are epochs, an average, or windows of 1 s of a Raw that are free of BAD spans.
    Channels marked as bad are not measured.

    *Flat, noisy and weak channels* are those that `MEGFMTransformer` leaves out of a
    row: the criterion is a robust z-score of 6 (median absolute deviation, [1]_ section
    3.3) beside the factor of 5. It does not tell what should be interpolated. For that
    see :func:`mne.preprocessing.find_bad_channels_maxwell` and
    :func:`mne.preprocessing.find_bad_channels_lof`.

    *Artefacts.* Each channel's peak-to-peak range is divided by its median over rows;
    a row counts by the largest of its channels. It is an artefact if the logarithm of
    that is more than 6 robust standard deviations from its median over rows [1]_, and
    the value is more than twice the median. Needs ten rows.

    *Saturation.* A channel is at an end of its range if it has one and the same value,
    the largest or smallest of the row, for three samples in succession, and this for 20
    ms of a row in all. Filters, projectors and compensation hide it.

    *Line noise.* Mean periodogram (Hann) of rows without their trend. In rows of *T*
    seconds, the mains is the largest value within 1/*T* of 50 or 60 Hz, and what is
    beside it the median of frequencies from 3/*T* to 3/*T* + max(5 Hz, 3/*T*) away on
    both sides.

    *Remarks* are made of a tenth of channels marked as bad; of flat, noisy, weak,
    intermittent and saturated channels; of a channel that is 10 times the median of its
    kind; of 10 dB of line noise; of artefacts in a tenth of the rows; of a tenth of the
    trials dropped; where the head position is not known; and of units, drifts, NaN and
    data that cannot be read. Factors and shares are the package's own choice, as there
    is no standard; [2]_ recommends which of these to report.

    References
    ----------
    .. [1] Iglewicz B, Hoaglin DC (1993). How to detect and handle outliers. ASQC
       Quality Press.
    .. [2] Pernet C et al. (2020). Issues and recommendations from the OHBM COBIDAS MEEG
       committee for reproducible EEG and MEG research. Nat Neurosci 23:1473-1483.
       doi:10.1038/s41593-020-00709-0

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.inputs import recording_quality
    >>> cohort = simulate_cohort(
    ...     2,
    ...     states=("rest",),
    ...     arrays=("opm64",),
    ...     n_epochs=3,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> quality = recording_quality(X, names=cohort.names, verbose=False)
    >>> quality[["state", "kind", "array", "remarks"]].iloc[0].to_list()
    ['rest', 'epochs', '64 magnetometers', '']
    """
    parts, n_elements = _parts(X)
    if names is None:
        names = [str(number) for number in range(n_elements)]
    elif len(names) != n_elements:
        raise ValueError(
            f"Expected one name for each participant ({n_elements}), got {len(names)}; "
            "give one for each element of X."
        )
    rows = [
        {"participant": names[number], **_describe(*part).row()}
        for number, *part in parts
    ]
    table = pd.DataFrame(rows)
    return table.astype(dict.fromkeys(_WHOLE, "Int64"))


# -- recordings ------------------------------------------------------------------------
def _parts(X: Any) -> tuple[list[tuple[int, str | None, Any]], int]:
    """Take the input apart: number of the element, state, and object."""
    elements = [X] if is_single(X) else as_list(X)
    if elements is None:
        raise TypeError(wrong_type(X, "X"))
    found = []
    for number, element in enumerate(elements):
        found += [(number, *part) for part in _in_element(element, number)]
    if not found:
        raise ValueError("Expected at least one recording in X, got none; pass some.")
    return found, len(elements)


def _in_element(element: Any, number: int) -> Iterator[tuple[str | None, Any]]:
    where = f"a recording of element {number} of X"
    states = element.items() if isinstance(element, Mapping) else [(None, element)]
    for state, value in states:
        for one in [value] if is_single(value) else as_list(value) or [value]:
            if not is_single(one):
                raise TypeError(wrong_type(one, where))
            state = None if state is None else str(state)
            if isinstance(one, mne.io.BaseRaw | mne.BaseEpochs | mne.Evoked):
                yield state, one
            else:  # a MEGSamples: with the rows that it has
                parts = one._as_parts()
                yield from ((state, replace(p, state=state or p.state)) for p in parts)


def _as_recording(inst: Any, state: str | None) -> Recording:
    """Give all rows of a recording, however bad it is; there may be none."""
    spans = np.empty((0, 2), int)
    if isinstance(inst, mne.io.BaseRaw):
        kind = "raw"
        rows, n_samples, spans = raw_windows(inst, 1.0, 0.0, True)
    elif isinstance(inst, mne.BaseEpochs):
        kind = "epochs"
        inst.drop_bad(verbose="error")
        rows, n_samples = np.arange(len(inst)), len(inst.times)
    else:
        kind, rows, n_samples = "evoked", np.zeros(1, int), len(inst.times)
    return Recording(
        inst, kind, rows, n_samples, np.arange(len(rows)), state, (), spans
    )


def _describe(state: str | None, given: Any) -> _Quality:
    """Measure one recording; what fails becomes a remark."""
    inst = given.inst if isinstance(given, Recording) else given
    try:
        recording = (
            given if isinstance(given, Recording) else _as_recording(given, state)
        )
        found = _Quality.of(recording)
        if len(recording.picks) and len(recording.rows):
            found.measure(_read(recording))
        else:
            lacks = "rows free of BAD spans" if len(recording.picks) else "good MEG"
            found.remarks.insert(0, f"nothing to measure: no {lacks}")
        return found
    except (OSError, RuntimeError, ValueError) as error:  # a broken file, mostly
        none = Recording(inst, "unknown", np.empty(0, int), 1, np.empty(0, int), state)
        found = _Quality.of(none)
        found.remarks.insert(0, f"cannot be read: {' '.join(str(error).split())}")
        return found


# -- measuring -------------------------------------------------------------------------
@dataclass
class _Measured:
    """What was found in the rows of a recording, shape (n_rows, n_channels)."""

    recording: Recording
    flat: NDArray[np.bool_]
    far: NDArray[np.bool_]
    rms: NDArray[np.float32]
    extent: NDArray[np.float32]
    at_end: NDArray[np.float32]  # seconds at an end of the range
    n_saturated: NDArray[np.int_]  # samples of a row at which any channel is there
    power: NDArray[np.float64]  # mean periodogram, (n_channels, n_frequencies)
    infinite: NDArray[np.bool_]  # channels with NaN or infinity, (n_channels,)
    unlike: int  # rows in which channels are too unlike for single ones to be found
    messages: list[str] = field(default_factory=list)


def _read(recording: Recording) -> _Measured:
    """Measure all rows, block by block."""
    n_rows, n_channels = len(recording.rows), len(recording.picks)
    shape = n_rows, n_channels
    flat, far = np.zeros(shape, bool), np.zeros(shape, bool)
    rms, extent, at_end = (np.zeros(shape, "f4") for _ in range(3))
    n_saturated = np.zeros(n_rows, int)
    infinite, unlike, power = np.zeros(n_channels, bool), 0, 0.0
    checked = set(np.linspace(0, n_rows - 1, _N_CHECKED).round().astype(int).tolist())
    total, band, drift = [], [], []
    for positions, pieces in read_rows(recording):
        for row, piece in zip(positions.tolist(), pieces, strict=True):
            data = piece.own
            wrong = ~np.isfinite(data).all(axis=1)
            infinite |= wrong
            data = np.where(wrong[:, None], 0.0, data) if wrong.any() else data
            highest, lowest = data.max(axis=1), data.min(axis=1)
            flat[row] = is_flat(highest, lowest)
            rms[row] = rms_about_line(data)
            extent[row] = highest - lowest
            power = power + _periodogram(data)
            inside = (
                _at_end(data, highest, lowest, recording.sfreq) & ~flat[row, :, None]
            )
            at_end[row] = inside.sum(axis=1) / recording.sfreq
            n_saturated[row] = inside.any(axis=0).sum()
            if flat[row].mean() <= 0.5 and data.shape[1] > 1:
                try:
                    far[row] = far_off(data, recording)
                except ValueError:  # more than a quarter of the channels
                    unlike += 1
            if row in checked:
                hidden = flat[row] | wrong
                total.append(np.where(hidden, np.nan, rms[row]))
                found = band_rms(data, recording.sfreq)
                band.append(np.where(hidden, np.nan, found))
                drift.append(np.where(hidden, np.nan, drift_rms(data)))
    flat[:, infinite] = far[:, infinite] = False
    found = _Measured(
        recording, flat, far, rms, extent, at_end, n_saturated,
        power / n_rows, infinite, unlike,
    )  # fmt: skip
    found.messages = _check(np.array(total), np.array(band), np.array(drift), recording)
    return found


def _check(
    total: NDArray, band: NDArray, drift: NDArray, recording: Recording
) -> list[str]:
    """Give what the checks of units and drifts say, be it an error or a warning."""
    if not np.isfinite(total).any():
        return []
    messages = []
    for check, given in ((check_units, (total, band)), (check_drifts, (drift, band))):
        try:
            messages.append(check(*given, recording))
        except ValueError as error:
            messages.append(str(error))
    return [message for message in messages if message]


def _periodogram(data: NDArray[np.floating]) -> NDArray[np.float64]:
    n = data.shape[1]
    if n < 3:
        return np.zeros((len(data), n // 2 + 1))
    time = np.linspace(-1, 1, n)
    data = data - data.mean(axis=1, keepdims=True)
    data = data - np.outer(data @ time / (time @ time), time)
    return np.abs(np.fft.rfft(data * np.hanning(n + 2)[1:-1])) ** 2


def _at_end(
    data: NDArray[np.floating],
    highest: NDArray[np.floating],
    lowest: NDArray[np.floating],
    sfreq: float,
) -> NDArray[np.bool_]:
    """Find samples at an end of a channel's range, shape of the data."""
    found = np.zeros(data.shape, bool)
    if data.shape[1] < _RUN:
        return found
    for end in (highest, lowest):
        at = data == end[:, None]
        for channel in np.flatnonzero(at.sum(axis=1) >= _RUN):
            runs = np.lib.stride_tricks.sliding_window_view(at[channel], _RUN)
            for start in np.flatnonzero(runs.all(axis=1)):
                found[channel, start : start + _RUN] = True
    short = found.sum(axis=1) < max(_LEAST * sfreq, _RUN)
    found[short] = False
    for channel in np.flatnonzero(found.any(axis=1)):
        if len(np.unique(data[channel])) < _VALUES:
            found[channel] = False
    return found


# -- the table -------------------------------------------------------------------------
@dataclass
class _Quality:
    """One row of the table, and what is to be said of it."""

    values: dict[str, Any]
    remarks: list[str]

    @classmethod
    def of(cls, recording: Recording) -> _Quality:
        """Describe what stands in the info, without reading data."""
        inst, info = recording.inst, recording.inst.info
        meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
        meg = np.array([info["ch_names"][pick] for pick in meg], dtype=object)
        bad = meg[np.isin(meg, info["bads"])]
        n_trials, n_dropped, reasons = _trials(recording)
        is_raw = isinstance(inst, mne.io.BaseRaw)
        n_times = inst.n_times if is_raw else len(recording.rows) * len(inst.times)
        spans = np.zeros(inst.n_times if is_raw else 0, bool)
        for start, stop in recording.spans:
            spans[start:stop] = True
        known = device_to_head(info) is not None
        values = {
            "state": _state(recording),
            "kind": recording.kind,
            "array": describe_array(info),
            "n_channels": len(meg),
            "sfreq": float(info["sfreq"]),
            "highpass": _number(info["highpass"]),
            "lowpass": _number(info["lowpass"]),
            "duration": n_times / info["sfreq"],
            "bad_spans": spans.sum() / info["sfreq"],
            "n_trials": n_trials,
            "n_dropped": n_dropped,
            "drop_reasons": reasons,
            **_named("bad", bad),
            **_named("flat"),
            **_named("noisy"),
            **_named("weak"),
            **_named("intermittent"),
            "strongest": "",
            "strongest_ratio": np.nan,
            "head_position": known,
            "line_noise_50": np.nan,
            "line_noise_60": np.nan,
            "saturated": np.nan,
            "saturated_channels": "",
            "artefacts": np.nan,
            "n_projectors": len(info["projs"]),
            "n_projectors_active": sum(bool(proj["active"]) for proj in info["projs"]),
            "maxwell": is_maxwell_filtered(info),
            "compensation": inst.compensation_grade,
        }
        found = cls(values, [])
        if len(bad) and len(bad) >= _MANY * len(meg):
            found.remarks.append(f"{len(bad)} of {len(meg)} channels marked as bad")
        if n_dropped and n_dropped >= _MANY * (n_dropped + n_trials):
            found.remarks.append(
                f"{n_dropped} of {n_dropped + n_trials} trials dropped ({reasons})"
            )
        if not known:
            found.remarks.append("head position not known")
        return found

    def measure(self, rows: _Measured) -> None:
        """Add what the data show."""
        recording = rows.recording
        names = np.array(recording.ch_names, dtype=object)
        if rows.infinite.any():
            self.remarks.append(f"NaN or infinity in {_listed(names[rows.infinite])}")
        if rows.infinite.all():
            return
        kinds = recording.scale != 1.0
        middle = np.median(rows.rms, axis=0)
        usual = np.ones(len(names))
        for kind in (kinds, ~kinds):
            good = kind & (middle > 0)
            if good.any():
                usual[kind] = np.median(middle[good])
        ratio = np.where(rows.infinite, 0.0, middle / usual)
        share_flat, share_far = rows.flat.mean(axis=0), rows.far.mean(axis=0)
        flat = share_flat >= _THROUGHOUT
        far = (share_far >= _THROUGHOUT) & ~flat
        at_times = np.maximum(share_flat, share_far)
        at_times = (at_times >= _AT_TIMES) & ~flat & ~far
        for name, found, words in (
            ("flat", flat, "flat: {}"),
            (
                "noisy", far & (ratio >= 1.0),
                f"more than {FAR_OFF:g} times as strong as neighbours: {{}}",
            ),
            (
                "weak", far & (ratio < 1.0),
                f"less than 1/{FAR_OFF:g} as strong as neighbours: {{}}",
            ),
            ("intermittent", at_times, "flat, noisy or weak at times: {}"),
        ):  # fmt: skip
            self.values |= _named(name, names[found])
            if found.any():
                self.remarks.append(words.format(_listed(names[found])))
        if rows.unlike:
            self.remarks.append(
                f"more than a quarter of the channels unlike the others in "
                f"{rows.unlike} of {len(rows.flat)} rows"
            )
        self._strongest(names, ratio)
        self._saturated(names, rows, ~flat)
        self._artefacts(rows, ~flat & ~far & ~rows.infinite)
        self._line_noise(rows, ~flat & ~rows.infinite)
        self.remarks += rows.messages

    def _strongest(self, names: NDArray, ratio: NDArray) -> None:
        at = int(ratio.argmax())
        if not ratio[at]:
            return
        self.values |= {"strongest": names[at], "strongest_ratio": float(ratio[at])}
        if ratio[at] >= _ABOVE_ALL:
            self.remarks.append(
                f"{names[at]} is {ratio[at]:.2g} times as strong as the median channel"
            )

    def _saturated(self, names: NDArray, rows: _Measured, alive: NDArray) -> None:
        """Add up how long channels are at an end of their range, or constant."""
        recording = rows.recording
        length = recording.n_samples / recording.sfreq
        constant = rows.flat & alive
        spans = np.where(
            constant.any(axis=1), length, rows.n_saturated / recording.sfreq
        )
        total = float(spans.sum())
        which = alive & (constant.any(axis=0) | (rows.at_end > 0).any(axis=0))
        self.values |= {
            "saturated": total,
            "saturated_channels": ", ".join(names[which]),
        }
        if total:
            self.remarks.append(
                f"saturated or constant for {total:.2g} s: {_listed(names[which])}"
            )

    def _artefacts(self, rows: _Measured, good: NDArray) -> None:
        extent = rows.extent[:, good]
        if len(extent) < _FEWEST_ROWS or not extent.size:
            return
        usual = np.median(extent, axis=0)
        known = usual > 0
        if not known.any():
            return
        largest = np.log(np.maximum((extent[:, known] / usual[known]).max(axis=1), 1.0))
        excess = largest - np.median(largest)
        spread = 1.4826 * np.median(np.abs(excess))
        share = float(np.mean((excess > ROBUST_Z * spread) & (excess > np.log(2.0))))
        self.values["artefacts"] = share
        if share >= _MANY:
            self.remarks.append(f"artefacts in {share:.0%} of the rows")

    def _line_noise(self, rows: _Measured, good: NDArray) -> None:
        recording = rows.recording
        info = recording.inst.info
        seconds = recording.n_samples / recording.sfreq
        if seconds < _SHORTEST or not good.any():
            return
        freqs = np.fft.rfftfreq(recording.n_samples, 1 / recording.sfreq)
        for mains in _MAINS:
            other = sum(_MAINS) - mains
            away = np.abs(freqs - mains)
            peak = away <= 1 / seconds
            beside = away >= 3 / seconds - 1e-9
            beside &= away <= 3 / seconds + max(5.0, 3 / seconds)
            beside &= np.abs(freqs - other) > 2 / seconds
            beside &= (freqs >= info["highpass"]) & (freqs <= info["lowpass"])
            hidden = mains > min(info["lowpass"], recording.sfreq / 2)
            if hidden or not peak.any() or not beside.any():
                continue
            power = rows.power[good]
            level = np.median(power[:, beside], axis=1)
            ratio = power[:, peak].max(axis=1)[level > 0] / level[level > 0]
            if not len(ratio):
                continue
            decibel = float(10 * np.log10(np.median(ratio)))
            self.values[f"line_noise_{mains:.0f}"] = decibel
            if decibel >= _LINE_NOISE:
                self.remarks.append(f"{mains:.0f} Hz line noise, {decibel:.0f} dB")

    def row(self) -> dict[str, Any]:
        """Give the row of the table."""
        return {**self.values, "remarks": "; ".join(self.remarks)}


def _named(name: str, channels: Sequence[str] = ()) -> dict[str, Any]:
    """Give the two columns of a list of channels: how many, and which."""
    return {f"n_{name}": len(channels), name: ", ".join(channels)}


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _state(recording: Recording) -> str:
    """Name the state, or all events of the rows."""
    if recording.state is not None:
        return recording.state
    if not len(recording.rows):
        return "rest" if isinstance(recording.inst, mne.io.BaseRaw) else ""
    return ", ".join(dict.fromkeys(recording.states.astype(str)))


def _trials(recording: Recording) -> tuple[int | None, int | None, str]:
    """Count the trials that were kept and dropped, and give the reasons."""
    inst = recording.inst
    if isinstance(inst, mne.Evoked):
        return int(inst.nave), None, ""
    if not isinstance(inst, mne.BaseEpochs):
        return None, None, ""
    dropped = [entry for entry in inst.drop_log if entry and "IGNORED" not in entry]
    # an epoch may be dropped for several channels
    counts = Counter(reason for entry in dropped for reason in set(entry))
    reasons = [f"{reason} ({count})" for reason, count in counts.most_common(5)]
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    return len(recording.rows), len(dropped), ", ".join(reasons) + more
