"""Can the groups be distinguished: one number beside others, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from .. import viz
from ._html import table
from ._page import Answer, Part, embed, folded, paragraphs

if TYPE_CHECKING:
    from ..evaluation import Comparison, LearningCurve

HEADINGS = {
    "sd": "SD over folds",
    "low": "95 % from",
    "high": "to",
    "difference": "difference to reference",
    "difference_low": "95 % from ",
    "difference_high": "to ",
    "p_value": "p",
    "permuted": "mean with permuted labels",
    "null_low": "95 % by chance from",
    "null_high": "to  ",
    "p_permuted": "p (permutation)",
}
_WORDS = {"passed": "shown", "not passed": "not shown", "not tested": "not tested"}
_ALONE = "confounds alone"
_BASELINE, _RANDOM = "better than the strongest baseline", "better than random weights"
QUESTION = "Can patients be distinguished from controls?"


class Outcome(NamedTuple):
    """The number that a report begins with, and what is beside it."""

    model: str
    metric: str
    mean: float
    low: float
    high: float
    chance: float
    strongest: tuple[str, float] | None
    random: tuple[int, float] | None
    verdict: str


def find_outcome(result: Comparison) -> Outcome:
    """Find the main result of a comparison.

    Parameters
    ----------
    result : Comparison
        The comparison.

    Returns
    -------
    outcome : Outcome
        Of the first pretrained pipeline, or else the reference: by ROC AUC if that is
        among the metrics, or else the first of them. The strongest of the simple
        methods is that with the best mean.
    """
    # the metric that has words for those who do not know it
    metric = "roc_auc" if "roc_auc" in result.metrics else result.metrics[0]
    model = result.settings.get("model") or result.reference
    summary = result.summary(metric)
    row = summary.loc[model]
    simple = [n for n in result.settings.get("baselines", []) if n != model]
    means = summary["mean"][simple].dropna()
    strongest = None
    if len(means):
        name = means.idxmin() if _smaller_is_better(metric) else means.idxmax()
        strongest = (name, float(means[name]))
    random, drawn = None, result.random_weights
    if len(drawn):
        drawn = drawn[drawn["metric"] == metric]
        n = drawn["seed"].nunique()
        random = (n, float(drawn.groupby("seed")["value"].mean().mean()))
    return Outcome(
        model, metric, *row[["mean", "low", "high"]].astype(float),
        result.trivial.get(metric, np.nan), strongest, random,
        result.verdicts(metric)[model],
    )  # fmt: skip


def _smaller_is_better(metric: str) -> bool:
    return metric in ("brier", "mae")


def question_of(result: Comparison | None) -> str:
    """Ask with the labels that there are."""
    if result is None:
        return QUESTION
    if result.classes is None:
        return "Can the numbers be predicted?"
    if result.positive is None:
        return "Can the groups be distinguished?"
    return f"Can {result.positive} be distinguished from {result.classes[0]}?"


def outcome_answer(result: Comparison | None) -> Answer:
    """Answer on the first screen, in words and numbers."""
    question = question_of(result)
    if result is None:
        return Answer(
            "outcome", question, "Not asked: no comparison was added (add_comparison)."
        )
    found = find_outcome(result)
    label = result.label(found.metric)
    number = f"{label} {found.mean:.2f}"
    if not np.isnan(found.low):
        number += f" (95 % interval {found.low:.2f} to {found.high:.2f})"
    if found.verdict.startswith("better than chance"):
        short = f"Yes, better than by chance: {number}"
    elif found.verdict.startswith("worse than chance"):
        short = f"No, worse than by chance: {number}"
    else:
        short = f"Not shown: {number}"
    counts = ", ".join(f"{n} {label}" for label, n in result.labels.items())
    texts = [f"{found.verdict[0].upper()}{found.verdict[1:]} ({counts})."]
    if found.metric == "roc_auc" and result.positive is not None:
        texts.append(
            f"In words: of one person with {result.positive} and one with "
            f"{result.classes[0]}, the model ranks the first higher in "
            f"{100 * found.mean:.0f} of 100 such pairs. Guessing does so in 50."
        )
    beside = [] if np.isnan(found.chance) else [f"chance {found.chance:.2f}"]
    if found.strongest:
        beside.append(
            f"the strongest simple method {found.strongest[1]:.2f} "
            f"({found.strongest[0]})"
        )
    if found.random:
        n, mean = found.random
        beside.append(f"random weights {mean:.2f} (mean of {n} draws)")
    if _ALONE in result.pipelines:
        mean = result.summary(found.metric).loc[_ALONE, "mean"]
        beside.append(f"{_ALONE} {mean:.2f}")
    if beside:
        texts.append(f"Beside it: {', '.join(beside)}.{_beaten(result, found)}")
    texts.append(
        "Cross-validated: no person is tested by a model that was trained on the same "
        "person."
    )
    return Answer("outcome", question, short, texts, _figure(result, found))


def _beaten(result: Comparison, found: Outcome) -> str:
    """Say whether the model is better than simple methods and random weights."""
    if result.settings.get("model") is None:
        return ""
    gates = result.gates(found.metric)["result"]
    texts = [
        f"better than {what}: {_WORDS[gate]}"
        for name, what in (
            (_BASELINE, "all simple methods"),
            (_RANDOM, "random weights"),
        )
        if (gate := gates[name]) != "not tested"
    ]
    text = "; ".join(texts)
    return f" {text[0].upper()}{text[1:]}." if text else ""


def outcome_parts(result: Comparison, threshold: float) -> list[Part]:
    """Write the section: the model beside others, then all that was computed."""
    found = find_outcome(result)
    label = result.label(found.metric)
    parts = []
    if has_probabilities(result, found.model):
        parts.append(Part("At a threshold", _decisions(result, found.model, threshold)))
    parts.append(Part("Has pretraining helped?", _gates(result)))
    metrics = paragraphs("Means over folds, with 95 % intervals.")
    metrics += table(_all_metrics(result))
    parts.append(Part("All metrics", metrics, folded=True))
    parts.append(Part("All statistics", _statistics(result), folded=True))
    means = ", ".join(
        f"{name} {mean:.2f}" for name, mean in result.summary()["mean"].items()
    )
    figure = viz.plot_comparison(result, show=False)
    html = embed(
        figure,
        f"{result.label()} of each pipeline in each fold, and differences to "
        f"{result.reference}. Means: {means}.",
    )
    parts.append(Part("Folds and differences", html, folded=True))
    if has_two_classes(result):
        alt = f"ROC curves of all pipelines, averaged over folds; {label}: {means}."
        figure = viz.plot_roc(result, show=False)
        parts.append(Part("ROC curves", embed(figure, alt), folded=True))
    if has_probabilities(result):
        parts.append(Part("Are probabilities right?", _calibration(result), True))
    return parts


def curve_parts(curve: LearningCurve) -> list[Part]:
    """Show how scores grow with participants."""
    found = curve.summary().reset_index().rename(columns=HEADINGS)
    html = embed(
        viz.plot_learning_curve(curve, show=False),
        f"{curve.label()} against the number of labelled participants; the same "
        "numbers are in the table beneath.",
    )
    html += folded("As a table", table(found))
    html += paragraphs(curve._header() + ".", *curve._notes())
    return [Part("Would more people help?", html)]


def _figure(result: Comparison, found: Outcome) -> Markup:
    """Show the model beside simple methods, random weights and chance."""
    means = ", ".join(
        f"{name} {row['mean']:.2f}"
        + ("" if np.isnan(row["low"]) else f" ({row['low']:.2f} to {row['high']:.2f})")
        for name, row in result.summary(found.metric).iterrows()
    )
    if found.random:
        n, mean = found.random
        means += f", random weights {mean:.2f} (mean of {n} draws)"
    chance = "" if np.isnan(found.chance) else f" Chance is {found.chance:.2f}."
    return embed(
        viz.plot_scores(result, found.metric, show=False),
        f"{result.label(found.metric)} of each pipeline with its 95 % interval: "
        f"{means}.{chance}",
    )


def _decisions(result: Comparison, model: str, threshold: float) -> Markup:
    """Count decisions at a threshold, at given sensitivities, and their benefit."""
    positive, other = result.positive, result.classes[0]
    counts = result.confusion(model, threshold)
    shown = counts.rename(
        index=lambda label: f"truly {label}",
        columns=lambda label: f"classified as {label}",
    )
    sizes = counts.sum(axis=1)
    shown["right"] = [
        f"{counts.loc[label, label]} of {n}"
        + (f" ({counts.loc[label, label] / n:.0%})" if n else "")
        for label, n in sizes.items()
    ]
    html = paragraphs(
        f"Classified as {positive} from a probability of {threshold:g} on. Each person "
        "counts once, by the mean probability out of fold."
    )
    html += table(shown.rename_axis("people"))
    try:
        points = result.operating_points(model)
    except ValueError as error:  # too few folds to choose a threshold on others
        html += paragraphs(f"Without thresholds for given sensitivities. {error}")
    else:
        html += paragraphs(
            f"To find 80 or 90 % of people with {positive}, thresholds were chosen on "
            "other people than those that they are used on, so that what is reached "
            "may differ from what was aimed at. Predictive values are for the share of "
            f"{positive} that these people have, which is seldom that of a clinic: for "
            "another one, call operating_points(prevalence=...)."
        ) + table(_points(points, positive, other), digits=2)
    curve = result.decision_curve(model)
    best = curve["model"] > curve[["all", "none"]].max(axis=1)
    spans = curve.index[best]
    where = f"from {spans.min():.2f} to {spans.max():.2f}" if len(spans) else "nowhere"
    curve_html = paragraphs(
        "Net benefit: people rightly acted on, less those wrongly acted on, weighed by "
        "the probability from which on one would act (Vickers and Elkin 2006), for "
        "each person examined. A model is of use where it is above both acting on "
        "all and on none. It takes probabilities that are right: see below."
    ) + embed(
        viz.plot_decision_curve(curve, show=False),
        f"Net benefit of {model} against the probability from which on one acts, "
        f"beside acting on all and on none; {model} is above both {where}.",
    )
    return html + folded("Decision curve", curve_html)


def _points(points: pd.DataFrame, positive: object, other: object) -> pd.DataFrame:
    """Write operating points with intervals."""

    def with_interval(name: str) -> list[str]:
        rows = points[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)
        return [f"{value:.2f} ({low:.2f} to {high:.2f})" for value, low, high in rows]

    return pd.DataFrame(
        {
            "threshold": points["threshold"].to_numpy(),
            f"sensitivity ({positive})": with_interval("sensitivity"),
            f"specificity ({other})": with_interval("specificity"),
            "positive predictive value": with_interval("ppv"),
            "negative predictive value": with_interval("npv"),
            "at a prevalence of": points["prevalence"].to_numpy(),
        },
        index=pd.Index(
            [f"{value:.0%}" for value in points.index],
            name="sensitivity aimed at",
        ),
    )


def _gates(result: Comparison) -> str:
    """Show which of the four gates are passed."""
    model = result.settings.get("model")
    if model is None:
        return paragraphs(*result._gate_lines())
    shown = result.gates()[["result", "reason"]].rename(columns={"reason": "why"})
    shown["result"] = shown["result"].map(_WORDS)
    return paragraphs(
        f"Four claims about {model}, by {result.label()}. Not shown: it may be wrong, "
        "or there are too few people to tell. Not tested: nothing was computed, or it "
        "is not known, which does not count as shown."
    ) + table(shown.rename_axis("claim"))


def _statistics(result: Comparison) -> Markup:
    """Show the summary by the first metric, with what it rests on."""
    summary = result.summary().dropna(axis=1, how="all").rename(columns=HEADINGS)
    return (
        paragraphs(result._header() + ".")
        + table(summary)
        + paragraphs(*result._notes(with_weights=False))
    )


def _all_metrics(result: Comparison) -> pd.DataFrame:
    """Give each metric of each pipeline with its interval."""
    columns = {}
    for name in result.metrics:
        found = result.summary(name)
        columns[result.label(name)] = [
            f"{mean:.3f}" + ("" if np.isnan(low) else f" ({low:.3f} to {high:.3f})")
            for mean, low, high in found[["mean", "low", "high"]].to_numpy(float)
        ]
    return pd.DataFrame(columns, index=pd.Index(result.pipelines, name="pipeline"))


def _calibration(result: Comparison) -> str:
    """Show whether probabilities mean what they say."""
    html = paragraphs(
        f"Of people with a probability of 0.8 of {result.positive}, 80 % should have "
        "that label: the curve should lie on the diagonal. The Brier score is the mean "
        "squared error of probabilities; 0.25 is what always saying 0.5 gives."
    )
    return html + embed(
        viz.plot_reliability(result, show=False),
        f"Share of {result.positive} against the probability given, in five groups of "
        "people, for each pipeline; beneath, how probabilities are spread.",
    )


def has_probabilities(result: Comparison, pipeline: str | None = None) -> bool:
    """Find whether a comparison is of two classes, with probabilities."""
    table = result.predictions
    if pipeline is not None:
        table = table[table["pipeline"] == pipeline]
    known = table.get("proba", pd.Series(dtype=float)).notna()
    return result.positive is not None and known.any()


def has_two_classes(result: Comparison) -> bool:
    """Find whether a comparison is of two classes, with scores."""
    return "score" in result.predictions and result.predictions["score"].notna().any()
