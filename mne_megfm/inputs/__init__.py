"""From MNE objects to rows and windows.

A *row* is one sample for scikit-learn: an epoch, a window of a continuous
recording, or an average. A *window* is what a model sees: a piece of a row on
the canonical array, at the model's sampling rate.
"""

from ._collect import as_recordings
from ._recordings import Recording, Recordings
from ._resampling import rate_ratio
from ._samples import MEGSamples
from ._windows import (
    WindowBlock,
    centre_windows,
    iter_windows,
    row_length,
    window_starts,
)

__all__ = [
    "MEGSamples",
    "Recording",
    "Recordings",
    "WindowBlock",
    "as_recordings",
    "centre_windows",
    "iter_windows",
    "rate_ratio",
    "row_length",
    "window_starts",
]
