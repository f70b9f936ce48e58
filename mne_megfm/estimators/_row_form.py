"""How long rows are and where they begin, which `fit` fixes."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from ..inputs import Recording, Recordings, row_length, window_starts
from ..models import ModelConfig


class RowForm(NamedTuple):
    """Length and start of the rows of a recording.

    Attributes
    ----------
    n_samples : int
        Length at the model's rate.
    n_patches : int
        Patches that tokens cover, with padding.
    tmin : float | None
        Time of the first sample from the event, in s; None for windows of a Raw,
        which have no event.
    sfreq : float
        Sampling rate of the model, in Hz.
    tolerance : float
        By how much length and start may differ through sampling, in s.
    """

    n_samples: int
    n_patches: int
    tmin: float | None
    sfreq: float
    tolerance: float

    @classmethod
    def of(cls, recording: Recording, config: ModelConfig) -> RowForm:
        """Find the form of the rows of a recording."""
        n_samples = row_length(recording, config.sfreq, config.patch_length)
        starts = window_starts(n_samples, config.n_times, config.patch_length)
        return cls(
            n_samples,
            int(starts[-1]) + config.n_patches,
            None if recording.kind == "raw" else recording.tmin,
            config.sfreq,
            (1 + ceil(config.sfreq / recording.sfreq)) / config.sfreq,
        )

    def __str__(self) -> str:
        seconds = self.n_samples / self.sfreq
        if self.tmin is None:
            return f"rows of {seconds:.3g} s"
        return (
            f"rows of {seconds:.3g} s from {self.tmin:.3g} to "
            f"{self.tmin + seconds:.3g} s"
        )

    def differs(self, other: RowForm) -> bool:
        """Tell whether rows are longer or shorter, or begin at another time."""
        apart = abs(self.n_samples - other.n_samples) / self.sfreq
        shifted = 0.0
        if self.tmin is not None and other.tmin is not None:
            shifted = abs(self.tmin - other.tmin)
        return max(apart, shifted) > max(self.tolerance, other.tolerance) + 1e-9

    def check(self, other: RowForm, where: str) -> None:
        """Check rows against these, which were there first.

        Parameters
        ----------
        other : RowForm
            Form of the other rows.
        where : str
            Whose rows they are, for the message.

        Raises
        ------
        ValueError
            If they are longer or shorter, or begin at another time from their event.
        """
        if not self.differs(other):
            return
        advice = "take windows of that length (window=)"
        if self.tmin is not None:
            end = self.tmin + self.n_samples / self.sfreq
            advice = f"cut or crop them from {self.tmin:.3g} to {end:.3g} s"
        raise ValueError(
            f"Expected {self} as in fit, got {other} in {where}: features belong to "
            f"times within a row; {advice}, or fit on rows like these."
        )


def check_forms(
    recordings: Recordings, config: ModelConfig, first: RowForm | None = None
) -> RowForm:
    """Check that all rows are of one form.

    Parameters
    ----------
    recordings : Recordings
        The recordings.
    config : ModelConfig
        What the model takes.
    first : RowForm | None
        The form that they are to have; None for that of the first recording.

    Returns
    -------
    form : RowForm
        That form.

    Raises
    ------
    ValueError
        If a recording has rows of another form.
    """
    for recording in recordings:
        form = RowForm.of(recording, config)
        first = first or form
        first.check(form, f"row {recording.index[0]} ({recording.kind})")
    return first
