"""Masked reconstruction of real recordings by the bundled weights.

Run as ``python benchmarks/bench_reconstruction.py [RECORDING ...]``; without any, on
the continuous recordings in the folder that ``MNE_MEGFM_TEST_DATA`` names (default:
``shared/data`` beside the checkout).
"""

import os
import sys
from pathlib import Path

import mne
from model_card import score_recording

from mne_megfm.weights import weights_path


def recordings():
    """Return the paths to score."""
    if sys.argv[1:]:
        return sys.argv[1:]
    here = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MNE_MEGFM_TEST_DATA", here))
    return sorted(folder.glob("*_raw.fif"))


def main():
    """Print R² of the model and of the interpolations."""
    mne.set_log_level("error")
    print("R² of hidden signal, mean (SD) over 5 seeds of 10 masks a window\n")
    print("| recording | hidden | model | field | time |\n|---|---|---|---|---|")
    for path in recordings():
        for mask, scores in score_recording(weights_path("megfm-tiny"), path).items():
            cells = " | ".join(f"{mean:.3f} ({sd:.3f})" for mean, sd in scores.values())
            print(f"| {Path(path).stem} | {mask} | {cells} |")


if __name__ == "__main__":
    main()
