"""What a comparison found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._clinical import (
    confusion_table,
    net_benefit_table,
    operating_table,
    person_probabilities,
)
from ._intervals import corrected_interval, corrected_t_test, mean_and_interval
from ._metrics import (
    greater_is_better,
    is_defined,
    label_of,
    metrics_of,
)
from ._provenance import WeightsSeen
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
    confound_scores : DataFrame
        How well each known confound alone distinguishes the groups: array, trials,
        site, and what was given as ``confounds``; one row for each ``confound``, with
        its ``kind``, and ``value``, 95 % interval (``low``, ``high``) and ``chance`` of
        a ``metric`` (AUC; Pearson's r of regression) over the same folds, of ``n``
        participants of whom it is known.
    confound_groups : DataFrame
        The same by group: ``n``, ``mean`` and ``sd`` of numbers; of categories ``n``
        and ``share`` of each ``level``.
    settings : dict
        Number of folds, cross-validation and seed, what pipelines hold that was fitted
        before, which pipeline is the ``model`` and which are ``baselines`` for `gates`,
        and for which confounds features were ``residualised``.

    See Also
    --------
    compare : Makes it.
    """

    permutations: pd.DataFrame
    provenance: dict
    reference: str
    random_weights: pd.DataFrame = field(default_factory=pd.DataFrame)
    confounds: pd.DataFrame = field(default_factory=pd.DataFrame)
    confound_scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    confound_groups: pd.DataFrame = field(default_factory=pd.DataFrame)
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

    # -- decisions at a threshold --
    def confusion(
        self, pipeline: str | None = None, threshold: float = 0.5
    ) -> pd.DataFrame:
        """Count people by their class and by what is said of them.

        Parameters
        ----------
        pipeline : str | None
            Which pipeline; None for the model (the first pretrained one), or the first.
        threshold : float
            People whose probability is as high or higher are said to be of the positive
            class.

        Returns
        -------
        counts : DataFrame, shape (2, 2)
            People: rows by their class (``true``), columns by what is said
            (``predicted``), the positive class last.

        Raises
        ------
        ValueError
            If there is no such pipeline, it gives no probabilities of two classes, or
            the threshold is not between 0 and 1.

        Notes
        -----
        A person counts once, by the mean of the probabilities of all repeats (and of
        sessions), which are of models that had not seen this person. A threshold that
        was chosen by looking at these counts is optimistic: see `operating_points`.

        Examples
        --------
        >>> result.confusion(threshold=0.3)  # doctest: +SKIP
        """
        name, predictions = self._probabilities(pipeline)
        people = person_probabilities(predictions, name)
        return confusion_table(people, self.classes, threshold)

    def operating_points(
        self,
        pipeline: str | None = None,
        sensitivity: float | Sequence[float] = (0.8, 0.9),
        *,
        prevalence: float | None = None,
    ) -> pd.DataFrame:
        """Give the specificity at some sensitivities, with thresholds of other folds.

        Parameters
        ----------
        pipeline : str | None
            Which pipeline; None for the model (the first pretrained one), or the first.
        sensitivity : float | sequence of float
            Sensitivities to aim at.
        prevalence : float | None
            Share of the positive class among those who will be examined, for the
            predictive values. None for that of these participants, which is seldom
            that of a clinic.

        Returns
        -------
        points : DataFrame
            One row for each sensitivity aimed at (``target_sensitivity``): the mean
            ``threshold`` and its standard deviation over folds, ``sensitivity`` and
            ``specificity`` that were reached, with 95 % intervals (``_low``,
            ``_high``), positive and negative predictive values (``ppv``, ``npv``), and
            the ``prevalence`` that these are for.

        Raises
        ------
        ValueError
            If there is no such pipeline, it gives no probabilities of two classes,
            there is one fold in each repeat, or a number is not between 0 and 1.

        Notes
        -----
        The threshold of a fold is the highest at which so many of the positive
        participants of the *other* folds of the same repeat are found, by their own
        out-of-fold probabilities. It is used on participants whom it has not seen.
        (Models of the other folds have been trained on them; what they reveal of these
        participants in that way is not excluded.) So the sensitivity that is reached
        may differ from the one aimed at, as it will with new people.

        Intervals are Wilson's, of shares over all repeats, with the number of
        participants divided by 1 + (tested) / (in training), and Student's t for the
        normal quantile, as in `summary`. Predictive values follow from Bayes' theorem.
        Their limits take the lower limits of sensitivity and specificity together, and
        the upper ones, and are wider than 95 %.

        Examples
        --------
        >>> points = result.operating_points(prevalence=0.15)  # doctest: +SKIP
        """
        name, predictions = self._probabilities(pipeline)
        person_probabilities(predictions, name)
        folds = self._part(self.folds, name, self.metrics[0])
        return operating_table(
            folds, predictions, self._classes, sensitivity, prevalence
        )

    def decision_curve(
        self,
        pipeline: str | None = None,
        thresholds: Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """Give the net benefit of acting on a pipeline, on all and on none.

        Parameters
        ----------
        pipeline : str | None
            Which pipeline; None for the model (the first pretrained one), or the first.
        thresholds : sequence of float | None
            Probabilities from which on one would act: at 0.2, one accepts four people
            who are treated in vain for each one who needs it. None for 0.01 to 0.99.

        Returns
        -------
        curve : DataFrame
            One row for each ``threshold``: net benefit of the ``model``, of acting on
            ``all``, and on ``none`` (0).

        Raises
        ------
        ValueError
            If there is no such pipeline, it gives no probabilities of two classes, or
            a threshold is not between 0 and 1.

        Notes
        -----
        With ``n`` people of whom ``TP`` are rightly and ``FP`` wrongly said to be of
        the positive class, the net benefit at the threshold ``t`` is ``TP / n - FP / n
        * t / (1 - t)`` [1]_. People count as in `confusion`. It is for a prevalence as
        in these participants, and probabilities must be calibrated to be acted on.

        References
        ----------
        .. [1] Vickers AJ, Elkin EB (2006). Decision curve analysis: a novel method for
           evaluating prediction models. Med Decis Making 26:565-574.
           doi:10.1177/0272989X06295361

        Examples
        --------
        >>> result.decision_curve().plot()  # doctest: +SKIP
        """
        name, predictions = self._probabilities(pipeline)
        people = person_probabilities(predictions, name)
        return net_benefit_table(people, self.positive, thresholds)

    def _probabilities(self, pipeline: str | None) -> tuple[str, pd.DataFrame]:
        """Choose a pipeline of two classes, and give its predictions."""
        if self.positive is None:
            raise ValueError(
                "Expected a comparison of two classes, got "
                f"{self.classes or 'numbers'}; there is no positive class to decide on."
            )
        if pipeline is None:
            pipeline = self.settings.get("model") or self.pipelines[0]
        if pipeline not in self.pipelines:
            raise ValueError(
                f"Expected one of the pipelines {self.pipelines}, got {pipeline!r}."
            )
        return pipeline, self._part(self.predictions, pipeline)

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
                *self._known_lines(),
                *self._notes(),
            ]
        )

    def _repr_html_(self) -> str:
        lines = [*self._gate_lines(), *self._confound_lines()]
        lines += [*self._known_lines(), *self._notes()]
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

    def _known_lines(self) -> list[str]:
        """Say how well each confound alone distinguishes the groups, a line for all."""
        if not len(self.confound_scores):
            return []
        known = self.confound_scores.dropna(subset="value")
        values = [
            f"{row.confound} {row.value:.2f} ({row.low:.2f} to {row.high:.2f})"
            for row in known.itertuples()
        ]
        if not values:
            return []
        label = label_of(known["metric"].iloc[0], self._classes)
        return [f"Confounds alone ({label}, 95 % interval): {', '.join(values)}."]

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
        text += f", {self.settings['n_folds']} folds"
        removed = self.settings.get("residualised")
        return f"{text}, features without {', '.join(removed)}" if removed else text

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
