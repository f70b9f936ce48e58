"""What pretraining minimises, and how its windows are made harder."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models import (
    Backbone,
    BackboneConfig,
    WindowBatch,
    check_reconstructs,
    to_patches,
)
from ..plugins import resolve


# -- objectives ------------------------------------------------------------------------
@runtime_checkable
class Objective(Protocol):
    """What a model is trained for: ``objective(model, batch) -> loss``.

    Any callable of this form is an objective. The parameters of one that is a
    :class:`torch.nn.Module` are trained with those of the model, and saved with the run
    but not with the weights. An objective with an attribute ``n_views = 2`` gets
    batches with a second ``view``. Its ``repr`` tells one objective from another when a
    run is continued.

    See Also
    --------
    MaskedReconstruction : The objective of the built-in weights.
    """

    def __call__(self, model: Backbone, batch: WindowBatch) -> Tensor:
        """Compute the loss.

        Parameters
        ----------
        model : Backbone
            The model.
        batch : WindowBatch
            Some windows.

        Returns
        -------
        loss : Tensor, shape ()
            The mean loss over the windows.
        """


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
        # hidden holds what was never recorded, too: nothing to compare with there
        compared = batch.mask & _recorded(model.config, batch.n_valid)
        if batch.scored is not None:
            compared = compared & batch.scored
        with torch.autocast(kind, enabled=False):
            if compared.any():
                loss = self.loss(predicted, target, compared)
            else:  # a mean over nothing would be NaN
                loss = predicted.sum() * 0.0
        return loss, predicted, target, compared, scaled.unit


def _recorded(config: BackboneConfig, n_valid: Tensor) -> Tensor:
    ends = torch.arange(1, config.n_patches + 1, device=n_valid.device)
    return (ends * config.patch_length <= n_valid[:, None])[:, None]


def resolve_objective(spec: Any, **params: Any) -> Objective:
    """Return an objective, made by name or given as an instance.

    Parameters
    ----------
    spec : str | callable
        Name of an objective, or an objective.
    **params : dict
        Arguments with which a named objective is made.

    Returns
    -------
    objective : callable
        The objective.

    Raises
    ------
    TypeError
        If it cannot be called with a model and a batch.
    ValueError
        If there is no objective of this name.
    """
    objective = resolve("objectives", spec, **params)
    try:
        inspect.signature(objective).bind(None, None)
    except TypeError as error:
        raise TypeError(
            "Expected an objective to be called with a model and a batch of windows, "
            f"got {objective!r} ({error}); a loss of patches is an objective as "
            "MaskedReconstruction(loss=...)."
        ) from None
    return objective


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


# -- augmentation ----------------------------------------------------------------------
class NoiseAndCropping:
    """Add local and smooth noise to some windows, filter and shorten some batches.

    Simulated sensors are all of one quality. In real recordings some are noisier than
    their neighbours, which puts a spot of field on the canonical array that nothing
    else explains; users filter more than the simulation does, after which the field is
    smoother and cleaner; and epochs are often shorter than a window.

    Parameters
    ----------
    sensor_pos : Tensor, shape (n_sensors, 3)
        Positions of the sensors in m.
    patch_length : int
        Samples in a patch.
    noisy : float
        Share of the windows that get noise.
    short : float
        Share of the batches that are shortened, to 3 patches at least.
    filtered : float
        Share of the batches that are low-pass filtered, at 20 to 80 Hz.
    sfreq : float
        Sampling rate in Hz.

    Raises
    ------
    ValueError
        If a share is out of range.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.pretraining import NoiseAndCropping
    >>> augmentation = NoiseAndCropping(torch.randn(192, 3) * 0.1)
    >>> generator = torch.Generator().manual_seed(0)
    >>> windows = torch.ones(2, 192, 250) * 1e-13
    >>> more, n_valid = augmentation(windows, torch.tensor([250, 250]), generator)
    >>> more.shape
    torch.Size([2, 192, 250])
    """

    def __init__(
        self,
        sensor_pos: Tensor,
        patch_length: int = 25,
        noisy: float = 0.5,
        short: float = 0.3,
        filtered: float = 0.0,
        sfreq: float = 250.0,
    ) -> None:
        for name, share in (("noisy", noisy), ("short", short), ("filtered", filtered)):
            if not isinstance(share, Real) or not 0 <= share <= 1:
                raise ValueError(
                    f"Expected {name} to be a share from 0 to 1, got {share!r}; "
                    "correct it."
                )
        self.distance = torch.cdist(sensor_pos.float(), sensor_pos.float())
        smooth = torch.exp(-0.5 * (self.distance / 0.015) ** 2)
        self.smooth = smooth / smooth.square().sum(1, keepdim=True).sqrt()
        self.patch_length = patch_length
        self.noisy = noisy
        self.short = short
        self.filtered = filtered
        self.sfreq = sfreq

    def __repr__(self) -> str:
        return (
            f"NoiseAndCropping(noisy={self.noisy}, short={self.short}, "
            f"filtered={self.filtered})"
        )

    def __call__(
        self, windows: Tensor, n_valid: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw noise and length for a batch.

        Parameters
        ----------
        windows : Tensor, shape (n, n_sensors, n_times)
            Canonical field in tesla.
        n_valid : Tensor of int, shape (n,)
            Recorded samples of each window.
        generator : torch.Generator
            Source of what is random.

        Returns
        -------
        windows : Tensor, shape (n, n_sensors, n_times)
            Windows with noise, in tesla.
        n_valid : Tensor of int, shape (n,)
            Recorded samples, fewer in a shortened batch.
        """
        device = windows.device
        noise = self._noise(windows.shape, generator).to(device)
        # a standard deviation in tesla would underflow on the way to its square
        spread = (windows * 1e12).std((1, 2), keepdim=True) * 1e-12
        windows = windows + noise * spread
        # without a share nothing is drawn: what comes after stays as it was
        if self.filtered and float(torch.rand(1, generator=generator)) < self.filtered:
            cutoff = 20.0 * 4.0 ** float(torch.rand(1, generator=generator))
            windows = self._low_pass(windows, cutoff)
        if float(torch.rand(1, generator=generator)) < self.short:
            most = windows.shape[-1] // self.patch_length
            n_patches = int(torch.randint(3, most, (1,), generator=generator))
            n_valid = n_valid.clamp(max=n_patches * self.patch_length)
        time = torch.arange(windows.shape[-1], device=device)
        return torch.where((time < n_valid[:, None])[:, None], windows, 0.0), n_valid

    def _low_pass(self, windows: Tensor, cutoff: float) -> Tensor:
        """Filter without phase: a Gaussian response, -3 dB at the cutoff."""
        n_times = windows.shape[-1]
        first, last = windows[..., :1], windows[..., -1:]
        # odd reflection has neither a jump nor a kink at the ends
        before = 2 * first - windows[..., 1:].flip(-1)
        after = 2 * last - windows[..., :-1].flip(-1)
        long = torch.cat([before, windows, after], -1)
        frequency = torch.fft.rfftfreq(long.shape[-1], 1 / self.sfreq)
        response = torch.exp(-0.5 * math.log(2.0) * (frequency / cutoff) ** 2)
        spectrum = torch.fft.rfft(long) * response.to(windows.device)
        smooth = torch.fft.irfft(spectrum, n=long.shape[-1])
        return smooth[..., n_times - 1 : 2 * n_times - 1]

    def _noise(self, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Draw noise in units of the windows' standard deviation."""
        n, n_sensors, n_times = shape

        def uniform(low: float, high: float, *size: int) -> Tensor:
            return low + (high - low) * torch.rand(size, generator=generator)

        n_spots = 3
        centre = torch.randint(n_sensors, (n, n_spots), generator=generator)
        width = 0.01 * uniform(0.0, 1.5, n, n_spots, 1).exp()
        maps = torch.exp(-0.5 * (self.distance[centre] / width) ** 2)
        strength = uniform(-3.0, 1.1, n, n_spots, 1).exp()
        strength = strength * (uniform(0.0, 1.0, n, n_spots, 1) < self.noisy)

        # power falls with frequency, from not at all to its square
        frequency = torch.arange(1, n_times // 2 + 2, dtype=torch.float32)
        shaped = frequency ** (-0.5 * uniform(0.0, 2.0, n, n_spots, 1))
        white = torch.randn(n, n_spots, n_times, generator=generator)
        course = torch.fft.irfft(torch.fft.rfft(white) * shaped, n=n_times)
        course = course / course.std(-1, keepdim=True)
        spots = torch.einsum("nks,nkt->nst", maps * strength, course)

        level = uniform(-4.0, -0.7, n, 1, 1).exp()
        level = level * (uniform(0.0, 1.0, n, 1, 1) < self.noisy)
        white = torch.randn(n, n_sensors, n_times, generator=generator)
        return spots + level * (self.smooth @ white)
