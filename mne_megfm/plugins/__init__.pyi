from ._networks import (
    backbone_config as backbone_config,
    braindecode_models as braindecode_models,
    make_backbone as make_backbone,
)
from ._registry import (
    KINDS as KINDS,
    PartInfo as PartInfo,
    available as available,
    describe as describe,
    get as get,
    name_of as name_of,
    register as register,
    resolve as resolve,
)
