"""Simulated recordings, cohorts, and naturalistic experiments."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach(
    __name__,
    submod_attrs={
        "_areas": ["LANGUAGE_AREAS", "Area"],
        "_cohort": ["Cohort", "simulate_cohort", "simulate_participant"],
        "_cortex": ["template_source_space", "template_sphere", "template_trans"],
        "_forward": ["ARRAYS", "Head", "lead_field", "make_array_info"],
        "_naturalistic": ["NaturalisticExperiment", "simulate_naturalistic"],
        "_participant": ["MigraineEffects", "Participant"],
        "_rest": ["RestExperiment", "simulate_rest"],
        "_stimuli": ["StimulusResponses", "simulate_stimuli"],
    },
)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "Area",
    "NaturalisticExperiment",
    "RestExperiment",
    "simulate_cohort",
    "simulate_naturalistic",
    "simulate_rest",
    "simulate_stimuli",
]
