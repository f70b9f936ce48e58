"""Selective state-space layers: sequences of any length, linear in time.

Plain torch, for any device. The recurrence is a first-order linear one, so that it is
computed by an associative scan; the tests compare it with a loop over steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def associative_scan(decay: Tensor, given: Tensor) -> Tensor:
    r"""Compute a first-order linear recurrence over the second axis in parallel.

    :math:`h_t = a_t h_{t-1} + b_t` with :math:`h_{-1} = 0`. Pairs of neighbouring steps
    are one step of :math:`(a_2 a_1, a_2 b_1 + b_2)`, an associative operation [1]_:
    states after pairs come from a scan of half the length, and those between from one
    more step. The work grows linearly, the depth with the logarithm of the length.

    Parameters
    ----------
    decay : Tensor, shape (n, n_steps, ...)
        Factors :math:`a_t`.
    given : Tensor, shape (n, n_steps, ...)
        What is added, :math:`b_t`.

    Returns
    -------
    states : Tensor, shape (n, n_steps, ...)
        All :math:`h_t`.

    References
    ----------
    .. [1] Blelloch (1990), "Prefix sums and their applications", CMU-CS-90-190,
       section 1.4 (recurrences).

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import associative_scan
    >>> associative_scan(torch.full((1, 4), 0.5), torch.ones(1, 4))
    tensor([[1.0000, 1.5000, 1.7500, 1.8750]])
    """
    n_steps = given.shape[1]
    if n_steps < 2:
        return given
    paired = n_steps - n_steps % 2
    first_a, second_a = decay[:, 0:paired:2], decay[:, 1:paired:2]
    first_b, second_b = given[:, 0:paired:2], given[:, 1:paired:2]
    after = associative_scan(second_a * first_a, second_a * first_b + second_b)
    # what comes before each first step of a pair, and before a last step without one
    before = F.pad(after.movedim(1, -1), (1, 0)).movedim(-1, 1)
    n_first = n_steps - paired // 2
    between = decay[:, 0::2] * before[:, :n_first] + given[:, 0::2]
    states = torch.stack([between[:, : paired // 2], after], 2).flatten(1, 2)
    return torch.cat([states, between[:, paired // 2 :]], 1)


class SelectiveStateSpace(nn.Module):
    r"""Diagonal state space whose step, input and output depend on the input.

    With :math:`\Delta_t = \operatorname{softplus}(W_\Delta x_t + b_\Delta)`,
    :math:`B_t = W_B x_t` and :math:`C_t = W_C x_t` (selection, [1]_, algorithm 2), each
    channel has a state of ``d_state`` numbers, by zero-order hold ([1]_, eq. 4):

    .. math::

       h_t = e^{\Delta_t A} h_{t-1} + (\Delta_t A)^{-1} (e^{\Delta_t A} - 1)
       \Delta_t B_t x_t, \qquad y_t = C_t h_t + D x_t

    with a diagonal *A* of negative numbers, -1 to ``-d_state`` at the start. Steps
    that are not seen have :math:`\Delta_t = 0`: they leave the state as it is.

    Parameters
    ----------
    d_model : int
        Channels.
    d_state : int
        Numbers of the state of each channel.

    References
    ----------
    .. [1] Gu & Dao (2023), "Mamba: linear-time sequence modeling with selective state
       spaces", arXiv:2312.00752, eq. 2 and 4, algorithm 2.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import SelectiveStateSpace
    >>> layer, x = SelectiveStateSpace(8), torch.randn(2, 5, 8)
    >>> y, state = layer(x)
    >>> y.shape, state.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 8, 8]))
    >>> _, half = layer(x[:, :3])
    >>> torch.allclose(layer(x[:, 3:], state=half)[0], y[:, 3:], atol=1e-6)
    True
    """

    def __init__(self, d_model: int, d_state: int = 8) -> None:
        super().__init__()
        levels = torch.arange(1, d_state + 1.0).log()
        self.log_decay = nn.Parameter(levels.repeat(d_model, 1))
        self.step = nn.Linear(d_model, d_model)
        self.to_state = nn.Linear(d_model, d_state, bias=False)
        self.from_state = nn.Linear(d_model, d_state, bias=False)
        self.skip = nn.Parameter(torch.ones(d_model))
        # steps of 0.01 to 1, so that the state remembers from 1 to 100 steps
        start = (torch.rand(d_model) * math.log(100.0) + math.log(0.01)).exp()
        with torch.no_grad():
            self.step.weight.mul_(0.1)
            self.step.bias.copy_(start + (-(-start).expm1()).log())

    def forward(
        self, x: Tensor, seen: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Go through steps, from a state on.

        Parameters
        ----------
        x : Tensor, shape (n, n_steps, d_model)
            The steps.
        seen : Tensor of bool, shape (n, n_steps), optional
            False for padding, wherever it is; all are seen by default.
        state : Tensor, shape (n, d_model, d_state), optional
            What an earlier call gave; zeros by default.

        Returns
        -------
        y : Tensor, shape (n, n_steps, d_model)
            Outputs; those of padding mean nothing.
        state : Tensor, shape (n, d_model, d_state)
            The state after the last step.
        """
        decay = -self.log_decay.exp()
        size = F.softplus(self.step(x))
        if seen is not None:
            size = size * seen[..., None].to(size.dtype)
        passed = size[..., None] * decay
        added = passed.expm1() / decay * self.to_state(x)[:, :, None] * x[..., None]
        passed = passed.exp()
        if state is not None:
            first = added[:, :1] + passed[:, :1] * state[:, None]
            added = torch.cat([first, added[:, 1:]], 1)
        states = associative_scan(passed, added)
        y = torch.einsum("ntds,nts->ntd", states, self.from_state(x))
        return y + self.skip * x, states[:, -1]


class StateSpaceBlock(nn.Module):
    """Gated selective state space with a residual, causal or both ways.

    The block of Mamba [1]_ (figure 3) without its short convolution. Both ways, a
    second state space goes from the last step to the first, and both are added [2]_.

    Parameters
    ----------
    d_model : int
        Width.
    d_state : int
        Numbers of the state of each channel.
    causal : bool
        Whether steps depend on earlier steps alone.

    References
    ----------
    .. [1] Gu & Dao (2023), arXiv:2312.00752, section 3.4.
    .. [2] Zhu et al. (2024), "Vision Mamba", ICML, algorithm 1.
    """

    def __init__(self, d_model: int, d_state: int = 8, causal: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.enter = nn.Linear(d_model, 2 * d_model)
        self.forth = SelectiveStateSpace(d_model, d_state)
        self.back = None if causal else SelectiveStateSpace(d_model, d_state)
        self.leave = nn.Linear(d_model, d_model)

    def forward(
        self, x: Tensor, seen: Tensor | None = None, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Transform a sequence.

        Parameters
        ----------
        x : Tensor, shape (n, n_steps, d_model)
            The steps.
        seen : Tensor of bool, shape (n, n_steps), optional
            False for padding.
        state : Tensor, shape (n, d_model, d_state), optional
            State of the earlier steps, for a causal block.

        Returns
        -------
        x : Tensor, shape (n, n_steps, d_model)
            The steps.
        state : Tensor, shape (n, d_model, d_state)
            The state after the last one.

        Raises
        ------
        ValueError
            If a state is given to a block that also looks ahead.
        """
        if state is not None and self.back is not None:
            raise ValueError(
                "Expected no state for a block that goes both ways, which needs all "
                "steps at once, got one; use causal=True to go through chunks."
            )
        value, gate = self.enter(self.norm(x)).chunk(2, -1)
        value = F.silu(value)
        y, state = self.forth(value, seen, state)
        if self.back is not None:
            turned = None if seen is None else seen.flip(1)
            y = y + self.back(value.flip(1), turned)[0].flip(1)
        return x + self.leave(y * F.silu(gate)), state


class StateSpacePredictor(nn.Module):
    """Outputs for sequences: a linear part, and what state spaces add to it.

    Steps are projected by fixed axes. Outputs are a linear function of the mean of the
    projected steps, plus one of the mean of what blocks of state spaces make of them.
    The second begins at zero, so that training starts from the linear part.

    Parameters
    ----------
    centre : Tensor, shape (n_features,)
        Mean step.
    axes : Tensor, shape (n_components, n_features)
        Axes of the projection.
    n_outputs : int
        Outputs.
    d_model, d_state, n_layers : int
        Width, numbers of the state of each channel, and blocks.
    causal : bool
        Whether the outputs at a step depend on earlier steps alone.
    """

    def __init__(
        self,
        centre: Tensor,
        axes: Tensor,
        n_outputs: int,
        d_model: int = 32,
        d_state: int = 8,
        n_layers: int = 1,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("centre", centre.clone())
        self.register_buffer("axes", axes.clone())
        self.causal = causal
        self.linear = nn.Linear(len(axes), n_outputs)
        self.enter = nn.Linear(len(axes), d_model)
        self.blocks = nn.ModuleList(
            StateSpaceBlock(d_model, d_state, causal) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.correction = nn.Linear(d_model, n_outputs, bias=False)
        nn.init.zeros_(self.correction.weight)

    def project(self, steps: Tensor) -> Tensor:
        """Project steps on the axes.

        Parameters
        ----------
        steps : Tensor, shape (..., n_features)
            Steps.

        Returns
        -------
        projected : Tensor, shape (..., n_components)
            Numbers of the order of 1.
        """
        return (steps - self.centre) @ self.axes.T

    def running(self, steps: Tensor, seen: Tensor) -> Tensor:
        """Compute outputs at each step, from the steps up to it.

        Only of a causal predictor these are what it says of sequences that end there.

        Parameters
        ----------
        steps : Tensor, shape (n, n_steps, n_features)
            Sequences; finite, also where not seen.
        seen : Tensor of bool, shape (n, n_steps)
            False for padding.

        Returns
        -------
        outputs : Tensor, shape (n, n_steps, n_outputs)
            Outputs from the means of all steps seen so far.
        """
        projected = self.project(steps)
        x = self.enter(projected)
        for block in self.blocks:
            x, _ = block(x, seen)
        weight = seen[..., None].to(x.dtype)
        count = weight.cumsum(1).clamp(min=1.0)
        means = [
            (part * weight).cumsum(1) / count for part in (projected, self.norm(x))
        ]
        return self.linear(means[0]) + self.correction(means[1])

    def forward(self, steps: Tensor, seen: Tensor) -> Tensor:
        """Compute outputs of whole sequences.

        Parameters
        ----------
        steps : Tensor, shape (n, n_steps, n_features)
            Sequences; finite, also where not seen.
        seen : Tensor of bool, shape (n, n_steps)
            False for padding.

        Returns
        -------
        outputs : Tensor, shape (n, n_outputs)
            One row a sequence.
        """
        return self.running(steps, seen)[:, -1]
