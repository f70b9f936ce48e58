"""From canonical signals to the few numbers by which the level knows a trial."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

#: Edges in Hz, both included, of the bands of a window's spectrum.
BANDS = (
    *((f, f) for f in range(2, 15)),
    (15, 17),
    (18, 21),
    (22, 25),
    (26, 30),
    (31, 36),
    (37, 45),
)
# power below which a band counts as empty (filtered away), in the unit of the inputs
_FLOOR = 1e-3


class Trials(NamedTuple):
    """Trials and windows of some participants, padded to a common number.

    Parameters
    ----------
    response : Tensor, shape (n, n_trials, n_response)
        Coefficients of what follows the stimulus; zero where there is none.
    spectrum : Tensor, shape (n, n_trials, n_spectral)
        Coefficients of the log spectrum by region.
    state : Tensor of int, shape (n, n_trials)
        Kind of state.
    position : Tensor, shape (n, n_trials)
        Place in the recording, from 0 to 1.
    recent : Tensor, shape (n, n_trials, n_recent)
        How many stimuli came shortly before; NaN where not known.
    responds : Tensor of bool, shape (n, n_trials)
        Whether there is a stimulus.
    seen : Tensor of bool, shape (n, n_trials)
        False for padding.
    noise : Tensor, shape (n,)
        Size of the participant's noise in ``response``.
    """

    response: Tensor
    spectrum: Tensor
    state: Tensor
    position: Tensor
    recent: Tensor
    responds: Tensor
    seen: Tensor
    noise: Tensor


class TrialInputs(nn.Module):
    """Fixed linear maps from a trial to its coefficients.

    The response is what lies within half a second of the stimulus. It is mapped by
    axes in space, in time and of both together, along which average responses stand
    out from trials' noise. They are found once on participants for pretraining (see
    :func:`~mne_megfm.pretraining.fit_trial_inputs`) and kept with the weights.

    Parameters
    ----------
    n_sensors, n_regions : int
        Virtual sensors and the regions they form.
    n_space, n_time : int
        Axes in space and in time.
    n_response, n_spectral : int
        Coefficients of response and spectrum.
    n_after : int
        Samples of the response, from the stimulus.
    sfreq : float
        Sampling rate in Hz.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import TrialInputs
    >>> inputs = TrialInputs()
    >>> components = inputs.components(torch.randn(3, 192, 125) * 1e-13)
    >>> components.shape, inputs.response(components).shape
    (torch.Size([3, 40, 30]), torch.Size([3, 48]))
    >>> inputs.log_spectrum(torch.randn(3, 192, 250) * 1e-13).shape
    torch.Size([3, 24, 19])
    """

    def __init__(
        self,
        n_sensors: int = 192,
        n_regions: int = 24,
        n_space: int = 40,
        n_time: int = 30,
        n_response: int = 48,
        n_spectral: int = 32,
        n_after: int = 125,
        sfreq: float = 250.0,
    ) -> None:
        super().__init__()
        self.n_regions, self.n_after, self.sfreq = n_regions, n_after, sfreq
        n_values = n_regions * len(BANDS)
        # field in tesla that becomes 1
        self.register_buffer("unit", torch.tensor(1e-12))
        self.register_buffer("space", torch.eye(n_sensors)[:, :n_space].clone())
        self.register_buffer("time", torch.eye(n_after)[:, :n_time].clone())
        self.register_buffer(
            "joint", torch.eye(n_space * n_time)[:, :n_response].clone()
        )
        self.register_buffer("spectrum_mean", torch.zeros(n_values))
        self.register_buffer(
            "spectrum_axes", torch.eye(n_values)[:, :n_spectral].clone()
        )

    def components(self, segments: Tensor) -> Tensor:
        """Map what follows stimuli to the axes of space and of time.

        Parameters
        ----------
        segments : Tensor, shape (n, n_sensors, n_after)
            Canonical field in tesla from the stimulus on; zero where not recorded.

        Returns
        -------
        components : Tensor, shape (n, n_space, n_time)
            Weights of pairs of axes.
        """
        field = (segments / self.unit).transpose(1, 2) @ self.space
        return field.transpose(1, 2) @ self.time

    def response(self, components: Tensor) -> Tensor:
        """Map components to coefficients.

        Parameters
        ----------
        components : Tensor, shape (n, n_space, n_time)
            As of `components`.

        Returns
        -------
        coefficients : Tensor, shape (n, n_response)
            In units of a typical trial's noise.
        """
        return components.flatten(1) @ self.joint

    def components_of(self, coefficients: Tensor) -> Tensor:
        """Find the smallest components with given coefficients.

        Parameters
        ----------
        coefficients : Tensor, shape (n, n_response)
            As of `response`.

        Returns
        -------
        components : Tensor, shape (n, n_space, n_time)
            Of least norm: `response` gives the coefficients back.
        """
        both = coefficients @ torch.linalg.pinv(self.joint)
        return both.unflatten(1, (self.space.shape[1], self.time.shape[1]))

    def field(self, coefficients: Tensor) -> Tensor:
        """Find the smallest field with given coefficients.

        Parameters
        ----------
        coefficients : Tensor, shape (n, n_response)
            As of `response`.

        Returns
        -------
        field : Tensor, shape (n, n_sensors, n_after)
            Canonical field in tesla, of least norm step by step: `components` and
            `response` give the coefficients back.
        """
        both = self.components_of(coefficients)
        over_time = both @ torch.linalg.pinv(self.time)
        return torch.linalg.pinv(self.space).T @ over_time * self.unit

    def log_spectrum(self, windows: Tensor, n_valid: Tensor | None = None) -> Tensor:
        """Compute the log power of windows by region and band.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Canonical field in tesla, zero after the recorded samples.
        n_valid : Tensor of int, shape (n,), optional
            Recorded samples; all by default.

        Returns
        -------
        spectrum : Tensor, shape (n, n_regions, n_bands)
            Natural logarithm of power, see ``BANDS``.
        """
        n, _, n_times = windows.shape
        length = torch.full((n,), n_times) if n_valid is None else n_valid
        length = length.to(windows.device)[:, None]
        at = torch.arange(n_times, device=windows.device)
        taper = 0.5 - 0.5 * torch.cos(2 * math.pi * (at + 0.5) / length)
        taper = torch.where(at < length, taper, 0.0)
        # equal power whatever was recorded
        taper = taper * (n_times / taper.square().sum(1, keepdim=True)).sqrt()
        values = torch.fft.rfft(windows / self.unit * taper[:, None])
        power = values.abs().square().unflatten(1, (self.n_regions, -1)).mean(2)
        per_hz = n_times / self.sfreq
        bands = [
            power[..., round(a * per_hz) : round(b * per_hz) + 1].mean(-1)
            for a, b in BANDS
        ]
        return (torch.stack(bands, -1) + _FLOOR).log()

    def spectrum(self, log_spectrum: Tensor) -> Tensor:
        """Map log spectra to coefficients.

        Parameters
        ----------
        log_spectrum : Tensor, shape (n, n_regions, n_bands)
            As of `log_spectrum`.

        Returns
        -------
        coefficients : Tensor, shape (n, n_spectral)
            Projections on the leading axes.
        """
        return (log_spectrum.flatten(1) - self.spectrum_mean) @ self.spectrum_axes
