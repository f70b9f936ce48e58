from ._completion import (
    PARTS as PARTS,
    Completed as Completed,
    complete_recording as complete_recording,
    stacked_weights as stacked_weights,
)
from ._contrastive import (
    EmbeddingProjection as EmbeddingProjection,
    contrastive_regression_loss as contrastive_regression_loss,
)
from ._interpolation import (
    GaussianComponents as GaussianComponents,
    covariance_interpolation as covariance_interpolation,
    field_interpolation as field_interpolation,
    fit_components as fit_components,
    time_interpolation as time_interpolation,
    wiener_interpolation as wiener_interpolation,
)
from ._masked_transformer import (
    Block as Block,
    LatentPredictor as LatentPredictor,
    MaskedSignalNetwork as MaskedSignalNetwork,
    MaskedSignalTransformer as MaskedSignalTransformer,
    ModelConfig as ModelConfig,
)
from ._pooling import (
    MeanPooling as MeanPooling,
    Pooling as Pooling,
    ProjectionPooling as ProjectionPooling,
    SpacePooling as SpacePooling,
    TimePooling as TimePooling,
    TokenPooling as TokenPooling,
    build_pooling as build_pooling,
    fit_pooling as fit_pooling,
)
from ._random_walk_experts import (
    RandomWalkExperts as RandomWalkExperts,
    balance_loss as balance_loss,
)
from ._signal_reconstructor import (
    SignalReconstructor as SignalReconstructor,
    initialize as initialize,
)
from ._state_mixing import (
    StateMixingPredictor as StateMixingPredictor,
)
from ._state_space import (
    HybridConfig as HybridConfig,
    HybridStateSpace as HybridStateSpace,
    SelectiveStateSpace as SelectiveStateSpace,
    StateSpaceBlock as StateSpaceBlock,
    StateSpacePredictor as StateSpacePredictor,
    associative_scan as associative_scan,
)
from ._token_projection import (
    fit_token_projection as fit_token_projection,
    random_fields as random_fields,
)
from .backbone import (
    Backbone as Backbone,
    BackboneConfig as BackboneConfig,
    BaseBackbone as BaseBackbone,
    LowRankLinear as LowRankLinear,
    Reconstructor as Reconstructor,
    add_adapters as add_adapters,
    check_numbers as check_numbers,
    check_reconstructs as check_reconstructs,
    encoder_parameters as encoder_parameters,
    freeze_encoder as freeze_encoder,
    merge_adapters as merge_adapters,
)
from .latent_sources import (
    LatentSourceConfig as LatentSourceConfig,
    LatentSourceNetwork as LatentSourceNetwork,
    bold as bold,
    convolve_at as convolve_at,
)
from .masking import (
    BASELINE_REGULARIZATIONS as BASELINE_REGULARIZATIONS,
    LocalMasking as LocalMasking,
    Masks as Masks,
    MixedMasking as MixedMasking,
    RandomMasking as RandomMasking,
    SpaceBlockMasking as SpaceBlockMasking,
    TimeBlockMasking as TimeBlockMasking,
    draw_masks as draw_masks,
    draw_masks_and_targets as draw_masks_and_targets,
    masked_r2 as masked_r2,
)
from .participant_statistics import (
    PersonStatistics as PersonStatistics,
    Statistics as Statistics,
)
from .participant_transformer import (
    BANDS as BANDS,
    STATES as STATES,
    ParticipantConfig as ParticipantConfig,
    ParticipantTransformer as ParticipantTransformer,
    TrialInputs as TrialInputs,
    Trials as Trials,
    state_kind as state_kind,
)
from .posterior_encoder import (
    N_PARAMETERS as N_PARAMETERS,
    PARAMETERS as PARAMETERS,
    Parameter as Parameter,
    ParticipantPosterior as ParticipantPosterior,
    PosteriorConfig as PosteriorConfig,
    PosteriorEncoder as PosteriorEncoder,
    StateComponents as StateComponents,
    StateWindows as StateWindows,
)
from .windows import (
    EDGES as EDGES,
    NoiseAndCropping as NoiseAndCropping,
    Scaled as Scaled,
    WindowArray as WindowArray,
    WindowBatch as WindowBatch,
    band_powers as band_powers,
    check_edges as check_edges,
    from_patches as from_patches,
    sample_mask as sample_mask,
    to_patches as to_patches,
    valid_patches as valid_patches,
    window_statistics as window_statistics,
)
