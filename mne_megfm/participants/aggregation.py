"""All that was recorded of a participant to one row of features."""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mne.utils import warn
from numpy.typing import NDArray
from torch import Tensor, nn

from ..inputs import Recording, Recordings
from ..inputs.windows import RowForm
from ..models import Backbone, WindowArray
from ..weights import load_aggregator
from .trials import PersonTrials, TimedWindows, split_states

STATISTICS = ("mean", "spread")


class RowEncoder(Protocol):
    """What an aggregator may use of the transformer that it is a part of.

    Attributes
    ----------
    model : Backbone
        The window encoder.
    sensor_mapping : callable
        How recordings reach its array.
    batch_size : int
        Windows at a time.
    """

    model: Backbone
    sensor_mapping: Callable
    batch_size: int

    def features(
        self, recordings: Recordings
    ) -> Iterator[tuple[NDArray[np.int_], NDArray[np.float32]]]:
        """Encode and pool rows.

        Parameters
        ----------
        recordings : Recordings
            The rows.

        Yields
        ------
        rows : ndarray of int, shape (n,)
            Numbers of some rows.
        features : ndarray of float32, shape (n, n_features)
            Their pooled tokens.
        """

    def names(self, n_patches: int) -> list[str]:
        """Name the features of rows.

        Parameters
        ----------
        n_patches : int
            Patches in a row.

        Returns
        -------
        names : list of str
            One a feature.
        """


class Aggregator(nn.Module):
    """From all that was recorded of a participant to one row of features.

    A child writes ``read``, ``fit``, ``transform`` and ``names``, and ``combine``
    where the states of a participant do not stay apart. ``read`` and ``combine`` see
    one participant at a time and learn nothing, so that cross-validation calls them
    once for all folds. ``fit`` learns from what is extracted of the training
    participants, in a copy for each fold.

    Parameters and buffers that a child registers are weights: they are saved in the
    checkpoint, and loaded by an aggregator of the same class with equal ``repr``. The
    parameters of its constructor are attributes of the same names.

    Attributes
    ----------
    states : list of str
        States of the training data, sorted; set by ``fit``.
    pools_rows : bool
        Whether ``read`` asks for pooled rows, so that the pooling of the transformer
        has an effect.
    own_files : bool
        Whether ``save`` writes weights to files of their own beside the checkpoint.
    frozen : tuple of str
        Names of attributes that ``fit`` does not change: copies share them.

    See Also
    --------
    mne_megfm.testing.plugin_checks : Checks of an aggregator.

    Examples
    --------
    The largest value of each feature over the rows of each state:

    >>> import numpy as np
    >>> from mne_megfm.participants import Aggregator
    >>> class MaximumAggregator(Aggregator):
    ...     def read(self, recordings, encoder):
    ...         read = [{} for _ in range(recordings.n_elements)]
    ...         for rows, features in encoder.features(recordings):
    ...             for row, values in zip(rows, features):
    ...                 of_person = read[recordings.elements[row]]
    ...                 state = recordings.states[row]
    ...                 before = of_person.get(state, values)
    ...                 of_person[state] = np.maximum(before, values)
    ...         return read
    ...
    ...     def fit(self, extracted):
    ...         self.states = sorted({s for one in extracted for s in one})
    ...         known = [[d[s] for d in extracted if s in d] for s in self.states]
    ...         self.means = [np.mean(values, 0) for values in known]
    ...         return self
    ...
    ...     def transform(self, extracted):
    ...         self.check_states(extracted)
    ...         means = dict(zip(self.states, self.means))
    ...         return np.stack(
    ...             [
    ...                 np.concatenate([d.get(s, means[s]) for s in self.states])
    ...                 for d in extracted
    ...             ]
    ...         )
    ...
    ...     def names(self, encoder):
    ...         n = len(self.means[0])
    ...         return [f"{s}_maximum{i}" for s in self.states for i in range(n)]
    >>> MaximumAggregator().fit([{"rest": np.ones(3)}]).names(None)
    ['rest_maximum0', 'rest_maximum1', 'rest_maximum2']
    """

    states: list[str]
    pools_rows = True
    own_files = False
    frozen: tuple[str, ...] = ()

    def __init__(self) -> None:
        super().__init__()

    def __deepcopy__(self, memo: dict) -> Aggregator:
        for name in self.frozen:
            shared = getattr(self, name)
            memo[id(shared)] = shared
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    # -- weights ------------------------------------------------------------
    def load(self, directory: Path, model: Backbone) -> dict | None:
        """Take weights from a checkpoint.

        Parameters
        ----------
        directory : Path
            The checkpoint.
        model : Backbone
            Its window encoder.

        Returns
        -------
        seen : dict | None
            What the weights have seen, by keys of the provenance; empty where the
            checkpoint has no state of this aggregator, which then stays as it was made.
            None if it cannot be used with this checkpoint.
        """
        load_aggregator(directory, self)
        return {}

    def draw(self, fields: WindowArray, model: Backbone, seed: int) -> bool:
        """Take random weights, beside a window encoder that has random ones.

        Parameters
        ----------
        fields : WindowArray
            Random fields, with the covariance of sources all over the head.
        model : Backbone
            The window encoder.
        seed : int
            Seed of the weights.

        Returns
        -------
        usable : bool
            Whether it can be used with this window encoder.
        """
        return True

    def save(self, directory: Path, model: Backbone, seen: dict) -> None:
        """Write files of its own into a checkpoint, with ``own_files``.

        Parameters
        ----------
        directory : Path
            The checkpoint.
        model : Backbone
            Its window encoder.
        seen : dict
            What all weights have seen, as in the provenance.
        """

    # -- participants -------------------------------------------------------
    @abstractmethod
    def read(self, recordings: Recordings, encoder: RowEncoder) -> list[dict[str, Any]]:
        """Read each element of a list, by itself and state by state: the slow part.

        Parameters
        ----------
        recordings : Recordings
            The rows, their elements (participants) and states.
        encoder : RowEncoder
            The transformer's window encoder.

        Returns
        -------
        read : list of dict
            For each element, from state to what was read of it.
        """
        raise NotImplementedError

    def fit_unread(self, recordings: Recordings, encoder: RowEncoder) -> bool:
        """Learn from recordings without reading their data, where that is enough.

        Parameters
        ----------
        recordings : Recordings
            The training data.
        encoder : RowEncoder
            The transformer's window encoder.

        Returns
        -------
        enough : bool
            Whether it is fitted as `fit` would leave it. False: it needs what `read`
            and `combine` give.
        """
        return False

    def combine(self, read: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Put together what was read of any states of each participant.

        Parameters
        ----------
        read : sequence of dict
            What `read` gave, of any states.

        Returns
        -------
        extracted : list of dict
            One a participant, with its states as keys.
        """
        return list(read)

    @abstractmethod
    def fit(self, extracted: Sequence[Mapping[str, Any]]) -> Aggregator:
        """Learn which states there are, and what else training participants give.

        Parameters
        ----------
        extracted : sequence of dict
            What `combine` gave of the training participants.

        Returns
        -------
        self : Aggregator
            The fitted aggregator.
        """
        raise NotImplementedError

    @abstractmethod
    def transform(self, extracted: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        """Make a row of features of each participant.

        Parameters
        ----------
        extracted : sequence of dict
            What `combine` gave.

        Returns
        -------
        features : ndarray of float32, shape (n_participants, n_features)
            Finite, also where a state is missing.
        """
        raise NotImplementedError

    @abstractmethod
    def names(self, encoder: RowEncoder) -> list[str]:
        """Name the features of a fitted aggregator.

        Parameters
        ----------
        encoder : RowEncoder
            The transformer's window encoder.

        Returns
        -------
        names : list of str
            One a feature.
        """
        raise NotImplementedError

    def check_states(self, extracted: Iterable[Iterable[str]]) -> None:
        """Refuse states that the training data do not have.

        Parameters
        ----------
        extracted : iterable of dict | iterable of list of str
            Participants, with their states as keys.

        Raises
        ------
        ValueError
            If a state is not known.
        """
        unknown = sorted({s for one in extracted for s in one} - set(self.states))
        if unknown:
            raise ValueError(
                f"Expected the states of the training data {self.states}, got also "
                f"{unknown}; rename the events, or leave those recordings out."
            )

    def warn_of_missing(
        self, extracted: Sequence[Mapping[str, Any]], instead: str
    ) -> None:
        """Warn of states that participants lack.

        Parameters
        ----------
        extracted : sequence of dict
            Participants, with their states as keys.
        instead : str
            What they are filled with.
        """
        n_missing = sum(s not in one for one in extracted for s in self.states)
        if n_missing:
            warn(
                f"{n_missing} recordings are missing (of {len(extracted)} "
                f"participants in {len(self.states)} states); they are filled with "
                f"{instead} and marked in the *_missing features."
            )

    def __repr__(self) -> str:
        args = ", ".join(
            f"{name}={getattr(self, name)!r}"
            for name in inspect.signature(type(self)).parameters
        )
        return f"{type(self).__name__}({args})"


class StateAggregator(Aggregator):
    """An aggregator that reads each state of a participant by itself, from signals.

    A child writes ``read_state`` in place of ``read``. With ``gather``,
    ``differentiable_row`` and ``trials_of`` derivatives reach the signals, for
    maps of decisions.
    """

    pools_rows = False
    own_files = True

    def read(self, recordings: Recordings, encoder: RowEncoder) -> list[dict[str, Any]]:
        """Read each element of a list, by itself and state by state.

        See `Aggregator.read`.
        """
        return [
            {
                state: self.read_state(state, parts, encoder)
                for state, parts in split_states(group).items()
            }
            for group in recordings.split_elements()
        ]

    @abstractmethod
    def read_state(
        self, state: str, parts: list[Recording], encoder: RowEncoder
    ) -> Any:
        """Read one state.

        Parameters
        ----------
        state : str
            Its name.
        parts : list of Recording
            Its recordings.
        encoder : RowEncoder
            Says how they reach the canonical array.

        Returns
        -------
        read : Any
            What `fit` and `transform` need of it, without derivatives.
        """
        raise NotImplementedError

    @abstractmethod
    def gather(self, state: str, parts: Sequence[TimedWindows]) -> Any:
        """Take one state from its windows, through which derivatives go.

        Parameters
        ----------
        state : str
            Its name.
        parts : sequence of TimedWindows
            All windows of its recordings.

        Returns
        -------
        read : Any
            As of `read_state`.
        """
        raise NotImplementedError

    @abstractmethod
    def differentiable_row(self, read: Mapping[str, Any]) -> Tensor:
        """Make a row of features of one participant, through which derivatives go.

        Parameters
        ----------
        read : dict
            From state to what was read.

        Returns
        -------
        row : Tensor, shape (n_features,)
            The features.
        """
        raise NotImplementedError

    @abstractmethod
    def trials_of(self, one: Any) -> PersonTrials:
        """Get what the participant encoder takes of one state.

        Parameters
        ----------
        one : Any
            What was read of the state.

        Returns
        -------
        trials : PersonTrials
            Its trials.
        """
        raise NotImplementedError


# from state to the form of its rows and a vector
RowStatistics = dict[str, tuple[RowForm, NDArray[np.float32]]]


class MeanStdAggregator(Aggregator):
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
        Mean vector of each state over participants of the training data.
    """

    def __init__(self) -> None:
        super().__init__()
        self.states: list[str] = []
        self.forms: dict[str, RowForm] = {}
        self.fill: dict[str, NDArray[np.float32]] = {}

    def read(self, recordings: Recordings, encoder: RowEncoder) -> list[RowStatistics]:
        """Find mean and standard deviation of each state of each element.

        Parameters
        ----------
        recordings : Recordings
            The rows, their elements and states.
        encoder : RowEncoder
            The transformer's window encoder.

        Returns
        -------
        read : list of dict
            For each element, from state to the form of its rows and a vector.

        Raises
        ------
        ValueError
            If the rows of a state of an element differ in length or start.
        """
        config = encoder.model.config
        forms: list[RowForm | None] = [None] * recordings.n_rows
        for recording in recordings:
            form = RowForm.of(recording, config)
            for row in recording.index:
                forms[row] = form
        sums: list[dict[str, list]] = [{} for _ in range(recordings.n_elements)]
        for rows, pooled in encoder.features(recordings):
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

    def fit(self, extracted: Sequence[RowStatistics]) -> MeanStdAggregator:
        """Learn states, lengths and what fills a missing state.

        Parameters
        ----------
        extracted : sequence of dict
            What `read` gave for the training participants.

        Returns
        -------
        self : MeanStdAggregator
            The fitted aggregator.
        """
        self.states = sorted({state for entry in extracted for state in entry})
        self.forms, self.fill = {}, {}
        for state in self.states:
            known = [entry[state] for entry in extracted if state in entry]
            self.forms[state] = known[0][0]
            for form, _ in known:
                self.forms[state].check(form, f"state {state!r}")
            self.fill[state] = np.mean([vector for _, vector in known], axis=0)
        return self

    def transform(self, extracted: Sequence[RowStatistics]) -> NDArray[np.float32]:
        """Make a row of features of each participant.

        Parameters
        ----------
        extracted : sequence of dict
            What `read` gave.

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
        self.check_states(extracted)
        self.warn_of_missing(extracted, "the mean of the training participants")
        out = []
        for entry in extracted:
            row = []
            for state in self.states:
                known = state in entry
                if known:
                    self.forms[state].check(entry[state][0], f"state {state!r}")
                row += [entry[state][1] if known else self.fill[state]]
                row += [np.array([not known], np.float32)]
            out.append(np.concatenate(row))
        return np.stack(out)

    def names(self, encoder: RowEncoder) -> list[str]:
        """Name the features, see `Aggregator.names`."""
        out = []
        for state in self.states:
            of_row = encoder.names(self.forms[state].n_patches)
            out += [f"{state}_{s}_{name}" for s in STATISTICS for name in of_row]
            out.append(f"{state}_missing")
        return out
