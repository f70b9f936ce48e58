"""Losses of a run, as a table and as curves."""

from __future__ import annotations

import csv
import io
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mne.utils import logger

from ..utils.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def draw_curves(history: History, losses: Axes, shares: Axes) -> None:
    """Draw losses, and explained shares, against epochs."""
    losses.plot(history.epoch, history.train_loss, label="training")
    losses.plot(history.epoch, history.valid_loss, label="held-out participants")
    losses.axvline(history.best_epoch, color="0.7", lw=1, zorder=0)
    losses.set(xlabel="epoch", ylabel="loss")
    losses.legend(frameon=False)
    for name, values in history.r2.items():
        shares.plot(history.epoch, values, label=name)
    shares.set(xlabel="epoch", ylabel="R² of hidden signal, held out")
    if history.r2:
        shares.legend(frameon=False)


def write_curves(history: History, directory: Path) -> None:
    """Write ``history.csv`` and ``curves.png``."""
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    history.to_csv(directory / "history.csv")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    draw_curves(history, *figure.subplots(1, 2))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    write_whole(directory / "curves.png", out.getvalue())


def write_tensorboard(history: History, directory: Path) -> None:
    """Write the last epoch as TensorBoard events, where TensorBoard is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.debug("No TensorBoard: losses are in history.csv and curves.png alone.")
        return
    with SummaryWriter(directory) as writer:
        for name, values in history.columns.items():
            if name != "epoch":
                writer.add_scalar(name, values[-1], history.epoch[-1])
