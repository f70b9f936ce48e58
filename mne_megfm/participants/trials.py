"""Trials of participants, in order, as the participant encoder reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from sklearn.utils.extmath import svd_flip
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..inputs import Recording, iter_windows
from ..models import STATES, ModelConfig, TrialInputs, Trials, state_kind
from ..models.participant_transformer import RECENT

# -- trials ----------------------------------------------------------------------------
#: Trials of a state beyond this number are averaged with their neighbours.
MOST_TRIALS = 128
# a trial is shrunk to so many times the size of the median trial: artefacts
_LARGEST = 2.5
# stimuli that seem closer than this, in s, were not timed
_CLOSEST = 0.1


@dataclass
class PersonTrials:
    """Trials and windows of one participant, state by state in their order.

    They are tensors, through which derivatives find their way to the signals.

    Parameters
    ----------
    response : Tensor, shape (n, n_response)
        Coefficients of responses; zero where there is no stimulus.
    log_spectrum : Tensor, shape (n, n_regions, n_bands)
        Log power by region and band.
    kind : Tensor of int, shape (n,)
        Kind of state, an index into ``STATES``.
    position : Tensor, shape (n,)
        Place in the recording, from 0 to 1.
    recent : Tensor, shape (n, 2)
        How many stimuli came shortly before; NaN where not known.
    responds : Tensor of bool, shape (n,)
        Whether there is a stimulus.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.participants import PersonTrials
    >>> trials = PersonTrials.of_state(
    ...     "auditory", np.ones((6, 48)), np.zeros((6, 24, 19))
    ... )
    >>> len(trials), trials.response.shape
    (6, torch.Size([6, 48]))
    """

    response: torch.Tensor
    log_spectrum: torch.Tensor
    kind: torch.Tensor
    position: torch.Tensor
    recent: torch.Tensor
    responds: torch.Tensor

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def of_state(
        cls,
        state: str,
        response: ArrayLike | None,
        log_spectrum: ArrayLike,
        recent: ArrayLike | None = None,
        n_response: int = 48,
    ) -> PersonTrials:
        """Make the trials of one state.

        Parameters
        ----------
        state : str
            Its name; upper or lower case and what follows a slash do not matter.
        response : array-like, shape (n, n_response), optional
            Coefficients in order of time; None where there are no stimuli.
        log_spectrum : array-like, shape (n, n_regions, n_bands)
            Log power.
        recent : array-like, shape (n, 2), optional
            As of `recent_stimuli`; not known by default.
        n_response : int
            Number of coefficients where ``response`` is None.

        Returns
        -------
        trials : PersonTrials
            At most `MOST_TRIALS` of them.
        """
        log_spectrum = torch.as_tensor(log_spectrum)
        n = len(log_spectrum)
        responds = response is not None
        if responds:
            response = limit_trials(torch.as_tensor(response))
        else:
            response = torch.zeros(n, n_response)
        if recent is None:
            recent = torch.full((n, len(RECENT)), math.nan)
        edges = np.linspace(0, n, min(n, MOST_TRIALS) + 1).round().astype(int)
        counts = torch.as_tensor(np.diff(edges))
        m = len(counts)
        belongs = torch.arange(m).repeat_interleave(counts)

        def joined(values: torch.Tensor) -> torch.Tensor:
            total = values.new_zeros(m, *values.shape[1:])
            total = total.index_add(0, belongs, values)
            return (total / counts.reshape(-1, *[1] * (values.ndim - 1))).float()

        return cls(
            joined(response),
            joined(log_spectrum),
            torch.full((m,), state_kind(state)),
            joined((torch.arange(n, dtype=torch.float64) + 0.5) / n),
            joined(torch.as_tensor(recent)),
            torch.full((m,), responds),
        )

    @classmethod
    def join(cls, parts: Sequence[PersonTrials]) -> PersonTrials:
        """Join the states of one participant.

        Parameters
        ----------
        parts : sequence of PersonTrials
            Trials of each state.

        Returns
        -------
        trials : PersonTrials
            All of them.
        """
        fields = ([getattr(p, name) for p in parts] for name in vars(parts[0]))
        return cls(*(torch.cat(values) for values in fields))

    def take(self, index: np.ndarray) -> PersonTrials:
        """Take some of the trials.

        Parameters
        ----------
        index : ndarray of int
            Which.

        Returns
        -------
        trials : PersonTrials
            Those trials.
        """
        return PersonTrials(*(values[index] for values in vars(self).values()))

    @property
    def noise(self) -> torch.Tensor:
        """Size of a trial's noise: what trials of a state differ from their mean."""
        squares = []
        for kind in self.kind[self.responds].unique():
            z = self.response[self.responds & (self.kind == kind)]
            if len(z) > 1:
                rest = (z - z.mean(0)).square().mean(1) * len(z) / (len(z) - 1)
                squares.append(rest)
        # 1 is a typical participant's
        if not squares:
            return torch.tensor(1.0)
        return torch.cat(squares).quantile(0.5).clamp(min=1e-6).sqrt()


def limit_trials(response: torch.Tensor) -> torch.Tensor:
    """Shrink trials that are much larger than the others: artefacts.

    Parameters
    ----------
    response : Tensor, shape (n_trials, n_values)
        What is known of trials.

    Returns
    -------
    limited : Tensor, shape (n_trials, n_values)
        The same, but for trials of more than 2.5 times the size of the median one,
        which get that size. Of up to three trials none is shrunk.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.participants import limit_trials
    >>> limit_trials(torch.tensor([[1.0], [-1.0], [1.0], [100.0]])).ravel()
    tensor([ 1.0000, -1.0000,  1.0000,  2.5000])
    """
    if len(response) <= 3:
        return response
    size = response.square().mean(1).sqrt()
    limit = _LARGEST * size.quantile(0.5)
    return response * (limit / size.clamp(min=1e-9)).clamp(max=1.0)[:, None]


def recent_stimuli(times: np.ndarray) -> np.ndarray:
    """Count the stimuli before each, those long ago for less.

    Parameters
    ----------
    times : ndarray, shape (n,)
        When stimuli were, in s, in order.

    Returns
    -------
    recent : ndarray of float32, shape (n, 2)
        Sums of ``exp(-delay / tau)`` for short and long ``tau``; NaN if the times
        cannot be those of stimuli (as of epochs that were made from an array).
    """
    if len(times) < 2 or np.diff(times).min() < _CLOSEST:
        return np.full((len(times), len(RECENT)), np.nan, np.float32)
    delay = times[:, None] - times[None]
    delay = np.where(delay > 0, delay, np.inf)
    counts = [np.exp(-delay / tau).sum(1) for tau in RECENT]
    return np.stack(counts, 1).astype(np.float32)


def collate(people: Sequence[PersonTrials], inputs: torch.nn.Module) -> Trials:
    """Pad the trials of some participants to a common number.

    Parameters
    ----------
    people : sequence of PersonTrials
        The participants.
    inputs : TrialInputs
        Gives coefficients of spectra.

    Returns
    -------
    trials : Trials
        Tensors of shape (n_people, n_trials, ...).
    """

    def padded(values: list[torch.Tensor]) -> torch.Tensor:
        return pad_sequence(values, batch_first=True)

    spectra = padded([person.log_spectrum for person in people])
    seen = padded([torch.ones(len(person), dtype=torch.bool) for person in people])
    spectrum = inputs.spectrum(spectra.flatten(0, 1)).unflatten(0, seen.shape)
    return Trials(
        response=padded([person.response for person in people]),
        spectrum=spectrum * seen[..., None],
        state=padded([person.kind for person in people]),
        position=padded([person.position for person in people]),
        recent=padded([person.recent for person in people]),
        responds=padded([person.responds for person in people]),
        seen=seen,
        noise=torch.stack([person.noise for person in people]),
    )


# a response is looked for where at least so much of it was recorded, in s
_SHORTEST = 0.1


class Windows(NamedTuple):
    """Some windows of the rows of one state of one recording."""

    data: Tensor  # (n, n_sensors, n_times), in tesla; zero after the valid samples
    row: Tensor  # (n,)
    start: Tensor  # (n,), first sample inside the row
    n_valid: Tensor  # (n,)


class Part(NamedTuple):
    """What is known of the rows of one state of one recording."""

    components: Tensor | None  # of responses; None without stimuli
    spectra: Tensor
    recent: NDArray[np.float32] | None
    total: Tensor | None  # sum of what follows the stimulus


class StateTrials(NamedTuple):
    """One state of one participant; None where there are no stimuli."""

    trials: PersonTrials
    components: Tensor | None  # (n_trials, n_space, n_time), of each response
    recent: Tensor | None  # (n_trials, 2)
    evoked: Tensor | None  # (n_sensors, n_after), in tesla


@dataclass(frozen=True)
class Timing:
    """When stimuli are, and how much of what follows was recorded.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    onset : int
        Sample of the stimulus inside a row, at the model's rate.
    n_after : int
        Samples of a response.
    recorded : int
        How many of those were recorded.
    responds : bool
        Whether responses are looked for.
    recent : ndarray, shape (n_rows, 2)
        How many stimuli came shortly before each; None where there are none.
    """

    n_rows: int
    onset: int
    n_after: int
    recorded: int
    responds: bool
    recent: NDArray[np.float32] | None

    @classmethod
    def of(cls, rows: Recording, state: str, sfreq: float, n_after: int) -> Timing:
        """Find the timing of rows of one state."""
        onset = round(-rows.tmin * sfreq)
        length = round(rows.n_samples / rows.sfreq * sfreq)
        recorded = min(onset + n_after, length) - max(onset, 0)
        responds = (
            rows.kind != "raw"
            and STATES[state_kind(state)] != "rest"
            and recorded >= _SHORTEST * sfreq
        )
        n_rows, times = len(rows.rows), rows.event_times
        recent = None
        if responds:
            recent = recent_stimuli(np.zeros(n_rows) if times is None else times)
        return cls(n_rows, onset, n_after, recorded, responds, recent)


class TimedWindows(NamedTuple):
    """All windows of the rows of one state of one recording.

    Parameters
    ----------
    recording : Recording
        The rows.
    timing : Timing
        When stimuli are.
    windows : Windows
        The windows.
    """

    recording: Recording
    timing: Timing
    windows: Windows


def split_states(group: Iterable[Recording]) -> dict[str, list[Recording]]:
    """Give the rows of each state of each recording, in the order of time."""
    parts: dict[str, list[Recording]] = {}
    for recording in group:
        # a view may have mixed the epochs: their order is that of the recording
        order = np.argsort(recording.rows, kind="stable")
        recording = recording.select(order, np.arange(len(order)))
        for state in dict.fromkeys(recording.states.tolist()):
            chosen = np.flatnonzero(recording.states == state)
            rows = recording.select(chosen, np.arange(len(chosen)))
            parts.setdefault(str(state), []).append(rows)
    return parts


def read_trials(
    group: Iterable[Recording],
    sensor_mapping: Callable,
    config: ModelConfig,
    inputs: TrialInputs,
    batch_size: int,
) -> dict[str, StateTrials]:
    """Read one participant's recordings as trials, state by state.

    Each participant is read by itself, so that nothing depends on the others.
    """
    states = {}
    form = {
        "sfreq": config.sfreq,
        "n_times": config.n_times,
        "patch": config.patch_length,
        "batch_size": batch_size,
    }
    # not inference_mode: the encoder may be trained on these
    with torch.no_grad():
        for state, recordings in split_states(group).items():
            parts = [
                gather_rows(
                    read_windows(rows, sensor_mapping, **form),
                    Timing.of(rows, state, config.sfreq, inputs.n_after),
                    inputs,
                )
                for rows in recordings
            ]
            states[state] = join_parts(state, parts, inputs)
    return states


def read_windows(
    rows: Recording,
    sensor_mapping: Callable,
    *,
    sfreq: float,
    n_times: int,
    patch: int,
    batch_size: int,
) -> Iterator[Windows]:
    """Read the windows of some rows of a recording, a few at a time.

    Parameters
    ----------
    rows : Recording
        The rows.
    sensor_mapping : callable
        How they reach the canonical array.
    sfreq : float
        Sampling rate of the windows, in Hz.
    n_times, patch, batch_size : int
        As in `iter_windows`.

    Yields
    ------
    windows : Windows
        In tesla; ``start`` in samples.
    """
    for block in iter_windows(
        rows.alone(),
        sensor_mapping,
        sfreq=sfreq,
        n_times=n_times,
        patch=patch,
        batch_size=batch_size,
    ):
        yield Windows(
            torch.from_numpy(block.data),
            torch.from_numpy(block.row),
            torch.from_numpy(block.start) * patch,
            torch.from_numpy(block.n_valid),
        )


def gather_rows(blocks: Iterable[Windows], timing: Timing, inputs: TrialInputs) -> Part:
    """Turn the windows of some rows into responses and spectra.

    Parameters
    ----------
    blocks : iterable of Windows
        All windows of the rows.
    timing : Timing
        When stimuli are.
    inputs : TrialInputs
        The maps to coefficients.

    Returns
    -------
    part : Part
        What is known of the rows; derivatives lead back to the windows.
    """
    n, n_after = timing.n_rows, timing.n_after
    spectra = segments = total = count = 0
    n_windows = torch.zeros(n)
    for block in blocks:
        values = inputs.log_spectrum(block.data, block.n_valid)
        empty = values.new_zeros(n, *values.shape[1:])
        spectra = spectra + empty.index_add(0, block.row, values)
        n_windows += torch.bincount(block.row, minlength=n)
        total = total + block.data.sum((0, 2), dtype=torch.float64)
        count += int(block.n_valid.sum())
        if timing.responds:
            if isinstance(segments, int):
                segments = block.data.new_zeros(n, block.data.shape[1], n_after)
            segments = _cut(segments, block, timing.onset)
    spectra = spectra / n_windows[:, None, None]
    if not timing.responds:
        return Part(None, spectra, None, None)
    # centred over the recording, as in pretraining; not where nothing was recorded
    first = max(0, -timing.onset)
    inside = torch.zeros(n_after)
    inside[first : first + timing.recorded] = 1.0
    segments = segments - (total / count).float()[:, None] * inside
    return Part(inputs.components(segments), spectra, timing.recent, segments.sum(0))


def _cut(segments: Tensor, block: Windows, onset: int) -> Tensor:
    """Copy what of the windows follows the stimulus."""
    # windows that begin at the same sample of their rows are equally long
    for start in block.start.unique().tolist():
        here = block.start == start
        begin = start - onset  # of the window, counted from the stimulus
        low = max(begin, 0)
        high = min(begin + int(block.n_valid[here][0]), segments.shape[2])
        if low < high:
            segments[block.row[here], :, low:high] = block.data[
                here, :, low - begin : high - begin
            ]
    return segments


def join_parts(state: str, parts: list[Part], inputs: TrialInputs) -> StateTrials:
    """Join what is known of the recordings of one state."""
    # recordings without stimuli stay out where others of the state have them
    timed = [part for part in parts if part.components is not None]
    n_response = inputs.joint.shape[1]
    spectra = torch.cat([part.spectra for part in timed or parts])
    if not timed:
        trials = PersonTrials.of_state(state, None, spectra, n_response=n_response)
        return StateTrials(trials, None, None, None)
    components = torch.cat([part.components for part in timed])
    recent = torch.from_numpy(np.concatenate([part.recent for part in timed]))
    trials = PersonTrials.of_state(state, inputs.response(components), spectra, recent)
    evoked = sum(part.total for part in timed) / len(components)
    return StateTrials(trials, components, recent, evoked)


# -- projections -----------------------------------------------------------------------
# trials of more power than this many times the median are left out here
_ODD = 4.0


def _leading(signal: np.ndarray, noise: np.ndarray, n: int, ridge: float) -> np.ndarray:
    """Axes of the largest signal per noise, scaled to noise of variance 1."""
    size = len(noise)
    noise = noise + ridge * np.trace(noise) / size * np.eye(size)
    _, axes = eigh(signal, noise, subset_by_index=(size - n, size - 1))
    # eigenvectors have no sign of their own: fix it, for reproducible features
    return svd_flip(axes[:, ::-1], None)[0]


class _Contrast:
    """Covariance of averages against that of single trials, person by person."""

    def __init__(self) -> None:
        self._signal: np.ndarray | float = 0.0
        self._noise: np.ndarray | float = 0.0
        self.sizes: list[float] = []

    def add(self, trials: np.ndarray) -> None:
        """Take in trials of one state, shape (n_trials, n_values, n_repeats)."""
        rest = trials - trials.mean(0)
        power = np.square(rest).mean((1, 2))
        trials = trials[power <= _ODD * np.median(power)]
        mean = trials.mean(0)
        rest = (trials - mean).transpose(1, 0, 2).reshape(trials.shape[1], -1)
        noise = rest @ rest.T / rest.shape[1] * len(trials) / (len(trials) - 1)
        size = np.trace(noise) / len(noise)
        # all participants count alike, however large their fields
        signal = mean @ mean.T / mean.shape[1] - noise / len(trials)
        self._signal = self._signal + signal / size
        self._noise = self._noise + noise / size
        self.sizes.append(size)

    @property
    def signal(self) -> np.ndarray:
        """Mean covariance of averages, shape (n_values, n_values)."""
        return self._signal / len(self.sizes)

    @property
    def noise(self) -> np.ndarray:
        """Mean covariance of single trials, so that its mean variance is 1."""
        return self._noise / len(self.sizes)


def fit_trial_inputs(
    inputs: TrialInputs,
    read: Callable[[], Iterable[np.ndarray]],
    log_spectra: np.ndarray,
) -> None:
    """Find the projection of trials, without labels.

    Spatial, temporal and joint axes are those of denoising source separation [1]_:
    joint diagonalisation of the covariance of average responses, noise subtracted,
    and the covariance of single trials around them. Spectra get principal axes.

    Parameters
    ----------
    inputs : TrialInputs
        Changed in place.
    read : callable
        Gives an iterator over segments of shape (n_trials, n_sensors, n_after) in
        tesla, one array a person and state; called three times.
    log_spectra : ndarray, shape (n, n_regions, n_bands)
        Log spectra of windows of many people.

    References
    ----------
    .. [1] de Cheveigné & Simon (2008), "Denoising based on spatial filtering",
       J Neurosci Methods 171:331-339, section 2.3.
    """
    unit = float(inputs.unit)
    n_space, n_time = inputs.space.shape[1], inputs.time.shape[1]
    n_response, n_spectral = inputs.joint.shape[1], inputs.spectrum_axes.shape[1]

    contrast = _Contrast()
    for segments in read():
        contrast.add(segments / unit)
    space = _leading(contrast.signal, contrast.noise, n_space, 1e-3)
    contrast = _Contrast()
    for segments in read():
        contrast.add(np.einsum("nct,ck->ntk", segments / unit, space, optimize=True))
    time = _leading(contrast.signal, contrast.noise, n_time, 1e-3)
    contrast = _Contrast()
    for segments in read():
        both = np.einsum("nct,ck->nkt", segments / unit, space, optimize=True) @ time
        contrast.add(both.reshape(len(both), -1, 1))
    joint = _leading(contrast.signal, contrast.noise, n_response, 2e-3)
    # noise of a typical person becomes 1
    joint = joint / np.sqrt(np.median(contrast.sizes))

    _keep(inputs, space, time, joint, *_spectral_axes(log_spectra, n_spectral))


def fit_untrained_inputs(inputs: TrialInputs, windows: np.ndarray) -> None:
    """Give a participant encoder with random weights the axes of most power.

    Parameters
    ----------
    inputs : TrialInputs
        Changed in place.
    windows : ndarray, shape (n, n_sensors, n_times)
        Fields in tesla, such as random ones.
    """
    n_response = inputs.joint.shape[1]
    segments = windows[:, :, : inputs.n_after] / float(inputs.unit)
    n, n_sensors, n_after = segments.shape
    by_sensor = np.moveaxis(segments, 1, 0).reshape(n_sensors, -1)
    by_time = segments.reshape(-1, n_after).T
    powers, axes = [], []
    for values, n_axes in (
        (by_sensor, inputs.space.shape[1]),
        (by_time, inputs.time.shape[1]),
    ):
        power, vectors = np.linalg.eigh(values @ values.T / values.shape[1])
        powers.append(power[::-1][:n_axes])
        axes.append(vectors[:, ::-1][:, :n_axes])
    space, time = axes
    both = np.einsum("nct,ck,tl->nkl", segments, space, time, optimize=True)
    # of pairs of axes, those that most was to be expected of, each of variance 1
    leading = np.outer(*powers).ravel().argsort()[::-1][:n_response]
    spread = both.reshape(n, -1)[:, leading].std(0)
    joint = np.zeros((both[0].size, n_response))
    joint[leading, np.arange(n_response)] = 1 / spread
    with torch.inference_mode():
        spectra = inputs.log_spectrum(torch.as_tensor(windows, dtype=torch.float32))
    n_spectral = inputs.spectrum_axes.shape[1]
    _keep(inputs, space, time, joint, *_spectral_axes(spectra.numpy(), n_spectral))


def _spectral_axes(log_spectra: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and principal axes of log spectra."""
    values = log_spectra.reshape(len(log_spectra), -1).astype(np.float64)
    variance, axes = np.linalg.eigh(np.cov(values.T))
    return values.mean(0), axes[:, ::-1][:, :n] / np.sqrt(variance[::-1][:4].mean())


def _keep(inputs: TrialInputs, *values: np.ndarray) -> None:
    names = ("space", "time", "joint", "spectrum_mean", "spectrum_axes")
    for name, value in zip(names, values, strict=True):
        value = np.ascontiguousarray(value, dtype=np.float32)
        getattr(inputs, name).copy_(torch.from_numpy(value))
