"""Reconstruction with something beside it: statistics, participants, hidden tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Integral, Real

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models import (
    EDGES,
    Backbone,
    BackboneConfig,
    LatentPredictor,
    WindowBatch,
    check_edges,
    encoder_parameters,
    valid_patches,
    window_statistics,
)
from ._objective import Objective, resolve_objective
from ._reconstruction import (
    MaskedReconstruction,
    Measured,
    check_number,
    compared_tokens,
)


class Joint(nn.Module):
    """Reconstruction plus a weighted term, which a child computes.

    Explained shares are those of the reconstruction.
    """

    def __init__(self, weight: float, reconstruction: str | dict | Objective) -> None:
        super().__init__()
        check_number("weight", weight, 0.0, 1.0)
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
        """Compute the loss; see `MaskedReconstruction`.

        Parameters
        ----------
        model : Backbone
            The backbone.
        batch : WindowBatch
            Some windows.

        Returns
        -------
        loss : Tensor, shape ()
            The mean loss over the windows.
        """
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
        """Make a head with random weights, see `Objective`.

        Parameters
        ----------
        model : Backbone
            The backbone, whose width the head takes.
        """
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
        check_number("temperature", temperature, 0.01, 0.1)
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


def copy_encoder(model: Backbone) -> Backbone:
    """Copy a model without the parameters that `encode` does not use.

    Parameters
    ----------
    model : Backbone
        The model, whose ``layer_groups`` name all that `encode` uses.

    Returns
    -------
    encoder : Backbone
        A model of the same class that can encode, and nothing else: parameters of no
        group, and modules that have no others, are None.
    """
    used = {id(parameter) for _, parameter in encoder_parameters(model)}

    def idle(part: nn.Module | nn.Parameter) -> bool:
        own = [part] if isinstance(part, nn.Parameter) else list(part.parameters())
        return bool(own) and used.isdisjoint(map(id, own))

    parts = filter(idle, (*model.modules(), *model.parameters()))
    # what the memo has is not copied
    return copy.deepcopy(model, dict.fromkeys(map(id, parts)))


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
        """Copy the encoder as teacher, and make a predictor with random weights."""
        super().build(model)
        self.predictor = LatentPredictor(model.config, self.width, self.n_layers)
        self.teacher = copy_encoder(model).requires_grad_(False)

    @torch.no_grad()
    def after_step(self, model: Backbone) -> None:
        """Move the teacher towards the model, see `Objective`."""
        share = 1.0 - self.momentum
        parameters, buffers = (
            dict(model.named_parameters()),
            dict(model.named_buffers()),
        )
        for name, old in self.teacher.named_parameters():
            old.mul_(self.momentum).add_(parameters[name], alpha=share)
        for name, old in self.teacher.named_buffers():
            old.copy_(buffers[name])

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
