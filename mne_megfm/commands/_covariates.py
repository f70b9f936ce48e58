"""What is known of participants besides recordings, such as age, sex and site."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd

from ..utils.tables import KEYS, PARTICIPANT
from ._labels import match_names, read_people

_TABLE = "participants.tsv"
# 01 is a code, and stays as it is
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Covariates:
    """Columns of a table of participants.

    Attributes
    ----------
    table : DataFrame
        By name of the participant: numbers where all of a column are, else text; NaN
        or None where a value is missing.
    path : Path
        The table.
    """

    table: pd.DataFrame
    path: Path

    def of(self, names: Iterable[str], then: str) -> pd.DataFrame:
        """Look up participants, and say what is not known of whom.

        Parameters
        ----------
        names : iterable of str
            The participants; ``sub-01`` and ``01`` are one unless there are both.
        then : str
            What is done where a value is missing, for the message.

        Returns
        -------
        table : DataFrame
            A row for each, by these names.

        Raises
        ------
        ValueError
            If none of them is in the table.
        """
        names = list(dict.fromkeys(names))
        found = match_names(names, self.table.index)
        if not any(found.values()):
            shown = ", ".join(self.table.index[:3])
            raise ValueError(
                f"Expected {', '.join(names[:3])}, ... in {self.path}, got "
                f"{len(self.table)} others ({shown}, ...); name participants alike in "
                "both."
            )
        own = [found[name] or name for name in names]
        table = self.table.reindex(own).set_axis(pd.Index(names, name="participant"))
        lacks = table.isna()
        if lacks.any(axis=None):
            said = [
                f"no {column} of {', '.join(table.index[lacks[column]])}"
                for column in table
                if lacks[column].any()
            ]
            click.echo(
                f"Warning: {'; '.join(said)} (not in {self.path.name}, or n/a there): "
                f"{then}.",
                err=True,
            )
        return table


def read_covariates(path: Path, columns: Sequence[str], option: str) -> Covariates:
    """Read columns of a table of participants.

    Parameters
    ----------
    path : Path
        A table with the columns participant or participant_id, and these.
    columns : sequence of str
        Which columns.
    option : str
        The option that names them, for messages.

    Returns
    -------
    covariates : Covariates
        The columns.

    Raises
    ------
    ValueError
        If a column is not there or none of participants, or one participant is there
        twice.
    """
    table, key = read_people(path)
    wrong = [name for name in columns if name not in table]
    wrong += [name for name in columns if name in (*KEYS, *PARTICIPANT)]
    if wrong:
        there = [name for name in table if name not in (*KEYS, *PARTICIPANT)]
        raise ValueError(
            f"Expected columns of {path} in {option}, such as "
            f"{', '.join(there[:5]) or 'age, of which it has none'}, got {wrong[0]}; "
            "name columns that describe participants."
        )
    table = table[table[key].notna()]
    twice = table[key][table[key].duplicated()]
    if len(twice):
        raise ValueError(
            f"Expected one row a participant in {path}, got several of "
            f"{twice.iloc[0]!r}; take away all but one."
        )
    values = {name: _as_numbers(table[name]) for name in columns}
    index = pd.Index(table[key].tolist(), name="participant")
    return Covariates(pd.DataFrame(values).set_axis(index), path)


def _as_numbers(column: pd.Series) -> pd.Series:
    """Turn text to numbers where all of it is; codes such as 01 are none."""
    known = column.dropna()
    are_numbers = known.map(lambda text: bool(_NUMBER.fullmatch(text)))
    if len(known) and are_numbers.all():
        return pd.to_numeric(column)
    return column


def find_table(recordings: Iterable[Path]) -> Path:
    """Find the participants.tsv of recordings.

    Parameters
    ----------
    recordings : iterable of Path
        Files and folders, as a command was given them.

    Returns
    -------
    path : Path
        The table in the folder, in that of the files, or, of derivatives in a BIDS data
        set, in that data set.

    Raises
    ------
    ValueError
        If there is none, or more than one.
    """
    folders = dict.fromkeys(
        (path if path.is_dir() else path.parent).resolve() for path in recordings
    )
    found = {}
    for folder in folders:
        inside = folder.parent.name == "derivatives"
        above = folder.parents[1] if inside else folder
        tables = [one / _TABLE for one in (folder, above) if (one / _TABLE).is_file()]
        found |= dict.fromkeys(tables[:1])
    if len(found) != 1:
        got = f"{len(found)} of them" if found else "none"
        raise ValueError(
            f"Expected one {_TABLE} beside the recordings, got {got}; name the table "
            "with --covariates-from."
        )
    return next(iter(found))
