"""Reconstruction on the sensors of simulated participants.

Run as ``python benchmarks/bench_interpret.py``. Participants have seed 6100, which no
training has seen. Scores are over hidden samples alone, about the channels' means; for
bad channels, over all their samples.
"""

import argparse

import mne
import numpy as np
import pandas as pd

from mne_megfm import MEGFMTransformer, simulate_cohort
from mne_megfm.interpret import reconstruct, score_reconstruction
from mne_megfm.models import SpaceBlockMasking, TimeBlockMasking

SEED, ORIGIN = 6100, (0.0, 0.0, 0.04)
MASKS = {
    "time blocks of 300 ms": TimeBlockMasking(),
    "quarter of the sensors": SpaceBlockMasking(),
}
PARTS = ("sensors", "averages", "bads")


def bad_channels(epochs, n_bads):
    """Mark channels as bad that are not; score how they are filled."""
    rng = np.random.default_rng(SEED)
    names = sorted(rng.choice(epochs.ch_names, n_bads, replace=False).tolist())
    marked = epochs.copy()
    marked.info["bads"] = names
    ours = reconstruct(marked, MEGFMTransformer().fit(marked), fill_bads=True)
    theirs = marked.copy().interpolate_bads(origin=ORIGIN, verbose="error")
    truth = _centred(epochs, names)
    rows = []
    for method, inst in (("reconstruct", ours), ("interpolate_bads", theirs)):
        error = np.sum((_centred(inst, names) - truth) ** 2) / np.sum(truth**2)
        rows.append({"method": method, "r2": 1 - error})
    return pd.DataFrame(rows)


def _centred(epochs, names):
    """Give channels without their means."""
    data = epochs.get_data(names)
    return data - data.mean((0, 2))[:, None]


def show(title, tables, keys):
    """Print mean and standard deviation over participants."""
    groups = pd.concat(tables).groupby(keys, sort=False, dropna=False)
    numbers = [n for n in tables[0].columns if n not in (*keys, "n_samples")]
    print(f"\n{title}\n\n| {' | '.join((*keys, *numbers))} |")
    print("|---" * (len(keys) + len(numbers)) + "|")
    for key, group in groups:
        key = key if isinstance(key, tuple) else (key,)
        cells = [
            f"{group[n].mean():.3f} ({group[n].std():.3f})" if group[n].count() else "-"
            for n in numbers
        ]
        print(f"| {' | '.join((*key, *cells))} |", flush=True)


def main():
    """Print up to three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--participants", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--array", default="ctf151")
    parser.add_argument("--bads", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    mne.set_log_level("error")
    cohort = simulate_cohort(
        args.participants,
        states=("rest", "auditory", "somatosensory"),
        arrays=args.array,
        n_epochs=args.epochs,
        filters=(1.0, 40.0),
        random_state=SEED,
    )
    sensors, evoked, bads = [], [], []
    for person in cohort:
        epochs = person.epochs()
        transformer = MEGFMTransformer(sample="epoch").fit(epochs)
        if "sensors" in args.only:
            sensors.append(score_reconstruction(epochs, transformer, on="sensors"))
        if "averages" in args.only:
            trials = epochs["auditory", "somatosensory"]
            evoked.append(
                score_reconstruction(trials, transformer, "evoked", masks=MASKS)
            )
        if "bads" in args.only:
            bads.append(bad_channels(person.epochs("rest"), args.bads))
    print(
        f"SIMULATED: {args.participants} participants, {args.epochs} epochs a state, "
        f"{args.array}, seed {SEED}"
    )
    if sensors:
        show("Hidden signal", sensors, ["mask", "state", "sensors", "method"])
    if evoked:
        show("Averages", evoked, ["mask", "state", "sensors", "method"])
    if bads:
        show(f"{args.bads} bad channels", bads, ["method"])


if __name__ == "__main__":
    main()
