"""Rows of features from what the level over trials says of participants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from mne.utils import warn
from numpy.typing import NDArray
from torch import Tensor

from ..models import ParticipantTransformer
from ..pretraining import state_kind
from ._level import EVOKED_STEP, MAP_STEP, WORTH, LevelDescription
from ._measures import BAND_MEASURES, RESPONSE_MEASURES

#: Spread of features over people, such that the ridge of a linear classifier of 100
#: people suits them as they are.
GAIN = 0.5
#: Weight of what a state differs by from the mean over states.
DIFFERENCE = 0.2
#: Weight of a value in a response map: those of two states vary together about as
#: much as one measure.
MAP_GAIN = 0.055


class ParticipantLevel:
    """Features of participants from what the level says of each.

    Traits of a person show in all states: for each measure of the responses there is
    the mean over states, and where each state differs from it, with less weight. Maps
    of the size of responses by place and time follow, each value with little weight.

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
        inputs = level.inputs
        self._seconds = EVOKED_STEP / inputs.sfreq
        self._step = MAP_STEP / inputs.sfreq
        self._map_shape = inputs.n_regions, inputs.n_after // MAP_STEP

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
        found = {state for entry in descriptions for state in entry}
        self.know(
            {
                state: any(e.states.get(state) is not None for e in descriptions)
                for state in found
            }
        )
        kept = {state for entry in descriptions for state in entry.evoked}
        self.evoked = {
            state: np.mean(
                [e.evoked[state] for e in descriptions if state in e.evoked], 0
            )
            for state in sorted(kept)
        }
        return self

    def know(self, states: Mapping[str, bool]) -> ParticipantLevel:
        """Take states as they were learnt before.

        Parameters
        ----------
        states : dict
            Whether there are responses, by name of the state.

        Returns
        -------
        self : ParticipantLevel
            The step, as `fit` leaves it, but for averages that are appended.
        """
        self.states = sorted(states)
        self.responding = [state for state in self.states if states[state]]
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
        self.check_states({state for entry in descriptions for state in entry})
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
        return np.stack([self.row(entry).numpy() for entry in descriptions])

    def check_states(self, found: Iterable[str]) -> None:
        """Refuse states that are not known from the training data.

        Parameters
        ----------
        found : iterable of str
            Names of states.

        Raises
        ------
        ValueError
            If one is not known.
        """
        unknown = sorted(set(found) - set(self.states))
        if unknown:
            raise ValueError(
                f"Expected the states of the training data {self.states}, got also "
                f"{unknown}; rename the events, or leave those recordings out."
            )

    def row(self, entry: LevelDescription) -> Tensor:
        """Make a row of features of one description.

        Parameters
        ----------
        entry : LevelDescription
            The participant, as arrays or tensors.

        Returns
        -------
        row : Tensor, shape (n_features,)
            The features; derivatives lead back to a description of tensors.
        """
        parts = [GAIN * torch.as_tensor(entry.bands)]
        if self.responding:
            told = torch.stack([self._measures(entry, s) for s in self.responding])
            mean = told.mean(0)
            # as much as the states would together, were they all the same
            parts.append(GAIN * np.sqrt(len(told)) * mean)
            if len(told) > 1:
                parts.append(GAIN * DIFFERENCE * (told - mean).ravel())
        for state in self.responding:
            seen = entry.maps.get(state)
            map_ = entry.inferred_maps[state_kind(state)] if seen is None else seen
            parts.append(MAP_GAIN * torch.as_tensor(map_).ravel())
        parts.append(torch.tensor([float(s not in entry) for s in self.states]))
        for state, mean in self.evoked.items():
            # all values of an average together weigh like one measure or so
            gain = GAIN / np.sqrt(mean.size)
            own = torch.as_tensor(entry.evoked.get(state, mean))
            parts.append(gain * own.ravel())
        return torch.cat(parts)

    def _measures(self, entry: LevelDescription, state: str) -> Tensor:
        """Average what was measured and what the token tells of a state."""
        told = torch.as_tensor(entry.inferred[state_kind(state)])
        measured = entry.states.get(state)
        if measured is None:
            return told
        n = entry.counts[state]
        return (n * torch.as_tensor(measured) + WORTH * told) / (n + WORTH)

    def names(self) -> list[str]:
        """Name the features.

        Returns
        -------
        names : list of str
            One a feature.
        """
        return [
            *(f"spectrum_{name}" for name in BAND_MEASURES),
            *(f"responses_{name}" for name in RESPONSE_MEASURES if self.responding),
            *(
                f"{state}_{name}_difference"
                for state in self.responding
                for name in RESPONSE_MEASURES
                if len(self.responding) > 1
            ),
            *(
                f"{state}_response_region{region:02d}_{1e3 * self._step * at:03.0f}ms"
                for state in self.responding
                for region in range(self._map_shape[0])
                for at in range(self._map_shape[1])
            ),
            *(f"{state}_missing" for state in self.states),
            *(
                f"{state}_evoked_sensor{sensor:03d}_{1e3 * self._seconds * at:04.0f}ms"
                for state, mean in self.evoked.items()
                for sensor in range(mean.shape[0])
                for at in range(mean.shape[1])
            ),
        ]
