"""Fit a classifier on a table of features, or use one."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ._group import Command, run_as_module
from ._options import Reading, reading_as_before, reading_options

FORMAT = "mne-megfm classifier 2"
#: What a saved classifier is made of, beyond the types that skops trusts by itself.
TRUSTED = ["mne_megfm.estimators._heads.LogisticHead", "numpy.dtype"]
_TABLE = click.Path(exists=True, path_type=Path)
_JOBS = {
    "default": 1,
    "show_default": True,
    "help": "Recordings, or participants, at a time; -1: all cores.",
}
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("classify")
def command() -> None:
    """Fit a classifier of participants, or use one.

    Of recordings, a participant is described by the level over trials, as `mne-megfm
    features --participants` does, whose tables serve as well. Of a table of epochs or
    windows, and with weights that have no such level, it is described by mean and
    spread of the rows, state by state; states that it lacks are then filled with the
    mean of the training data.
    """


@command.command(
    cls=Command,
    examples="""
    mne-megfm classify fit people.parquet --labels participants.tsv --label group
    -o migraine.skops
    mne-megfm classify fit recordings.tsv --labels labels.csv -o migraine.skops
    mne-megfm classify fit BIDS_ROOT --events auditory=standard --labels labels.csv
    -o migraine.skops
    """,
)
@click.argument("data", type=_TABLE)
@click.option("--labels", required=True, type=_TABLE, help="Labels of participants.")
@click.option("--label", default="label", show_default=True, help="Their column.")
@click.option("--out", "-o", required=True, type=_FILE, help="Where to: .skops.")
@click.option(
    "--weights",
    help="Weights for recordings, and those of a table where it does not say.  "
    "[default: megfm-tiny]",
)
@reading_options
@click.option("--jobs", **_JOBS)
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2))
@click.option("--repeats", default=4, show_default=True, type=click.IntRange(1))
@click.option(
    "--permutations",
    default=40,
    show_default=True,
    type=click.IntRange(0),
    help="How often labels are permuted, to see what chance gives.",
)
@click.option(
    "--positive",
    metavar="LABEL",
    help="Of two labels the one that sensitivity is of.  [default: the last, sorted]",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--overwrite", is_flag=True)
def fit(
    data: Path,
    labels: Path,
    label: str,
    out: Path,
    weights: str | None,
    reading: Reading,
    jobs: int,
    folds: int,
    repeats: int,
    permutations: int,
    positive: str | None,
    seed: int,
    overwrite: bool,
) -> None:
    """Fit on DATA, say how well held-out participants are classified, and save.

    DATA is a table of `mne-megfm features`, or recordings as that command takes them,
    with the bundled or other --weights. Saved is a file of skops, which holds no code;
    it says by what participants are described.
    """
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    from ..estimators import LogisticHead
    from ..evaluation import cross_validate_participants
    from ._descriptions import describe
    from ._participants_table import find_label, read_labels
    from ._tables import check_target

    check_target(out, overwrite, (".skops",))
    told = describe(data, weights, reading, jobs)
    click.echo(told.summary())
    described = told.frame
    y = read_labels(labels, label)
    without = sorted(set(described.index) - set(y.index))
    if without:
        click.echo(
            f"Left out, since {labels.name} has no label: {', '.join(without)}.",
            err=True,
        )
    described = described[described.index.isin(y.index)]
    y = y[described.index].to_numpy()
    y = y.astype(str) if y.dtype == object else y
    counts = dict(zip(*np.unique(y, return_counts=True), strict=True))
    if len(counts) < 2 or min(counts.values()) < folds:
        got = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise ValueError(
            f"Expected at least {folds} participants of each of two labels, for "
            f"{folds} folds, got {got or 'none'}; add participants, or lower --folds."
        )
    pipeline = make_pipeline(
        SimpleImputer(keep_empty_features=True), LogisticHead(random_state=seed)
    )
    X = described.to_numpy()
    scores = cross_validate_participants(
        pipeline,
        X,
        y,
        names=described.index,
        cv=folds,
        n_repeats=repeats,
        positive=find_label(positive, counts),
        n_permutations=permutations,
        n_jobs=jobs,
        random_state=seed,
        verbose=True,
    )
    click.echo(scores)
    content = {
        "format": FORMAT,
        "columns": described.columns.tolist(),
        "kind": told.kind,
        "weights": told.weights,
        "reading": asdict(told.reading),
        "pipeline": pipeline.fit(X, y),
    }
    _save(content, out)
    click.echo(f"Wrote {out}. Not for diagnosis.")


@command.command(
    cls=Command,
    examples="""
    mne-megfm classify predict migraine.skops people.parquet -o predictions.csv
    mne-megfm classify predict migraine.skops recordings.tsv -o predictions.csv
    """,
)
@click.argument("classifier", type=_TABLE)
@click.argument("data", type=_TABLE)
@click.option("--out", "-o", required=True, type=_FILE, help=".csv, .tsv, .parquet.")
@reading_options
@click.option("--jobs", **_JOBS)
@click.option("--overwrite", is_flag=True)
def predict(
    classifier: Path,
    data: Path,
    out: Path,
    reading: Reading,
    jobs: int,
    overwrite: bool,
) -> None:
    """Apply CLASSIFIER to the participants of DATA.

    DATA is as for fit: recordings, or a table of the same kind and weights. Recordings
    are read as for fit where no option says otherwise. OUT gets a row a participant,
    with the most likely label and the probability of each.
    """
    import pandas as pd

    from ._descriptions import describe_as
    from ._tables import SUFFIXES, check_target, write_table

    check_target(out, overwrite, SUFFIXES)
    content = _load(classifier)
    pipeline = content["pipeline"]
    reading = reading_as_before(reading, content["reading"])
    X = describe_as(data, content, reading, jobs)
    frame = pd.DataFrame(
        {"participant": X.index, "prediction": pipeline.predict(X.to_numpy())}
    )
    probability = pipeline.predict_proba(X.to_numpy())
    for number, name in enumerate(pipeline.classes_):
        frame[f"p_{name}"] = probability[:, number]
    write_table(frame, out)
    click.echo(f"Wrote {len(frame)} predictions to {out}. Not for diagnosis.")


def _save(content: dict[str, Any], path: Path) -> None:
    import skops.io

    data = skops.io.dumps(content)
    aside = path.with_name(f".writing-{path.name}")
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _load(path: Path) -> dict[str, Any]:
    """Read a classifier; types that run code are refused, not built."""
    import zipfile

    import skops.io

    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
        if unknown:
            raise ValueError(
                f"Expected a classifier of `mne-megfm classify fit` in {path}, got one "
                f"with {', '.join(unknown[:3])}; it may run code and is not read."
            )
        content = skops.io.load(path, trusted=TRUSTED)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(
            f"Expected a classifier of `mne-megfm classify fit` in {path}, got "
            f"something else ({error}); fit it again."
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"Expected a classifier of format {FORMAT!r} in {path}, got another; use "
            "the version of mne-megfm that wrote it."
        )
    return content


if __name__ == "__main__":
    run_as_module("classify")
