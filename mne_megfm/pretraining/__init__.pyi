from ._checkpoint_writer import (
    draw_curves as draw_curves,
)
from ._fitted_objectives import (
    ContrastiveRegression as ContrastiveRegression,
    TimeFrequencyCodes as TimeFrequencyCodes,
)
from ._joint_objectives import (
    LatentPrediction as LatentPrediction,
    ParticipantConsistency as ParticipantConsistency,
    WindowStatistics as WindowStatistics,
)
from ._objective import (
    Objective as Objective,
    build_objective as build_objective,
    fit_objective as fit_objective,
    resolve_objective as resolve_objective,
)
from ._participants import (
    hide_trials as hide_trials,
    participant_encoder_loss as participant_encoder_loss,
    pretrain_participant_encoder as pretrain_participant_encoder,
)
from ._pretrain import (
    pretrain as pretrain,
    pretrain_store as pretrain_store,
)
from ._reconstruction import (
    BandBalancedReconstruction as BandBalancedReconstruction,
    LogErrorLoss as LogErrorLoss,
    MaskedReconstruction as MaskedReconstruction,
    SignalSpectrumLoss as SignalSpectrumLoss,
    log_error_objective as log_error_objective,
    signal_spectrum_objective as signal_spectrum_objective,
)
from ._run import (
    History as History,
    LostRankError as LostRankError,
    find_damage as find_damage,
)
from ._settings import (
    PretrainSettings as PretrainSettings,
)
from ._trainer import (
    StoppedError as StoppedError,
)
