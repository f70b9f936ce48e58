"""Figures of a benchmark as JSON, for ``tools/compare_benchmarks.py``."""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

import torch

from mne_megfm import __version__
from mne_megfm.utils.files import write_whole

#: Units, and which way is better.
UNITS = {"ms": "less", "kB": "less", "windows/s": "more"}


class Results:
    """Figures of one script, written together when all are there.

    Parameters
    ----------
    benchmark : str
        Name of the script.
    path : Path | None
        Where to; None writes nothing.
    device : str
        What computed.
    """

    def __init__(self, benchmark: str, path: Path | None, device: str = "cpu") -> None:
        self.benchmark = benchmark
        self.path = path
        self.device = device
        self.figures: list[dict] = []

    def add(self, name: str, value: float, unit: str) -> None:
        """Add a figure; its name is what two versions are compared by."""
        if unit not in UNITS:
            raise ValueError(f"Expected one of {sorted(UNITS)} as unit, got {unit!r}.")
        if any(figure["name"] == name for figure in self.figures):
            raise ValueError(f"Expected a name for each figure, got {name!r} twice.")
        self.figures.append({"name": name, "value": float(value), "unit": unit})

    def write(self) -> None:
        """Write the file; one that is there is replaced."""
        if self.path is None:
            return
        content = {
            "benchmark": self.benchmark,
            "version": __version__,
            "machine": {
                "platform": platform.platform(),
                "cores": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "device": self.device,
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
            "figures": [
                figure | {"better": UNITS[figure["unit"]]} for figure in self.figures
            ],
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, json.dumps(content, indent=1).encode())


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write as JSON")
