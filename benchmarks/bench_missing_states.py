"""Missing states: attention over states beside the default features.

Run as ``python benchmarks/bench_missing_states.py``; ``--help`` lists the settings. The
cohort is SIMULATED by the package: half patients, rest, auditory and somatosensory
states. States are removed at random, so that each participant keeps one at least, from
those trained on and those tested alike. ROC AUC over repeated stratified folds.

- "default": `MEGFMClassifier()`, whose features know of missing states by what the
  encoders infer without them;
- "mean and SD": means and standard deviations of rows by state, missing ones filled
  with the mean of the training participants, and the logistic head;
- "mixing": the same, a step for each state, and ``head="mixing"``, cascaded
  cross-attention with states left out in training;
- "mixing, no state dropout": the same without leaving out states;
- "linear start": ``head="mixing"`` that is not trained.

The data of each participant are read once.
"""

import argparse
import warnings

import mne
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.estimators import LogisticHead, StateMixingClassifier
from mne_megfm.estimators.frozen import FrozenStep

STATES = ("rest", "auditory", "somatosensory")
ARRAYS = ("neuromag306", "ctf275", "kit160")


def find_pipelines(seed):
    """Name the steps that read participants, and the heads."""
    mixing = StateMixingClassifier(random_state=seed)
    states = MEGFMTransformer(
        sample="participant", aggregation=StateMixingClassifier.make_aggregator()
    )
    mean_std = MEGFMTransformer(sample="participant", aggregation="mean_std")
    logistic = LogisticHead(random_state=seed)
    return {
        "default": (MEGFMTransformer(sample="participant"), logistic),
        "mean and SD": (mean_std, logistic),
        "mixing": (states, mixing),
        "mixing, no state dropout": (states, clone(mixing).set_params(state_dropout=0)),
        "linear start": (states, clone(mixing).set_params(lr=1e-12, max_epochs=1)),
    }


def remove(n, share, rng):
    """Draw which states stay, (n, n_states), so that each participant keeps one."""
    kept = np.ones((n, len(STATES)), bool)
    n_removed = round(share * kept.size)
    while n_removed:
        person, state = rng.integers(n), rng.integers(len(STATES))
        if kept[person, state] and kept[person].sum() > 1:
            kept[person, state] = False
            n_removed -= 1
    return kept


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--participants", type=int, default=90)
    parser.add_argument("--epochs", type=int, default=30, help="of each state")
    parser.add_argument("--effect-size", type=float, default=1.0)
    parser.add_argument("--missing", type=float, nargs="+", default=[0, 0.1, 0.3, 0.5])
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--seed", type=int, default=8501)
    options = parser.parse_args()
    mne.set_log_level("error")
    warnings.simplefilter("ignore")
    pipelines = find_pipelines(options.seed)
    steps = {name: FrozenStep(step) for name, (step, _) in pipelines.items()}
    cohort = simulate_cohort(
        options.participants,
        states=STATES,
        arrays=ARRAYS,
        n_epochs=options.epochs,
        effect_size=options.effect_size,
        random_state=options.seed,
    )
    # what "mixing" and the linear start take is read as means and SDs are
    read = {"default": [], "mean and SD": []}
    for person in cohort:
        for name, found in read.items():
            found += steps[name].read([person.recordings])
    y = (cohort.labels == "migraine").astype(int)
    rng = np.random.default_rng(options.seed)
    folds = RepeatedStratifiedKFold(
        n_splits=5, n_repeats=options.repeats, random_state=options.seed
    )
    table = {}
    for share in options.missing:
        kept = remove(len(y), share, rng)
        for name, (_, head) in pipelines.items():
            step, aucs = steps[name], []
            part = [
                {s: one[s] for s, there in zip(STATES, row, strict=True) if there}
                for one, row in zip(
                    read.get(name, read["mean and SD"]), kept, strict=True
                )
            ]
            extracted = step.combine(part)
            for train, test in folds.split(y, y):
                fitted = step.fit([extracted[i] for i in train], y[train])
                X = [
                    step.transform(fitted, [extracted[i] for i in at])
                    for at in (train, test)
                ]
                model = clone(head).fit(X[0], y[train])
                aucs.append(roc_auc_score(y[test], model.decision_function(X[1])))
            means = np.reshape(aucs, (options.repeats, -1)).mean(1)
            table[name, f"{100 * share:.0f} % missing"] = (
                f"{np.mean(aucs):.3f} ({np.std(aucs):.3f})"
            )
            print(f"{share:.0%} missing, {name}: {means.mean():.3f}", flush=True)
    print(
        f"\nSIMULATED, {len(y)} participants, seed {options.seed}: AUC (SD over folds)"
    )
    print(pd.Series(table).unstack(sort=False).to_string())


if __name__ == "__main__":
    main()
