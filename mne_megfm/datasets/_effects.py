"""What migraine changes in a simulated participant."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Real

import numpy as np

# Mean and spread of each trait between persons. Traits in LOG_TRAITS are factors:
# mean and spread are those of their logarithm.
TRAITS = {
    "habituation": (0.35, 0.20),
    "adaptation": (0.35, 0.12),
    "amplitude": (0.0, 0.35),
    "theta": (0.0, 0.40),
    "alpha_frequency": (10.2, 0.9),
    "beta": (0.0, 0.35),
}
LOG_TRAITS = ("amplitude", "theta", "beta")


@dataclass(frozen=True)
class MigraineEffects:
    """Shifts of patients' traits at ``effect_size=1``.

    Each effect is a shift of the mean of a trait in units of the standard
    deviation of that trait between persons (Cohen's d of the trait). Persons
    differ more from one another than the groups do, and what a recording shows of
    a trait is diluted further by noise. The directions are taken from the papers
    named; the sizes are choices, near the upper end of what is reported.

    Parameters
    ----------
    habituation : float
        Decline of responses over a run (control: by 30 % of the log-amplitude,
        0.35 ± 0.20). Negative: less habituation between attacks [1]_, [2]_.
    adaptation : float
        Decline of responses within a train of stimuli (0.35 ± 0.12). Negative:
        less gating of repeated stimuli [3]_.
    amplitude : float
        Size of the responses (log-factor, ± 0.35). Positive: larger responses,
        as of SI to median-nerve stimuli in chronic migraine [4]_ (in episodic
        migraine between attacks the same study found smaller ones at first) and
        of auditory cortex to loud sounds [2]_.
    theta : float
        Amplitude of theta rhythms (log-factor, ± 0.40). Positive: more theta
        power between attacks, by a meta-analysis of 27 studies [5]_.
    alpha_frequency : float
        Peak frequency of alpha (10.2 ± 0.9 Hz). Negative: slower with longer
        disease [6]_ (the same study found no difference of the group means
        between attacks, so that this effect is the least certain).
    beta : float
        Amplitude of beta rhythms (log-factor, ± 0.35). Negative: lower beta
        power between attacks [7]_, lower beta connectivity [5]_.

    References
    ----------
    .. [1] Coppola G, Di Lorenzo C, Schoenen J, Pierelli F (2013). Habituation and
       sensitization in primary headaches. J Headache Pain 14:65.
       doi:10.1186/1129-2377-14-65
    .. [2] Ambrosini A, Rossi P, De Pasqua V, Pierelli F, Schoenen J (2003). Lack
       of habituation causes high intensity dependence of auditory evoked cortical
       potentials in migraine. Brain 126:2009-2015. doi:10.1093/brain/awg206
    .. [3] Ambrosini A, De Pasqua V, Afra J, Sandor PS, Schoenen J (2001). Reduced
       gating of middle-latency auditory evoked potentials (P50) in migraine
       patients. Neurosci Lett 306:132-134. doi:10.1016/S0304-3940(01)01871-7
    .. [4] Coppola G, Iacovelli E, Bracaglia M, Serrao M, Di Lorenzo C, Pierelli F
       (2013). Electrophysiological correlates of episodic migraine chronification:
       evidence for thalamic involvement. J Headache Pain 14:76.
       doi:10.1186/1129-2377-14-76
    .. [5] Resting-state electroencephalography and magnetoencephalography in
       migraine - a systematic review and meta-analysis (2024). J Headache Pain
       25:147. doi:10.1186/s10194-024-01857-5
    .. [6] Bjørk MH, Stovner LJ, Nilsen BM, Stjern M, Hagen K, Sand T (2009). The
       occipital alpha rhythm related to the "migraine cycle" and headache burden.
       Clin Neurophysiol 120:464-471. doi:10.1016/j.clinph.2008.11.018
    .. [7] Cao Z, Lin CT, Chuang CH, et al. (2016). Resting-state EEG power and
       coherence vary between migraine phases. J Headache Pain 17:102.
       doi:10.1186/s10194-016-0697-7

    Examples
    --------
    Only the loss of habituation:

    >>> from mne_megfm.datasets import MigraineEffects
    >>> effects = MigraineEffects(
    ...     adaptation=0, amplitude=0, theta=0, alpha_frequency=0, beta=0
    ... )
    >>> effects.habituation
    -0.9
    """

    habituation: float = -0.9
    adaptation: float = -0.8
    amplitude: float = 0.8
    theta: float = 0.8
    alpha_frequency: float = -0.8
    beta: float = -0.8

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, Real) or not np.isfinite(value):
                raise ValueError(
                    f"Expected the effect {field.name!r} to be a finite number of "
                    f"standard deviations, got {value!r}; use 0 for no effect."
                )


def draw_traits(
    rng: np.random.Generator, label: str, effects: MigraineEffects, effect_size: float
) -> dict[str, float]:
    """Draw a person's traits; a patient's are shifted after the draw.

    The draws are the same whatever the label is, so that with an effect size of 0
    a patient equals the control with the same seed.
    """
    traits = {}
    shifted = float(effect_size) if label == "migraine" else 0.0
    for name, (mean, sd) in TRAITS.items():
        z = float(np.clip(rng.standard_normal(), -2.8, 2.8))
        value = mean + sd * (z + shifted * getattr(effects, name))
        traits[name] = float(np.exp(value)) if name in LOG_TRAITS else value
    return traits
