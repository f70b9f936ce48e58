"""What fine-tuning of the participant encoder adds, on a simulated cohort.

Run as ``python benchmarks/bench_strategies.py``; ``--help`` lists the settings.
"""

import argparse
import time

import mne
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold

from mne_megfm import MEGFMClassifier, simulate_cohort
from mne_megfm.estimators import FineTuning
from mne_megfm.evaluation import compare

STATES = ("auditory", "somatosensory", "rest")
ARRAYS = ("neuromag306", "ctf275", "kit157")


def main():
    """Print the comparison of strategies, and what each cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=30, help="in each state")
    parser.add_argument("--effect-size", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=79)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--states", nargs="+", default=STATES)
    parser.add_argument("--max-epochs", type=int, default=20)
    parser.add_argument("--rows", type=int, default=8, help="fewest a state")
    parser.add_argument("--lr", type=float, help="that of the strategy by default")
    options = parser.parse_args()
    mne.set_log_level("error")
    cohort = simulate_cohort(
        options.participants,
        states=options.states,
        arrays=ARRAYS,
        n_epochs=options.epochs,
        filters=(1.0, 40.0),
        effect_size=options.effect_size,
        random_state=options.seed,
    )
    X = [participant.recordings for participant in cohort.participants]
    cv = RepeatedStratifiedKFold(
        n_splits=options.folds, n_repeats=options.repeats, random_state=0
    )
    pipelines = {"probe": MEGFMClassifier(random_state=0)}
    for strategy in ("lora", "finetune"):
        pipelines[strategy] = MEGFMClassifier(
            strategy=strategy,
            finetuning=FineTuning(
                max_epochs=options.max_epochs,
                n_epochs_per_state=options.rows,
                lr=options.lr,
            ),
            random_state=0,
        )
    pd.set_option("display.width", None, "display.max_columns", None)
    print(
        f"SIMULATED cohort: {options.participants} participants, arrays "
        f"{', '.join(ARRAYS)},\n{options.epochs} epochs in each of "
        f"{', '.join(options.states)}, effect size {options.effect_size:g}, seed "
        f"{options.seed};\n{options.repeats} x {options.folds} folds, fine-tuning for "
        f"up to {options.max_epochs} epochs on half of the trials",
        flush=True,
    )
    tables = []
    for name, pipeline in pipelines.items():
        started = time.perf_counter()
        none = {"n_permutations": 0, "n_random_weights": 0}
        result = compare(X, cohort.labels, {name: pipeline}, cv=cv, **none)
        tables.append(result.folds)
        values = result.values()[name]
        print(
            f"{name}: ROC AUC {values.mean():.3f}, SD {values.std():.3f} over folds, "
            f"{time.perf_counter() - started:.0f} s",
            flush=True,
        )
    result.folds = pd.concat(tables, ignore_index=True)
    result.reference = next(iter(pipelines))
    print(result.summary().round(3))


if __name__ == "__main__":
    main()
