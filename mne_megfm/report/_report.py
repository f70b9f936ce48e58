"""One HTML report of data, model and results."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from sklearn.impute import SimpleImputer

from ..estimators import MEGFMTransformer
from ..inputs import recording_quality
from ..interpret import MASKS, attention_test, reconstruct, score_reconstruction
from ..utils.files import write_whole
from ..utils.logs import verbose
from ._data import (
    confound_parts,
    data_answer,
    data_parts,
    describe_data,
    exclusion_parts,
    name_all,
    named_labels,
    recorded_by_person,
    remarks_by_person,
    revealed_parts,
    states_of,
)
from ._groups import (
    StateSignals,
    difference_parts,
    explanation_parts,
    map_parts,
    read_signals,
    signal_parts,
    two_groups,
    why_answer,
)
from ._methods import (
    attention_parts,
    model_parts,
    provenance_parts,
    reconstruction_parts,
    version_parts,
)
from ._outcome import curve_parts, find_outcome, outcome_answer, outcome_parts
from ._page import Answer, Part, Section, embed, paragraphs, render
from ._people import list_people, people_answer, people_parts

if TYPE_CHECKING:
    from ..evaluation import Comparison, LearningCurve
    from ..interpret import Attribution, Importance, Reconstruction
    from ..pretraining import History

NOT_A_DEVICE = (
    "Not a diagnostic device: nothing in this report is fit for diagnosis, nor for any "
    "other clinical decision."
)
_METHODS = "methods"
#: Sections that things can be added to, in the order of the report.
SECTIONS = ("outcome", "people", "why", "data", _METHODS)
#: What is said in a section that nothing was added to.
_EMPTY = {
    "outcome": "No cross-validated comparison was added (add_comparison).",
    "people": "No cross-validated comparison was added (add_comparison).",
    "why": "Neither recordings of two groups (add_groups) nor features (add_features) "
    "nor explanations (add_explanations) were added.",
    "data": "No recordings were added (add_data).",
}
_THRESHOLD = 0.5


class MEGFMReport:
    """One HTML report that answers four questions of its reader.

    Can patients be distinguished from controls? For whom? Why? What is wrong with the
    data? The first screen has a short answer to each, from what was added; sections
    follow in this order, whatever the order of calls, and methods come last. What was
    not added is named. The report is one file that opens without a network; it runs no
    scripts.

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
        self.title = title
        self.note = note
        self.fname: str | None = None
        self._comparison: Comparison | None = None
        self._described: pd.DataFrame | None = None
        self._quality: pd.DataFrame | None = None
        self._features: pd.DataFrame | None = None
        self._labels: pd.Series | None = None
        self._by: dict[str, Sequence] | None = None
        self._signals: dict[str, StateSignals] = {}
        self._signal_labels: list = []
        self._more: dict[str, list[Part]] = {key: [] for key in SECTIONS}
        self._html: str | None = None

    # -- what can be added --
    def add_comparison(self, result: Comparison) -> None:
        """Add a comparison of pipelines: how well they do, and for whom.

        Parameters
        ----------
        result : Comparison
            From :func:`~mne_megfm.evaluation.compare`. The report is about its first
            pretrained pipeline, or else the reference; another one that was added
            before is replaced.
        """
        self._comparison = result
        self._html = None

    def add_data(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
    ) -> None:
        """Add what was recorded: people, states, arrays and the quality of recordings.

        Parameters
        ----------
        X : list of dict | list of Epochs | Epochs | Raw
            The participants.
        y : array-like, shape (n_participants,) | None
            Their labels.
        names : list of str | None
            Their names, as in the comparison. None for their places in ``X``, from 0
            on. Think of whom you hand the report to.

        Raises
        ------
        ValueError
            If lengths differ, or two names are the same.
        """
        described = describe_data(X, y, names)
        _check_unique(described.index)
        own = described.index.tolist() if isinstance(X, list) else None
        self._quality = recording_quality(X, names=own, verbose="error")
        self._described = described
        self._html = None

    def add_groups(self, X: Any, y: ArrayLike) -> None:
        """Add averages, topographies and spectra of two groups.

        Recordings are read one participant after the other, and mapped to the canonical
        sensors.

        Parameters
        ----------
        X : list of dict | list of Epochs
            The participants.
        y : array-like, shape (n_participants,)
            Their labels. Participants with a missing one are left out.

        Raises
        ------
        ValueError
            If lengths differ, or there are not two labels.
        """
        labels = list(y)
        if len(labels) != len(X):
            raise ValueError(
                f"Expected a label for each of {len(X)} participants, got "
                f"{len(labels)}; pass them in the same order."
            )
        if two_groups(labels, None) is None:
            raise ValueError(
                "Expected two labels, got others; pass participants of two groups."
            )
        kept = [place for place, label in enumerate(labels) if not pd.isna(label)]
        self._signals = read_signals([X[place] for place in kept])
        self._signal_labels = [labels[place] for place in kept]
        self._html = None

    def add_features(
        self,
        features: ArrayLike | pd.DataFrame,
        y: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
        feature_names: Sequence[str] | None = None,
        by: Mapping[str, Sequence] | None = None,
    ) -> None:
        """Add features: which differ between groups, who is alike, and a map of people.

        Parameters
        ----------
        features : array-like or DataFrame, shape (n_participants, n_features)
            Features of participants, such as those of
            :class:`~mne_megfm.MEGFMTransformer`.
        y : array-like, shape (n_participants,) | None
            Their labels. None shows no differences between groups.
        names : list of str | None
            Their names, as in the comparison. None for places, from 0 on.
        feature_names : list of str | None
            Names of the features, as ``get_feature_names_out`` gives them. None takes
            those of the columns of a DataFrame, or else numbers.
        by : dict of str to array-like, shape (n_participants,) | None
            What the map of people is coloured by, a map each. None takes the labels,
            and the arrays and states of `add_data`.

        Raises
        ------
        ValueError
            If lengths differ, or two names are the same.
        """
        columns = getattr(features, "columns", None)
        values = np.asarray(features, dtype=float)
        if values.ndim != 2:
            raise ValueError(
                "Expected features of shape (n_participants, n_features), got shape "
                f"{values.shape}; pass one row a participant."
            )
        if feature_names is None:
            feature_names = range(values.shape[1]) if columns is None else columns
        given = {"names": names, "y": y, **(by or {})}
        for what, one in given.items():
            if one is not None and len(one) != len(values):
                raise ValueError(
                    f"Expected {what} with one value a row of features "
                    f"({len(values)}), got {len(one)}; give one for each."
                )
        if len(feature_names) != values.shape[1]:
            raise ValueError(
                f"Expected a name for each of {values.shape[1]} features, got "
                f"{len(feature_names)}; pass the names of the columns."
            )
        index = pd.Index(name_all(names, len(values)), name="participant")
        _check_unique(index)
        columns = [str(name) for name in feature_names]
        self._features = pd.DataFrame(values, index=index, columns=columns)
        labels = None if y is None else pd.Series(list(y), index=index, dtype=object)
        self._labels = labels
        self._by = None if by is None else dict(by)
        self._html = None

    def add_learning_curve(self, curve: LearningCurve) -> None:
        """Add how scores grow with the number of participants in training.

        Parameters
        ----------
        curve : LearningCurve
            From :func:`~mne_megfm.evaluation.learning_curve`.
        """
        self._add("outcome", curve_parts(curve))

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
        self._add("why", explanation_parts(maps, importance))

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
        self._add(_METHODS, reconstruction_parts(scores, results))

    def add_attention(self, attention: Any) -> None:
        """Add where the encoder looks.

        Parameters
        ----------
        attention : AttentionTest | Evoked | dict of str to these
            From :func:`~mne_megfm.interpret.attention_test`, or
            :func:`~mne_megfm.interpret.attention`.
        """
        self._add(_METHODS, attention_parts(_named(attention, "Average")))

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
            begins with one.
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
        self._add(_METHODS, model_parts(estimator, weights, history))

    def add_figure(
        self, figure: Figure, title: str, alt: str, *, section: str = _METHODS
    ) -> None:
        """Add a figure of your own.

        Parameters
        ----------
        figure : Figure
            The figure. It is closed.
        title : str
            Its title.
        alt : str
            What it shows, in words, for those who do not see it.
        section : {"outcome", "people", "why", "data", "methods"}
            At the end of which section.

        Raises
        ------
        ValueError
            If there is no such section, or ``alt`` is empty.
        """
        if section not in SECTIONS:
            raise ValueError(
                f"Expected a section among {list(SECTIONS)}, got {section!r}; choose "
                "one of these."
            )
        if not alt.strip():
            raise ValueError("Expected what the figure shows in words (alt), got none.")
        self._add(section, [Part(title, embed(figure, alt))])

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
        html = self.html
        write_whole(path, html.encode(), overwrite)
        self.fname = str(path)
        if open_browser:
            webbrowser.open_new_tab(path.resolve().as_uri())
        return self.fname

    # -- how it is put together --
    @property
    def html(self) -> str:
        """The page. It is put together when it is asked for."""
        if self._html is None:
            with mne.utils.use_log_level("error"):
                answers, sections = self._build()
            today = date.today().isoformat()
            self._html = render(
                self.title, self.note, NOT_A_DEVICE, today, answers, sections
            )
        return self._html

    def _add(self, section: str, parts: Sequence[Part]) -> None:
        """Add parts to a section; what has the title of an earlier one replaces it."""
        titles = {part.title for part in parts}
        kept = [part for part in self._more[section] if part.title not in titles]
        self._more[section] = [*kept, *parts]
        self._html = None

    def _build(self) -> tuple[list[Answer], list[Section]]:
        """Answer the questions, and write the sections."""
        result = self._comparison
        parts: dict[str, list[Part]] = {key: [] for key in SECTIONS}
        people, positive = None, None if result is None else result.positive
        excluded = pd.DataFrame(columns=["kind", "name", "reason"])
        if result is not None:
            excluded = result.excluded
            parts["outcome"] += outcome_parts(result, _THRESHOLD)
            model = find_outcome(result).model
            people = list_people(result, model, _THRESHOLD)
            parts["people"] += self._people_parts(result, people, model)
        differences = self._why(parts["why"], positive)
        if self._described is not None:
            parts["data"] += data_parts(self._described, self._quality)
        if result is not None:
            parts["data"] += exclusion_parts(excluded)
            parts["data"] += confound_parts(result) + revealed_parts(result)
            parts[_METHODS] += provenance_parts(result)
        for key, more in self._more.items():
            parts[key] += more
        parts[_METHODS] += version_parts()
        order = None if self._labels is None else two_groups(self._labels, positive)
        answers = [
            outcome_answer(result),
            people_answer(people, excluded, positive),
            why_answer(differences, order),
            data_answer(self._described, self._quality, result),
        ]
        titles = {answer.key: answer.question for answer in answers}
        titles[_METHODS] = "Methods"
        sections = [
            Section(key, titles[key], found or [_nothing(key)])
            for key, found in parts.items()
        ]
        return answers, sections

    def _people_parts(
        self, result: Comparison, people: pd.DataFrame, model: str
    ) -> list[Part]:
        recorded = pd.DataFrame()
        if self._described is not None:
            recorded = recorded_by_person(self._described)
        return people_parts(
            people,
            positive=result.positive,
            other=None if result.positive is None else result.classes[0],
            pipeline=model,
            threshold=_THRESHOLD,
            recorded=recorded,
            remarks={} if self._quality is None else remarks_by_person(self._quality),
            features=self._features,
        )

    def _why(self, parts: list[Part], positive: Any) -> pd.DataFrame | None:
        """Write the section on groups; give the differences of features."""
        differences = None
        if self._features is not None and self._labels is not None:
            found, differences = difference_parts(
                self._features, self._labels, positive
            )
            parts += found
        parts += signal_parts(self._signals, self._signal_labels, positive)
        by = self._colours()
        if by and len(self._features) > 2 and self._features.shape[1] > 1:
            parts += map_parts(SimpleImputer().fit_transform(self._features), by)
        return differences

    def _colours(self) -> dict[str, Sequence]:
        """Find what may matter of people: label, array, and states that there are."""
        if self._features is None:
            return {}
        if self._by is not None:
            return self._by
        by = {}
        if self._labels is not None:
            by["group"] = named_labels(self._labels)
        if self._described is not None:
            described = self._described.reindex(self._features.index)
            states = states_of(described)
            there = described[states].fillna(0).to_numpy() > 0
            by["array"] = described["array"].fillna("not known").tolist()
            by["states"] = [" + ".join(states[row]) or "none" for row in there]
        return {
            name: values
            for name, values in by.items()
            if name == "group" or len(set(values)) > 1
        }


def _nothing(key: str) -> Part:
    """Say that nothing was added to a section."""
    return Part("Not in this report", paragraphs(_EMPTY[key]))


def _check_unique(names: pd.Index) -> None:
    twice = names[names.duplicated()]
    if len(twice):
        raise ValueError(
            f"Expected a name of its own for each participant, got {twice[0]!r} twice; "
            "pass other names."
        )


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
    feature_names: Sequence[str] | None = None,
    weights: str | os.PathLike | None = None,
    title: str = "mne-megfm",
    note: str | None = None,
    overwrite: bool = False,
    verbose: bool | str | int | None = None,
) -> MEGFMReport:
    """Write one HTML report of data, model and results.

    Whatever is given is shown; of what is not, the report says so. More can be added to
    what it returns.

    Parameters
    ----------
    fname : path-like | None
        Where to write it, ending with ``.html``. None writes nothing.
    X : list of dict | list of Epochs | Epochs | Raw | None
        The participants, see `MEGFMReport.add_data`; with two labels in ``y`` also
        `MEGFMReport.add_groups`.
    y : array-like, shape (n_participants,) | None
        Their labels.
    names : list of str | None
        Their names, as in ``comparison``. None for their places in ``X``. Think of
        whom you hand the report to.
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
        Features of ``X``, see `MEGFMReport.add_features`.
    feature_names : list of str | None
        Their names.
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
    >>> "not a diagnostic device" in report.html.lower()
    True
    """
    if fname is not None:
        _check_path(Path(fname), overwrite)  # before time is spent
    transformer = _find_transformer(estimator)
    if weights is None:
        weights = "megfm-tiny" if transformer is None else transformer.weights
    report = MEGFMReport(title, note)
    if comparison is not None:
        report.add_comparison(comparison)
    if X is not None:
        report.add_data(X, y, names=names)
        if y is not None and two_groups(list(y), None) is not None:
            report.add_groups(X, y)
    if features is not None:
        report.add_features(features, y, names=names, feature_names=feature_names)
    if recording is not None:
        if transformer is None:
            transformer = MEGFMTransformer(weights).fit(recording)
        report.add_recording(recording, transformer)
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
