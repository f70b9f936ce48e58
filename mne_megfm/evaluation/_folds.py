"""Folds that participants never straddle, and states that are too rare for them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import mne
import numpy as np
from mne.utils import warn
from numpy.typing import NDArray
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    check_cv,
)

from ..utils.validation import find_missing, listed
from ._samples import Samples

_N_SPLITS, _N_REPEATS = 5, 4


class Fold(NamedTuple):
    """One split into training and test participants."""

    repeat: int
    number: int  # within its repeat
    train: NDArray[np.intp]
    test: NDArray[np.intp]


def by_repeat(folds: list[Fold]) -> list[list[Fold]]:
    """Group folds by repeat: what one worker does at a time."""
    repeats = sorted({fold.repeat for fold in folds})
    return [[fold for fold in folds if fold.repeat == repeat] for repeat in repeats]


class RepeatedGroups(BaseCrossValidator):
    """K-fold over participants with several elements each, repeated, shuffled."""

    def __init__(
        self, stratified: bool, n_splits: int, n_repeats: int, random_state: int
    ) -> None:
        self.n_splits = n_splits
        self.n_repeats = n_repeats
        self.stratified = stratified
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Count the splits."""
        return self.n_splits * self.n_repeats

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple]:
        """Give training and test indices."""
        kind = StratifiedGroupKFold if self.stratified else GroupKFold
        for repeat in range(self.n_repeats):
            seed = self.random_state + repeat
            splitter = kind(self.n_splits, shuffle=True, random_state=seed)
            yield from splitter.split(X, y, groups)


def default_cv(samples: Samples, classify: bool, random_state: int) -> Any:
    """Choose the cross-validation: by site where there are sites, else repeated."""
    if samples.sites is not None:
        return LeaveOneGroupOut()
    return repeated_folds(samples, classify, _N_SPLITS, _N_REPEATS, random_state)


def repeated_folds(
    samples: Samples, classify: bool, n_splits: int, n_repeats: int, random_state: int
) -> BaseCrossValidator | RepeatedKFold:
    """Make repeated folds, stratified by class, that keep groups together."""
    if samples.groups is not None:
        return RepeatedGroups(classify, n_splits, n_repeats, random_state)
    kind = RepeatedStratifiedKFold if classify else RepeatedKFold
    return kind(n_splits=n_splits, n_repeats=n_repeats, random_state=random_state)


def choose_cv(cv: Any, samples: Samples, classify: bool, random_state: int) -> Any:
    """Take the cross-validation given, in places of the participants that are kept.

    Raises
    ------
    ValueError
        If folds are given that name other places than those of the participants, or
        of which nothing is kept.
    """
    if cv is None:
        return default_cv(samples, classify, random_state)
    if isinstance(cv, ParticipantSplit):
        return ParticipantSplit(choose_cv(cv.cv, samples, classify, random_state))
    if isinstance(cv, PredefinedSplit):
        if len(cv.test_fold) != samples.n_given:
            raise ValueError(
                f"Expected a PredefinedSplit of {samples.n_given} participants, got "
                f"one of {len(cv.test_fold)}; give a fold to each, in the order of X."
            )
        cv = PredefinedSplit(cv.test_fold).split()
    if not isinstance(cv, Iterable) or isinstance(cv, str) or hasattr(cv, "split"):
        return cv
    folds = []
    for number, sides in enumerate(cv):
        train, test = (_kept_places(side, number, samples) for side in sides)
        if not len(train) or not len(test):
            raise ValueError(
                "Expected participants on both sides of every fold, got "
                f"{len(train)} for training and {len(test)} for test in fold {number} "
                "(of those that were not left out); correct cv."
            )
        folds.append((train, test))
    return folds


def _kept_places(side: Any, number: int, samples: Samples) -> NDArray[np.intp]:
    """Turn places in what was given, or a mask, to those among the kept."""
    n, side = samples.n_given, np.asarray(side)
    if side.dtype == bool:
        if len(side) != n:
            raise ValueError(
                f"Expected masks of {n} participants, got one of {len(side)} in fold "
                f"{number}; correct cv."
            )
        side = np.flatnonzero(side)
    if len(side) and not 0 <= side.min() <= side.max() < n:
        raise ValueError(
            f"Expected folds of places from 0 to {n - 1} in X, got {side.min()} to "
            f"{side.max()} in fold {number}; correct cv."
        )
    place = np.full(n, -1)
    place[samples.kept] = np.arange(len(samples.kept))
    side = place[side.astype(int)]
    return side[side >= 0]


def split_participants(
    samples: Samples, y: NDArray, cv: Any, classify: bool, fewest: int = 1
) -> list[Fold]:
    """Split, and check that no participant is on both sides of a split.

    Raises
    ------
    ValueError
        If there are fewer participants than folds, if training folds have fewer than
        ``fewest`` participants of a class (of all, in regression), or if a participant
        is in both training and test.
    """
    by_site = isinstance(cv, LeaveOneGroupOut) and samples.sites is not None
    groups = samples.sites if by_site else samples.groups
    cv = check_cv(cv, y if classify else None, classifier=classify)
    _check_numbers(samples, y, cv, classify, groups)
    folds = _splits(cv, len(y), y, groups)
    n_repeats = getattr(cv, "n_repeats", None) or getattr(cv, "cvargs", {}).get(
        "n_repeats", 1
    )
    per_repeat = max(len(folds) // n_repeats, 1)
    if not folds:
        raise ValueError(
            "Expected one fold at least, got none; correct cv (a generator of folds "
            "can be used once)."
        )
    out = []
    for number, (train, test) in enumerate(folds):
        shared = np.intersect1d(samples.names[train], samples.names[test])
        if len(shared):
            raise ValueError(
                "Expected each participant on one side of every split, got "
                f"{_listed(shared)} in both training and test of fold {number}; use a "
                "splitter that keeps groups together."
            )
        lacking = np.setdiff1d(y, y[train]) if classify else ()
        if len(lacking):
            raise ValueError(
                f"Expected all classes in every training fold, got fold {number} "
                f"without {_listed(lacking)}; use fewer folds, or other sites."
            )
        _check_training(
            samples.names[train], y[train] if classify else None, number, fewest
        )
        out.append(Fold(number // per_repeat, number % per_repeat, train, test))
    return out


def _check_training(
    names: NDArray, y: NDArray | None, number: int, fewest: int
) -> None:
    labels = [None] * len(names) if y is None else y.tolist()
    pairs = dict.fromkeys(zip(labels, names.tolist(), strict=True))
    label, n = Counter(label for label, _ in pairs).most_common()[-1]
    if n >= fewest:
        return
    each, which = "", ""
    if y is not None:
        each, which = " of each class", f" of {label!r}"
    raise ValueError(
        f"Expected {fewest} participants{each} or more in every training fold, to "
        f"choose the regularisation, got {n}{which} in fold {number}; use more folds, "
        "add participants, or join classes."
    )


def _check_numbers(
    samples: Samples, y: NDArray, cv: Any, classify: bool, groups: NDArray | None
) -> None:
    if classify and len(np.unique(y)) < 2:
        raise ValueError(
            f"Expected labels of two classes or more, got only {y.tolist()[0]!r} for "
            f"all {len(y)} participants; look at y."
        )
    if not classify and len(np.unique(y)) < 2:
        raise ValueError(
            f"Expected numbers that differ, got {y.tolist()[0]!r} for all {len(y)} "
            "participants; look at y."
        )
    if isinstance(cv, LeaveOneGroupOut):
        n_groups = 0 if groups is None else len(np.unique(groups))
        if n_groups < 2:
            raise ValueError(
                f"Expected two sites or groups at least, got {n_groups}; pass cv=None "
                "and no sites."
            )
        return
    n_splits = _n_splits(cv)
    if n_splits is None:
        return
    names = [np.unique(samples.names)]
    if classify:
        names = [np.unique(samples.names[y == label]) for label in np.unique(y)]
    fewest = min(len(found) for found in names)
    if fewest < n_splits:
        raise ValueError(
            f"Expected at least as many participants{' in each class' * classify} as "
            f"folds ({n_splits}), got {fewest}; pass cv with fewer folds."
        )


def _n_splits(cv: Any) -> int | None:
    """Folds of one repeat, where a splitter is of the K-fold kind."""
    if isinstance(cv, RepeatedGroups):
        return cv.n_splits
    own = cv.n_splits if hasattr(cv, "shuffle") else None  # random splits have none
    return getattr(cv, "cvargs", {}).get("n_splits", own)


class ParticipantSplit(BaseCrossValidator):
    """Check any splitter of scikit-learn: no participant in both training and test.

    For rows that are epochs or windows: the epochs of a participant are alike, so that
    a split that ignores participants makes results look better than they are.

    Parameters
    ----------
    cv : int | splitter
        A splitter of scikit-learn, or the number of folds of one that keeps
        participants together and spreads classes evenly.

    See Also
    --------
    compare : Rows that are participants.
    mne_megfm.MEGSamples.groups : The participant of each epoch, from its metadata.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import KFold
    >>> from mne_megfm.evaluation import ParticipantSplit
    >>> names = np.repeat(["anna", "bert", "cleo", "dora"], 3)
    >>> y = np.repeat([0, 1, 0, 1], 3)
    >>> for train, test in ParticipantSplit(2).split(y, y, names):
    ...     print(np.unique(names[test]))
    ['anna' 'dora']
    ['bert' 'cleo']
    """

    # under metadata routing, groups come from the caller, as with GroupKFold
    __metadata_request__split = {"groups": True}

    def __init__(self, cv: Any = 5) -> None:
        self.cv = cv

    def __repr__(self) -> str:
        return f"ParticipantSplit({self.cv!r})"

    def _splitter(self) -> Any:
        if isinstance(self.cv, Integral):
            return StratifiedGroupKFold(int(self.cv))
        return check_cv(self.cv)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Count the splits.

        Parameters
        ----------
        X : sequence of length n_rows, optional
            The rows.
        y : array-like, shape (n_rows,), optional
            Labels.
        groups : array-like, shape (n_rows,), optional
            Participants.

        Returns
        -------
        n_splits : int
            The number of splits.
        """
        return self._splitter().get_n_splits(X, y, groups)

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Split rows, with a warning that names participants who are on both sides.

        Parameters
        ----------
        X : sequence of length n_rows
            The rows, for instance Epochs or a MEGSamples.
        y : array-like, shape (n_rows,), optional
            Labels.
        groups : array-like, shape (n_rows,)
            The participant of each row.

        Yields
        ------
        train, test : ndarray of int
            Rows of either side.

        Raises
        ------
        ValueError
            If groups are missing, in part, too, or not one for each row.
        """
        if groups is None or len(groups) != len(X):
            got = "none" if groups is None else len(groups)
            raise ValueError(
                f"Expected groups with the participant of each of {len(X)} rows, got "
                f"{got}; pass for instance groups=epochs.metadata['participant']."
            )
        missing = find_missing(groups)
        if len(missing):
            raise ValueError(
                f"Expected groups without missing values, got none (NaN) for "
                f"{listed(missing)}; name the participant of each row."
            )
        groups = np.asarray(groups)
        for train, test in _splits(self._splitter(), len(X), y, groups):
            shared = np.intersect1d(groups[train], groups[test])
            if len(shared):
                warn(
                    f"Participants in both training and test: {_listed(shared)}. "
                    "Results will look better than they are; use a splitter that "
                    "keeps groups together, as ParticipantSplit(5) does."
                )
            yield train, test


def _splits(cv: Any, n: int, y: Any, groups: Any) -> list[tuple]:
    with warnings.catch_warnings():  # of groups: whether they are kept is checked here
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        return list(cv.split(np.zeros((n, 1)), y, groups))


def _listed(values: NDArray, limit: int = 10) -> str:
    shown = ", ".join(map(str, values[:limit]))
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return shown + more


def rare_states(states: Sequence[set[str]], folds: Iterable[Fold]) -> set[str]:
    """Find the states of test participants that no training participant has."""
    rare: set[str] = set()
    for fold in folds:
        known = set.union(*(states[i] for i in fold.train))
        rare |= set.union(*(states[i] for i in fold.test)) - known
    return rare


def exclude_rare_states(samples: Samples, folds: Iterable[Fold]) -> None:
    """Leave out states that some training fold lacks, where a test fold has them.

    Raises
    ------
    ValueError
        If a participant has no other state.
    """
    states = samples.states()
    rare = rare_states(states, folds)
    for position, own in enumerate(states):
        if not own & rare:
            continue
        name, element = samples.names[position], samples.X[position]
        can_part = isinstance(element, Mapping | mne.BaseEpochs)
        if not own - rare or not can_part:
            raise ValueError(
                "Expected states that participants of every training fold have (of "
                f"every size, in a learning curve), got {sorted(own & rare)} for "
                f"{name}; rename the states alike, leave that recording out, or use "
                "fewer folds or larger train_sizes."
            )
        for state in sorted(own & rare):
            reason = f"too few participants have the state {state!r}"
            samples.exclude("recording", name, reason)
        if isinstance(element, Mapping):
            kept = {s: inst for s, inst in element.items() if str(s) not in rare}
        else:
            kept = element[sorted(own - rare)]
        samples.X[position] = kept


def check_count(number: Any, name: str = "n_permutations") -> None:
    """See that a number of times is one."""
    if not isinstance(number, Integral) or number < 0:
        raise ValueError(
            f"Expected {name} as a whole number from 0, got {number!r}; choose 0 for "
            "none."
        )


# how often labels are permuted before that is given up
_N_TRIALS = 100


def permute_labels(
    samples: Samples,
    states: Sequence[set[str]],
    cv: Any,
    classify: bool,
    rng: np.random.Generator,
    fewest: int = 1,
) -> tuple[NDArray, list[Fold]]:
    """Permute labels, until they can be learnt from on the first repeat of folds.

    Folds follow labels where they are stratified. Elements of a participant who has one
    label keep one. Training folds have ``fewest`` participants of each class.

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
            folds = split_participants(samples, permuted, cv, classify, fewest)
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
