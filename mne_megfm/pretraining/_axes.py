"""Axes of tokens, for compact pooling."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..models import STATES, MaskedSignalTransformer
from ._trials import state_kind
from ._windows import WindowArray

#: Recordings that are needed to tell what is the same in all windows of one, and how
#: many windows of each.
MIN_RECORDINGS, MIN_WINDOWS = 20, 10
# of the mean variance: directions that hardly vary must not look reproducible
_SHRINKAGE = 1e-3


def fit_token_axes(
    model: MaskedSignalTransformer,
    windows: WindowArray,
    n_windows: int,
    *,
    index: np.ndarray | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> None:
    """Find axes of a model's tokens for compact pooling, and keep them in it.

    Tokens have a mean of their own at every region and patch; each region has axes of
    what varies around it. They are those of denoising source separation [1]_: along
    them, averages over the windows of a recording vary most over the patches of a
    window, relative to single windows. That is what comes again in each window, the
    response to a stimulus; recordings of rest, where states are known, have none. Each
    has unit variance over ``n_components``. Of fewer than 20 recordings of ten windows
    they are the principal axes instead, scaled so that tokens have unit variance in
    total and strong axes stay strong.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The model, changed in place.
    windows : WindowArray | WindowStore
        Windows in tesla, with their recordings.
    n_windows : int
        How many to look at, of recordings in random order.
    index : array of int, optional
        Windows to choose from; all by default.
    batch_size : int
        Windows at a time.
    seed : int
        Seed of the choice.

    References
    ----------
    .. [1] de Cheveigné & Simon (2008), "Denoising based on spatial filtering",
       J. Neurosci. Methods 171, section 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.pretraining import WindowArray, fit_token_axes
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> data = np.random.default_rng(0).standard_normal((8, 192, 250))
    >>> fit_token_axes(model, WindowArray(data, unit=1e-13), 8)
    >>> model.token_axes.shape
    torch.Size([24, 16, 32])
    """
    index = np.arange(len(windows)) if index is None else np.asarray(index)
    recording = np.asarray(windows.recording)
    index = _choose(recording, index, n_windows, seed)
    names, which = np.unique(recording[index], return_inverse=True)
    device = next(model.parameters()).device
    config = model.config
    shape = (config.n_regions, config.n_patches)
    total = torch.zeros(len(names), *shape, config.d_model)
    count = torch.zeros(len(names), *shape, 1)
    outer = torch.zeros(config.n_regions, config.d_model, config.d_model).double()
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(index), batch_size):
            part = slice(start, start + batch_size)
            data, n_valid = map(torch.as_tensor, windows.take(index[part]))
            tokens = model.encode(data.to(device), n_valid.to(device)).cpu()
            seen = (tokens != 0).any(-1, keepdim=True).float()
            at = torch.from_numpy(which[part])
            total.index_add_(0, at, tokens)
            count.index_add_(0, at, seen)
            flat = tokens.double().transpose(0, 1).flatten(1, 2)
            outer += flat.mT @ flat
    everything, seen = total.double().sum(0), count.double().sum(0)
    mean = everything / seen.clamp(min=1)
    if len(index) == 1:
        # one window does not vary around its own tokens, only from place to place
        mean = (everything.sum((0, 1)) / seen.sum()).expand_as(mean)
    around = outer - torch.einsum("rpd,rpe->rde", mean * seen, mean)
    covariance = around / seen.sum(1)[..., None]
    axes = _principal(covariance, config.n_components)
    usual = np.bincount(which) >= MIN_WINDOWS
    if windows.state is not None:
        _, first = np.unique(which, return_index=True)
        states = np.asarray(windows.state)[index[first]]
        usual &= [STATES[state_kind(str(state))] != "rest" for state in states]
    if usual.sum() >= MIN_RECORDINGS:
        of = torch.from_numpy(usual)
        axes = _reproducible(
            covariance, total[of], count[of], mean, config.n_components
        )
    # eigenvectors have no sign of their own: fix it, for reproducible features
    largest = axes.gather(2, axes.abs().argmax(2, keepdim=True))
    model.set_token_axes(mean.float(), (axes * largest.sign()).float())


def _choose(
    recording: np.ndarray, index: np.ndarray, n_windows: int, seed: int
) -> np.ndarray:
    """Choose windows of recordings in random order, so that most are whole."""
    rng = np.random.default_rng(seed)
    names, which = np.unique(recording[index], return_inverse=True)
    rank = rng.permutation(len(names))[which]
    return index[np.lexsort((rng.random(len(index)), rank))[:n_windows]]


def _principal(covariance: Tensor, n_components: int) -> Tensor:
    """Find the principal axes of each region, shape (n_regions, n_components, d)."""
    vectors = torch.linalg.eigh(covariance)[1].flip(2)[..., :n_components]
    power = covariance.diagonal(dim1=1, dim2=2).sum(1).mean()
    return vectors.mT / power.sqrt().clamp(min=1e-12)


def _reproducible(
    covariance: Tensor, total: Tensor, count: Tensor, mean: Tensor, n_components: int
) -> Tensor:
    """Find where averages over windows vary, shape as of principal axes."""
    around = total.double() / count.clamp(min=1) - mean
    # what lasts through the window is no response: it tells recordings apart
    around = around - around.mean(2, keepdim=True)
    averages = torch.einsum("arpd,arpe->rde", around * count, around)
    n_values = covariance.shape[-1]
    power = covariance.diagonal(dim1=1, dim2=2).mean(1)
    ridge = (_SHRINKAGE * power).clamp(min=1e-12)[:, None, None]
    single = covariance + ridge * torch.eye(n_values, dtype=covariance.dtype)
    # whiten single windows; the leading axes of averages are then those of the ratio
    factor = torch.linalg.cholesky(single)
    half = torch.linalg.solve_triangular(factor, averages, upper=False)
    ratio = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    vectors = torch.linalg.eigh((ratio + ratio.mT) / 2)[1].flip(2)[..., :n_components]
    axes = torch.linalg.solve_triangular(factor.mT, vectors, upper=True)
    return axes.mT / n_components**0.5
