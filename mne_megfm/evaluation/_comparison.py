"""What a comparison found, and tables of what folds gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._folds import Fold
from ._intervals import corrected_interval, corrected_t_test, mean_and_interval
from ._metrics import (
    greater_is_better,
    is_defined,
    label_of,
    metrics_of,
    trivial_values,
)
from ._provenance import WeightsSeen
from ._running import FoldResult, Task
from ._samples import Samples
from ._verdicts import (
    BASELINE,
    FEW,
    NOT_TESTED,
    OVERLAP,
    PASSED,
    PERMUTED,
    RANDOM,
    Design,
    Gate,
    judge,
    listed_counts,
    no_overlap,
    not_tested,
    null_in_words,
    null_summary,
    permuted_labels,
    random_weights,
    strongest_baseline,
)

_NOTE = (
    "Intervals of means are the wider of those of folds and of participants; those of "
    "differences, and p-values, are of the corrected resampled t-test (Nadeau & Bengio "
    "2003), p-values not corrected for the number of pipelines. Not for diagnosis."
)


@dataclass(repr=False, kw_only=True)
class Results:
    """What `Comparison` and `LearningCurve` have in common; they say what each is."""

    folds: pd.DataFrame
    predictions: pd.DataFrame
    excluded: pd.DataFrame
    metrics: list[str]
    labels: dict[str, int]
    classes: list | None
    trivial: dict[str, float]

    @property
    def positive(self) -> Any:
        """The class that scores and sensitivity are about; None unless of two."""
        two = self.classes is not None and len(self.classes) == 2
        return self.classes[1] if two else None

    def label(self, metric: str | None = None) -> str:
        """Name a metric for people, with the class that it is of.

        Parameters
        ----------
        metric : str | None
            Which metric; None for the first.

        Returns
        -------
        label : str
            Such as "sensitivity (migraine)".

        Raises
        ------
        ValueError
            If the metric was not computed.
        """
        return label_of(self._metric(metric), self._classes)

    @property
    def _classes(self) -> NDArray | None:
        return None if self.classes is None else np.array(self.classes)

    def _metric(self, metric: str | None) -> str:
        metric = self.metrics[0] if metric is None else metric
        if metric not in self.metrics:
            raise ValueError(
                f"Expected a metric that was computed, one of {self.metrics}, got "
                f"{metric!r}."
            )
        return metric


@dataclass(repr=False, kw_only=True)
class Comparison(Results):
    """Results of `compare`.

    Attributes
    ----------
    folds : DataFrame
        One row a pipeline, fold and metric: ``pipeline``, ``repeat``, ``fold``,
        ``metric``, ``value``, ``n_train``, ``n_test``, and the participants in
        ``train`` and ``test``. A metric that is not defined on a fold (one class in
        its test participants) is NaN, is left out of means, and is named in the notes.
    predictions : DataFrame
        One row a pipeline, repeat and test participant: ``y_true``, ``y_pred``, and
        where there are any ``score``, ``proba`` (of the positive class), or
        ``proba_<class>`` with more than two classes.
    permutations : DataFrame
        Metrics with permuted labels: ``pipeline``, ``permutation``, ``metric``,
        ``value``.
    excluded : DataFrame
        What was left out: ``kind`` (participant, recording or pipeline), ``name``
        and ``reason``.
    provenance : dict
        From pipeline to what its weights had seen before and in ``fit``: a dict of
        all that is known, which shows the main things when printed. None for pipelines
        without weights.
    metrics : list of str
        Metrics; pipelines are judged by the first.
    reference : str
        The pipeline that others are tested against.
    labels : dict
        Participants of each class; of all, in regression.
    classes : list | None
        The classes, of two the positive one last; None for regression.
    trivial : dict
        From metric to what is reached without looking at features: the mean of the
        training participants, or the share of each class among them, for all.
    random_weights : DataFrame
        Results of the model, the first pretrained pipeline, with random weights:
        ``seed``, ``repeat``, ``fold``, ``metric`` and ``value``.
    confounds : DataFrame
        What the features of each pipeline reveal besides the labels: a row a ``target``
        and ``pipeline``. ``"array"`` (and ``"site"``, if sites are given): balanced
        accuracy (``value``) with a 95 % interval from ``low`` to ``high`` and its
        ``chance`` level, of the same classifier cross-validated over ``n``
        participants. ``"person"``: share of second halves of recordings, the nearest
        first half to which is of the same participant, with ``halves=True``. ``note``
        says of what it is, or why it was not tested.
    settings : dict
        Number of folds, cross-validation and seed, what pipelines hold that was fitted
        before, and which pipeline is the ``model`` and which are ``baselines`` for
        `gates`.

    See Also
    --------
    compare : Makes it.
    """

    permutations: pd.DataFrame
    provenance: dict
    reference: str
    random_weights: pd.DataFrame = field(default_factory=pd.DataFrame)
    confounds: pd.DataFrame = field(default_factory=pd.DataFrame)
    settings: dict = field(default_factory=dict)

    @property
    def pipelines(self) -> list[str]:
        """Names of the pipelines, in the order given."""
        return self.folds["pipeline"].unique().tolist()

    @property
    def n_participants(self) -> int:
        """How many participants were tested."""
        return self.predictions["participant"].nunique()

    def values(self, metric: str | None = None) -> pd.DataFrame:
        """Arrange the results of folds.

        Parameters
        ----------
        metric : str | None
            Which metric; None for the first.

        Returns
        -------
        values : DataFrame
            One row a fold, one column a pipeline.

        Raises
        ------
        ValueError
            If the metric was not computed.
        """
        table = self.folds[self.folds["metric"] == self._metric(metric)]
        table = table.pivot(
            index=["repeat", "fold"], columns="pipeline", values="value"
        )
        return table[self.pipelines]

    def summary(self, metric: str | None = None) -> pd.DataFrame:
        """Summarise pipelines, and test them against the reference.

        Parameters
        ----------
        metric : str | None
            Which metric; None for the first.

        Returns
        -------
        summary : DataFrame
            One row a pipeline: ``mean`` and ``sd`` over folds, a 95 % confidence
            interval from ``low`` to ``high``, the ``difference`` to the reference
            with its interval and ``p_value`` by the corrected resampled t-test, NaN
            where it cannot be tested; the range from ``null_low`` to ``null_high``
            that holds 95 % of results by chance; and, with permuted labels (else NaN),
            the mean ``permuted`` and the p-value ``p_permuted`` = (1 + k) / (1 + n),
            where k of the n permutations are no worse than the true labels. These are
            of the first repeat of the folds alone, and so is the mean that they are set
            beside, which ``mean`` is not. With fewer than 39 permutations the range is
            by the variance of each fold, for AUC, balanced accuracy and Pearson's r.

        Raises
        ------
        ValueError
            If the metric is not known.

        Notes
        -----
        The interval is the wider of that of the folds (`corrected_interval`) and one
        that comes from the number of participants, as described in
        `cross_validate_participants`.
        """
        metric = self._metric(metric)
        values = self.values(metric)
        ratio, n_repeats, _ = self._design()
        # differences that are rounding alone are none
        rounding = 1e-9 * values.abs().max(axis=None)
        rows = {}
        for name in self.pipelines:
            folds = self._part(self.folds, name, metric)
            predictions = self._part(self.predictions, name)
            row = mean_and_interval(folds, predictions, metric, self._classes)
            gain = values[name] - values[self.reference]
            gain = gain.mask(gain.abs() <= rounding, 0.0)
            row["difference"], row["difference_low"], row["difference_high"] = (
                corrected_interval(gain, ratio, n_repeats=n_repeats)
            )
            row["p_value"] = corrected_t_test(gain, ratio, n_repeats)[1]
            permuted = self._part(self.permutations, name, metric)["value"]
            row |= null_summary(metric, folds, predictions, self._classes, permuted)
            rows[name] = row
        return pd.DataFrame(rows).T.rename_axis("pipeline")

    def verdicts(self, metric: str | None = None) -> pd.Series:
        """Say in words which pipelines are distinguished from chance.

        Parameters
        ----------
        metric : str | None
            Which metric; None for the first.

        Returns
        -------
        verdicts : Series of str
            One for each pipeline: better or worse than chance, or too few participants
            to tell. With 19 permutations or more it is better if both the interval and
            the permutations say so.

        Raises
        ------
        ValueError
            If the metric is not known.
        """
        metric = self._metric(metric)
        chance = self.trivial.get(metric, np.nan)
        found = {}
        for name, row in self.summary(metric).iterrows():
            permuted = self._part(self.permutations, name, metric)
            found[name] = judge(
                metric, row["low"], row["high"], chance, self.labels,
                row.get("p_permuted", np.nan), len(permuted),
            )  # fmt: skip
        return pd.Series(found, dtype=object).rename_axis("pipeline")

    def gates(self, metric: str | None = None) -> pd.DataFrame:
        """Say what a result must pass before pretraining is said to have helped.

        The four gates are of the model, which is the first pretrained pipeline:

        - better than the strongest baseline, of hand-made features and of networks that
          the training folds alone train;
        - better than the same pipeline with random weights;
        - better than permuted labels;
        - no overlap of the participants with those of pretraining.

        Parameters
        ----------
        metric : str | None
            Which metric; None for the first.

        Returns
        -------
        gates : DataFrame
            One row a gate. ``result``: ``"passed"``, ``"not passed"`` or ``"not
            tested"``; ``gain``: by how much the model is better (of errors, how much
            smaller), with a 95 % interval from ``low`` to ``high``; ``participants``:
            how many it is of; ``reason``. A gate that was not computed is not tested:
            none is passed by default.

        Raises
        ------
        ValueError
            If the metric is not known.

        Notes
        -----
        *Strongest baseline.* None is picked: to be better than the strongest is to be
        better than each, and each is tested at the full level by the corrected
        resampled t-test (an intersection-union test [1]_). Where the model is no better
        than one baseline, the gate is passed in 2.5 % of cohorts at most, whatever the
        number of baselines. Hand-made measures of this package
        (``aggregation="measures"``) are among them.

        *Random weights.* The variance of the corrected resampled t-test and that among
        the draws of weights are added.

        *Permuted labels.* Passed if the p-value is 0.05 at most, and the interval of
        the mean does not hold what is reached without looking at features.

        *Overlap.* Passed if the weights saw simulated recordings alone, or training
        folds alone. Otherwise it is not known: checkpoints do not name participants.

        All four look at one cohort. Gates of several models are several tests.

        References
        ----------
        .. [1] Berger RL (1982). Multiparameter hypothesis testing and acceptance
           sampling. Technometrics 24:295-300. doi:10.1080/00401706.1982.10487790
        """
        metric = self._metric(metric)
        model = self.settings.get("model")
        if model is None:
            why = not_tested("there is no pretrained pipeline")
            found = dict.fromkeys((BASELINE, RANDOM, PERMUTED, OVERLAP), why)
        else:
            found = self._find_gates(metric, model)
        rows = {
            name: gate._asdict()
            | {"participants": 0 if gate.result == NOT_TESTED else self.n_participants}
            for name, gate in found.items()
        }
        columns = ["result", "gain", "low", "high", "participants", "reason"]
        return pd.DataFrame(rows).T[columns].infer_objects().rename_axis("gate")

    def _find_gates(self, metric: str, model: str) -> dict[str, Gate]:
        design = self._design()
        values = self.values(metric)
        sign = 1.0 if greater_is_better(metric) else -1.0
        # differences that are rounding alone are none
        rounding = 1e-9 * values.abs().max(axis=None)

        def gain(other: pd.Series) -> NDArray[np.float64]:
            found = sign * (values[model] - other)
            return found.mask(found.abs() <= rounding, 0.0).to_numpy()

        gains = {name: gain(values[name]) for name in self.settings["baselines"]}
        table = self.random_weights
        drawn = np.empty((0, len(values)))
        if len(table):
            table = table[table["metric"] == metric]
            by_seed = table.set_index(["repeat", "fold"]).groupby("seed")["value"]
            drawn = np.stack([gain(of_seed) for _, of_seed in by_seed])
        permuted = self._part(self.permutations, model, metric)
        return {
            BASELINE: strongest_baseline(gains, design),
            RANDOM: random_weights(drawn, design),
            PERMUTED: permuted_labels(
                self.summary(metric).loc[model],
                metric,
                self.trivial.get(metric, np.nan),
                len(permuted),
                design.few,
            ),
            OVERLAP: no_overlap(
                self.settings["seen_before"],
                self.settings.get("fitted_before", {}).get(model, []),
            ),
        }

    def _design(self) -> Design:
        """Say how folds are made, for intervals of differences."""
        ratio = float((self.folds["n_test"] / self.folds["n_train"]).mean())
        return Design(
            ratio, self.folds["repeat"].nunique(), min(self.labels.values()) < FEW
        )

    @staticmethod
    def _part(table: pd.DataFrame, name: str, metric: str | None = None) -> Any:
        table = table[table["pipeline"] == name]
        return table if metric is None else table[table["metric"] == metric]

    def __repr__(self) -> str:
        return "\n".join(
            [
                self._header(),
                self._main().to_string(),
                *self._gate_lines(),
                *self._confound_lines(),
                *self._notes(),
            ]
        )

    def _repr_html_(self) -> str:
        lines = [*self._gate_lines(), *self._confound_lines(), *self._notes()]
        notes = "".join(f"<p>{escape(line.strip())}</p>" for line in lines)
        table = self._main().to_html(float_format="{:.3f}".format)
        return f"<p><b>{escape(self._header())}</b></p>{table}{notes}"

    def _gate_lines(self) -> list[str]:
        """Give the gates, a line each."""
        model = self.settings.get("model")
        if model is None:
            return ["Gates: not tested, since there is no pretrained pipeline."]
        gates = self.gates()
        passed = (gates["result"] == PASSED).sum()
        mean = self.values()[model].mean()
        head = (
            f"Gates of {model}, by {self.label()} ({mean:.3f}): {passed} of "
            f"{len(gates)} passed."
        )
        return [head] + [
            f"  {name}: {gate['result'].upper()}. {gate['reason']}."
            for name, gate in gates.iterrows()
        ]

    def _confound_lines(self) -> list[str]:
        """Give what features reveal besides the labels, a line for each target."""
        if not self._has_confounds():
            return []
        lines = ["What else can be read from the features:"]
        for target, rows in self.confounds.groupby("target", sort=False):
            known = rows[rows["value"].notna()]
            if not len(known):
                lines.append(f"  {target}: {rows['note'].iloc[0]}.")
                continue
            measure = "share found again" if target == "person" else "balanced accuracy"
            values = ", ".join(
                f"{row.pipeline} {row.value:.2f}" for row in known.itertuples()
            )
            chance = known["chance"].iloc[0]
            lines.append(f"  {target} ({measure}, chance {chance:.2f}): {values}.")
        return lines

    def _has_confounds(self) -> bool:
        """Find whether there was anything to read beside the labels."""
        return len(self.confounds) > 0 and self.confounds["value"].notna().any()

    def _header(self) -> str:
        text = (
            f"Comparison of {len(self.pipelines)} pipelines by {self.label()}, "
            f"{self.n_participants} participants"
        )
        if self.classes is not None:
            text += f" ({listed_counts(self.labels)})"
        if self.positive is not None:
            text += f", positive class: {self.positive}"
        return f"{text}, {self.settings['n_folds']} folds"

    def _main(self) -> pd.DataFrame:
        """Summary of the first metric, and means of the others."""
        table = self.summary()
        for metric in self.metrics[1:]:
            table[self.label(metric)] = self.values(metric).mean()
        return table.round(3)

    def _notes(self, *, with_weights: bool = True) -> list[str]:
        notes = [self._judged(), f"Reference: {self.reference}. {_NOTE}"]
        if len(self.permutations):
            n, more = self._n_permutations()
            n_folds = (self.values().index.get_level_values("repeat") == 0).sum()
            notes.append(
                f"Permuted labels: {n} times{more}, on the first repeat alone "
                f"({n_folds} of {self.settings['n_folds']} folds); p_permuted = "
                f"(1 + k) / (1 + {n}), where k are no worse, is {1 / (n + 1):.2g} at "
                "least."
            )
        n, _ = self._n_permutations()
        notes.append(null_in_words(self.metrics[0], n))
        notes += self._undefined()
        for name, found in self.settings.get("fitted_before", {}).items():
            notes.append(
                f"{name} holds {', '.join(found)} fitted before the comparison, "
                "perhaps on test participants."
            )
        if len(self.excluded):
            listed = "; ".join(
                f"{row.kind} {row.name_}: {row.reason}"
                for row in self.excluded.rename(columns={"name": "name_"}).itertuples()
            )
            notes.append(f"Left out: {listed}.")
        for name, seen in self.provenance.items():
            if seen and with_weights:
                notes.append(f"Weights of {name} had seen: {seen!r}")
        return notes

    def _n_permutations(self) -> tuple[int, str]:
        """Count permutations; of the model there may be more, for its gate."""
        counts = self.permutations.groupby("pipeline")["permutation"].nunique()
        fewest = 0 if counts.empty else int(counts.min())
        more = counts[counts > fewest]
        listed = ", ".join(f"{name} {n} times" for name, n in more.items())
        return fewest, f" ({listed})" if listed else ""

    def _seen_table(self) -> pd.DataFrame:
        """List what weights had seen, those of pipelines that share them once."""
        pipelines: dict[str, list[str]] = {}
        for name, seen in self.provenance.items():
            for part in WeightsSeen(seen or {}).parts():
                pipelines.setdefault(part, []).append(name)
        rows = [(", ".join(names), part) for part, names in pipelines.items()]
        return pd.DataFrame(rows, columns=["weights of", "had seen"])

    def _judged(self) -> str:
        """Put pipelines with the same verdict together."""
        found = self.verdicts()
        texts = [
            f"{', '.join(part.index)}: {verdict}"
            for verdict, part in found.groupby(found, sort=False)
        ]
        return f"By {self.label()}: {'; '.join(texts)}."

    def _undefined(self) -> list[str]:
        """Say which metrics have no value on some folds, for their participants."""
        notes = []
        truth = self.predictions[self.predictions["pipeline"] == self.pipelines[0]]
        folds = [part["y_true"] for _, part in truth.groupby(["repeat", "fold"])]
        classes = self._classes
        known = metrics_of(0 if classes is None else len(classes))
        for name in self.metrics:
            metric = known.get(name)
            if metric is None:  # a scorer says so itself
                continue
            n = sum(not is_defined(metric, y.to_numpy(), classes) for y in folds)
            mean = "its mean is over the others" if n < len(folds) else "it has no mean"
            if n:
                notes.append(
                    f"{self.label(name)} is not defined on {n} of {len(folds)} folds "
                    "(a class is missing among their test participants, or there is "
                    f"one alone); {mean}."
                )
        return notes


# -- tables of what folds gave ---------------------------------------------------------
def fold_table(
    tasks: Sequence[Task], results: Sequence[list[FoldResult]], samples: Samples
) -> pd.DataFrame:
    """One row a pipeline, fold and metric."""
    rows = []
    for task, found in zip(tasks, results, strict=True):
        for result in found:
            fold = result.fold
            shared = {
                "n_train": len(fold.train),
                "n_test": len(fold.test),
                "train": tuple(samples.names[fold.train].tolist()),
                "test": tuple(samples.names[fold.test].tolist()),
            }
            for metric, value in result.values.items():
                rows.append(
                    {
                        "pipeline": task.name,
                        "repeat": fold.repeat,
                        "fold": fold.number,
                        "metric": metric,
                        "value": value,
                        **shared,
                    }
                )
    return pd.DataFrame(rows)


def prediction_table(
    tasks: Sequence[Task], results: Sequence[list[FoldResult]], samples: Samples
) -> pd.DataFrame:
    """One row a pipeline, repeat and test participant."""
    tables = []
    for task, found in zip(tasks, results, strict=True):
        for result in found:
            fold, predictions = result.fold, result.predictions
            columns = {
                "pipeline": task.name,
                "participant": samples.names[fold.test],
                "repeat": fold.repeat,
                "fold": fold.number,
                "y_true": predictions.y,
                "y_pred": predictions.label,
            }
            if task.classes is not None and len(task.classes) == 2:
                columns["score"] = predictions.score
                if predictions.proba is not None:
                    columns["proba"] = predictions.proba[:, 1]
            elif predictions.proba is not None:
                for column, label in enumerate(predictions.classes):
                    columns[f"proba_{label}"] = predictions.proba[:, column]
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def permutation_table(
    tasks: Sequence[Task], results: Sequence[list[FoldResult]]
) -> pd.DataFrame:
    """One row a pipeline, permutation and metric, averaged over folds.

    Tasks of a pipeline are in the order of permutations.
    """
    rows, counts = [], Counter()
    for task, found in zip(tasks, results, strict=True):
        for metric in task.metrics:
            rows.append(
                {
                    "pipeline": task.name,
                    "permutation": counts[task.name],
                    "metric": metric,
                    "value": _mean([result.values[metric] for result in found]),
                }
            )
        counts[task.name] += 1
    return pd.DataFrame(rows, columns=["pipeline", "permutation", "metric", "value"])


def trivial_table(
    y: NDArray, folds: Sequence[Fold], classes: NDArray | None
) -> dict[str, float]:
    """Average over folds what is reached without looking at features."""
    found = [trivial_values(y, fold.train, fold.test, classes) for fold in folds]
    return {name: _mean([values[name] for values in found]) for name in found[0]}


def count_participants(
    names: NDArray, y: NDArray, classes: NDArray | None
) -> dict[str, int]:
    """Count participants of each class, or of all in regression."""
    if classes is None:
        return {"participants": len(np.unique(names))}
    return {str(label): len(np.unique(names[y == label])) for label in sorted(classes)}


def _mean(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def random_table(
    by_fold: pd.DataFrame, same: Mapping[int, str | None], others: pd.DataFrame
) -> pd.DataFrame:
    """Put the results of random weights together, a row a seed, fold and metric.

    Parameters
    ----------
    by_fold : DataFrame
        Results of the pipelines that are compared.
    same : dict
        From seed to the name of a pipeline among these that is the same, or None.
    others : DataFrame
        Results of the rest, with seeds as names.
    """
    parts = [
        by_fold[by_fold["pipeline"] == name].assign(pipeline=seed)
        for seed, name in same.items()
        if name is not None
    ]
    columns = ["pipeline", "repeat", "fold", "metric", "value"]
    parts += [others] if len(others) else []
    table = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    table = table[columns].rename(columns={"pipeline": "seed"})
    return table.reset_index(drop=True)
