"""One table of all parts: masks, objectives, poolings, backbones and heads.

Run as ``python benchmarks/bench_parts.py OUT``; ``--quick`` is a small run that shows
that all of it works, ``--help`` lists the settings. What is done is kept in the folder
OUT, row by row: the same command goes on from there.

All parts are pretrained with the same SMALL budget: as many windows of the same store
of SIMULATED participants, from the same seed, with the same optimiser. So the table
compares parts where little is trained; it says nothing of what they would be with more.
In each row one part differs from the first row: mixed masks, reconstruction of signal
and spectrum, the transformer of a width of 64, pooling on its own axes, mean and
standard deviation by state, and ridge regression.

Beside each number is that of the same network at its random start (for poolings and
heads: of the network of the first row at its random start). Axes and learnt poolings
are fitted to the same store in both.

- "parameters": of the network, in thousands; of the pooling or the head in their rows.
- "features/s", "training/s": windows a second of CPU time, one thread; in training with
  masks, objective and validation.
- "trials": ROC AUC of auditory against somatosensory single trials of the participants
  of "migraine", in participants who were not trained on (5 folds).
- "named", "other": mean ROC AUC over traits of the panel that hand-made measures were
  made for, and others (see ``panel``; development seed and traits, 3 x 5 folds).
- "migraine": ROC AUC of patients and controls of `simulate_cohort` (4 x 5 folds).
- "R2, simulated", "R2, real": share of hidden signal that is explained in windows of
  participants who are not in the store, and of the continuous recordings in the folder
  that ``MNE_MEGFM_TEST_DATA`` names; mean over random masks of 80 %, time blocks of
  30 % and space blocks of 40 %.

Heads, which take long to fit, are tried on every third trait and on fewer folds (panel
1 x 3, migraine 2 x 5): they are to be compared with the row "logistic", the default.
"""

import argparse
import json
import os
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import torch
from panel import DEVELOPMENT_SEEDS, TRAITS, panel_scores, simulate_panel
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifierCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, RepeatedStratifiedKFold, StratifiedKFold

from mne_megfm import simulate_cohort
from mne_megfm.estimators.extraction import gather_windows, window_blocks
from mne_megfm.inputs import as_recordings
from mne_megfm.models import (
    ModelConfig,
    RandomMasking,
    Reconstructor,
    SpaceBlockMasking,
    TimeBlockMasking,
    build_pooling,
    fit_pooling,
    fit_token_projection,
    masked_r2,
)
from mne_megfm.plugins import make_backbone, resolve
from mne_megfm.pretraining import pretrain
from mne_megfm.sensors import CanonicalSensorMapping, canonical_array, canonical_kernel
from mne_megfm.store import WindowStore
from mne_megfm.weights import load_checkpoint, read_config, save_checkpoint

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
from rst_tables import write_table  # noqa: E402

STATES = ("rest", "auditory", "somatosensory")
ARRAYS = ("neuromag306", "ctf275", "kit160")
STORE_SEED, COHORT_SEED = 7201, 7202
ALPHAS = np.logspace(-4, 4, 17)
UNIT = np.float32(1e-13)  # of kept windows, T
MASKS = (RandomMasking(0.8), TimeBlockMasking(0.3), SpaceBlockMasking(0.4))

DEFAULT = "masked-transformer"
FIRST = "first-row-seed-0"
_DECODER = {"decoder_width": 32, "n_decoder_layers": 1}
#: The smallest sizes that the networks are sensible with.
SIZES = {
    DEFAULT: {"d_model": 64, "n_layers": 2, "n_decoder_layers": 1},
    "hybrid-ssm": {"d_model": 32, "n_layers": 1, "d_state": 8},
    "braindecode:biot": {"d_model": 32, "n_layers": 1, "n_heads": 2, **_DECODER},
    "braindecode:cbramod": {"d_model": 32, "n_layers": 1, "n_heads": 4, **_DECODER},
    "braindecode:labram": {"d_model": 100, "n_layers": 1, **_DECODER},
    "braindecode:reve": {"d_model": 32, "n_layers": 1, "n_heads": 4, **_DECODER},
    "braindecode:signaljepa": {"n_layers": 1, **_DECODER},
    "braindecode:eegnet": {},
    "braindecode:eegpt": {"d_model": 32, "n_layers": 1, "n_heads": 2},
    "braindecode:luna": {"d_model": 64, "n_layers": 1},
}


# -- rows ------------------------------------------------------------------------------
@dataclass(frozen=True)
class Row:
    """A part, and what differs from the first row."""

    kind: str
    name: str
    backbone: str = DEFAULT
    masking: str = "mixed"
    objective: str = "huber+logspec"
    pooling: str = "projection"
    head: str | None = None
    seed: int = 0

    @property
    def key(self):
        """Name its file."""
        return f"{self.kind}-{self.name}".replace(":", "-").replace(" ", "-")


def find_rows():
    """List the rows."""
    rows = [Row("first row", f"seed {seed}", seed=seed) for seed in range(3)]
    rows += [Row("pooling", name, pooling=name) for name in ("rwmoe", "mean", "space")]
    rows += [Row("pooling", name, pooling=name) for name in ("time", "tokens")]
    rows += [
        Row("masking", name, masking=name)
        for name in ("random", "time-block", "space-block", "local")
    ]
    rows += [
        Row("objective", name, objective=name)
        for name in (
            "log-error",
            "band-balanced",
            "statistics",
            "participant-consistency",
            "latent",
            "time-frequency codes",
            "contrastive",
        )
    ]
    rows += [Row("backbone", name, backbone=name) for name in SIZES if name != DEFAULT]
    rows += [Row("head", name, head=name) for name in ("logistic", "mixing", "ssm")]
    return rows


# -- data ------------------------------------------------------------------------------
def read_windows(person, n_rows):
    """Map a participant to the canonical array; (n_states, n_rows, 192, 250)."""
    out = []
    for state in STATES:
        recording = person[state]
        if isinstance(recording, mne.BaseEpochs) and len(recording.times) > 250:
            recording = recording.copy().crop(-0.2, 0.796)
        rows = as_recordings(recording, duration=1.0)
        blocks = window_blocks(rows, CanonicalSensorMapping(), ModelConfig(), 64)
        data = np.concatenate([block.data for block in blocks])[:n_rows]
        out.append((data / UNIT).astype(np.float16))
    return np.stack(out)


def make_people(folder, options):
    """Simulate who is classified, once; gives windows and targets by data set."""
    found = {}
    for name in ("panel", "migraine"):
        file = folder / f"{name}.npz"
        if not file.exists():
            n, n_rows = options.people, options.rows
            if name == "panel":
                people = list(
                    simulate_panel(n, DEVELOPMENT_SEEDS[0], n_trials=max(8, n_rows))
                )
                y = np.array([list(person.classes.values()) for person in people])
            else:
                people = simulate_cohort(
                    n,
                    states=STATES,
                    arrays=ARRAYS,
                    n_epochs=n_rows,
                    filters=(1.0, 40.0),
                    random_state=COHORT_SEED,
                )
                y = (people.labels == "migraine").astype(int)
            x = np.stack([read_windows(p.recordings, n_rows) for p in people])
            with file.with_suffix(".tmp").open("wb") as stream:
                np.savez(stream, x=x, y=y)
            file.with_suffix(".tmp").replace(file)
        with np.load(file) as arrays:
            found[name] = arrays["x"], arrays["y"]
    return found


def make_store(folder, options):
    """Write the store that all parts are pretrained on.

    The embedding of an event, for "contrastive": which of the states it is of, and the
    number of the trial.
    """
    path = folder / "store"
    if (folder / "store-done").exists():
        return WindowStore.open(path)
    store = WindowStore.open(path) if path.exists() else WindowStore.create(path)
    cohort = simulate_cohort(
        options.unlabelled,
        patients=0.0,
        states=STATES,
        arrays=ARRAYS,
        n_epochs=options.trials,
        filters=(1.0, 40.0),
        random_state=STORE_SEED,
    )
    for number, person in enumerate(cohort):
        for place, state in enumerate(STATES):
            name = f"p{number:02d}-{state}"
            if name in store:
                continue
            rows = as_recordings(person.recordings[state], duration=1.0)
            windows = gather_windows(rows, CanonicalSensorMapping(), ModelConfig())
            data = np.asarray(windows.take(np.arange(len(windows)))[0])
            targets = np.zeros((len(data), len(STATES) + 1))
            targets[:, place] = 1.0
            targets[:, -1] = np.linspace(-1.0, 1.0, len(data))
            store.append(
                data,
                name=name,
                participant=f"p{number:02d}",
                state=state,
                array=ARRAYS[number % len(ARRAYS)],
                targets=targets,
            )
    (folder / "store-done").touch()
    return WindowStore.open(path)


def real_windows():
    """Read all windows of each real recording, and how much of each was recorded."""
    folder = os.environ.get("MNE_MEGFM_TEST_DATA")
    found = {}
    for path in sorted(Path(folder).glob("*_raw.fif")) if folder else ():
        rows = as_recordings(mne.io.read_raw(path), duration=1.0)
        windows = gather_windows(rows, CanonicalSensorMapping(), ModelConfig())
        data, n_valid = map(torch.as_tensor, windows.take(np.arange(len(windows))))
        found[path.stem] = data.float(), n_valid
    return found


# -- one network -----------------------------------------------------------------------
def fit_axes(model, store, seed):
    """Fit the axes of pooling to training windows of the store."""
    train, _ = store.split(0.1, seed)
    fit_token_projection(model.eval(), store, 2000, index=train, random_state=seed)


def draw_model(row):
    """Draw the network that training starts from."""
    kernel = torch.tensor(canonical_kernel(), dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(row.seed)
        return make_backbone(row.backbone, SIZES[row.backbone], kernel)


def train_model(row, folder, store, options):
    """Pretrain, or read what was; gives the network and windows a second of CPU."""
    # poolings and heads are tried on the network of the first row
    shared = row.kind in ("pooling", "head")
    path = folder / "weights" / (FIRST if shared else row.key)
    if not (path / "config.json").exists():
        model = draw_model(row)
        started = time.process_time()
        pretrain(
            model,
            store,
            torch.from_numpy(np.array(canonical_array().region_pos)),
            masking=resolve("maskings", row.masking),
            objective=resolve("objectives", row.objective),
            max_epochs=2,
            steps_per_epoch=options.steps,
            batch_size=32,
            max_valid=128,
            random_state=row.seed,
        )
        seconds = time.process_time() - started
        fit_axes(model, store, row.seed)
        speed = 2 * options.steps * 32 / seconds
        save_checkpoint(path, model, training={"windows/s": speed})
    speed = read_config(path)["training"]["windows/s"]
    return load_checkpoint(path).eval(), speed


def pooling_of(row, model, store):
    """Make the pooling, fitted to tokens of the store if it learns."""
    pooling = resolve("poolings", row.pooling)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(row.seed)
        build_pooling(pooling, model)
    if hasattr(pooling, "fit"):
        train, _ = store.split(0.1, row.seed)
        fit_pooling(pooling, model, store, index=train, random_state=row.seed)
    return pooling.eval()


def pool(model, pooling, windows):
    """Encode and pool windows of 1 s, (n, n_features)."""
    recorded = torch.ones(len(windows), model.config.n_patches, dtype=torch.bool)
    tokens = model.encode(windows).float() - model.token_mean
    return pooling(tokens, recorded, model)


def features_of(model, pooling, x):
    """Give features of all rows, (n_people, n_states, n_rows, n_features)."""
    flat = x.reshape(-1, *x.shape[3:])
    out = []
    with torch.inference_mode():
        for start in range(0, len(flat), 64):
            part = flat[start : start + 64].astype(np.float32) * UNIT
            out.append(pool(model, pooling, torch.from_numpy(part)).numpy())
    return np.concatenate(out).reshape(*x.shape[:3], -1)


def summarize_rows(rows):
    """Mean and standard deviation over rows, (n_people, n_states, 2 * n_features)."""
    rows = rows.astype(np.float64)
    return np.concatenate([rows.mean(2), rows.std(2)], axis=2)


def encode_speed(model, pooling, n=256):
    """Measure windows a second of CPU time, the best of three."""
    windows = 4e-13 * torch.randn(64, 192, 250)
    best = 0.0
    with torch.inference_mode():
        for _ in range(3):
            started = time.process_time()
            for _ in range(n // 64):
                pool(model, pooling, windows)
            best = max(best, n / (time.process_time() - started))
    return best


# -- scores ----------------------------------------------------------------------------
def ridge_auc(x, y, folds):
    """Classify by ridge regression; ROC AUC of each fold."""
    aucs = []
    for train, test in folds:
        centred = x - x[train].mean(0)
        centred /= np.sqrt(np.square(centred[train]).sum(1).mean())
        model = RidgeClassifierCV(ALPHAS).fit(centred[train], y[train])
        aucs.append(roc_auc_score(y[test], model.decision_function(centred[test])))
    return aucs


def trial_auc(rows):
    """Tell single trials of two states apart in others; ROC AUC of 5 folds."""
    of_trials = rows[:, [STATES.index(s) for s in ("auditory", "somatosensory")]]
    n_people, n_states, n_rows, n_features = of_trials.shape
    x = of_trials.reshape(-1, n_features).astype(np.float64)
    y = np.tile(np.repeat([0, 1], n_rows), n_people)
    person = np.repeat(np.arange(n_people), n_states * n_rows)
    splits = list(GroupKFold(5).split(x, groups=person))
    return ridge_auc(x, y, splits)


def head_auc(head, x, y, folds):
    """Classify by a head; ROC AUC of each fold."""
    aucs = []
    for train, test in folds.split(x, y):
        fitted = clone(head).fit(x[train], y[train])
        aucs.append(roc_auc_score(y[test], fitted.decision_function(x[test])))
    return aucs


def score(row, model, pooling, people, options):
    """Score panel and migraine; gives named, other, migraine and their spreads."""
    traits = [name for name in TRAITS if not TRAITS[name].held_out]
    named = np.array([TRAITS[name].named for name in traits])
    rows = {name: features_of(model, pooling, x) for name, (x, _) in people.items()}
    if row.head is not None:  # they take long to fit: every third trait
        traits = [*np.array(traits)[named][::3], *np.array(traits)[~named][::3]]
        named = np.array([TRAITS[name].named for name in traits])
    classes = pd.DataFrame(people["panel"][1], columns=list(TRAITS))[traits]
    y = people["migraine"][1]
    if row.head is None:
        x = {name: summarize_rows(r).reshape(len(r), -1) for name, r in rows.items()}
        panel = panel_scores(x["panel"], classes, learners=["ridge"])["ridge"]
        folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=4, random_state=0)
        migraine = ridge_auc(x["migraine"], y, folds.split(y, y))
        trials = trial_auc(rows["migraine"])
        n_parameters = sum(p.numel() for p in model.parameters())
        if row.kind == "pooling":
            n_parameters = sum(p.numel() for p in pooling.parameters())
    else:
        head = resolve("heads", row.head)
        head.set_params(random_state=0)
        make = {
            "ssm": lambda r: r.reshape(len(r), -1, r.shape[3]),
            "mixing": summarize_rows,
        }.get(row.head, lambda r: summarize_rows(r).reshape(len(r), -1))
        x = {name: make(r).astype(np.float32) for name, r in rows.items()}
        found = {}
        for trait in traits:
            folds = StratifiedKFold(3, shuffle=True, random_state=0)
            target = classes[trait].to_numpy().astype(int)
            found[trait] = np.mean(head_auc(head, x["panel"], target, folds))
        panel, trials = pd.Series(found), None
        folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0)
        migraine = head_auc(head, x["migraine"], y, folds)
        fitted = clone(head).fit(x["migraine"], y)
        network = getattr(fitted, "network_", None)
        n_parameters = x["migraine"].shape[1] + 1
        if network is not None:
            n_parameters = sum(p.numel() for p in network.parameters())
    return {
        "parameters": int(n_parameters),
        "named": float(panel[named].mean()),
        "named SD": float(panel[named].std()),
        "other": float(panel[~named].mean()),
        "other SD": float(panel[~named].std()),
        "migraine": float(np.mean(migraine)),
        "migraine SD": float(np.std(migraine)),
        # heads are of participants, not of trials
        "trials": None if trials is None else float(np.mean(trials)),
        "trials SD": None if trials is None else float(np.std(trials)),
    }


def reconstruction(model, windows, n_valid=None, n_draws=1, interpolate=False):
    """Explained share of what is hidden, mean over kinds of masks."""
    if not isinstance(model, Reconstructor):
        return None
    pos = torch.from_numpy(np.array(canonical_array().region_pos))
    found = [
        masked_r2(
            model,
            windows,
            mask,
            pos,
            n_valid=n_valid,
            n_draws=n_draws,
            random_state=3,
            interpolate=interpolate,
        )
        for mask in MASKS
    ]
    return {name: float(np.mean([r2[name] for r2 in found])) for name in found[0]}


def measure(row, folder, store, people, real, options):
    """Compute one row."""
    started = time.process_time()
    entry = {"kind": row.kind, "name": row.name}
    models = {"random": draw_model(row)}
    trains = isinstance(models["random"], Reconstructor)
    first = folder / f"{FIRST}.json"
    if row.kind in ("masking", "objective") and first.exists():
        # the same network at its start
        entry["random"] = json.loads(first.read_text())["random"]
        del models["random"]
    else:
        fit_axes(models["random"], store, row.seed)
    if trains:
        models["trained"], entry["training/s"] = train_model(
            row, folder, store, options
        )
    x = people["migraine"][0]
    few = x[:: max(1, len(x) // 16), :, :1].reshape(-1, 192, 250)[:48]
    simulated = torch.from_numpy(few.astype(np.float32) * UNIT)
    for name, model in models.items():
        pooling = pooling_of(row, model, store)
        found = score(row, model, pooling, people, options)
        if row.kind not in ("pooling", "head"):
            # interpolations are the same in all rows
            more = {"interpolate": row.key == FIRST and name == "trained"}
            found["R2 simulated"] = reconstruction(model, simulated, **more)
            found["R2 real"] = {
                stem: reconstruction(model, *part, n_draws=2, **more)
                for stem, part in real.items()
            }
        entry[name] = found
        entry["features/s"] = encode_speed(model, pooling)
    entry["seconds"] = time.process_time() - started
    return entry


# -- the table -------------------------------------------------------------------------
def tabulate(entries):
    """Make a table: a line a part, each number beside that of random weights."""
    lines = []
    for entry in entries:
        best = entry.get("trained", entry["random"])
        line = {
            "kind": entry["kind"],
            "part": entry["name"],
            "parameters": f"{best['parameters'] / 1000:,.1f} k",
            "features/s": f"{entry['features/s']:,.0f}",
            "training/s": f"{entry['training/s']:,.0f}"
            if "training/s" in entry
            else "-",
        }
        for name in ("trials", "named", "other", "migraine"):
            line[name] = pair(entry, lambda found, name=name: found[name])
        line["R2 simulated"] = pair(entry, lambda f: model_r2(f.get("R2 simulated")))
        line["R2 real"] = pair(entry, mean_real)
        lines.append(line)
    return pd.DataFrame(lines)


def pair(entry, take):
    """Write a number of trained weights, and that of random ones."""
    values = [
        take(entry[name]) if name in entry else None for name in ("trained", "random")
    ]
    if values == [None, None]:
        return "-"
    return " / ".join("-" if v is None else f"{v:.2f}" for v in values)


def model_r2(found):
    """Take the explained share of the model."""
    return None if found is None else found["model"]


def mean_real(found):
    """Average the explained share over real recordings."""
    parts = [model_r2(part) for part in (found.get("R2 real") or {}).values()]
    return None if not parts or None in parts else float(np.mean(parts))


def facts_of(entries, options):
    """Say what the table is of."""
    first = entries[0]["trained"]
    names = ("trials", "named", "other", "migraine")
    seeds = [entry for entry in entries if entry["kind"] == "first row"]
    spread = [np.std([e["trained"][n] for e in seeds], ddof=1) for n in names]
    baselines = first["R2 simulated"]
    real = list((first["R2 real"] or {}).values())
    facts = {
        "Budget": f"SMALL: {2 * options.steps * 32:,} windows in batches of 32 "
        f"({2 * options.steps} steps) from a store of {options.unlabelled} simulated "
        f"participants x {len(STATES)} states x {options.trials} windows, seed "
        f"{STORE_SEED}; one thread of a CPU",
        "Panel": f"*simulated*, {options.people} people, development seed "
        f"{DEVELOPMENT_SEEDS[0]}, development traits ({sum_named()}), {options.rows} "
        "rows a state; SD over traits "
        f"{first['named SD']:.2f} (named) and {first['other SD']:.2f} (other)",
        "Migraine": f"*simulated*, {options.people} people, seed {COHORT_SEED}, "
        f'{options.rows} rows a state; SD over 4 x 5 folds; of "trials" over 5 folds '
        f"{first['trials SD']:.2f}",
        "Between seeds of pretraining": "SD of "
        + ", ".join(f"{n} {s:.3f}" for n, s in zip(names, spread, strict=True))
        + f" over {len(seeds)} seeds of the first row",
        "Interpolations": f"R2 of simulated windows: field {baselines['field']:.2f}, "
        f"time {baselines['time']:.2f}",
    }
    if real:
        field_r2, time_r2 = (
            np.mean([part[name] for part in real]) for name in ("field", "time")
        )
        facts["Interpolations"] += (
            f"; of {len(real)} real recordings: field {field_r2:.2f}, time "
            f"{time_r2:.2f}"
        )
    return facts


def sum_named():
    """Count the development traits of both kinds."""
    traits = [trait for trait in TRAITS.values() if not trait.held_out]
    named = sum(trait.named for trait in traits)
    return f"{named} named, {len(traits) - named} other"


def main():
    """Compute what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of what is done")
    parser.add_argument("--quick", action="store_true", help="a small run")
    parser.add_argument("--steps", type=int, default=40, help="in each of 2 epochs")
    parser.add_argument(
        "--unlabelled", type=int, default=50, help="people of the store"
    )
    parser.add_argument("--trials", type=int, default=16, help="of theirs, a state")
    parser.add_argument("--people", type=int, default=60, help="of panel and cohort")
    parser.add_argument("--rows", type=int, default=6, help="of theirs, a state")
    parser.add_argument("--only", nargs="+", help="rows, as objective-latent")
    parser.add_argument("--done", action="store_true", help="compute nothing more")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--rst", type=Path, help="write the table into this page")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.unlabelled, options.trials = 2, 12, 10
        options.people, options.rows = 20, 2
    mne.set_log_level("error")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    known = ("steps", "unlabelled", "trials", "people", "rows")
    folder = options.out / "-".join(f"{getattr(options, name)}" for name in known)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in find_rows() if not options.only or row.key in options.only]
    if options.done:
        rows = [row for row in rows if (folder / f"{row.key}.json").exists()]
    entries, data = [], None
    for row in rows:
        file = folder / f"{row.key}.json"
        if not file.exists():
            if data is None:
                data = (
                    make_store(folder, options),
                    make_people(folder, options),
                    real_windows(),
                )
            entry = measure(row, folder, *data, options)
            file.with_suffix(".tmp").write_text(json.dumps(entry, indent=1))
            file.with_suffix(".tmp").replace(file)
            if not options.json:
                print(f"{row.key}: {entry['seconds']:.0f} s", flush=True)
        entries.append(json.loads(file.read_text()))
    if options.json:
        print(json.dumps(entries, indent=1))
        return
    table, facts = tabulate(entries), facts_of(entries, options)
    pd.set_option("display.width", None, "display.max_columns", None)
    print("\n".join(f"{name}: {text}" for name, text in facts.items()))
    print(table.to_string(index=False))
    if options.rst:
        write_table(options.rst, facts, list(table), table.to_numpy().tolist())


if __name__ == "__main__":
    main()
