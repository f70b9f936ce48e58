"""One HTML report of data, model and results."""

from __future__ import annotations

import io
import os
import webbrowser
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from .. import viz
from .._sys_info import sys_info
from ..estimators import MEGFMTransformer
from ..interpret import (
    MASKS,
    AttentionTest,
    attention_test,
    reconstruct,
    score_reconstruction,
)
from ..utils.logs import verbose
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

#: What is said where a section is missing, in the order of the report.
WITHOUT = {
    "data": "no participants were given (add_data).",
    "reconstruction": "no recording was given to hide parts of (add_recording).",
    "attention": "no average around an event was given (add_recording, or "
    "add_attention); windows of a continuous recording have no event to attend to.",
    "comparison": "no cross-validated comparison of pipelines was given "
    "(add_comparison).",
    "map of participants": "no features were given (add_participants_map).",
    "explanations": "neither maps (attribution) nor shares of states (importance) were "
    "given (add_explanations).",
    "calibration": "there is no comparison of two classes with probabilities.",
    "model": "no model was given (add_model).",
}
_ABOUT, _VERSIONS = "About", "Versions"
_DPI = 110


class MEGFMReport(mne.Report):
    """One HTML report of data, model and results.

    It is an :class:`mne.Report`, to which results of this package can be added as
    well. It says by itself what it is, which parts it has and which it lacks, and which
    versions it was made with. It is one file that opens without a network.

    Parameters
    ----------
    title : str
        Title of the report.
    note : str | None
        What readers must know first, such as that data are simulated.

    See Also
    --------
    mne_megfm.make_report : The usual report in one call.

    Examples
    --------
    >>> from mne_megfm import simulate_cohort
    >>> from mne_megfm.report import MEGFMReport
    >>> cohort = simulate_cohort(
    ...     4, states=("auditory",), arrays=("opm64",), n_epochs=3, random_state=0
    ... )
    >>> report = MEGFMReport("My study", note="Simulated data.")
    >>> X = [participant.recordings for participant in cohort.participants]
    >>> report.add_data(X, cohort.labels, names=cohort.names)
    >>> report.add_model(weights="megfm-tiny")
    >>> report.save("report.html")  # doctest: +SKIP
    """

    def __init__(self, title: str = "mne-megfm", note: str | None = None) -> None:
        # figures stay at the size that they are given in _add
        super().__init__(
            title=title, img_max_width=None, img_max_res=None, verbose="error"
        )
        self.note = note
        self._described: pd.DataFrame | None = None
        self._present: set[str] = set()
        self.add_custom_css(STYLE)
        self.add_html(_versions(), "Versions", section=_VERSIONS)
        self._arrange()

    # -- what can be added --
    def add_data(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
    ) -> None:
        """Add an overview of participants, states, arrays and bad channels.

        Parameters
        ----------
        X : list of dict | list of Epochs | Epochs | Raw
            The participants.
        y : array-like, shape (n_participants,) | None
            Their labels.
        names : list of str | None
            Their names. None for numbers. Think of whom you hand the report to.

        Raises
        ------
        ValueError
            If lengths differ.
        """
        self._described = describe_data(X, y, names)
        self._add("data", _data_section(self._described))

    def add_recording(
        self, recording: Any, transformer: MEGFMTransformer, *, n_turns: int = 8
    ) -> None:
        """Add what a model makes of one recording: its reconstruction, and attention.

        Both are computed here. Attention is shown for averages around an event: epochs
        are averaged, since trials differ in what else goes on, and windows of a Raw
        have no event that attention could follow.

        Parameters
        ----------
        recording : Epochs | Raw | Evoked
            The recording.
        transformer : MEGFMTransformer
            The model, fitted.
        n_turns : int
            Rotations of the surrogates that attention is tested against, see
            :func:`~mne_megfm.interpret.attention_test`.
        """
        scores = score_reconstruction(recording, transformer, n_draws=1)
        results = {
            name: reconstruct(recording, transformer, masking, on="canonical")
            for name, masking in MASKS.items()
        }
        self.add_reconstruction(results, scores)
        if isinstance(recording, mne.BaseEpochs | mne.Evoked):
            is_epochs = isinstance(recording, mne.BaseEpochs)
            shown = recording.average() if is_epochs else recording
            self.add_attention(attention_test(transformer, shown, n_turns=n_turns))

    def add_reconstruction(
        self,
        reconstructions: Reconstruction | Mapping[str, Reconstruction] | None = None,
        scores: pd.DataFrame | None = None,
    ) -> None:
        """Add what the model predicts of hidden signal.

        Parameters
        ----------
        reconstructions : Reconstruction | dict of str to Reconstruction | None
            From what was hidden to what
            :func:`~mne_megfm.interpret.reconstruct` gave.
        scores : DataFrame | None
            From :func:`~mne_megfm.interpret.score_reconstruction`.
        """
        results = _named(reconstructions or {}, "a part")
        self._add("reconstruction", _reconstruction_section(scores, results))

    def add_attention(self, attention: Any) -> None:
        """Add where the encoder looks.

        Parameters
        ----------
        attention : AttentionTest | Evoked | dict of str to these
            From :func:`~mne_megfm.interpret.attention_test`, or
            :func:`~mne_megfm.interpret.attention`.
        """
        self._add("attention", _attention_section(_named(attention, "Average")))

    def add_comparison(self, result: Comparison) -> None:
        """Add a comparison of pipelines, who was left out, and calibration.

        Parameters
        ----------
        result : Comparison
            From :func:`~mne_megfm.evaluation.compare`.
        """
        self._add("data", _exclusions_section(result.excluded))
        self._add("comparison", _comparison_section(result))
        if _has_probabilities(result):
            self._add("calibration", _calibration_section(result))

    def add_learning_curve(self, curve: LearningCurve) -> None:
        """Add how scores grow with the number of participants in training.

        Parameters
        ----------
        curve : LearningCurve
            From :func:`~mne_megfm.evaluation.learning_curve`.
        """
        self._add("comparison", _curve_section(curve))

    def add_participants_map(
        self, features: ArrayLike, by: Mapping[str, Sequence] | None = None
    ) -> None:
        """Add a map of participants by their features.

        Parameters
        ----------
        features : array-like, shape (n_participants, n_features)
            Features of participants.
        by : dict of str to array-like, shape (n_participants,) | None
            What participants are coloured by, a map each. None takes the labels, arrays
            and states of `add_data`.

        Raises
        ------
        ValueError
            If there is nothing to colour by.
        """
        if by is None:
            by = {} if self._described is None else _colours(self._described)
            by = {
                name: values
                for name, values in by.items()
                if name == "group" or len(set(values)) > 1
            }
        if not by and self._described is None:
            raise ValueError(
                "Expected what to colour participants by, got neither by nor data; "
                "call add_data first, or pass by."
            )
        self._add("map of participants", _participants_map_section(features, by))

    def add_explanations(
        self,
        attribution: Attribution | Mapping[str, Attribution] | None = None,
        importance: Importance | None = None,
    ) -> None:
        """Add what decisions go with, and which states matter.

        Parameters
        ----------
        attribution : Attribution | dict of str to Attribution | None
            From :func:`~mne_megfm.interpret.attribute`.
        importance : Importance | None
            From :func:`~mne_megfm.interpret.state_importance`.
        """
        maps = {} if attribution is None else _named(attribution, "Attribution")
        self._add("explanations", _explanations_section(maps, importance))

    def add_model(
        self,
        estimator: Any = None,
        *,
        weights: str | os.PathLike | None = None,
        history: History | None = None,
    ) -> None:
        """Add the estimator, its training, and the model card of its weights.

        Parameters
        ----------
        estimator : estimator | None
            A fitted :class:`~mne_megfm.MEGFMTransformer`, or a fitted pipeline that
            begins with one. It is shown as a diagram.
        weights : str | path-like | None
            Weights whose model card is shown; None takes those of ``estimator``.
        history : History | None
            Losses of training; None takes those of ``estimator``, if it has any.
        """
        transformer = _find_transformer(estimator)
        if history is None:
            history = getattr(transformer, "history_", None)
        if weights is None:
            weights = getattr(transformer, "weights", None)
        self._add("model", _model_section(estimator, weights, history))

    def save(
        self,
        fname: str | os.PathLike,
        overwrite: bool = False,
        *,
        open_browser: bool = False,
    ) -> str:
        """Write the report to one file.

        It is written aside and then put in its place, so that an interrupted run leaves
        the old report or none, never half of one.

        Parameters
        ----------
        fname : path-like
            Where to write it, ending with ``.html``.
        overwrite : bool
            Whether a file may be replaced.
        open_browser : bool
            Whether to show it in the browser.

        Returns
        -------
        fname : str
            The file.

        Raises
        ------
        FileExistsError
            If the file exists and ``overwrite`` is False.
        FileNotFoundError
            If the folder to write to does not exist.
        ValueError
            If the name does not end with ``.html``.
        """
        path = _check_path(Path(fname), overwrite)
        self._arrange()
        aside = path.with_name(f".writing-{path.name}")
        try:
            super().save(aside, open_browser=False, overwrite=True, verbose="error")
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        self.fname = str(path)
        if open_browser:
            webbrowser.open_new_tab(path.resolve().as_uri())
        return self.fname

    # -- how it is put together --
    def _add(self, name: str, items: Items) -> None:
        """Add texts and figures to a section, and say that it is there."""
        section = name.capitalize()
        for title, content in items:
            if isinstance(content, str):
                self.add_html(content, title, section=section)
            else:
                self._add_whole_figure(content, title, section)
            self._present.add(name)
        self._arrange()

    def _add_whole_figure(self, figure: Figure, title: str, section: str) -> None:
        import matplotlib.pyplot as plt

        # Clear of whole numbers of pixels: where rounding decides, MNE and matplotlib
        # come to different widths, and the picture is sheared
        figure.set_dpi(_DPI)
        pixels = np.round(figure.get_size_inches() * _DPI) + 0.01
        figure.set_size_inches(pixels / _DPI)
        with mne.utils.use_log_level("error"):
            self.add_figure(figure, title, section=section)
        plt.close(figure)

    def _arrange(self) -> None:
        """Say what there is, and put sections in their order; own ones come last."""
        about = _about(self.note, self._present)
        self.add_html(about, "What this is", section=_ABOUT, replace=True)
        known = [_ABOUT, *(name.capitalize() for name in WITHOUT)]
        rank = {name: number for number, name in enumerate(known)}
        rank[_VERSIONS] = len(rank) + 1
        places = [rank.get(content.section, len(known)) for content in self._content]
        self.reorder(np.argsort(places, kind="stable"))


@verbose
def make_report(
    fname: str | os.PathLike | None = None,
    X: Any = None,
    y: ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    estimator: Any = None,
    recording: Any = None,
    comparison: Comparison | None = None,
    features: ArrayLike | None = None,
    weights: str | os.PathLike | None = None,
    title: str = "mne-megfm",
    note: str | None = None,
    overwrite: bool = False,
    verbose: bool | str | int | None = None,
) -> MEGFMReport:
    """Write one HTML report of data, model and results.

    Whatever is given gets a section; of what is not, the report says so. More can be
    added to what it returns.

    Parameters
    ----------
    fname : path-like | None
        Where to write it, ending with ``.html``. None writes nothing.
    X : list of dict | list of Epochs | Epochs | Raw | None
        The participants, see `MEGFMReport.add_data`.
    y : array-like, shape (n_participants,) | None
        Their labels.
    names : list of str | None
        Their names. None for numbers. Think of whom you hand the report to.
    estimator : estimator | None
        A fitted :class:`~mne_megfm.MEGFMTransformer`, or a fitted pipeline that begins
        with one, see `MEGFMReport.add_model`.
    recording : Epochs | Raw | Evoked | None
        A recording whose reconstruction, and the attention to which, are computed by
        the transformer of ``estimator``, or else by ``weights``; see
        `MEGFMReport.add_recording`.
    comparison : Comparison | None
        From :func:`~mne_megfm.evaluation.compare`.
    features : array-like, shape (n_participants, n_features) | None
        Features of ``X``, for a map of participants.
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
    report : MEGFMReport
        The report, to add to.

    Raises
    ------
    FileExistsError
        If the file exists and ``overwrite`` is False.
    FileNotFoundError
        If the folder to write to does not exist.
    ValueError
        If the name does not end with ``.html``, or lengths differ.

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
    if fname is not None:
        _check_path(Path(fname), overwrite)  # before time is spent
    transformer = _find_transformer(estimator)
    if weights is None:
        weights = "megfm-tiny" if transformer is None else transformer.weights
    report = MEGFMReport(title, note)
    if X is not None:
        report.add_data(X, y, names=names)
    if recording is not None:
        if transformer is None:
            transformer = MEGFMTransformer(weights).fit(recording)
        report.add_recording(recording, transformer)
    if comparison is not None:
        report.add_comparison(comparison)
    if features is not None:
        by = {"group": named_labels(y)} if X is None and y is not None else None
        report.add_participants_map(features, by)
    report.add_model(estimator, weights=weights)
    if fname is not None:
        report.save(fname, overwrite)
    return report


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


def _about(note: str | None, present: Collection[str]) -> str:
    """Say what this is, and what it has and lacks."""
    there = [name for name in WITHOUT if name in present]
    texts = [] if note is None else [note]
    texts.append(f"In this report: {', '.join([*there, 'versions'])}.")
    texts += [
        f"Without {name}: {reason}"
        for name, reason in WITHOUT.items()
        if name not in present
    ]
    return notice(NOT_A_DEVICE) + paragraphs(*texts)


def _data_section(described: pd.DataFrame) -> Items:
    """List participants, states and arrays."""
    yield (
        "Overview",
        paragraphs(
            f"{len(described)} participants, {described['minutes'].sum():.1f} minutes. "
            "Rows are epochs, or windows of a continuous recording; medians are over "
            "participants who have the state."
        )
        + table(summarise(described), digits=1),
    )
    shown = described.head(_MANY_PARTICIPANTS)
    text = paragraphs("Rows of each state, by participant.")
    if len(shown) < len(described):
        text = paragraphs(f"The first {len(shown)} of {len(described)}.")
    yield "Participants", text + table(shown, digits=1)


def _exclusions_section(excluded: pd.DataFrame) -> Items:
    """List who was left out of a comparison."""
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
            "as predicting nothing): by the model, which stacks network, field and "
            "Wiener interpolation; by the network alone; by Wiener interpolation, "
            "which knows the visible part of this recording and no other; by the field "
            "of the visible sensors, at the best regularisation; and by straight lines "
            "in time."
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
            "Attention shows where the encoder takes its information from. It is no "
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


def _comparison_section(result: Comparison) -> Items:
    """Show gates, then pipelines beside each other, with statistics."""
    yield from _gates_section(result)
    yield (
        "Results",
        paragraphs(result._header() + ".")
        + table(result.summary().dropna(axis=1, how="all").rename(columns=_HEADINGS))
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


def _gates_section(result: Comparison) -> Items:
    """Show which of the four gates are passed, and what else features reveal."""
    model = result.settings.get("model")
    if model is None:
        yield "Gates", paragraphs(*result._gate_lines())
    else:
        shown = result.gates()[["result", "reason"]].rename(columns={"reason": "why"})
        yield (
            "Gates",
            paragraphs(
                f"Has pretraining helped? Four claims about {model}, whose "
                f"{result.label()} is {result.values()[model].mean():.3f}, of "
                f"{result.n_participants} participants. Passed: it was shown. Not "
                "passed: it was not shown; it may be wrong, or there are too few "
                "participants to tell. Not tested: nothing was computed, or it is not "
                "known, which does not count as passed."
            )
            + table(shown),
        )
    if result._has_confounds():
        values, notes = _confounds(result)
        yield (
            "What else can be read from the features",
            paragraphs(
                "Features that reveal the array or the site can pass for features of a "
                "disorder, where groups were recorded on different ones. Of array and "
                "site: balanced accuracy with 95 % intervals, by the same classifiers, "
                "cross-validated over participants; near chance is good. Of person: "
                "share of participants who are found again in the other half of their "
                "recordings; high is good, as features then belong to people."
            )
            + table(values)
            + paragraphs(*notes),
        )


def _confounds(result: Comparison) -> tuple[pd.DataFrame, list[str]]:
    """Give what features reveal besides the labels, a column a target, and notes."""
    columns, notes = {}, []
    for target, rows in result.confounds.groupby("target", sort=False):
        for note, alike in rows.groupby("note", sort=False):
            untested = alike["value"].isna().all() and alike["pipeline"].any()
            whose = f" by {', '.join(alike['pipeline'])}" if untested else ""
            notes.append(f"{target.capitalize()}{whose}: {note}.")
        known = rows[rows["value"].notna()].set_index("pipeline")
        if not len(known):
            continue
        columns[target] = {"chance": f"{known['chance'].iloc[0]:.2f}"} | {
            name: f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
            for name, row in known.iterrows()
        }
    found = pd.DataFrame(columns)
    order = ["chance", *(name for name in result.pipelines if name in found.index)]
    return found.loc[order].rename_axis("features of"), notes


def _curve_section(curve: LearningCurve) -> Items:
    """Show how scores grow with participants."""
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


def _colours(described: pd.DataFrame) -> dict[str, NDArray]:
    """Find what may matter of participants: label, array, and states that there are."""
    by = {}
    if "label" in described:
        by["group"] = described["label"].to_numpy()
    by["array"] = described["array"].to_numpy()
    states = states_of(described)
    present = described[states].gt(0)
    by["states"] = present.apply(
        lambda row: " + ".join(states[row.to_numpy()]), axis=1
    ).to_numpy()
    return by


def _participants_map_section(features: ArrayLike, by: Mapping[str, Any]) -> Items:
    """Show participants by their features, coloured by what may matter."""
    if by:
        text = (
            "The two leading principal axes of the features, found without labels. A "
            "map that separates arrays rather than groups warns of features that tell "
            "where a participant was recorded."
        )
        yield "How to read it", paragraphs(text)
    for name, labels in by.items():
        labels = np.asarray(labels)
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


def _versions() -> str:
    """List what it was made with."""
    text = io.StringIO()
    sys_info(text)
    return preformatted(text.getvalue())


def _has_probabilities(result: Comparison) -> bool:
    """Tell whether a comparison is of two classes, with probabilities."""
    return (
        _has_two_classes(result)
        and result.predictions.get("proba", pd.Series(dtype=float)).notna().any()
    )


def _has_two_classes(result: Comparison) -> bool:
    return "score" in result.predictions and result.predictions["score"].notna().any()
