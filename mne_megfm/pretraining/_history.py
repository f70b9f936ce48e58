"""What happened in every epoch of training."""

from __future__ import annotations

import csv
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np


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
    """

    epoch: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)

    def append(self, **values: float) -> None:
        """Add an epoch.

        Parameters
        ----------
        **values : float
            One value a field.
        """
        for name, value in values.items():
            getattr(self, name).append(value)

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
        aside = Path(f"{path}.writing")
        with aside.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(asdict(self))
            writer.writerows(zip(*asdict(self).values(), strict=True))
        os.replace(aside, path)
