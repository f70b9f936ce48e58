"""From MNE objects to rows and windows.

A *row* is one sample for scikit-learn: an epoch, a window of a continuous
recording, or an average. A *window* is what a model sees: a piece of a row on
the canonical array, at the model's sampling rate.
"""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_quality": ["recording_quality"],
        "_samples": ["MEGSamples"],
        "device": ["describe_array", "device_to_head", "is_maxwell_filtered"],
        "reading": ["Recording", "Recordings", "as_recordings"],
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
__all__ = ["MEGSamples", "recording_quality"]
