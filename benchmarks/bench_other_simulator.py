"""Model features beside all baselines on a cohort of another simulator.

Run as ``python benchmarks/bench_other_simulator.py``; ``--help`` lists the settings.
The cohort is SIMULATED, by other means and conventions than those of the package's own
simulator: a reviewer wrote ``_other_simulator.py`` with MNE-Python and NumPy alone. On
its first cohorts (seeds 101 and 202) the wrong unit of the participant encoder's
coefficients was found. Measures of participants were chosen on these and on seeds 401
to 403 (A) and 404 (B). Nothing was chosen on the default seeds. Sensor positions come
from the real recordings in the folder that ``MNE_MEGFM_TEST_DATA`` names (default:
``shared/data`` beside the checkout).

- Cohort A: four arrays, 500 Hz, 1-40 Hz, epochs from -0.1 to 0.5 s, rest as 30 epochs
  of 1 s, the position of the head is known;
- cohort B: two arrays, 600 Hz, 0.2-120 Hz with a power line, epochs from -0.2 to 0.8 s
  with baseline, rest as Raw, the position of the head is not known: it is missing for
  CTF, and for Vectorview the file falls back on that of the borrowed recording.

Patients differ in the means of four traits, all of which overlap: responses habituate
less (0.05 and not 0.30 of the first are lost, SD 0.25) and are larger (by 0.22 in the
logarithm, SD 0.25), alpha is slower (9.3 and not 10.1 Hz, SD 0.9), and there is more
theta (by 0.4 in the logarithm of its power, SD 0.45). Theta lies on all background
sources, everywhere in the head and in all states, so that this cohort flatters spectral
features.

Last is what the true traits themselves give in logistic regression on the same folds:
the ceiling, since traits are measured from recordings with errors.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import mne
import numpy as np
import pandas as pd
from _other_simulator import COHORTS, FILES, TRAITS, simulate
from bench_classification import over_cohorts
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm.evaluation import compare, default_pipelines


def find_data(cohort):
    """Return the folder of the real recordings; end with a message without them.

    A folder that was named and lacks them is an error, no folder at all is not.
    """
    given = os.environ.get("MNE_MEGFM_TEST_DATA")
    here = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(given) if given else here
    missing = [FILES[a] for a in cohort.arrays if not (folder / FILES[a]).is_file()]
    if missing:
        print(
            f"Not run: {folder} lacks {', '.join(missing)}, the real recordings that "
            "sensor positions come from. Name their folder in MNE_MEGFM_TEST_DATA."
        )
        sys.exit(1 if given else 0)
    return folder


def save(recordings, stem):
    """Save the recordings of a participant; open them again, left on disk."""
    opened = {}
    for state, recording in recordings.items():
        if isinstance(recording, mne.io.BaseRaw):
            path = f"{stem}-{state}-raw.fif"
            recording.save(path)
            opened[state] = mne.io.read_raw_fif(path, preload=False)
        else:
            path = f"{stem}-{state}-epo.fif"
            recording.save(path)
            opened[state] = mne.read_epochs(path, preload=False)
    return opened


def run_cohort(data, cohort, options, seed):
    """Simulate, compare and print; give mean AUCs, that of the ceiling last."""
    pipelines = default_pipelines()
    pipelines = {name: pipelines[name] for name in options.pipelines or pipelines}
    cv = RepeatedStratifiedKFold(
        n_splits=options.folds, n_repeats=options.repeats, random_state=0
    )
    X, y, truth = [], [], []
    with TemporaryDirectory() as folder:
        people = simulate(data, cohort, options.participants, seed)
        for number, (recordings, label, traits) in enumerate(people):
            X.append(save(recordings, Path(folder) / str(number)))
            y.append(label)
            truth.append([traits[name] for name in TRAITS])
        started = time.perf_counter()
        # epochs that stay on disk cannot be sent to other processes
        result = compare(
            X, y, pipelines, cv=cv, n_permutations=options.permutations, n_jobs=1
        )
    print(f"\nSeed {seed}, compared in {time.perf_counter() - started:.0f} s")
    print(result)
    ceiling = cross_val_score(
        make_pipeline(StandardScaler(), LogisticRegression()),
        np.array(truth),
        y,
        cv=cv,
        scoring="roc_auc",
    )
    print(
        f"Ceiling, true {', '.join(TRAITS)}:\n"
        f"ROC AUC {ceiling.mean():.3f} (SD over folds {ceiling.std(ddof=1):.3f})",
        flush=True,
    )
    return result.summary()["mean"].rename(seed), ceiling.mean()


def main():
    """Print the comparison and the ceiling."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohort", choices=tuple(COHORTS), default="A")
    parser.add_argument("--participants", type=int, help="A: 100, B: 90")
    parser.add_argument("--seed", type=int, help="A: 501, B: 601")
    parser.add_argument(
        "--cohorts", type=int, default=1, help="with seeds SEED, SEED + 1, ..."
    )
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--permutations", type=int, default=0)
    parser.add_argument(
        "--pipelines", nargs="+", help="names; the first is the reference (all)"
    )
    options = parser.parse_args()
    cohort = COHORTS[options.cohort]
    if options.participants is None:
        options.participants = cohort.n_participants
    if options.seed is None:
        options.seed = cohort.seed
    mne.set_log_level("error")
    pd.set_option("display.width", None, "display.max_columns", None)
    data = find_data(cohort)
    low, high = cohort.band
    print(
        f"SIMULATED by another simulator: cohort {options.cohort}, "
        f"{options.participants} participants,\narrays {', '.join(cohort.arrays)}, "
        f"{cohort.sfreq:g} Hz, {low:g}-{high:g} Hz, seed {options.seed}",
        flush=True,
    )
    seeds = range(options.seed, options.seed + options.cohorts)
    aucs, ceilings = zip(
        *(run_cohort(data, cohort, options, seed) for seed in seeds), strict=True
    )
    if options.cohorts > 1:
        aucs = pd.DataFrame(aucs)
        print(f"\nROC AUC of each cohort\n{aucs.round(3)}")
        print(f"Ceilings: {', '.join(f'{ceiling:.3f}' for ceiling in ceilings)}")
        print(f"\nOver cohorts\n{over_cohorts(aucs).round(3)}")


if __name__ == "__main__":
    main()
