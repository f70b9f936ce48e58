"""Compare model features with the original signals and other baselines.

Do they tell patients from controls better? One call answers that for any cohort:
participants with recordings of several states from several MEG systems, and labels.
Here the cohort is *simulated*; with your own, put MNE objects in the place of ``X``::

    X = [{"rest": raw, "auditory": epochs}, ...]  # one dict a participant
    y = ["migraine", "control", ...]

Run as ``python examples/compare.py``; some minutes on 2 cores.
"""

import mne
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.evaluation import compare, default_pipelines, learning_curve

SEED = 31


def main():
    """Compare on a small cohort, in which a recording and a label are missing."""
    mne.set_log_level("error")
    cohort = simulate_cohort(
        40,
        states=("rest", "auditory"),
        arrays=("ctf151", "kit157"),
        n_epochs=25,
        filters=(1.0, 40.0),
        effect_size=1.5,
        random_state=SEED,
    )
    X = [participant.recordings for participant in cohort.participants]
    y = cohort.labels.astype(object)
    del X[3]["rest"]
    y[5] = None

    # the model and all baselines, on the same folds; any pipeline may join them
    pipelines = default_pipelines(random_state=SEED)
    pipelines["model features, SVM"] = make_pipeline(
        MEGFMTransformer(), SVC(class_weight="balanced")
    )
    result = compare(
        X,
        y,
        pipelines,
        reference="original signals, evoked",
        n_permutations=5,
        random_state=SEED,
        verbose=True,
    )
    print(result)
    print("\nLeft out, and why:")
    print(result.excluded.to_string(index=False))

    # how many labels does it take?
    few = {name: pipelines[name] for name in ("model features", "trial dynamics")}
    curve = learning_curve(X, y, few, train_sizes=(0.25, 0.5, 1.0), random_state=SEED)
    print("\nROC AUC against the share of labels used:")
    print(curve)


if __name__ == "__main__":
    main()
