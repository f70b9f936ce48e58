"""Compare the figures of ``make benchmark`` of two versions.

``python tools/compare_benchmarks.py OLD NEW`` with two files of ``--json``, or two
folders of them. Times are those of one machine: where machines differ, that is said.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

#: A figure that changed by more than this share is called better or worse.
LIMIT = 0.1


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Read a file, or all of a folder, by the name of the benchmark.

    Parameters
    ----------
    path : Path
        File or folder.

    Returns
    -------
    runs : dict
        From name to content.

    Raises
    ------
    ValueError
        If a file is none of a benchmark, or there is no file.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"Expected files of `make benchmark` in {path}, got none.")
    runs = {}
    for file in files:
        content = json.loads(file.read_text("utf-8"))
        keys = {"benchmark", "version", "machine", "figures"}
        if not isinstance(content, dict) or not keys <= set(content):
            raise ValueError(
                f"Expected {', '.join(sorted(keys))} in {file}, got something else; "
                "write it with --json of a benchmark."
            )
        runs[content["benchmark"]] = content
    return runs


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[tuple]:
    """Put the figures of two runs of a benchmark side by side.

    Parameters
    ----------
    old, new : dict
        Contents of the files.

    Returns
    -------
    rows : list of tuple
        Name, unit, old and new value (None where a run has none), the ratio of the new
        to the old one, and whether that is "better", "worse" or "" (about the same).
    """
    before = {figure["name"]: figure for figure in old["figures"]}
    after = {figure["name"]: figure for figure in new["figures"]}
    rows = []
    for name in [*before, *(name for name in after if name not in before)]:
        figure = after.get(name) or before[name]
        values = [
            run[name]["value"] if name in run else None for run in (before, after)
        ]
        ratio, word = None, ""
        if None not in values:
            if before[name]["unit"] != after[name]["unit"]:
                raise ValueError(
                    f"Expected one unit for {name!r}, got {before[name]['unit']} and "
                    f"{after[name]['unit']}."
                )
            ratio = values[1] / values[0] if values[0] else float("nan")
            gain = 1 / ratio if figure["better"] == "less" and ratio else ratio
            word = "better" if gain > 1 + LIMIT else ""
            word = "worse" if gain < 1 / (1 + LIMIT) else word
        rows.append((name, figure["unit"], *values, ratio, word))
    return rows


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    try:
        old, new = read(options.old), read(options.new)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for name in sorted(set(old) | set(new)):
        if name not in old or name not in new:
            print(f"{name}: only in {options.old if name in old else options.new}")
            continue
        print(f"{name}: {old[name]['version']} and {new[name]['version']}")
        differ = [
            f"{key} {value} and {new[name]['machine'].get(key)}"
            for key, value in old[name]["machine"].items()
            if new[name]["machine"].get(key) != value
        ]
        if differ:
            print(f"  not one machine: {'; '.join(differ)}")
        for figure, unit, *values, ratio, word in compare(old[name], new[name]):
            before, after = ("-" if v is None else f"{v:.4g}" for v in values)
            times = "-" if ratio is None else f"{ratio:.2f}"
            line = f"  {figure:34s}{before:>10s}{after:>10s} {unit:10s}{times:>6s}"
            print(f"{line}  {word}".rstrip())


if __name__ == "__main__":
    main()
