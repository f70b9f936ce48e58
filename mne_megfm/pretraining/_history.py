"""What happened in every epoch of training."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np

from ._files import write_whole


@dataclass
class History:
    """One entry an epoch of training.

    Parameters
    ----------
    epoch : list of int
        Number of the epoch, from 1.
    train_loss : list of float
        Mean loss over the batches of the epoch.
    valid_loss : list of float
        Loss on the held-out recordings, always with the same masks.
    lr : list of float
        Learning rate at the end of the epoch.
    r2 : dict of list of float
        Explained share of the hidden signal of held-out recordings, by state and
        under ``"all"``.
    """

    epoch: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    r2: dict[str, list[float]] = field(default_factory=dict)

    def append(self, *, r2: dict[str, float] | None = None, **values: float) -> None:
        """Add an epoch.

        Parameters
        ----------
        r2 : dict of float, optional
            Explained shares.
        **values : float
            One value a field.
        """
        for name, value in values.items():
            getattr(self, name).append(value)
        for name, value in (r2 or {}).items():
            self.r2.setdefault(name, []).append(value)

    @property
    def columns(self) -> dict[str, list[float]]:
        """The table by column; explained shares as ``r2_<state>``."""
        names = ("epoch", "train_loss", "valid_loss", "lr")
        columns = {name: getattr(self, name) for name in names}
        return columns | {f"r2_{name}": values for name, values in self.r2.items()}

    @property
    def best_epoch(self) -> int:
        """Number of the epoch with the least loss on held-out recordings."""
        return self.epoch[int(np.argmin(self.valid_loss))]

    def to_csv(self, path: str | os.PathLike) -> None:
        """Write one line an epoch.

        Parameters
        ----------
        path : path-like
            The file; replaced as a whole.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(self.columns)
        writer.writerows(zip(*self.columns.values(), strict=True))
        write_whole(Path(path), text.getvalue().encode())

    @classmethod
    def from_csv(cls, path: str | os.PathLike) -> History:
        """Read what `to_csv` wrote, or the ``history.csv`` of a run.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        history : History
            One entry a line.

        Raises
        ------
        ValueError
            If it is another table.
        """
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(
                f"Expected a table in UTF-8 in {path}, got something else ({error}); "
                "pass the history.csv of a run."
            ) from error
        names = [f.name for f in fields(cls) if f.name != "r2"]
        if not rows or not set(names) <= set(rows[0]):
            got = [str(name) for name in rows[0]] if rows else ["no line"]
            raise ValueError(
                f"Expected the columns {', '.join(names)} and an epoch at least in "
                f"{path}, got {', '.join(got)}; pass the history.csv of a run."
            )
        columns = {
            name: [_number(row, name, n, path) for n, row in enumerate(rows, 1)]
            for name in rows[0]
        }
        return cls(
            epoch=[int(epoch) for epoch in columns["epoch"]],
            **{name: columns[name] for name in names if name != "epoch"},
            r2={
                name.removeprefix("r2_"): values
                for name, values in columns.items()
                if name.startswith("r2_")
            },
        )


def _number(row: dict, name: str, n: int, path: str | os.PathLike) -> float:
    try:
        return float(row[name])
    except (TypeError, ValueError) as error:  # None or a list, where cells do not fit
        raise ValueError(
            f"Expected a number in column {name} of {path}, got {row[name]!r} in row "
            f"{n}; pass the history.csv of a run as it was written."
        ) from error
