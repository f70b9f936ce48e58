"""Labels of participants from a table such as BIDS's participants.tsv."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pandas as pd

from ..utils.tables import PARTICIPANT, read_text

#: Columns that are taken without --label, where a table has one of them only.
USUAL = ("label", "group", "diagnosis")
#: Columns with more values than that are hardly groups.
_MOST = 10
#: What other programs take for missing, and BIDS does not.
_LIKE_MISSING = {"na", "nan", "none", "null", "<na>", "nil", "-"}
_SUB = "sub-"


@dataclass(frozen=True)
class Labels:
    """A column of labels, as text.

    Attributes
    ----------
    values : dict
        From the name of a participant to the label; None where it is missing.
    column : str
        The column.
    path : Path
        The table.
    """

    values: dict[str, str | None]
    column: str
    path: Path

    def of(self, names: Iterable[str]) -> pd.Series:
        """Look up the labels of participants, and say who has none.

        ``sub-01`` and ``01`` are one participant unless there are both.

        Parameters
        ----------
        names : iterable of str
            The participants.

        Returns
        -------
        labels : Series of str
            By these names; None where a label is missing.

        Raises
        ------
        ValueError
            If no participant has a label.
        """
        names = list(names)
        found = match_names(names, self.values)
        labels = [None if own is None else self.values[own] for own in found.values()]
        labels = pd.Series(labels, names, dtype=object)
        if not self.values:
            raise ValueError(
                f"Expected rows in {self.path}, got names of columns alone; write a "
                "row for each participant."
            )
        if labels.isna().all():
            shown = ", ".join(map(repr, list(self.values)[:3]))
            raise ValueError(
                f"Expected labels of {', '.join(map(repr, names[:3]))}, ... in column "
                f"{self.column} of {self.path}, got none, but {len(self.values)} rows "
                f"of others ({shown}, ...); name participants alike in both."
            )
        self._report(found, labels)
        return labels

    def _report(self, found: dict[str, str | None], labels: pd.Series) -> None:
        n = len(found)
        absent = [name for name, own in found.items() if own is None]
        empty = [name for name in labels.index[labels.isna()] if found[name]]
        others = [name for name in self.values if name not in set(found.values())]
        if absent:
            _say(
                f"No label for {len(absent)} of {n} participants, who are not in "
                f"{self.path.name}: {', '.join(absent)}."
            )
        if empty:
            _say(
                f"No label for {len(empty)} of {n} participants, whose {self.column} "
                f"is n/a or empty in {self.path.name}: {', '.join(empty)}."
            )
        if others:
            _say(
                f"Not used: {len(others)} participants of {self.path.name}, of whom "
                f"there are no recordings or features ({', '.join(others[:3])}"
                f"{', ...' if len(others) > 3 else ''})."
            )
        counts = labels.value_counts()
        for label, count in counts.items():
            if str(label).lower() in _LIKE_MISSING:
                _say(
                    f"{label!r} is taken as a label like others ({count} "
                    f"participants): what is missing is n/a or an empty cell."
                )


def match_names(names: list[str], known: Container[str]) -> dict[str, str | None]:
    """Find participants among known names, with ``sub-`` or without.

    Parameters
    ----------
    names : list of str
        The participants.
    known : container of str
        Names in a table.

    Returns
    -------
    found : dict
        From name to the name in the table; None where it has none.
    """
    found: dict[str, str | None] = {}
    for name in names:
        other = name.removeprefix(_SUB) if name.startswith(_SUB) else _SUB + name
        free = other in known and other not in names
        found[name] = name if name in known else other if free else None
    renamed = [name for name, own in found.items() if own not in (None, name)]
    if renamed:
        _say(
            f"Names with and without {_SUB} are taken for the same participant: "
            f"{len(renamed)}, such as {renamed[0]} and {found[renamed[0]]}."
        )
    return found


def read_people(path: Path) -> tuple[pd.DataFrame, str]:
    """Read a table of participants, as text, with the column of their names.

    Raises
    ------
    ValueError
        If it has no such column.
    """
    table = read_text(path)
    keys = [key for key in PARTICIPANT if key in table]
    if not keys:
        raise ValueError(
            f"Expected the column participant (or participant_id) in {path}, got "
            f"{', '.join(table.columns)}; add it."
        )
    return table, keys[0]


def read_labels(
    path: Path, column: str | None = None, usual: tuple[str, ...] = USUAL
) -> Labels:
    """Read the label of each participant, as text.

    Parameters
    ----------
    path : Path
        A table with the columns participant or participant_id, and labels.
    column : str | None
        The column of labels; None for the one of ``usual`` that the table has.
    usual : tuple of str
        Columns that may be taken without being asked for.

    Returns
    -------
    labels : Labels
        The labels.

    Raises
    ------
    ValueError
        If there is no such column, or several labels of one participant.
    """
    table, key = read_people(path)
    if column is None:
        column = _choose(table.drop(columns=key), path, usual)
    elif column not in table:
        raise ValueError(
            f"Expected a column {column} in {path}, got {', '.join(table.columns)}; "
            "name the column of labels with --label."
        )
    names, labels = table[key], table[column]
    nameless = names.isna() & labels.notna()
    if nameless.any():
        _say(
            f"Left out: {nameless.sum()} rows of {path.name} that have a label and no "
            f"participant, the first is row {np.flatnonzero(nameless)[0] + 1}."
        )
    names, labels = names[names.notna()], labels[names.notna()]
    twice = names[names.duplicated()]
    if len(twice):
        raise ValueError(
            f"Expected one label a participant in {path}, got several of "
            f"{twice.iloc[0]!r}; take away all but one."
        )
    return Labels(dict(zip(names, labels, strict=True)), column, path)


def _choose(table: pd.DataFrame, path: Path, usual: tuple[str, ...]) -> str:
    """Take the one usual column, aloud, or list what there is."""
    found = [name for name in usual if name in table]
    if len(found) == 1:
        _say(f"Labels are those of column {found[0]} in {path.name}.")
        return found[0]
    there = []
    for name in table:
        values = table[name].dropna().unique()
        if 1 < len(values) <= _MOST:
            there.append(f"{name} ({', '.join(values)})")
        elif len(values) > _MOST:
            there.append(f"{name} ({len(values)} values)")
    raise ValueError(
        f"Expected --label, since {path} has {len(found) or 'none'} of the columns "
        f"{', '.join(usual)}; pass one of {'; '.join(there) or 'none, it has no more'}."
    )


def as_numbers(labels: pd.Series, column: str) -> np.ndarray:
    """Turn labels to numbers, for regression.

    Parameters
    ----------
    labels : Series of str
        By name of the participant, none missing.
    column : str
        Their column, for the message.

    Returns
    -------
    numbers : ndarray, shape (n_participants,)
        The same.

    Raises
    ------
    ValueError
        If one is no number.
    """
    numbers = pd.to_numeric(labels, errors="coerce").to_numpy(float)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise ValueError(
            f"Expected numbers in column {column} for --regression, got "
            f"{labels.iloc[wrong[0]]!r} for {labels.index[wrong[0]]} ({len(wrong)} of "
            f"{len(labels)} are no numbers); correct it, write n/a where it is not "
            "known, or leave out --regression."
        )
    return numbers


def _say(message: str) -> None:
    click.echo(message, err=True)


def find_label(given: str | None, labels: Iterable[str]) -> str | None:
    """Check that a label is one of those that there are; None stands for none."""
    known = sorted(set(labels))
    if given is not None and given not in known:
        raise ValueError(
            f"Expected --positive among the labels {', '.join(known)}, got {given!r}."
        )
    return given
