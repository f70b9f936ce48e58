"""Recordings of one participant to trials, as the level over trials takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from ..inputs import Recording, Recordings, iter_windows
from ..models import STATES, ModelConfig, TrialInputs
from ..pretraining import PersonTrials, recent_stimuli, state_kind

# a response is looked for where at least so much of it was recorded, in s
_SHORTEST = 0.1


class _Part(NamedTuple):
    """Rows of one state of one recording."""

    response: np.ndarray | None  # None without stimuli
    spectra: np.ndarray
    recent: np.ndarray | None
    total: np.ndarray | None  # sum of what follows the stimulus


class StateTrials(NamedTuple):
    """One state of one participant."""

    trials: PersonTrials
    evoked: np.ndarray | None  # (n_sensors, n_after), in tesla; None without stimuli


def split_elements(recordings: Recordings) -> Iterator[list[Recording]]:
    """Give the recordings of each element of the list, in its order."""
    groups: list[list[Recording]] = [[] for _ in range(recordings.n_elements)]
    for recording in recordings:
        groups[recordings.elements[recording.index[0]]].append(recording)
    yield from groups


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
    parts: dict[str, list[_Part]] = {}
    for recording in group:
        # a view may have mixed the epochs: their order is that of the recording
        order = np.argsort(recording.rows, kind="stable")
        recording = recording.select(order, np.arange(len(order)))
        for state in dict.fromkeys(recording.states.tolist()):
            chosen = np.flatnonzero(recording.states == state)
            rows = recording.select(chosen, np.arange(len(chosen)))
            part = _read_rows(rows, str(state), frontend, config, inputs, batch_size)
            parts.setdefault(str(state), []).append(part)
    return {state: _of_state(state, some, inputs) for state, some in parts.items()}


def _of_state(state: str, parts: list[_Part], inputs: TrialInputs) -> StateTrials:
    # recordings without stimuli stay out where others of the state have them
    timed = [part for part in parts if part.response is not None]
    n_response = inputs.joint.shape[1]
    spectra = np.concatenate([part.spectra for part in timed or parts])
    if not timed:
        trials = PersonTrials.of_state(state, None, spectra, n_response=n_response)
        return StateTrials(trials, None)
    response = np.concatenate([part.response for part in timed])
    recent = np.concatenate([part.recent for part in timed])
    trials = PersonTrials.of_state(state, response, spectra, recent)
    return StateTrials(trials, sum(part.total for part in timed) / len(response))


def _read_rows(
    rows: Recording,
    state: str,
    frontend: Callable,
    config: ModelConfig,
    inputs: TrialInputs,
    batch_size: int,
) -> _Part:
    n, n_after = len(rows.rows), inputs.n_after
    onset = round(-rows.tmin * config.sfreq)
    length = round(rows.n_samples / rows.sfreq * config.sfreq)
    recorded = min(onset + n_after, length) - max(onset, 0)
    responds = (
        rows.kind != "raw"
        and STATES[state_kind(state)] != "rest"
        and recorded >= _SHORTEST * config.sfreq
    )
    segments = np.zeros((n, config.n_sensors, n_after if responds else 0), np.float32)
    total, count = np.zeros(config.n_sensors), 0
    spectra = np.zeros((n, inputs.n_regions, 0), np.float32)
    n_windows = np.zeros(n)
    alone = Recordings([rows], np.zeros(n, int), 1, False)
    for block in iter_windows(
        alone,
        frontend,
        sfreq=config.sfreq,
        n_times=config.n_times,
        patch=config.patch_length,
        batch_size=batch_size,
    ):
        with torch.inference_mode():
            values = inputs.log_spectrum(
                torch.from_numpy(block.data), torch.from_numpy(block.n_valid)
            ).numpy()
        if not spectra.shape[2]:
            spectra = np.zeros((n, *values.shape[1:]), np.float32)
        np.add.at(spectra, block.row, values)
        np.add.at(n_windows, block.row, 1)
        total += block.data.sum((0, 2), dtype=np.float64)
        count += int(block.n_valid.sum())
        if responds:
            _cut(segments, block, onset, config.patch_length)
    spectra /= n_windows[:, None, None]
    if not responds:
        return _Part(None, spectra, None, None)
    # centred over the recording, as in pretraining; not where nothing was recorded
    first = max(0, -onset)
    segments[:, :, first : first + recorded] -= (total / count).astype(np.float32)[
        :, None
    ]
    with torch.inference_mode():
        response = inputs.response(torch.from_numpy(segments)).numpy()
    times = np.zeros(n)
    if rows.kind == "epochs":
        times = rows.inst.events[rows.rows, 0] / rows.sfreq
    return _Part(response, spectra, recent_stimuli(times), segments.sum(0))


def _cut(segments: np.ndarray, block: object, onset: int, patch: int) -> None:
    """Copy what of the windows follows the stimulus."""
    n_after = segments.shape[2]
    for data, row, start, n_valid in zip(
        block.data, block.row, block.start, block.n_valid, strict=True
    ):
        begin = int(start) * patch - onset  # of the window, counted from the stimulus
        low, high = max(begin, 0), min(begin + int(n_valid), n_after)
        if low < high:
            segments[row, :, low:high] = data[:, low - begin : high - begin]
