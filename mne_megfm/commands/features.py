"""Turn recordings into a table of features."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..archive.settings import Reading
from ..utils.extras import needs_extra
from ._options import Command, parse_columns, reading_options, run_as_module

if TYPE_CHECKING:
    import pandas as pd


@click.command(
    cls=Command,
    examples="""
    mne-megfm features sub-*_task-rest_meg.fif --out features.parquet
    mne-megfm features BIDS_ROOT --out features.parquet --jobs 4
    mne-megfm features BIDS_ROOT --participants -o people.parquet
    mne-megfm features BIDS_ROOT --participants --state auditory=tones
    --events auditory=standard,deviant -o people.parquet
    mne-megfm features BIDS_ROOT --participants --covariates age,sex,site -o people.csv
    mne-megfm features recordings.tsv --weights OUT --out features.csv
    mne-megfm features BIDS_ROOT --out features.parquet --dask tcp://host:8786
    """,
)
@click.argument(
    "recordings",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@click.option(
    "--out",
    "-o",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The table: .parquet, .csv or .tsv.",
)
@click.option(
    "--participants",
    is_flag=True,
    help="A row a participant, by the participant encoder.",
)
@click.option(
    "--covariates",
    multiple=True,
    metavar="COLUMN,...",
    callback=parse_columns,
    help="Columns that describe participants, such as age, to be written before the "
    "features.",
)
@click.option(
    "--covariates-from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Their table.  [default: participants.tsv beside the recordings]",
)
@reading_options
@click.option("--weights", default="megfm-tiny", show_default=True)
@click.option(
    "--pooling", help="How tokens become a row of an epoch.  [default: compact]"
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or auto.")
@click.option(
    "--jobs",
    default=1,
    show_default=True,
    help="Recordings, or participants, at a time; -1: all cores.",
)
@click.option("--dask", help="Address of a dask scheduler to share them out to.")
@click.option("--strict", is_flag=True, help="Fail if any recording failed.")
@click.option("--overwrite", is_flag=True, help="Replace a table that exists.")
def command(
    recordings: tuple[Path, ...],
    out: Path,
    participants: bool,
    covariates: list[str],
    covariates_from: Path | None,
    reading: Reading,
    weights: str,
    pooling: str | None,
    device: str,
    jobs: int,
    dask: str | None,
    strict: bool,
    overwrite: bool,
) -> None:
    """Compute features of RECORDINGS, a row for each epoch or window of 1 s.

    RECORDINGS are files that MNE reads, a BIDS data set, or a table (CSV or TSV) with
    the columns file, participant and state. Of files, sub-NAME and task-NAME in the
    name give participant and state.

    With --participants there is a row a participant, of all recordings of each state:
    measures of responses and spectra, see the guide. States may be missing. Continuous
    recordings have responses where --events cuts them. With weights that have no
    participant encoder it is mean and spread of the rows, state by state. --covariates
    takes age, sex or site from participants.tsv, for norms and other statistics.

    Recordings that cannot be read are named and left out; features of participants are
    of the others. Too little memory is an error, and nothing is written. In CSV and
    TSV, names that a spreadsheet would take for formulas have an apostrophe in front,
    which is taken away when mne-megfm reads them.
    """
    from mne.utils import logger

    from ..archive.sources import list_recordings
    from ..utils.tables import KEYS, SUFFIXES, write_table
    from ._covariates import find_table, read_covariates
    from ._options import check_target
    from ._participants import extract_participants
    from ._rows import extract_rows

    check_target(out, overwrite, SUFFIXES)
    if participants and pooling is not None:
        raise click.UsageError(
            "Expected --pooling without --participants, got both; the participant "
            "encoder does not pool tokens."
        )
    if covariates and not participants:
        raise click.UsageError(
            "Expected --covariates with --participants, got no such; a row of an epoch "
            "has none."
        )
    if covariates_from is not None and not covariates:
        raise click.UsageError(
            "Expected --covariates with --covariates-from, got none; name the columns."
        )
    known = None
    if covariates:
        path = covariates_from or find_table(recordings)
        known = read_covariates(path, covariates, "--covariates")
    sources = list_recordings(list(recordings), reading.states)
    # what is missing is said before recordings are read
    of_each = known and known.of((s.participant for s in sources), "cells are empty")
    params = {"weights": weights, "device": device}
    with ExitStack() as stack:
        if dask is not None:
            jobs = _use_dask(dask, stack)
        if participants:
            frame, _ = extract_participants(sources, params, jobs, reading, strict)
            if of_each is not None:
                covariates = [name for name in of_each if name not in frame]
                frame = _join(of_each, frame)
            frame = frame.reset_index()
        else:
            params["pooling"] = pooling or "projection"
            if pooling is not None:
                _check_frozen(params)
            frame = extract_rows(sources, params, jobs, reading, strict)
    # parquet keeps it
    frame.attrs = {"weights": weights, "reading": asdict(reading)}
    if covariates:
        frame.attrs["covariates"] = covariates
    write_table(frame, out, overwrite)
    n_features = len(frame.columns.difference(KEYS + covariates))
    logger.info(
        f"Wrote {len(frame)} rows of {n_features} features, of "
        f"{frame['participant'].nunique()} participants, to {out}."
    )


def _join(known: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Put what is known of participants before their features."""
    import pandas as pd
    from mne.utils import logger

    both = known.columns.intersection(features.columns)
    if len(both):  # an error would lose the features
        logger.warning(
            f"Expected covariates of other names than features, got "
            f"{', '.join(both)}: not written; rename these columns of the table."
        )
    return pd.concat([known.drop(columns=both).loc[features.index], features], axis=1)


def _check_frozen(params: dict[str, Any]) -> None:
    """Refuse a pooling that would be fitted to each recording by itself."""
    from ..estimators import MEGFMTransformer

    transformer = MEGFMTransformer(**params)
    transformer._fit_model(None)
    if transformer._fits_pooling:
        raise click.UsageError(
            f"Expected weights that hold the state of the pooling "
            f"{params['pooling']!r}, got {params['weights']!r}, with which each "
            "recording would have features of its own; give weights that were "
            "pretrained with it (pooling in the settings of `mne-megfm pretrain`)."
        )


def _use_dask(address: str, stack: ExitStack) -> int:
    """Let joblib share out to a cluster; give the number of jobs."""
    with needs_extra("cluster", "--dask"):
        from distributed import Client
    from joblib import parallel_config

    stack.enter_context(Client(address))
    stack.enter_context(parallel_config("dask"))
    return -1


if __name__ == "__main__":
    run_as_module("features")
