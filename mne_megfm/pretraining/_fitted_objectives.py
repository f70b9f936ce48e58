"""Objectives that look at training windows first: codes of patches, embeddings."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
import torch
from mne.utils import logger
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor, nn
from torch.nn import functional as F

from ..models import (
    Backbone,
    EmbeddingProjection,
    LatentPredictor,
    WindowBatch,
    to_patches,
    valid_patches,
)
from ._joint_objectives import Joint, visible_mean
from ._objective import Objective
from ._reconstruction import compared_tokens, whole_patches

# patches that codes are fitted to: so many, or so many for each code if that is more
_N_PATCHES, _N_PER_CODE = 20_000, 40


# -- codes -----------------------------------------------------------------------------
def patch_features(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Describe patches in time and in frequency.

    Parameters
    ----------
    patches : Tensor, shape (..., sensors, length)
        Patches at the network's scale.

    Returns
    -------
    waveform : Tensor, shape (..., sensors * length)
        The signals divided by their root mean square over the patch.
    spectrum : Tensor, shape (..., length // 2 + 1)
        Natural logarithm of the periodogram, mean over sensors.
    """
    flat = patches.flatten(-2)
    rms = flat.square().mean(-1, keepdim=True).sqrt()
    power = torch.fft.rfft(patches).abs().square().mean(-2) / patches.shape[-1]
    # floors are far below what sensors can measure, at the network's scale
    return flat / rms.clamp(min=1e-3), power.clamp(min=1e-6).log()


def nearest_codes(features: Tensor, codebook: Tensor) -> Tensor:
    """Find the code that is nearest to each row, by Euclidean distance.

    Parameters
    ----------
    features : Tensor, shape (..., n_features)
        The rows.
    codebook : Tensor, shape (n_codes, n_features)
        The codes.

    Returns
    -------
    codes : Tensor of int, shape (...)
        Numbers of the codes.
    """
    # |x - c|^2 without |x|^2, which is the same for all codes
    return (codebook.square().sum(-1) - 2.0 * features @ codebook.T).argmin(-1)


def perplexity(codes: Tensor, n_codes: int) -> float:
    """Compute how many codes are in use, as the exponential of an entropy.

    Parameters
    ----------
    codes : Tensor of int
        Numbers of codes.
    n_codes : int
        How many codes there are.

    Returns
    -------
    perplexity : float
        The exponential of the entropy of their shares: from 1, where all are the same,
        to ``n_codes``, where all are as frequent.
    """
    shares = torch.bincount(codes.flatten(), minlength=n_codes).double() / codes.numel()
    return float(torch.special.entr(shares).sum().exp())


class TimeFrequencyCodes(Joint):
    r"""Reconstruct windows, and name the codes of hidden patches in time and frequency.

    The objective ``"time-frequency codes"``. There are two codebooks: one of the
    waveforms of patches (all sensors of a region, divided by their root mean square),
    and one of their spectra (logarithm of power, mean over these sensors). The targets
    are the numbers :math:`k_t` and :math:`k_f` of the nearest code in each. From the
    tokens of the visible part, a small predictor and a linear layer for each codebook
    predict probabilities *p* of all codes at hidden places *M*; the loss is the mean of
    both cross entropies, in units of the logarithm of the number *K* of codes, so that
    guessing costs 1:

    .. math:: L = -\frac{1}{2 |M| \log K} \sum_{i \in M}
              \left( \log p(k_{t,i}) + \log p(k_{f,i}) \right)

    Parameters
    ----------
    weight : float
        Weight of the codes beside the reconstruction.
    n_codes : int
        Codes in each codebook.
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
        If a parameter is out of range; in training, if there are too few patches for so
        many codes.

    Notes
    -----
    Two separate codebooks, for time and for frequency, whose codes are predicted where
    patches are hidden, are the idea of CodeBrain [1]_ (its TFDual-Tokenizer, where a
    code is the nearest by Euclidean distance, and the masked prediction of both codes).
    There, the codebooks are those of a vector-quantising network that is trained first.
    Here, they are found by k-means [2]_ on training windows before pretraining, and
    stay as they are: this has no second network, codes cannot fall out of use, losses
    of epochs can be compared, and processes have nothing more to exchange. How many
    codes are in use (perplexity, from 1 to ``n_codes``) is logged and kept.

    Codebooks, predictor and linear layers are saved with the run, and not with the
    weights.

    References
    ----------
    .. [1] Ma et al. (2026), "CodeBrain: bridging decoupled tokenizer and multi-scale
       architecture for EEG foundation model", ICLR, arXiv:2506.09110, section 3.
    .. [2] Sculley (2010), "Web-scale k-means clustering", WWW, algorithm 1.

    Examples
    --------
    >>> from mne_megfm.pretraining import TimeFrequencyCodes
    >>> TimeFrequencyCodes(n_codes=64).weight
    1.0
    """

    def __init__(
        self,
        weight: float = 1.0,
        n_codes: int = 128,
        width: int = 64,
        n_layers: int = 2,
        reconstruction: str | dict | Objective = "huber+logspec",
    ) -> None:
        super().__init__(weight, reconstruction)
        for name, value, least, step in (
            ("n_codes", n_codes, 2, 1),
            ("width", width, 4, 4),
            ("n_layers", n_layers, 1, 1),
        ):
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if not whole or value < least or value % step:
                raise ValueError(
                    f"Expected {name} to be a whole number of at least {least}"
                    f"{', a multiple of 4,' if step > 1 else ''}, got {value!r}; "
                    "correct it."
                )
        self.n_codes = int(n_codes)
        self.width = int(width)
        self.n_layers = int(n_layers)

    def __repr__(self) -> str:
        return (
            f"TimeFrequencyCodes(weight={self.weight}, n_codes={self.n_codes}, "
            f"width={self.width}, n_layers={self.n_layers}, "
            f"reconstruction={self.reconstruction!r})"
        )

    def build(self, model: Backbone) -> None:
        """Make a predictor with random weights, and codebooks without codes."""
        super().build(model)
        config = model.config
        self.predictor = LatentPredictor(config, self.width, self.n_layers)
        self.time_head = nn.Linear(config.d_model, self.n_codes)
        self.frequency_head = nn.Linear(config.d_model, self.n_codes)
        sizes = config.token_length, config.patch_length // 2 + 1
        for name, size in zip(("time", "frequency"), sizes, strict=True):
            codes = torch.full((self.n_codes, size), math.inf)
            self.register_buffer(f"{name}_codes", codes)
        self.register_buffer("perplexity", torch.zeros(2))

    @torch.no_grad()
    def fit(self, model: Backbone, batch: WindowBatch) -> None:
        """Find the codebooks by k-means on training windows, see `Objective`."""
        self._check_built("predictor")
        at = whole_patches(model.config, batch.n_valid)
        at = at[:, None].expand(-1, model.config.n_regions, -1)
        seed = int(torch.randint(2**31 - 1, (1,)))
        for number, (name, values) in enumerate(
            zip(("time", "frequency"), self._features(model, batch), strict=True)
        ):
            values = _draw(values[at].cpu().numpy(), self.n_codes, seed)
            distinct = len(np.unique(values, axis=0))
            if distinct < self.n_codes:
                raise ValueError(
                    f"Expected at least as many different patches as codes, "
                    f"{self.n_codes}, in the windows to train on, got {distinct}; "
                    "lower n_codes, or give more data."
                )
            found = MiniBatchKMeans(
                self.n_codes, batch_size=2048, n_init=1, random_state=seed
            ).fit(values)
            codes = torch.from_numpy(found.cluster_centers_).float()
            self.get_buffer(f"{name}_codes").copy_(codes)
            used = perplexity(
                nearest_codes(torch.from_numpy(values), codes), self.n_codes
            )
            self.perplexity[number] = used
            logger.info(
                f"Codes in {name}: perplexity {used:.1f} of {self.n_codes}, in "
                f"{len(values)} patches."
            )

    @staticmethod
    def _features(model: Backbone, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        with torch.autocast(batch.windows.device.type, enabled=False):
            # not with the mask: the code of a patch is that of the complete window
            scaled, _ = model.scale(batch.windows, batch.n_valid)
            return patch_features(to_patches(scaled.windows, model.config))

    @torch.no_grad()
    def codes(self, model: Backbone, batch: WindowBatch) -> tuple[Tensor, Tensor]:
        """Find the codes of all patches.

        Parameters
        ----------
        model : Backbone
            The model, for its scale.
        batch : WindowBatch
            Windows.

        Returns
        -------
        time, frequency : Tensor of int, shape (n, n_regions, n_patches)
            Numbers of codes.

        Raises
        ------
        ValueError
            If there are no codebooks yet.
        """
        self._check_built("predictor")
        if not self.time_codes.isfinite().all():
            raise ValueError(
                "Expected codebooks that were fitted to training windows, got none; "
                "call fit(model, batch) first."
            )
        waveform, spectrum = self._features(model, batch)
        with torch.autocast(batch.windows.device.type, enabled=False):
            return (
                nearest_codes(waveform, self.time_codes),
                nearest_codes(spectrum, self.frequency_codes),
            )

    def _term(self, model: Backbone, batch: WindowBatch) -> Tensor:
        known = self.codes(model, batch)
        recorded = valid_patches(batch.n_valid, model.config)
        tokens = model.encode(batch.windows, batch.n_valid, batch.mask)
        predicted = self.predictor(tokens, batch.mask, recorded)
        compared = compared_tokens(model.config, batch)
        heads = self.time_head, self.frequency_head
        logits = [head(predicted).float() for head in heads]
        if not compared.any():
            return sum(x.sum() for x in logits) * 0.0
        losses = [
            F.cross_entropy(x[compared], codes[compared])
            for x, codes in zip(logits, known, strict=True)
        ]
        return sum(losses) / (2.0 * math.log(self.n_codes))


def _draw(values: NDArray, n_codes: int, seed: int) -> NDArray:
    """Draw patches to fit codes to, where there are more than needed."""
    most = max(_N_PATCHES, _N_PER_CODE * n_codes)
    if len(values) <= most:
        return values
    return values[np.random.default_rng(seed).choice(len(values), most, replace=False)]


# -- embeddings ------------------------------------------------------------------------
class ContrastiveRegression(Joint):
    r"""Reconstruct windows, and predict the embedding of the stimulus of each.

    The objective ``"contrastive"``. A linear projection of the mean token of the
    visible part predicts an embedding that is given for each window, as of the image or
    the word that was shown. The loss joins a contrastive and a regression term [1]_,
    section 2.2, see ``contrastive_regression_loss`` of :mod:`mne_megfm.models`:

    .. math:: L = \lambda L_\mathrm{CLIP} + (1 - \lambda) L_\mathrm{MSE}

    Parameters
    ----------
    weight : float
        Weight of the embeddings beside the reconstruction.
    balance : float
        The share :math:`\lambda` of the contrastive term, from 0 to 1.
    reconstruction : str | dict | MaskedReconstruction
        Name of an objective that reconstructs, a dict of its ``name`` and arguments, or
        such an objective.

    Raises
    ------
    ValueError
        If a parameter is out of range; in training, if windows have no embeddings.

    See Also
    --------
    mne_megfm.MEGFMRetriever : Find what was shown, from features.

    Notes
    -----
    Embeddings are the ``targets`` of the windows: of a store, the ``embeddings`` of
    :func:`~mne_megfm.archive.prepare` or the ``targets`` of
    :meth:`~mne_megfm.store.WindowStore.append`; in `fit` of a
    :class:`~mne_megfm.MEGFMTransformer`, ``y``. Each dimension is scaled to mean 0 and
    variance 1 over training windows. Windows with equal embeddings are of one stimulus,
    and no alternatives to each other. Alternatives are the windows of a batch (or of
    its part, where it is computed in parts).

    Projection, temperature and scaling are saved with the run, not with the weights.
    The network of the reference is trained from the start, without reconstruction.

    References
    ----------
    .. [1] Benchetrit, Banville & King (2024), "Brain decoding: toward real-time
       reconstruction of visual perception", ICLR, arXiv:2310.19812.

    Examples
    --------
    >>> from mne_megfm.pretraining import ContrastiveRegression
    >>> ContrastiveRegression(balance=0.5).needs_targets
    True
    """

    needs_targets = True

    def __init__(
        self,
        weight: float = 1.0,
        balance: float = 0.75,
        reconstruction: str | dict | Objective = "huber+logspec",
    ) -> None:
        super().__init__(weight, reconstruction)
        if not isinstance(balance, Real) or not 0 <= balance <= 1:
            raise ValueError(
                f"Expected balance to be a share from 0 to 1, got {balance!r}; 0.75 is "
                "usual."
            )
        self.balance = float(balance)

    def __repr__(self) -> str:
        return (
            f"ContrastiveRegression(weight={self.weight}, balance={self.balance}, "
            f"reconstruction={self.reconstruction!r})"
        )

    @torch.no_grad()
    def fit(self, model: Backbone, batch: WindowBatch) -> None:
        """Make a projection to embeddings of the size of those given."""
        known = _embeddings(batch).cpu().double()
        spread = known.std(0, correction=0)
        if not spread.any():
            raise ValueError(
                "Expected embeddings of different stimuli in the windows to train on, "
                "got the same for all; give one for each stimulus."
            )
        self.projection = EmbeddingProjection(model.config.d_model, known.shape[1])
        self.register_buffer("mean", known.mean(0).float())
        # a dimension that is constant stays at 0
        self.register_buffer("scale", torch.where(spread > 0, spread, 1.0).float())

    def _term(self, model: Backbone, batch: WindowBatch) -> Tensor:
        self._check_built("projection", "fit(model, batch)")
        known = (_embeddings(batch) - self.mean) / self.scale
        features = visible_mean(model, batch)
        return self.projection.loss(features, known, self.balance)


def _embeddings(batch: WindowBatch) -> Tensor:
    """Give the targets of windows, if they are embeddings."""
    known = batch.targets
    if known is None or known.ndim != 2 or not known.isfinite().all():
        got = "none" if known is None else f"targets of shape {tuple(known.shape)}"
        raise ValueError(
            "Expected an embedding of each window, finite numbers of shape (n_windows, "
            f"n_dims), got {got}; give them as y in fit, or as targets of the windows."
        )
    return known.float()
