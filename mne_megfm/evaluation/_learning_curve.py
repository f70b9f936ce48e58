"""Results against the number of labelled participants."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, is_regressor

from ..inputs import as_recordings, checked_once
from ..utils.logs import verbose
from ._comparison import Results
from ._confounds import arrays_of
from ._folds import (
    Fold,
    by_repeat,
    choose_cv,
    exclude_rare_states,
    split_participants,
)
from ._intervals import mean_and_interval
from ._known_confounds import (
    ALONE,
    add_always_known,
    alone_pipeline,
    check_confounds,
    check_residualised,
)
from ._metrics import Scoring, choose_classes, find_metrics
from ._pipelines import applicable, choose_pipelines, fewest_in_training
from ._running import Task, extract, make_task, parallel, run
from ._samples import Samples, gather
from ._tables import (
    count_participants,
    fold_table,
    prediction_table,
    trivial_table,
)
from ._verdicts import judge, listed_counts, null_in_words, null_summary


@dataclass(repr=False)
class LearningCurve(Results):
    """Results of `learning_curve`.

    Attributes
    ----------
    folds : DataFrame
        One row a pipeline, size, fold and metric, as in `Comparison`, with ``size``:
        the share of the training participants whose labels were used.
    predictions : DataFrame
        One row a pipeline, size, repeat and test participant, as in `Comparison`.
    excluded : DataFrame
        What was left out: ``kind``, ``name`` and ``reason``.
    metrics : list of str
        The metrics.
    labels : dict
        Participants of each class; of all, in regression.
    classes : list | None
        The classes, of two the positive one last; None for regression.
    trivial : dict
        From metric to what is reached without looking at features, with all labels.
    residualised : list of str
        For which confounds features were residualised.

    See Also
    --------
    learning_curve : Makes it.
    """

    residualised: list[str] = field(default_factory=list)

    def summary(self, metric: str | None = None) -> pd.DataFrame:
        """Summarise each pipeline at each size.

        Parameters
        ----------
        metric : str | None
            Which metric; None for the first.

        Returns
        -------
        summary : DataFrame
            One row a pipeline and size: mean number of training participants
            ``n_train``, ``mean`` and ``sd`` over folds, a 95 % confidence interval
            from ``low`` to ``high``, as in `Comparison.summary`, the range from
            ``null_low`` to ``null_high`` that holds 95 % of results by chance, and the
            ``verdict``: whether the mean is distinguished from chance. The range is by
            the variance of each fold (AUC, balanced accuracy, Pearson's r; NaN for
            others), as labels are not permuted here. Of few training participants the
            interval is wide, since they are less alike from fold to fold.

        Raises
        ------
        ValueError
            If the metric was not computed.
        """
        metric = self._metric(metric)
        chance = self.trivial.get(metric, np.nan)
        rows = []
        table = self.folds[self.folds["metric"] == metric]
        tested = dict(iter(self.predictions.groupby(["pipeline", "size"], sort=False)))
        for (name, size), part in table.groupby(["pipeline", "size"], sort=False):
            found = mean_and_interval(part, tested[name, size], metric, self._classes)
            row = {"pipeline": name, "size": size, "n_train": part["n_train"].mean()}
            row |= found
            null = null_summary(
                metric, part, tested[name, size], self._classes, share=size
            )
            row |= {key: null[key] for key in ("null_low", "null_high")}
            row["verdict"] = judge(
                metric, found["low"], found["high"], chance, self.labels
            )
            rows.append(row)
        return pd.DataFrame(rows).set_index(["pipeline", "size"])

    def _header(self) -> str:
        text = f"{self.label()} by number of labelled participants"
        text += f"; tested on {listed_counts(self.labels)}"
        if self.positive is not None:
            text += f"; positive class: {self.positive}"
        if self.residualised:
            text += f"; features without {', '.join(self.residualised)}"
        return text

    def __repr__(self) -> str:
        table = self.summary().round(3)
        return f"{self._header()}\n{table.drop(columns='verdict').to_string()}\n" + (
            "\n".join(self._notes())
        )

    def _repr_html_(self) -> str:
        table = self.summary().to_html(float_format="{:.3f}".format)
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        return f"<p>{escape(self._header())}</p>{table}{notes}"

    def _notes(self) -> list[str]:
        """Say with how many labels each pipeline is better than chance."""
        notes = [null_in_words(self.metrics[0], 0)]
        for name, part in self.summary().groupby("pipeline", sort=False):
            better = part["verdict"].str.startswith("better than chance")
            if better.all():
                notes.append(f"{name}: better than chance at all sizes.")
            elif better.any():
                n = ", ".join(f"{n:g}" for n in part["n_train"][better])
                notes.append(f"{name}: better than chance with {n} labelled alone.")
            else:
                notes.append(f"{name}: {part['verdict'].iloc[-1]}.")
        return notes


@checked_once()
@verbose
def learning_curve(
    X: Any,
    y: Any,
    pipelines: Mapping[str, BaseEstimator] | None = None,
    *,
    train_sizes: Sequence[float] = (0.25, 0.5, 0.75, 1.0),
    groups: Any = None,
    names: Sequence | None = None,
    sites: Any = None,
    confounds: Any = None,
    cv: Any = None,
    scoring: Scoring | None = None,
    positive: Any = None,
    n_jobs: int | None = None,
    memory: str | joblib.Memory | None = None,
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> LearningCurve:
    """Compare pipelines that are given the labels of fewer participants.

    Parameters
    ----------
    X : list of dict | list of Epochs | Epochs
        The participants, as in `compare`.
    y : array-like, shape (n_participants,)
        Labels, or numbers to predict.
    pipelines : dict | None
        From name to pipeline; None for those of `default_pipelines`.
    train_sizes : sequence of float
        Shares of the training participants of each fold, above 0 and at most 1.
    groups, names, sites : object
        As in `compare`.
    confounds : DataFrame | dict | None
        As in `compare`: features of all pipelines are without what is linear in these,
        and a pipeline ``"confounds alone"`` is added. At each size, this is learnt from
        the participants of that size.
    cv, scoring, positive : object
        As in `compare`.
    n_jobs : int | None
        Processes, as joblib has it.
    memory : path-like | joblib.Memory | None
        Where what frozen weights extract from each participant is kept on disk.
    random_state : int
        Seed of folds, subsets and default pipelines.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`; ``"warning"`` shows no progress bars.

    Returns
    -------
    curve : LearningCurve
        Results of folds, and a summary by size.

    Raises
    ------
    ValueError
        If a size leaves fewer than two participants of a class to learn from, no
        participant with the only state of a test participant, or no more participants
        than columns of confounds, and as in `compare`.

    See Also
    --------
    compare : All labels, with tests.

    Notes
    -----
    Test participants of a fold are the same at every size. Smaller training sets are
    parts of larger ones, in which classes keep their proportions. What confounds
    explain is fitted again at each size, as all else is.

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.evaluation import default_pipelines, learning_curve
    >>> cohort = simulate_cohort(
    ...     12, states=("auditory",), arrays=("opm64",), n_epochs=6, random_state=0
    ... )
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> pipelines = {"dynamics": default_pipelines()["trial dynamics"]}
    >>> curve = learning_curve(X, cohort.labels, pipelines, train_sizes=(0.5, 1), cv=3)
    >>> curve.summary()["n_train"].to_list()
    [4.0, 8.0]
    """
    sizes = _check_sizes(train_sizes)
    samples = gather(X, y, groups, sites, names)
    if confounds is not None:
        confounds = check_confounds(confounds, X, groups, names)
    chosen = choose_pipelines(pipelines, samples.y, random_state)
    classify = not is_regressor(next(iter(chosen.values())))
    classes = choose_classes(samples.y, positive, pipelines, classify)
    metrics = find_metrics(scoring, classes)
    cv = choose_cv(cv, samples, classify, random_state)
    fewest = fewest_in_training(chosen.values())
    folds = split_participants(samples, samples.y, cv, classify, fewest)
    subsets = {
        size: _subsets(folds, size, samples, classify, random_state) for size in sizes
    }
    exclude_rare_states(samples, itertools.chain(*subsets.values()))
    known = removed = None
    if confounds is not None:
        recordings = as_recordings(samples.X, verbose="error")
        known = add_always_known(
            confounds, samples, arrays_of(recordings), recordings.rows_per_element
        )
        removed = known[list(confounds)]
        fewest_of_all = itertools.chain(*subsets.values())
        chosen = check_residualised(chosen, removed, fewest_of_all, samples)
    frozen = extract(samples, chosen.values(), n_jobs, memory)
    if pipelines is None:
        chosen = applicable(chosen, frozen, samples)
    work = [
        (
            size,
            make_task(
                name,
                pipeline,
                frozen,
                samples,
                samples.y,
                part,
                metrics,
                classes,
                removed,
            ),
        )
        for name, pipeline in chosen.items()
        for size in sizes
        for part in by_repeat(subsets[size])
    ]
    if known is not None:
        alone = alone_pipeline(known, classify)
        work += [
            (
                size,
                Task(
                    ALONE,
                    alone,
                    None,
                    known,
                    samples.y,
                    samples.groups,
                    part,
                    metrics,
                    classes,
                ),
            )
            for size in sizes
            for part in by_repeat(subsets[size])
        ]
    results = parallel(
        (joblib.delayed(run)(task) for _, task in work),
        len(work),
        n_jobs,
        "Fitting",
    )

    def by_size(table: Callable) -> pd.DataFrame:
        tables = [
            table([task], [found], samples).assign(size=size)
            for (size, task), found in zip(work, results, strict=True)
        ]
        return pd.concat(tables, ignore_index=True)

    return LearningCurve(
        folds=by_size(fold_table),
        predictions=by_size(prediction_table),
        excluded=samples.excluded_table(),
        metrics=list(metrics),
        labels=count_participants(samples.names, samples.y, classes),
        classes=None if classes is None else classes.tolist(),
        trivial=trivial_table(samples.y, folds, classes),
        residualised=[] if removed is None else list(removed),
    )


def _check_sizes(train_sizes: Sequence[float]) -> list[float]:
    sizes = sorted({float(size) for size in train_sizes})
    if not sizes or not all(0.0 < size <= 1.0 for size in sizes):
        raise ValueError(
            "Expected train_sizes as shares of the training participants, above 0 and "
            f"at most 1, got {train_sizes!r}."
        )
    return sizes


def _subsets(
    folds: list[Fold], size: float, samples: Samples, classify: bool, seed: int
) -> list[Fold]:
    """Keep a share of each fold's training participants."""
    out = []
    for number, fold in enumerate(folds):
        order = _nested_order(samples, fold.train, classify, [seed, number])
        kept = order[: max(round(size * len(order)), 1)]
        train = fold.train[np.isin(samples.names[fold.train], kept)]
        if classify:
            labels, counts = np.unique(samples.y[train], return_counts=True)
            if len(labels) < len(np.unique(samples.y)) or counts.min() < 2:
                found = dict(zip(labels.tolist(), counts.tolist(), strict=True))
                raise ValueError(
                    "Expected two participants of each class at least to learn from, "
                    f"got {found} with train_sizes={size:g}; leave out that size."
                )
        out.append(fold._replace(train=train))
    return out


def _nested_order(
    samples: Samples, train: NDArray[np.intp], classify: bool, seed: list[int]
) -> NDArray:
    """Shuffle participants so that classes have their share in each beginning."""
    names, first = np.unique(samples.names[train], return_index=True)
    # in the order of X, so that results do not depend on how participants are called
    first = np.sort(first)
    names = samples.names[train][first]
    labels = samples.y[train][first] if classify else np.zeros(len(names))
    rng = np.random.default_rng(seed)
    place = rng.permutation(len(names)).astype(float)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        place[mine] = (place[mine].argsort().argsort() + 0.5) / len(mine)
    return names[np.argsort(place, kind="stable")]
