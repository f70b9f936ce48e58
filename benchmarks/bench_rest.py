"""fMRI of regions at rest from MEG of people who were not in training.

    python benchmarks/bench_rest.py --seeds 3 --rst doc/validation/sources.rst

Each seed is an experiment of its own. People are left out two at a time. All models
read the same powers of regions, whose beamformers use each person's own lead field.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from mne_megfm.encoding import LatentSourceEncoder, region_powers
from mne_megfm.simulation import simulate_rest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from rst_tables import simple_table, write_table  # noqa: E402

SFREQ = 2.0  # windows a second
LAGS = np.arange(0.0, 18.1, 2.0)  # s
ALPHAS = np.logspace(0, 6, 13)
DEFAULTS = {"n_people": 6, "duration": 600.0, "meg_snr": 0.5, "fmri_snr": 0.5}
SETTINGS = {
    "10 min": {},
    "5 min": {"duration": 300.0},
    "MEG SNR 0.1": {"meg_snr": 0.1},
    "fMRI SNR 0.1": {"fmri_snr": 0.1},
    "HRF 2 s late": {"hrf_peak": 7.0},
}


def main(argv=None):
    """Print a table, and write it into a page if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="experiments a setting")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS))
    parser.add_argument("--epochs", type=int, default=0, help="of the transformer")
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
            found = run(setting, seed, args.epochs)
            rows += found
            if args.results:
                with args.results.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in found)
            seconds = time.perf_counter() - start
            print(f"{setting}, seed {seed}: {seconds:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    facts = {
        "Seeds": f"from {args.first_seed} on, of six people each; in brackets the "
        "standard deviation over seeds",
    }
    header = ["setting", "model", "seeds", "correlation"]
    header += ["over best ridge", "people ahead"]
    rows = make_rows(table)
    print(simple_table(header, rows))
    if args.rst:
        write_table(args.rst, facts, header, rows)


def run(setting, seed, n_epochs):
    """Fit and score all models on one experiment."""
    experiment = simulate_rest(**DEFAULTS | SETTINGS[setting], random_state=seed)
    powers = {
        name: region_powers(
            raw,
            experiment.forwards[name],
            experiment.noise_covs[name],
            experiment.labels,
            SFREQ,
        )
        for name, raw in experiment.meg.items()
    }
    n_columns = next(iter(powers.values())).shape[1]
    encoder = LatentSourceEncoder(
        SFREQ,
        lags=1 / SFREQ,
        modalities=("fmri",),
        fmri_response="linear",
        n_linear=n_columns,
        n_layers=0,
        n_epochs=0,
    )
    alike = encoder_model(encoder)
    n_regions = len(experiment.labels)
    own = np.repeat(np.arange(n_regions), n_columns // n_regions).tolist()
    encoder = clone(encoder).set_params(feature_regions=own)
    models = {"encoder": encoder_model(encoder), "encoder, regions alike": alike}
    if n_epochs:
        trained = clone(encoder).set_params(
            n_layers=1, n_epochs=n_epochs, context=10.0, d_model=32
        )
        models["encoder, transformer"] = encoder_model(trained)
    models["encoder, true powers"] = encoder_model(encoder)
    models["encoder, permuted"] = encoder_model(encoder)
    models["ridge with lags"] = ridge_model
    models["ridge with lags, own region"] = own_region_model
    names = list(powers)
    scores = {model: {} for model in models}
    for first in range(0, len(names), 2):
        test = names[first : first + 2]
        train = [n for n in names if n not in test]
        for model, fit in models.items():
            features = dict(powers)
            if model == "encoder, true powers":
                features = true_powers(experiment, powers)
            if model == "encoder, permuted":
                # those in training get the MEG of one another
                shifted = train[1:] + train[:1]
                features |= {n: powers[o] for n, o in zip(train, shifted, strict=True)}
            predict = fit(
                {n: features[n] for n in train},
                {n: experiment.fmri[n] for n in train},
                experiment.tr,
            )
            for name in test:
                said = predict(features[name], len(experiment.fmri[name]))
                scores[model][name] = correlate(said, experiment.fmri[name])
    perfect = {n: correlate(experiment.driven[n], experiment.fmri[n]) for n in names}
    scores["no noise"] = perfect
    return [
        {
            "setting": setting,
            "seed": seed,
            "model": model,
            "correlation": [float(of[n].mean()) for n in names],
        }
        for model, of in scores.items()
    ]


def encoder_model(encoder):
    """Make a function that fits an encoder, and gives one that predicts new people."""

    def fit(features, fmri, tr):
        recordings = {n: {"fmri": {n: y}, "tr": tr} for n, y in fmri.items()}
        fitted = clone(encoder).fit(features, recordings)
        return lambda x, n_scans: fitted.predict(
            x, modality="fmri", tr=tr, n_scans=n_scans
        )

    return fit


def true_powers(experiment, powers):
    """Put the true powers, scan by scan, in the place of those of MEG."""
    out = {}
    for name, x in powers.items():
        true = np.log(experiment.powers[name]).reshape(len(experiment.fmri[name]), -1)
        at = np.arange(len(x)) / SFREQ / experiment.tr
        out[name] = np.array(
            [np.interp(at, np.arange(len(true)), column) for column in true.T]
        ).T
    return out


def lagged(x, n_scans, tr):
    """Mean powers of a scan, at some lags: (n_scans, n_columns, n_lags)."""
    width = int(tr * SFREQ)
    scans = x[: n_scans * width].reshape(n_scans, width, -1).mean(axis=1)
    out = np.zeros((*scans.shape, len(LAGS)))
    for k, lag in enumerate(LAGS):
        n = int(round(lag / tr))
        out[n:, :, k] = scans[: n_scans - n]
    return out - out.mean(axis=0)


def ridge(x, y, groups):
    """Ridge regression with the penalty that is best over people left out."""
    folds = list(GroupKFold(len(np.unique(groups))).split(x, groups=groups))
    held = [
        np.mean(
            [
                correlate(Ridge(a).fit(x[i], y[i]).predict(x[j]), y[j]).mean()
                for i, j in folds
            ]
        )
        for a in ALPHAS
    ]
    return Ridge(ALPHAS[int(np.argmax(held))]).fit(x, y)


def _pooled(features, fmri, tr):
    x = np.concatenate([lagged(features[n], len(fmri[n]), tr) for n in fmri])
    y = np.vstack([(y - y.mean(axis=0)) / y.std(axis=0) for y in fmri.values()])
    groups = np.repeat(np.arange(len(fmri)), [len(y) for y in fmri.values()])
    return x, y, groups


def ridge_model(features, fmri, tr):
    """Ridge regression on the powers of all regions with lags."""
    x, y, groups = _pooled(features, fmri, tr)
    model = ridge(x.reshape(len(x), -1), y, groups)
    return lambda x, n: model.predict(lagged(x, n, tr).reshape(n, -1))


def own_region_model(features, fmri, tr):
    """Ridge regression of each region on its own powers with lags."""
    x, y, groups = _pooled(features, fmri, tr)
    n_bands = x.shape[1] // y.shape[1]

    def own(x, r):
        return x[:, r * n_bands : (r + 1) * n_bands].reshape(len(x), -1)

    models = [ridge(own(x, r), y[:, [r]], groups) for r in range(y.shape[1])]

    def predict(x, n):
        x = lagged(x, n, tr)
        return np.column_stack([m.predict(own(x, r)) for r, m in enumerate(models)])

    return predict


def correlate(said, true):
    """Correlation of each region over scans."""
    said, true = (x - x.mean(axis=0) for x in (said, true))
    norm = np.linalg.norm(said, axis=0) * np.linalg.norm(true, axis=0)
    return np.sum(said * true, axis=0) / np.maximum(norm, 1e-12)


def make_rows(table):
    """Make the rows of the table: means over people, then over seeds."""
    rows = []
    for setting, part in table.groupby("setting", sort=False):
        people = {
            model: np.array(list(of.sort_values("seed")["correlation"]))
            for model, of in part.groupby("model", sort=False)
        }
        best = people["ridge with lags"]
        own = people["ridge with lags, own region"]
        best = own if own.mean() > best.mean() else best
        for model, r in people.items():
            seeds = r.mean(axis=1)
            ratio = seeds / best.mean(axis=1)
            ahead = int(np.sum(r > best))
            rows.append(
                [
                    setting,
                    model,
                    str(len(seeds)),
                    f"{seeds.mean():.3f} ({seeds.std():.3f})",
                    f"{ratio.mean():.2f} ({ratio.std():.2f})",
                    f"{ahead} of {r.size}" if r is not best else "",
                ]
            )
    return rows


if __name__ == "__main__":
    main()
