"""Frozen features, evoked signals and an untrained network on a simulated cohort.

Run as ``python benchmarks/bench_classification.py``; about four minutes on 2 cores.
"""

import mne
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import CanonicalSensors, MEGFMTransformer, simulate_cohort

SEED, N_PARTICIPANTS, EFFECT_SIZE = 77, 80, 1.5
STATES = ("auditory", "somatosensory")


def evoked_signals(participant):
    """Return averages of each state on the canonical sensors, every 8 ms."""
    evokeds = [participant[state].average() for state in STATES]
    signals = CanonicalSensors().fit_transform(evokeds)
    return np.concatenate([signal[:, ::2].ravel() for signal in signals])


def main():
    """Print ROC AUC over participants."""
    mne.set_log_level("error")
    cohort = simulate_cohort(
        N_PARTICIPANTS,
        states=STATES,
        arrays=("neuromag306", "ctf275", "kit157"),
        n_epochs=40,
        filters=(1.0, 40.0),
        effect_size=EFFECT_SIZE,
        random_state=SEED,
        n_jobs=2,
    )
    people = [participant.recordings for participant in cohort.participants]
    # frozen and without labels: computed once for all folds
    untrained = MEGFMTransformer(weights=None, random_state=0, bf16=True)
    features = {
        "model features": MEGFMTransformer(bf16=True).fit_transform(people),
        "same network, untrained": untrained.fit_transform(people),
        "original signals (evoked)": StandardScaler().fit_transform(
            [evoked_signals(person) for person in people]
        ),
    }
    cv = RepeatedStratifiedKFold(n_splits=5, n_repeats=4, random_state=0)
    print(
        f"SIMULATED cohort: {N_PARTICIPANTS} participants, effect size {EFFECT_SIZE}, "
        f"seed {SEED};\nROC AUC over participants, 4 x 5 folds: mean (SD over folds)\n"
    )
    for name, values in features.items():
        pipeline = make_pipeline(LogisticRegression(max_iter=2000))
        scores = cross_val_score(
            pipeline, values, cohort.labels, cv=cv, scoring="roc_auc"
        )
        print(f"  {name:28s}{scores.mean():.3f} ({scores.std():.3f})")


if __name__ == "__main__":
    main()
