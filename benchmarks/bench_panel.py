"""What features of participants tell about the traits of the panel.

Run as ``python benchmarks/bench_panel.py --cache FOLDER``; ``--help`` tells the
settings. The people are SIMULATED, see ``panel``: 31 traits of
evoked, induced and ongoing activity, single trials and connectivity, each independent
of the others, on three arrays, rest and two evoked states of 40 trials. Nothing of it
is seen in pretraining. A row of the table is a feature set, scored by the mean ROC AUC
over traits (3 x 5 folds): "named" are the traits that the hand-made measures were made
for. The better of ridge regression with and without a StandardScaler is taken for each
feature set, over all traits; the table has both, and ``LogisticRegression()`` with and
without.

By default it is the development panel: its seeds, and the traits that are not held out.
``--report`` takes the other seeds and all traits, and is to be run once.

Features of your own: ``--features NAME=module:function``. The function takes a list of
participants, each a dict with ``"rest"`` (Raw), ``"auditory"`` and ``"somatosensory"``
(Epochs), and returns an array, one row for each. It is called with one participant at a
time, and must not depend on others. With an array of features already at hand, call
``panel.panel_scores(features, classes)``.

What was computed is kept in the folder, in chunks of ten people: a further row costs
only that row, and a run that was stopped goes on. Delete a row's folder if its code
changes.
"""

import argparse
import importlib.util
import os
import re
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from _panel_matched import matched_measures
from panel import (
    DEVELOPMENT_SEEDS,
    LEARNERS,
    REPORT_SEEDS,
    TRAITS,
    panel_difference,
    panel_scores,
    simulate_panel_person,
)
from safetensors.numpy import load_file, save_file

from mne_megfm import MEGFMTransformer
from mne_megfm.estimators.frozen import FrozenStep
from mne_megfm.evaluation import (
    BandPower,
    CovarianceTangent,
    EvokedFeatures,
    HabituationFeatures,
    KernelSum,
    shared_trials,
    trials_by_state,
)
from mne_megfm.inputs import as_recordings
from mne_megfm.models import PARAMETERS

CHUNK = 10
RESPONSES = ("auditory", "somatosensory")
RANDOM_SEEDS = (0, 1, 2)
REFERENCE = "MEGFMTransformer()"
TRUTH = "true values"
MATCHED = "measures that know the generator"
RIDGES, LOGISTICS = LEARNERS[:2], LEARNERS[2:]

Arrays = dict[str, np.ndarray]


# -- makers: a participant's recordings to named arrays -----------------------
@cache
def transformer(weights, aggregation, seed):
    """Fit the frozen model: it learns of states and lengths alone."""
    # two people, since settings of fit must not depend on whom they are asked for
    people = [
        simulate_panel_person(number, DEVELOPMENT_SEEDS[0], array="kit160")
        for number in range(2)
    ]
    model = MEGFMTransformer(
        weights, sample="participant", aggregation=aggregation, random_state=seed
    )
    return model.fit([person.recordings for person in people])


def model_features(person, weights="megfm-tiny", aggregation="auto", seed=0):
    """Features of the model; of the default, both parts by themselves, too."""
    model = transformer(weights, aggregation, seed)
    features = model.transform([person])[0]
    if aggregation != "auto":
        return {"features": features}
    names = model.get_feature_names_out()
    measures = [bool(re.match("spectrum_|responses_", name)) for name in names]
    learnt = np.isin(names, [parameter.name for parameter in PARAMETERS])
    return {
        "features": features,
        "measures": features[measures],
        "parameters": features[learnt],
    }


def described(person, step):
    """Extract what a baseline of `compare` uses: from state to vector."""
    return dict(sorted(FrozenStep(step).read([person])[0].items()))


def canonical(person):
    """Map the recordings to the canonical array at 250 Hz, in pT."""
    trials = trials_by_state(as_recordings([person], duration=1.0))[0]
    return {state: 1e12 * part.data for state, part in sorted(trials.items())}


def kernels(person):
    """Describe averages, spectra and trial dynamics, as the baseline of `compare`."""
    (parts,) = FrozenStep(KernelSum()).read([person])
    return {
        f"{part}_{state}": values
        for part, by_state in parts.items()
        for state, values in sorted(by_state.items())
    }


def mne_features(person):
    """Average what mne-features finds in epochs, on 48 canonical sensors."""
    from mne_features.feature_extraction import extract_features

    chosen = [
        "pow_freq_bands",
        "hjorth_mobility",
        "hjorth_complexity",
        "spect_entropy",
        "line_length",
        "kurtosis",
        "skewness",
        "ptp_amp",
        "zero_crossings",
    ]
    bands = {"pow_freq_bands__freq_bands": np.array([1, 4, 8, 13, 30, 45, 90.0])}
    return {
        state: extract_features(rows[:, ::4].astype(float), 250.0, chosen, bands).mean(
            0
        )
        for state, rows in canonical(person).items()
    }


def own(person, function):
    """Call a function that was given by name."""
    features = np.asarray(function([person]))
    if features.ndim != 2 or len(features) != 1:
        raise ValueError(
            f"Expected an array of one row for a list of one participant from "
            f"{function.__module__}:{function.__qualname__}, got {features.shape}."
        )
    return {"features": features[0]}


def find_makers() -> dict[str, Callable]:
    """List what computes arrays, by the name of its folder."""
    makers = {
        "model": model_features,
        "measures": partial(model_features, aggregation="measures"),
        "statistics": partial(model_features, aggregation="mean_std"),
        "evoked": partial(described, step=EvokedFeatures("evoked")),
        "bands": partial(described, step=BandPower()),
        "covariance": partial(described, step=CovarianceTangent()),
        "dynamics": partial(described, step=HabituationFeatures()),
        "kernel_sum": kernels,
        "matched": lambda p: {"features": np.array(list(matched_measures(p).values()))},
    }
    for seed in RANDOM_SEEDS:
        control = partial(model_features, weights=None, seed=seed)
        makers[f"model_random{seed}"] = control
        makers[f"statistics_random{seed}"] = partial(control, aggregation="mean_std")
    if importlib.util.find_spec("mne_features"):
        makers["mne_features"] = mne_features
    return makers


# -- rows: blocks of arrays to features ----------------------------------------
def joined(arrays: Arrays, prefix: str = "") -> np.ndarray:
    """Put arrays whose names begin alike side by side."""
    return np.hstack([x for name, x in arrays.items() if name.startswith(prefix)])


def tangent(arrays: Arrays) -> np.ndarray:
    """Bring covariances to the tangent space of the mean of all people: no labels."""
    states = list(arrays)
    people = [dict(zip(states, rows, strict=True)) for rows in zip(*arrays.values())]  # noqa: B905
    fitted = FrozenStep(CovarianceTangent()).fit(people)
    return FrozenStep.transform(fitted, people)


def truth(values: pd.DataFrame) -> np.ndarray:
    """Put the true values on the scales on which they are normal."""
    return np.column_stack([TRAITS[name].place(x) for name, x in values.items()])


class Row:
    """A row of the table.

    Parameters
    ----------
    needs : tuple of str
        Makers.
    build : callable
        From the arrays of each of these to features, or to a list of blocks.
    """

    def __init__(self, needs, build):
        self.needs, self.build = needs, build


def find_rows() -> dict[str, list[Row]]:
    """List the feature sets; those of several seeds have several rows."""

    def whole(name):
        return Row((name,), joined)

    def with_measures(name):
        return Row((name, "model"), lambda x, m: [joined(x), m["measures"]])

    rows = {
        REFERENCE: [Row(("model",), lambda x: x["features"])],
        "the same, random weights": [
            Row((f"model_random{seed}",), lambda x: x["features"])
            for seed in RANDOM_SEEDS
        ],
        "hand-made measures alone": [Row(("model",), lambda x: x["measures"])],
        "hand-made measures, states and maps": [whole("measures")],
        "parameters alone": [Row(("model",), lambda x: x["parameters"])],
        "parameters alone, random weights": [
            Row((f"model_random{seed}",), lambda x: x["parameters"])
            for seed in RANDOM_SEEDS
        ],
        "statistics, pretrained": [whole("statistics")],
        "statistics, random weights": [
            whole(f"statistics_random{seed}") for seed in RANDOM_SEEDS
        ],
        "statistics, pretrained + measures": [with_measures("statistics")],
        "statistics, random + measures": [
            with_measures(f"statistics_random{seed}") for seed in RANDOM_SEEDS
        ],
        "evoked signals": [whole("evoked")],
        "band power": [whole("bands")],
        "trial dynamics": [whole("dynamics")],
        "band power + trial dynamics": [
            Row(("bands", "dynamics"), lambda b, d: [joined(b), joined(d)])
        ],
        "covariance tangent space": [Row(("covariance",), tangent)],
        "sum of three kernels": [
            Row(
                ("kernel_sum",),
                lambda k: [joined(k, p) for p in ("averages", "spectra", "dynamics")],
            )
        ],
    }
    rows[MATCHED] = [whole("matched")]
    if importlib.util.find_spec("mne_features"):
        rows["mne-features"] = [whole("mne_features")]
    else:
        print(
            "Without the row mne-features: the package mne_features is not installed."
        )
    return rows


def true_of(person) -> Arrays:
    """Give what is true of a person."""
    return {
        "classes": np.array(list(person.classes.values())),
        "values": np.array(list(person.values.values())),
    }


# -- computing and keeping ------------------------------------------------------
def save(arrays: Arrays, path: Path) -> None:
    """Write a file as a whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.tmp")
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, aside)
    aside.replace(path)


def chunk_path(folder, seed, n_trials, name, first):
    """Say where a chunk of people is kept."""
    return folder / f"seed{seed}_trials{n_trials}" / name / f"{first:04d}.safetensors"


def compute(folder, seed, n_people, n_trials, makers):
    """Compute what is not there yet, chunk by chunk."""
    for first in range(0, n_people, CHUNK):
        paths = {
            name: chunk_path(folder, seed, n_trials, name, first)
            for name in ("truth", *makers)
        }
        lacking = [name for name, path in paths.items() if not path.is_file()]
        if not lacking:
            continue
        found = {name: [] for name in lacking}
        for number in range(first, first + CHUNK):
            person = simulate_panel_person(number, seed, n_trials=n_trials)
            with shared_trials():  # recordings are mapped once for all baselines
                for name in lacking:
                    make = true_of if name == "truth" else makers[name]
                    of = person if name == "truth" else person.recordings
                    found[name].append(make(of))
        for name, people in found.items():
            kind = np.float64 if name == "truth" else np.float32
            stacked = {k: np.array([p[k] for p in people], kind) for k in people[0]}
            save(stacked, paths[name])
        print(f"seed {seed}, {n_trials} trials, {first + CHUNK} people", flush=True)


def load(folder, seed, n_people, n_trials, name) -> Arrays:
    """Read the arrays of a maker for all people."""
    chunks = [
        load_file(chunk_path(folder, seed, n_trials, name, first))
        for first in range(0, n_people, CHUNK)
    ]
    return {k: np.concatenate([c[k] for c in chunks])[:n_people] for k in chunks[0]}


def score(folder, seed, n_people, n_trials, rows, traits, learners, n_train=None):
    """Score all rows on a cohort: from row to a table of trait by learner."""
    read = cache(partial(load, folder, seed, n_people, n_trials))
    true = read("truth")
    classes = pd.DataFrame(true["classes"].astype(int), columns=list(TRAITS))
    settings = dict(traits=traits, learners=learners, n_train=n_train)
    scores = {}
    for name, seeds in rows.items():
        of_seeds = [
            panel_scores(row.build(*map(read, row.needs)), classes, **settings)
            for row in seeds
        ]
        scores[name] = sum(of_seeds) / len(of_seeds)
    values = pd.DataFrame(true["values"], columns=list(TRAITS))
    scores[TRUTH] = panel_scores(truth(values), classes, **settings)
    return scores


# -- tables ---------------------------------------------------------------------
def pick(scores) -> dict:
    """Take the better ridge of each row; give AUCs from row to cohort."""
    picked = {}
    for name in next(iter(scores.values())):
        means = sum(cohort[name][list(RIDGES)].mean() for cohort in scores.values())
        picked[name] = {s: cohort[name][means.idxmax()] for s, cohort in scores.items()}
    return picked


def summarise(scores, reference) -> pd.DataFrame:
    """Make the table: a line for each row."""
    picked = pick(scores)
    lines = {}
    for name, cohorts in picked.items():
        mean = pd.DataFrame(cohorts).mean(axis=1)
        named = np.array([TRAITS[trait].named for trait in mean.index])
        line = {
            "named": mean[named].mean(),
            "other": mean[~named].mean(),
            "all": mean.mean(),
            "SD": mean.std(),
            "> 0.65": (mean > 0.65).sum(),
        }
        for learner in LEARNERS:
            of_learner = [c[name][learner].mean() for c in scores.values()]
            line[learner] = np.mean(of_learner)
        if name != reference and reference in picked:
            line["ahead of it by"], line["low"], line["high"] = panel_difference(
                picked[reference], cohorts
            )
        lines[name] = line
    candidates = [n for n in picked if n not in (TRUTH, MATCHED)]
    best = pd.DataFrame({n: pd.DataFrame(picked[n]).mean(axis=1) for n in candidates})
    best = best.max(axis=1)
    named = np.array([TRAITS[trait].named for trait in best.index])
    lines["best for each trait, picked with the answers"] = {
        "named": best[named].mean(),
        "other": best[~named].mean(),
        "all": best.mean(),
    }
    return pd.DataFrame(lines).T


def trait_table(scores) -> pd.DataFrame:
    """Make a table of the AUC of each trait, over cohorts."""
    picked = pick(scores)
    table = {n: pd.DataFrame(cohorts).mean(axis=1) for n, cohorts in picked.items()}
    return pd.DataFrame(table)


def number_columns(table: pd.DataFrame) -> str:
    """Print a wide table with numbered columns."""
    legend = "\n".join(f"  {i}: {name}" for i, name in enumerate(table, start=1))
    kinds = [TRAITS[name].kind for name in table.index]
    short = table.set_axis(range(1, table.shape[1] + 1), axis=1).round(2)
    short.insert(0, "kind", kinds)
    return f"{legend}\n{short}"


def read_own(given) -> dict[str, Callable]:
    """Find functions by what was given as NAME=module:function."""
    found = {}
    for text in given:
        name, _, where = text.partition("=")
        module, _, function = where.partition(":")
        if not (name and module and function):
            raise SystemExit(f"Expected NAME=module:function, got {text!r}.")
        found[name] = partial(
            own, function=getattr(importlib.import_module(module), function)
        )
    return found


def main():
    """Compute what is missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder to keep in")
    parser.add_argument("--people", type=int, default=120, help="of each cohort")
    parser.add_argument("--seeds", nargs="+", type=int, help="of the cohorts")
    parser.add_argument("--cohorts", type=int, default=1, help="of the seeds, at most")
    parser.add_argument("--trials", type=int, nargs="+", default=[40])
    parser.add_argument("--labels", type=int, nargs="*", default=[], help="as 24 48 96")
    parser.add_argument("--rows", nargs="+", help="names of rows (all)")
    parser.add_argument("--features", nargs="+", default=[], metavar="NAME=mod:func")
    parser.add_argument("--reference", default=REFERENCE)
    parser.add_argument("--traits", action="store_true", help="a table of all traits")
    parser.add_argument("--report", action="store_true", help="held-out seeds, traits")
    parser.add_argument("--compute", action="store_true", help="compute, do not score")
    options = parser.parse_args()
    mne.set_log_level("error")
    warnings.simplefilter("ignore")
    pd.set_option(
        "display.width", None, "display.max_columns", None, "display.max_rows", None
    )
    makers, rows = find_makers(), find_rows()
    for name, maker in read_own(options.features).items():
        makers[name], rows[name] = maker, [Row((name,), joined)]
    if options.rows:
        unknown = sorted(set(options.rows) - set(rows))
        if unknown:
            raise SystemExit(f"Expected rows among {list(rows)}, got {unknown}.")
        rows = {n: rows[n] for n in (*options.rows, *read_own(options.features))}
    seeds = REPORT_SEEDS if options.report else DEVELOPMENT_SEEDS
    seeds = options.seeds or seeds[: options.cohorts]
    traits = [n for n, t in TRAITS.items() if options.report or not t.held_out]
    needed = {need for row in rows.values() for one in row for need in one.needs}
    makers = {name: maker for name, maker in makers.items() if name in needed}
    kept = {}
    for n_trials in options.trials:
        for seed in seeds:
            compute(options.cache, seed, options.people, n_trials, makers)
        if options.compute:
            continue
        kept[n_trials] = {
            seed: score(
                options.cache, seed, options.people, n_trials, rows, traits, LEARNERS
            )
            for seed in seeds
        }
        print(
            f"\nSIMULATED, {'REPORT' if options.report else 'development'} panel: "
            f"seeds {list(seeds)}, {options.people} people each, {n_trials} "
            f"trials, {len(traits)} traits. Mean AUC; SD over traits; "
            f"{options.reference!r} ahead by (95 % over traits and cohorts)"
        )
        print(
            summarise(kept[n_trials], options.reference).round(3).to_string(na_rep="")
        )
        if options.traits:
            print(f"\nAUC of each trait\n{number_columns(trait_table(kept[n_trials]))}")
    for n_train in () if options.compute else options.labels:
        scores = {
            seed: score(
                options.cache,
                seed,
                options.people,
                options.trials[-1],
                rows,
                traits,
                RIDGES,
                n_train,
            )
            for seed in seeds
        }
        means = {
            n: pd.DataFrame(c).mean(axis=1).mean() for n, c in pick(scores).items()
        }
        print(f"\n{n_train} labels\n{pd.Series(means).round(3).to_string()}")


if __name__ == "__main__":
    main()
