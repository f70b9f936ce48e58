"""From whom to learn the effect of age: all training participants, or the controls.

Run as ``python benchmarks/bench_confounds.py``; ``--help`` tells the settings. People
are SIMULATED: 20 features, of which 10 rise or fall with age by one SD for an SD of age
(and with its square, by the factor named ``bend``). Patients are older by ``older`` SD;
``effect`` is what their first feature is higher by, beside that. Features are used as
they are, without what is linear in the age of all training participants, as by
``compare(confounds=)``, and as deviations from norms of the training controls alone
(Marquand et al. 2016, Biol. Psychiatry 80:552-561). ROC AUC of logistic regression, 5
folds; without an effect it should be 0.5.
"""

import argparse

import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

WAYS = ("as they are", "all in training", "training controls")


def score(n, older, effect, bend, seed):
    """Give the AUC of each way, of a cohort of n people."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    age = rng.standard_normal(n) + older * y
    X = rng.standard_normal((n, 20))
    X[:, :10] += (age + bend * age**2)[:, None] * rng.choice([-1, 1], 10)
    X[:, 0] += effect * y
    found = {way: [] for way in WAYS}
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    for train, test in folds.split(X, y):
        sources = {WAYS[1]: train, WAYS[2]: train[y[train] == 0]}
        for way in WAYS:
            Z = X
            if way in sources:
                known = sources[way]
                line = LinearRegression().fit(age[known, None], X[known])
                Z = X - line.predict(age[:, None])
                Z = Z / Z[known].std(0)
            head = make_pipeline(StandardScaler(), LogisticRegression())
            head.fit(Z[train], y[train])
            found[way].append(roc_auc_score(y[test], head.decision_function(Z[test])))
    return [np.mean(found[way]) for way in WAYS]


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(f"SIMULATED; {args.cohorts} cohorts from seed {args.seed}: mean AUC (SD)")
    print("people  older  effect  bend  " + "  ".join(f"{way:17}" for way in WAYS))
    for n in (40, 120):
        for case in ((0, 1, 0), (1, 1, 0), (1, 0, 0), (1, 0, 0.3), (2, 0, 0)):
            seeds = range(args.seed, args.seed + args.cohorts)
            values = np.array([score(n, *case, seed) for seed in seeds])
            cells = zip(values.mean(0), values.std(0), strict=True)
            older, effect, bend = case
            print(f"{n:6}  {older:5}  {effect:6}  {bend:4}  ", end="")
            print("  ".join(f"{f'{mean:.3f} ({sd:.3f})':17}" for mean, sd in cells))


if __name__ == "__main__":
    main()
