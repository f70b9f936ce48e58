"""From MNE objects to rows and windows.

A *row* is one sample for scikit-learn: an epoch, a window of a continuous
recording, or an average. A *window* is what a model sees: a piece of a row on
the canonical array, at the model's sampling rate.
"""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

#: What users are to rely on; the rest is for the other folders.
__all__ = ["MEGSamples", "recording_quality"]
