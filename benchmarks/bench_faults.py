"""Faults: commands are killed, files damaged, disks filled; what is lost is counted.

Run as ``python benchmarks/bench_faults.py --seed 1``, on Linux. See
doc/validation/reliability.rst.
"""

import argparse
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before NumPy and torch look at them
os.environ["MPLBACKEND"] = "agg"

import mne
import numpy as np
from faults._commands import make_commands
from faults._data import make_inputs
from faults._kills import kill_commands


def main():
    """Try all faults, or those that are named, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=210)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    mne.set_log_level("info")
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name).resolve()
        inputs = make_inputs(folder / "inputs", options.seed)
        commands = make_commands(inputs, folder / "reference")
        counts = kill_commands(commands, folder, options.kills, rng, print)
        print(json.dumps(counts, indent=1))


if __name__ == "__main__":
    main()
