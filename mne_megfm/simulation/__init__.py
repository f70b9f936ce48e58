"""Simulated recordings, cohorts, and naturalistic experiments."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_cohort": ["Cohort", "simulate_cohort", "simulate_participant"],
        "_forward": ["ARRAYS", "Head", "lead_field", "make_array_info"],
        "_naturalistic": [
            "LANGUAGE_AREAS",
            "Area",
            "NaturalisticExperiment",
            "simulate_naturalistic",
        ],
        "_participant": ["MigraineEffects", "Participant"],
        "_stimuli": ["StimulusResponses", "simulate_stimuli"],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "Area",
    "NaturalisticExperiment",
    "simulate_cohort",
    "simulate_naturalistic",
    "simulate_stimuli",
]
