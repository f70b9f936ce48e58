"""The participant encoder: trials of a participant to features of the participant."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "projection": ["fit_trial_inputs", "fit_untrained_inputs"],
        "trials": ["PersonTrials", "collate", "limit_trials", "recent_stimuli"],
    },
)
