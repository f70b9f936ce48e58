"""Bring a BIDS data set, or files named in a table, to a store of windows."""

from __future__ import annotations

from pathlib import Path

import click

from ._options import Command, filter_options, parse_groups, run_as_module


@click.command(
    cls=Command,
    examples="""
    mne-megfm prepare BIDS_ROOT STORE --jobs 8
    mne-megfm prepare BIDS_ROOT STORE --state rest=rest,resting --state auditory=tones
    mne-megfm prepare BIDS_ROOT STORE --events auditory=standard,deviant --tmin -0.2
    mne-megfm prepare BIDS_ROOT STORE --state images=things --events images=image
    --embeddings clip.parquet
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
    "an events.tsv. Annotations that begin with BAD or EDGE are no events. A name with "
    "a comma stands in double quotes, as in 'faces=\"left, up\",right'.",
)
@click.option(
    "--tmin",
    default=-0.2,
    show_default=True,
    help="Start of a window from its event, in s.",
)
@click.option(
    "--embeddings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Table of an embedding for each event, such as of the image that was shown: "
    "targets of the windows, for the objective contrastive. It has a column event, "
    "with names of events or a part of each, and a column of numbers for each "
    "dimension.",
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
    embeddings: Path | None,
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
    from ..archive import prepare

    prepare(
        source,
        store,
        states=states,
        events=events,
        tmin=tmin,
        embeddings=embeddings,
        highpass=highpass or None,
        lowpass=lowpass,
        notch=notch,
        maxwell=maxwell,
        st_duration=st_duration,
        site=site,
        prefix=prefix,
        n_jobs=jobs,
        strict=strict,
        verbose=None,  # as --verbose and --quiet say
    )


if __name__ == "__main__":
    run_as_module("prepare")
