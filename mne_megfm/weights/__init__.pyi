from ._bundled import (
    available_weights as available_weights,
    download_weights as download_weights,
    read_card as read_card,
    upload_weights as upload_weights,
    weights_path as weights_path,
)
from ._import_braindecode import (
    import_braindecode as import_braindecode,
)
from .checkpoint import (
    PARTICIPANT_ENCODER as PARTICIPANT_ENCODER,
    PARTICIPANT_PARTS as PARTICIPANT_PARTS,
    POSTERIOR as POSTERIOR,
    delete_participant_parts as delete_participant_parts,
    load_aggregator as load_aggregator,
    load_checkpoint as load_checkpoint,
    load_pooling as load_pooling,
    read_config as read_config,
    save_checkpoint as save_checkpoint,
)
