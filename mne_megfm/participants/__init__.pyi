from .aggregation import (
    Aggregator as Aggregator,
    MeanStdAggregator as MeanStdAggregator,
    RowEncoder as RowEncoder,
)
from .features import (
    MeasuresAggregator as MeasuresAggregator,
    aggregate_with_evoked as aggregate_with_evoked,
)
from .posterior import (
    ParametersAggregator as ParametersAggregator,
    aggregate_with_measures as aggregate_with_measures,
)
from .trials import (
    PersonTrials as PersonTrials,
    collate as collate,
    fit_trial_inputs as fit_trial_inputs,
    fit_untrained_inputs as fit_untrained_inputs,
    limit_trials as limit_trials,
    recent_stimuli as recent_stimuli,
)
