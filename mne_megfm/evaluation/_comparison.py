"""What a comparison found."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

import numpy as np
import pandas as pd

from ._metrics import (
    BINARY,
    MULTICLASS,
    REGRESSION,
    bounds_of,
    is_defined,
    metrics_of,
)
from ._statistics import corrected_interval, corrected_t_test, sign_flip_test
from ._tables import paired_differences

TESTS = ("corrected-t", "sign-flip")
_NOTE = (
    "Intervals and p-values of the corrected resampled t-test (Nadeau & Bengio 2003); "
    "intervals are cut where the metric ends, p-values are not corrected for the "
    "number of pipelines. Not for diagnosis."
)


@dataclass(repr=False)
class Comparison:
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
        where there are any ``score``, ``proba`` (of the last class), or
        ``proba_<class>`` with more than two classes.
    permutations : DataFrame
        The first metric with labels dealt anew: ``pipeline``, ``permutation``,
        ``metric``, ``value``.
    excluded : DataFrame
        What was left out: ``kind`` (participant, recording or pipeline), ``name``
        and ``reason``.
    weights_seen : dict
        From pipeline to what its weights had seen before and in ``fit``; None for
        pipelines without weights.
    metrics : list of str
        Metrics; pipelines are judged by the first.
    reference : str
        The pipeline that others are tested against.
    settings : dict
        Numbers of participants, labels and folds, cross-validation and seed, and
        what pipelines hold that was fitted before.

    See Also
    --------
    compare : Makes it.
    """

    folds: pd.DataFrame
    predictions: pd.DataFrame
    permutations: pd.DataFrame
    excluded: pd.DataFrame
    weights_seen: dict
    metrics: list[str]
    reference: str
    settings: dict = field(default_factory=dict)

    @property
    def pipelines(self) -> list[str]:
        """Names of the pipelines, in the order given."""
        return self.folds["pipeline"].unique().tolist()

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
        metric = self.metrics[0] if metric is None else metric
        if metric not in self.metrics:
            raise ValueError(
                f"Expected a metric of this comparison, one of {self.metrics}, got "
                f"{metric!r}."
            )
        table = self.folds[self.folds["metric"] == metric]
        table = table.pivot(
            index=["repeat", "fold"], columns="pipeline", values="value"
        )
        return table[self.pipelines]

    def summary(
        self, metric: str | None = None, *, test: str = "corrected-t"
    ) -> pd.DataFrame:
        """Summarise pipelines, and test them against the reference.

        Parameters
        ----------
        metric : str | None
            Which metric; None for the first.
        test : {"corrected-t", "sign-flip"}
            Where p-values come from: the corrected resampled t-test on folds, or
            exchanging, participant by participant, what the two pipelines say (for
            ``"roc_auc"`` their ranks in the fold). The latter takes pipelines as they
            were trained, and says nothing of other training participants.

        Returns
        -------
        summary : DataFrame
            One row a pipeline: ``mean`` and ``sd`` over folds, a 95 % confidence
            interval from ``low`` to ``high``, the ``difference`` to the reference
            with its interval and ``p_value``; and, for the first metric, the mean
            with permuted labels, ``permuted``, and the p-value ``p_permuted`` = (1 + k)
            / (1 + n), where k of the n permutations are no worse than the true labels.
            Both are of the first repeat of the folds alone, and so is the mean that
            they are set beside, which ``mean`` is not.

        Raises
        ------
        ValueError
            If the metric or test is not known.
        """
        if test not in TESTS:
            raise ValueError(f"Expected test among {TESTS}, got {test!r}.")
        values = self.values(metric)
        metric = self.metrics[0] if metric is None else metric
        ratio = float((self.folds["n_test"] / self.folds["n_train"]).mean())
        bounds = bounds_of(metric)
        rows = {}
        for name in self.pipelines:
            mean, low, high = corrected_interval(values[name], ratio, bounds=bounds)
            row = {"mean": mean, "sd": values[name].std(), "low": low, "high": high}
            gain = values[name] - values[self.reference]
            row["difference"], row["difference_low"], row["difference_high"] = (
                corrected_interval(gain, ratio)
            )
            row["p_value"] = np.nan
            if name != self.reference:
                row["p_value"] = self._p_value(name, metric, test, gain, ratio)
            rows[name] = row
        table = pd.DataFrame(rows).T.rename_axis("pipeline")
        if metric == self.metrics[0] and len(self.permutations):
            table = table.join(self._chance(values))
        return table

    def _p_value(
        self, name: str, metric: str, test: str, gain: pd.Series, ratio: float
    ) -> float:
        if test == "corrected-t":
            return corrected_t_test(gain.to_numpy(), ratio)[1]
        own, other = (
            self.predictions[self.predictions["pipeline"] == which]
            for which in (name, self.reference)
        )
        return sign_flip_test(paired_differences(own, other, metric).to_numpy())

    def _chance(self, values: pd.DataFrame) -> pd.DataFrame:
        """Compare the first repeat with results on permuted labels."""
        known = BINARY | MULTICLASS | REGRESSION
        sign = 1.0 if known[self.metrics[0]].greater else -1.0
        observed = values.loc[values.index.get_level_values("repeat") == 0].mean()
        rows = {}
        for name, part in self.permutations.groupby("pipeline"):
            found = part["value"].dropna()
            n_reached = int((sign * found >= sign * observed[name]).sum())
            rows[name] = {
                "permuted": found.mean(),
                "p_permuted": (n_reached + 1) / (len(found) + 1),
            }
        return pd.DataFrame(rows).T

    def __repr__(self) -> str:
        return "\n".join([self._header(), self._main().to_string(), *self._notes()])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self._notes())
        table = self._main().to_html(float_format="{:.3f}".format)
        return f"<p><b>{escape(self._header())}</b></p>{table}{notes}"

    def _header(self) -> str:
        n, labels = self.settings["n_participants"], self.settings["labels"]
        counts = ", ".join(f"{count} {label}" for label, count in labels.items())
        return (
            f"Comparison of {len(self.pipelines)} pipelines by {self.metrics[0]}, "
            f"{n} participants{f' ({counts})' if counts else ''}, "
            f"{self.settings['n_folds']} folds"
        )

    def _main(self) -> pd.DataFrame:
        """Summary of the first metric, and means of the others."""
        table = self.summary()
        for metric in self.metrics[1:]:
            table[metric] = self.values(metric).mean()
        return table.round(3)

    def _notes(self) -> list[str]:
        notes = [f"Reference: {self.reference}. {_NOTE}"]
        if len(self.permutations):
            n = self.permutations["permutation"].nunique()
            n_folds = (self.values().index.get_level_values("repeat") == 0).sum()
            notes.append(
                f"Permuted labels: {n} times, on the first repeat alone ({n_folds} of "
                f"{self.settings['n_folds']} folds); p_permuted = (1 + k) / (1 + {n}), "
                f"where k are no worse, is {1 / (n + 1):.2g} at least."
            )
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
        for name, seen in self.weights_seen.items():
            if seen:
                notes.append(f"Weights of {name} had seen: {_shorten(seen)}")
        return notes

    def _undefined(self) -> list[str]:
        """Say which metrics have no value on some folds, for their participants."""
        notes = []
        truth = self.predictions[self.predictions["pipeline"] == self.pipelines[0]]
        folds = [part["y_true"] for _, part in truth.groupby(["repeat", "fold"])]
        classes = np.unique(truth["y_true"]) if self.settings["labels"] else None
        for name in self.metrics:
            metric = metrics_of(0 if classes is None else len(classes))[name]
            n = sum(not is_defined(metric, y.to_numpy(), classes) for y in folds)
            mean = "its mean is over the others" if n < len(folds) else "it has no mean"
            if n:
                notes.append(
                    f"{name} is not defined on {n} of {len(folds)} folds (a class is "
                    "missing among their test participants, or there is one alone); "
                    f"{mean}."
                )
        return notes


def _shorten(seen: dict, limit: int = 300) -> str:
    text = ", ".join(f"{key} {value}" for key, value in seen.items())
    return text if len(text) <= limit else f"{text[:limit]}..."
