"""Model features beside all baselines on a simulated cohort.

Run as ``python benchmarks/bench_classification.py``; ``--help`` tells the settings. The
cohort is drawn from another seed than the simulated recordings of pretraining, and than
those that settings were chosen on (77, 9001, 9002, 9101, 9102, 9201, 9202). Recordings
are kept in a folder for the time of the run, not in memory.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import mne
import numpy as np
import pandas as pd

from mne_megfm.datasets import simulate_participant
from mne_megfm.evaluation import compare, learning_curve

STATES = ("auditory", "somatosensory", "rest")
ARRAYS = ("neuromag306", "ctf275", "kit157")


def simulate(folder, options):
    """Simulate participants one by one; give recordings on disk, and labels."""
    rng = np.random.default_rng(options.seed)
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
            random_state=options.seed,
        )
        row = {}
        for state, epochs in person.recordings.items():
            path = folder / f"{number}-{state}-epo.fif"
            epochs.save(path)
            row[state] = mne.read_epochs(path, preload=False)
        X.append(row)
        y.append(person.label)
    return X, np.array(y)


def main():
    """Print the comparison, and the learning curve where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=40, help="of each evoked state")
    parser.add_argument("--effect-size", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=78)
    parser.add_argument("--permutations", type=int, default=10)
    parser.add_argument("--learning-curve", action="store_true")
    options = parser.parse_args()
    mne.set_log_level("error")
    pd.set_option("display.width", None, "display.max_columns", None)
    print(
        f"SIMULATED cohort: {options.participants} participants, arrays "
        f"{', '.join(ARRAYS)},\n{options.epochs} epochs of each evoked state and half "
        f"as many of rest, effect size {options.effect_size:g}, seed {options.seed}"
    )
    with TemporaryDirectory() as folder:
        X, y = simulate(Path(folder), options)
        started = time.perf_counter()
        # epochs that stay on disk cannot be sent to other processes
        print(compare(X, y, n_permutations=options.permutations, n_jobs=1))
        print(f"Compared in {time.perf_counter() - started:.0f} s")
        if options.learning_curve:
            print(learning_curve(X, y, scoring="roc_auc", n_jobs=1))


if __name__ == "__main__":
    main()
