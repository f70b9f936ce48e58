"""How well features tell the traits of the panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedKFold, ShuffleSplit
from sklearn.preprocessing import StandardScaler

from ._traits import TRAITS

_ALPHAS = np.logspace(-4, 4, 17)
#: Ways to classify, by name.
LEARNERS = ("ridge", "scaled ridge", "logistic", "scaled logistic")


def panel_scores(
    features: Any,
    classes: pd.DataFrame,
    *,
    traits: Sequence[str] | None = None,
    learners: Sequence[str] = LEARNERS,
    n_train: int | None = None,
    n_splits: int = 5,
    n_repeats: int = 3,
    random_state: int = 0,
) -> pd.DataFrame:
    """Score features by how well they tell the class of each trait.

    Parameters
    ----------
    features : array-like, shape (n_people, n_features) | sequence of these
        Features. Of several arrays, ridge sums the kernels, each of the same trace,
        and logistic regression has all columns side by side.
    classes : DataFrame, shape (n_people, n_traits)
        Class of each person, 0 or 1, by trait.
    traits : sequence of str | None
        Which to score. None takes those of `classes` that are not held out: see
        `Trait`.
    learners : sequence of str
        ``"ridge"``: ridge regression of the class, its penalty found by leave-one-out
        in the training part [1]_; ``"scaled ridge"``: the same after a StandardScaler.
        ``"logistic"``: ``LogisticRegression()`` on the features as they are, and
        ``"scaled logistic"`` with a StandardScaler between.
    n_train : int | None
        Size of training parts: that many people drawn at random, ``n_splits x
        n_repeats`` times, and all others to test. None for repeated K-fold.
    n_splits, n_repeats : int
        Of repeated K-fold.
    random_state : int
        Seed of the folds, which are the same for all features of as many people.

    Returns
    -------
    scores : DataFrame, shape (n_traits, n_learners)
        Mean ROC AUC over folds.

    Raises
    ------
    ValueError
        If features are not one finite row a person, or a trait or learner is not known.

    References
    ----------
    .. [1] Golub GH, Heath M, Wahba G (1979). Generalized cross-validation as a method
       for choosing a good ridge parameter. Technometrics 21:215-223.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from panel import draw_traits, panel_scores
    >>> rng = np.random.default_rng(0)
    >>> drawn = [draw_traits(rng) for _ in range(60)]
    >>> values = pd.DataFrame([v for v, _ in drawn])
    >>> classes = pd.DataFrame([c for _, c in drawn])
    >>> scores = panel_scores(
    ...     values[["alpha_frequency"]],
    ...     classes,
    ...     traits=["alpha_frequency", "habituation"],
    ...     learners=["ridge"],
    ... )
    >>> scores["ridge"].loc["alpha_frequency"] > 0.8 > scores["ridge"]["habituation"]
    np.True_
    """
    blocks = _check_features(features, len(classes))
    unknown = sorted(set(learners) - set(LEARNERS))
    if unknown:
        raise ValueError(f"Expected learners among {LEARNERS}, got {unknown}.")
    if traits is None:
        traits = [name for name in classes if not TRAITS[name].held_out]
    lacking = [name for name in traits if name not in classes]
    if lacking:
        raise ValueError(f"Expected classes of all traits, got none of {lacking}.")
    targets = classes[list(traits)].to_numpy()
    n_folds = n_splits * n_repeats
    if n_train is None:
        cv: Any = RepeatedKFold(
            n_splits=n_splits, n_repeats=n_repeats, random_state=random_state
        )
    else:
        cv = ShuffleSplit(n_folds, train_size=n_train, random_state=random_state)
    plain = [_compress(block) for block in blocks]
    aucs = np.full((n_folds, len(traits), len(learners)), np.nan)
    for number, (train, test) in enumerate(cv.split(targets)):
        scaled = []
        if any(learner.startswith("scaled") for learner in learners):
            scaled = [
                _compress(StandardScaler().fit(block[train]).transform(block))
                for block in blocks
            ]
        for column, learner in enumerate(learners):
            own = scaled if learner.startswith("scaled") else plain
            predict = _ridge if learner.endswith("ridge") else _logistic
            guess = predict(own, targets, train, test)
            aucs[number, :, column] = [
                _auc(y, g) for y, g in zip(targets[test].T, guess.T, strict=True)
            ]
    return pd.DataFrame(np.nanmean(aucs, 0), index=list(traits), columns=list(learners))


def _check_features(features: Any, n_people: int) -> list[NDArray[np.float64]]:
    """Give the blocks of features, each of one finite row a person."""
    several = isinstance(features, list | tuple)
    blocks = [
        np.asarray(block, float) for block in (features if several else [features])
    ]
    for block in blocks:
        if block.ndim != 2 or len(block) != n_people or not np.isfinite(block).all():
            raise ValueError(
                f"Expected features as finite numbers, one row for each of {n_people} "
                f"people, got shape {block.shape}, of which "
                f"{np.count_nonzero(~np.isfinite(block))} are not finite."
            )
    return blocks


def _auc(y: NDArray, guess: NDArray) -> float:
    """Give the AUC; NaN where the test part has but one class."""
    return roc_auc_score(y, guess) if np.ptp(y) else np.nan


def _compress(block: NDArray) -> NDArray[np.float64]:
    """Turn more columns than people into as many as people, with the same kernel.

    Ridge and logistic regression see features through inner products alone, so that
    what they predict is the same.
    """
    if block.shape[1] <= len(block):
        return block
    values, vectors = np.linalg.eigh(block @ block.T)
    return vectors * np.sqrt(values.clip(min=0))


def _ridge(
    blocks: list[NDArray], targets: NDArray, train: NDArray, test: NDArray
) -> NDArray[np.float64]:
    """Predict all traits of the test part by ridge, shape (n_test, n_traits)."""
    x = np.hstack([_unit_trace(block, train) for block in blocks])
    model = RidgeCV(_ALPHAS, alpha_per_target=True)
    model.fit(x[train], 2.0 * targets[train] - 1)
    return model.predict(x[test]).reshape(len(test), -1)


def _logistic(
    blocks: list[NDArray], targets: NDArray, train: NDArray, test: NDArray
) -> NDArray[np.float64]:
    """Predict all traits of the test part by logistic regression."""
    x = np.hstack(blocks)
    guess = np.zeros((len(test), targets.shape[1]))
    for column, y in enumerate(targets[train].T):
        if np.ptp(y):
            model = LogisticRegression(max_iter=2000).fit(x[train], y)
            guess[:, column] = model.decision_function(x[test])
    return guess


def _unit_trace(block: NDArray, train: NDArray) -> NDArray[np.float64]:
    """Center, and scale all columns alike: the kernel's trace is the number of rows."""
    block = block - block[train].mean(0)
    total = np.sqrt(np.square(block[train]).sum(1).mean())
    return block / total if total else block


def panel_difference(
    first: Mapping[Any, pd.Series],
    second: Mapping[Any, pd.Series],
    *,
    level: float = 0.95,
    n_draws: int = 4000,
    random_state: int = 0,
) -> tuple[float, float, float]:
    """Give the mean difference of two feature sets, with an interval.

    Parameters
    ----------
    first, second : mapping of Series
        For each cohort the AUC by trait, of the same traits and cohorts.
    level : float
        Coverage of the interval.
    n_draws : int
        Draws of the bootstrap.
    random_state : int
        Its seed.

    Returns
    -------
    mean, low, high : float
        Of `first` less `second`. The interval is that of a bootstrap that draws traits
        and cohorts, each with replacement and apart from one another [1]_. With one
        cohort it holds for these people alone.

    Raises
    ------
    ValueError
        If traits or cohorts differ.

    References
    ----------
    .. [1] Owen AB (2007). The pigeonhole bootstrap. Ann Appl Stat 1:386-411.

    Examples
    --------
    >>> import pandas as pd
    >>> from panel import panel_difference
    >>> a = {1: pd.Series({"x": 0.7, "y": 0.8}), 2: pd.Series({"x": 0.7, "y": 0.6})}
    >>> b = {cohort: scores - 0.1 for cohort, scores in a.items()}
    >>> [round(value, 3) for value in panel_difference(a, b)]
    [0.1, 0.1, 0.1]
    """
    ours, theirs = pd.DataFrame(first), pd.DataFrame(second)
    if set(ours) != set(theirs) or set(ours.index) != set(theirs.index):
        raise ValueError(
            "Expected the same cohorts and traits in both, got cohorts "
            f"{list(ours)} and {list(theirs)}, {len(ours)} and {len(theirs)} traits."
        )
    differences = (ours - theirs).to_numpy()
    rng = np.random.default_rng(random_state)
    n_traits, n_cohorts = differences.shape
    rows = rng.integers(n_traits, size=(n_draws, n_traits, 1))
    columns = rng.integers(n_cohorts, size=(n_draws, 1, n_cohorts))
    means = differences[rows, columns].mean((1, 2))
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return float(differences.mean()), float(low), float(high)
