"""Objectives that reconstruct hidden signal, and their losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models import (
    EDGES,
    Backbone,
    BackboneConfig,
    WindowBatch,
    band_powers,
    check_edges,
    check_reconstructs,
    from_patches,
    to_patches,
)

# -- losses of patches -----------------------------------------------------------------
_LEAST, _MOST = 1e-6, 1e6


def check_number(name: str, value: float, least: float, usual: float) -> None:
    """Check that a parameter of a loss is a number in its range."""
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
        check_number("spectral_weight", spectral_weight, 0.0, 0.02)
        check_number("delta", delta, _LEAST, 2.0)
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
        check_number("floor", floor, 0.0, 0.01)
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


# -- objectives ------------------------------------------------------------------------
class Measured(NamedTuple):
    """How well hidden signal of a batch is predicted."""

    loss: Tensor  # ()
    error: Tensor | None  # (n,), squared error, in units of scale squared
    power: Tensor | None  # (n,), what predicting nothing would leave


class MaskedReconstruction:
    """Predict the hidden part of windows from the visible one (He et al. 2022).

    Parameters
    ----------
    loss : callable
        ``loss(predicted, target, hidden)`` compares scaled patches of shape
        (n, n_regions, n_patches, sensors_per_region, patch_length) where the mask
        ``hidden`` of shape (n, n_regions, n_patches) is True. None stands for
        :class:`SignalSpectrumLoss`.

    References
    ----------
    .. [1] He et al. (2022), "Masked autoencoders are scalable vision learners", CVPR,
       section 3.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig, WindowBatch
    >>> from mne_megfm.pretraining import MaskedReconstruction
    >>> windows, n_valid = torch.randn(2, 192, 250) * 1e-13, torch.tensor([250, 250])
    >>> mask = torch.zeros(2, 24, 10, dtype=torch.bool)
    >>> mask[:, :, :3] = True
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> loss = MaskedReconstruction()(model, WindowBatch(windows, n_valid, mask))
    >>> bool(loss > 0)
    True
    """

    def __init__(
        self, loss: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    ) -> None:
        self.loss = SignalSpectrumLoss() if loss is None else loss

    def __repr__(self) -> str:
        return f"MaskedReconstruction(loss={self.loss!r})"

    def __call__(self, model: Backbone, batch: WindowBatch) -> Tensor:
        """Compute the loss where the mask hides what was recorded.

        Parameters
        ----------
        model : Backbone
            A backbone with ``predict_patches``.
        batch : WindowBatch
            Windows with a mask.

        Returns
        -------
        loss : Tensor, shape ()
            The mean loss.

        Raises
        ------
        TypeError
            If the backbone predicts no signal.
        """
        return self._compare(model, batch)[0]

    def measure(self, model: Backbone, batch: WindowBatch) -> Measured:
        """Compute the loss, and the squared error of each window.

        Parameters
        ----------
        model : Backbone
            A backbone with ``predict_patches``.
        batch : WindowBatch
            Windows with a mask.

        Returns
        -------
        measured : tuple of Tensor
            The loss; and for each window squared error and squared signal where it is
            hidden, in units of ``config.scale`` squared.
        """
        loss, predicted, target, compared, unit = self._compare(model, batch)
        # squares of tesla underflow in float32: compare at network scale
        unit = (unit / model.config.scale)[..., None, None]
        at = compared[..., None, None]
        error, power = (
            torch.where(at, x * unit, 0.0).square().sum((1, 2, 3, 4))
            for x in (predicted - target, target)
        )
        return Measured(loss, error, power)

    def _compare(
        self, model: Backbone, batch: WindowBatch
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        check_reconstructs(model)
        kind = batch.windows.device.type
        with torch.autocast(kind, enabled=False):
            scaled, hidden = model.scale(batch.windows, batch.n_valid, batch.mask)
            target = to_patches(scaled.windows, model.config)
        predicted = model.predict_patches(target, hidden)
        compared = compared_tokens(model.config, batch)
        with torch.autocast(kind, enabled=False):
            if compared.any():
                loss = self._loss(model.config, predicted, target, compared)
            else:  # a mean over nothing would be NaN
                loss = predicted.sum() * 0.0
        return loss, predicted, target, compared, scaled.unit

    def _loss(self, config: BackboneConfig, *patches: Tensor) -> Tensor:
        return self.loss(*patches)


def whole_patches(config: BackboneConfig, n_valid: Tensor) -> Tensor:
    """Say which patches were recorded to their end, (n, n_patches)."""
    ends = torch.arange(1, config.n_patches + 1, device=n_valid.device)
    return ends * config.patch_length <= n_valid[:, None]


def compared_tokens(config: BackboneConfig, batch: WindowBatch) -> Tensor:
    """Say which tokens a loss of hidden signal is of."""
    # a mask may hide what was never recorded: nothing to compare with there
    recorded = whole_patches(config, batch.n_valid)
    compared = batch.mask & recorded[:, None]
    return compared if batch.scored is None else compared & batch.scored


class BandBalancedReconstruction(MaskedReconstruction):
    r"""Predict the hidden part of windows, all frequency bands alike.

    The objective ``"band-balanced"``. Power falls with frequency, so that a loss of the
    waveform is one of slow signal. Here the error of each band is divided by the power
    that the hidden signal has in that band, window by window:

    .. math:: L = \frac{1}{B} \sum_b
              \frac{\sum_{f \in b} |E(f)|^2}{\sum_{f \in b} |X(f)|^2 + \varepsilon}

    with the transforms *E* of the error and *X* of the signal, both 0 where nothing is
    compared, and summed over sensors. So it is the mean over bands of the share that is
    not explained: 1 where nothing is predicted, 0 where all is.

    Parameters
    ----------
    edges : sequence of float
        Frequencies in Hz between the bands, rising. The first band begins at 0 Hz, the
        last ends at the Nyquist frequency, so that no error is free. By default delta
        and slower, theta, alpha, beta and gamma.
    floor : float
        Share of the power of all bands that is added to that of each
        (:math:`\varepsilon`), so that an empty band does not count without limit.
        Raise it, or change the edges, for signals that were low-pass filtered far below
        the last band.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in training, a band has none of the
        frequencies of a window.

    Notes
    -----
    A patch is too short to tell slow bands apart; frequencies are those of the complete
    window with the prediction put in. A step where the prediction meets visible signal
    is an error in all bands. So bands are alike to the last digit where sensors are
    hidden all the time, and nearly so elsewhere: with power that falls as 1/f, and 80 %
    of the tokens hidden at random, a band that is missed costs 0.18 to 0.23. Windows
    whose root mean square is below 0.1 % of ``config.scale`` are left out.

    Targets that are standardised in each band, all bands weighing alike, are known from
    EEG [1]_; this form is the package's.

    References
    ----------
    .. [1] FAME (2026), arXiv:2608.01898 (abstract).

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig, WindowBatch
    >>> from mne_megfm.pretraining import BandBalancedReconstruction
    >>> windows, n_valid = torch.randn(2, 192, 250) * 1e-13, torch.tensor([250, 250])
    >>> mask = torch.zeros(2, 24, 10, dtype=torch.bool)
    >>> mask[:, :3] = True
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> batch = WindowBatch(windows, n_valid, mask)
    >>> bool(BandBalancedReconstruction()(model, batch) > 0)
    True
    """

    def __init__(self, edges: Sequence[float] = EDGES, floor: float = 1e-6) -> None:
        self.edges = check_edges(edges)
        check_number("floor", floor, 0.0, 1e-6)
        self.floor = floor

    def __repr__(self) -> str:
        return f"BandBalancedReconstruction(edges={self.edges}, floor={self.floor})"

    def build(self, model: Backbone) -> None:
        """Check that windows have frequencies in all bands, see `Objective`."""
        band_powers(torch.zeros(model.config.n_times), model.config.sfreq, self.edges)

    def _loss(self, config: BackboneConfig, *patches: Tensor) -> Tensor:
        predicted, target, compared = patches
        at = compared[..., None, None]
        error, signal = (
            band_powers(
                from_patches(torch.where(at, x, 0.0), config), config.sfreq, self.edges
            ).sum(1)
            for x in (predicted - target, target)
        )
        total = signal.sum(1, keepdim=True)
        n_samples = compared.sum((1, 2))[:, None] * config.token_length
        # at the network's scale, where usual windows have a mean square near 1
        counts = (total > 1e-6 * n_samples)[:, 0]
        if not counts.any():
            return predicted.sum() * 0.0
        error, signal, total = (x[counts] for x in (error, signal, total))
        return (error / (signal + self.floor * total)).mean()


def signal_spectrum_objective(
    spectral_weight: float = 0.02, delta: float = 2.0
) -> MaskedReconstruction:
    """Make the objective ``"huber+logspec"``: reconstruction of signal and spectrum.

    Parameters
    ----------
    spectral_weight, delta : float
        See :class:`SignalSpectrumLoss`.

    Returns
    -------
    objective : MaskedReconstruction
        The objective.
    """
    return MaskedReconstruction(SignalSpectrumLoss(spectral_weight, delta))


def log_error_objective(floor: float = 0.01) -> MaskedReconstruction:
    """Make the objective ``"log-error"``: reconstruction by the log of the error.

    Parameters
    ----------
    floor : float
        See :class:`LogErrorLoss`.

    Returns
    -------
    objective : MaskedReconstruction
        The objective.
    """
    return MaskedReconstruction(LogErrorLoss(floor))
