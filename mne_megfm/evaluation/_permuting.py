"""Labels permuted among participants, so that nothing can be found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._folds import Fold, split_participants
from ._samples import Samples
from ._states import rare_states

# how often labels are permuted before that is given up
_N_TRIALS = 100


def permute_labels(
    samples: Samples,
    states: Sequence[set[str]],
    cv: Any,
    classify: bool,
    rng: np.random.Generator,
) -> tuple[NDArray, list[Fold]]:
    """Permute labels, until they can be learnt from on the first repeat of folds.

    Folds follow labels where they are stratified. Elements of a participant who has one
    label keep one.

    Raises
    ------
    ValueError
        If no permutation leaves all classes and states in all training folds.
    """
    y, groups = samples.y, np.arange(len(samples))
    if samples.groups is not None:
        _, first = np.unique(samples.groups, return_index=True)
        if np.array_equal(y[first][samples.groups], y):
            y, groups = y[first], samples.groups
    why = None
    for _ in range(_N_TRIALS):
        permuted = rng.permutation(y)[groups]
        try:
            folds = split_participants(samples, permuted, cv, classify)
        except ValueError as error:  # a class is missing in training
            why = error
            continue
        folds = [fold for fold in folds if fold.repeat == 0]
        if not rare_states(states, folds):
            return permuted, folds
    raise ValueError(
        f"Expected labels that can be permuted, got none in {_N_TRIALS} trials with "
        "which each training fold has all classes and states; use fewer folds, or "
        "n_permutations=0."
    ) from why
