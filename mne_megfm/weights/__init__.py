"""Weights by name: those of the package, and those of the Hugging Face hub."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_bundled": [
            "available_weights",
            "download_weights",
            "read_card",
            "upload_weights",
            "weights_path",
        ],
        "_import_braindecode": ["import_braindecode"],
        "checkpoint": [
            "PARTICIPANT_ENCODER",
            "PARTICIPANT_PARTS",
            "POSTERIOR",
            "delete_participant_parts",
            "load_aggregator",
            "load_checkpoint",
            "load_pooling",
            "read_config",
            "save_checkpoint",
        ],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "available_weights",
    "import_braindecode",
    "load_checkpoint",
]
