"""Simulated recordings, cohorts, and naturalistic experiments."""

import lazy_loader as lazy

__getattr__, __dir__, _ = lazy.attach_stub(__name__, __file__)

#: What users are to rely on; the rest is for the other folders.
__all__ = [
    "Area",
    "NaturalisticExperiment",
    "RestExperiment",
    "make_array_info",
    "simulate_cohort",
    "simulate_naturalistic",
    "simulate_rest",
    "simulate_stimuli",
]
