"""What simulated people differ in, trait by trait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr

#: Distance of the two classes of a trait, in standard deviations within a class.
DISTANCE = 2.33
#: AUC of a trait's true value for its class, ``Phi(DISTANCE / sqrt(2))``: 0.950.
CEILING = float(ndtr(DISTANCE / np.sqrt(2)))
#: Seeds of cohorts that anything may be chosen on.
DEVELOPMENT_SEEDS = (7101, 7102)
#: Seeds of cohorts that are for the report alone.
REPORT_SEEDS = (8301, 8302, 8303)

_SCALES = {
    "linear": (lambda x: x, lambda x: x),
    "log": (np.log, np.exp),
    "logit": (logit, expit),
    "atanh": (np.arctanh, np.tanh),
}


@dataclass(frozen=True)
class Trait:
    """A trait that people differ in.

    Attributes
    ----------
    kind : {"evoked", "induced", "ongoing", "trials", "connectivity"}
        What activity it shows in.
    summary : str
        What it is, with its unit.
    center : float
        Value halfway between the classes.
    spread : float
        Standard deviation within a class, on `scale`.
    scale : {"linear", "log", "logit", "atanh"}
        On which scale values are normally distributed within a class.
    named : bool
        Whether the hand-made measures of the participant encoder were made for it.
    held_out : bool
        Whether nothing may be chosen on it: it belongs to the report alone.

    Examples
    --------
    >>> from panel import TRAITS
    >>> TRAITS["alpha_frequency"].kind
    'ongoing'
    >>> round(TRAITS["alpha_frequency"].value(1.5), 1)
    10.9
    """

    kind: str
    summary: str
    center: float
    spread: float
    scale: str = "linear"
    named: bool = False
    held_out: bool = False

    def value(self, z: float) -> float:
        """Give the value of a person who is so many spreads from the center.

        Parameters
        ----------
        z : float
            How many.

        Returns
        -------
        value : float
            In the unit of the trait.
        """
        there, back = _SCALES[self.scale]
        return float(back(there(self.center) + self.spread * z))

    def place(self, value: ArrayLike) -> NDArray[np.float64]:
        """Give how many spreads a value is from the center: the inverse of `value`.

        Parameters
        ----------
        value : array-like
            Values of people, in the unit of the trait.

        Returns
        -------
        z : ndarray
            For each, how many.
        """
        there, _ = _SCALES[self.scale]
        return (there(np.asarray(value)) - there(self.center)) / self.spread


#: The traits of the panel. Each is drawn by itself: a fair coin decides on the class,
#: and values are normal around the mean of the class, on the scale of the trait.
TRAITS: Mapping[str, Trait] = {
    "n100m_latency": Trait("evoked", "peak of the N100m (s)", 0.1, 0.009),
    "n100m_laterality": Trait(
        "evoked", "log ratio of the auditory moments, right over left", 0.0, 0.4
    ),
    "n100m_place": Trait(
        "evoked",
        "auditory sources further to the front (m)",
        0.0,
        0.007,
        held_out=True,
    ),
    "p50m_ratio": Trait("evoked", "P50m over N100m", 0.3, 0.5, "log", held_out=True),
    "p200m_ratio": Trait("evoked", "P200m over N100m", 0.6, 0.4, "log"),
    "sustained_ratio": Trait(
        "evoked", "sustained auditory field over N100m", 0.3, 0.4, "log"
    ),
    "n20m_latency": Trait("evoked", "peak of the N20m (s)", 0.0205, 0.0014),
    "p60m_ratio": Trait(
        "evoked", "P60m over N20m, of SI", 1.0, 0.45, "log", held_out=True
    ),
    "sii_ratio": Trait("evoked", "SII over SI", 1.0, 0.45, "log"),
    "mu_suppression": Trait(
        "induced", "share of mu amplitude lost after the stimulus", 0.45, 0.6, "logit"
    ),
    "beta_rebound": Trait(
        "induced",
        "gain of beta amplitude from 0.5 s after the stimulus on",
        0.6,
        0.6,
        "log",
        held_out=True,
    ),
    "induced_gamma": Trait(
        "induced", "moment of auditory gamma, not phase-locked (Am)", 5e-9, 0.5, "log"
    ),
    "induced_theta": Trait(
        "induced",
        "moment of auditory theta, not phase-locked (Am)",
        15e-9,
        0.5,
        "log",
        held_out=True,
    ),
    "alpha_frequency": Trait("ongoing", "alpha (Hz)", 10.0, 0.6, named=True),
    "alpha_laterality": Trait(
        "ongoing",
        "log ratio of alpha moments, right over left",
        0.0,
        0.35,
        held_out=True,
    ),
    "alpha_reactivity": Trait(
        "ongoing",
        "alpha moment with stimuli over that at rest",
        0.6,
        0.22,
        "log",
        held_out=True,
    ),
    "beta_duty": Trait(
        "ongoing",
        "share of the time that beta bursts take, at the same mean power",
        0.3,
        0.75,
        "logit",
    ),
    "background_slope": Trait(
        "ongoing", "exponent of the background, 1/f^x", 1.1, 0.07
    ),
    "theta_size": Trait(
        "ongoing", "moment of frontal theta (Am)", 10e-9, 0.18, "log", named=True
    ),
    "theta_lifetime": Trait(
        "ongoing",
        "decay of theta's lagged autocorrelation (s), at the same power",
        0.3,
        0.45,
        "log",
    ),
    "gamma_size": Trait("ongoing", "moment of ongoing gamma (Am)", 2.5e-9, 0.4, "log"),
    "mu_harmonic": Trait(
        "ongoing",
        "amplitude of mu's first harmonic over that of mu",
        0.35,
        0.6,
        "log",
        held_out=True,
    ),
    "habituation": Trait(
        "trials", "share of the response lost over a run", 0.25, 0.18, named=True
    ),
    "recovery": Trait(
        "trials", "gain of the response after a pause", 0.35, 0.28, named=True
    ),
    "response_size": Trait(
        "trials", "size of all responses over the usual", 1.0, 0.2, "log", named=True
    ),
    "latency_jitter": Trait(
        "trials", "SD of auditory latencies over trials (s)", 0.012, 0.6, "log"
    ),
    "amplitude_variability": Trait(
        "trials",
        "SD of amplitudes over trials, relative to the mean",
        0.35,
        0.45,
        "log",
        held_out=True,
    ),
    "alpha_gain": Trait(
        "trials",
        "change of the log response by one SD of log alpha before the stimulus",
        0.0,
        0.18,
        held_out=True,
    ),
    "mu_coupling": Trait(
        "connectivity",
        "correlation of the log envelopes of left and right mu",
        0.4,
        0.4,
        "atanh",
    ),
    "frontoparietal_coherence": Trait(
        "connectivity",
        "coherence of a frontal and a parietal source, a sixth of a cycle apart",
        0.35,
        0.75,
        "logit",
    ),
    "theta_gamma_coupling": Trait(
        "connectivity",
        "depth of gamma's modulation by the phase of theta",
        0.45,
        1.0,
        "logit",
        held_out=True,
    ),
}


def draw_traits(
    rng: np.random.Generator,
) -> tuple[dict[str, float], dict[str, int]]:
    """Draw the traits of a person.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    values : dict of str to float
        The value of each trait, in SI units.
    classes : dict of str to int
        The class of each, 0 or 1 with even chances.

    Notes
    -----
    Classes are ``DISTANCE`` = 2.33 standard deviations apart, so that the true value
    tells the class with an AUC of ``Phi(2.33 / sqrt(2))``, 0.95 [1]_.

    References
    ----------
    .. [1] Green DM, Swets JA (1966). Signal detection theory and psychophysics, Wiley
       (AUC of two normal distributions of equal variance).

    Examples
    --------
    >>> import numpy as np
    >>> from panel import draw_traits
    >>> values, classes = draw_traits(np.random.default_rng(0))
    >>> len(values), set(classes.values())
    (31, {0, 1})
    """
    coins = rng.integers(2, size=len(TRAITS))
    z = (coins - 0.5) * DISTANCE + rng.standard_normal(len(TRAITS))
    drawn = list(zip(TRAITS.items(), z, coins, strict=True))
    values = {name: trait.value(place) for (name, trait), place, _ in drawn}
    return values, {name: int(coin) for (name, _), _, coin in drawn}
