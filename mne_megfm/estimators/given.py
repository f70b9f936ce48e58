"""Descriptions of participants that were made before, and are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np

# relative to the largest value: batches and threads round in another order
_TOLERANCE = 1e-3


def check_count(descriptions: Any, n_participants: int) -> list:
    """Check that descriptions can be those of so many participants.

    Parameters
    ----------
    descriptions : list
        What is given for what ``describe`` returned.
    n_participants : int
        How many participants there are.

    Returns
    -------
    descriptions : list
        The same.

    Raises
    ------
    ValueError
        If lengths differ.
    """
    descriptions = list(descriptions)
    if len(descriptions) != n_participants:
        raise ValueError(
            "Expected descriptions with one a participant "
            f"({n_participants}), got {len(descriptions)}; give what describe(X) of "
            "the first step returned, in the order of X."
        )
    return descriptions


def check_maker(step: Any, description: Any, participant: Any) -> None:
    """Let a step describe a participant anew, and see whether it made a description.

    Weights have to be loaded by a first call of ``describe`` anyway.

    Parameters
    ----------
    step : estimator
        A step with ``describe``.
    description : object
        What is given for what it said of the participant.
    participant : object
        The participant.

    Raises
    ------
    ValueError
        If it says something else.
    """
    (anew,) = step.describe([participant])
    if not _is_alike(description, anew):
        raise ValueError(
            "Expected descriptions by the first step of the pipeline, got others: of "
            f"the first participant {step} says something else; give what describe(X) "
            "of that step returned, with the same weights, parameters and X."
        )


def _is_alike(one: Any, other: Any) -> bool:
    """Compare numbers but for rounding, and names, in whatever holds them."""
    # a memory map is an array
    if type(one) is not type(other) and not (
        isinstance(one, np.ndarray) and isinstance(other, np.ndarray)
    ):
        return False
    if is_dataclass(one):
        return _is_alike(vars(one), vars(other))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(
            _is_alike(one[key], other[key]) for key in one
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_is_alike, one, other))
    if isinstance(one, np.ndarray) and one.dtype.kind not in "fciub":
        return np.array_equal(one, other)
    if isinstance(one, np.ndarray | np.generic | float):
        return np.shape(one) == np.shape(other) and np.allclose(
            one, other, _TOLERANCE, _TOLERANCE * _size(other), equal_nan=True
        )
    # of other kinds nothing is known
    return one == other if isinstance(one, str | int) else True


def _size(values: Any) -> float:
    values = np.abs(values)
    return float(values.max(where=np.isfinite(values), initial=0.0))
