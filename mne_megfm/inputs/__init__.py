"""From MNE objects to rows and windows.

A *row* is one sample for scikit-learn: an epoch, a window of a continuous
recording, or an average. A *window* is what a model sees: a piece of a row on
the canonical array, at the model's sampling rate.
"""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_samples": ["MEGSamples"],
        "reading": ["Recording", "Recordings", "as_recordings", "checked_once"],
        "windows": [
            "WindowBlock",
            "centre_windows",
            "iter_windows",
            "rate_ratio",
            "resampling_matrix",
            "row_length",
            "window_starts",
        ],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = ["MEGSamples"]
