"""Simulated recordings and cohorts."""

from ._arrays import ARRAYS, make_array_info
from ._cohort import Cohort, simulate_cohort
from ._effects import MigraineEffects
from ._participant import Participant
from ._simulate import simulate_participant

__all__ = [
    "ARRAYS",
    "Cohort",
    "MigraineEffects",
    "Participant",
    "make_array_info",
    "simulate_cohort",
    "simulate_participant",
]
