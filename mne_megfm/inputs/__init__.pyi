from ._quality import (
    recording_quality as recording_quality,
)
from ._samples import (
    MEGSamples as MEGSamples,
)
from .device import (
    describe_array as describe_array,
    device_to_head as device_to_head,
    is_maxwell_filtered as is_maxwell_filtered,
)
from .reading import (
    Recording as Recording,
    Recordings as Recordings,
    as_recordings as as_recordings,
    checked_once as checked_once,
)
from .windows import (
    WindowBlock as WindowBlock,
    centre_windows as centre_windows,
    iter_windows as iter_windows,
    rate_ratio as rate_ratio,
    resampling_matrix as resampling_matrix,
    row_length as row_length,
    window_starts as window_starts,
)
