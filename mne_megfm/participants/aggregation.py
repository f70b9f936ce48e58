"""Rows of a participant to one row of features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from mne.utils import warn
from numpy.typing import NDArray

from ..inputs import Recordings
from ..inputs.windows import RowForm

STATISTICS = ("mean", "spread")

# from state to the form of its rows and a vector
Description = dict[str, tuple[RowForm, NDArray[np.float32]]]


class ParticipantPooling:
    """Mean and standard deviation over a participant's rows, state by state.

    The spread over trials and windows is what an average loses. A state that a
    participant lacks is filled with what participants of the training data have on
    average, and marked in a column of its own.

    Attributes
    ----------
    states : list of str
        States of the training data, sorted.
    forms : dict
        Length and start of the rows of each state.
    fill : dict
        Mean description of each state over participants of the training data.
    """

    def __init__(self) -> None:
        self.states: list[str] = []
        self.forms: dict[str, RowForm] = {}
        self.fill: dict[str, NDArray[np.float32]] = {}

    def describe(
        self,
        recordings: Recordings,
        forms: Sequence[RowForm],
        parts: Iterable[tuple[np.ndarray, np.ndarray]],
    ) -> list[Description]:
        """Describe each element of a list, by itself.

        Parameters
        ----------
        recordings : Recordings
            The rows, their elements and states.
        forms : sequence of RowForm
            Length and start of each row.
        parts : iterable of tuple
            Row numbers and pooled tokens of some rows.

        Returns
        -------
        descriptions : list of dict
            For each element, from state to the form of its rows and a vector.

        Raises
        ------
        ValueError
            If the rows of a state of an element differ in length or start.
        """
        sums: list[dict[str, list]] = [{} for _ in range(recordings.n_elements)]
        for rows, pooled in parts:
            for row, values in zip(rows, pooled.astype(np.float64), strict=True):
                state = str(recordings.states[row])
                entry = sums[recordings.elements[row]].setdefault(state, [])
                if not entry:
                    entry += [forms[row], 0, np.zeros_like(values), 0.0]
                entry[0].check(forms[row], f"state {state!r}")
                # Welford (1962): exact also where the spread is small
                entry[1] += 1
                delta = values - entry[2]
                entry[2] += delta / entry[1]
                entry[3] = entry[3] + delta * (values - entry[2])
        return [
            {
                state: (
                    form,
                    np.concatenate([mean, np.sqrt(square / n)]).astype(np.float32),
                )
                for state, (form, n, mean, square) in entries.items()
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
        self.forms, self.fill = {}, {}
        for state in self.states:
            known = [entry[state] for entry in descriptions if state in entry]
            self.forms[state] = known[0][0]
            for form, _ in known:
                self.forms[state].check(form, f"state {state!r}")
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
                    self.forms[state].check(entry[state][0], f"state {state!r}")
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
            of_row = names(self.forms[state].n_patches)
            out += [f"{state}_{s}_{name}" for s in STATISTICS for name in of_row]
            out.append(f"{state}_missing")
        return out
