"""What baselines share: canonical trials of participants, a row for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from mne.utils import warn
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted

from ..inputs import Recording, Recordings, as_recordings, iter_windows, rate_ratio
from ..sensors import CanonicalSensorMapping

SFREQ = 250.0
# Rows are cut like those of the model: an end point of MNE's epochs is left out.
_PATCH = 25

_shared: ContextVar[dict | None] = ContextVar("shared trials", default=None)


class Trials(NamedTuple):
    """Rows of one state of one participant, in the order of recording."""

    data: NDArray[np.float32]  # (n_trials, n_channels, n_times)
    tmin: float  # time of the first sample, s; 0 where nothing is time-locked
    locked: bool  # whether the rows follow an event


class OwnSensors:
    """Keep a recording on its own MEG channels.

    Bad and flat channels are filled in from the canonical array, so that recordings
    of one system have the same channels.
    """

    def __init__(self) -> None:
        self.sensor_mapping = CanonicalSensorMapping()

    def __call__(self, recording: Recording) -> tuple[np.ndarray, list[str]]:
        """Give the matrix to all MEG channels and the good channels it takes."""
        mapping = self.sensor_mapping.mapping(recording)
        matrix = mapping.from_canonical @ mapping.to_canonical
        names = list(mapping.ch_names)
        all_names = list(mapping.all_ch_names)
        matrix[[all_names.index(name) for name in names]] = np.eye(len(names))
        return matrix, names


PROJECTIONS = {"canonical": CanonicalSensorMapping(), "sensors": OwnSensors()}


@contextmanager
def shared_trials() -> Iterator[None]:
    """Within this block, a recording that is asked for again is not mapped again.

    The recordings must not change meanwhile; what was kept is dropped at the end.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def trials_by_state(
    recordings: Recordings, space: str = "canonical"
) -> list[dict[str, Trials]]:
    """Map each participant's recordings and sort the rows by state.

    Parameters
    ----------
    recordings : Recordings
        Participants as elements.
    space : {"canonical", "sensors"}
        On which channels.

    Returns
    -------
    participants : list of dict
        For each participant its states. A Raw, and any state named rest, is not
        time-locked.

    Raises
    ------
    ValueError
        If a state of a participant has rows of different lengths.
    """
    participants: list[dict] = [{} for _ in range(recordings.n_elements)]
    for recording in recordings:
        data = _project(recording, space)
        states = recording.states.astype(str)
        found = participants[recordings.elements[recording.index[0]]]
        for state in dict.fromkeys(states.tolist()):
            locked = recording.kind != "raw" and state.lower() != "rest"
            part = Trials(data[states == state], recording.tmin, locked)
            if state in found:
                part = _append(found[state], part, state)
            found[state] = part
    return participants


def _append(first: Trials, second: Trials, state: str) -> Trials:
    """Put two recordings of a state together."""
    if first.data.shape[1:] != second.data.shape[1:]:
        raise ValueError(
            f"Expected rows of one length and array in state {state!r}, got channels x "
            f"samples {first.data.shape[1:]} and {second.data.shape[1:]} of one "
            "participant; crop them, or give the recordings states of their own."
        )
    return first._replace(data=np.concatenate([first.data, second.data]))


def _project(recording: Recording, space: str) -> NDArray[np.float32]:
    """Rows of a recording at 250 Hz, shape (n_rows, n_channels, n_times)."""
    kept = _shared.get()
    key = (id(recording.inst), space, recording.state, recording.rows.tobytes())
    if kept is not None and key in kept:
        return kept[key]
    up, down, _ = rate_ratio(recording.sfreq, SFREQ)
    n_patches = -(-recording.n_samples * up // (down * _PATCH))
    blocks = list(
        iter_windows(
            recording.alone(),
            PROJECTIONS[space],
            sfreq=SFREQ,
            n_times=n_patches * _PATCH,
            patch=_PATCH,
        )
    )
    n_valid = int(blocks[0].n_valid[0])
    data = np.concatenate([block.data[:, :, :n_valid] for block in blocks])
    if kept is not None:
        kept[key] = data
    return data


def decimate(data: NDArray[np.floating], factor: int) -> NDArray[np.floating]:
    """Average so many samples to one; those that are left over at the end go."""
    n = data.shape[-1] // factor
    return data[..., : n * factor].reshape(*data.shape[:-1], n, factor).mean(-1)


#: From state to the features of it.
StateFeatures = dict[str, NDArray[np.floating]]


class ParticipantFeatures(TransformerMixin, BaseEstimator):
    """Hand-made features of participants, state by state.

    What is read of one participant depends on no other. What is learnt from the
    training participants (which states there are, what fills a missing one) comes
    after it, so that `compare` reads once for all folds.

    Subclasses have ``duration`` among their parameters and implement
    ``_state_features``, ``_names``, and what else is not as here.
    """

    _space = "canonical"
    _parameter_constraints: dict = {
        "duration": [Interval(Real, 0, None, closed="neither")]
    }

    def _is_frozen(self) -> bool:
        """Find whether each participant is used by itself: always."""
        return True

    def _read_participants(self, X: Any) -> list[StateFeatures]:
        """Extract from each participant, from state to a vector."""
        found = []
        for trials in trials_by_state(self._recordings(X), self._space):
            by_state = {s: self._state_features(part) for s, part in trials.items()}
            found.append({s: v for s, v in by_state.items() if v is not None})
        return found

    def _fit_extracted(
        self, extracted: list[StateFeatures], y: Any = None
    ) -> ParticipantFeatures:
        """Learn which states there are and what fills a missing one."""
        self._validate_params()
        self.states_ = sorted({state for entry in extracted for state in entry})
        if not self.states_:
            raise ValueError(
                f"Expected recordings that {type(self).__name__} can use, got "
                "none: it needs epochs around events, in a state not named 'rest'; "
                "use BandPower or CovarianceTangent for recordings of rest."
            )
        self.fill_ = {}
        for state in self.states_:
            known = [entry[state] for entry in extracted if state in entry]
            _check_lengths(known, len(known[0]), state)
            self.fill_[state] = self._fit_state(state, known)
        return self

    def _transform_extracted(
        self, extracted: list[StateFeatures]
    ) -> NDArray[np.float64]:
        """Put features of states side by side, and mark missing states in columns."""
        check_is_fitted(self, "fill_")
        unknown = {state for entry in extracted for state in entry}
        unknown -= set(self.states_)
        if unknown:
            warn(
                f"The states {sorted(unknown)} are not among those of the training "
                f"participants ({self.states_}) and are not used."
            )
        columns = []
        for state in self.states_:
            fill = self.fill_[state]
            known = np.array([state in entry for entry in extracted])
            values = [entry.get(state, fill) for entry in extracted]
            _check_lengths(values, len(fill), state)
            columns += [self._columns(state, np.stack(values))]
            columns += [~known[:, None]]
        return np.hstack(columns).astype(float)

    def fit(self, X: Any, y: Any = None) -> ParticipantFeatures:
        """Learn which states there are and what fills a missing one.

        Parameters
        ----------
        X : list of Epochs | list of dict
            The participants: Epochs whose event names are the states, or dicts from
            state to Raw or Epochs.
        y : None
            Not used.

        Returns
        -------
        self : ParticipantFeatures
            The fitted transformer.
        """
        return self._fit_extracted(self._read_participants(X), y)

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Turn participants into features.

        Parameters
        ----------
        X : list of Epochs | list of dict
            The participants.

        Returns
        -------
        features : ndarray, shape (n_participants, n_features)
            One row a participant. A state that a participant lacks is filled with the
            mean of the training participants and marked in a column of its own.
        """
        check_is_fitted(self, "fill_")
        return self._transform_extracted(self._read_participants(X))

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.float64]:
        """Fit, then turn the same participants into features.

        Parameters
        ----------
        X : list of Epochs | list of dict
            The participants.
        y : None
            Not used.

        Returns
        -------
        features : ndarray, shape (n_participants, n_features)
            As `transform` gives.
        """
        extracted = self._read_participants(X)
        return self._fit_extracted(extracted, y)._transform_extracted(extracted)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name the features.

        Parameters
        ----------
        input_features : None
            Not used; here for scikit-learn.

        Returns
        -------
        names : ndarray of str, shape (n_features,)
            For each state ``<state>_<name>``, and ``<state>_missing``.
        """
        check_is_fitted(self, "fill_")
        names = []
        for state in self.states_:
            names += [f"{state}_{name}" for name in self._names(len(self.fill_[state]))]
            names.append(f"{state}_missing")
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.no_validation = True  # MNE objects, checked by as_recordings
        return tags

    def _recordings(self, X: Any) -> Recordings:
        recordings = as_recordings(X, duration=self.duration, verbose="error")
        if not recordings.is_list:
            raise ValueError(
                f"Expected a list of participants, got {type(X).__name__}; pass "
                "[recording], or a list with one element for each participant."
            )
        return recordings

    def _state_features(self, trials: Trials) -> NDArray[np.floating] | None:
        """Extract from the trials of one state; None where that cannot be done."""
        raise NotImplementedError

    def _fit_state(
        self, state: str, known: list[NDArray[np.floating]]
    ) -> NDArray[np.floating]:
        """Learn from the training participants; give what stands for a missing one."""
        return np.mean(known, axis=0)

    def _columns(
        self, state: str, values: NDArray[np.floating]
    ) -> NDArray[np.floating]:
        """Turn what was extracted of one state into columns."""
        return values

    def _names(self, n_values: int) -> list[str]:
        """Name the features of one state, of which so many values were extracted."""
        raise NotImplementedError


def _check_lengths(values: list, expected: int, state: str) -> None:
    other = {len(value) for value in values} - {expected}
    if other:
        raise ValueError(
            f"Expected {expected} values of each participant in state {state!r}, got "
            f"{sorted(other)}; crop all epochs of a state to the same length, and use "
            "canonical sensors where arrays differ."
        )
