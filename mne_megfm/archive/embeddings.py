"""Embeddings of events, such as of the images that were shown."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..utils.tables import read_features, read_text
from .settings import SettingsError

#: Column of the names of events in a table of embeddings.
EVENT = "event"


@dataclass(frozen=True, eq=False)
class EventEmbeddings:
    """An embedding for each event, by name.

    Attributes
    ----------
    names : tuple of str
        Names of events, or parts of such names between slashes.
    values : ndarray of float32, shape (n_events, n_dims)
        Their embeddings.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]

    @classmethod
    def read(cls, table: str | os.PathLike | pd.DataFrame) -> EventEmbeddings:
        """Read a table with a row for each event.

        Parameters
        ----------
        table : path-like | DataFrame
            A column ``event`` with names of events, and a column of numbers for each
            dimension. A file is CSV, TSV or parquet.

        Returns
        -------
        embeddings : EventEmbeddings
            What it says.

        Raises
        ------
        SettingsError
            If a name or a number is missing, or a name is there twice.
        ValueError
            If a file is no such table.
        """
        if isinstance(table, pd.DataFrame):
            where, names, numbers = "the table", table, table
        else:
            path = Path(table).expanduser()
            where, names = f"{path}", read_text(path, [EVENT])
            # without the names, which are no numbers
            numbers = read_features(path, [EVENT])
        numbers = numbers.drop(columns=EVENT, errors="ignore")
        if EVENT not in names or not numbers.shape[1]:
            columns = [*names.columns, *numbers.columns]
            raise SettingsError(
                f"Expected a column {EVENT} and a column for each dimension of the "
                f"embeddings in {where}, got {', '.join(map(str, columns[:4]))}; name "
                "the columns."
            )
        if not len(names):
            raise SettingsError(
                f"Expected a row for each event in {where}, got none; add them."
            )
        missing = np.flatnonzero(names[EVENT].isna())
        if len(missing):
            raise SettingsError(
                f"Expected the name of an event in each row of {where}, got none in "
                f"row {missing[0] + 1}; fill it in."
            )
        values = np.column_stack([_finite(numbers[c], where) for c in numbers])
        given = names[EVENT].astype(str)
        if given.duplicated().any():
            raise SettingsError(
                f"Expected each event once in {where}, got "
                f"{given[given.duplicated()].iloc[0]!r} twice; leave one out."
            )
        return cls(tuple(given), values)

    def of(self, events: NDArray) -> NDArray[np.float32]:
        """Give the embedding of each event.

        Parameters
        ----------
        events : array of str, shape (n,)
            Names of events, in which parts stand between slashes.

        Returns
        -------
        values : ndarray of float32, shape (n, n_dims)
            Their embeddings.

        Raises
        ------
        ValueError
            If an event has none, or parts of its name have several.
        """
        places = {name: place for place, name in enumerate(self.names)}
        found = {}
        for event in dict.fromkeys(map(str, events)):
            parts = [event] if event in places else event.split("/")
            own = [places[part] for part in dict.fromkeys(parts) if part in places]
            if len(own) != 1:
                several = ", ".join(self.names[place] for place in own) or "none"
                raise ValueError(
                    f"Expected one embedding for the event {event!r}, got {several}; "
                    "name it in the table of embeddings, or leave it out of events."
                )
            found[event] = own[0]
        return self.values[[found[str(event)] for event in events]]

    def digest(self) -> str:
        """Hash names and embeddings, whatever their order."""
        order = sorted(range(len(self.names)), key=self.names.__getitem__)
        names = "\n".join(self.names[place] for place in order)
        content = self.values[order].astype("<f4").tobytes()
        return hashlib.sha256(names.encode() + b"\0" + content).hexdigest()


def _finite(column: pd.Series, where: str) -> NDArray[np.float32]:
    """Check that a column has finite numbers alone."""
    try:
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float32)
        wrong = np.flatnonzero(~np.isfinite(numbers))
    except TypeError:  # of lists, say
        wrong = np.zeros(1, int)
    if len(wrong):
        raise SettingsError(
            f"Expected a finite number in each row of the column {column.name!r} of "
            f"{where}, got {str(column.iloc[wrong[0]])[:40]!r} in row {wrong[0] + 1}; "
            "correct it, or remove the column. Each dimension has a column of its own."
        )
    return numbers
