"""Frozen first steps of pipelines, computed once for all folds."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import joblib
import mne
import numpy as np
from mne.utils import use_log_level
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import FeatureUnion, Pipeline

from .._version import __version__
from ..estimators._given import check_maker
from ..inputs import as_recordings
from ..inputs._reading import read_rows
from ._samples import Sendable
from ._signals import shared_trials

MISSING = ".*recordings are missing.*"


def frozen_step(pipeline: BaseEstimator) -> BaseEstimator | None:
    """Give the first step of a pipeline, if it can describe participants one by one.

    Such a step has ``describe``, which depends on no other participant and no label,
    and ``fit_described`` and ``transform_described``, which learn from training folds.
    """
    if not isinstance(pipeline, Pipeline) or len(pipeline.steps) < 2:
        return None
    step = pipeline.steps[0][1]
    return step if _can_describe(step) else None


def _can_describe(step: Any) -> bool:
    if isinstance(step, FeatureUnion):
        return step.transformer_weights is None and all(
            _can_describe(part) for _, part in step.transformer_list
        )
    return hasattr(step, "describe") and hasattr(step, "fit_described")


def _leaves(step: BaseEstimator) -> Iterator[BaseEstimator]:
    if isinstance(step, FeatureUnion):
        for _, part in step.transformer_list:
            yield from _leaves(part)
    else:
        yield step


def _key(leaf: BaseEstimator) -> str:
    return joblib.hash((type(leaf), leaf.get_params()))


class FrozenFeatures:
    """Descriptions of participants by the frozen steps of several pipelines.

    Steps with equal parameters share theirs, so that a grid of classifiers on the same
    features costs one extraction.

    Parameters
    ----------
    steps : iterable of estimator
        What `frozen_step` gave.

    Attributes
    ----------
    leaves : dict
        From a hash of its parameters to a transformer.
    given : dict
        From the same hash to descriptions made already; None for a participant without.
    table : dict
        From the same hash to the descriptions of all participants.
    """

    def __init__(self, steps: Iterable[BaseEstimator]) -> None:
        self.leaves = {_key(leaf): clone(leaf) for s in steps for leaf in _leaves(s)}
        self.given: dict[str, list] = {}
        self.table: dict[str, list] = {}

    def give(
        self, step: BaseEstimator, descriptions: list, X: list, places: Sequence
    ) -> None:
        """Take what a step said before of participants at these places in a list.

        None as a place stands for a participant whose recordings have changed since.
        """
        leaf = self.leaves[_key(step)]
        given = [None if place is None else descriptions[place] for place in places]
        known = next((n for n, place in enumerate(places) if place is not None), None)
        if known is None:
            return
        with use_log_level("error"):
            check_maker(leaf, given[known], X[known])
        self.given[_key(step)] = given

    def tasks(self, X: list, memory: Any = None) -> Iterator:
        """Give delayed calls, one a participant, whose results go to `keep`."""
        with use_log_level("error"), shared_trials():
            for key, leaf in self.leaves.items():
                if key not in self.given:
                    # loads weights, which are then copied to workers
                    self.given[key] = [*leaf.describe(X[:1]), *[None] * (len(X) - 1)]
        stamps = {key: _stamp(leaf) for key, leaf in self.leaves.items()}
        for number, participant in enumerate(X):
            lacking = {
                key: leaf
                for key, leaf in self.leaves.items()
                if self.given[key][number] is None
            }
            # nothing is sent to workers where all is known
            shown = Sendable(participant if lacking else None)
            yield joblib.delayed(_describe)(lacking, shown, stamps, memory)

    def keep(self, results: Iterable[dict]) -> None:
        """Keep what the calls returned, in the order of participants."""
        results = list(results)
        self.table = {
            key: [
                row[key] if key in row else self.given[key][number]
                for number, row in enumerate(results)
            ]
            for key in self.leaves
        }

    def part(self, step: BaseEstimator) -> FrozenFeatures:
        """Restrict to what one step needs, to send that to a worker."""
        keys = list(map(_key, _leaves(step)))
        part = FrozenFeatures(())
        part.leaves = {key: self.leaves[key] for key in keys}
        part.table = {key: self.table[key] for key in keys}
        return part

    def is_empty(self, step: BaseEstimator) -> bool:
        """Find whether a part of a step can describe nobody."""
        return any(not any(self.table[_key(leaf)]) for leaf in _leaves(step))

    def features(
        self, step: BaseEstimator, train: NDArray, test: NDArray, y: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Fit a step on training participants; give their features and the others'."""
        if isinstance(step, FeatureUnion):
            parts = [
                self.features(part, train, test, y) for _, part in step.transformer_list
            ]
            return tuple(np.hstack(columns) for columns in zip(*parts, strict=True))
        key = _key(step)
        # shares weights with the original, which are not changed
        leaf = copy.copy(self.leaves[key])
        known = [self.table[key][i] for i in train]
        others = [self.table[key][i] for i in test]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", MISSING, RuntimeWarning)
            leaf.fit_described(known, y[train])
            return leaf.transform_described(known), leaf.transform_described(others)


def _stamp(leaf: BaseEstimator) -> str:
    """Tell apart transformers by their code, parameters and weights."""
    networks = (getattr(leaf, name, None) for name in ("model_", "level_"))
    arrays = [
        {name: array.cpu().numpy() for name, array in network.state_dict().items()}
        for network in networks
        if network is not None
    ]
    versions = __version__, mne.__version__
    return joblib.hash((versions, type(leaf), leaf.get_params(), arrays))


def _describe(
    leaves: dict[str, BaseEstimator],
    sent: Sendable,
    stamps: dict[str, str],
    memory: joblib.Memory | None,
) -> dict:
    """Describe a participant by all transformers, in a worker."""
    one, participant = _describe_by, sent.recordings
    digest = None
    if memory is not None and leaves:
        one = memory.cache(one, ignore=["leaf", "participant"])
        digest = _digest(participant)
    with use_log_level("error"), shared_trials():
        return {
            key: one(leaf, participant, stamps[key], digest)
            for key, leaf in leaves.items()
        }


def _digest(participant: Any) -> str:
    """Tell apart participants by what their recordings hold, on disk, too."""
    # of data not loaded there is the name of a file, which tells nothing of them
    unread = [
        joblib.hash([piece.own for piece in pieces])
        for recording in as_recordings([participant], verbose="error")
        if not getattr(recording.inst, "preload", True)
        for _, pieces in read_rows(recording)
    ]
    return joblib.hash((participant, unread))


def _describe_by(
    leaf: BaseEstimator, participant: Any, stamp: str, digest: str | None
) -> dict:
    return leaf.describe([participant])[0]
