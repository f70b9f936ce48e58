"""Latent sources of simulated stories against ridge regression and inverse methods.

    python benchmarks/bench_sources.py --seeds 2 --rst doc/validation/sources.rst

Each seed is an experiment of its own: areas at random places, people on other arrays
and in other positions. Some settings hand out forward solutions that are wrong. Nothing
here is fitted to the held-out story. Areas are found by regressing the estimate on the
true courses of all areas: the place of the largest coefficient against the true centre.
This favours methods that are noisy, since the truth averages their noise.
"""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr

from mne_megfm.encoding import BandedRidge, LatentSourceEncoder, compare_sources
from mne_megfm.simulation import simulate_naturalistic

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from rst_tables import simple_table, write_table  # noqa: E402

SETTINGS = {
    "5 min": {},
    "2 min": {"n_stories": 3},
    "10 min": {"n_stories": 11},
    "20 min": {"n_stories": 21},
    "30 min": {"n_stories": 31},
    "60 min": {"n_stories": 61},
    "SNR 0.1": {"meg_snr": 0.1},
    "SNR 0.005": {"meg_snr": 0.005},
    "head 5 mm off": {"head_error": 0.005},
    "sphere 10 mm off": {"conductor_error": 0.01},
    "HRF 2 s late": {"hrf_peak": 7.0},
    # 8 mm in all others
    "areas of 3 mm": {"extent": 0.003},
    "areas of 15 mm": {"extent": 0.015},
    "10 min, trained": {"n_stories": 11, "n_epochs": 20},
    "adapting": {"n_stories": 11, "meg_snr": 0.2, "adaptation": 2.0},
    "adapting, trained": {
        "n_stories": 11,
        "meg_snr": 0.2,
        "adaptation": 2.0,
        "n_epochs": 20,
    },
}
DEFAULTS = {
    "n_people": 4,
    "n_stories": 6,
    "duration": 60.0,
    "areas": 7,
    "arrays": ("ctf151", "kit157", "4d248"),
    "meg_snr": 0.02,
    "fmri_snr": 0.2,
    "n_electrodes": 28,
}
TARGETS = ["setting", "seeds", "peaks", "error", "course", "course, MNE of ridge"]
TARGETS += ["MEG", "MEG of truth", "ahead of ridge", "of MEG alone", "ECoG ahead"]
# has ECoG alone
NEW = "P4"
# of sources that ECoG is regressed on, in samples: people differ in latency
LAGS = range(-2, 3)


def main(argv=None):
    """Print tables, and write them as a page if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="experiments a setting")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--solver", default=None, help="of ridge regression")
    parser.add_argument(
        "--results", type=Path, help="JSON lines; what is in them is not run again"
    )
    parser.add_argument("--rst", type=Path, help="page to write the table into")
    args = parser.parse_args(argv)
    mne.set_log_level("error")
    rows = []
    if args.results and args.results.exists():
        rows = [json.loads(line) for line in args.results.read_text().splitlines()]
    done = {(row["setting"], row["seed"]) for row in rows}
    for setting in args.settings:
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            if (setting, seed) in done:
                continue
            start = time.perf_counter()
            found = run(setting, seed, args.solver)
            rows += found
            if args.results:
                with args.results.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in found)
            seconds = time.perf_counter() - start
            print(f"{setting}, seed {seed}: {seconds:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    rows = make_rows(table)
    facts = {
        "Seeds": f"from {args.first_seed} on, as many as the setting says; in brackets "
        "the standard deviation over seeds",
        "Encoder": "the linear start; where trained, two layers and 20 epochs at most",
    }
    print(*(f"{key}: {text}" for key, text in facts.items()), sep="\n")
    against = [
        targets(setting, part) for setting, part in table.groupby("setting", sort=False)
    ]
    print(simple_table(TARGETS, against))
    header = ["setting", "model", "MEG", "fMRI"]
    header += ["peaks (mm)", "error (mm)", "spread (mm)", "course", "order"]
    print(simple_table(header, rows))
    if args.rst:
        write_table(args.rst, facts, TARGETS, against, part="_targets")
        write_table(args.rst, facts, header, rows)


def run(setting, seed, solver):
    """Fit and score all models on one experiment."""
    sizes = DEFAULTS | SETTINGS[setting]
    n_epochs = sizes.pop("n_epochs", 0)
    extent = sizes.pop("extent", None)
    if extent is not None:
        drawn = simulate_naturalistic(1, 1, areas=sizes["areas"], random_state=seed)
        sizes["areas"] = [replace(area, extent=extent) for area in drawn.areas]
    test = f"story{sizes['n_stories']}"
    experiment = simulate_naturalistic(**sizes, n_repeats={test: 2}, random_state=seed)
    encoder = LatentSourceEncoder(
        experiment.sfreq, n_epochs=n_epochs, n_layers=2 if n_epochs else 0
    )
    comparison = compare_sources(
        encoder,
        experiment.stimulus,
        {n: r for n, r in experiment.recordings.items() if n != NEW},
        [test],
        bands=experiment.bands,
        # training takes minutes for each
        one_modality=not n_epochs,
        solver=solver,
    )
    scores = comparison.scores
    meg = scores[scores["modality"] == "meg"].groupby(["model", "participant"])
    meg = meg["correlation"].mean()
    fmri = scores[
        (scores["modality"] == "fmri")
        & scores["name"].isin([str(c) for c in experiment.centres])
    ]
    fmri = fmri.groupby(["model", "participant"])["correlation"].mean()
    names = dict.fromkeys([*comparison.models, *comparison.sources])
    rows = []
    for name in names:
        row = {"setting": setting, "seed": seed, "model": name}
        if name in meg:
            row["MEG"] = float(meg[name].mean())
            row["MEG of people"] = list(map(float, meg[name]))
        if name in fmri:
            row["fMRI"] = float(fmri[name].mean())
        if name in comparison.sources:
            row |= compare_with_truth(comparison.sources[name][test], experiment, test)
        rows.append(row)
    truth = experiment.sources(test)
    rows.append({"setting": setting, "seed": seed, "model": "truth"})
    rows[-1] |= compare_with_truth(truth, experiment, test)
    rows[-1]["MEG of people"] = meg_of_truth(truth, experiment, test)
    rows[-1]["MEG"] = float(np.mean(rows[-1]["MEG of people"]))
    rows[0]["ECoG ahead"] = electrodes(comparison.models["joint"], experiment, test)
    return rows


def meg_of_truth(truth, experiment, story):
    """Correlate MEG with the fields of the true sources, mean over sensors."""
    out = []
    for name, given in experiment.recordings.items():
        if name == NEW:
            continue
        forward = mne.convert_forward_solution(
            experiment.forwards[name], surf_ori=True, force_fixed=True
        )
        fields = forward["sol"]["data"] @ truth.data
        runs = [raw.get_data(picks="meg") for raw in given["meg"][story]]
        r = [
            np.corrcoef(*pair)[0, 1]
            for pair in zip(fields, np.mean(runs, axis=0), strict=True)
        ]
        out.append(float(np.mean(r)))
    return out


def compare_with_truth(stc, experiment, story):
    """Measure places, courses and their order."""
    estimate = stc.data - stc.data.mean(axis=1, keepdims=True)
    courses = experiment.courses[story]
    courses = courses - courses.mean(axis=1, keepdims=True)
    weights = np.linalg.lstsq(courses.T, estimate.T, rcond=None)[0]
    points = 1e3 * experiment.positions()
    centres = experiment.centres
    error, spread, r = [], [], []
    for weight, centre, course in zip(np.abs(weights), centres, courses, strict=True):
        away = np.linalg.norm(points - points[centre], axis=1)
        error.append(away[weight.argmax()])
        spread.append(np.sqrt(np.sum(weight**2 * away**2) / np.sum(weight**2)))
        r.append(np.corrcoef(estimate[centre], course)[0, 1])
    return {
        "peaks": float(match_peaks(estimate.std(axis=1), points, centres)),
        "error": float(np.mean(error)),
        "spread": float(np.mean(spread)),
        "course": float(np.mean(r)),
        "order": order_of_areas(estimate[centres], experiment, story),
    }


def order_of_areas(courses, experiment, story, lags=0.7):
    """Rank correlation of latencies, those of responses to features, with the truth."""
    features = experiment.stimulus[story]
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    n_lags = int(lags * experiment.sfreq)
    design = np.stack([np.roll(x, k, axis=0) for k in range(n_lags)], axis=2)
    for k in range(n_lags):
        design[:k, :, k] = 0.0
    design = design.reshape(len(x), -1)
    gram = design.T @ design
    gram += 0.1 * np.trace(gram) / len(gram) * np.eye(len(gram))
    kernels = np.linalg.solve(gram, design.T @ courses.T)
    kernels = kernels.reshape(x.shape[1], n_lags, -1)
    found = [
        np.linalg.norm(kernels[experiment.bands[area.feature], :, i], axis=0).argmax()
        for i, area in enumerate(experiment.areas)
    ]
    # latencies that are all the same have no order
    if len(set(found)) == 1:
        return 0.0
    true = [area.latency for area in experiment.areas]
    return float(spearmanr(found, true).statistic)


def match_peaks(power, points, centres):
    """Match the strongest places, 25 mm apart, with the true centres."""
    peaks = []
    for at in np.argsort(-power):
        if all(np.linalg.norm(points[at] - points[p]) > 25 for p in peaks):
            peaks.append(at)
        if len(peaks) == len(centres):
            break
    away = np.linalg.norm(points[centres][:, None] - points[peaks], axis=2)
    return away[linear_sum_assignment(away)].mean()


def electrodes(encoder, experiment, test):
    """Compare linear regression on sources with regression on the stimulus.

    The person was not in training; both regressions are fitted to the same stories. A
    regression on all sources is one of the components that they are made of, here up
    to 40 ms earlier or later.
    """
    train = [s for s in experiment.stimulus if s != test]
    maps = encoder.network_.maps.detach().cpu().double().numpy()
    z = {}
    for s, x in experiment.stimulus.items():
        stc = encoder.estimate_sources(x)
        z[s] = shifted(np.linalg.lstsq(maps, 1e9 * stc.data, rcond=None)[0].T)
    ridge = BandedRidge(experiment.sfreq)
    features = np.vstack([experiment.stimulus[s] for s in train])
    ridge.mean_, ridge.scale_ = features.mean(axis=0), features.std(axis=0)
    lagged = {s: ridge._lagged(x) for s, x in experiment.stimulus.items()}
    y = {s: raw.get_data().T * 1e6 for s, raw in experiment.ecog[NEW].items()}
    scores = [_read_out(x, y, train, test) for x in (z, lagged)]
    ahead = scores[0] > scores[1]
    return float(np.mean(ahead))


def shifted(x):
    """Put earlier and later samples beside each, with zeros outside."""
    n, most = len(x), max(LAGS)
    padded = np.pad(x, ((most, most), (0, 0)))
    return np.hstack([padded[most - lag : most - lag + n] for lag in LAGS])


def _read_out(x, y, train, test):
    """Ridge regression with the penalty that is best over training stories."""

    def fit(stories, alpha):
        a = np.vstack([x[s] - x[s].mean(axis=0) for s in stories])
        b = np.vstack([y[s] - y[s].mean(axis=0) for s in stories])
        return np.linalg.solve(a.T @ a + alpha * np.eye(a.shape[1]), a.T @ b)

    def score(weights, story):
        said = (x[story] - x[story].mean(axis=0)) @ weights
        true = y[story] - y[story].mean(axis=0)
        norm = np.linalg.norm(said, axis=0) * np.linalg.norm(true, axis=0)
        return np.sum(said * true, axis=0) / np.maximum(norm, 1e-12)

    alphas = np.logspace(-1, 6, 15)
    held = [
        np.mean(
            [score(fit([s for s in train if s != out], a), out) for out in train],
            axis=0,
        ).mean()
        for a in alphas
    ]
    return score(fit(train, alphas[int(np.argmax(held))]), test)


def make_rows(table):
    """Make the rows of the table: means over seeds, and their spread."""
    digits = {"MEG": 3, "fMRI": 3, "peaks": 1, "error": 1, "spread": 1}
    digits |= {"course": 2, "order": 2}
    rows = []
    for (setting, model), part in table.groupby(["setting", "model"], sort=False):
        row = [setting, model]
        for column, n in digits.items():
            values = part[column].dropna()
            mean, spread = values.mean(), values.std(ddof=0)
            row.append(f"{mean:.{n}f} ({spread:.{n}f})" if len(values) else "")
        rows.append(row)
    return rows


def targets(setting, part):
    """Compare the joint model with what was asked for; a row of the table."""
    inverse = ["MNE", "dSPM", "sLORETA", "LCMV"]
    mean = part.groupby("model")[["MEG", "fMRI", "peaks", "error", "course"]].mean()
    best, joint = mean.loc[inverse], mean.loc["joint"]
    ridge = mean.loc["ridge", "MEG"]
    known = part.dropna(subset="MEG").groupby("model")["MEG of people"]
    people = {model: np.hstack(list(values)) for model, values in known}

    def ahead(model):
        if model not in people:
            return ""
        better = people["joint"] > people[model]
        return f"{better.sum()} of {len(better)}"

    return [
        setting,
        str(part["seed"].nunique()),
        f"{joint['peaks'] / best['peaks'].min():.2f}",
        f"{joint['error'] / best['error'].min():.2f}",
        f"{joint['course'] - best['course'].max():+.2f}",
        f"{joint['course'] - mean.loc['MNE of ridge', 'course']:+.2f}",
        f"{joint['MEG'] / ridge:.2f}",
        f"{mean.loc['truth', 'MEG'] / ridge:.2f}",
        ahead("ridge"),
        ahead("MEG alone"),
        f"{100 * part['ECoG ahead'].mean():.0f} %",
    ]


if __name__ == "__main__":
    main()
