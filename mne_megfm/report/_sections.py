"""The sections of a report, each from what it is about.

A section is a generator of (title, content) pairs: HTML texts, or figures.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import viz
from .._sys_info import sys_info
from ..interpret import AttentionTest
from ..weights import read_card, weights_path
from ._data import named_labels, states_of, summarise
from ._html import card, notice, paragraphs, preformatted, table

if TYPE_CHECKING:
    from ..evaluation import Comparison, LearningCurve
    from ..interpret import Attribution, Importance, Reconstruction
    from ..pretraining import History

Items = Iterator[tuple[str, str | Figure]]

NOT_A_DEVICE = (
    "Not a diagnostic device: nothing in this report is fit for diagnosis, nor for any "
    "other clinical decision."
)
_MANY_PARTICIPANTS = 200
_HEADINGS = {
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


def about(note: str | None, there: list[str], missing: Mapping[str, str]) -> Items:
    """Say what this is, and what it has and lacks."""
    texts = [] if note is None else [note]
    texts.append(f"In this report: {', '.join(there)}." if there else "It is empty.")
    texts += [f"Without {name}: {reason}" for name, reason in missing.items()]
    yield "What this is", notice(NOT_A_DEVICE) + paragraphs(*texts)


def data(described: pd.DataFrame | None, excluded: pd.DataFrame | None) -> Items:
    """List participants, states, arrays and exclusions."""
    if described is not None:
        yield (
            "Overview",
            paragraphs(
                f"{len(described)} participants, {described['minutes'].sum():.1f} "
                "minutes. Rows are epochs, or windows of a continuous recording; "
                "medians are over participants who have the state."
            )
            + table(summarise(described), digits=1),
        )
        shown = described.head(_MANY_PARTICIPANTS)
        text = paragraphs("Rows of each state, by participant.")
        if len(shown) < len(described):
            text = paragraphs(f"The first {len(shown)} of {len(described)}.")
        yield "Participants", text + table(shown, digits=1)
    if excluded is not None:
        if len(excluded):
            text = paragraphs("Left out of the comparison, with reasons.")
            yield "Exclusions", text + table(excluded)
        else:
            yield "Exclusions", paragraphs("Nothing was left out of the comparison.")


def reconstruction(
    scores: pd.DataFrame | None, results: Mapping[str, Reconstruction]
) -> Items:
    """Show scores beside interpolation, and a figure for each kind of mask."""
    if scores is not None:
        text = paragraphs(
            "Share of the hidden signal that is explained (R²; 1 is perfect, 0 as good "
            "as predicting nothing): by the model, by interpolating the field from "
            "visible sensors, at the best regularisation, and by straight lines in "
            "time."
        )
        yield "Scores", text + table(scores.rename_axis("hidden"), digits=2)
    for name, result in results.items():
        window = int(result.mask.any((1, 2)).argmax())
        yield (
            f"Hidden: {name}",
            viz.plot_reconstruction(result, window=window, show=False),
        )


def attention(maps: Mapping[str, AttentionTest | mne.Evoked]) -> Items:
    """Show where the encoder looks."""
    yield (
        "How to read it",
        paragraphs(
            "Attention tells where the encoder takes its information from. It is no "
            "explanation of a decision. Where it is no more than attention to "
            "surrogates without timing, it is grey.",
            *(
                f"{name}: {found.in_words()}"
                for name, found in maps.items()
                if isinstance(found, AttentionTest)
            ),
        ),
    )
    yield "Attention on the head", viz.plot_attention(maps, show=False)


def comparison(result: Comparison | None, curve: LearningCurve | None) -> Items:
    """Show pipelines beside each other, with statistics."""
    if result is not None:
        yield (
            "Results",
            paragraphs(result._header() + ".")
            + table(result.summary().rename(columns=_HEADINGS))
            + paragraphs(*result._notes(with_weights=False)),
        )
        seen = result._seen_table()
        if len(seen):
            yield "What weights had seen", table(seen)
        if len(result.metrics) > 1:
            text = paragraphs("Means over folds, with 95 % intervals.")
            yield "All metrics", text + table(_all_metrics(result))
        yield "Folds and differences", viz.plot_comparison(result, show=False)
        if _has_two_classes(result):
            yield "ROC curves", viz.plot_roc(result, show=False)
    if curve is not None:
        yield "Learning curves", viz.plot_learning_curve(curve, show=False)
        found = curve.summary().reset_index().rename(columns=_HEADINGS)
        text = paragraphs(curve._header() + ".", *curve._notes())
        yield "Learning curves as a table", text + table(found)


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


def participants_map(features: Any, described: pd.DataFrame | None, y: Any) -> Items:
    """Show participants by their features, coloured by what may matter."""
    by = {}
    if y is not None:
        by["group"] = np.asarray(named_labels(y))
    if described is not None:
        by["array"] = described["array"].to_numpy()
        states = states_of(described)
        present = described[states].gt(0)
        by["states"] = present.apply(
            lambda row: " + ".join(states[row.to_numpy()]), axis=1
        ).to_numpy()
        by = {name: v for name, v in by.items() if len(set(v)) > 1 or name == "group"}
    if by:
        text = (
            "The two leading principal axes of the features, found without labels. A "
            "map that parts arrays rather than groups warns of features that tell "
            "where a participant was recorded."
        )
        yield "How to read it", paragraphs(text)
    for name, labels in by.items():
        figure = viz.plot_embedding(features, {name: labels}, show=False)
        yield f"Participants by {name}", figure


def explanations(
    attributions: Mapping[str, Attribution], importance: Importance | None
) -> Items:
    """Show what decisions go with, and which states matter, beside chance."""
    yield (
        "How to read it",
        paragraphs(
            "Everything here is of held-out decisions, and was done again with "
            "permuted labels. What is within chance is grey."
        ),
    )
    for name, found in attributions.items():
        yield f"{name}: in words", paragraphs(found.in_words())
        yield name, viz.plot_attribution(found, show=False)
    if importance is not None:
        text = paragraphs(
            "How much each group of features adds to the score on held-out "
            "participants: mean and standard deviation over folds, and the band of "
            "chance over all groups.",
            importance.in_words(),
        )
        yield "Importance as a table", text + table(importance.summary)
        yield "Importance", viz.plot_importance(importance, show=False)


def calibration(result: Comparison) -> Items:
    """Show whether probabilities mean what they say."""
    yield (
        "How to read it",
        paragraphs(
            f"Of participants with a probability of 0.8 of {result.positive}, 80 % "
            "should have that label: the curve should lie on the diagonal. The Brier "
            "score is the mean squared error of probabilities; 0.25 is what always "
            "saying 0.5 gives."
        ),
    )
    yield "Reliability", viz.plot_reliability(result, show=False)


def model(estimator: Any, weights: str | None, history: History | None) -> Items:
    """Show the estimator, its training and its card."""
    if estimator is not None:
        yield "Estimator", f'<div class="table-scroll">{estimator._repr_html_()}</div>'
    if history is not None:
        yield "Training", viz.plot_training(history, show=False)
    if weights is not None:
        name, text = weights_path(weights).name, read_card(weights)
        if text:
            yield f"Model card of {name}", card(text)
        else:
            text = f"The weights {name} come without a model card."
            yield "Model card", paragraphs(text)


def versions() -> Items:
    """List what it was made with."""
    text = io.StringIO()
    sys_info(text)
    yield "Versions", preformatted(text.getvalue())


def has_probabilities(result: Comparison | None) -> bool:
    """Tell whether a comparison is of two classes, with probabilities."""
    return (
        result is not None
        and _has_two_classes(result)
        and result.predictions.get("proba", pd.Series(dtype=float)).notna().any()
    )


def _has_two_classes(result: Comparison) -> bool:
    return "score" in result.predictions and result.predictions["score"].notna().any()
