"""Embeddings of events, such as of the images that were shown."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..utils.tables import read_text
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
        """
        if isinstance(table, pd.DataFrame):
            where, frame = "the table", table
        else:
            where, frame = f"{table}", read_text(Path(table).expanduser())
        if EVENT not in frame or frame.shape[1] < 2:
            columns = ", ".join(map(str, frame.columns[:4]))
            raise SettingsError(
                f"Expected a column {EVENT} and a column for each dimension of the "
                f"embeddings in {where}, got {columns}; name the columns."
            )
        names = frame[EVENT]
        numbers = frame.drop(columns=EVENT).apply(pd.to_numeric, errors="coerce")
        values = numbers.to_numpy(np.float32)
        wrong = names.isna().to_numpy() | ~np.isfinite(values).all(axis=1)
        if wrong.any() or not len(names):
            row = (
                f"not so in row {np.flatnonzero(wrong)[0] + 1}"
                if len(names)
                else "no row"
            )
            raise SettingsError(
                f"Expected a name and finite numbers in each row of {where}, got {row}"
                "; correct it."
            )
        names = names.astype(str)
        if names.duplicated().any():
            raise SettingsError(
                f"Expected each event once in {where}, got "
                f"{names[names.duplicated()].iloc[0]!r} twice; leave one out."
            )
        return cls(tuple(names), values)

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
