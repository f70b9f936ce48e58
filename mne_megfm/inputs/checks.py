"""Checks of recordings: units, amplitudes, channels, rows."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from mne import Info, pick_types
from mne.utils import logger, warn

if TYPE_CHECKING:
    from .reading import Recording


#: A channel is left out if it is so many times as strong as its neighbours, or as weak,
FAR_OFF = 5.0
# ... and that lies so many robust standard deviations from what is usual
ROBUST_Z = 6.0
_N_NEIGHBOURS = 8
# of fewer sensors of a kind nothing is known about what is usual
_FEWEST = 10
# above this share it is not single channels that are wrong: neither of those found, nor
# of those so many times as strong as the weakest quarter
_MOST = 0.25
_MIXED = 30.0

# Hz; below are drifts, above is the mains
BAND = (3.0, 45.0)
#: RMS in that band, in T, above which the median channel is in no recording of a
#: brain: strong rhythms have 2e-12 T.
STRONGEST = 1.5e-11
#: RMS of all frequencies, in T, below which it is in none, nor in averages: noise of
#: sensors has 2e-14 T.
WEAKEST = 5e-16
#: Magnetometers to planar gradiometers (as differences over their baseline): both see
#: the same brain, at ratios of about 1 to 3.
LARGEST_RATIO = 100.0
#: Drifts within rows to signals from 3 to 45 Hz: 0.4 to 2.3 in real recordings.
LARGEST_DRIFT = 5.0


def far_off(data: np.ndarray, recording: Recording) -> np.ndarray:
    """Find channels that are far stronger or weaker than their neighbours.

    Parameters
    ----------
    data : ndarray, shape (n_channels, n_samples)
        Good MEG channels of a row.
    recording : Recording
        Where the row comes from.

    Returns
    -------
    far : ndarray of bool, shape (n_channels,)
        Channels whose RMS about a straight line, or about the mean, is more than five
        times the median of the 8 nearest sensors of the same kind, or about a line less
        than a fifth of it, where the logarithm of this ratio is more than 6 robust
        standard deviations (median absolute deviation [1]_) from its median over
        channels. A weak channel must be weak at most frequencies from 3 to 45 Hz, too,
        see Notes. Flat channels are not among them.

    Raises
    ------
    ValueError
        If more than a quarter of the channels are, or more than a quarter of a kind
        exceeds its weakest quarter more than 30 times.

    Notes
    -----
    Where the mains, or another field of few patterns, is much stronger than all else,
    good channels are weak at its nodes. There, their noise at other frequencies is that
    of their neighbours; a channel of low gain is weak at all frequencies. So weak
    channels are those whose median amplitude over the bins of the spectrum is less than
    a fifth of their neighbours', too. Weak channels that are neighbours of one another
    are found if they are 30 times weaker than the median of their kind.

    References
    ----------
    .. [1] Iglewicz & Hoaglin (1993), "How to detect and handle outliers", ASQC
       Quality Press, section 3.3 (z-scores by median and median absolute deviation).
    """
    far = np.zeros(len(data), bool)
    flat = is_flat(data.max(axis=1), data.min(axis=1))
    size = np.where(flat, 0.0, rms_about_line(data))
    drifting = np.where(flat, 0.0, data.std(axis=1))
    for kind in _kinds(recording.info, recording.picks):
        here = size[kind]
        if len(kind) < _FEWEST or not here.any():
            continue
        strong = here > _MIXED * np.quantile(here[here > 0], 0.25)
        if strong.mean() > _MOST:
            far[kind] = strong
            continue
        around = _neighbours(recording.info, recording.picks[kind])
        above, below = _outliers(here, around)
        above |= _outliers(drifting[kind], around)[0]
        below &= ~flat[kind]
        if below.any():
            spectrum = _band_spectrum(data[kind], recording.sfreq)
            if spectrum.shape[1]:  # none in rows of some 50 ms
                below &= _outliers(np.sqrt(np.median(spectrum, axis=1)), around)[1]
            else:
                below[:] = False
        far[kind] = above | below
    if far.mean() > _MOST:
        names = np.array(recording.ch_names)[far]
        raise ValueError(
            f"Expected channels of similar amplitude, got {far.sum()} of {len(far)} "
            "that are far stronger or weaker than others "
            f"({', '.join(names[:3])}, ...); look for "
            "channels in other units, or mark them as bad."
        )
    return far


def _outliers(size: np.ndarray, around: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find what is far above, and far below, what is around it."""
    if not size.any():
        return np.zeros(len(size), bool), np.zeros(len(size), bool)
    middle = np.median(size[size > 0])
    log = np.log(np.maximum(size, 1e-3 * middle + 1e-30))
    # beside feeble channels (or flat ones) a good one only seems strong, ...
    feeble = size < middle / _MIXED
    above = _excess(log, around, feeble)
    # ... and beside strong ones weak
    below = -_excess(log, around, feeble | (size > middle * _MIXED))
    return _far(above, feeble), _far(below, feeble) | feeble


def _excess(log: np.ndarray, around: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Compare with the median of neighbours, of all where none of these is left."""
    nearby = log[around]
    if without.any():
        nearby[without[around]] = np.nan
        nearby[without[around].all(axis=1)] = np.median(log)
        return log - np.nanmedian(nearby, axis=1)
    return log - np.median(nearby, axis=1)


def _far(excess: np.ndarray, feeble: np.ndarray) -> np.ndarray:
    usual = np.median(excess[~feeble])
    spread = 1.4826 * np.median(np.abs(excess[~feeble] - usual))
    return (excess > np.log(FAR_OFF)) & (excess - usual > ROBUST_Z * spread)


def rms_about_line(data: np.ndarray) -> np.ndarray:
    """Compute the RMS of each channel about a straight line, shape (n_channels,)."""
    n = data.shape[1]
    data = data - data.mean(axis=1, keepdims=True)
    power = np.einsum("ct,ct->c", data, data)
    if n > 2:
        time = np.linspace(-1, 1, n)
        power = power - (data @ time) ** 2 / (time @ time)
    return np.sqrt(np.maximum(power, 0.0) / n)


def _kinds(info: Info, picks: np.ndarray) -> list[np.ndarray]:
    """Group channels by type of coil and unit."""
    kinds: dict[tuple[int, int], list[int]] = {}
    for i, pick in enumerate(picks):
        ch = info["chs"][pick]
        # the upper bits are the gradient compensation
        kind = int(ch["coil_type"]) & 0xFFFF, int(ch["unit"])
        kinds.setdefault(kind, []).append(i)
    return [np.array(members) for members in kinds.values()]


def _neighbours(info: Info, picks: np.ndarray) -> np.ndarray:
    """Give the nearest sensors of each of some channels, shape (n_picks, n)."""
    pos = np.array([info["chs"][pick]["loc"][:3] for pick in picks])
    return _nearest(pos.astype(float).tobytes())


@lru_cache(maxsize=64)
def _nearest(positions: bytes) -> np.ndarray:
    from scipy.spatial.distance import cdist

    pos = np.frombuffer(positions).reshape(-1, 3)
    if not np.isfinite(pos).all() or np.allclose(pos, pos[0]):
        everyone = np.arange(len(pos))  # where they are is not known
        return np.array([np.delete(everyone, i) for i in everyone])
    distance = cdist(pos, pos)
    np.fill_diagonal(distance, np.inf)
    return np.argsort(distance, axis=1, kind="stable")[:, :_N_NEIGHBOURS]


def band_rms(data: np.ndarray, sfreq: float) -> np.ndarray:
    """Compute the RMS of each channel from 3 to 45 Hz, without its strongest rhythm.

    Parameters
    ----------
    data : ndarray, shape (n_channels, n_samples)
        Channels of a row.
    sfreq : float
        Sampling rate in Hz.

    Returns
    -------
    rms : ndarray, shape (n_channels,)
        In the unit of the data; NaN if the row is too short.
    """
    spectrum, n = _band_spectrum(data, sfreq), data.shape[1]
    if not spectrum.shape[1]:
        return np.full(len(data), np.nan)
    # interference of one frequency (railways, machines) has three bins under the taper
    n_least = max(spectrum.shape[1] - 3, min(spectrum.shape[1], 3))
    spectrum = np.sort(spectrum, axis=1)[:, :n_least]
    return np.sqrt(2 * spectrum.sum(1) / (n * np.square(_taper(n)).sum()))


def drift_rms(data: np.ndarray) -> np.ndarray:
    """Compute the RMS of what drifts within a row, shape (n_channels,).

    This is the part of half a period and of one period of a cosine (the first terms of
    a cosine transform). It is fitted with and without a taper, and the smaller counts:
    slow rhythms leak into the first, the mains into the second.
    """
    n = data.shape[1]
    time = np.pi * (np.arange(n) + 0.5) / n
    waves = np.cos(np.outer(np.arange(3), time))
    data = data - data.mean(axis=1, keepdims=True)
    found = []
    for weighted in (waves, waves * _taper(n)):
        # pinv: of rows of two samples, too
        parts = np.linalg.pinv(weighted @ waves.T) @ (weighted @ data.T)
        found.append(np.sqrt(np.square(parts[1:]).sum(axis=0) / 2))
    return np.minimum(*found)


def check_drifts(
    drift: np.ndarray, rms: np.ndarray, recording: Recording
) -> str | None:
    """Find whether drifts within rows are stronger than signals.

    Parameters
    ----------
    drift : ndarray, shape (n_rows, n_channels)
        What `drift_rms` gives for some rows of a recording; NaN for flat channels.
    rms : ndarray, shape (n_rows, n_channels)
        What `band_rms` gives for them; NaN where nothing is known.
    recording : Recording
        The recording.

    Returns
    -------
    message : str | None
        A warning, where the median channel of magnetometers, or of planar gradiometers,
        drifts more than five times as strongly in most rows.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = drift / rms
    for kind in (recording.scale == 1.0, recording.scale != 1.0):
        known = ratio[:, kind]
        known = known[np.isfinite(known).any(axis=1)]
        if len(known) and np.median(np.nanmedian(known, axis=1)) > LARGEST_DRIFT:
            return (
                "Drifts within rows are more than "
                f"{LARGEST_DRIFT:g} times as strong as signals from {BAND[0]:g} to "
                f"{BAND[1]:g} Hz, so features will be of the drifts. High-pass filter "
                "the recording before it is cut (raw.filter(0.5, None), or "
                "--highpass 0.5), or detrend epochs (mne.Epochs(..., detrend=1))."
            )
    return None


def _taper(n: int) -> np.ndarray:
    return np.hanning(n + 2)[1:-1]


def _band_spectrum(data: np.ndarray, sfreq: float) -> np.ndarray:
    """Compute the periodogram from 3 to 45 Hz, shape (n_channels, n_frequencies)."""
    n = data.shape[1]
    freqs = np.fft.rfftfreq(n, 1 / sfreq)
    inside = (freqs >= BAND[0]) & (freqs <= BAND[1])
    # the first two bins hold what the taper leaves of drifts
    inside[:2] = False
    if not inside.any():
        return np.empty((len(data), 0))
    time = np.linspace(-1, 1, n)
    data = data - data.mean(axis=1, keepdims=True)
    data = data - np.outer(data @ time / (time @ time), time)
    return np.abs(np.fft.rfft(data * _taper(n))[:, inside]) ** 2


def check_units(total: np.ndarray, rms: np.ndarray, recording: Recording) -> str | None:
    """Check the amplitude of a recording, over some of its rows.

    Parameters
    ----------
    total : ndarray, shape (n_rows, n_channels)
        What `rms_about_line` gives for rows of the recording; NaN for flat channels.
    rms : ndarray, shape (n_rows, n_channels)
        What `band_rms` gives for them; NaN where nothing is known.
    recording : Recording
        The recording.

    Returns
    -------
    message : str | None
        A warning, where signals are weaker than any sensor's noise, or magnetometers
        and gradiometers do not fit together.

    Raises
    ------
    ValueError
        If signals are stronger than any brain's.
    """
    middle = float(np.nanmedian(total * recording.scale))
    if middle < WEAKEST:
        return (
            f"The median RMS of the signals is {middle:.2g} T, far below the noise of "
            "any sensor (2e-14 T): this looks like another unit. Features of such "
            "signals mean nothing; pass them in SI units, as MNE reads them."
        )
    known = np.isfinite(rms).any(0)
    if not known.any():
        return None
    channel = np.full(rms.shape[1], np.nan)
    channel[known] = np.nanmedian(rms[:, known], axis=0) * recording.scale[known]
    middle = float(np.nanmedian(channel))
    if middle > STRONGEST:
        raise ValueError(
            f"Expected MEG in tesla, got a median RMS of {middle:.2g} T from "
            f"{BAND[0]:g} to {BAND[1]:g} Hz, where the strongest rhythms of a brain "
            "have 2e-12 T: this looks like another unit, or a factor of 1000. Pass the "
            "signals in SI units, as MNE reads them; leave out recordings that are "
            "artefact throughout."
        )
    planar = recording.scale != 1.0
    if not (planar & known).any() or not (~planar & known).any():
        return None
    ratio = float(np.nanmedian(channel[~planar]) / np.nanmedian(channel[planar]))
    if 1 / LARGEST_RATIO < ratio < LARGEST_RATIO:
        return None
    weak, guess = ("planar gradiometers", "T/cm instead of T/m")
    if ratio < 1:
        weak, guess = "magnetometers", "a unit other than T"
    return (
        f"From {BAND[0]:g} to {BAND[1]:g} Hz, magnetometers are {ratio:.2g} times as "
        "strong as planar gradiometers (as differences over their baseline), where "
        f"about 1 to 3 is usual: {weak} may be in {guess}, or the others full of "
        "artefacts. Compare the units with MNE's, or leave one kind out."
    )


# Peak-to-peak range over a row, in T, that the median channel of a recording can
# have. Sensor noise alone is some 1e-14, ongoing activity some 1e-12, an unfiltered
# recording in a poorly shielded room 1e-9. A noise-free simulation may be small;
# EEG in volt begins at 1e-5 and anything in fT, pT or standard deviations near 1.
_SMALLEST, _LARGEST = 1e-17, 1e-7

# Gradients (T/m) are compared as differences (T) over the planar baseline, in m.
_BASELINE = 0.0168
_UNIT_T_PER_M = 201  # FIFF.FIFF_UNIT_T_M

# A channel whose range is below this share of its own size is a constant, stored.
_FLAT_RELATIVE, _FLAT_ABSOLUTE = 1e-9, 1e-19


def check_duration(duration: float, overlap: float) -> None:
    """Check length and overlap of the rows of a Raw, in seconds."""
    for name, value in (("duration", duration), ("overlap", overlap)):
        if not isinstance(value, Real) or isinstance(value, bool):
            raise TypeError(
                f"Expected {name} to be a number of seconds, got {value!r}; pass a "
                "float."
            )
    if not 0 < duration < np.inf:
        raise ValueError(
            f"Expected duration to be a positive number of seconds, got {duration}; "
            "the default is 1.0."
        )
    if not 0 <= overlap < duration:
        raise ValueError(
            f"Expected overlap in seconds, from 0 to less than duration ({duration}), "
            f"got {overlap}; choose a smaller overlap or a longer duration."
        )


def check_channels(info: Info, where: str) -> None:
    """Check that there is at least one good MEG channel."""
    if len(pick_types(info, meg=True, ref_meg=False, exclude="bads")):
        return
    every = pick_types(info, meg=True, ref_meg=False, exclude=())
    if len(every):
        raise ValueError(
            f"Expected good MEG channels in {where}, got {len(every)} MEG channels "
            "that are all in info['bads']; check the list of bad channels."
        )
    kinds = Counter(info.get_channel_types())
    if "ref_meg" in kinds:
        raise ValueError(
            f"Expected MEG channels around the head in {where}, got none beside "
            f"{kinds['ref_meg']} reference channels, which record the room alone; pass "
            "the recording with its MEG channels."
        )
    got = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    raise ValueError(
        f"Expected MEG channels in {where}, got {got or 'no channels'}; pass a MEG "
        "recording (mne-megfm reads no EEG), or set the types of channels that are "
        "in truth MEG when you make the info."
    )


def check_rows(
    data: np.ndarray, recording: Recording, row: int
) -> tuple[np.ndarray, np.ndarray]:
    """Check one row and find channels to leave out of it.

    Parameters
    ----------
    data : ndarray, shape (n_channels, n_samples)
        Good MEG channels of the row.
    recording : Recording
        Where the row comes from.
    row : int
        Number of the row in the input, for messages.

    Returns
    -------
    flat : ndarray of bool, shape (n_channels,)
        Channels that do not change.
    far : ndarray of bool, shape (n_channels,)
        Channels that are far stronger or weaker than their neighbours, see `far_off`.

    Notes
    -----
    Both are settled for each row by itself, so that a row comes out the same whatever
    other rows are around.
    """
    if data.dtype.kind != "f":
        raise TypeError(
            f"Expected real data in row {row}, got {data.dtype}; transform signals, "
            "not spectra."
        )
    highest, lowest = data.max(axis=1), data.min(axis=1)
    extent = highest - lowest
    if not np.all(np.isfinite(extent)):
        names = np.array(recording.ch_names)[~np.isfinite(extent)]
        raise ValueError(
            f"Expected finite data, got NaN or infinity in row {row}, "
            f"{_shorten(names)}; annotate or drop that span, or mark the channels "
            "as bad."
        )
    flat = is_flat(highest, lowest)
    if data.shape[1] == 1:  # a single sample says nothing about flatness
        extent = np.abs(highest)
        flat = extent == 0
    if flat.all():
        raise ValueError(
            f"Expected MEG signals in row {row}, got data in which every one of the "
            f"{len(flat)} good MEG channels is flat (constant); drop that epoch, or "
            "annotate that span as BAD."
        )
    middle = float(np.median((extent * recording.scale)[~flat]))
    if not _SMALLEST <= middle <= _LARGEST:
        guess = "far weaker than any sensor's noise"
        if middle > _LARGEST:
            guess = "z-scored data, EEG, or other units such as fT, pT or µV"
        raise ValueError(
            "Expected MEG in tesla (ranges of 1e-14 to 1e-9 T within a row), got a "
            f"median peak-to-peak of {middle:.2g} T in row {row}: this looks like "
            f"{guess}. Pass the signals in SI units and not standardised, as MNE "
            "reads them."
        )
    # beside neighbours most of which are flat, the others only seem strong
    if data.shape[1] == 1 or flat.mean() > 0.5:
        return flat, np.zeros_like(flat)
    return flat, far_off(data, recording)


def is_flat(highest: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    """Find channels that do not change, from their largest and smallest values."""
    size = np.maximum(np.abs(highest), np.abs(lowest))
    return highest - lowest <= np.maximum(_FLAT_RELATIVE * size, _FLAT_ABSOLUTE)


def report_left_out(
    recording: Recording,
    flat: np.ndarray,
    far: np.ndarray,
    reported: set[str],
    throughout: bool = False,
) -> tuple[str, ...]:
    """Name channels that are left out of some rows, each once; give all names.

    An artefact of a few rows is logged, a channel that is wrong throughout warned of.
    """
    names = np.array(recording.ch_names)
    for which, say, words in (
        (flat, logger.info, "they are flat"),
        (
            far & ~flat,
            warn if throughout else logger.info,
            f"they are more than {FAR_OFF:g} times as strong or as weak as their "
            "neighbours",
        ),
    ):
        new = [name for name in names[which].tolist() if name not in reported]
        reported.update(new)
        if new:
            say(f"Ignored in rows where {words}: {_shorten(np.array(new))}")
    return tuple(names[flat | far].tolist())


def tell_left_out(recording: Recording, flat: np.ndarray, far: np.ndarray) -> str:
    """Say how many MEG channels are left out of rows and why; nothing if none is."""
    info, names = recording.info, np.array(recording.ch_names)
    every = pick_types(info, meg=True, ref_meg=False, exclude=())
    meg = np.array([info["ch_names"][pick] for pick in every])
    left_out = {
        "flat": names[flat],
        "far stronger or weaker than their neighbours": names[far & ~flat],
        "marked as bad": meg[np.isin(meg, info["bads"])],
    }
    texts = [
        f"{len(n)} are {why} ({_shorten(n, 3)})"
        for why, n in left_out.items()
        if len(n)
    ]
    return f"Of {len(meg)} MEG channels {', '.join(texts)}." if texts else ""


def unit_scale(info: Info, picks: np.ndarray) -> np.ndarray:
    """Factor to T for every channel, shape (n_picks,): baseline for gradients."""
    units = np.array([int(info["chs"][pick]["unit"]) for pick in picks])
    return np.where(units == _UNIT_T_PER_M, _BASELINE, 1.0)


def _shorten(names: np.ndarray, limit: int = 5) -> str:
    """Name a few, and say how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    noun = "channel" if len(names) == 1 else "channels"
    return f"{noun} {', '.join(names[:limit])}{more}"
