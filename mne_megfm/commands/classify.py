"""Fit a classifier on a table of features, or use one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..archive.settings import Reading
from ..utils.extras import needs_extra
from ._options import Command, reading_as_before, reading_options, run_as_module

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from ._participants import Participants


#: Digits of probabilities and typicality; more would be noise.
_DIGITS = 4
_TABLE = click.Path(exists=True, path_type=Path)
_JOBS = {
    "default": 1,
    "show_default": True,
    "help": "Recordings, or participants, at a time; -1: all cores.",
}
_STRICT = {"is_flag": True, "help": "Fail if any recording failed."}
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("classify")
def command() -> None:
    """Fit a classifier of participants, or use one.

    Of recordings, features of participants are those of `mne-megfm features
    --participants`, whose tables serve as well. Of a table of epochs or windows, and
    with weights that have no participant encoder, they are mean and spread of the rows,
    state by state; states that it lacks are then filled with the mean of the training
    data.

    Recordings that cannot be read are named and left out; too little memory is an
    error. In tables, names and labels are text as it stands there; missing is an empty
    cell or n/a, nothing else. In CSV and TSV that are written, text that a spreadsheet
    would take for a formula has an apostrophe in front, which is taken away when
    mne-megfm reads it.
    """


@command.command(
    cls=Command,
    examples="""
    mne-megfm classify fit people.parquet --labels participants.tsv --label group
    -o migraine.skops
    mne-megfm classify fit recordings.tsv --labels labels.csv -o migraine.skops
    mne-megfm classify fit BIDS_ROOT --events auditory=standard --labels labels.csv
    -o migraine.skops
    mne-megfm classify fit people.parquet --labels participants.tsv --label age
    --regression -o age.skops
    """,
)
@click.argument("data", type=_TABLE)
@click.option("--labels", required=True, type=_TABLE, help="Labels of participants.")
@click.option(
    "--label",
    help="Their column.  [default: label, group or diagnosis, if there is one of them]",
)
@click.option("--regression", is_flag=True, help="Labels are numbers, such as age.")
@click.option("--out", "-o", required=True, type=_FILE, help="Where to: .skops.")
@click.option(
    "--weights",
    help="Weights for recordings, and those of a table where it does not say.  "
    "[default: megfm-tiny]",
)
@reading_options
@click.option("--jobs", **_JOBS)
@click.option("--strict", **_STRICT)
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
    label: str | None,
    regression: bool,
    out: Path,
    weights: str | None,
    reading: Reading,
    jobs: int,
    strict: bool,
    folds: int,
    repeats: int,
    permutations: int,
    positive: str | None,
    seed: int,
    overwrite: bool,
) -> None:
    """Fit on DATA, say how well held-out participants are classified, and save.

    DATA is a table of `mne-megfm features`, or recordings as that command takes them,
    with the bundled or other --weights. Columns that the table of labels has, too, such
    as age, describe participants and are no features. Saved is a file of skops, which
    holds no code; it says what the features of participants are. Of the participants it
    keeps fingerprints (salted hashes) of their names, by which predict finds who was in
    training.
    """
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    from ..estimators import LogisticHead, RidgeHead
    from ..evaluation import cross_validate_participants
    from ..utils.tables import read_names
    from ._labels import USUAL, as_numbers, find_label, read_labels
    from ._options import check_target
    from ._participants import get_features

    check_target(out, overwrite, (".skops",))
    if regression and positive is not None:
        raise click.UsageError("Expected --positive without --regression, got both.")
    table = read_labels(labels, label, ("label",) if regression else USUAL)
    all_labels = [value for value in table.values.values() if value is not None]
    if (
        all_labels and not regression
    ):  # what cannot be is said before recordings are read
        _check_classes(np.array(all_labels, dtype=str), folds, table.column)
        find_label(positive, all_labels)
    columns = read_names(labels)
    given = get_features(data, weights, reading, jobs, strict, columns)
    click.echo(given.summary())
    known = table.of(given.frame.index).dropna()
    known_rows = given.frame.loc[known.index]
    X = known_rows.to_numpy()
    fill = SimpleImputer(keep_empty_features=True)
    if regression:
        y = as_numbers(known, table.column)
        head = RidgeHead(random_state=seed)
    else:
        y = np.array(known.tolist(), dtype=str)
        _check_classes(y, folds, table.column)
        head = LogisticHead(random_state=seed)
    pipeline = make_pipeline(fill, head)
    scores = cross_validate_participants(
        pipeline,
        X,
        y,
        names=known_rows.index,
        cv=folds,
        n_repeats=repeats,
        positive=None if regression else find_label(positive, y),
        n_permutations=permutations,
        n_jobs=jobs,
        random_state=seed,
        verbose=True,
    )
    click.echo(scores)
    _keep(given, known_rows, table.column, pipeline.fit(X, y), seed, out, overwrite)


def _check_classes(y: np.ndarray, folds: int, column: str) -> None:
    """See that there are groups, and enough of each for the folds."""
    import numpy as np
    import pandas as pd

    counts = dict(zip(*np.unique(y, return_counts=True), strict=True))
    if len(counts) >= 2 and min(counts.values()) >= folds:
        return
    got = [f"{count} of {name}" for name, count in list(counts.items())[:5]]
    got += [f"{len(counts)} labels in all"] if len(counts) > 5 else []
    are_numbers = pd.to_numeric(pd.Series(list(counts)), errors="coerce").notna().all()
    advice = "add participants, or lower --folds"
    if are_numbers and len(counts) > 2:
        advice = f"for numbers such as age, pass --regression (column {column})"
    raise ValueError(
        f"Expected at least {folds} participants of each of two labels, for "
        f"{folds} folds, got {', '.join(got)}; {advice}."
    )


def _keep(
    given: Participants,
    known_rows: pd.DataFrame,
    column: str,
    pipeline: Pipeline,
    seed: int,
    out: Path,
    overwrite: bool,
) -> None:
    """Save what was fitted, with what is needed to say how far to trust it."""
    import numpy as np
    from sklearn.base import is_regressor

    from ..estimators.novelty import Novelty

    typicality = Novelty(seed).fit([known_rows.to_numpy()], np.arange(len(known_rows)))
    content = {
        "columns": known_rows.columns.tolist(),
        "covariates": list(given.covariates),
        "kind": given.kind,
        "weights": given.weights,
        "reading": asdict(given.reading),
        "regression": is_regressor(pipeline),
        "label": column,
        "people": People.of(known_rows.index).to_dict(),
        "typicality": typicality,
        "pipeline": pipeline,
    }
    save(content, out, overwrite)
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
@click.option("--strict", **_STRICT)
@click.option("--overwrite", is_flag=True)
def predict(
    classifier: Path,
    data: Path,
    out: Path,
    reading: Reading,
    jobs: int,
    strict: bool,
    overwrite: bool,
) -> None:
    """Apply CLASSIFIER to the participants of DATA.

    DATA is as for fit: recordings, or a table of the same kind and weights. Recordings
    are read as for fit where no option says otherwise. OUT gets a row a participant:
    the most likely label and the probability of each (or the number predicted);
    typicality, the share of training participants that lie as far from the others as
    this one, small where it is unlike them; the states that are missing; and whether
    somebody of this name was in training, for whom predictions are no test.
    """
    from ..utils.tables import SUFFIXES, write_table
    from ._options import check_target
    from ._participants import features_as

    check_target(out, overwrite, SUFFIXES)
    content = load(classifier)
    reading = reading_as_before(reading, content["reading"])
    X = features_as(data, content, reading, jobs, strict)
    frame = _predictions(content, X)
    write_table(frame, out, overwrite)
    click.echo(f"Wrote {len(frame)} predictions to {out}. Not for diagnosis.")


def _predictions(content: dict, X: pd.DataFrame) -> pd.DataFrame:
    """Predict, and say of each participant how far to trust it."""
    import pandas as pd

    from ._participants import find_missing

    pipeline, values = content["pipeline"], X.to_numpy()
    predicted = pipeline.predict(values)
    frame = pd.DataFrame({"participant": X.index, "prediction": predicted})
    if content["regression"]:
        frame["prediction"] = [float(f"{value:.4g}") for value in predicted]
    else:
        probability = pipeline.predict_proba(values).round(_DIGITS)
        for number, name in enumerate(pipeline.classes_):
            frame[f"p_{name}"] = probability[:, number]
    frame["typicality"] = content["typicality"].score([values]).round(_DIGITS)
    frame["missing_states"] = [" ".join(states) for states in find_missing(X)]
    frame["in_training"] = People(**content["people"]).know(X.index)
    _warn(frame, content["typicality"].is_far([values]))
    return frame


def _warn(frame: pd.DataFrame, is_far: np.ndarray) -> None:
    """Say aloud of whom predictions mean little."""
    known = frame["in_training"].to_numpy()
    for chosen, reason in (
        (known, "have the name of somebody in training: for them this is no test"),
        (is_far, "are unlike the participants of training: this means little for them"),
    ):
        names = frame["participant"][chosen].tolist()
        if names:
            listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            click.echo(
                f"Warning: {len(names)} of {len(frame)} {reason} ({listed}).", err=True
            )


# -- the file --------------------------------------------------------------------------
FORMAT = "mne-megfm classifier 3"
#: What a saved classifier is made of, beyond the types that skops trusts by itself.
TRUSTED = [
    "mne_megfm.estimators._heads.LogisticHead",
    "mne_megfm.estimators._heads.RidgeHead",
    "mne_megfm.estimators.novelty.Novelty",
    "mne_megfm.estimators.novelty._Cloud",
    "numpy.dtype",
]
#: What is in it, and of what type.
_CONTENT = {
    "columns": list,
    "covariates": list,
    "kind": str,
    "weights": str,
    "reading": dict,
    "regression": bool,
    "label": str,
    "people": dict,
    "typicality": object,
    "pipeline": object,
}


class People:
    """Who was in training, by fingerprints of the names.

    The names themselves are not kept, since files of classifiers are passed on. A
    fingerprint is a salted hash, by which a name that is given can be looked up; who
    has the file may so try names, and short ones are soon found.
    """

    def __init__(self, salt: str, fingerprints: Iterable[str]) -> None:
        self.salt = salt
        self.fingerprints = sorted(fingerprints)

    @classmethod
    def of(cls, names: Iterable[str]) -> People:
        """Take the fingerprints of names, which are the same with and without sub-."""
        people = cls(secrets.token_hex(16), [])
        people.fingerprints = sorted(map(people._fingerprint, names))
        return people

    def _fingerprint(self, name: str) -> str:
        text = f"{self.salt} {name.removeprefix('sub-')}"
        return hashlib.sha256(text.encode()).hexdigest()

    def know(self, names: Iterable[str]) -> list[bool]:
        """Say which names were in training."""
        known = set(self.fingerprints)
        return [self._fingerprint(name) in known for name in names]

    def to_dict(self) -> dict[str, Any]:
        """Give what `People` is made of."""
        return {"salt": self.salt, "fingerprints": self.fingerprints}


def save(content: dict[str, Any], path: Path, overwrite: bool = True) -> None:
    """Write a classifier as a whole, or not at all."""
    with needs_extra("cli", "files of classifiers"):
        import skops.io

    from ..utils.files import write_whole

    write_whole(path, skops.io.dumps({"format": FORMAT} | content), overwrite)


def load(path: Path) -> dict[str, Any]:
    """Read a classifier; types that run code are refused, not built.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    content : dict
        What `save` was given.

    Raises
    ------
    ValueError
        If it is of another kind, or not complete.
    """
    with needs_extra("cli", "files of classifiers"):
        import skops.io

    try:
        unknown = sorted(set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED))
        content = None if unknown else skops.io.load(path, trusted=TRUSTED)
    except Exception as error:  # a file that is none fails in many ways
        raise ValueError(
            f"Expected a classifier of `mne-megfm classify fit` in {path}, got "
            f"something else ({type(error).__name__}: {error}); fit it again."
        ) from error
    if unknown:
        raise ValueError(
            f"Expected a classifier of `mne-megfm classify fit` in {path}, got one "
            f"with {', '.join(unknown[:3])}; it may run code and is not read."
        )
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(
            f"Expected a classifier of format {FORMAT!r} in {path}, got another; use "
            "the version of mne-megfm that wrote it."
        )
    wrong = _find_wrong(content)
    if wrong:
        raise ValueError(
            f"Expected all of a classifier of `mne-megfm classify fit` in {path}, got "
            f"none, or something else, for {', '.join(wrong)}; the file is damaged or "
            "was changed: fit it again."
        )
    return content


def _are_names(part: Any) -> bool:
    return isinstance(part, list) and all(isinstance(name, str) for name in part)


def _find_wrong(content: dict[str, Any]) -> list[str]:
    """Find parts that are missing, or cannot be what `save` was given."""
    import numpy as np
    from sklearn.pipeline import Pipeline

    wrong = [
        name
        for name, kind in _CONTENT.items()
        if content.get(name) is None or not isinstance(content[name], kind)
    ]
    for part in ("columns", "covariates"):
        if not wrong and not _are_names(content[part]):
            wrong = [part]
    if wrong:
        return wrong
    n_columns = len(content["columns"])
    try:
        Reading(**content["reading"])
        People(**content["people"]).know(["sub-01"])
    except (TypeError, ValueError):
        wrong.append("reading or people")
    try:
        if not isinstance(content["pipeline"], Pipeline):
            raise TypeError("no pipeline")
        nobody = np.zeros((1, n_columns))
        content["pipeline"].predict(nobody)
        if not content["regression"]:
            content["pipeline"].predict_proba(nobody)
    except Exception:
        wrong.append("pipeline")
    try:
        content["typicality"].score([np.zeros((1, n_columns))])
    except Exception:
        wrong.append("typicality")
    return wrong


if __name__ == "__main__":
    run_as_module("classify")
