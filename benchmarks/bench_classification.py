"""Model features beside all baselines on a simulated cohort.

Run as ``python benchmarks/bench_classification.py``; ``--help`` lists the settings. The
cohort is drawn from another seed than the simulated recordings of pretraining, and than
those that settings were chosen on (77, 9001, 9002, 9101, 9102, 9201 to 9205).
Recordings are kept in a folder for the time of the run, not in memory.

Folds of one cohort overlap, so that a test within it separates differences of 120
participants from chance only where they are large. ``--cohorts 8`` repeats all of it on
eight cohorts that share no participant, and tests the differences over cohorts, which
are independent.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import mne
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy import stats
from sklearn.model_selection import RepeatedStratifiedKFold

from mne_megfm.evaluation import compare, default_pipelines, learning_curve
from mne_megfm.simulation import simulate_participant

STATES = ("auditory", "somatosensory", "rest")
ARRAYS = ("neuromag306", "ctf275", "kit157")
CONTROL = "random weights"


def simulate(folder, options, seed):
    """Simulate participants one by one; give recordings on disk, and labels."""
    rng = np.random.default_rng(seed)
    patients = rng.permutation(np.arange(options.participants) % 2)
    X, y = [], []
    for number, patient in enumerate(patients):
        person = simulate_participant(
            number,
            array=ARRAYS[rng.integers(len(ARRAYS))],
            label="migraine" if patient else "control",
            states=STATES,
            n_epochs={
                "auditory": options.epochs,
                "somatosensory": options.epochs,
                "rest": options.epochs // 2,
            },
            filters=(1.0, 40.0),
            effect_size=options.effect_size,
            random_state=seed,
        )
        row = {}
        for state, epochs in person.recordings.items():
            path = folder / f"{number}-{state}-epo.fif"
            epochs.save(path)
            row[state] = mne.read_epochs(path, preload=False)
        X.append(row)
        y.append(person.label)
    return X, np.array(y)


def run_cohort(options, seed):
    """Compare on one cohort; give mean AUCs of its folds, and of the learning curve."""
    mne.set_log_level("error")
    pipelines = default_pipelines(networks=options.networks)
    pipelines = {name: pipelines[name] for name in options.pipelines or pipelines}
    cv = RepeatedStratifiedKFold(
        n_splits=options.folds, n_repeats=options.repeats, random_state=0
    )
    curve = None
    with TemporaryDirectory() as folder:
        X, y = simulate(Path(folder), options, seed)
        started = time.perf_counter()
        # features are extracted once, for comparison and learning curve; epochs that
        # stay on disk cannot be sent to other processes
        shared = dict(cv=cv, memory=Path(folder) / "cache", n_jobs=1)
        result = compare(X, y, pipelines, n_permutations=options.permutations, **shared)
        print(f"\nSeed {seed}, compared in {time.perf_counter() - started:.0f} s")
        print(result)
        if options.learning_curve:
            curve = learning_curve(X, y, pipelines, scoring="roc_auc", **shared)
            print(curve, flush=True)
            curve = curve.summary()["mean"].rename(seed)
    return result.summary()["mean"].rename(seed), curve


def over_cohorts(aucs):
    """Test differences over independent cohorts by paired t-tests.

    Parameters
    ----------
    aucs : DataFrame, shape (n_cohorts, n_pipelines)
        Mean AUCs; the first column is the reference.

    Returns
    -------
    table : DataFrame
        One row a pipeline, and one for the best baseline of each cohort, selected post
        hoc; random weights are not among them. The p-values are two-sided and not
        corrected.
    """
    baselines = aucs.iloc[:, 1:].drop(columns=CONTROL, errors="ignore")
    if baselines.shape[1] > 1:
        aucs = aucs.assign(**{"best baseline": baselines.max(axis=1)})
    behind = aucs.iloc[:, :1].to_numpy() - aucs.iloc[:, 1:]
    low, high = stats.t.interval(
        0.95, len(aucs) - 1, behind.mean(), behind.sem().clip(lower=1e-12)
    )
    return pd.DataFrame(
        {
            "mean": aucs.mean(),
            "sd": aucs.std(),
            "reference ahead by": behind.mean(),
            "low": pd.Series(low, behind.columns),
            "high": pd.Series(high, behind.columns),
            "p": pd.Series(stats.ttest_1samp(behind, 0).pvalue, behind.columns),
        }
    ).loc[aucs.columns]


def main():
    """Print the comparison, and the learning curve where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=40, help="of each evoked state")
    parser.add_argument("--effect-size", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=78)
    parser.add_argument("--permutations", type=int, default=10)
    parser.add_argument("--learning-curve", action="store_true")
    parser.add_argument(
        "--cohorts", type=int, default=1, help="with seeds SEED, SEED + 1, ..."
    )
    parser.add_argument(
        "--pipelines", nargs="+", help="names; the first is the reference (all)"
    )
    parser.add_argument(
        "--networks", nargs="+", default=(), help="of braindecode, trained in each fold"
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--n-jobs", type=int, default=1, help="cohorts at a time")
    options = parser.parse_args()
    pd.set_option("display.width", None, "display.max_columns", None)
    print(
        f"SIMULATED cohorts: {options.cohorts} of {options.participants} participants, "
        f"arrays {', '.join(ARRAYS)},\n{options.epochs} epochs of each evoked state "
        f"and half as many of rest, effect size {options.effect_size:g}, seed "
        f"{options.seed}",
        flush=True,
    )
    seeds = range(options.seed, options.seed + options.cohorts)
    jobs = (delayed(run_cohort)(options, seed) for seed in seeds)
    aucs, curves = zip(*Parallel(options.n_jobs)(jobs), strict=True)
    if options.cohorts > 1:
        aucs = pd.DataFrame(aucs)
        print(f"\nROC AUC of each cohort\n{aucs.round(3)}")
        print(f"\nOver cohorts\n{over_cohorts(aucs).round(3)}")
        if options.learning_curve:
            curves = pd.DataFrame(curves)
            print(f"\nLearning curves, over cohorts\n{curves.T.round(3)}")
            print(curves.agg(["mean", "std"]).T.round(3))


if __name__ == "__main__":
    main()
