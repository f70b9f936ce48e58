"""The participant encoder: trials of a participant to features of the participant."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "aggregation": ["Aggregator", "MeanStdAggregator", "RowEncoder"],
        "features": ["MeasuresAggregator", "aggregate_with_evoked"],
        "posterior": ["ParametersAggregator", "aggregate_with_measures"],
        "trials": [
            "PersonTrials",
            "collate",
            "fit_trial_inputs",
            "fit_untrained_inputs",
            "limit_trials",
            "recent_stimuli",
        ],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = ["Aggregator"]
