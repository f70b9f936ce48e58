"""Any MEG array to the canonical virtual array in head coordinates, and back."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_mapping": [
            "CanonicalArray",
            "CanonicalSensorMapping",
            "SensorMapping",
            "canonical_array",
            "canonical_kernel",
            "compute_mapping",
        ],
        "electrodes": ["electrode_names", "nearest_electrodes", "nearest_sensors"],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = ["canonical_array"]
