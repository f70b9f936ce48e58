"""One HTML report.

A section is a generator of (title, content) pairs: HTML texts, or figures.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mne.utils import verbose
from numpy.typing import ArrayLike

from .. import viz
from .._sys_info import sys_info
from ..estimators import MEGFMTransformer
from ..interpret import (
    MASKS,
    AttentionTest,
    attention_test,
    masked_reconstruction,
    score_reconstruction,
)
from ..weights import read_card, weights_path
from ._html import (
    STYLE,
    card,
    describe_data,
    named_labels,
    notice,
    paragraphs,
    preformatted,
    states_of,
    summarise,
    table,
)

if TYPE_CHECKING:
    from ..evaluation import Comparison, LearningCurve
    from ..interpret import AttentionTest, Attribution, Importance, Reconstruction
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


def _about_section(
    note: str | None, there: list[str], missing: Mapping[str, str]
) -> Items:
    """Say what this is, and what it has and lacks."""
    texts = [] if note is None else [note]
    texts.append(f"In this report: {', '.join(there)}." if there else "It is empty.")
    texts += [f"Without {name}: {reason}" for name, reason in missing.items()]
    yield "What this is", notice(NOT_A_DEVICE) + paragraphs(*texts)


def _data_section(
    described: pd.DataFrame | None, excluded: pd.DataFrame | None
) -> Items:
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


def _reconstruction_section(
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


def _attention_section(maps: Mapping[str, AttentionTest | mne.Evoked]) -> Items:
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


def _comparison_section(
    result: Comparison | None, curve: LearningCurve | None
) -> Items:
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


def _participants_map_section(
    features: Any, described: pd.DataFrame | None, y: Any
) -> Items:
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


def _explanations_section(
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


def _calibration_section(result: Comparison) -> Items:
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


def _model_section(
    estimator: Any, weights: str | None, history: History | None
) -> Items:
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


def _versions_section() -> Items:
    """List what it was made with."""
    text = io.StringIO()
    sys_info(text)
    yield "Versions", preformatted(text.getvalue())


def _has_probabilities(result: Comparison | None) -> bool:
    """Tell whether a comparison is of two classes, with probabilities."""
    return (
        result is not None
        and _has_two_classes(result)
        and result.predictions.get("proba", pd.Series(dtype=float)).notna().any()
    )


def _has_two_classes(result: Comparison) -> bool:
    return "score" in result.predictions and result.predictions["score"].notna().any()


_DPI = 110


@verbose
def make_report(
    fname: str | os.PathLike | None = None,
    X: Any = None,
    y: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    estimator: Any = None,
    recording: Any = None,
    scores: pd.DataFrame | None = None,
    reconstructions: Mapping[str, Reconstruction] | None = None,
    attention: AttentionTest | Mapping[str, AttentionTest] | None = None,
    comparison: Comparison | None = None,
    curve: LearningCurve | None = None,
    features: ArrayLike | None = None,
    attribution: Attribution | Mapping[str, Attribution] | None = None,
    importance: Importance | None = None,
    history: History | None = None,
    weights: str | os.PathLike | None = None,
    title: str = "mne-megfm",
    note: str | None = None,
    overwrite: bool = False,
    verbose: bool | str | int | None = None,
) -> mne.Report:
    """Write one HTML report of data, model and results.

    Whatever is given gets a section; of what is not, the report says so. It is one file
    that opens without a network.

    Parameters
    ----------
    fname : path-like | None
        Where to write it, ending with ``.html``. None writes nothing.
    X : list of dict | list of Epochs | Epochs | Raw | None
        The participants, for the overview of the data.
    y : array-like, shape (n_participants,) | None
        Their labels.
    names : list of str | None
        Their names. None for numbers. Think of whom you hand the report to.
    estimator : estimator | None
        A fitted :class:`~mne_megfm.MEGFMTransformer`, or a fitted pipeline that begins
        with one. It is shown as a diagram.
    recording : Epochs | Raw | Evoked | None
        A recording whose reconstruction, and the attention to which, are shown. They
        are computed by the transformer of ``estimator``, or else by ``weights``, unless
        they are given.
    scores : DataFrame | None
        From :func:`~mne_megfm.interpret.score_reconstruction`.
    reconstructions : dict of str to Reconstruction | None
        From what was hidden to what
        :func:`~mne_megfm.interpret.masked_reconstruction` gave.
    attention : AttentionTest | dict of str to AttentionTest | None
        From :func:`~mne_megfm.interpret.attention_test`.
    comparison : Comparison | None
        From :func:`~mne_megfm.evaluation.compare`.
    curve : LearningCurve | None
        From :func:`~mne_megfm.evaluation.learning_curve`.
    features : array-like, shape (n_participants, n_features) | None
        Features of ``X``, for a map of participants.
    attribution : Attribution | dict of str to Attribution | None
        From :func:`~mne_megfm.interpret.attribute`.
    importance : Importance | None
        From :func:`~mne_megfm.interpret.state_importance`.
    history : History | None
        Losses of training; None takes those of ``estimator``, if it has any.
    weights : str | path-like | None
        Weights whose model card is shown; None takes those of ``estimator``, or else
        the bundled ones.
    title : str
        Title of the report.
    note : str | None
        What readers must know first, such as that data are simulated.
    overwrite : bool
        Whether a file may be replaced.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    report : mne.Report
        The report, to add to.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is False.
    FileNotFoundError
        If the folder to write to does not exist.
    ValueError
        If the name does not end with ``.html``, or lengths differ.

    Notes
    -----
    The file is written aside and then put in its place, so that an interrupted run
    leaves the old report or none, never half of one.

    Examples
    --------
    >>> from mne_megfm import make_report, simulate_cohort
    >>> cohort = simulate_cohort(
    ...     4, states=("auditory",), arrays=("opm64",), n_epochs=3, random_state=0
    ... )
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> report = make_report(
    ...     X=X, y=cohort.labels, names=cohort.names, note="Simulated data."
    ... )
    >>> "not a diagnostic device" in report.html[0].lower()
    True
    """
    path = None if fname is None else _check_path(Path(fname), overwrite)
    described = None if X is None else describe_data(X, y, names)
    transformer = _find_transformer(estimator)
    if recording is not None:
        if transformer is None:
            transformer = MEGFMTransformer(weights or "megfm-tiny").fit(recording)
        if scores is None:
            scores = score_reconstruction(transformer, recording, n_draws=3)
        if reconstructions is None:
            reconstructions = {
                name: masked_reconstruction(transformer, recording, masking)
                for name, masking in MASKS.items()
            }
        if attention is None and isinstance(recording, mne.BaseEpochs | mne.Evoked):
            # trials differ in what else goes on: of epochs, the average is shown.
            # windows of a Raw have no event that attention could follow
            is_epochs = isinstance(recording, mne.BaseEpochs)
            shown = recording.average() if is_epochs else recording
            attention = attention_test(transformer, shown, n_turns=8)
    if history is None:
        history = getattr(transformer, "history_", None)
    if weights is None:
        weights = "megfm-tiny" if transformer is None else transformer.weights
    excluded = None if comparison is None else comparison.excluded

    parts: dict[str, Iterable | None] = dict.fromkeys(WITHOUT)
    if described is not None or excluded is not None:
        parts["data"] = _data_section(described, excluded)
    if scores is not None or reconstructions:
        parts["reconstruction"] = _reconstruction_section(scores, reconstructions or {})
    if attention is not None:
        parts["attention"] = _attention_section(_named(attention, "Average"))
    if comparison is not None or curve is not None:
        parts["comparison"] = _comparison_section(comparison, curve)
    if features is not None:
        parts["map of participants"] = _participants_map_section(features, described, y)
    if attribution is not None or importance is not None:
        maps = {} if attribution is None else _named(attribution, "Attribution")
        parts["explanations"] = _explanations_section(maps, importance)
    if _has_probabilities(comparison):
        parts["calibration"] = _calibration_section(comparison)
    parts["model"] = _model_section(estimator, weights, history)
    parts["versions"] = _versions_section()

    # figures stay at the size that they are given in _add
    report = mne.Report(
        title=title, img_max_width=None, img_max_res=None, verbose="error"
    )
    report.add_custom_css(STYLE)
    there = [name for name, items in parts.items() if items is not None]
    missing = {name: WITHOUT[name] for name in parts if parts[name] is None}
    parts = {"about": _about_section(note, there, missing)} | parts
    for name, items in parts.items():
        for heading, content in items or ():
            _add(report, name.capitalize(), heading, content)
    if path is not None:
        _write(report, path)
    return report


#: What is said where a section is missing, in the order of the report.
WITHOUT = {
    "data": "no participants were given (X).",
    "reconstruction": "no recording was given to hide parts of (recording).",
    "attention": "no average around an event was given (recording, or attention); "
    "windows of a continuous recording have no event to attend to.",
    "comparison": "no cross-validated comparison of pipelines was given (comparison).",
    "map of participants": "no features were given (features).",
    "explanations": "neither maps (attribution) nor shares of states (importance) were "
    "given.",
    "calibration": "there is no comparison of two classes with probabilities.",
    "model": "",
    "versions": "",
}


def _check_path(path: Path, overwrite: bool) -> Path:
    """See that the report can be written, before time is spent on it."""
    if path.suffix != ".html":
        raise ValueError(f"Expected a name that ends with .html, got {path.name!r}.")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"Expected a new file, got {path}, which exists; choose another name, or "
            "pass overwrite=True."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"Expected a folder {path.parent} to write to, got none; make it first."
        )
    return path


def _find_transformer(estimator: Any) -> MEGFMTransformer | None:
    """Find the transformer that an estimator is, or begins with."""
    if isinstance(estimator, MEGFMTransformer):
        return estimator
    steps = getattr(estimator, "steps", [])
    first = steps[0][1] if steps else None
    return first if isinstance(first, MEGFMTransformer) else None


def _named(maps: Any, name: str) -> Mapping[str, Any]:
    return maps if isinstance(maps, Mapping) else {name: maps}


def _add(report: mne.Report, section: str, title: str, content: str | Figure) -> None:
    if isinstance(content, str):
        report.add_html(content, title, section=section)
        return
    import matplotlib.pyplot as plt

    # Clear of whole numbers of pixels: where rounding decides, MNE and matplotlib come
    # to different widths, and the picture is sheared
    content.set_dpi(_DPI)
    pixels = np.round(content.get_size_inches() * _DPI) + 0.01
    content.set_size_inches(pixels / _DPI)
    with mne.utils.use_log_level("error"):
        report.add_figure(content, title, section=section)
    plt.close(content)


def _write(report: mne.Report, path: Path) -> None:
    aside = path.with_name(f".writing-{path.name}")
    try:
        report.save(aside, open_browser=False, overwrite=True, verbose="error")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    report.fname = str(path)
