"""Work on recordings or participants, of which any may fail without the others."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from joblib import Parallel, delayed
from mne.utils import ProgressBar, logger, use_log_level


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
    """

    participant: str
    files: str
    reason: str

    @classmethod
    def of(cls, participant: str, files: str, error: Exception) -> Failure:
        """Tell what an exception says, whatever its kind."""
        kind, text = type(error).__name__, " ".join(str(error).split())
        # most say what they want; a bare KeyError or a class of MNE's own does not
        told = isinstance(error, OSError | RuntimeError | TypeError | ValueError)
        reason = text if told and text else f"{kind}: {text}" if text else kind
        logger.debug(f"{files}: {reason}", exc_info=error)
        return cls(participant, files, reason)


def run_each(
    function: Callable,
    tasks: list[tuple],
    n_jobs: int | None,
    message: str,
    n_done: int = 0,
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
    n_done : int
        Tasks that were done before, for the progress bar.

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
    n_all = n_done + len(tasks)
    return list(ProgressBar(results, n_done, message, max_value=n_all))


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
        If all failed, or any did and that is to be an error.
    """
    for failure in failures:
        click.echo(
            f"Failed: {failure.participant} ({failure.files}): {failure.reason}",
            err=True,
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
