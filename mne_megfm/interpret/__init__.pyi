from ._attention import (
    ATTENTION_METHODS as ATTENTION_METHODS,
    AttentionTest as AttentionTest,
    attention as attention,
    attention_test as attention_test,
)
from ._attention_scores import (
    AttentionScore as AttentionScore,
    expert_reliability as expert_reliability,
    expert_weights as expert_weights,
    score_attention as score_attention,
)
from ._attribution import (
    Attribution as Attribution,
    attribute as attribute,
    decision_map as decision_map,
)
from ._importance import (
    Importance as Importance,
    state_importance as state_importance,
)
from ._occlusion import (
    BANDS as BANDS,
    Occlusion as Occlusion,
    occlude as occlude,
)
from ._reconstruct import (
    Reconstruction as Reconstruction,
    reconstruct as reconstruct,
)
from ._reconstruction_scores import (
    COLUMNS as COLUMNS,
    MASKS as MASKS,
    score_reconstruction as score_reconstruction,
)
from ._refits import (
    HeldOutScore as HeldOutScore,
    NullDistribution as NullDistribution,
    null_distributions as null_distributions,
)
