"""A tour: what to see before trusting a package.

1. patients against controls, cross-validated over participants of a *simulated*
   cohort, with model features beside the original signals and beside the same
   network with random weights;
2. one recording (``--data``, any format that MNE reads): its features, and how well
   hidden parts of it are predicted;
3. all of it, with what decisions go with, in one HTML report.
"""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from ._options import Command, run_as_module

SEED = 20
N_PARTICIPANTS, N_EPOCHS, EFFECT_SIZE = 40, 25, 1.5
STATES = ("auditory", "somatosensory")
PIPELINES = (
    "model features",
    "random weights",
    "original signals, evoked",
    "trial dynamics",
)


@click.command(
    cls=Command,
    examples="""
    mne-megfm demo
    mne-megfm demo --data my_raw.fif --out figures
    """,
)
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="A recording; by default one at hand, or a simulated one.",
)
@click.option(
    "--out",
    default="demo_output",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for figures.",
)
@click.option("--skip-cohort", is_flag=True, help="The recording alone.")
@click.option("--overwrite", is_flag=True, help="Replace the figures of another tour.")
def command(data: Path | None, out: Path, skip_cohort: bool, overwrite: bool) -> None:
    """Describe one recording, and classify a simulated cohort, in a few minutes."""
    import matplotlib
    from mne.utils import use_log_level

    from ._options import check_folder

    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(
            f"Expected an empty or new folder, got {out} with files; choose another "
            "one, or pass --overwrite."
        )
    out.mkdir(parents=True, exist_ok=True)
    check_folder(out)  # before minutes of work
    matplotlib.use("Agg")
    started = time.monotonic()
    with use_log_level("warning"):
        found = describe_recording(data, out)
        if not skip_cohort:
            found |= classify_cohort()
            found |= look_inside(*(found[k] for k in ("estimator", "X", "y", "names")))
        write_report(out / "report.html", found)
    click.echo(f"\nDone in {time.monotonic() - started:.0f} s. Not for diagnosis.")


def classify_cohort() -> dict[str, Any]:
    """Compare pipelines by participant-wise cross-validation."""
    from sklearn.model_selection import StratifiedKFold

    from ..estimators.frozen import FrozenStep
    from ..evaluation import compare, default_pipelines
    from ..interpret import state_importance
    from ..simulation import simulate_cohort

    cohort = simulate_cohort(
        N_PARTICIPANTS,
        states=STATES,
        arrays=("neuromag306", "ctf275", "kit157"),
        n_epochs=N_EPOCHS,
        filters=(1.0, 40.0),
        effect_size=EFFECT_SIZE,
        random_state=SEED,
        n_jobs=2,
    )
    X = [participant.recordings for participant in cohort.participants]
    y = cohort.labels
    pipelines = default_pipelines(random_state=SEED)
    pipelines = {name: pipelines[name] for name in PIPELINES}
    model = pipelines["model features"]
    cv = StratifiedKFold(n_splits=4, shuffle=True, random_state=SEED)
    with TemporaryDirectory(prefix="mne-megfm-") as cache:
        result = compare(
            X,
            y,
            pipelines,
            names=cohort.names,
            cv=cv,
            n_permutations=0,
            n_random_weights=2,
            memory=cache,
            random_state=SEED,
        )
        importance = state_importance(
            model, X, y, cv=cv, memory=cache, n_permutations=19, random_state=SEED
        )
        frozen = FrozenStep(model[0], cache)
        extracted = frozen.extract(X)
        transformer = frozen.fit(extracted)
    click.echo(
        f"\nMigraine against control, SIMULATED cohort: {len(y)} participants on three "
        f"MEG systems,\n{N_EPOCHS} trials in each of {', '.join(STATES)}, effect size "
        f"{EFFECT_SIZE}; 4 folds over\nparticipants, seed {SEED}. "
        "Mean (SD over folds); differences within the SD mean nothing.\n"
    )
    click.echo(f"{'':28s}{'ROC AUC':>14s}{'balanced accuracy':>20s}")
    auc, accuracy = result.values("roc_auc"), result.values("balanced_accuracy")
    for name in pipelines:
        click.echo(
            f"{name:28s}{auc[name].mean():8.2f} ({auc[name].std():.2f})"
            f"{accuracy[name].mean():14.2f} ({accuracy[name].std():.2f})"
        )
    click.echo()
    for line in (*result._gate_lines(), *result._confound_lines()):
        click.echo(line)
    return {
        "X": X,
        "y": y,
        "names": cohort.names,
        "comparison": result,
        "features": frozen.transform(transformer, extracted),
        "feature_names": transformer.get_feature_names_out(),
        "importance": importance,
    }


def find_recording(path: Path | None) -> tuple[Any, str]:
    """Find a recording: the one given, one at hand, or a simulated one."""
    import mne

    from ..archive.files import read_recording
    from ..archive.reading import clean
    from ..archive.settings import Filters
    from ..simulation import simulate_cohort

    if path is not None:
        inst = read_recording(path)
        inst = clean(inst, Filters()) if isinstance(inst, mne.io.BaseRaw) else inst
        return inst, f"your recording {path.name}"
    folder = os.environ.get("MNE_MEGFM_TEST_DATA")
    found = Path(folder or ".") / "kit157-auditory_raw.fif"
    if folder and found.is_file():
        return read_recording(found), f"real recording {found.name}"
    sample = mne.datasets.sample.data_path(download=False)
    found = Path(sample) / "MEG" / "sample" / "sample_audvis_raw.fif"
    if str(sample) not in ("", ".") and found.is_file():
        raw = read_recording(found)
        return raw.crop(0, 60), f"MNE's sample recording {found.name}, first minute"
    cohort = simulate_cohort(1, states=("rest",), random_state=SEED + 1)
    return cohort.participants[0].recordings["rest"], "SIMULATED recording"


def describe_recording(path: Path | None, out: Path) -> dict[str, Any]:
    """Features and masked reconstruction of one recording."""
    from ..estimators import MEGFMTransformer
    from ..interpret import MASKS, reconstruct, score_reconstruction
    from ..viz import plot_reconstruction

    recording, kind = find_recording(path)
    transformer = MEGFMTransformer().fit(recording)
    features = transformer.transform(recording)
    click.echo(f"\nA {kind}: {features.shape[0]} rows of {features.shape[1]} features.")
    click.echo("Share of hidden signal explained (R²; 1 is perfect):\n")
    scores = score_reconstruction(recording, transformer, random_state=SEED)
    click.echo(scores.round(2).to_string())
    results = {}
    for name, masking in MASKS.items():
        result = reconstruct(
            recording, transformer, masking, random_state=SEED, on="canonical"
        )
        results[name] = result
        figure = plot_reconstruction(result, title=f"{kind}: {name}", show=False)
        short = name.replace(" ", "-").replace("%", "percent")
        file = out / f"reconstruction-{short}.png"
        figure.savefig(file, dpi=110)
        click.echo(f"\nFigure: {file}", nl=False)
    click.echo()
    return {
        "estimator": transformer,
        "scores": scores,
        "reconstructions": results,
        "note": f"Reconstruction is of a {kind}.",
    }


def look_inside(transformer: Any, X: list, y: Any, names: Any) -> dict[str, Any]:
    """Test where the model attends in one participant, and what decisions go with."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from ..estimators import MEGFMTransformer
    from ..interpret import attention_test, attribute

    patient = int((y == "migraine").argmax())
    tests = {
        f"{state}, {names[patient]}, simulated": attention_test(
            transformer, epochs.average(), n_surrogates=39, n_turns=8
        )
        for state, epochs in X[patient].items()
    }
    if find_spec("captum") is None:
        click.echo(
            "\nWhat decisions go with is left out: it needs captum; "
            "pip install 'mne-megfm[interpret]'."
        )
        return {"attention": tests}
    found = attribute(
        make_pipeline(MEGFMTransformer(), LogisticRegression()),
        X,
        y,
        "gradient_x_input",
        participant=patient,
        n_permutations=19,
        random_state=SEED,
    )
    click.echo(f"\nWhat the decision on {names[patient]} goes with: {found.in_words()}")
    title = f"What the decision on {names[patient]} (simulated) goes with"
    return {"attention": tests, "attribution": {title: found}}


def write_report(path: Path, found: dict[str, Any]) -> None:
    """Write what the tour has found as one HTML file."""
    from ..report import MEGFMReport

    note = found["note"]
    if "X" in found:
        note += (
            " Participants are SIMULATED: they show what the software does, not how "
            "well migraine can be classified."
        )
    report = MEGFMReport("A tour of mne-megfm", note)
    if "X" in found:
        names = found["names"]
        report.add_comparison(found["comparison"])
        report.add_data(found["X"], found["y"], names=names)
        report.add_groups(found["X"], found["y"])
        features, columns = found["features"], found["feature_names"]
        report.add_features(features, found["y"], names=names, feature_names=columns)
        report.add_explanations(found.get("attribution"), found["importance"])
        report.add_attention(found["attention"])
    report.add_reconstruction(found["reconstructions"], found["scores"])
    report.add_model(found["estimator"])
    # whether files may be replaced was asked before the tour
    report.save(path, overwrite=True)
    click.echo(f"\nReport: {path}")


if __name__ == "__main__":
    run_as_module("demo")
