"""Any MEG array to the canonical virtual array in head coordinates, and back."""

from ._array import CanonicalArray, canonical_array
from ._describe import describe_array
from ._geometry import device_to_head, is_maxwell_filtered
from ._leadfield import canonical_kernel
from ._mapping import SensorMapping, compute_mapping

__all__ = [
    "CanonicalArray",
    "SensorMapping",
    "canonical_array",
    "canonical_kernel",
    "compute_mapping",
    "describe_array",
    "device_to_head",
    "is_maxwell_filtered",
]
