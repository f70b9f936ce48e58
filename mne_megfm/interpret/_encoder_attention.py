"""Attention of the encoder, computed again from what its layers were given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..models import MaskedSignalTransformer


class LayerAttention(NamedTuple):
    """What a layer's attention did with some windows.

    Parameters
    ----------
    weights : Tensor, shape (n, n_heads, n_tokens, n_tokens)
        Share of each token (last axis) in what each token (the axis before) receives.
        Rows sum to 1.
    values : Tensor, shape (n, n_heads, n_tokens, d_model)
        What each token hands on through each head, after the output projection but
        without its bias: ``weights @ values``, summed over heads, plus the bias is
        the layer's attention output (Kobayashi et al. 2020, eq. 5).
    """

    weights: Tensor
    values: Tensor


def encoder_attention(
    model: MaskedSignalTransformer,
    windows: Tensor,
    n_valid: Tensor,
    layers: Sequence[int],
) -> list[LayerAttention]:
    """Compute the attention of layers of the encoder.

    The network runs as it is, with its fused attention; hooks keep what the attention
    of each layer is given, and weights are computed from that. So nothing that is
    predicted changes by looking.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The network, in evaluation mode.
    windows : Tensor, shape (n, n_sensors, n_times)
        Canonical field in tesla.
    n_valid : Tensor of int, shape (n,)
        Recorded samples, in as many patches in each window. Patches after these are
        padding, which the encoder does not see.
    layers : sequence of int
        Which layers.

    Returns
    -------
    found : list of LayerAttention
        In the order of ``layers``. Token ``region * n_patches + patch`` is the region
        during the patch, of the patches that are recorded.
    """
    given: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
        given[module] = args[0]

    parts = [model.blocks[layer].attention for layer in layers]
    hooks = [part.register_forward_pre_hook(keep) for part in parts]
    try:
        with torch.inference_mode():
            model.encode(windows, n_valid, n_layers=len(model.blocks))
            return [_recompute(part, given[part]) for part in parts]
    finally:
        for hook in hooks:
            hook.remove()


def _recompute(attention: nn.Module, tokens: Tensor) -> LayerAttention:
    """Compute weights and values of one layer from its input."""
    n, n_tokens, d_model = tokens.shape
    n_heads = attention.n_heads
    size = d_model // n_heads
    parts = attention.qkv(tokens).view(n, n_tokens, 3, n_heads, size)
    query, key, value = parts.permute(2, 0, 3, 1, 4)
    weights = ((query @ key.transpose(-1, -2)) * size**-0.5).softmax(-1)
    # through the layer itself, whatever it is made of: each head with the others at 0
    apart = torch.zeros(n, n_heads, n_tokens, n_heads, size, device=tokens.device)
    for head in range(n_heads):
        apart[:, head, :, head] = value[:, head]
    bias = attention.out(torch.zeros(d_model, device=tokens.device))
    return LayerAttention(weights, attention.out(apart.flatten(-2)) - bias)


def rollout(layers: list[LayerAttention], head: int | None) -> Tensor:
    """Follow attention through the layers, half of it staying where it is.

    Abnar and Zuidema (2020), section 3: the product of ``(A + I) / 2`` over layers.

    Parameters
    ----------
    layers : list of LayerAttention
        From the first layer on.
    head : int | None
        The head; None averages them in each layer.

    Returns
    -------
    weights : Tensor, shape (n, n_tokens, n_tokens)
        Share of each input token (last axis) in each token. Rows sum to 1.
    """
    total = None
    for layer in layers:
        weights = layer.weights.mean(1) if head is None else layer.weights[:, head]
        stay = torch.eye(weights.shape[-1], device=weights.device)
        step = (weights + stay) / 2
        total = step if total is None else step @ total
    return total


def carried_norms(layer: LayerAttention, head: int | None) -> Tensor:
    """Measure what attention carries: the norm of weight times value.

    Kobayashi et al. (2020), eq. 6; heads are summed before the norm is taken.

    Parameters
    ----------
    layer : LayerAttention
        The layer.
    head : int | None
        One head alone; None takes all.

    Returns
    -------
    norms : Tensor, shape (n, n_tokens, n_tokens)
        Norm of what each token (last axis) hands to each.
    """
    weights, values = _heads(layer, head)
    gram = torch.einsum("nhkd,ngkd->nhgk", values, values)
    total = torch.einsum("nhqk,nhgk,ngqk->nqk", weights, gram, weights)
    return total.clamp(min=0).sqrt()


def carried_between(layer: LayerAttention, head: int | None, n_regions: int) -> Tensor:
    """Measure what attention carries between regions within a patch.

    As `carried_norms`, for those pairs of tokens alone, which are a tenth of all.

    Parameters
    ----------
    layer : LayerAttention
        The layer.
    head : int | None
        One head alone; None takes all.
    n_regions : int
        Regions of the array.

    Returns
    -------
    norms : Tensor, shape (n, n_regions, n_regions, n_patches)
        Norm of what each region (second axis of regions) hands to each.
    """
    weights, values = _heads(layer, head)
    n, n_heads = weights.shape[:2]
    weights = weights.reshape(
        n, n_heads, n_regions, -1, n_regions, weights.shape[-1] // n_regions
    )
    same = weights.diagonal(dim1=3, dim2=5)
    values = values.unflatten(2, (n_regions, -1))
    gram = torch.einsum("nhktd,ngktd->nhgkt", values, values)
    total = torch.einsum("nhqkt,nhgkt,ngqkt->nqkt", same, gram, same)
    return total.clamp(min=0).sqrt()


def _heads(layer: LayerAttention, head: int | None) -> tuple[Tensor, Tensor]:
    if head is None:
        return layer.weights, layer.values
    return layer.weights[:, [head]], layer.values[:, [head]]
