"""Read-outs that tell responses from the tokens of single windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..models import MaskedSignalTransformer, ModelConfig, valid_patches
from ._windows import WindowArray

# signals are known by so many axes of the lead fields, and steps of a patch
_N_SPACE, _N_STEPS = 40, 5
# of the mean variance: directions that hardly vary must not look reproducible
_SHRINKAGE = 1e-2
# of the mean variance of tokens, for the regression
_RIDGE = 1e-4
# single windows and averages of each recording that are regressed on
_N_SINGLES, _N_AVERAGES = 12, 6
# share of the windows that is averaged at most: the others are the target
_MOST = 0.6


def read_responses(
    model: MaskedSignalTransformer,
    windows: WindowArray,
    recordings: Sequence[np.ndarray],
    token_mean: Tensor,
    *,
    seed: int = 0,
) -> Tensor:
    """Find what the tokens of each region tell of the response over all regions.

    The response is known by ``n_components`` coordinates of each patch, see
    `response_axes`. Ridge regression predicts the coordinates of the average of some
    windows of a recording from the tokens of *others*, a single one or an average,
    so that noise of what it is told from cannot help it: it is regression on a noisy
    target [1]_. Each region predicts by itself. A recording weighs the less the more
    noise it has.

    Parameters
    ----------
    model : MaskedSignalTransformer
        Whose tokens are read.
    windows : WindowArray | WindowStore
        Windows in tesla.
    recordings : sequence of array of int
        Windows of each recording with a response; at least two each.
    token_mean : Tensor, shape (n_regions, n_patches, d_model)
        Mean token at every place.
    seed : int
        Seed of the draw of windows that are averaged.

    Returns
    -------
    readouts : Tensor, shape (n_regions, n_components, d_model)
        Rows to project the tokens of a region on, the strongest coordinate first.

    References
    ----------
    .. [1] Lehtinen et al. (2018), "Noise2Noise: learning image restoration without
       clean data", ICML, section 2.
    """
    config = model.config
    device = next(model.parameters()).device
    space = field_axes(model)
    usual, axes = response_axes(windows, recordings, model)
    gram = torch.zeros(config.n_regions, config.d_model, config.d_model).double()
    cross = torch.zeros(config.n_regions, config.d_model, config.n_components).double()
    rng = np.random.default_rng(seed)
    for own in recordings:
        data, n_valid = (torch.as_tensor(x).to(device) for x in windows.take(own))
        n_valid = n_valid.min().expand(len(own))
        recorded = valid_patches(n_valid, config)[0]
        known = (coordinates(data, n_valid, space, config) - usual)[
            :, recorded
        ] @ axes.T
        noise = known.var(0).mean().clamp(min=1e-12)
        parts = _draw_parts(len(own), rng).to(device)
        share = parts / parts.sum(1, keepdim=True)
        rest = 1.0 - parts
        target = torch.einsum("gn,npk->gpk", rest / rest.sum(1, keepdim=True), known)
        averaged = torch.einsum("gn,nst->gst", share, data)
        with torch.inference_mode():
            tokens = model.encode(averaged, n_valid[:1].expand(len(parts)))
        tokens = (tokens - token_mean.to(tokens))[:, :, recorded].cpu().double()
        tokens = tokens.transpose(0, 1).flatten(1, 2)
        target = target.flatten(0, 1).cpu().double()
        weight = 1.0 / noise.cpu().double()
        gram += weight * (tokens.mT @ tokens)
        cross += weight * (tokens.mT @ target)
    ridge = _RIDGE * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
    ridge = ridge[:, None, None] * torch.eye(config.d_model, dtype=gram.dtype)
    return torch.linalg.solve(gram + ridge, cross).mT


def response_axes(
    windows: WindowArray,
    recordings: Sequence[np.ndarray],
    model: MaskedSignalTransformer,
) -> tuple[Tensor, Tensor]:
    """Find the axes along which averages of a recording vary most over the window.

    They are those of denoising source separation [1]_: averages over the windows of a
    recording, relative to single windows, patch by patch, so that it does not matter
    when a stimulus came.

    Parameters
    ----------
    windows : WindowArray | WindowStore
        Windows in tesla.
    recordings : sequence of array of int
        Windows of each recording.
    model : MaskedSignalTransformer
        Whose regions and patches are meant.

    Returns
    -------
    usual : Tensor, shape (n_patches, n_values)
        Mean `coordinates` of each patch.
    axes : Tensor, shape (n_components, n_values)
        Rows to project `coordinates` on, such that single windows have unit variance.

    References
    ----------
    .. [1] de Cheveigné & Simon (2008), "Denoising based on spatial filtering",
       J. Neurosci. Methods 171, section 2.2.
    """
    averages, counts, sizes, outer = [], [], [], 0.0
    config, space = model.config, field_axes(model)
    for own in recordings:
        data, n_valid = (
            torch.as_tensor(x).to(model.kernel.device) for x in windows.take(own)
        )
        values = coordinates(data, n_valid, space, config).double()
        seen = valid_patches(n_valid, config)[..., None].double()
        size = (values * seen).square().mean().sqrt().clamp(min=1e-12)
        averages.append((values * seen).sum(0) / seen.sum(0).clamp(min=1))
        counts.append(seen.sum(0))
        sizes.append(size)
        flat = (values * seen / size).flatten(0, 1)
        outer = outer + flat.mT @ flat
    average, count = torch.stack(averages), torch.stack(counts)
    usual = (average * count).sum(0) / count.sum(0).clamp(min=1)
    # all recordings count alike, however large their fields
    average = average / torch.stack(sizes)[:, None, None]
    mean = (average * count).sum(0) / count.sum(0).clamp(min=1)
    single = outer - torch.einsum("pd,pe->de", mean * count.sum(0), mean)
    single = single / count.sum()
    around = (average - mean) * (count > 0)
    # what lasts through the window is no response: it tells recordings apart
    lasting = around.sum(1, keepdim=True) / (count > 0).sum(1, keepdim=True)
    around = (around - lasting) * count.sqrt()
    signal = torch.einsum("apd,ape->de", around, around)
    n_values = len(single)
    ridge = (_SHRINKAGE * single.diagonal().mean()).clamp(min=1e-12)
    single = single + ridge * torch.eye(n_values).to(single)
    # whiten single windows; the leading axes of averages are then those of the ratio
    factor = torch.linalg.cholesky(single)
    half = torch.linalg.solve_triangular(factor, signal, upper=False)
    ratio = torch.linalg.solve_triangular(factor, half.mT, upper=False)
    vectors = torch.linalg.eigh((ratio + ratio.mT) / 2)[1].flip(1)
    vectors = vectors[:, : config.n_components]
    axes = torch.linalg.solve_triangular(factor.mT, vectors, upper=True).mT
    # eigenvectors have no sign of their own: fix it, for reproducible features
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return usual.float(), (axes * largest.sign()).float()


def field_axes(model: MaskedSignalTransformer) -> Tensor:
    """Find the leading axes of the lead fields.

    Parameters
    ----------
    model : MaskedSignalTransformer
        Its kernel is taken.

    Returns
    -------
    space : Tensor, shape (n_sensors, n_space)
        Up to 40 orthonormal columns, the strongest first.
    """
    vectors = torch.linalg.eigh(model.kernel.double())[1].flip(1)
    return vectors[:, :_N_SPACE].to(model.kernel)


def coordinates(
    windows: Tensor, n_valid: Tensor, space: Tensor, config: ModelConfig
) -> Tensor:
    """Bring windows to few numbers a patch.

    Parameters
    ----------
    windows : Tensor, shape (n, n_sensors, n_times)
        Field in tesla; zero where not recorded.
    n_valid : Tensor of int, shape (n,)
        Recorded samples of each window.
    space : Tensor, shape (n_sensors, n_space)
        As of `field_axes`.
    config : ModelConfig
        Patches and unit.

    Returns
    -------
    values : Tensor, shape (n, n_patches, n_values)
        Strengths of the axes in up to five steps a patch, in the network's unit, around
        their mean over the window.
    """
    inside = torch.arange(windows.shape[-1], device=windows.device) < n_valid[:, None]
    mean = windows.sum(-1, keepdim=True) / n_valid[:, None, None]
    centred = torch.where(inside[:, None], windows - mean, 0.0) / config.scale
    n_steps = min(_N_STEPS, config.patch_length)
    strength = space.mT @ centred
    strength = F.adaptive_avg_pool1d(strength, config.n_patches * n_steps)
    return strength.unflatten(2, (-1, n_steps)).transpose(1, 2).flatten(2)


def _draw_parts(n: int, rng: np.random.Generator) -> Tensor:
    """Draw which windows are averaged: single ones and parts of growing size."""
    singles = rng.permutation(n)[:_N_SINGLES]
    most = max(int(_MOST * n), 1)
    sizes = np.geomspace(min(2, most), most, _N_AVERAGES).round().astype(int)
    parts = torch.zeros(len(singles) + _N_AVERAGES, n)
    parts[torch.arange(len(singles)), torch.from_numpy(singles)] = 1.0
    for row, size in enumerate(sizes, len(singles)):
        parts[row, torch.from_numpy(rng.permutation(n)[:size])] = 1.0
    return parts
