"""Write one HTML report of recordings, a model, and how well it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ._group import Command, run_as_module
from ._options import Reading, reading_options

_TABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: So much of a recording is reconstructed, s: minutes would tell the same.
_EXCERPT = 60.0


@click.command(
    cls=Command,
    examples="""
    mne-megfm report sub-*_meg.fif -o report.html
    mne-megfm report BIDS_ROOT --events auditory=tone --labels participants.tsv
    --label group -o report.html
    mne-megfm report recordings.tsv --weights OUT --history OUT/history.csv -o
    report.html
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
    help="The report: .html.",
)
@click.option("--labels", type=_TABLE, help="Labels of participants, to compare on.")
@click.option("--label", default="label", show_default=True, help="Their column.")
@click.option(
    "--positive",
    metavar="LABEL",
    help="Of two labels the one that sensitivity is of.  [default: the last, sorted]",
)
@reading_options
@click.option("--weights", default="megfm-tiny", show_default=True)
@click.option("--history", type=_TABLE, help="history.csv of a run of pretrain.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2))
@click.option("--repeats", default=4, show_default=True, type=click.IntRange(1))
@click.option("--permutations", default=10, show_default=True, type=click.IntRange(0))
@click.option("--seed", default=0, show_default=True)
@click.option("--title", default="mne-megfm", show_default=True)
@click.option("--jobs", default=1, show_default=True, help="Processes; -1: all cores.")
@click.option("--overwrite", is_flag=True, help="Replace a report that exists.")
def command(
    recordings: tuple[Path, ...],
    out: Path,
    labels: Path | None,
    label: str,
    positive: str | None,
    reading: Reading,
    weights: str,
    history: Path | None,
    folds: int,
    repeats: int,
    permutations: int,
    seed: int,
    title: str,
    jobs: int,
    overwrite: bool,
) -> None:
    """Write one HTML report of RECORDINGS, a model, and how well it does.

    RECORDINGS are files that MNE reads, a BIDS data set, or a table (CSV or TSV) with
    the columns file, participant and state. Continuous recordings have responses where
    --events cuts them. With --labels, the model's features are compared with all
    baselines by cross-validation over participants. The report names participants.
    """
    import matplotlib

    from ..estimators import MEGFMTransformer
    from ..pretraining import History
    from ..report import make_report
    from ._epochs import check_events
    from ._level_rows import group_by_participant, read_participant
    from ._participants_table import find_label, read_labels
    from ._rows import list_recordings, read_source
    from ._tables import check_target

    check_target(out, overwrite, (".html",))
    matplotlib.use("Agg")
    given = {"history": None if history is None else History.from_csv(history)}
    told = None if labels is None else read_labels(labels, label)
    sources = list_recordings(list(recordings), reading.states)
    check_events(sources, reading, jobs)
    by_name = group_by_participant(sources)
    names = list(by_name)
    X = [read_participant(own, reading) for own in by_name.values()]
    transformer = MEGFMTransformer(weights, unit="participant")
    descriptions = transformer.describe(X)
    transformer.fit_described(descriptions)
    if len(X) > 2:
        given["features"] = transformer.transform_described(descriptions)
    y = None
    if told is not None:
        y = told.reindex(names).to_list()
        positive = find_label(positive, told.dropna().unique())
        given |= _compare(
            X, y, names, positive, descriptions, weights, folds, repeats, permutations,
            seed, jobs,
        )  # fmt: skip
    make_report(
        out,
        X,
        y,
        names=names,
        estimator=transformer,
        recording=excerpt(read_source(sources[0], reading)),
        title=title,
        overwrite=overwrite,
        **given,
    )
    click.echo(f"Wrote {out}. Not for diagnosis.")


def excerpt(inst: Any) -> Any:
    """Take the first minute of a recording."""
    import mne

    if isinstance(inst, list):  # averages
        inst = inst[0]
    if isinstance(inst, mne.io.BaseRaw):
        end = min(_EXCERPT, inst.times[-1])
        return inst.copy().crop(0.0, end)
    if isinstance(inst, mne.BaseEpochs):
        length = inst.times[-1] - inst.times[0]
        return inst[: max(int(_EXCERPT / max(length, 1.0)), 1)]
    return inst


def _compare(
    X: list,
    y: list,
    names: list[str],
    positive: Any,
    descriptions: list,
    weights: str,
    folds: int,
    repeats: int,
    permutations: int,
    seed: int,
    jobs: int,
) -> dict[str, Any]:
    """Compare the model with all baselines; tell which states matter to it."""
    import pandas as pd
    from sklearn.model_selection import RepeatedStratifiedKFold

    from ..evaluation import compare, default_pipelines
    from ..interpret import state_importance

    pipelines = default_pipelines(weights=weights, random_state=seed)
    cv = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    result = compare(
        X,
        y,
        pipelines,
        names=names,
        positive=positive,
        cv=cv,
        n_permutations=permutations,
        descriptions={"model features": descriptions},
        n_jobs=jobs,
        random_state=seed,
        verbose=True,
    )
    found = {"comparison": result}
    # of one state there is nothing to share out
    if len({state for person in X for state in person}) > 1:
        known = [n for n, label in enumerate(y) if not pd.isna(label)]
        found["importance"] = state_importance(
            pipelines["model features"],
            [X[n] for n in known],
            [y[n] for n in known],
            cv=cv,
            descriptions=[descriptions[n] for n in known],
            seed=seed,
        )
    return found


if __name__ == "__main__":
    run_as_module("report")
