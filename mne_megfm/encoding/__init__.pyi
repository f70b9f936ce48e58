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
from ._region_powers import (
    region_powers as region_powers,
)
from ._scores import (
    cross_validate_stories as cross_validate_stories,
    noise_ceiling as noise_ceiling,
    select_stories as select_stories,
)
from ._source_space import (
    morph_forward as morph_forward,
)
