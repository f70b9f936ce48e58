from ._canonical_sensors import (
    CanonicalSensors as CanonicalSensors,
)
from ._classifier import (
    MEGFMClassifier as MEGFMClassifier,
)
from ._heads import (
    LogisticHead as LogisticHead,
    RidgeHead as RidgeHead,
)
from ._initialization import (
    FineTuning as FineTuning,
    Pretraining as Pretraining,
)
from ._module import (
    MEGFMModule as MEGFMModule,
)
from ._regressor import (
    MEGFMRegressor as MEGFMRegressor,
)
from ._retriever import (
    MEGFMRetriever as MEGFMRetriever,
    retrieval_scores as retrieval_scores,
)
from ._state_mixing_heads import (
    StateMixingClassifier as StateMixingClassifier,
    StateMixingRegressor as StateMixingRegressor,
    state_mixing_head as state_mixing_head,
)
from ._state_space_heads import (
    StateSpaceClassifier as StateSpaceClassifier,
    StateSpaceRegressor as StateSpaceRegressor,
    state_space_head as state_space_head,
)
from ._transformer import (
    MEGFMTransformer as MEGFMTransformer,
)
