"""Alignment of attention with simulated sources, by method.

Run as ``python benchmarks/bench_attention.py``. Participants have seed 8800, which
served no choice, on five arrays. Sources are those of the N100m in both temporal lobes
(maps of 0 to 200 ms) and of the N20m opposite to the stimulated wrist (0 to 100 ms);
before the stimulus counts from -200 ms. Networks: the bundled weights, and random
weights.
"""

import argparse

import mne

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import attention, score_attention

SEED = 8800
ARRAYS = ("neuromag306", "ctf275", "ctf151", "kit157", "opm64")
SOURCES = {"auditory": ("N100m", (0.0, 0.2)), "somatosensory": ("N20m", (0.0, 0.1))}
# of averages: (method, layer, turns of the head)
ATTENTION_METHODS = (
    ("received", None, 1),
    ("received", -1, 1),
    ("rollout", -1, 1),
    ("norms", -1, 1),
    ("received", -1, 24),
    ("between", -1, 1),
    ("between", -1, 24),
)
OF_TRIALS = (("received", -1, 1), ("between", -1, 1))


def true_sources(participants, state):
    """Give the positions of the sources of the main deflection, by hemisphere."""
    name = SOURCES[state][0]
    return [
        {
            s.hemi: s.pos
            for s in person.truth["states"][state]["sources"]
            if s.name == name
        }
        for person in participants
    ]


def cells(score):
    """Format the share within 3 cm and the distance, with their comparisons."""
    ratio, distance = score.summary.loc["ratio"], score.summary.loc["distance"]
    yield f"{ratio['mean']:.2f} ({ratio['sd']:.2f})"
    yield f"{ratio.before:.2f}"
    yield f"{ratio.random_weights:.2f}"
    for part in ("sensors", "places", "before", "random_weights"):
        yield f"{ratio[f'p_{part}']:.3f}"
    yield f"{100 * distance['mean']:.1f} ({100 * distance.sd:.1f})"
    yield f"{100 * distance.chance_places:.1f}"
    yield f"{distance.p_places:.3f}"


def main():
    """Print a table for each state."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--participants", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--states", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument(
        "--methods",
        nargs="+",
        choices={row[0] for row in ATTENTION_METHODS},
        help="all",
    )
    parser.add_argument("--no-trials", action="store_true")
    options = parser.parse_args()
    mne.set_log_level("error")
    cohort = simulate_cohort(
        options.participants,
        states=tuple(options.states),
        arrays=ARRAYS,
        n_epochs=options.epochs,
        filters=(1.0, 40.0),
        random_state=options.seed,
    )
    print(f"SIMULATED: {len(cohort)} participants, {options.epochs} epochs, "
          f"seed {options.seed}")  # fmt: skip
    for state in options.states:
        name, window = SOURCES[state]
        epochs = [one.apply_baseline((None, 0.0)) for one in cohort.epochs(state)]
        averages = [one.average() for one in epochs]
        networks = [
            MEGFMTransformer().fit(averages),
            MEGFMTransformer(None, random_state=0).fit(averages),
        ]
        sources = true_sources(cohort, state)
        print(f"\n{state}: {name}, {window[0]:g} to {window[1]:g} s\n")
        print("| attention | layer | turns | share within 3 cm / even (SD) | before | "
              "random weights | p sensors | p places | p before | p random weights | "
              "distance, cm (SD) | by chance | p places |")  # fmt: skip
        print("|---" * 13 + "|")
        rows = [("average", averages, row) for row in ATTENTION_METHODS]
        if not options.no_trials:
            rows += [("trials", epochs, row) for row in OF_TRIALS]
        chosen = options.methods
        rows = [row for row in rows if chosen is None or row[2][0] in chosen]
        for of, X, (method, layer, n_turns) in rows:
            trained, untrained = (
                attention(net, X, method=method, layer=layer, n_turns=n_turns)
                for net in networks
            )
            score = score_attention(
                trained, sources, window=window, before=(-0.2, 0.0),
                random_weights=untrained, n_null=options.draws,
            )  # fmt: skip
            where = {None: "all", -1: "last"}[layer]
            shown = (f"{of}, {method}", where, str(n_turns), *cells(score))
            print(f"| {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
