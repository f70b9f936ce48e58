"""Participants to features by the level over their trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from mne.utils import warn
from numpy.typing import NDArray

from ..inputs import Recordings
from ..models import STATES, ModelConfig, ParticipantTransformer, Trials
from ..pretraining import PersonTrials, collate, state_kind
from ._measures import (
    BAND_MEASURES,
    RESPONSE_MEASURES,
    measure_bands,
    measure_responses,
)
from ._trials import read_trials, split_elements

#: Spread of features over people, such that the ridge of a linear classifier of 100
#: people suits them as they are.
GAIN = 0.5
#: What the token tells of a state counts as much as so many trials of it.
WORTH = 10
# every so many samples of averages are kept, in units of this field in tesla
_EVOKED_STEP, _EVOKED_UNIT = 2, 1e-13
_FURTHEST = 4.0  # standard deviations
_RIDGE = 30.0


@dataclass
class LevelDescription(Mapping):
    """What the level says of one participant; a mapping by state.

    Parameters
    ----------
    bands : ndarray
        Measures of the spectrum.
    inferred : ndarray, shape (n_kinds, n_measures)
        What the token says of the responses in every kind of state: the same measures
        as people with such tokens had in pretraining.
    states : dict
        Measures of the responses of each recorded state; None without stimuli.
    counts : dict
        Number of trials of each recorded state.
    evoked : dict
        Average of each state on the canonical sensors, where asked for.
    """

    bands: NDArray[np.float32]
    inferred: NDArray[np.float32]
    states: dict[str, NDArray[np.float32] | None]
    counts: dict[str, int]
    evoked: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __getitem__(self, state: str) -> NDArray[np.float32] | None:
        return self.states[state]

    def __iter__(self):
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)


def _expected(
    level: ParticipantTransformer, token: torch.Tensor, noise: float
) -> NDArray[np.float32]:
    """Predict the mean response in each kind of state from the token."""
    n = len(STATES)
    at = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    asked = Trials(
        response=torch.zeros(1, n * len(at), 0),
        spectrum=torch.zeros(1, n * len(at), 0),
        state=torch.arange(n).repeat_interleave(len(at))[None],
        position=at.repeat(n)[None],
        recent=torch.full((1, n * len(at), 2), float("nan")),
        responds=torch.ones(1, n * len(at), dtype=torch.bool),
        seen=torch.ones(1, n * len(at), dtype=torch.bool),
        noise=torch.tensor([noise]),
    )
    predicted = level.predict_from_token(token, asked)
    predicted = predicted[0, :, : level.config.n_response] * noise
    return predicted.unflatten(0, (n, len(at))).mean(1).numpy()


def _raw_description(
    level: ParticipantTransformer, states: Mapping[str, PersonTrials]
) -> tuple[torch.Tensor, NDArray, dict[str, NDArray | None]]:
    """Token, measures of the spectrum and of responses, as they are."""
    person = PersonTrials.join([states[name] for name in sorted(states)])
    with torch.inference_mode():
        token = level.encode(collate([person], level.inputs))[:, 0]
        expected = _expected(level, token, person.noise)
    spectra = [trials.log_spectrum.mean(0) for trials in states.values()]
    measures = {
        name: measure_responses(
            trials.response, trials.recent, expected[state_kind(name)]
        )
        if trials.responds.any()
        else None
        for name, trials in states.items()
    }
    return token[0], measure_bands(np.mean(spectra, 0)), measures


def describe_person(
    level: ParticipantTransformer, states: Mapping[str, PersonTrials]
) -> LevelDescription:
    """Describe one participant.

    Parameters
    ----------
    level : ParticipantTransformer
        The level.
    states : dict of PersonTrials
        The participant's trials by name of the state.

    Returns
    -------
    description : LevelDescription
        In units of the spread over participants of pretraining.
    """
    token, bands, measures = _raw_description(level, states)
    around = token - level.token_mean

    def standard(values: NDArray, mean: torch.Tensor, scale: torch.Tensor) -> NDArray:
        z = (values - mean.numpy()) / scale.numpy()
        return np.clip(z, -_FURTHEST, _FURTHEST).astype(np.float32)

    return LevelDescription(
        bands=standard(bands, level.bands_mean, level.bands_scale),
        inferred=(level.measures_map @ around).numpy().astype(np.float32),
        states={
            name: None
            if values is None
            else standard(
                values,
                level.measures_mean[state_kind(name)],
                level.measures_scale[state_kind(name)],
            )
            for name, values in measures.items()
        },
        counts={name: len(trials) for name, trials in states.items()},
    )


def describe_recordings(
    level: ParticipantTransformer,
    recordings: Recordings,
    frontend: Callable,
    config: ModelConfig,
    batch_size: int,
    evoked: bool = False,
) -> list[LevelDescription]:
    """Describe each element of a list, by itself.

    Parameters
    ----------
    level : ParticipantTransformer
        The level.
    recordings : Recordings
        The recordings.
    frontend : callable
        How they reach the canonical array.
    config : ModelConfig
        What a window is.
    batch_size : int
        Windows at a time.
    evoked : bool
        Whether to keep averages, too.

    Returns
    -------
    descriptions : list of LevelDescription
        One an element.
    """
    out = []
    for group in split_elements(recordings):
        states = read_trials(group, frontend, config, level.inputs, batch_size)
        found = describe_person(level, {name: s.trials for name, s in states.items()})
        if evoked:
            found.evoked = {
                name: (state.evoked[:, ::_EVOKED_STEP] / _EVOKED_UNIT).astype(
                    np.float32
                )
                for name, state in states.items()
                if state.evoked is not None
            }
        out.append(found)
    return out


def describe_population(
    level: ParticipantTransformer, people: Sequence[Mapping[str, PersonTrials]]
) -> None:
    """Find how participants of pretraining differ, and keep it with the level.

    Parameters
    ----------
    level : ParticipantTransformer
        The trained level, changed in place.
    people : sequence of dict
        Trials of each participant by state.
    """
    raw = [_raw_description(level, states) for states in people]
    tokens = torch.stack([token for token, _, _ in raw]).double()
    mean = tokens.mean(0)
    around = tokens - mean
    level.token_mean.copy_(mean)

    bands = torch.tensor(np.array([bands for _, bands, _ in raw]))
    level.bands_mean.copy_(bands.mean(0))
    level.bands_scale.copy_(bands.std(0).clamp(min=1e-6))

    known = []
    for kind in range(1, len(STATES) - 1):
        index, measures = [], []
        for number, (_, _, by_state) in enumerate(raw):
            for name, values_ in by_state.items():
                if state_kind(name) == kind and values_ is not None:
                    index.append(number)
                    measures.append(values_)
        if len(index) < 2:
            continue
        known.append(kind)
        measures = torch.tensor(np.array(measures))
        level.measures_mean[kind] = measures.mean(0)
        level.measures_scale[kind] = measures.std(0).clamp(min=1e-6)
        target = (measures - measures.mean(0)) / level.measures_scale[kind]
        x = around[index]
        gram = x.T @ x + _RIDGE * torch.eye(x.shape[1])
        level.measures_map[kind] = torch.linalg.solve(gram, x.T @ target).T
    # of states that pretraining never had, no more is known than of the others
    for kind in set(range(len(STATES))) - set(known):
        for table in (level.measures_mean, level.measures_scale, level.measures_map):
            if known:
                table[kind] = table[known].mean(0)


class ParticipantLevel:
    """Features of participants from what the level says of each.

    Each measure of the responses of a state is a mean of what was measured on n trials
    and what the participant token tells of it, which has seen all states and knows what
    people are like, weighted as n to `WORTH`: with many trials they speak for
    themselves, and a state that is missing is told by the token alone, and marked in a
    column of its own.

    Attributes
    ----------
    states : list of str
        States of the training data, sorted.
    responding : list of str
        Those among them with stimuli.
    evoked : dict
        Mean average of each state over the training data, where those are appended.
    """

    def __init__(self, level: ParticipantTransformer) -> None:
        self.states: list[str] = []
        self.responding: list[str] = []
        self.evoked: dict[str, NDArray[np.float32]] = {}
        self._seconds = _EVOKED_STEP / level.inputs.sfreq

    def fit(self, descriptions: Sequence[LevelDescription]) -> ParticipantLevel:
        """Learn which states there are.

        Nothing else depends on the training data, but for what fills a missing
        average.

        Parameters
        ----------
        descriptions : sequence of LevelDescription
            The training participants.

        Returns
        -------
        self : ParticipantLevel
            The fitted step.
        """
        self.states = sorted({state for entry in descriptions for state in entry})
        self.responding = [
            state
            for state in self.states
            if any(entry.states.get(state) is not None for entry in descriptions)
        ]
        kept = {state for entry in descriptions for state in entry.evoked}
        self.evoked = {
            state: np.mean(
                [e.evoked[state] for e in descriptions if state in e.evoked], 0
            )
            for state in sorted(kept)
        }
        return self

    def transform(
        self, descriptions: Sequence[LevelDescription]
    ) -> NDArray[np.float32]:
        """Make a row of features of each description.

        Parameters
        ----------
        descriptions : sequence of LevelDescription
            The participants.

        Returns
        -------
        features : ndarray of float32, shape (n_elements, n_features)
            One row a participant.

        Raises
        ------
        ValueError
            If a state is not known from the training data.
        """
        found = {state for entry in descriptions for state in entry}
        unknown = sorted(found - set(self.states))
        if unknown:
            raise ValueError(
                f"Expected the states of the training data {self.states}, got also "
                f"{unknown}; rename the events, or leave those recordings out."
            )
        lacking = sum(
            state not in entry for entry in descriptions for state in self.states
        )
        if lacking:
            warn(
                f"{lacking} recordings are missing (of {len(descriptions)} "
                f"participants in {len(self.states)} states); they are filled with "
                "what the level over trials expects from the other states, and marked "
                "in the *_missing features."
            )
        return np.stack([self._row(entry) for entry in descriptions])

    def _row(self, entry: LevelDescription) -> NDArray[np.float32]:
        parts = [GAIN * entry.bands]
        for state in self.responding:
            told, measured = entry.inferred[state_kind(state)], entry.states.get(state)
            if measured is not None:
                n = entry.counts[state]
                told = (n * measured + WORTH * told) / (n + WORTH)
            parts.append(GAIN * told)
        parts.append([state not in entry for state in self.states])
        for state, mean in self.evoked.items():
            # all values of an average together weigh like one measure or so
            gain = GAIN / np.sqrt(mean.size)
            parts.append(gain * entry.evoked.get(state, mean).ravel())
        return np.concatenate(parts).astype(np.float32)

    def names(self) -> list[str]:
        """Name the features.

        Returns
        -------
        names : list of str
            One a feature.
        """
        return [
            *(f"spectrum_{name}" for name in BAND_MEASURES),
            *(f"{s}_{name}" for s in self.responding for name in RESPONSE_MEASURES),
            *(f"{state}_missing" for state in self.states),
            *(
                f"{state}_evoked_sensor{sensor:03d}_{1e3 * self._seconds * at:04.0f}ms"
                for state, mean in self.evoked.items()
                for sensor in range(mean.shape[0])
                for at in range(mean.shape[1])
            ),
        ]
