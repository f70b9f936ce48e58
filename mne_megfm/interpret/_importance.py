"""How much states, or groups of features, help to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any

import joblib
import mne
import numpy as np
import pandas as pd
from mne.utils import ProgressBar, _check_option, use_log_level
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold, check_cv
from sklearn.pipeline import Pipeline

from ..estimators.frozen import FrozenStep, is_frozen
from ..utils.logs import verbose
from ..utils.validation import find_scorer, scorer_name
from ._decisions import settle_target
from ._occlusion import tested_in_words
from ._refits import (
    HeldOutScore,
    NullDistribution,
    check_permutations,
    held_out_score,
    null_distributions,
    permute_labels,
    usual_score,
)

METHODS = ("permutation", "shapley")
#: All coalitions are scored: 2 to the power of the number of groups.
_MOST_GROUPS = 10
_N_FOLDS, _N_REPEATS, _N_PERMUTATIONS = 5, 4, 10


@dataclass(frozen=True, eq=False)
class Importance:
    """How much groups improve held-out predictions, beside chance.

    Attributes
    ----------
    table : DataFrame
        One row for each ``fold`` and ``group``: its ``importance``, in units of the
        score, the ``score`` of the fold with all groups and the ``base`` without any.
    null : NullDistribution
        Mean importance of each group over folds, in the order of `summary`, and the
        same with permuted labels.
    score : HeldOutScore
        The held-out score with all groups.

    See Also
    --------
    state_importance : Makes it.
    mne_megfm.viz.plot_importance : Plots it.

    Examples
    --------
    See `state_importance`.
    """

    table: pd.DataFrame
    null: NullDistribution
    score: HeldOutScore

    @property
    def summary(self) -> pd.DataFrame:
        """One row a group: ``mean``, ``sd``, ``low``, ``high``, ``z``, ``p_value``.

        Mean and standard deviation are over folds. Between ``low`` and ``high`` a mean
        is within chance, over all groups.
        """
        found = self.table.groupby("group", sort=False)["importance"]
        low, high = self.null.band
        out = pd.DataFrame({"mean": found.mean(), "sd": found.std()})
        return out.assign(low=low, high=high, z=self.null.z, p_value=self.null.p_values)

    def in_words(self) -> str:
        """Say which groups stand out above chance, or that none does.

        Returns
        -------
        text : str
            A few sentences.
        """
        return tested_in_words(self.score, self.null, self.summary, "groups", "")


@verbose
def state_importance(
    pipeline: Pipeline,
    X: list,
    y: Any,
    method: str = "shapley",
    *,
    groups: str | Mapping[str, list[str]] = "states",
    cv: Any = None,
    scoring: str | Callable | None = None,
    positive: Any = None,
    memory: str | joblib.Memory | None = None,
    n_permutations: int = 99,
    alpha: float = 0.05,
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> Importance:
    """Measure how much each state, or group of features, improves predictions.

    Parameters
    ----------
    pipeline : Pipeline
        A :class:`~mne_megfm.MEGFMTransformer` with frozen weights, or a baseline of
        :mod:`mne_megfm.evaluation`, and what follows it. Not changed.
    X : list
        Participants: for each a dict from state to recording, or an Epochs whose
        conditions are states.
    y : array-like, shape (n_participants,)
        Their labels or numbers.
    method : {"shapley", "permutation"}
        What a group's share of the score is, see Notes.
    groups : "states" | dict of str to list of str
        States, or groups of features: from the name of a group to what the names of its
        features begin with. Features of no group are the group ``other``.
    cv : int | splitter | None
        Folds over participants; None takes 4 times 5, stratified for classifiers.
    scoring : str | callable | None
        A score of scikit-learn, or a scorer; None takes ``"roc_auc"`` for two classes,
        ``"balanced_accuracy"`` for several and ``"r2"`` for numbers.
    positive : label | None
        Of two classes the one that scores such as ``"recall"`` are about, and that is
        named in the result. None takes that of a `MEGFMClassifier`, or else the second.
        ROC AUC and accuracy are the same for either.
    memory : path-like | joblib.Memory | None
        Where what frozen weights extract from each participant is kept on disk, for
        later calls, also of :func:`~mne_megfm.evaluation.compare`.
    n_permutations : int
        Permutations of the labels. The smallest p value is one by this and 1.
    alpha : float
        Level of the threshold.
    random_state : int
        Seed of folds and permutations.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    importance : Importance
        Importance in each fold, its null distribution and the held-out score.

    Raises
    ------
    TypeError
        If the pipeline does not begin with a step with frozen weights, or the
        states of a participant cannot be known.
    ValueError
        If groups are unknown, too many or too few, or have no features; if lengths
        differ, or ``positive`` is not one of two labels.

    See Also
    --------
    occlude : Parts of recordings, for the decisions on single participants.

    Notes
    -----
    The pipeline is fitted on each training fold, and all scores are of held-out
    participants. All of it is done again with permuted labels, for as many times as
    ``n_permutations`` says: the mean over folds of a group stands out where it differs
    more from that than any group does by chance (see `NullDistribution`).

    ``"permutation"``
        What the score loses when a group is permuted between held-out participants,
        while all else stays [1]_: features 10 times, recordings of a state once a fold.
        A group loses nothing by that where others have the same information.
    ``"shapley"``
        The exact Shapley value [2]_ of the score, over all coalitions of groups. An
        absent state is one that was not recorded, and is treated as the transformer
        treats one; absent features, and participants without any state, have the
        means of the training participants. Values of a fold add up to
        ``score - base``. Groups with the same information share it; one that is not
        used has 0.

    Recordings are read once, state by state. From that, features are extracted once
    for each coalition of states (6 times more with three states), and with
    ``"permutation"`` once for each state and each other participant whose recordings
    they are given, which takes some 30 ms each.

    References
    ----------
    .. [1] Breiman (2001), "Random forests", Machine Learning 45, section 10.
    .. [2] Covert, Lundberg & Lee (2020), "Understanding global feature contributions
       with additive importance measures", NeurIPS, section 3.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import state_importance
    >>> cohort = simulate_cohort(
    ...     8,
    ...     states=("rest", "auditory"),
    ...     arrays=("opm64",),
    ...     n_epochs=4,
    ...     random_state=0,
    ... )
    >>> X = [participant.recordings for participant in cohort]
    >>> model = make_pipeline(MEGFMTransformer(), LogisticRegression())
    >>> found = state_importance(
    ...     model, X, cohort.labels, cv=2, n_permutations=19, verbose=False
    ... )
    >>> found.table["group"].unique().tolist()
    ['auditory', 'rest']
    """
    _check_option("method", method, METHODS)
    n_permutations = check_permutations(n_permutations, alpha)
    first = pipeline[0] if isinstance(pipeline, Pipeline) else None
    if len(getattr(pipeline, "steps", ())) < 2 or not is_frozen(first):
        raise TypeError(
            "Expected a pipeline of a MEGFMTransformer with frozen weights and a "
            f"predictor, got {pipeline!r}; use mne_megfm.interpret.occlude with "
            "over='states' for other pipelines."
        )
    X, y = list(X), np.asarray(y)
    if len(X) != len(y):
        raise ValueError(
            f"Expected y with one value a participant ({len(X)}), got {len(y)}; give "
            "one for each, in the order of X."
        )
    classifier = is_classifier(pipeline)
    if cv is None:
        folds = RepeatedStratifiedKFold if classifier else RepeatedKFold
        cv = folds(n_splits=_N_FOLDS, n_repeats=_N_REPEATS, random_state=random_state)
    cv = check_cv(cv, y, classifier=classifier)
    scoring = scoring or usual_score(classifier, y)
    metric = scorer_name(scoring)
    positive = _settle_positive(pipeline, y, positive)
    scorer = find_scorer(scoring, positive)
    rng = np.random.default_rng(random_state)
    # of its own, so that labels do not depend on the method
    label_rng = np.random.default_rng([random_state, 1])
    frozen = FrozenStep(first, memory)
    parts = (
        _States(frozen, X)
        if isinstance(groups, str) and groups == "states"
        else _Features(frozen, X, groups)
    )
    names = parts.names
    tables, means, scores = [], [], []
    labels = y
    runs = ProgressBar(range(1 + n_permutations), mesg="Permuting labels")
    for run in runs:
        folds = list(cv.split(np.zeros((len(y), 1)), labels))
        found = [
            _of_fold(parts, pipeline, labels, *fold, scorer, method, rng)
            for fold in folds
        ]
        scores.append([whole for _, whole, _ in found])
        means.append(np.mean([importance for importance, _, _ in found], 0))
        for fold, (importance, whole, base) in enumerate(found if run == 0 else ()):
            one = {"fold": fold, "group": names, "importance": importance}
            tables.append(pd.DataFrame(one | {"score": whole, "base": base}))
        labels = permute_labels(y, None, label_rng)
    family = f"max over {len(names)} {'states' if parts.are_states else 'groups'}"
    null = null_distributions({"": np.array(means)}, family, alpha)[""]
    score = held_out_score(np.array(scores), metric, len(y), "participants", positive)
    return Importance(pd.concat(tables, ignore_index=True), null, score)


def _settle_positive(pipeline: Pipeline, y: NDArray, positive: Any) -> Any:
    """Settle the positive class; None unless there are two."""
    classes = np.unique(y) if is_classifier(pipeline) else np.array([])
    if positive is not None and (len(classes) != 2 or positive not in classes.tolist()):
        raise ValueError(
            f"Expected positive as one of two labels, got {positive!r} with "
            f"{classes.tolist() or 'numbers'}; name one of two, or leave it out."
        )
    if len(classes) != 2:
        return None
    return settle_target(pipeline, classes, positive)


def _of_fold(
    parts: _States | _Features,
    pipeline: Pipeline,
    y: NDArray,
    train: NDArray[np.int_],
    test: NDArray[np.int_],
    scorer: Callable,
    method: str,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float64], float, float]:
    """Give the importance of each group in a fold, its score and that without any."""
    seen = parts.learn(train)
    rest = clone(pipeline[1:]).fit(seen, y[train])

    def score(features: NDArray) -> float:
        return float(scorer(rest, features, y[test]))

    # that states are missing is on purpose here: no warning for each coalition
    with use_log_level("error"):
        whole = score(parts.present(test, parts.names))
        base = score(parts.present(test, ()))
        if method == "shapley":
            found = _shapley(
                lambda names: score(parts.present(test, names)), parts.names
            )
        else:
            found = np.array(
                [
                    whole - np.mean([score(x) for x in parts.permuted(test, name, rng)])
                    for name in parts.names
                ]
            )
    return found, whole, base


def _shapley(
    value: Callable[[tuple[str, ...]], float], names: list[str]
) -> NDArray[np.float64]:
    """Share what all groups together are worth between them."""
    n = len(names)
    values = {
        frozenset(present): value(present)
        for size in range(n + 1)
        for present in combinations(names, size)
    }
    out = np.zeros(n)
    for at, name in enumerate(names):
        for without, before in values.items():
            if name not in without:
                size = len(without)
                weight = factorial(size) * factorial(n - size - 1) / factorial(n)
                out[at] += weight * (values[without | {name}] - before)
    return out


def _check_count(names: list[str]) -> list[str]:
    if not 2 <= len(names) <= _MOST_GROUPS:
        raise ValueError(
            f"Expected 2 to {_MOST_GROUPS} groups, got {len(names)}; give a dict from "
            "names of groups to what the names of their features begin with."
        )
    return names


class _States:
    """Participants with some of their states."""

    are_states = True

    def __init__(self, frozen: FrozenStep, X: list) -> None:
        self.frozen = frozen
        people = [_by_state(element) for element in X]
        self.names = _check_count(sorted({s for p in people for s in p}))
        # recordings are read once, and states put together from that
        self.people = frozen.read(people)
        self._known: dict[tuple[str, ...], list] = {}
        # participant, state, and whose recordings of it they have
        self._exchanged: dict[tuple[int, str, int], Any] = {}

    def _extracted(self, names: tuple[str, ...]) -> list:
        """Extract from all participants with these states; None without any of them."""
        if names not in self._known:
            kept = [
                {state: p[state] for state in names if state in p} for p in self.people
            ]
            found = iter(self.frozen.combine([p for p in kept if p]))
            self._known[names] = [next(found) if p else None for p in kept]
        return self._known[names]

    def learn(self, train: NDArray[np.int_]) -> NDArray:
        """Fit the transformer; give features of the training participants."""
        extracted = self._extracted(tuple(self.names))
        of_train = [extracted[i] for i in train]
        self.fitted = self.frozen.fit(of_train)
        seen = np.asarray(self.frozen.transform(self.fitted, of_train))
        self.fill = seen.mean(0)
        return seen

    def _features(self, extracted: list) -> NDArray:
        out = np.tile(self.fill, (len(extracted), 1))
        known = [i for i, one in enumerate(extracted) if one is not None]
        if known:
            out[known] = self.frozen.transform(
                self.fitted, [extracted[i] for i in known]
            )
        return out

    def present(self, test: NDArray[np.int_], names: Any) -> NDArray:
        """Give features of participants with some states alone."""
        if not len(names):
            return np.tile(self.fill, (len(test), 1))
        extracted = self._extracted(tuple(names))
        return self._features([extracted[i] for i in test])

    def permuted(
        self, test: NDArray[np.int_], name: str, rng: np.random.Generator
    ) -> list[NDArray]:
        """Give features of participants with the recordings of each other."""
        having = [i for i in test if name in self.people[i]]
        other = dict(zip(having, rng.permutation(having), strict=True))
        wanted = [(i, name, other.get(i, i)) for i in test]
        own = self._extracted(tuple(self.names))
        self._exchanged |= {key: own[key[0]] for key in wanted if key[0] == key[2]}
        new = [key for key in wanted if key not in self._exchanged]
        if new:
            people = [self.people[i] | {name: self.people[j][name]} for i, _, j in new]
            self._exchanged |= zip(new, self.frozen.combine(people), strict=True)
        return [self._features([self._exchanged[key] for key in wanted])]


def _by_state(element: Any) -> dict[str, Any]:
    """Take the recordings of a participant apart by state."""
    if isinstance(element, Mapping):
        return dict(element)
    if isinstance(element, mne.BaseEpochs):
        return {name: element[name] for name in element.event_id}
    raise TypeError(
        "Expected each participant as a dict from state to recording, or as Epochs "
        f"whose conditions are states, got a {type(element).__name__}; name the states."
    )


class _Features:
    """Participants with some groups of their features."""

    are_states = False

    def __init__(
        self, frozen: FrozenStep, X: list, groups: str | Mapping[str, list[str]]
    ) -> None:
        if not isinstance(groups, Mapping):
            raise ValueError(
                "Expected groups to be 'states' or a dict from name to what names of "
                f"features begin with, got {groups!r}; choose one of them."
            )
        self.frozen = frozen
        self.extracted = frozen.extract(X)
        fitted = frozen.fit(self.extracted)
        names = [str(name) for name in fitted.get_feature_names_out()]
        self.columns: dict[str, NDArray[np.int_]] = {}
        left = np.ones(len(names), bool)
        for group, starts in groups.items():
            of = np.array([name.startswith(tuple(starts)) for name in names]) & left
            if not of.any():
                raise ValueError(
                    f"Expected features for group {group!r}, got none (that another "
                    f"group does not have) that begin with {list(starts)}; "
                    "get_feature_names_out of the transformer lists them."
                )
            self.columns[group], left = np.flatnonzero(of), left & ~of
        if left.any():
            self.columns["other"] = np.flatnonzero(left)
        self.names = _check_count(sorted(self.columns))

    def learn(self, train: NDArray[np.int_]) -> NDArray:
        """Fit the transformer; give features of the training participants."""
        of_train = [self.extracted[i] for i in train]
        self.fitted = self.frozen.fit(of_train)
        seen = np.asarray(self.frozen.transform(self.fitted, of_train))
        self.fill = seen.mean(0)
        return seen

    def present(self, test: NDArray[np.int_], names: Any) -> NDArray:
        """Give features, of which those of other groups are means."""
        whole = np.asarray(
            self.frozen.transform(self.fitted, [self.extracted[i] for i in test])
        )
        out = np.tile(self.fill, (len(test), 1))
        for name in names:
            out[:, self.columns[name]] = whole[:, self.columns[name]]
        return out

    def permuted(
        self, test: NDArray[np.int_], name: str, rng: np.random.Generator
    ) -> list[NDArray]:
        """Give features, of which those of a group are of other participants."""
        whole, out = self.present(test, self.names), []
        for _ in range(_N_PERMUTATIONS):
            given, at = whole.copy(), self.columns[name]
            given[:, at] = whole[rng.permutation(len(whole))][:, at]
            out.append(given)
        return out
