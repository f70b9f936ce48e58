"""What pretraining minimises: reconstruction, and what may stand beside it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models import (
    EDGES,
    Backbone,
    BackboneConfig,
    LatentPredictor,
    WindowBatch,
    band_powers,
    check_edges,
    check_reconstructs,
    from_patches,
    to_patches,
    valid_patches,
    window_statistics,
)
from ..plugins import resolve


# -- objectives ------------------------------------------------------------------------
@runtime_checkable
class Objective(Protocol):
    """What a model is trained for: ``objective(model, batch) -> loss``.

    Any callable of this form is an objective. The parameters of one that is a
    :class:`torch.nn.Module` are trained with those of the model, and saved with the run
    but not with the weights. Its ``repr`` tells one objective from another when a run
    is continued. These are optional:

    - ``build(model)`` is called before training, and makes parameters whose sizes
      follow from the backbone, or raises ValueError if it does not suit;
    - ``after_step(model)`` is called after each step of the optimiser;
    - ``n_views = 2`` asks for batches with a second ``view``;
    - ``pairs = "participant"`` (or ``"recording"``, ``"state"``, ``"array"``) asks for
      batches in which windows come with another one of the same participant;
    - ``needs_targets = True`` asks for windows with ``targets``;
    - ``fit(model, batch)`` is called after ``build``, with some hundred windows of the
      training data, without masks: to find targets, or their sizes.

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


def build_objective(objective: Objective, model: Backbone, random_state: int) -> None:
    """Make what an objective trains of its own, and check that it suits a backbone.

    Parameters
    ----------
    objective : callable
        The objective, changed in place; one without ``build`` stays as it is.
    model : Backbone
        The backbone.
    random_state : int
        Seed of its parameters.

    Raises
    ------
    ValueError
        If the objective does not suit the backbone.
    """
    if hasattr(objective, "build"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_state)
            objective.build(model)


def fit_objective(
    objective: Objective, model: Backbone, batch: WindowBatch, random_state: int
) -> None:
    """Let an objective look at training windows, if it does so.

    Parameters
    ----------
    objective : callable
        The objective, changed in place; one without ``fit`` stays as it is.
    model : Backbone
        The backbone.
    batch : WindowBatch
        Windows to train on.
    random_state : int
        Seed of its parameters.

    Raises
    ------
    ValueError
        If the objective does not suit the windows.
    """
    if hasattr(objective, "fit"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_state)
            objective.fit(model, batch)


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
        _check_number("floor", floor, 0.0, 1e-6)
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


# -- what stands beside reconstruction -------------------------------------------------
class Joint(nn.Module):
    """Reconstruction plus a weighted term, which a child computes.

    Explained shares are those of the reconstruction.
    """

    def __init__(self, weight: float, reconstruction: str | dict | Objective) -> None:
        super().__init__()
        _check_number("weight", weight, 0.0, 1.0)
        self.weight = float(weight)
        params = {}
        if isinstance(reconstruction, dict):  # as settings name an objective
            params = {k: v for k, v in reconstruction.items() if k != "name"}
            reconstruction = reconstruction.get("name")
        self.reconstruction = resolve_objective(reconstruction, **params)
        if not isinstance(self.reconstruction, MaskedReconstruction):
            raise TypeError(
                "Expected reconstruction to be the name of an objective that "
                "reconstructs, or a MaskedReconstruction, got "
                f"{reconstruction!r}; 'huber+logspec' is usual."
            )

    def build(self, model: Backbone) -> None:
        """Make new parameters for a backbone, see `Objective`."""
        if hasattr(self.reconstruction, "build"):
            self.reconstruction.build(model)

    def forward(self, model: Backbone, batch: WindowBatch) -> Tensor:
        """Compute the loss; see `MaskedReconstruction`."""
        return self.measure(model, batch).loss

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
            As of `MaskedReconstruction.measure`, with the loss of both terms.
        """
        measured = self.reconstruction.measure(model, batch)
        loss = measured.loss + self.weight * self._term(model, batch)
        return measured._replace(loss=loss)

    def _term(self, model: Backbone, batch: WindowBatch) -> Tensor:
        raise NotImplementedError

    def _check_built(self, name: str, call: str = "build(model)") -> None:
        if not hasattr(self, name):
            raise ValueError(
                f"Expected {type(self).__name__} to have been built for a backbone, "
                f"got one without parameters; call {call} first."
            )


def visible_mean(model: Backbone, batch: WindowBatch) -> Tensor:
    """Average the tokens of each window that are visible, (n, d_model)."""
    tokens = model.encode(batch.windows, batch.n_valid, batch.mask).float()
    seen = ~batch.mask & valid_patches(batch.n_valid, model.config)[:, None]
    count = seen.sum((1, 2)).clamp(min=1)
    return (tokens * seen[..., None]).sum((1, 2)) / count[:, None]


class WindowStatistics(Joint):
    """Reconstruct windows, and predict statistics of the whole from what is visible.

    The objective ``"statistics"``. A linear head reads the mean of the encoder's tokens
    of the visible part, and predicts of each region of the complete window the natural
    logarithm of the power in frequency bands, and the slope of the spectrum. Its loss
    is Huber's, mean over regions and statistics. The head is trained and saved with the
    run; the weights that it ends with do not have it.

    Parameters
    ----------
    weight : float
        Weight of the statistics beside the reconstruction.
    edges : sequence of float
        Frequencies in Hz between the bands, rising; see `BandBalancedReconstruction`.
    slope_range : tuple of float
        Lowest and highest frequency in Hz that the slope is fitted to.
    reconstruction : str | dict | MaskedReconstruction
        Name of an objective that reconstructs, a dict of its ``name`` and arguments, or
        such an objective.

    Raises
    ------
    ValueError
        If a parameter is out of range, or, in training, does not suit the windows.

    Notes
    -----
    EEG models that predict statistics of the complete signal from the encoder, beside
    masked reconstruction, are known [1]_; which statistics, and how, is the package's.

    References
    ----------
    .. [1] DeeperBrain (2026), arXiv:2601.06134.

    Examples
    --------
    >>> from mne_megfm.pretraining import WindowStatistics
    >>> WindowStatistics(weight=0.5, reconstruction="log-error").edges
    (4.0, 8.0, 13.0, 30.0)
    """

    def __init__(
        self,
        weight: float = 1.0,
        edges: Sequence[float] = EDGES,
        slope_range: Sequence[float] = (2.0, 40.0),
        reconstruction: str | dict | Objective = "huber+logspec",
    ) -> None:
        super().__init__(weight, reconstruction)
        self.edges = check_edges(edges)
        self.slope_range = check_edges(slope_range)
        if len(self.slope_range) != 2:
            raise ValueError(
                "Expected slope_range to be the lowest and the highest frequency in "
                f"Hz, got {slope_range!r}; (2.0, 40.0) is usual."
            )

    def __repr__(self) -> str:
        return (
            f"WindowStatistics(weight={self.weight}, edges={self.edges}, "
            f"slope_range={self.slope_range}, reconstruction={self.reconstruction!r})"
        )

    def build(self, model: Backbone) -> None:
        """Make a head with random weights, see `Objective`."""
        super().build(model)
        config = model.config
        windows = torch.zeros(1, config.n_sensors, config.n_times)
        known = self._statistics(windows, torch.tensor([config.n_times]), config)
        self.head = nn.Linear(config.d_model, known[0].numel())

    def _statistics(
        self, windows: Tensor, n_valid: Tensor, config: BackboneConfig
    ) -> Tensor:
        return window_statistics(windows, n_valid, config, self.edges, self.slope_range)

    def _term(self, model: Backbone, batch: WindowBatch) -> Tensor:
        self._check_built("head")
        predicted = self.head(visible_mean(model, batch)).float()
        with torch.no_grad(), torch.autocast(batch.windows.device.type, enabled=False):
            scaled, _ = model.scale(batch.windows, batch.n_valid, batch.mask)
            known = self._statistics(scaled.windows, batch.n_valid, model.config)
        return F.smooth_l1_loss(predicted, known.flatten(1))


class ParticipantConsistency(Joint):
    r"""Reconstruct windows, and find other windows of the same participant.

    The objective ``"participant-consistency"``. The mean tokens of the visible parts of
    two windows *i* and *p* of one participant are to be closer, in cosine similarity
    *s*, than those of *i* and windows *k* of other participants in the batch (or in its
    part, where it is computed in parts; InfoNCE [1]_, eq. 4; the mean over such pairs):

    .. math:: -\log \frac{e^{s_{ip} / \tau}}{e^{s_{ip} / \tau} +
              \sum_k e^{s_{ik} / \tau}}

    Batches are drawn so that windows come with another one of their participant.

    Parameters
    ----------
    weight : float
        Weight of the consistency beside the reconstruction.
    temperature : float
        The temperature, :math:`\tau`.
    reconstruction : str | dict | MaskedReconstruction
        Name of an objective that reconstructs, a dict of its ``name`` and arguments, or
        such an objective.

    Raises
    ------
    ValueError
        If a parameter is out of range; in training, if it is not known whose the
        windows are, or there are too few of them.

    Notes
    -----
    Embeddings that tell participants apart hold what is lasting of each, and this is
    also the sensor noise and the head position of a recording. Windows of one recording
    are a pair like any other.

    References
    ----------
    .. [1] van den Oord, Li & Vinyals (2018), "Representation learning with contrastive
       predictive coding", arXiv:1807.03748.

    Examples
    --------
    >>> from mne_megfm.pretraining import ParticipantConsistency
    >>> ParticipantConsistency(temperature=0.2).pairs
    'participant'
    """

    pairs = "participant"

    def __init__(
        self,
        weight: float = 0.1,
        temperature: float = 0.1,
        reconstruction: str | dict | Objective = "huber+logspec",
    ) -> None:
        super().__init__(weight, reconstruction)
        _check_number("temperature", temperature, 0.01, 0.1)
        self.temperature = float(temperature)

    def __repr__(self) -> str:
        return (
            f"ParticipantConsistency(weight={self.weight}, "
            f"temperature={self.temperature}, reconstruction={self.reconstruction!r})"
        )

    def _term(self, model: Backbone, batch: WindowBatch) -> Tensor:
        if batch.participant is None:
            raise ValueError(
                "Expected windows whose participant is known, got none; use another "
                "objective, or give a list of recordings with an element for each "
                "participant."
            )
        embeddings = visible_mean(model, batch)
        with torch.autocast(embeddings.device.type, enabled=False):
            return self.consistency(embeddings, batch.participant)

    def consistency(self, embeddings: Tensor, participant: Tensor) -> Tensor:
        """Compute the loss of embeddings.

        Parameters
        ----------
        embeddings : Tensor, shape (n, d_model)
            An embedding of each window.
        participant : Tensor of int, shape (n,)
            Whose it is.

        Returns
        -------
        loss : Tensor, shape ()
            The mean over pairs; 0 where there is none.
        """
        unit = F.normalize(embeddings, dim=-1)
        same = participant[:, None] == participant
        pair = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
        if not pair.any():
            return embeddings.sum() * 0.0
        alike = unit @ unit.T / self.temperature
        # not -inf: a row without any other participant must have a finite gradient
        others = alike.masked_fill(same, -1e4).logsumexp(1, keepdim=True)
        return (torch.logaddexp(alike, others) - alike)[pair].mean()


class LatentPrediction(Joint):
    """Reconstruct windows, and predict the tokens of their hidden part.

    The objective ``"latent"`` (joint-embedding prediction [1]_). A teacher, whose
    weights are the exponential moving average of those of the model, encodes the
    complete window. From the tokens of the visible part, a small predictor predicts the
    teacher's tokens at hidden places, each normalised to mean 0 and variance 1; the
    loss is the mean squared error, so that predicting nothing costs 1.

    Teacher and predictor are saved with the run, and not with the weights.

    Parameters
    ----------
    weight : float
        Weight of the prediction of tokens beside the reconstruction.
    momentum : float
        Share of its weights that the teacher keeps at each step.
    width : int
        Width of the predictor, a multiple of 4.
    n_layers : int
        Layers of the predictor.
    reconstruction : str | dict | MaskedReconstruction
        Name of an objective that reconstructs, a dict of its ``name`` and arguments, or
        such an objective.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    References
    ----------
    .. [1] Assran et al. (2023), "Self-supervised learning from images with a
       joint-embedding predictive architecture", CVPR, arXiv:2301.08243 (without the
       reconstruction, which is what keeps tokens from becoming all the same here).

    Examples
    --------
    >>> from mne_megfm.pretraining import LatentPrediction
    >>> LatentPrediction(momentum=0.99).weight
    1.0
    """

    def __init__(
        self,
        weight: float = 1.0,
        momentum: float = 0.996,
        width: int = 64,
        n_layers: int = 2,
        reconstruction: str | dict | Objective = "huber+logspec",
    ) -> None:
        super().__init__(weight, reconstruction)
        if not isinstance(momentum, Real) or not 0 <= momentum < 1:
            raise ValueError(
                f"Expected momentum to be in [0, 1), got {momentum!r}; 0.996 is usual."
            )
        for name, value, least in (("width", width, 4), ("n_layers", n_layers, 1)):
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if not whole or value < least or value % least:
                raise ValueError(
                    f"Expected {name} to be a whole multiple of {least}, got "
                    f"{value!r}; correct it."
                )
        self.momentum = float(momentum)
        self.width = int(width)
        self.n_layers = int(n_layers)

    def __repr__(self) -> str:
        return (
            f"LatentPrediction(weight={self.weight}, momentum={self.momentum}, "
            f"width={self.width}, n_layers={self.n_layers}, "
            f"reconstruction={self.reconstruction!r})"
        )

    def build(self, model: Backbone) -> None:
        """Copy the model as teacher, and make a predictor with random weights."""
        super().build(model)
        self.predictor = LatentPredictor(model.config, self.width, self.n_layers)
        self.teacher = copy.deepcopy(model).requires_grad_(False)

    @torch.no_grad()
    def after_step(self, model: Backbone) -> None:
        """Move the teacher towards the model, see `Objective`."""
        share = 1.0 - self.momentum
        for old, new in zip(self.teacher.parameters(), model.parameters(), strict=True):
            old.mul_(self.momentum).add_(new, alpha=share)
        for old, new in zip(self.teacher.buffers(), model.buffers(), strict=True):
            old.copy_(new)

    def _term(self, model: Backbone, batch: WindowBatch) -> Tensor:
        self._check_built("teacher")
        recorded = valid_patches(batch.n_valid, model.config)
        tokens = model.encode(batch.windows, batch.n_valid, batch.mask)
        predicted = self.predictor(tokens, batch.mask, recorded).float()
        compared = compared_tokens(model.config, batch)
        if not compared.any():
            return predicted.sum() * 0.0
        with torch.no_grad():  # nor dropout, in training
            known = self.teacher.eval().encode(batch.windows, batch.n_valid).float()
            known = F.layer_norm(known, known.shape[-1:])
        return F.mse_loss(predicted[compared], known[compared])
