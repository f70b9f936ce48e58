"""Tables of benchmarks, written into the pages of ``doc/validation``."""

from __future__ import annotations

import re
import shlex
import sys
from datetime import date
from pathlib import Path

import mne_megfm


def command_line() -> str:
    """Give the command that runs this script, without the option ``--rst``."""
    words = sys.argv[1:]
    if "--rst" in words:
        at = words.index("--rst")
        del words[at : at + 2]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def simple_table(header: list[str], rows: list[list[str]]) -> str:
    """Write a simple table of reStructuredText.

    Parameters
    ----------
    header : list of str
        Names of the columns.
    rows : list of list of str
        The cells; the first of a row must not be empty.

    Returns
    -------
    table : str
        The table, without a newline at its end.
    """
    cells = [header, *rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(header))]
    line = "  ".join("=" * width for width in widths)
    texts = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]
    texts = [text.rstrip() for text in texts]
    return "\n".join([line, texts[0], line, *texts[1:], line])


def write_table(
    page: str | Path,
    facts: dict[str, str],
    header: list[str],
    rows: list[list[str]],
    part: str = "",
) -> None:
    """Replace a benchmark's table in a page, with its command, date and version.

    Parameters
    ----------
    page : path-like
        The page. The table is between the lines ``.. begin SCRIPT`` and ``.. end
        SCRIPT``, where SCRIPT is the name of the benchmark without its suffix.
    facts : dict of str
        What the table is of: data, seeds, what the spread is of.
    header : list of str
        Names of the columns.
    rows : list of list of str
        The cells.
    part : str
        Added to SCRIPT, for a benchmark that writes more than one table.
    """
    page, name = Path(page), Path(sys.argv[0]).stem + part
    facts = {
        "Command": f"``{command_line()}``",
        **facts,
        "Date": f"{date.today():%Y-%m-%d}, version {mne_megfm.__version__}",
    }
    lines = [f":{key}: {text}" for key, text in facts.items()]
    table = "\n".join([*lines, "", simple_table(header, rows)])
    text, n = re.subn(
        rf"(?<=^\.\. begin {name}\n\n).*?(?=\n\n\.\. end {name}$)",
        lambda _: table,
        page.read_text("utf-8"),
        flags=re.M | re.S,
    )
    if n != 1:
        raise ValueError(
            f"Expected the lines '.. begin {name}' and '.. end {name}' once in {page}, "
            f"got them {n} times; add them around the place of the table."
        )
    page.write_text(text, encoding="utf-8")
