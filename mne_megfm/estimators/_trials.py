"""Recordings of one participant to trials, as the level over trials takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..inputs import Recording, Recordings, iter_windows
from ..models import STATES, ModelConfig, TrialInputs
from ..pretraining import PersonTrials, recent_stimuli, state_kind

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


def split_elements(recordings: Recordings) -> Iterator[list[Recording]]:
    """Give the recordings of each element of the list, in its order."""
    groups: list[list[Recording]] = [[] for _ in range(recordings.n_elements)]
    for recording in recordings:
        groups[recordings.elements[recording.index[0]]].append(recording)
    yield from groups


def split_states(group: list[Recording]) -> dict[str, list[Recording]]:
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
    group: list[Recording],
    frontend: Callable,
    config: ModelConfig,
    inputs: TrialInputs,
    batch_size: int,
) -> dict[str, StateTrials]:
    """Read one participant's recordings as trials, state by state.

    Each participant is read by itself, so that nothing depends on the others.
    """
    states = {}
    # not inference_mode: the level may be trained on these
    with torch.no_grad():
        for state, recordings in split_states(group).items():
            parts = [
                gather_rows(
                    _read_windows(rows, frontend, config, batch_size),
                    Timing.of(rows, state, config.sfreq, inputs.n_after),
                    inputs,
                )
                for rows in recordings
            ]
            states[state] = join_parts(state, parts, inputs)
    return states


def _read_windows(
    rows: Recording, frontend: Callable, config: ModelConfig, batch_size: int
) -> Iterator[Windows]:
    alone = Recordings([rows], np.zeros(len(rows.rows), int), 1, False)
    for block in iter_windows(
        alone,
        frontend,
        sfreq=config.sfreq,
        n_times=config.n_times,
        patch=config.patch_length,
        batch_size=batch_size,
    ):
        yield Windows(
            torch.from_numpy(block.data),
            torch.from_numpy(block.row),
            torch.from_numpy(block.start) * config.patch_length,
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
