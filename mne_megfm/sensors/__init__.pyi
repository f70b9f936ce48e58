from ._mapping import (
    CanonicalArray as CanonicalArray,
    CanonicalSensorMapping as CanonicalSensorMapping,
    SensorMapping as SensorMapping,
    canonical_array as canonical_array,
    canonical_kernel as canonical_kernel,
    compute_mapping as compute_mapping,
)
from .electrodes import (
    electrode_names as electrode_names,
    nearest_electrodes as nearest_electrodes,
    nearest_sensors as nearest_sensors,
)
