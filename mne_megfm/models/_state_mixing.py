"""A predictor that reads the states of a participant one after another."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class StateMixingPredictor(nn.Module):
    """Outputs for participants: a linear part, and cross-attention over their states.

    What is known of a state is projected by fixed axes. Outputs are a linear function
    of the mean of the projected states, plus one of a token that goes through the
    states in their order: of each it takes what attention from the token to the state
    gives [1]_, and it passes by those that are missing. The second part begins at zero,
    so that training starts from the linear part. While it is trained, states are left
    out at random, one at least stays.

    Parameters
    ----------
    centre : Tensor, shape (n_states, n_features)
        Mean of each state.
    axes : Tensor, shape (n_components, n_features)
        Axes of the projection.
    n_outputs : int
        Outputs.
    d_model, n_tokens, n_heads : int
        Width, tokens that stand for a state, and heads of attention.
    state_dropout : float
        Share of the states that is left out in training.

    References
    ----------
    .. [1] Liu et al. (2023), "Cascaded multi-modal mixing transformers for Alzheimer's
       disease classification with incomplete data", NeuroImage 277:120267, section 2.
    """

    def __init__(
        self,
        centre: Tensor,
        axes: Tensor,
        n_outputs: int,
        d_model: int = 32,
        n_tokens: int = 4,
        n_heads: int = 4,
        state_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.register_buffer("centre", centre.clone())
        self.register_buffer("axes", axes.clone())
        self.n_tokens, self.state_dropout = n_tokens, state_dropout
        self.linear = nn.Linear(len(axes), n_outputs)
        self.start = nn.Parameter(0.02 * torch.randn(1, 1, d_model))
        n_states = len(centre)
        self.enter = nn.ModuleList(
            nn.Linear(len(axes), n_tokens * d_model) for _ in range(n_states)
        )
        self.attention = nn.ModuleList(
            nn.MultiheadAttention(d_model, n_heads, batch_first=True)
            for _ in range(n_states)
        )
        self.mlp = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(d_model),
                nn.Linear(d_model, 2 * d_model),
                nn.GELU(),
                nn.Linear(2 * d_model, d_model),
            )
            for _ in range(n_states)
        )
        self.query = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(n_states))
        self.norm = nn.LayerNorm(d_model)
        self.correction = nn.Linear(d_model, n_outputs, bias=False)
        nn.init.zeros_(self.correction.weight)

    def project(self, states: Tensor, seen: Tensor) -> Tensor:
        """Project states on the axes.

        Parameters
        ----------
        states : Tensor, shape (n, n_states, n_features)
            What is known of each state.
        seen : Tensor of bool, shape (n, n_states)
            False for missing states.

        Returns
        -------
        projected : Tensor, shape (n, n_states, n_components)
            Numbers of the order of 1; zero where missing.
        """
        projected = (states - self.centre) @ self.axes.T
        return torch.where(seen[..., None], projected, 0.0)

    def forward(self, states: Tensor, seen: Tensor) -> Tensor:
        """Compute outputs.

        Parameters
        ----------
        states : Tensor, shape (n, n_states, n_features)
            What is known of each state; finite, also where missing.
        seen : Tensor of bool, shape (n, n_states)
            False for missing states.

        Returns
        -------
        outputs : Tensor, shape (n, n_outputs)
            One row a participant.
        """
        if self.training:
            seen = self._drop(seen)
        projected = self.project(states, seen)
        mean = projected.sum(1) / seen.sum(1, keepdim=True).clamp(min=1)
        token = self.start.expand(len(states), 1, -1)
        for state, enter in enumerate(self.enter):
            there = seen[:, state, None, None]
            keys = enter(projected[:, state]).unflatten(1, (self.n_tokens, -1))
            query = self.query[state](token)
            found = self.attention[state](query, keys, keys, need_weights=False)[0]
            mixed = token + found
            mixed = mixed + self.mlp[state](mixed)
            token = torch.where(there, mixed, token)
        return self.linear(mean) + self.correction(self.norm(token[:, 0]))

    def _drop(self, seen: Tensor) -> Tensor:
        """Leave out states at random; of each participant at least one stays."""
        draw = torch.rand(seen.shape, device=seen.device).masked_fill(~seen, -1.0)
        kept = draw >= self.state_dropout
        first = torch.zeros_like(seen).scatter_(1, draw.argmax(1, keepdim=True), True)
        return (kept | first) & seen
