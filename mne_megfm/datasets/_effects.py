"""What migraine changes in a simulated participant."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class MigraineEffects:
    """Shifts of patients' traits, in units of the spread between persons."""

    habituation: float = -0.9
    adaptation: float = -0.8
    amplitude: float = 0.8
    theta: float = 0.8
    alpha_frequency: float = -0.8
    beta: float = -0.8

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, (int, float)) and np.isfinite(value)):
                raise ValueError(
                    f"Expected the effect {field.name} to be a finite number of "
                    f"standard deviations, got {value!r}."
                )


# Mean and spread between persons of each trait (`log`: of its logarithm).
TRAITS = {
    "habituation": (0.35, 0.20),
    "adaptation": (0.35, 0.12),
    "amplitude": (0.0, 0.35),
    "theta": (0.0, 0.40),
    "alpha_frequency": (10.2, 0.9),
    "beta": (0.0, 0.35),
}
LOG_TRAITS = ("amplitude", "theta", "beta")


def draw_traits(
    rng: np.random.Generator, label: str, effects: MigraineEffects, effect_size: float
) -> dict[str, float]:
    """Draw a person's traits; patients' are shifted after the draw."""
    traits = {}
    shifted = float(effect_size) if label == "migraine" else 0.0
    for name, (mean, sd) in TRAITS.items():
        # The same draw whoever the person is: without effect nothing differs.
        z = float(np.clip(rng.standard_normal(), -2.8, 2.8))
        value = mean + sd * (z + shifted * getattr(effects, name))
        traits[name] = float(np.exp(value)) if name in LOG_TRAITS else value
    return traits
