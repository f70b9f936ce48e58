"""Masked reconstruction of real recordings by the bundled weights.

Run as ``python benchmarks/bench_reconstruction.py [RECORDING ...]``; without any, on
the continuous recordings in the folder that ``MNE_MEGFM_TEST_DATA`` names (default:
``shared/data`` beside the checkout).
"""

import os
import sys
from pathlib import Path

import mne
import numpy as np

from mne_megfm import MEGFMTransformer
from mne_megfm.interpret import score_reconstruction

SEEDS, N_DRAWS = range(5), 10


def recordings():
    """Return the paths to score."""
    if sys.argv[1:]:
        return [Path(name) for name in sys.argv[1:]]
    here = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MNE_MEGFM_TEST_DATA", here))
    return sorted(folder.glob("*_raw.fif"))


def main():
    """Print R² of the model and of the interpolations."""
    mne.set_log_level("error")
    print(
        f"R² of hidden signal, {N_DRAWS} masks a window, mean (SD) over seeds "
        f"{SEEDS[0]} to {SEEDS[-1]}; field: the best of three regularisations\n"
    )
    print("| recording | hidden | model | field | time |\n|---|---|---|---|---|")
    for path in recordings():
        raw = mne.io.read_raw(path)
        transformer = MEGFMTransformer().fit(raw)
        scores = [
            score_reconstruction(transformer, raw, n_draws=N_DRAWS, seed=seed)
            for seed in SEEDS
        ]
        values = np.stack([frame.to_numpy() for frame in scores])
        rows = zip(scores[0].index, values.mean(0), values.std(0), strict=True)
        for mask, means, spreads in rows:
            cells = " | ".join(
                f"{mean:.3f} ({spread:.3f})"
                for mean, spread in zip(means, spreads, strict=True)
            )
            print(f"| {path.stem} | {mask} | {cells} |")


if __name__ == "__main__":
    main()
