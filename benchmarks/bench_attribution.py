"""Attribution against planted truth: place, time, frequency band and state.

Run as ``python benchmarks/bench_attribution.py``; it takes about ten minutes on
one core, less with fewer ``--recordings`` and ``--participants``.

Place and time: resting epochs of a simulated participant, half of which get a dipole
response at a place and time drawn at random. A pipeline learns to classify them on
160 epochs and is explained on 80 others. Truth are those channels and times where the
planted field has at least half of its maximum. ``AUC`` and ``precision`` (of as many
values as there are true ones) are those of the map's absolute values; ``place`` is the
distance between the planted dipole and the one (of 300 sites on its shell, any
direction) whose absolute field is most like the map around its own peak, ``time`` that
of the peak. Attention, which knows no decision, is that in the average of one class
minus that in the average of the other. The row ``chance`` has the maps of all methods
against the truths of other recordings.

Frequency: the same with bursts of a random phase in one band. State: patients that
differ from controls in the responses of one state alone.

Participants (``--only participants --participants 64 --cohorts 3``, five minutes):
patients have in all auditory trials a dipole at one place and time of each cohort. Maps
of 8 people who were held out are scored as above; ``state`` is the part of the squares
of their maps of both states that is in the auditory one. The row ``average`` has the
average responses themselves, and ``chance`` the maps of all methods against places and
times drawn again. Last is by how much the contributions of integrated gradients miss
the change of the decision.
"""

import argparse

import mne
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mne_megfm import MEGFMTransformer, MEGSamples, simulate_cohort
from mne_megfm.interpret import attention, decision_map, occlude, state_importance
from mne_megfm.simulation import MigraineEffects, simulate_participant

SEED, ORIGIN, DEPTH = 8200, np.array([0.0, 0.0, 0.04]), 0.06
N_TRAIN, N_TEST = 160, 80
# how many held-out epochs are looked at by what takes long
FEW = {
    "smoothgrad": 12,
    "integrated_gradients": 6,
    "gradient": 12,
    "gradient_x_input": 12,
    "occlusion": 8,
}
ARRAYS = ("ctf151", "opm64")
STATES = ("auditory", "somatosensory")
MOMENT = {"response": 100e-9, "burst": 200e-9}
METHODS = ("smoothgrad", "integrated_gradients", "gradient", "gradient_x_input")
GAIN, N_EXPLAINED = 200e-9, 8  # dipole of patients in Am; people held out
BANDS = {"theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 45)}
PEAK = {"theta": 6.0, "alpha": 10.0, "beta": 20.0, "gamma": 36.0}


# -- truth ------------------------------------------------------------------
def dipole_fields(info, sites, directions):
    """Compute the fields of dipoles, shape (n_channels, n_sites)."""
    n = len(sites)
    dipole = mne.Dipole(np.arange(n) * 1e-3, sites, np.ones(n), directions, np.ones(n))
    sphere = mne.make_sphere_model(ORIGIN, head_radius=None)
    forward, _ = mne.make_forward_dipole(dipole, sphere, info, None)
    forward = forward if isinstance(forward, list) else [forward]
    return np.concatenate([f["sol"]["data"] for f in forward], 1)


def draw_dipole(rng, latest):
    """Draw place, direction and time of a tangential dipole."""
    up = rng.uniform(0.0, 1.0)
    round_ = rng.uniform(0, 2 * np.pi)
    flat = np.sqrt(1 - up**2)
    out = np.array([flat * np.cos(round_), flat * np.sin(round_), up])
    direction = np.cross(out, rng.standard_normal(3))
    direction /= np.linalg.norm(direction)
    return ORIGIN + DEPTH * out, direction, rng.uniform(0.05, latest)


def truth_of(info, times, dipole):
    """Say where on the sensors, and when, a dipole is seen."""
    place, direction, when = dipole
    field = dipole_fields(info, place[None], direction[None])[:, 0]
    wave = np.exp(-0.5 * ((times - when) / 0.025) ** 2)
    return field, {"place": place, "when": when, "wave": wave, "field": np.abs(field)}


def plant(seed, array, kind):
    """Simulate epochs of which half have a dipole; give the truth about it."""
    n = N_TRAIN + N_TEST
    cohort = simulate_cohort(
        1,
        states=("rest",),
        arrays=array,
        n_epochs=n,
        filters=(1.0, 45.0),
        random_state=seed,
    )
    epochs = cohort.epochs("rest")[0]
    rng = np.random.default_rng([seed, 1])
    place, direction, when = draw_dipole(rng, 0.6)
    field, truth = truth_of(epochs.info, epochs.times, (place, direction, when))
    y = rng.permutation(np.arange(n) % 2)
    gain = MOMENT[kind] * y * np.exp(0.3 * rng.standard_normal(n))
    band = str(rng.choice(list(BANDS)))
    if kind == "response":
        late = when + 0.005 * rng.standard_normal((n, 1))
        wave = np.exp(-0.5 * ((epochs.times - late) / 0.025) ** 2)
    else:
        phase = rng.uniform(0, 2 * np.pi, (n, 1))
        wave = np.exp(-0.5 * ((epochs.times - when) / 0.15) ** 2)
        wave = wave * np.cos(2 * np.pi * PEAK[band] * epochs.times + phase)
    data = epochs.get_data() + gain[:, None, None] * field[:, None] * wave[:, None]
    truth["band"] = band
    planted = mne.EpochsArray(data, epochs.info, tmin=epochs.times[0])
    return planted, y, truth


# -- scores -----------------------------------------------------------------
class Scan:
    """Absolute fields of dipoles all over a shell, to compare maps with."""

    def __init__(self, info):
        step = np.arange(300) + 0.5
        up = 1 - 1.3 * step / 300
        angle = np.pi * (1 + np.sqrt(5)) * step
        flat = np.sqrt(1 - up**2)
        out = np.stack([flat * np.cos(angle), flat * np.sin(angle), up], 1)
        first = np.cross(out, [1.0, 0.3, 0.2])
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        self.sites = ORIGIN + DEPTH * out
        sensors = np.array([ch["loc"][:3] for ch in info["chs"]])
        sensors = mne.transforms.apply_trans(info["dev_head_t"], sensors) - ORIGIN
        sensors /= np.linalg.norm(sensors, axis=1, keepdims=True)
        self.nearest = (sensors @ out.T).argmax(1)
        gains = [
            dipole_fields(info, self.sites, axis)
            for axis in (first, np.cross(out, first))
        ]
        turns = np.linspace(0, np.pi, 8, endpoint=False)
        fields = [np.abs(np.cos(a) * gains[0] + np.sin(a) * gains[1]) for a in turns]
        self.fields = np.concatenate(fields, 1)
        self.fields -= self.fields.mean(0)
        self.fields /= np.linalg.norm(self.fields, axis=0)

    def place(self, strength, is_density):
        """Find the site whose field is most like a map over channels.

        Attention is high at a source, not around it: there, the site next to the
        sensor with the most is taken.
        """
        if is_density:
            return self.sites[self.nearest[strength.argmax()]]
        best = int(np.argmax(self.fields.T @ (strength - strength.mean())))
        return self.sites[best % len(self.sites)]


def score(evoked, scan, truth):
    """Compare the absolute values of a map with the truth."""
    strength = np.abs(evoked.data)
    true = truth["field"][:, None] / truth["field"].max() * truth["wave"]
    true = true[:, : strength.shape[1]] >= 0.5
    order = np.argsort(-strength, axis=None)[: true.sum()]
    course = np.convolve(np.square(strength).sum(0), np.hanning(9), "same")
    peak = int(course.argmax())
    near = np.sqrt(np.square(strength[:, max(peak - 5, 0) : peak + 6]).mean(1))
    place = scan.place(near, evoked.comment == "attention")
    return {
        "AUC": roc_auc_score(true.ravel(), strength.ravel()),
        "precision": true.ravel()[order].mean(),
        "place (cm)": 1e2 * np.linalg.norm(place - truth["place"]),
        "time (ms)": 1e3 * abs(evoked.times[peak] - truth["when"]),
    }


# -- benchmarks -------------------------------------------------------------
def fit(epochs, y):
    """Fit a pipeline to the training epochs."""
    model = make_pipeline(
        MEGFMTransformer(sensor_mapping="canonical"),
        StandardScaler(),
        LogisticRegression(C=1e-3, max_iter=1000),
    )
    return model.fit(MEGSamples(epochs)[:N_TRAIN], y[:N_TRAIN])


def attention_difference(transformer, epochs, labels):
    """Subtract the attention in the averages of both classes, without labels."""
    maps = [
        attention(transformer, epochs[labels == c].average(), n_turns=8) for c in (1, 0)
    ]
    data = np.repeat(maps[0].data - maps[1].data, 25, axis=1)
    info = epochs.info.copy()
    return mne.EvokedArray(data, info, tmin=epochs.tmin, comment="attention")


def maps_of(model, epochs, y):
    """Explain a pipeline on held-out epochs by all methods."""
    held_out, labels = epochs[N_TRAIN:], y[N_TRAIN:]
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    few = {
        k: np.sort(np.r_[tuple(c[: n // 2] for c in classes)]) for k, n in FEW.items()
    }
    maps = {"pattern": decision_map(model, held_out)}
    for method, rows in few.items():
        maps[method] = decision_map(model, held_out[rows], method)
    maps["attention"] = attention_difference(model[0], held_out, labels)
    rng = np.random.default_rng(0)
    shuffled = fit(epochs, np.r_[rng.permutation(y[:N_TRAIN]), labels])
    maps["pattern, shuffled labels"] = decision_map(shuffled, held_out)
    return maps


def place_and_time(n_recordings):
    """Score all methods on planted responses."""
    rows, kept, accuracy = [], [], []
    for number in range(n_recordings):
        epochs, y, truth = plant(
            SEED + number, ARRAYS[number % len(ARRAYS)], "response"
        )
        model = fit(epochs, y)
        decision = model.decision_function(MEGSamples(epochs)[N_TRAIN:])
        accuracy.append(roc_auc_score(y[N_TRAIN:], decision))
        scan = Scan(epochs.info)
        maps = maps_of(model, epochs, y)
        for method, evoked in maps.items():
            rows.append({"method": method, **score(evoked, scan, truth)})
        kept.append((maps, scan, truth))
        print(f"recording {number}: AUC of the pipeline {accuracy[-1]:.2f}", flush=True)
    # same array, other truth
    for number, (maps, scan, _) in enumerate(kept):
        for other, (_, _, truth) in enumerate(kept):
            if other != number and (other - number) % len(ARRAYS) == 0:
                for method, evoked in maps.items():
                    if "shuffled" not in method:
                        rows.append({"method": "chance", **score(evoked, scan, truth)})
    show(f"Place and time, {n_recordings} recordings", rows, "method")
    print(f"AUC of pipelines {np.mean(accuracy):.2f} ({np.std(accuracy):.2f})")


def frequency(n_recordings):
    """Find the band of planted bursts by occlusion."""
    rows = []
    for number in range(n_recordings):
        epochs, y, truth = plant(SEED + number, ARRAYS[number % len(ARRAYS)], "burst")
        model = fit(epochs, y)
        held_out, labels = epochs[N_TRAIN:], y[N_TRAIN:]
        lost = occlude(
            model, held_out, labels, "bands", bands=BANDS, n_permutations=1, alpha=0.5
        ).table
        decision = lost["decision"][: len(labels)]
        side = np.where(labels == 1, 1.0, -1.0)
        share = lost.groupby("part")["lost"].agg(lambda x, s=side: (s * x).mean())
        rows.append(
            {
                "band": truth["band"],
                "AUC of the pipeline": roc_auc_score(labels, decision),
                "band found": float(share.idxmax() == truth["band"]),
                "share of the true band": share[truth["band"]] / share.abs().sum(),
            }
        )
        print(rows[-1], flush=True)
    show(f"Frequency, {n_recordings} recordings, chance 0.25", rows, "band")
    show("All bands", [{**row, "band": "any"} for row in rows], "band")


def planted_state(n_participants, seed, state):
    """Simulate patients that differ from controls in one state alone."""
    X, y = [], []
    effects = MigraineEffects(theta=0, alpha_frequency=0, beta=0)
    for index in range(n_participants):
        label = ("control", "migraine")[index % 2]
        # a patient is the control of the same number, with other traits
        both = {
            which: simulate_participant(
                index,
                which,
                array="opm64",
                effects=effects,
                effect_size=1.5,
                states=STATES,
                n_epochs=24,
                filters=(1.0, 40.0),
                random_state=seed,
            ).recordings
            for which in {"control", label}
        }
        X.append({n: both[label if n == state else "control"][n] for n in STATES})
        y.append(label)
    return X, np.array(y)


def states(n_cohorts, n_participants):
    """Find the state in which patients differ."""
    rows = []
    model = make_pipeline(MEGFMTransformer(), LogisticRegression())
    for number in range(n_cohorts):
        true = STATES[number % 2]
        X, y = planted_state(n_participants, SEED + 500 + number, true)
        for method in ("permutation", "shapley"):
            folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0)
            # the fewest permutations: the benchmark scores the table
            found = state_importance(
                model, X, y, method, cv=folds, n_permutations=1, alpha=0.5
            ).table
            mean = found.groupby("group")["importance"].mean()
            rows.append(
                {
                    "method": method,
                    "AUC": found["score"].mean(),
                    "state found": float(mean.idxmax() == true),
                    "true state": mean[true],
                    "largest other": mean.drop(true).max(),
                }
            )
            print(true, rows[-1], flush=True)
    show(f"State, {n_cohorts} cohorts of {n_participants}", rows, "method")


def people(n_participants, seed, dipole):
    """Simulate people of whom every second has a dipole in all auditory trials."""
    cohort = simulate_cohort(
        n_participants,
        states=STATES,
        arrays="opm64",
        n_epochs=30,
        effect_size=0.0,
        filters=(1.0, 40.0),
        random_state=seed,
    )
    rng = np.random.default_rng([seed, 2])
    X, y = [], np.arange(n_participants) % 2
    for person, patient in zip(cohort.participants, y, strict=True):
        epochs = person.recordings["auditory"].copy().load_data()
        field, truth = truth_of(epochs.info, epochs.times, dipole)
        gain = GAIN * patient * np.exp(0.3 * rng.standard_normal())
        added = gain * field[:, None] * truth["wave"]
        epochs = mne.EpochsArray(
            epochs.get_data() + added, epochs.info, epochs.events, epochs.times[0]
        )
        X.append({**person.recordings, "auditory": epochs})
    return X, y


def participants(n_cohorts, n_participants):
    """Score gradients of decisions on participants."""
    rows, accuracy, misses = ([], []), [], []
    n_train = 3 * n_participants // 4
    for number in range(n_cohorts):
        seed = SEED + 700 + number
        rng = np.random.default_rng([seed, 1])
        dipole, *others = (draw_dipole(rng, 0.4) for _ in range(4))
        X, y = people(n_participants, seed, dipole)
        model = make_pipeline(MEGFMTransformer(), LogisticRegression())
        model.fit(X[:n_train], y[:n_train])
        decision = model.decision_function(X[n_train:])
        accuracy.append(roc_auc_score(y[n_train:], decision))
        print(f"cohort {number}: AUC of the pipeline {accuracy[-1]:.2f}", flush=True)
        explained = slice(n_train, n_train + N_EXPLAINED)
        for person, patient in zip(X[explained], y[explained], strict=True):
            epochs = person["auditory"]
            scan = Scan(epochs.info)
            found = {"average": {name: person[name].average() for name in STATES}}
            found |= {m: decision_map(model, person, m) for m in METHODS}
            misses.append(miss(model, person, found["integrated_gradients"]))
            for method, maps in found.items():
                evoked = maps["auditory"]
                power = {n: np.square(one.data).sum() for n, one in maps.items()}
                state = {"state": power["auditory"] / sum(power.values())}
                for known in (dipole, *others):
                    _, truth = truth_of(epochs.info, epochs.times, known)
                    scored = score(evoked, scan, truth)
                    if known is dipole:
                        rows[patient].append({"method": method, **scored, **state})
                    elif method != "average":
                        other = {"method": "chance", **scored, "state": 0.5}
                        rows[patient].append(other)
    for who, some in zip(("controls", "patients"), rows, strict=True):
        some.sort(key=lambda row: ("average", *METHODS, "chance").index(row["method"]))
        show(f"Maps of {who}, {n_cohorts} cohorts of {n_participants}", some, "method")
    print(f"AUC of pipelines {np.mean(accuracy):.2f} ({np.std(accuracy):.2f})")
    far, change = np.abs(misses).T
    print(
        f"contributions are off by {np.median(far):.4f} (median; at most "
        f"{far.max():.4f}) where decisions change by {np.median(change):.2f} "
        f"({change.min():.2f} to {change.max():.2f})"
    )


def miss(model, person, maps):
    """Compare contributions with what the decision loses without averages."""
    without = dict(person)
    for name in STATES:
        epochs = person[name].copy().load_data()
        data = epochs.get_data()
        without[name] = mne.EpochsArray(
            data - data.mean(0), epochs.info, epochs.events, epochs.times[0]
        )
    whole, rest = model.decision_function([person, without])
    total = sum(evoked.data.sum() for evoked in maps.values())
    return total - (whole - rest), whole - rest


def show(title, rows, key):
    """Print mean and standard deviation."""
    table = pd.DataFrame(rows)
    numbers = [name for name in table.columns if name != key]
    print(f"\n{title}\n\n| {' | '.join((key, *numbers))} |")
    print("|---" * (1 + len(numbers)) + "|")
    for name, group in table.groupby(key, sort=False):
        cells = [f"{group[n].mean():.2f} ({group[n].std():.2f})" for n in numbers]
        print(f"| {' | '.join((name, *cells))} |", flush=True)


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=4)
    parser.add_argument("--cohorts", type=int, default=2)
    parser.add_argument("--participants", type=int, default=32)
    parser.add_argument(
        "--only", choices=("place", "frequency", "state", "participants")
    )
    args = parser.parse_args()
    mne.set_log_level("error")
    if args.only in (None, "place"):
        place_and_time(args.recordings)
    if args.only in (None, "frequency"):
        frequency(args.recordings)
    if args.only in (None, "state"):
        states(args.cohorts, args.participants)
    if args.only in (None, "participants"):
        participants(args.cohorts, args.participants)


if __name__ == "__main__":
    main()
