from ._baselines import (
    BandPower as BandPower,
    CovarianceTangent as CovarianceTangent,
    EvokedFeatures as EvokedFeatures,
    HabituationFeatures as HabituationFeatures,
    KernelSum as KernelSum,
)
from ._compare import (
    compare as compare,
)
from ._comparison import (
    Comparison as Comparison,
)
from ._cross_validate import (
    ParticipantScores as ParticipantScores,
    cross_validate_participants as cross_validate_participants,
)
from ._folds import (
    ParticipantSplit as ParticipantSplit,
)
from ._group_differences import (
    group_differences as group_differences,
)
from ._intervals import (
    corrected_interval as corrected_interval,
    corrected_t_test as corrected_t_test,
)
from ._learning_curve import (
    LearningCurve as LearningCurve,
    learning_curve as learning_curve,
)
from ._network_classifier import (
    NetworkClassifier as NetworkClassifier,
    TrialSignals as TrialSignals,
)
from ._participant_features import (
    shared_trials as shared_trials,
    trials_by_state as trials_by_state,
)
from ._pipelines import (
    default_pipelines as default_pipelines,
)
