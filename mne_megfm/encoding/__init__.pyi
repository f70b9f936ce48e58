from ._banded_ridge import (
    BandedRidge as BandedRidge,
)
from ._comparison import (
    SourceComparison as SourceComparison,
    compare_sources as compare_sources,
    inverse_estimate as inverse_estimate,
)
from ._latent_source_encoder import (
    LatentSourceEncoder as LatentSourceEncoder,
)
from ._scores import (
    cross_validate_stories as cross_validate_stories,
    noise_ceiling as noise_ceiling,
    select_stories as select_stories,
)
