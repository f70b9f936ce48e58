"""How alike features of the same person are on another visit.

Run as ``python benchmarks/bench_reliability.py``; ``--help`` tells the settings. The
people are SIMULATED, by the generator of the panel (see ``panel``), which pretraining
never sees. Each is recorded twice: the second time on another array, with another head
position, background and trials. For each feature: the intraclass correlation ICC(1,1)
of Shrout & Fleiss (1979), "Intraclass correlations: uses in assessing rater
reliability", Psychol. Bull. 86:420-428. For all together: the mean distance of a person
to their other visit, over that to other people's other visits, of the features as they
are and z-scored; and how often the nearest other visit is the person's own.
"""

import argparse
import warnings

import mne
import numpy as np
from panel import simulate_panel_person
from scipy.spatial.distance import cdist

from mne_megfm import MEGFMTransformer

AGGREGATIONS = {
    "MEGFMTransformer()": "auto",
    "parameters alone": "parameters",
    "hand-made measures alone": "measures",
    "mean and SD of window features": "mean_std",
}


def intraclass(first, second):
    """Compute ICC(1,1) of two visits, of arrays (n_people, n_features)."""
    mean = (first + second) / 2
    between = 2 * mean.var(0, ddof=1)
    within = ((first - second) ** 2).mean(0) / 2
    total = between + within
    return np.divide(between - within, total, where=total > 0, out=0 * total)


def distances(first, second):
    """Compare people with themselves and with others.

    Returns
    -------
    ratio : float
        Mean distance to oneself over mean distance to others.
    found : float
        Share of people whose nearest other visit is their own.
    """
    away = cdist(first, second)
    own = np.diag(away)
    others = away[~np.eye(len(away), dtype=bool)]
    return own.mean() / others.mean(), (away.argmin(1) == np.arange(len(away))).mean()


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=48)
    parser.add_argument("--seed", type=int, default=8304)
    parser.add_argument("--arrays", nargs=2, default=["vectorview", "ctf275"])
    parser.add_argument("--random-weights", type=int, metavar="SEED")
    options = parser.parse_args()
    mne.set_log_level("error")
    warnings.simplefilter("ignore")
    weights = "megfm-tiny" if options.random_weights is None else None
    models = {
        name: MEGFMTransformer(
            weights,
            sample="participant",
            aggregation=aggregation,
            random_state=options.random_weights,
        )
        for name, aggregation in AGGREGATIONS.items()
    }
    visits = {name: ([], []) for name in models}
    for number in range(options.people):
        for visit, array in enumerate(options.arrays):
            person = simulate_panel_person(
                number, options.seed, array=array, visit=visit
            )
            for name, model in models.items():
                if not visits[name][0]:  # fit learns of states and lengths alone
                    model.fit([person.recordings] * 2)
                visits[name][visit].append(model.transform([person.recordings])[0])
    print(
        f"SIMULATED people: seed {options.seed}, n = {options.people}, "
        f"{' and '.join(options.arrays)}"
    )
    print("features: median ICC; distance to oneself / to others, nearest is oneself:")
    for name, (first, second) in visits.items():
        first, second = np.array(first), np.array(second)
        spread = np.r_[first, second].std(0)
        used = spread > 0
        icc = intraclass(first, second)
        plain = distances(first, second)
        scaled = distances(
            first[:, used] / spread[used], second[:, used] / spread[used]
        )
        print(
            f"  {name} ({first.shape[1]}): {np.median(icc):.2f}; as they are "
            f"{plain[0]:.2f}, {plain[1]:.0%}; z-scored {scaled[0]:.2f}, {scaled[1]:.0%}"
        )
        if name == "MEGFMTransformer()":
            each = dict(zip(models[name].get_feature_names_out(), icc, strict=True))
    print("ICC of each feature of the default:")
    for name, value in sorted(each.items(), key=lambda item: -item[1]):
        print(f"  {name:28s}{value:6.2f}")


if __name__ == "__main__":
    main()
