"""Write one HTML report of recordings, a model, and how well it does."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ..archive.settings import Reading
from ._options import Command, parse_columns, reading_options, run_as_module

if TYPE_CHECKING:
    import pandas as pd

_TABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: So much of a recording is reconstructed, s: minutes would tell the same.
_EXCERPT = 60.0
#: What --quick compares, and how, where no option says otherwise.
_QUICK_PIPELINES = ("model features", "band power", "original signals, evoked")
_QUICK = {"folds": 3, "repeats": 1, "permutations": 0, "random_weights": 0}


@click.command(
    cls=Command,
    examples="""
    mne-megfm report sub-*_meg.fif -o report.html
    mne-megfm report BIDS_ROOT --events auditory=tone --labels participants.tsv
    --label group -o report.html
    mne-megfm report BIDS_ROOT --labels participants.tsv --label group
    --confounds age,sex,site -o report.html
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
@click.option(
    "--label",
    help="Their column.  [default: label, group or diagnosis, if there is one of them]",
)
@click.option(
    "--positive",
    metavar="LABEL",
    help="Of two labels the one that sensitivity is of.  [default: the last, sorted]",
)
@click.option(
    "--confounds",
    multiple=True,
    metavar="COLUMN,...",
    callback=parse_columns,
    help="Columns of the same table, such as age, that features are compared without.",
)
@reading_options
@click.option("--weights", default="megfm-tiny", show_default=True)
@click.option("--history", type=_TABLE, help="history.csv of a run of pretrain.")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2))
@click.option("--repeats", default=4, show_default=True, type=click.IntRange(1))
@click.option("--permutations", default=10, show_default=True, type=click.IntRange(0))
@click.option(
    "--random-weights",
    default=3,
    show_default=True,
    type=click.IntRange(0),
    help="Draws of random weights that the model is compared with; 2 or more.",
)
@click.option(
    "--halves",
    is_flag=True,
    help="Find each participant again in the other half of the recordings; takes long.",
)
@click.option(
    "--quick",
    is_flag=True,
    help="A first look: three pipelines, 3 folds once, no permuted labels and random "
    "weights, unless other options say otherwise. Not for results.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--title", default="mne-megfm", show_default=True)
@click.option("--jobs", default=1, show_default=True, help="Processes; -1: all cores.")
@click.option("--strict", is_flag=True, help="Fail if any recording failed.")
@click.option("--overwrite", is_flag=True, help="Replace a report that exists.")
@click.pass_context
def command(
    context: click.Context,
    recordings: tuple[Path, ...],
    out: Path,
    labels: Path | None,
    label: str | None,
    positive: str | None,
    confounds: list[str],
    reading: Reading,
    weights: str,
    history: Path | None,
    folds: int,
    repeats: int,
    permutations: int,
    random_weights: int,
    halves: bool,
    quick: bool,
    seed: int,
    title: str,
    jobs: int,
    strict: bool,
    overwrite: bool,
) -> None:
    """Write one HTML report of RECORDINGS, a model, and how well it does.

    RECORDINGS are files that MNE reads, a BIDS data set, or a table (CSV or TSV) with
    the columns file, participant and state. Continuous recordings have responses where
    --events cuts them. With --labels, the model's features are compared with all
    baselines by cross-validation over participants; with --confounds, without what is
    linear in age, sex or site, and beside these alone. The report says whether the
    groups can be distinguished, for whom, why, and what is wrong with the data. It
    names participants.

    Recordings that cannot be read are named and left out. With weights that have no
    participant encoder, participants are summarised by mean and spread of their rows.
    """
    import matplotlib

    from ..archive.reading import check_events, read_source
    from ..archive.sources import list_recordings
    from ..estimators.frozen import FrozenStep
    from ..evaluation import default_pipelines
    from ..pretraining import History
    from ..report import MEGFMReport
    from ._covariates import read_covariates
    from ._labels import find_label, read_labels
    from ._options import check_target
    from ._participants import (
        extract_one,
        group_by_participant,
        has_participant_encoder,
    )
    from ._rows import report_failures, run_each

    check_target(out, overwrite, (".html",))
    matplotlib.use("Agg")
    losses = None if history is None else History.from_csv(history)
    if confounds and labels is None:
        raise click.UsageError(
            "Expected --labels with --confounds, got none; name the table of both."
        )
    table = None if labels is None else read_labels(labels, label)
    if table is not None and table.column in confounds:
        raise click.UsageError(
            f"Expected other columns in --confounds than that of the labels, got "
            f"{table.column}; leave it out."
        )
    known = None
    if labels is not None and confounds:
        known = read_covariates(labels, confounds, "--confounds")
    sources = list_recordings(list(recordings), reading.states)
    check_events(sources, reading, jobs)
    has_participant_encoder(weights)
    pipelines = default_pipelines(weights=weights, random_state=seed)
    # what is extracted for the features is not extracted again for the comparison
    cache = context.with_resource(TemporaryDirectory(prefix="mne-megfm-"))
    frozen = FrozenStep(pipelines["model features"][0], cache)
    by_name = group_by_participant(sources)
    tasks = [(frozen, name, own, reading) for name, own in by_name.items()]
    outcomes = run_each(extract_one, tasks, 1, "Participants")
    good = {
        name: outcome
        for name, outcome in zip(by_name, outcomes, strict=True)
        if outcome.extracted is not None
    }
    failures = [failure for outcome in outcomes for failure in outcome.failures]
    report_failures(failures, len(good), strict)
    names = list(good)
    X = [outcome.recordings for outcome in good.values()]
    extracted = [outcome.extracted for outcome in good.values()]
    transformer = frozen.fit(extracted)
    y, found = None, {}
    if table is not None:
        y = [float("nan") if one is None else one for one in table.of(names)]
        settings = {
            "folds": folds,
            "repeats": repeats,
            "permutations": permutations,
            "random_weights": random_weights,
        }
        if quick:
            settings |= {
                name: value
                for name, value in _QUICK.items()
                if context.get_parameter_source(name) is ParameterSource.DEFAULT
            }
            click.echo(
                "A quick comparison, for a first look: leave out --quick for results."
            )
        found = _compare(
            X,
            y,
            names,
            find_label(positive, [one for one in y if isinstance(one, str)]),
            {n: pipelines[n] for n in _QUICK_PIPELINES} if quick else pipelines,
            None
            if known is None
            else known.of(names, "the mean, or a category of its own, is taken"),
            cache,
            **settings,
            halves=halves,
            seed=seed,
            jobs=jobs,
        )
    first = next(iter(good.values())).sources[0]
    report = MEGFMReport(title)
    if "comparison" in found:
        result = found["comparison"]
        click.echo("\n".join([*result._gate_lines(), *result._confound_lines()]))
        report.add_comparison(result)
    report.add_data(X, y, names=names)
    if y is not None and len({one for one in y if isinstance(one, str)}) == 2:
        report.add_groups(X, y)
    report.add_features(
        frozen.transform(transformer, extracted),
        y,
        names=names,
        feature_names=transformer.get_feature_names_out(),
    )
    if "importance" in found:
        report.add_explanations(importance=found["importance"])
    report.add_recording(excerpt(read_source(first, reading)), transformer)
    report.add_model(transformer, history=losses)
    report.save(out, overwrite)
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
    pipelines: dict[str, Any],
    confounds: pd.DataFrame | None,
    memory: str,
    folds: int,
    repeats: int,
    permutations: int,
    random_weights: int,
    halves: bool,
    seed: int,
    jobs: int,
) -> dict[str, Any]:
    """Compare the model with baselines; tell which states matter to it."""
    import pandas as pd
    from sklearn.model_selection import RepeatedStratifiedKFold

    from ..evaluation import compare
    from ..interpret import state_importance

    cv = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    result = compare(
        X,
        y,
        pipelines,
        names=names,
        positive=positive,
        confounds=confounds,
        cv=cv,
        n_permutations=permutations,
        n_random_weights=random_weights,
        halves=halves,
        n_jobs=jobs,
        memory=memory,
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
            positive=positive,
            memory=memory,
            random_state=seed,
        )
    return found


if __name__ == "__main__":
    run_as_module("report")
