"""Axes of tokens, for compact pooling."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..models import STATES, MaskedSignalTransformer
from ._responses import read_responses
from ._trials import state_kind
from ._windows import WindowArray

#: Recordings that are needed to tell what is the same in all windows of one, and how
#: many windows of each.
MIN_RECORDINGS, MIN_WINDOWS = 20, 10


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
    what varies around it. They are read-outs of responses: what is the same in each
    window of a recording is predicted from a single window, or from an average of
    some, for the average of the *other* windows (see ``read_responses``). Recordings
    of rest, where states are known, have no response. The projections have unit
    variance in total, and strong axes stay strong. Of fewer than 20 recordings of ten
    windows they are the principal axes instead, scaled so that tokens have unit
    variance in total.

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
    index = _choose(np.asarray(windows.recording), index, n_windows, seed)
    model.eval()
    mean, covariance = _moments(model, windows, index, batch_size)
    responding = _responding(windows, index)
    if len(responding) < MIN_RECORDINGS:
        axes = _principal(covariance, model.config.n_components)
        power = covariance.diagonal(dim1=1, dim2=2).sum(1)
    else:
        axes = read_responses(model, windows, responding, mean, seed=seed)
        power = torch.einsum("rkd,rde,rke->r", axes, covariance, axes)
    axes = axes / power.mean().sqrt().clamp(min=1e-12)
    model.set_token_axes(mean.float(), axes.float())


def _choose(
    recording: np.ndarray, index: np.ndarray, n_windows: int, seed: int
) -> np.ndarray:
    """Choose windows of recordings in random order, so that most are whole."""
    rng = np.random.default_rng(seed)
    names, which = np.unique(recording[index], return_inverse=True)
    rank = rng.permutation(len(names))[which]
    return index[np.lexsort((rng.random(len(index)), rank))[:n_windows]]


def _responding(windows: WindowArray, index: np.ndarray) -> list[np.ndarray]:
    """Find the windows of each recording that may hold a response."""
    recording, found = np.asarray(windows.recording)[index], []
    for name in np.unique(recording):
        own = np.sort(index[recording == name])
        state = None if windows.state is None else str(windows.state[own[0]])
        rest = state is not None and STATES[state_kind(state)] == "rest"
        if len(own) >= MIN_WINDOWS and not rest:
            found.append(own)
    return found


def _moments(
    model: MaskedSignalTransformer,
    windows: WindowArray,
    index: np.ndarray,
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """Mean token at each place, and the covariance of each region's around it."""
    config = model.config
    device = next(model.parameters()).device
    total = torch.zeros(config.n_regions, config.n_patches, config.d_model).double()
    seen = torch.zeros(config.n_regions, config.n_patches, 1).double()
    outer = torch.zeros(config.n_regions, config.d_model, config.d_model).double()
    with torch.inference_mode():
        for start in range(0, len(index), batch_size):
            part = windows.take(index[start : start + batch_size])
            data, n_valid = map(torch.as_tensor, part)
            tokens = model.encode(data.to(device), n_valid.to(device)).cpu().double()
            total += tokens.sum(0)
            seen += (tokens != 0).any(-1, keepdim=True).sum(0)
            flat = tokens.transpose(0, 1).flatten(1, 2)
            outer += flat.mT @ flat
    mean = total / seen.clamp(min=1)
    if len(index) == 1:
        # one window does not vary around its own tokens, only from place to place
        mean = (total.sum((0, 1)) / seen.sum()).expand_as(mean)
    around = outer - torch.einsum("rpd,rpe->rde", mean * seen, mean)
    return mean, around / seen.sum(1)[..., None]


def _principal(covariance: Tensor, n_components: int) -> Tensor:
    """Find the principal axes of each region, shape (n_regions, n_components, d)."""
    axes = torch.linalg.eigh(covariance)[1].flip(2)[..., :n_components].mT
    # eigenvectors have no sign of their own: fix it, for reproducible features
    largest = axes.gather(2, axes.abs().argmax(2, keepdim=True))
    return axes * largest.sign()
