"""The transformer layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention over tokens (Vaswani et al. 2017, eq. 1).

    There is no dropout, so evaluation is deterministic by construction.
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def _split(self, x: Tensor) -> Tensor:
        n, length, d_model = x.shape
        return (
            self.qkv(x)
            .view(n, length, 3, self.n_heads, d_model // self.n_heads)
            .permute(2, 0, 3, 1, 4)
        )

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Attend to the tokens that ``seen (n, length)`` marks, or to all."""
        query, key, value = self._split(x)
        bias = None if seen is None else seen[:, None, None, :]
        if query.dtype is torch.bfloat16 and query.device.type == "cpu":
            # the fused kernel's backward pass is several times slower there
            scores = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
            if bias is not None:
                # not -inf: a row without any visible token must stay finite, or its
                # gradient spoils the whole batch
                scores = scores.masked_fill(~bias, torch.finfo(scores.dtype).min)
            mixed = scores.softmax(-1) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    """Pre-norm transformer layer (Xiong et al. 2020, fig. 1b)."""

    def __init__(self, d_model: int, n_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(d_model * mlp_ratio)
        self.norm1 = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, n_heads)
        self.norm2 = nn.LayerNorm(d_model)
        self.expand = nn.Linear(d_model, hidden)
        self.contract = nn.Linear(hidden, d_model)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Mix tokens, then transform each of them."""
        x = x + self.attention(self.norm1(x), seen)
        hidden = F.gelu(self.expand(self.norm2(x)), approximate="tanh")
        return x + self.contract(hidden)


def initialize(module: nn.Module) -> None:
    """Start linear layers from a truncated normal, as vision transformers do."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def gather_visible(tokens: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pack the visible tokens of each row to the front.

    Parameters
    ----------
    tokens : Tensor, shape (n, length, d_model)
        All tokens.
    hidden : Tensor of bool, shape (n, length)
        Tokens to leave out.

    Returns
    -------
    packed : Tensor, shape (n, most, d_model)
        Visible tokens, in order; rows with fewer end with hidden ones.
    index : Tensor of int, shape (n, most)
        Where each came from.
    real : Tensor of bool, shape (n, most)
        False for the hidden tokens at the end of short rows.
    """
    most = int((~hidden).sum(1).max())
    # a stable sort keeps the order of the tokens
    index = hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    packed = tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
    return packed, index, ~hidden.gather(1, index)
