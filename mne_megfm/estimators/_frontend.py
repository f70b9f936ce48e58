"""How recordings reach the model's array."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..inputs import Recording
from ..sensors import (
    CanonicalArray,
    SensorMapping,
    canonical_array,
    canonical_kernel,
    compute_mapping,
)


class CanonicalFrontend:
    """Map recordings to the canonical virtual array.

    Parameters
    ----------
    memory : str | Path | joblib.Memory | None
        Where mappings are kept on disk; None keeps them in memory alone.

    Examples
    --------
    >>> from mne_megfm.estimators import CanonicalFrontend
    >>> CanonicalFrontend().array.n_sensors
    192
    """

    def __init__(self, memory: str | Path | None = None) -> None:
        self.memory = memory

    def __repr__(self) -> str:
        return f"CanonicalFrontend(memory={self.memory!r})"

    @property
    def array(self) -> CanonicalArray:
        """The array that windows come out on."""
        return canonical_array()

    @property
    def kernel(self) -> np.ndarray:
        """Gram matrix of the array's lead fields, shape (n_sensors, n_sensors)."""
        return canonical_kernel()

    def mapping(self, recording: Recording) -> SensorMapping:
        """Compute or look up both ways between a recording and the array.

        Parameters
        ----------
        recording : Recording
            One recording of a validated input.

        Returns
        -------
        mapping : SensorMapping
            Matrices to the array and back.
        """
        return compute_mapping(recording.info, memory=self.memory)

    def __call__(self, recording: Recording) -> tuple[np.ndarray, list[str]]:
        """Give the matrix to the array and the channels it takes."""
        mapping = self.mapping(recording)
        return mapping.to_canonical, list(mapping.ch_names)
