"""Faults: commands are killed, files damaged, disks filled; what is lost is counted.

Run as ``python benchmarks/bench_faults.py --seed 1``, on Linux; as root it also fills a
disk of its own and takes away rights. What is tried: doc/validation/reliability.rst.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # before NumPy and torch look at them
os.environ["MPLBACKEND"] = "agg"
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import mne  # noqa: E402
import numpy as np  # noqa: E402
from faults._commands import make_commands  # noqa: E402
from faults._damage import damage_files, fuzz_headers, make_kinds  # noqa: E402
from faults._data import make_inputs  # noqa: E402
from faults._kills import kill_commands, run_undisturbed  # noqa: E402
from faults._limits import KINDS, try_limits  # noqa: E402
from rst_tables import simple_table  # noqa: E402

PARTS = ("kills", "flips", "cuts", "headers", "limits")
COLUMNS = {
    "kills": [
        "killed",
        "while writing",
        "with output",
        "lost",
        "half",
        "not continued",
        "left over",
    ],
    "flips": ["found", "harmless", "not found", "other"],
    "cuts": ["found", "harmless", "not found", "other"],
    "headers": ["found", "harmless", "other"],
    "limits": [
        "tried",
        "refused",
        "unclean",
        "lost",
        "half",
        "not continued",
        "left over",
    ],
}


def print_table(part, counts):
    """Print counts as a table of reStructuredText."""
    rows = [
        [n, *(str(c[column]) for column in COLUMNS[part])] for n, c in counts.items()
    ]
    print(f"\n{simple_table([part, *COLUMNS[part]], rows)}\n", flush=True)


def main():
    """Try all faults, or those that are named, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=210, help="of all commands")
    parser.add_argument("--changes", type=int, default=150, help="to each kind of file")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--limits", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write as JSON")
    options = parser.parse_args()
    mne.set_log_level("info")
    faults, results = [], {}

    def say(text):
        faults.append(text)
        print(text, flush=True)

    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name).resolve()
        inputs = make_inputs(folder / "inputs", options.seed)
        reference = folder / "reference"
        commands = make_commands(inputs, reference)
        if "kills" not in options.parts:  # a report takes long, and is only killed
            commands = [one for one in commands if one.name != "report"]
        times = run_undisturbed(commands, reference, print)
        kinds = make_kinds(inputs, reference)
        n = options.changes
        os.chdir(folder)
        for number, part in enumerate(PARTS):
            if part not in options.parts:
                continue
            # a part is the same whichever others are asked for
            rng = np.random.default_rng([options.seed, number])
            if part == "kills":
                counts = kill_commands(commands, times, folder, options.kills, rng, say)
            elif part == "flips":
                counts = damage_files(kinds, n, rng, say)
            elif part == "cuts":
                counts = damage_files(kinds, n // 3, rng, say, flip=False)
            elif part == "headers":
                counts = fuzz_headers(kinds, 2 * n, rng, say)
            else:
                counts = try_limits(commands, folder, rng, say, options.limits)
            print_table(part, counts)
            results[part] = counts
        os.chdir("/")
    if options.json is not None:
        content = {"seed": options.seed, "faults": faults, **results}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
