"""Model features beside all baselines on a simulated cohort.

Run as ``python benchmarks/bench_classification.py``; ``--help`` tells the settings. The
cohort is drawn from another seed than the simulated recordings of pretraining, and than
the one that the settings of baselines were chosen on (77).
"""

import argparse
import time

import mne
import pandas as pd

from mne_megfm import simulate_cohort
from mne_megfm.evaluation import compare, learning_curve

STATES = ("auditory", "somatosensory", "rest")
ARRAYS = ("neuromag306", "ctf275", "kit157")


def main():
    """Print the comparison, and the learning curve where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=40, help="in each state")
    parser.add_argument("--effect-size", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=78)
    parser.add_argument("--permutations", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--learning-curve", action="store_true")
    options = parser.parse_args()
    mne.set_log_level("error")
    cohort = simulate_cohort(
        options.participants,
        states=STATES,
        arrays=ARRAYS,
        n_epochs=options.epochs,
        filters=(1.0, 40.0),
        effect_size=options.effect_size,
        random_state=options.seed,
        n_jobs=options.jobs,
    )
    X = [participant.recordings for participant in cohort.participants]
    pd.set_option("display.width", None, "display.max_columns", None)
    print(
        f"SIMULATED cohort: {options.participants} participants, arrays "
        f"{', '.join(ARRAYS)},\n{options.epochs} epochs in each of "
        f"{', '.join(STATES)}, effect size {options.effect_size:g}, seed {options.seed}"
    )
    started = time.perf_counter()
    result = compare(
        X,
        cohort.labels,
        n_permutations=options.permutations,
        n_jobs=options.jobs,
    )
    print(result)
    print(f"Compared in {time.perf_counter() - started:.0f} s, {options.jobs} jobs")
    if options.learning_curve:
        curve = learning_curve(X, cohort.labels, scoring="roc_auc", n_jobs=options.jobs)
        print(curve)


if __name__ == "__main__":
    main()
