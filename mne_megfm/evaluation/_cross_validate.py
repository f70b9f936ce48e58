"""How well an estimator does on the features of held-out participants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, is_regressor

from ..inputs import checked_once
from ..utils.logs import verbose
from ..utils.validation import as_labels, check_groups, find_missing, listed
from ._folds import (
    check_count,
    permute_labels,
    repeated_folds,
    split_participants,
)
from ._intervals import mean_and_interval
from ._metrics import Scoring, find_metrics, label_of, order_classes, undefined
from ._pipelines import fewest_in_training
from ._running import Task, parallel, run
from ._samples import Samples
from ._tables import (
    count_participants,
    fold_table,
    permutation_table,
    prediction_table,
    trivial_table,
)
from ._verdicts import (
    FOR_A_RANGE,
    judge,
    listed_counts,
    null_in_words,
    null_summary,
)


@dataclass(repr=False)
class ParticipantScores:
    """Results of `cross_validate_participants`; printed, they are a few lines.

    Attributes
    ----------
    table : DataFrame
        One row a metric: ``mean`` and ``sd`` over folds, a 95 % confidence interval
        from ``low`` to ``high``, ``trivial``: what is reached without looking at
        features; from permuted labels the ``permuted`` mean and ``p_permuted``; and the
        range from ``null_low`` to ``null_high`` that holds 95 % of results by chance:
        of the permutations or, with fewer than 39, by the variance of each fold (AUC,
        balanced accuracy, Pearson's r).
    labels : dict
        Participants of each class; of all, in regression.
    positive : object
        The class that scores and sensitivity are about; None for regression and for
        several classes.
    folds : DataFrame
        One row a fold and metric, as in `Comparison`.
    predictions : DataFrame
        One row a repeat and participant, by models that had not seen them: ``y_true``,
        ``y_pred``, and of two classes ``score`` and ``proba`` of the positive one.
    permutations : DataFrame
        One row a permutation and metric.
    settings : dict
        Numbers of folds, repeats and permutations, and the seed.

    See Also
    --------
    cross_validate_participants : Makes it.
    """

    table: pd.DataFrame
    labels: dict[str, int]
    positive: Any
    folds: pd.DataFrame
    predictions: pd.DataFrame
    permutations: pd.DataFrame
    settings: dict

    @property
    def verdict(self) -> str:
        """Whether the first metric is distinguished from chance, in words."""
        name = self.table.index[0]
        row = self.table.iloc[0]
        return judge(
            name, row["low"], row["high"], row["trivial"], self.labels,
            row["p_permuted"], self.settings["n_permutations"],
        )  # fmt: skip

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head, *_, last = self._lines()
        table = self.table.to_html(float_format="{:.3f}".format)
        return f"<p>{head}</p>{table}<p>{last}</p>"

    def _lines(self) -> list[str]:
        settings = self.settings
        n = self.predictions["participant"].nunique()
        regress = self.positive is None and list(self.labels) == ["participants"]
        head = f"{n} participants"
        head += "" if regress else f" ({listed_counts(self.labels)})"
        head += f", {settings['n_folds']} folds over them"
        if settings["n_repeats"] > 1:
            head += f", {settings['n_repeats']} times"
        head += f", seed {settings['random_state']}"
        if self.positive is not None:
            head += f", positive class: {self.positive}"
        lines = [f"{head}:"]
        for name, row in self.table.iterrows():
            line = f"  {settings['names'][name]}: {row['mean']:.3f}"
            if np.isnan(row["mean"]):
                line += f" ({undefined(name)})"
            elif np.isnan(row["low"]):
                line += ", no interval"
            else:
                line += f", 95 % interval {row['low']:.3f} to {row['high']:.3f}"
            n = settings["n_permutations"]
            if not np.isnan(row["null_low"]):
                by = f"{n} permutations" if n >= FOR_A_RANGE else "chance"
                line += f"; {by} {row['null_low']:.3f} to {row['null_high']:.3f}"
            elif not np.isnan(row["trivial"]):
                line += f"; chance {row['trivial']:.3f}"
            if not np.isnan(row["p_permuted"]):
                line += f", p = {row['p_permuted']:.2g} of {n} permutations"
            if regress and not np.isnan(row["trivial"]):
                line += f"; the mean of others has {row['trivial']:.3f}"
            lines.append(line)
        lines.append(null_in_words(self.table.index[0], settings["n_permutations"]))
        name = settings["names"][self.table.index[0]]
        lines.append(f"By {name}: {self.verdict}.")
        return lines


@checked_once()
@verbose
def cross_validate_participants(
    estimator: BaseEstimator,
    X: ArrayLike | pd.DataFrame,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    names: Sequence | None = None,
    cv: Any = 5,
    n_repeats: int = 4,
    positive: Any = None,
    scoring: Scoring | None = None,
    n_permutations: int = 100,
    n_jobs: int | None = None,
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> ParticipantScores:
    """Say how well an estimator does on participants that it was not fitted on.

    Parameters
    ----------
    estimator : estimator
        A classifier or regressor, or a pipeline that ends with one. It is cloned.
    X : array-like | DataFrame, shape (n_participants, n_features)
        Features.
    y : array-like, shape (n_participants,)
        Labels, or numbers to predict.
    groups : array-like, shape (n_participants,) | None
        Name of the participant of each row, where some have several; those stay
        together.
    names : list of str | None
        Names of the participants, for the predictions. None takes ``groups``, or the
        index of a DataFrame, or else positions.
    cv : int | splitter | iterable
        Folds, of classes stratified; or a splitter of scikit-learn, or pairs of
        positions for training and test.
    n_repeats : int
        How often an integer ``cv`` is repeated, with other folds.
    positive : object
        Of two classes the one that scores, sensitivity and probabilities are about.
        None takes that of a :class:`~mne_megfm.MEGFMClassifier`, or else the last of
        the sorted labels.
    scoring : str | callable | list | dict | None
        Metrics as in `compare`, the first of which the verdict is about; None for all.
    n_permutations : int
        How often labels are permuted among participants, on the first repeat of the
        folds alone, beside which the true labels on that repeat are set.
    n_jobs : int | None
        Processes, as joblib has it.
    random_state : int
        Seed of folds and permutations.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`; ``"warning"`` shows no progress bars.

    Returns
    -------
    scores : ParticipantScores
        Values with their intervals, what permuted labels give, and a verdict.

    Raises
    ------
    ValueError
        If lengths differ, labels are missing or of one class, there are fewer
        participants of a class than folds (or fewer than two in training, where a head
        chooses its regularisation), or ``positive`` is no label.

    See Also
    --------
    compare : Several pipelines, on recordings.

    Notes
    -----
    Values are means over folds. The interval is the wider of two: that of the folds
    (`corrected_interval`), and one that comes from the number of participants, enlarged
    because participants of different folds train each other's models. In simulations
    with 10, 24 and 100 participants, 95 %% intervals of an AUC had the true value in 93
    to 100 %% of data sets.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from mne_megfm.evaluation import cross_validate_participants
    >>> X = np.random.default_rng(0).standard_normal((12, 3))
    >>> y = np.repeat(["control", "migraine"], 6)
    >>> scores = cross_validate_participants(LogisticRegression(), X, y, cv=3)
    >>> scores.labels
    {'control': 6, 'migraine': 6}
    >>> scores.verdict
    'too few participants to tell: the interval contains 0.5 (chance)'
    """
    check_count(n_permutations)
    X = X if isinstance(X, pd.DataFrame) else np.asarray(X)
    samples = _as_samples(X, y, groups, names)
    classify = not is_regressor(estimator)
    classes = order_classes(samples.y, positive, [estimator]) if classify else None
    if positive is not None and not classify:
        raise ValueError(
            f"Expected positive=None with a regressor, got {positive!r}; leave it out."
        )
    metrics = find_metrics(scoring, classes)
    if isinstance(cv, Integral):
        cv = repeated_folds(samples, classify, int(cv), n_repeats, random_state)
    elif not hasattr(cv, "split"):
        cv = list(cv)
    fewest = fewest_in_training([estimator])
    folds = split_participants(samples, samples.y, cv, classify, fewest)

    def task(y: NDArray, folds: list) -> Task:
        return Task(
            "estimator", estimator, None, X, y, samples.groups, folds, metrics, classes
        )

    work = [task(samples.y, folds)]
    states = [{""}] * len(samples)
    for number in range(n_permutations):
        rng = np.random.default_rng([random_state, number])
        work.append(task(*permute_labels(samples, states, cv, classify, rng, fewest)))
    calls = (joblib.delayed(run)(one) for one in work)
    found = parallel(calls, len(work), n_jobs, "Fitting")
    by_fold = fold_table(work[:1], found[:1], samples)
    predictions = prediction_table(work[:1], found[:1], samples)
    permutations = permutation_table(work[1:], found[1:])
    trivial = trivial_table(samples.y, folds, classes)
    rows = {}
    for name in metrics:
        part = by_fold[by_fold["metric"] == name]
        null = permutations[permutations["metric"] == name]
        rows[name] = {
            **mean_and_interval(part, predictions, name, classes),
            "trivial": trivial.get(name, np.nan),
            **null_summary(name, part, predictions, classes, null["value"]),
        }
    n_first = sum(fold.repeat == 0 for fold in folds)
    return ParticipantScores(
        table=pd.DataFrame(rows).T.rename_axis("metric"),
        labels=count_participants(samples.names, samples.y, classes),
        positive=classes[1] if classify and len(classes) == 2 else None,
        folds=by_fold.drop(columns="pipeline"),
        predictions=predictions.drop(columns="pipeline"),
        permutations=permutations.drop(columns="pipeline"),
        settings={
            "n_folds": n_first,
            "n_repeats": len(folds) // n_first,
            "n_permutations": n_permutations,
            "random_state": random_state,
            "names": {name: label_of(name, classes) for name in metrics},
        },
    )


def _as_samples(X: Any, y: Any, groups: Any, names: Any) -> Samples:
    """Check rows of features, labels and names."""
    n = len(X)
    if np.ndim(X) != 2:
        raise ValueError(
            "Expected X of shape (n_participants, n_features), got shape "
            f"{np.shape(X)}; give one row for each participant."
        )
    if names is None:
        index = X.index if isinstance(X, pd.DataFrame) else range(n)
        names = index if groups is None else groups
    for what, values in (("y", y), ("names", names)):
        if np.ndim(values) != 1 or len(values) != n:
            raise ValueError(
                f"Expected {what} with one value a participant ({n}), got shape "
                f"{np.shape(values)}; give one for each, in the order of X."
            )
        missing = find_missing(values)
        if len(missing):
            raise ValueError(
                f"Expected {what} without missing values, got none (NaN) for "
                f"{listed(missing)}; leave these participants out."
            )
    numbers = None if groups is None else check_groups(groups, n, "participant")
    y = np.array(as_labels(y).tolist())
    names = np.array(np.asarray(names).tolist())
    if groups is None and len(np.unique(names)) < n:
        raise ValueError(
            "Expected one row for each participant, got names that are there twice; "
            "pass them as groups, which stay together."
        )
    return Samples(list(range(n)), y, names, numbers, None, [], n, list(range(n)))
