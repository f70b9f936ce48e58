"""Masked reconstruction of real recordings by the bundled weights.

Run as ``python benchmarks/bench_reconstruction.py [RECORDING ...]``; without any, on
the continuous recordings in the folder that ``MNE_MEGFM_TEST_DATA`` names (default:
``shared/data`` beside the checkout). ``--rst doc/validation/reconstruction.rst``
replaces the table in that page.
"""

import argparse
import os
import sys
from pathlib import Path

import mne

from mne_megfm.weights import weights_path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
from model_card import score_recording  # noqa: E402
from rst_tables import write_table  # noqa: E402


def recordings(given):
    """Return the paths to score."""
    if given:
        return given
    here = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("MNE_MEGFM_TEST_DATA", here))
    return sorted(folder.glob("*_raw.fif"))


def main():
    """Print R² of the model and of the interpolations."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="*", metavar="RECORDING")
    parser.add_argument("--rst", metavar="PAGE", help="write the table into it")
    options = parser.parse_args()
    mne.set_log_level("error")
    header = ["recording", "hidden", "model", "field", "time"]
    print("R² of hidden signal, mean (SD) over 5 seeds of 10 masks a window\n")
    print(f"| {' | '.join(header)} |\n|---|---|---|---|---|")
    rows = []
    for path in recordings(options.recordings):
        for mask, scores in score_recording(weights_path("megfm-tiny"), path).items():
            cells = [f"{mean:.3f} ({sd:.3f})" for mean, sd in scores.values()]
            rows.append([Path(path).stem.removesuffix("_raw"), mask, *cells])
            print(f"| {' | '.join(rows[-1])} |", flush=True)
    if options.rst:
        names = ", ".join(f"``{name}``" for name in dict.fromkeys(r[0] for r in rows))
        facts = {
            "Data": f"real recordings: {names}",
            "Seeds, n": "5 seeds of 10 masks for each window",
            "Spread": "standard deviation over seeds",
        }
        write_table(options.rst, facts, header, rows)


if __name__ == "__main__":
    main()
