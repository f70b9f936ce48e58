"""Frozen transformers, split into extraction and what is learnt after it.

What such a transformer extracts from one participant depends on no label and on no
other participant. So cross-validation extracts once, for all folds, and fits the rest
(which states there are, what fills a missing one) in each fold.

Such a transformer has four private methods: ``_is_frozen()``,
``_read_participants(X)``, the slow part, with a dict from state to anything for each
participant; ``_fit_extracted(extracted)`` and ``_transform_extracted(extracted)``. It
may have ``_load_frozen()``, which loads weights, and ``_combine_states(read)``, where
states of a participant do not stay apart.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import joblib
import mne
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import FeatureUnion, Pipeline

from .. import __version__
from ..inputs import Recording, as_recordings
from ..inputs.reading import read_rows


def is_frozen(step: Any) -> bool:
    """Find whether a transformer extracts from each participant by itself.

    Parameters
    ----------
    step : object
        A step of a pipeline.

    Returns
    -------
    frozen : bool
        Whether `FrozenStep` takes it.
    """
    return hasattr(step, "_is_frozen") and step._is_frozen()


def frozen_step(pipeline: BaseEstimator) -> BaseEstimator | None:
    """Give the first step of a pipeline, if it is frozen.

    Parameters
    ----------
    pipeline : estimator
        The pipeline.

    Returns
    -------
    step : estimator | None
        A transformer for which `is_frozen` holds, or a union of such; None if what
        comes first learns, or nothing comes after it.
    """
    if not isinstance(pipeline, Pipeline) or len(pipeline.steps) < 2:
        return None
    step = pipeline.steps[0][1]
    return step if _all_frozen(step) else None


def _all_frozen(step: Any) -> bool:
    if isinstance(step, FeatureUnion):
        return step.transformer_weights is None and all(
            _all_frozen(part) for _, part in step.transformer_list
        )
    return is_frozen(step)


class FrozenStep:
    """A transformer with frozen weights, that extracts once for many fits.

    Parameters
    ----------
    step : estimator
        A transformer for which `is_frozen` holds. It is copied, and not changed.
    memory : path-like | joblib.Memory | None
        Where to keep what was read of each participant, for later calls.

    Attributes
    ----------
    step : estimator
        The copy, with its weights loaded.
    """

    def __init__(self, step: BaseEstimator, memory: Any = None) -> None:
        self.step = clone(step)
        if hasattr(self.step, "_load_frozen"):
            self.step._load_frozen()
        self._keep = None if memory is None else Kept(memory)
        self._stamp = None if memory is None else stamp(self.step)

    def read(self, X: list, digests: list[str] | None = None) -> list[dict[str, Any]]:
        """Read each state of each participant: the slow part.

        Parameters
        ----------
        X : list of dict | list of Epochs
            The participants.
        digests : list of str | None
            What `digest` gave for each, to spare several steps with memory the same
            work.

        Returns
        -------
        read : list of dict
            For each participant, from state to what was read.
        """
        if self._keep is None:
            return self.step._read_participants(X)
        digests = list(map(digest, X)) if digests is None else digests
        return [
            self._keep(
                lambda x=x: self.step._read_participants([x])[0], self._stamp, own
            )
            for x, own in zip(X, digests, strict=True)
        ]

    def combine(self, read: list[Mapping[str, Any]]) -> list:
        """Put states of each participant together.

        Parameters
        ----------
        read : list of dict
            What `read` gave, of any states.

        Returns
        -------
        extracted : list
            One entry a participant.
        """
        combine = getattr(self.step, "_combine_states", list)
        return combine(read)

    def extract(self, X: list, digests: list[str] | None = None) -> list:
        """Read participants and put their states together.

        Parameters
        ----------
        X : list of dict | list of Epochs
            The participants.
        digests : list of str | None
            As in `read`.

        Returns
        -------
        extracted : list
            One entry a participant.
        """
        # one by one: what is read of a participant is much more than what is kept
        digests = [None] * len(X) if digests is None else digests
        found = []
        for x, own in zip(X, digests, strict=True):
            found += self.combine(self.read([x], None if own is None else [own]))
        return found

    def fit(self, extracted: list, y: Any = None) -> BaseEstimator:
        """Fit the transformer on what was extracted from training participants.

        Parameters
        ----------
        extracted : list
            What `extract` gave.
        y : array-like | None
            Their labels.

        Returns
        -------
        fitted : estimator
            A fitted copy, which shares the network.
        """
        return copy.copy(self.step)._fit_extracted(extracted, y)

    @staticmethod
    def transform(fitted: BaseEstimator, extracted: list) -> NDArray:
        """Turn what was extracted into features.

        Parameters
        ----------
        fitted : estimator
            What `fit` gave.
        extracted : list
            What `extract` gave.

        Returns
        -------
        features : ndarray, shape (n_participants, n_features)
            As ``fitted.transform`` gives of the participants.
        """
        return fitted._transform_extracted(extracted)


class Kept:
    """A folder that keeps what was computed of recordings.

    Parameters
    ----------
    memory : path-like | joblib.Memory
        Where.
    """

    def __init__(self, memory: Any) -> None:
        if not hasattr(memory, "cache"):
            memory = joblib.Memory(memory, verbose=0)
        # by what it is of, and not by how it is computed
        self._call = memory.cache(_compute, ignore=["compute"])

    def __call__(self, compute: Callable[[], Any], mark: str, content: str) -> Any:
        """Compute something, or take it from the folder.

        Parameters
        ----------
        compute : callable
            Computes it.
        mark : str
            What `stamp` gave of the transformer that computes.
        content : str
            What `digest` gave of the recordings.

        Returns
        -------
        value : object
            What was computed, now or before.
        """
        return self._call(compute, mark, content)


def _compute(compute: Callable[[], Any], mark: str, content: str) -> Any:
    return compute()


def stamp(step: BaseEstimator) -> str:
    """Tell apart transformers by their code, parameters and weights.

    Parameters
    ----------
    step : estimator
        The transformer, with its weights loaded.

    Returns
    -------
    stamp : str
        A hash, in which where to keep things and what to log have no part.
    """
    names = ("model_", "aggregator_", "pooling_")
    networks = [getattr(step, name, None) for name in names]
    params = step.get_params()
    params = {k: v for k, v in params.items() if k not in ("memory", "verbose")}
    values = [(__version__, mne.__version__), type(step)]
    # the hash of a tensor depends on its place in memory
    for part in [*networks, *params.values()]:
        if isinstance(part, torch.nn.Module):
            state = part.state_dict().items()
            values += [repr(part), {name: array.cpu().numpy() for name, array in state}]
    plain = {k: v for k, v in params.items() if not isinstance(v, torch.nn.Module)}
    return joblib.hash((values, plain))


def digest(participant: Any) -> str:
    """Tell apart participants by what their recordings hold, on disk, too.

    Parameters
    ----------
    participant : dict | Epochs
        The participant.

    Returns
    -------
    digest : str
        A hash of all data and of what MNE knows of them.
    """
    return digest_recordings(as_recordings([participant], verbose="error"))


def digest_recordings(recordings: Iterable[Recording]) -> str:
    """Tell apart recordings by what their rows hold.

    Parameters
    ----------
    recordings : iterable of Recording
        Those of one participant, or one.

    Returns
    -------
    digest : str
        A hash of all data and of what MNE knows of them.
    """
    return joblib.hash([_digest_rows(recording) for recording in recordings])


def _digest_rows(rows: Recording) -> str:
    # of data not loaded there is the name of a file, which says nothing of them
    data = [joblib.hash([p.own for p in pieces]) for _, pieces in read_rows(rows)]
    given = (rows.kind, rows.n_samples, rows.tmin, rows.left_out)
    arrays = (rows.event_times, rows.states, rows.rows, rows.spans)
    return joblib.hash((given, arrays, rows.info, data))
