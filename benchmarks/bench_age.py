"""Age and a cognitive score from simulated MEG: masks, experts and state spaces.

Run as ``python benchmarks/bench_age.py OUT``; ``--quick`` is a small run that shows
that all of it works, ``--help`` lists the settings. What is done is kept in the folder
OUT: the same command goes on from there.

Compared are the local masks, the pooling by experts and the head of state spaces of the
package together, each of the three left out in turn, the default for participants, and
ridge regression on band power and on covariances in their tangent space. Folds are of
participants. Encoders are pretrained further on participants who are in no fold, once
with local and once with mixed masks. Each cohort is drawn from another seed: means and
standard deviations are over cohorts, which share no participant. The defaults are for
two cores and a quarter of an hour; more of ``--seeds`` and ``--participants`` tell
more. ``--targets age score`` adds the cognitive score.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import mne
import numpy as np
import pandas as pd
from _other_simulator import ALPHA, compute_fields, draw_sources, gauss, move_head
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline

from mne_megfm import MEGFMRegressor, MEGFMTransformer
from mne_megfm.estimators import Pretraining, RidgeHead
from mne_megfm.evaluation import BandPower, CovarianceTangent
from mne_megfm.simulation import make_array_info

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
from rst_tables import write_table  # noqa: E402

ARRAYS = ("ctf275", "kit157")
SFREQ, N_TIMES, TMIN = 250.0, 250, -0.2
FULL = "local masks, experts, state spaces"


# -- simulated participants ------------------------------------------------------------
def draw_person(rng):
    """Draw age, and what follows from it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where random numbers come from.

    Returns
    -------
    person : dict
        ``age`` in years, uniform from 18 to 88 as in Cam-CAN; and with spread around
        what is usual at that age: ``alpha`` (Hz), ``exponent`` of the 1/f background,
        ``latency`` of the N100m (s), and ``score``, a cognitive score with a mean of 0
        and a spread of about 1.

    Notes
    -----
    ``alpha``: 11.95 - 0.053 Hz a year [1]_, with a spread of 1 Hz as among people of
    one age. ``exponent``: flatter with age [2]_; by 0.006 a year from 1.5, spread 0.2.
    ``latency``: later with age, in the auditory cortex too [3]_; by 0.25 ms a year from
    95 ms, spread 7 ms. ``score``: lower with age and, among people of one age, with
    later responses. The directions are from the papers named, and the formula of alpha;
    the other sizes are choices.

    References
    ----------
    .. [1] Klimesch (1999), "EEG alpha and theta oscillations reflect cognitive and
       memory performance", Brain Res. Rev. 29:169-195 (section 2.1, after Köpruner,
       Pfurtscheller & Auer 1984).
    .. [2] Voytek et al. (2015), "Age-related changes in 1/f neural electrophysiological
       noise", J. Neurosci. 35:13257-13265.
    .. [3] Price et al. (2017), "Age-related delay in visual and auditory evoked
       responses is mediated by white- and grey-matter differences", Nat. Commun.
       8:15671.
    """
    age = rng.uniform(18.0, 88.0)
    late = rng.standard_normal()
    person = {
        "age": age,
        "alpha": 11.95 - 0.053 * age + rng.standard_normal(),
        "exponent": 1.5 - 0.006 * (age - 18.0) + 0.2 * rng.standard_normal(),
        "latency": 0.095 + 0.00025 * (age - 18.0) + 0.007 * late,
        "score": -0.7 * (age - 53.0) / 20.2 - 0.4 * late + 0.6 * rng.standard_normal(),
        # not of age
        "strength": np.exp(0.3 * rng.standard_normal()),
        "rhythm": np.exp(0.4 * rng.standard_normal()),
    }
    return person


def simulate_person(seed, number, n_epochs):
    """Simulate rest and responses to tones; gives what was drawn, and recordings."""
    rng = np.random.default_rng([seed, number])
    person = draw_person(rng)
    info = make_array_info(ARRAYS[number % len(ARRAYS)], sfreq=SFREQ)
    info = move_head(info, rng)
    places, directions = draw_sources(rng)
    fields, names = compute_fields(info, places, directions)
    info = mne.pick_info(info, [info["ch_names"].index(name) for name in names])
    frequencies = np.fft.rfftfreq(n_epochs * N_TIMES, 1 / SFREQ)
    slope = np.maximum(frequencies, 0.5) ** (-person["exponent"] / 2)
    # as strong at 10 Hz whatever the exponent is, and through a filter of 1 to 45 Hz
    slope *= 10.0 ** (person["exponent"] / 2) * (frequencies < 45.0)
    shapes = np.tile(slope, (len(places), 1))
    rhythm = gauss(frequencies, person["alpha"], 0.8)
    recordings = {}
    for state, of_alpha in (("rest", 8.0), ("auditory", 4.0)):
        shapes[ALPHA] = slope + of_alpha * person["rhythm"] * rhythm
        size = (len(places), len(frequencies), 2)
        spectra = shapes * rng.standard_normal(size).view(complex)[..., 0]
        spectra[:, frequencies < 1.0] = 0.0
        # shapes are amplitudes in nAm over the root of Hz
        courses = np.fft.irfft(spectra, n_epochs * N_TIMES)
        courses *= 1e-9 * np.sqrt(n_epochs * N_TIMES * SFREQ / 4)
        courses = courses.reshape(len(places), n_epochs, N_TIMES)
        if state == "auditory":
            times = TMIN + np.arange(N_TIMES) / SFREQ
            response = -gauss(times, person["latency"], 0.018)
            response += 0.5 * gauss(times, person["latency"] + 0.09, 0.035)
            courses[:2] += 2e-8 * person["strength"] * response
        data = np.einsum("cs,set->ect", fields, courses)
        data += 4e-14 * rng.standard_normal(data.shape)
        recordings[state] = mne.EpochsArray(data, info, tmin=TMIN, verbose="error")
    return person, recordings


# -- pipelines -------------------------------------------------------------------------
def pretrain(folder, masking, options):
    """Pretrain on participants who are in no fold; gives the folder of the weights."""
    path = folder / f"weights-{masking}"
    if not (path / "config.json").exists():
        people = [
            simulate_person(9000, number, options.epochs)[1]
            for number in range(options.unlabelled)
        ]
        settings = Pretraining(options.max_epochs, masking=masking, lr=1e-4)
        transformer = MEGFMTransformer(
            pretraining=settings, aggregation="mean_std", pooling="mean", random_state=0
        )
        transformer.fit(people).save_pretrained(path)
    return path


def pipelines(folder, options):
    """Give the pipelines by name."""
    local, mixed = (pretrain(folder, name, options) for name in ("local", "mixed"))
    experts = {"pooling": "rwmoe", "random_state": 0}
    steps = {"head": "ssm", **experts}
    return {
        FULL: MEGFMRegressor(local, **steps),
        "without local masks (mixed)": MEGFMRegressor(mixed, **steps),
        "without experts (mean pooling)": MEGFMRegressor(
            local, **{**steps, "pooling": "mean"}
        ),
        "without state spaces (mean, SD, ridge)": make_pipeline(
            MEGFMTransformer(local, aggregation="mean_std", **experts),
            RidgeHead(random_state=0),
        ),
        "transformer default": MEGFMRegressor(random_state=0),
        "band power, ridge": make_pipeline(BandPower(), RidgeHead(random_state=0)),
        "covariance tangent, ridge": make_pipeline(
            CovarianceTangent(), RidgeHead(random_state=0)
        ),
    }


# -- the comparison --------------------------------------------------------------------
def run(folder, options):
    """Compute what is missing, one line of a file for each fold."""
    file = folder / "predictions.jsonl"
    done = set()
    if file.exists():
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        done = {(e["seed"], e["fold"], e["target"], e["name"]) for e in lines}
    known = pipelines(folder, options)
    for seed in options.seeds:
        keys = [
            (seed, fold, target, name)
            for fold in range(options.folds)
            for target in options.targets
            for name in known
        ]
        if done.issuperset(keys):
            continue
        people = [
            simulate_person(seed, number, options.epochs)
            for number in range(options.participants)
        ]
        X = [recordings for _, recordings in people]
        splitter = KFold(options.folds, shuffle=True, random_state=seed)
        folds = list(splitter.split(X))
        for key in keys:
            if key in done:
                continue
            _, fold, target, name = key
            y = np.array([person[target] for person, _ in people])
            train, test = folds[fold]
            started = time.perf_counter()
            fitted = clone(known[name]).fit([X[i] for i in train], y[train])
            entry = {
                "seed": seed,
                "fold": fold,
                "target": target,
                "name": name,
                "y": y[test].tolist(),
                "predicted": fitted.predict([X[i] for i in test]).tolist(),
                "guess": float(y[train].mean()),
                "seconds": round(time.perf_counter() - started, 1),
            }
            with file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(entry) + "\n")
            print(f"seed {seed}, fold {fold}, {target}: {name}", flush=True)
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def summarize(entries, options):
    """Make a table: mean and standard deviation over cohorts of MAE and r."""
    rows = []
    for entry in entries:
        if entry["seed"] in options.seeds and entry["fold"] < options.folds:
            for y, predicted in zip(entry["y"], entry["predicted"], strict=True):
                rows.append({**entry, "y": y, "predicted": predicted})
    table = pd.DataFrame(rows)
    table["error"] = (table["y"] - table["predicted"]).abs()
    table["chance"] = (table["y"] - table["guess"]).abs()
    out = []
    for (target, name), part in table.groupby(["target", "name"], sort=False):
        cohorts = part.groupby("seed")
        mae = cohorts["error"].mean()
        r = cohorts.apply(
            lambda one: np.corrcoef(one["y"], one["predicted"])[0, 1],
            include_groups=False,
        )
        out.append(
            {
                "target": target,
                "pipeline": name,
                "MAE": mae.mean(),
                "SD": mae.std(ddof=1) if len(mae) > 1 else np.nan,
                "r": r.mean(),
                "SD of r": r.std(ddof=1) if len(r) > 1 else np.nan,
                "MAE of the mean": cohorts["chance"].mean().mean(),
                "cohorts": len(mae),
                "n": len(part),
                "s a fold": part.groupby(["seed", "fold"])["seconds"].first().mean(),
            }
        )
    return pd.DataFrame(out)


def main():
    """Compute what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of what is done")
    parser.add_argument("--quick", action="store_true", help="a small run")
    parser.add_argument("--participants", type=int, default=36, help="of each cohort")
    parser.add_argument("--unlabelled", type=int, default=12, help="for pretraining")
    parser.add_argument("--epochs", type=int, default=12, help="in each state")
    parser.add_argument("--max-epochs", type=int, default=3, help="of pretraining")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--targets", nargs="+", default=["age"])
    parser.add_argument("--rst", type=Path, help="write the table into this page")
    options = parser.parse_args()
    if options.quick:
        options.participants, options.unlabelled, options.epochs = 16, 4, 6
        options.max_epochs, options.folds, options.seeds = 1, 2, [1]
    mne.set_log_level("error")
    # what is kept is of these settings alone
    known = ("participants", "unlabelled", "epochs", "max_epochs", "folds")
    settings = "-".join(f"{getattr(options, name)}" for name in known)
    folder = options.out / settings
    folder.mkdir(parents=True, exist_ok=True)
    table = summarize(run(folder, options), options)
    pd.set_option("display.width", None, "display.max_columns", None)
    data = (
        f"*simulated* cohorts of seeds {', '.join(map(str, options.seeds))}, "
        f"{options.participants} people each, arrays {', '.join(ARRAYS)}, "
        f"{options.epochs} epochs in each of rest and auditory; {options.folds} folds "
        f"of participants; encoders pretrained on {options.unlabelled} others for "
        f"{options.max_epochs} epochs"
    )
    print(data)
    print(table.round(3).to_string(index=False))
    if options.rst:
        facts = {"Data": data, "Spread": "standard deviation over cohorts"}
        cells = table.drop(columns=["cohorts", "s a fold"]).round(2).astype(str)
        write_table(options.rst, facts, list(cells), cells.to_numpy().tolist())


if __name__ == "__main__":
    main()
