"""A panel of independent traits of simulated people, as a yardstick of features.

The panel asks features of participants about 31 traits, each of which divides people
in two by itself: latencies and sides of responses, what stimuli induce, rhythms at
rest, dynamics over trials, couplings. It is for the development and the report of
feature makers. Nothing that pretrains may read it; the layers of the package (only
commands, reports and benchmarks may import from ``evaluation``) see to that.

Traits that are ``held_out``, and the cohorts ``REPORT_SEEDS``, are for the report: no
choice may be made on them. ``DEVELOPMENT_SEEDS`` and the other traits are free.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "_person": ["PanelPerson", "simulate_panel", "simulate_panel_person"],
        "_scores": ["LEARNERS", "panel_difference", "panel_scores"],
        "_traits": [
            "CEILING",
            "DEVELOPMENT_SEEDS",
            "REPORT_SEEDS",
            "TRAITS",
            "Trait",
            "draw_traits",
        ],
    },
)
