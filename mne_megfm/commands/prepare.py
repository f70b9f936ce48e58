"""Bring a BIDS data set, or files named in a table, to a store of windows."""

from __future__ import annotations

import csv
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ..archive.settings import Reading
from ._options import (
    Command,
    check_filters,
    filter_options,
    parse_groups,
    run_as_module,
)


@click.command(
    cls=Command,
    examples="""
    mne-megfm prepare BIDS_ROOT STORE --jobs 8
    mne-megfm prepare BIDS_ROOT STORE --state rest=rest,resting --state auditory=tones
    mne-megfm prepare BIDS_ROOT STORE --events auditory=standard,deviant --tmin -0.2
    mne-megfm prepare BIDS_ROOT STORE --maxwell --st-duration 10 --notch 50
    mne-megfm prepare files.csv STORE --site Cincinnati --strict
    """,
)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("store", type=click.Path(path_type=Path))
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE=TASK,...",
    callback=parse_groups,
    help="Tasks that a state goes by; others are left out. By default each task is a "
    "state.",
)
@click.option(
    "--events",
    multiple=True,
    metavar="STATE=EVENT,...",
    callback=parse_groups,
    help="Cut the windows of a state around these events instead of one after the "
    "other: names of annotations (events.tsv), parts of such names between slashes, "
    "else numbers of the trigger channel; * for all, of annotations alone if there is "
    "an events.tsv. Annotations that begin with BAD or EDGE are no events.",
)
@click.option(
    "--tmin",
    default=-0.2,
    show_default=True,
    help="Start of a window from its event, in s.",
)
@filter_options(highpass=0.5)
@click.option("--site", default="", help="Where it was recorded, if nothing else says.")
@click.option(
    "--prefix",
    default="",
    help="Put before names of participants, for several data sets in one store.",
)
@click.option(
    "-j", "--jobs", default=1, show_default=True, help="Processes; -1 for all cores."
)
@click.option("--strict", is_flag=True, help="Fail if any recording failed.")
def command(
    source: Path,
    store: Path,
    states: dict[str, list[str]],
    events: dict[str, list[str]],
    tmin: float,
    highpass: float,
    lowpass: float | None,
    notch: float | None,
    maxwell: bool,
    st_duration: float | None,
    site: str,
    prefix: str,
    jobs: int,
    strict: bool,
) -> None:
    """Bring SOURCE to the window store STORE.

    SOURCE is the root of a BIDS data set, or a table (CSV or TSV) with the columns
    file, participant and state (also site, name and bads: bad channels with ; between).
    Empty-room recordings, bad channels and spans annotated as bad are left out. Run
    again after an interruption, or when there are new recordings, the command does what
    is missing and changes nothing that is there. STORE/logs tells the outcome of every
    recording.
    """
    from ..archive.epochs import check_events
    from ..archive.recording import Parameters
    from ..archive.sources import find_sources

    filters = check_filters(highpass, lowpass, notch, maxwell, st_duration)
    if jobs == 0:
        raise click.UsageError("Expected --jobs to be other than 0.")
    params = Parameters(**vars(filters), events=events or None, tmin=tmin)
    sources = find_sources(source, states, prefix=prefix, site=site)
    usable = [source for source in sources if not source.left_out]
    if events:
        check_events(usable, Reading(events=events), jobs)
    outcomes = _run(sources, params, store, jobs)
    _report(outcomes, strict)


def _run(sources: list, params: Any, path: Path, jobs: int) -> list[dict[str, Any]]:
    """Prepare all recordings, logging each as it is done."""
    from joblib import Parallel, delayed
    from mne.utils import ProgressBar, logger

    from ..archive.recording import FAILED, prepare_recording
    from ..store import WindowStore

    path = path.expanduser()
    if (path / "store.json").is_file():
        WindowStore.open(path, "a")  # damage is to be known before hours of work
    else:
        WindowStore.create(path)
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered")
    results = parallel(delayed(prepare_recording)(s, params, path) for s in sources)
    outcomes = []
    with _open_log(path) as (file, write):
        logger.info(f"Preparing {len(sources)} recordings; their outcomes: {file}")
        for outcome in ProgressBar(results, max_value=len(sources), mesg="Preparing"):
            write(outcome)
            outcomes.append(outcome)
            if outcome["outcome"] == FAILED:
                logger.debug(outcome.get("traceback"))
            if "stops" in outcome:
                break
        with warnings.catch_warnings():  # that work goes to waste is meant
            warnings.simplefilter("ignore", UserWarning)
            results.close()
    return outcomes


@contextmanager
def _open_log(path: Path) -> Iterator[tuple[Path, Callable[[dict[str, Any]], None]]]:
    """Open a log of this run, and give its path and what writes a line to it."""
    from ..archive.recording import COLUMNS
    from ..utils.tables import escape_formula

    folder = path / "logs"
    folder.mkdir(exist_ok=True)
    file = folder / f"prepare-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{os.getpid()}.tsv"
    with open(file, "x", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(
            stream,
            COLUMNS,
            restval="",
            extrasaction="ignore",
            delimiter="\t",
            lineterminator="\n",
        )

        def write(row: dict[str, Any]) -> None:
            # messages may have several lines, a row of the log has one
            cells = {k: " ".join(str(v).split()) for k, v in row.items()}
            writer.writerow({k: escape_formula(v) for k, v in cells.items()})
            stream.flush()

        writer.writeheader()
        yield file, write


def _report(outcomes: list[dict[str, Any]], strict: bool) -> None:
    """Sum up, name what failed, and settle the exit code."""
    from mne.utils import logger

    from ..archive.recording import FAILED, LEFT_OUT, THERE, WRITTEN

    counts = Counter(outcome["outcome"] for outcome in outcomes)
    reasons = Counter(o["reason"] for o in outcomes if o["outcome"] == LEFT_OUT)
    logger.info(
        ", ".join(
            f"{counts[kind]} {kind}" for kind in (WRITTEN, THERE, LEFT_OUT, FAILED)
        )
    )
    for reason, n in reasons.most_common():
        logger.info(f"  left out: {n} ({reason})")
    written = [o for o in outcomes if o["outcome"] == WRITTEN]
    seconds = Counter()
    for outcome in written:
        seconds[outcome["state"], outcome["array"]] += outcome["seconds"]
    for (state, array), total in sorted(seconds.items()):
        logger.info(f"  written: {total / 60:.1f} min of {state}, {array}")
    failed = sorted(
        (o for o in outcomes if o["outcome"] == FAILED), key=lambda o: o["name"]
    )
    for outcome in failed:
        reason = " ".join(outcome["reason"].split())
        click.echo(f"Failed: {outcome['name']} ({outcome['file']}): {reason}", err=True)
    for outcome in outcomes:
        if "stops" in outcome:
            raise click.ClickException(
                f"The store cannot be written to ({outcome['reason']}). What is "
                "reported as written stays; make room, or get the right to write, and "
                "run the same command again."
            )
    if failed and (strict or not counts[WRITTEN] + counts[THERE]):
        raise click.ClickException(
            f"{len(failed)} of {len(outcomes)} recordings failed, see above."
        )
    if not counts[WRITTEN] + counts[THERE]:
        raise click.ClickException(
            "Expected recordings to prepare, got none that is not to be left out."
        )


if __name__ == "__main__":
    run_as_module("prepare")
