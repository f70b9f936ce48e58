"""Rows of a participant to one row of features."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from mne.utils import warn
from numpy.typing import NDArray

from ..inputs import Recordings

STATISTICS = ("mean", "spread")

# from state to the length of its rows in patches and a vector
Description = dict[str, tuple[int, NDArray[np.float32]]]


class ParticipantPooling:
    """Mean and standard deviation over a participant's rows, state by state.

    The spread over trials and windows is what an average loses. A state that a
    participant lacks is filled with what participants of the training data have on
    average, and marked in a column of its own.

    Attributes
    ----------
    states : list of str
        States of the training data, sorted.
    n_patches : dict
        Length of the rows of each state, in patches.
    fill : dict
        Mean description of each state over participants of the training data.
    """

    def __init__(self) -> None:
        self.states: list[str] = []
        self.n_patches: dict[str, int] = {}
        self.fill: dict[str, NDArray[np.float32]] = {}

    def describe(
        self,
        recordings: Recordings,
        parts: Iterable[tuple[np.ndarray, int, np.ndarray]],
    ) -> list[Description]:
        """Describe each element of a list, by itself.

        Parameters
        ----------
        recordings : Recordings
            The rows, their elements and states.
        parts : iterable of tuple
            Row numbers, length in patches and pooled tokens of some rows.

        Returns
        -------
        descriptions : list of dict
            For each element, from state to the length of its rows in patches and a
            vector.

        Raises
        ------
        ValueError
            If the rows of a state of an element differ in length.
        """
        sums: list[dict[str, list]] = [{} for _ in range(recordings.n_elements)]
        for rows, n_patches, pooled in parts:
            for row, values in zip(rows, pooled.astype(np.float64), strict=True):
                state = str(recordings.states[row])
                entry = sums[recordings.elements[row]].setdefault(state, [])
                if not entry:
                    entry += [n_patches, 0, np.zeros_like(values), 0.0]
                _check_length(entry[0], n_patches, state)
                # Welford (1962): exact also where the spread is small
                entry[1] += 1
                delta = values - entry[2]
                entry[2] += delta / entry[1]
                entry[3] = entry[3] + delta * (values - entry[2])
        return [
            {
                state: (
                    n_patches,
                    np.concatenate([mean, np.sqrt(square / n)]).astype(np.float32),
                )
                for state, (n_patches, n, mean, square) in entries.items()
            }
            for entries in sums
        ]

    def fit(self, descriptions: list[Description]) -> ParticipantPooling:
        """Learn states, lengths and what fills a missing state.

        Parameters
        ----------
        descriptions : list of dict
            What `describe` gave for the training participants.

        Returns
        -------
        self : ParticipantPooling
            The fitted pooling.
        """
        self.states = sorted({state for entry in descriptions for state in entry})
        self.n_patches, self.fill = {}, {}
        for state in self.states:
            known = [entry[state] for entry in descriptions if state in entry]
            self.n_patches[state] = known[0][0]
            for n_patches, _ in known:
                _check_length(self.n_patches[state], n_patches, state)
            self.fill[state] = np.mean([vector for _, vector in known], axis=0)
        return self

    def transform(self, descriptions: list[Description]) -> NDArray[np.float32]:
        """Make a row of features of each description.

        Parameters
        ----------
        descriptions : list of dict
            What `describe` gave.

        Returns
        -------
        features : ndarray of float32, shape (n_elements, n_features)
            One row an element.

        Raises
        ------
        ValueError
            If a state is not known from the training data, or its rows are of
            another length.
        """
        found = {state for entry in descriptions for state in entry}
        unknown = sorted(found - set(self.states))
        if unknown:
            raise ValueError(
                f"Expected the states of the training data {self.states}, got also "
                f"{unknown}; rename the events, or leave those recordings out."
            )
        out, lacking = [], 0
        for entry in descriptions:
            row = []
            for state in self.states:
                known = state in entry
                lacking += not known
                if known:
                    _check_length(self.n_patches[state], entry[state][0], state)
                row += [entry[state][1] if known else self.fill[state]]
                row += [np.array([not known], np.float32)]
            out.append(np.concatenate(row))
        if lacking:
            warn(
                f"{lacking} recordings are missing (of {len(descriptions)} "
                f"participants in {len(self.states)} states); they are filled with the "
                "mean of the training participants and marked in the *_missing "
                "features."
            )
        return np.stack(out)

    def names(self, names: Callable[[int], list[str]]) -> list[str]:
        """Name the features.

        Parameters
        ----------
        names : callable
            Gives the names of a row's features for its number of patches.

        Returns
        -------
        names : list of str
            One a feature.
        """
        out = []
        for state in self.states:
            of_row = names(self.n_patches[state])
            out += [f"{state}_{s}_{name}" for s in STATISTICS for name in of_row]
            out.append(f"{state}_missing")
        return out


def _check_length(expected: int, got: int, state: str) -> None:
    if got != expected:
        raise ValueError(
            f"Expected rows of {expected} patches in state {state!r}, got {got}; crop "
            "all epochs of a state to the same length."
        )
