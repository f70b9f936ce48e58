"""Features from any MEG recording.

Two things to see before trusting a package:

1. patients against controls, cross-validated over participants of a *simulated*
   cohort, with model features beside the original signals and beside the same
   network untrained;
2. one recording of yours (``--data``, any format that MNE reads): its features, and
   how well hidden parts of it are predicted.
"""

import argparse
import os
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import mne
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from mne_megfm import CanonicalSensors, MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import MASKS, masked_reconstruction, score_reconstruction
from mne_megfm.viz import plot_reconstruction

SEED = 20
N_PARTICIPANTS, N_EPOCHS, EFFECT_SIZE = 40, 25, 1.5
STATES = ("auditory", "somatosensory")


def evoked_signals(participants):
    """Average the trials of each state on the canonical sensors, every 8 ms."""
    sensors = CanonicalSensors()
    rows = []
    for participant in participants:
        evokeds = [participant[state].average() for state in STATES]
        signals = [evoked[:, ::2].ravel() for evoked in sensors.fit_transform(evokeds)]
        rows.append(np.concatenate(signals))
    return np.array(rows)


def classify_cohort():
    """Compare pipelines by participant-wise cross-validation."""
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
    classifier = LogisticRegression(max_iter=1000)
    pipelines = {
        "model features": make_pipeline(MEGFMTransformer(), classifier),
        "same network, untrained": make_pipeline(
            MEGFMTransformer(weights=None, random_state=SEED), classifier
        ),
        "original signals (evoked)": make_pipeline(
            FunctionTransformer(evoked_signals), StandardScaler(), classifier
        ),
    }
    cv = StratifiedKFold(n_splits=4, shuffle=True, random_state=SEED)
    print(
        f"\nMigraine against control, SIMULATED cohort: {len(y)} participants on three "
        f"MEG systems,\n{N_EPOCHS} trials in each of {', '.join(STATES)}, effect size "
        f"{EFFECT_SIZE}; 4 folds over\nparticipants, seed {SEED}. "
        "Mean (SD over folds); differences within the SD mean nothing.\n"
    )
    print(f"{'':28s}{'ROC AUC':>14s}{'balanced accuracy':>20s}")
    for name, pipeline in pipelines.items():
        scores = cross_validate(
            pipeline, X, y, cv=cv, scoring=("roc_auc", "balanced_accuracy")
        )
        auc, accuracy = scores["test_roc_auc"], scores["test_balanced_accuracy"]
        print(
            f"{name:28s}{auc.mean():8.2f} ({auc.std():.2f})"
            f"{accuracy.mean():14.2f} ({accuracy.std():.2f})"
        )


def find_recording(path):
    """Find a recording: the one given, one at hand, or a simulated one."""
    if path:
        return read_recording(Path(path)), f"your recording {Path(path).name}"
    here = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MNE_MEGFM_TEST_DATA", here))
    found = folder / "kit157-auditory_raw.fif"
    if found.is_file():
        return read_recording(found), f"real recording {found.name}"
    sample = mne.datasets.sample.data_path(download=False)
    found = Path(sample) / "MEG" / "sample" / "sample_audvis_raw.fif"
    if str(sample) not in ("", ".") and found.is_file():
        raw = read_recording(found)
        return raw.crop(0, 60), f"MNE's sample recording {found.name}, first minute"
    cohort = simulate_cohort(1, states=("rest",), random_state=SEED + 1)
    return cohort.participants[0].recordings["rest"], "SIMULATED recording"


def read_recording(path):
    """Read whatever MNE reads."""
    name = path.name.removesuffix(".gz")
    if name.endswith(("-epo.fif", "_epo.fif")):
        return mne.read_epochs(path)
    if name.endswith(("-ave.fif", "_ave.fif")):
        return mne.read_evokeds(path, condition=0)
    return mne.io.read_raw(path)


def describe_recording(path, out):
    """Features and masked reconstruction of one recording."""
    recording, kind = find_recording(path)
    transformer = MEGFMTransformer().fit(recording)
    features = transformer.transform(recording)
    print(f"\nA {kind}: {features.shape[0]} rows of {features.shape[1]} features.")
    print("Share of hidden signal explained (R²; 1 is perfect):\n")
    scores = score_reconstruction(transformer, recording, seed=SEED)
    print(scores.round(2).to_string())
    out.mkdir(parents=True, exist_ok=True)
    for name, masking in MASKS.items():
        result = masked_reconstruction(transformer, recording, masking, seed=SEED)
        figure = plot_reconstruction(result, title=f"{kind}: {name}", show=False)
        short = name.replace(" ", "-").replace("%", "percent")
        file = out / f"reconstruction-{short}.png"
        figure.savefig(file, dpi=110)
        print(f"\nFigure: {file}", end="")
    print()


def main():
    """Run both parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=os.environ.get("DATA"))
    parser.add_argument("--out", type=Path, default=Path("demo_output"))
    options = parser.parse_args()
    started = time.monotonic()
    mne.set_log_level("warning")
    describe_recording(options.data, options.out)
    classify_cohort()
    print(f"\nDone in {time.monotonic() - started:.0f} s. Not for diagnosis.")


if __name__ == "__main__":
    main()
