"""Rows of a participant to one row of features."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from mne.utils import warn
from numpy.typing import NDArray

from ..inputs import Recordings

STATISTICS = ("mean", "spread")


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

    def pool(
        self,
        recordings: Recordings,
        parts: Iterable[tuple[np.ndarray, int, np.ndarray]],
        fitting: bool,
    ) -> NDArray[np.float32]:
        """Describe each element of a list.

        Parameters
        ----------
        recordings : Recordings
            The rows, their elements and states.
        parts : iterable of tuple
            Row numbers, length in patches and pooled tokens of some rows.
        fitting : bool
            Whether to learn states, lengths and fills.

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
        found = sorted(set(recordings.states.tolist()))
        if fitting:
            self.states, self.n_patches = found, {}
        unknown = sorted(set(found) - set(self.states))
        if unknown:
            raise ValueError(
                f"Expected the states of the training data {self.states}, got also "
                f"{unknown}; rename the events, or leave those recordings out."
            )
        sums: dict[tuple[int, str], list] = {}
        for rows, n_patches, pooled in parts:
            for row, values in zip(rows, pooled.astype(np.float64), strict=True):
                state = str(recordings.states[row])
                if self.n_patches.setdefault(state, n_patches) != n_patches:
                    raise ValueError(
                        f"Expected rows of {self.n_patches[state]} patches in state "
                        f"{state!r}, got {n_patches}; crop all epochs of a state to "
                        "the same length."
                    )
                entry = sums.setdefault((int(recordings.elements[row]), state), [])
                if not entry:
                    entry += [0, np.zeros_like(values), np.zeros_like(values)]
                # Welford (1962): exact also where the spread is small
                entry[0] += 1
                delta = values - entry[1]
                entry[1] += delta / entry[0]
                entry[2] += delta * (values - entry[1])
        described = {
            key: np.concatenate([mean, np.sqrt(square / n)]).astype(np.float32)
            for key, (n, mean, square) in sums.items()
        }
        if fitting:
            self.fill = {
                state: np.mean([v for (_, s), v in described.items() if s == state], 0)
                for state in self.states
            }
        return self._rows(described, recordings.n_elements)

    def _rows(self, described: dict, n_elements: int) -> NDArray[np.float32]:
        out, lacking = [], 0
        for element in range(n_elements):
            row = []
            for state in self.states:
                known = (element, state) in described
                lacking += not known
                row += [described[element, state] if known else self.fill[state]]
                row += [np.array([not known], np.float32)]
            out.append(np.concatenate(row))
        if lacking:
            warn(
                f"{lacking} recordings are missing (of {n_elements} participants in "
                f"{len(self.states)} states); they are filled with the mean of the "
                "training participants and marked in the *_missing features."
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
