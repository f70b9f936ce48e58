"""What a good reconstruction is."""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST, _MOST = 1e-6, 1e6


def _check_number(name: str, value: float, least: float, usual: float) -> None:
    if not isinstance(value, Real) or not least <= value <= _MOST:
        raise ValueError(
            f"Expected {name} to be a number from {least:g} to {_MOST:g}, got "
            f"{value!r}; {usual:g} is usual."
        )


class SignalSpectrumLoss:
    """Huber loss of the signal plus L1 loss of log-amplitude spectra, where hidden.

    Every window counts the same: signals are divided by the root mean square of the
    window's target. A loss in time alone tends to constants, since what cannot be
    predicted averages out; the spectral term keeps the amplitude of rhythms in view.

    Parameters
    ----------
    spectral_weight : float
        Weight of the spectral term.
    delta : float
        Where the Huber loss turns from quadratic to linear, in units of the
        window's root mean square.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    .. [1] Huber (1964), Ann. Math. Stat. 35, eq. 4-5 (the signal term).
    .. [2] Yamamoto et al. (2020), "Parallel WaveGAN", ICASSP, eq. 5 (the
       log-amplitude term, here on patches).

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.pretraining import SignalSpectrumLoss
    >>> target = torch.randn(2, 24, 10, 8, 25)
    >>> hidden = torch.ones(2, 24, 10, dtype=torch.bool)
    >>> float(SignalSpectrumLoss()(target, target, hidden))
    0.0
    """

    def __init__(self, spectral_weight: float = 0.02, delta: float = 2.0) -> None:
        _check_number("spectral_weight", spectral_weight, 0.0, 0.02)
        _check_number("delta", delta, _LEAST, 2.0)
        self.spectral_weight = spectral_weight
        self.delta = delta

    def __repr__(self) -> str:
        return (
            f"SignalSpectrumLoss(spectral_weight={self.spectral_weight}, "
            f"delta={self.delta})"
        )

    def __call__(self, predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
        """Average the loss over hidden patches.

        Parameters
        ----------
        predicted : Tensor, shape (n, n_regions, n_patches, sensors, length)
            The reconstruction.
        target : Tensor, shape as ``predicted``
            The signal.
        hidden : Tensor of bool, shape (n, n_regions, n_patches)
            Where to compare.

        Returns
        -------
        loss : Tensor, shape ()
            The mean loss.
        """
        unit = target.square().mean((1, 2, 3, 4), keepdim=True).sqrt().clamp(min=1e-3)
        predicted, target = (predicted / unit)[hidden], (target / unit)[hidden]
        loss = F.huber_loss(predicted, target, delta=self.delta)
        if self.spectral_weight:
            spectra = [
                torch.fft.rfft(x, norm="ortho").abs().clamp(min=1e-2).log()
                for x in (predicted, target)
            ]
            loss = loss + self.spectral_weight * F.l1_loss(*spectra)
        return loss


class LogErrorLoss:
    """Logarithm of each window's squared error, where hidden.

    What can be predicted to 5 % counts as much as what can be predicted to 50 %: the
    gradient of a logarithm is relative. Up to a constant this is minus the
    log-likelihood a sample when every window has Gaussian errors of a variance of its
    own [1]_.

    Parameters
    ----------
    floor : float
        Share of the window's mean square that is added to the error, so that no window
        counts without limit.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    .. [1] Seber & Wild (1989), "Nonlinear regression", section 2.2 (the likelihood
       concentrated on the sum of squares).

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.pretraining import LogErrorLoss
    >>> target = torch.randn(2, 24, 10, 8, 25)
    >>> hidden = torch.ones(2, 24, 10, dtype=torch.bool)
    >>> loss = LogErrorLoss(floor=0.0)
    >>> round(float(loss(target * 0.9, target, hidden).exp()), 4)  # a tenth, squared
    0.01
    """

    def __init__(self, floor: float = 0.01) -> None:
        _check_number("floor", floor, 0.0, 0.01)
        self.floor = floor

    def __repr__(self) -> str:
        return f"LogErrorLoss(floor={self.floor})"

    def __call__(self, predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
        """Average the loss over windows.

        Parameters
        ----------
        predicted : Tensor, shape (n, n_regions, n_patches, sensors, length)
            The reconstruction.
        target : Tensor, shape as ``predicted``
            The signal.
        hidden : Tensor of bool, shape (n, n_regions, n_patches)
            Where to compare.

        Returns
        -------
        loss : Tensor, shape ()
            The mean loss.
        """
        unit = target.square().mean((1, 2, 3, 4), keepdim=True).clamp(min=1e-6)
        error = ((predicted - target).square() / unit).mean((3, 4))
        count = hidden.sum((1, 2))
        error = torch.where(hidden, error, 0.0).sum((1, 2))[count > 0]
        return (self.floor + error / count[count > 0]).log().mean()
