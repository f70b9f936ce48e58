"""Features of the rows of recordings, and what could not be read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import mne
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from mne.utils import ProgressBar, logger, use_log_level

from ..archive.reading import check_events, read_source
from ..archive.settings import PLAIN, Reading
from ..archive.sources import Source
from ..estimators import MEGFMTransformer
from ..inputs import Recording, as_recordings
from ..inputs.windows import RowForm
from ..models import ModelConfig
from ..utils.errors import is_of_memory
from ..weights import load_checkpoint, weights_path


@dataclass(frozen=True)
class Failure:
    """A recording, or all of a participant, that could not be used.

    Attributes
    ----------
    participant : str
        Whose it is.
    files : str
        The file, or files.
    reason : str
        Why, in a line.
    of_memory : bool
        Whether there was too little memory; it may suffice another time.
    """

    participant: str
    files: str
    reason: str
    of_memory: bool = False

    @classmethod
    def of(cls, participant: str, files: str, error: Exception) -> Failure:
        """Tell what an exception says, whatever its kind."""
        kind, text = type(error).__name__, " ".join(str(error).split())
        # most say what they want; a bare KeyError or a class of MNE's own does not
        told = isinstance(error, OSError | RuntimeError | TypeError | ValueError)
        reason = text if told and text else f"{kind}: {text}" if text else kind
        logger.debug(f"{files}: {reason}", exc_info=error)
        return cls(participant, files, reason, is_of_memory(error))


def run_each(
    function: Callable,
    tasks: list[tuple],
    n_jobs: int | None,
    message: str,
) -> list[Any]:
    """Call a function for each task, in joblib's workers, with a progress bar.

    ``joblib.parallel_config`` says among which processes, or which cluster.

    Parameters
    ----------
    function : callable
        What to call. It is to catch what may fail.
    tasks : list of tuple
        Its arguments.
    n_jobs : int | None
        Tasks at a time.
    message : str
        What the progress bar says.

    Returns
    -------
    results : list
        In the order of the tasks.
    """
    # MNE says several lines of each recording; who asks for them gets them
    level = "DEBUG" if logger.isEnabledFor(logging.DEBUG) else "WARNING"
    results = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_call)(function, task, level) for task in tasks
    )
    return list(ProgressBar(results, 0, message, max_value=len(tasks)))


def _call(function: Callable, task: tuple, level: str) -> Any:
    with use_log_level(level):  # which other processes do not inherit
        return function(*task)


def report_failures(failures: list[Failure], n_good: int, strict: bool) -> None:
    """Name what failed, and settle whether that is an error.

    Parameters
    ----------
    failures : list of Failure
        What failed.
    n_good : int
        Recordings or participants that did not.
    strict : bool
        Whether any failure is an error.

    Raises
    ------
    ClickException
        If all failed, or any did and that is to be an error. Too little memory always
        is: who is in a table must not depend on what else the machine was doing.
    """
    for failure in failures:
        click.echo(
            f"Failed: {failure.participant} ({failure.files}): {failure.reason}",
            err=True,
        )
    starved = sum(failure.of_memory for failure in failures)
    if starved:
        raise click.ClickException(
            f"Expected enough memory for all recordings, got too little for {starved} "
            "of them, see above; run fewer --jobs at a time, use a machine with more, "
            "or leave these recordings out. Nothing was written."
        )
    if failures and not n_good:
        reasons = {failure.reason for failure in failures}
        raise click.ClickException(
            f"Expected recordings that can be read, got {len(failures)} that all "
            f"failed: {reasons.pop() if len(reasons) == 1 else 'see above'}"
        )
    if failures and strict:
        raise click.ClickException(
            f"Expected with --strict that no recording fails, got {len(failures)} "
            "that did, see above; nothing was written."
        )


#: Length of the rows of a continuous recording in s, as `MEGFMTransformer` has it.
_SECONDS = 1.0


def extract_rows(
    sources: list[Source],
    params: dict[str, Any],
    n_jobs: int | None = 1,
    reading: Reading = PLAIN,
    strict: bool = False,
) -> pd.DataFrame:
    """Compute a row of features for each epoch or window of each recording.

    Recordings are shared out by joblib. Those that fail are named and left out; too
    little memory is an error.

    Parameters
    ----------
    sources : list of Source
        The recordings.
    params : dict
        Parameters of :class:`~mne_megfm.estimators.MEGFMTransformer`.
    n_jobs : int | None
        Recordings at a time.
    reading : Reading
        How recordings are read.
    strict : bool
        Whether a recording that fails is an error.

    Returns
    -------
    frame : DataFrame
        Columns participant, state, file and row, then the features.

    Raises
    ------
    ClickException
        If all recordings fail, one does and that is to be an error, or memory does not
        suffice for one.
    ValueError
        If rows of one recording are longer than those of another, or of one state cut
        at another time from their event.
    """
    check_events(sources, reading, n_jobs)
    # wrong weights would fail each time
    model = load_checkpoint(weights_path(params["weights"]))
    _check_forms(sources, reading, model.config, n_jobs)
    tasks = [(source, params, reading) for source in sources]
    results = run_each(_try_rows, tasks, n_jobs, "Features")
    failures = [result for result in results if isinstance(result, Failure)]
    report_failures(failures, len(results) - len(failures), strict)
    frames = [result for result in results if not isinstance(result, Failure)]
    return pd.concat(frames, ignore_index=True)


def _check_forms(
    sources: list[Source], reading: Reading, config: ModelConfig, n_jobs: int | None
) -> None:
    """See that rows can stand in one table, before any of them is computed."""
    found = Parallel(n_jobs=n_jobs)(
        delayed(_forms)(source, reading, config) for source in sources
    )
    first: tuple[Source, RowForm] | None = None
    of_state: dict[str, tuple[Source, RowForm]] = {}
    wrong: dict[str, list[str]] = {}
    for source, forms in zip(sources, found, strict=True):
        for state, form in forms:
            first = first or (source, form)
            other = of_state.setdefault(state, (source, form))
            if form.n_patches != first[1].n_patches:
                other = first
            elif not other[1].differs(form):
                continue
            texts = f"{other[1]} in {other[0]}", f"{form} in "
            wrong.setdefault(", but ".join(texts), []).append(str(source))
    for key, files in wrong.items():
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        raise ValueError(
            f"Expected rows that can stand in one table, got {key}"
            f"{', '.join(files[:5])}{more}; cut or crop epochs to the same times, or "
            "make a table of each."
        )


def _forms(
    source: Source, reading: Reading, config: ModelConfig
) -> list[tuple[str, RowForm]]:
    """Find states and form of rows; none if a recording cannot be read, as is said."""
    with warnings.catch_warnings(), use_log_level("error"):
        warnings.simplefilter("ignore")  # said when it is read
        try:
            inst = source.read()
            forms = []
            for one in inst if isinstance(inst, list) else [inst]:
                forms.append(_form(one, source.task, reading, config))
            return forms
        except Exception:
            return []


def _form(
    inst: Any, task: str, reading: Reading, config: ModelConfig
) -> tuple[str, RowForm]:
    none = np.empty(0, int)
    if not isinstance(inst, mne.io.BaseRaw):
        is_epochs = isinstance(inst, mne.BaseEpochs)
        kind = "epochs" if is_epochs else "evoked"
        names = sorted(inst.event_id) if is_epochs else [inst.comment]
        one = Recording(inst, kind, none, len(inst.times), none)
        return task or ", ".join(names), RowForm.of(one, config)
    sfreq = inst.info["sfreq"]
    if task in reading.events:
        n_samples = round((reading.tmax - reading.tmin) * sfreq)
        one = Recording(inst, "epochs", none, n_samples, none)
        return task, RowForm.of(one, config)._replace(tmin=reading.tmin)
    n_samples = min(round(_SECONDS * sfreq), inst.n_times)
    one = Recording(inst, "raw", none, n_samples, none)
    return task or "rest", RowForm.of(one, config)


def _try_rows(
    source: Source, params: dict[str, Any], reading: Reading
) -> pd.DataFrame | Failure:
    try:
        return _rows(source, params, reading)
    except Exception as error:  # one bad recording takes no other down
        return Failure.of(source.participant, source.relative, error)


def _rows(source: Source, params: dict[str, Any], reading: Reading) -> pd.DataFrame:
    inst = read_source(source, reading)
    transformer = MEGFMTransformer(**params, sample="epoch").fit(inst)
    features = transformer.transform(inst)
    states = as_recordings(inst).states if not source.task else source.task
    frame = pd.DataFrame(features, columns=transformer.get_feature_names_out())
    keys = {
        "participant": source.participant,
        "state": states,
        "file": source.relative,
        "row": range(len(frame)),
    }
    return pd.concat([pd.DataFrame(keys, index=frame.index), frame], axis=1)
