"""What simulated people differ in, with broad priors and units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: Standard deviations beyond which no participant is drawn.
FURTHEST = 2.5


@dataclass(frozen=True)
class Parameter:
    """One thing that people differ in.

    Parameters
    ----------
    name, unit : str
        What it is called and measured in.
    mean, sd : float
        Of the prior, which is normal; of the logarithm where ``scale`` is ``'log'``,
        of the log odds where it is ``'logit'``.
    scale : str
        ``'linear'``, ``'log'`` or ``'logit'``.
    """

    name: str
    mean: float
    sd: float
    scale: str = "linear"
    unit: str = ""

    def value(self, z: Tensor) -> Tensor:
        """Turn standard scores to values in the parameter's unit."""
        x = self.mean + self.sd * z
        if self.scale == "log":
            return x.exp()
        return x.sigmoid() if self.scale == "logit" else x


def _log(value: float) -> float:
    return float(torch.tensor(value).log())


_P = Parameter
#: All parameters, in the order of the columns of scores. Moments are in 10 nA m.
PARAMETERS = (
    # responses to sounds
    _P("auditory_size", _log(2.8), 0.5, "log", "10 nAm"),
    _P("auditory_asymmetry", 0.0, 0.6, "linear", "log(right/left)"),
    _P("auditory_front", 0.0, 0.009, "linear", "m"),
    _P("auditory_up", 0.0, 0.007, "linear", "m"),
    _P("P50m_ratio", _log(0.3), 0.5, "log", "of N100m"),
    _P("N100m_latency", 0.100, 0.011, "linear", "s"),
    _P("N100m_width", _log(0.017), 0.25, "log", "s"),
    _P("P200m_ratio", _log(0.5), 0.55, "log", "of N100m"),
    _P("P200m_latency", 0.185, 0.02, "linear", "s"),
    _P("auditory_sustained", 0.22, 0.25, "linear", "of N100m"),
    # responses to stimuli of a nerve
    _P("somatosensory_size", _log(1.7), 0.5, "log", "10 nAm"),
    _P("SI_lateral", 0.0, 0.008, "linear", "m"),
    _P("N20m_latency", 0.0207, 0.0016, "linear", "s"),
    _P("N20m_ratio", _log(0.75), 0.4, "log", "of the size"),
    _P("P60m_latency", 0.061, 0.007, "linear", "s"),
    _P("P60m_ratio", _log(0.8), 0.45, "log", "of the size"),
    _P("SII_ratio", _log(1.0), 0.55, "log", "of the size"),
    _P("SII_latency", 0.100, 0.013, "linear", "s"),
    _P("SII_asymmetry", 0.0, 0.5, "linear", "log(right/left)"),
    # single trials
    _P("habituation", 0.35, 0.35, "linear", "log over the run"),
    _P("adaptation", 0.35, 0.25, "linear", "share"),
    _P("latency_jitter", _log(0.007), 0.7, "log", "s"),
    _P("trial_variability", _log(0.25), 0.5, "log", "log size"),
    # what stimuli change in rhythms
    _P("mu_suppression", 0.4, 0.32, "linear", "share"),
    _P("beta_rebound", 0.5, 0.5, "linear", "share"),
    _P("alpha_suppression", 0.15, 0.3, "linear", "share"),
    _P("induced_gamma", _log(0.6), 0.9, "log", "10 nAm"),
    _P("induced_theta", _log(0.6), 0.8, "log", "10 nAm"),
    # ongoing activity
    _P("alpha_frequency", 10.1, 1.1, "linear", "Hz"),
    _P("alpha_size", _log(1.1), 0.5, "log", "10 nAm"),
    _P("alpha_asymmetry", 0.0, 0.7, "linear", "log(right/left)"),
    _P("alpha_occipital", _log(0.7), 0.55, "log", "of parietal"),
    _P("alpha_at_rest", 0.25, 0.4, "linear", "log(rest/task)"),
    _P("alpha_modulation", _log(0.4), 0.45, "log", "log size"),
    _P("mu_frequency", 0.6, 0.8, "linear", "Hz above alpha"),
    _P("mu_size", _log(0.9), 0.5, "log", "10 nAm"),
    _P("mu_asymmetry", 0.0, 0.6, "linear", "log(right/left)"),
    _P("beta_frequency", 20.0, 2.5, "linear", "Hz"),
    _P("beta_size", _log(0.6), 0.5, "log", "10 nAm"),
    _P("beta_asymmetry", 0.0, 0.6, "linear", "log(right/left)"),
    _P("beta_burst_rate", _log(0.9), 0.6, "log", "1/s"),
    _P("beta_burst_depth", 0.8, 1.3, "logit", "share"),
    _P("theta_frequency", 5.7, 0.7, "linear", "Hz"),
    _P("theta_size", _log(0.7), 0.5, "log", "10 nAm"),
    _P("theta_temporal", _log(0.85), 0.5, "log", "of midline"),
    _P("gamma_frequency", _log(52.0), 0.2, "log", "Hz"),
    _P("gamma_size", _log(0.4), 0.8, "log", "10 nAm"),
    _P("background_slope", 1.15, 0.35, "linear", "exponent"),
    _P("background_size", _log(0.17), 0.4, "log", "10 nAm"),
    _P("background_front", 0.0, 0.35, "linear", "log per 7 cm"),
    # connections
    _P("mu_envelope_coupling", 0.0, 1.5, "logit", "share"),
    _P("alpha_envelope_coupling", 0.0, 1.5, "logit", "share"),
    _P("beta_envelope_coupling", 0.0, 1.5, "logit", "share"),
    _P("alpha_phase_coupling", -0.7, 1.3, "logit", "share"),
    _P("mu_phase_coupling", -0.7, 1.3, "logit", "share"),
    _P("theta_lagged_coupling", -0.5, 1.5, "logit", "share"),
    _P("theta_gamma_coupling", 0.35, 0.35, "linear", "share"),
    # how long rhythms stay in phase
    _P("alpha_bandwidth", _log(0.09), 0.35, "log", "of the frequency"),
    _P("theta_bandwidth", _log(0.11), 0.4, "log", "of the frequency"),
    _P("beta_burst_duration", _log(0.1), 0.35, "log", "s"),
)
NAMES = tuple(parameter.name for parameter in PARAMETERS)
N_PARAMETERS = len(PARAMETERS)


def draw_scores(n: int, generator: torch.Generator, device: str = "cpu") -> Tensor:
    """Draw people's standard scores, (n, n_parameters)."""
    z = torch.randn(n, N_PARAMETERS, generator=generator, device=device)
    return z.clamp(-FURTHEST, FURTHEST)


def values(z: Tensor) -> dict[str, Tensor]:
    """Turn standard scores to values by name."""
    return {p.name: p.value(z[:, ii]) for ii, p in enumerate(PARAMETERS)}
