"""Put a report together, and write it in one piece."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from mne.utils import verbose
from numpy.typing import ArrayLike

from ..estimators import MEGFMTransformer
from ..interpret import (
    MASKS,
    attention_test,
    masked_reconstruction,
    score_reconstruction,
)
from . import _sections as sections
from ._data import describe_data
from ._html import STYLE

if TYPE_CHECKING:
    from ..evaluation import Comparison, LearningCurve
    from ..interpret import AttentionTest, Attribution, Importance, Reconstruction
    from ..pretraining import History


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
        parts["data"] = sections.data(described, excluded)
    if scores is not None or reconstructions:
        parts["reconstruction"] = sections.reconstruction(scores, reconstructions or {})
    if attention is not None:
        parts["attention"] = sections.attention(_named(attention, "Average"))
    if comparison is not None or curve is not None:
        parts["comparison"] = sections.comparison(comparison, curve)
    if features is not None:
        parts["map of participants"] = sections.participants_map(features, described, y)
    if attribution is not None or importance is not None:
        maps = {} if attribution is None else _named(attribution, "Attribution")
        parts["explanations"] = sections.explanations(maps, importance)
    if sections.has_probabilities(comparison):
        parts["calibration"] = sections.calibration(comparison)
    parts["model"] = sections.model(estimator, weights, history)
    parts["versions"] = sections.versions()

    # figures stay at the size that they are given in _add
    report = mne.Report(
        title=title, img_max_width=None, img_max_res=None, verbose="error"
    )
    report.add_custom_css(STYLE)
    there = [name for name, items in parts.items() if items is not None]
    missing = {name: WITHOUT[name] for name in parts if parts[name] is None}
    parts = {"about": sections.about(note, there, missing)} | parts
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
