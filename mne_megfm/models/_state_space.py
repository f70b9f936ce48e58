"""Selective state-space layers, and networks of them: linear in time.

Plain torch, for any device. The recurrence is a first-order linear one, so that it is
computed by an associative scan; the tests compare it with a loop over steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._masked_transformer import Block, MaskedSignalNetwork, ModelConfig
from ._signal_reconstructor import initialize
from .backbone import check_numbers


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
    if paired == n_steps:
        return states
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


# -- a backbone ------------------------------------------------------------------------
@dataclass(frozen=True)
class HybridConfig(ModelConfig):
    """Shape and scale of a network of state spaces and attention.

    Parameters
    ----------
    n_sensors : int
        Virtual sensors of the canonical array.
    n_regions : int
        Regions that the sensors form; each has ``n_sensors // n_regions``
        consecutive sensors, and every token is one region during one patch.
    sfreq : float
        Sampling rate of the windows in Hz.
    patch_length : int
        Samples in a patch.
    n_patches : int
        Patches in a window.
    d_model : int
        Width of a token.
    scale : float
        Field in tesla that becomes 1 at the network's input.
    max_rms : float
        Windows whose root mean square exceeds this (in units of ``scale``) are
        shrunk to it, so that drifts and artefacts stay within what was trained.
    n_components : int
        Axes of the tokens of each region, kept with the weights for compact pooling.
    n_layers : int
        Encoder layers over time, and as many over regions after these.
    n_heads : int
        Attention heads in every layer over regions.
    mlp_ratio : float
        Hidden width of the feed-forward part of layers over regions, as a multiple of
        ``d_model``.
    n_decoder_layers : int
        Decoder layers over time, and as many over regions after these, used for
        reconstruction alone.
    d_state : int
        Numbers of the state of each channel, in layers over time.

    Raises
    ------
    ValueError
        If a number is out of range, or they do not fit together.

    Examples
    --------
    >>> from mne_megfm.models import HybridConfig
    >>> config = HybridConfig(d_model=32, d_state=4)
    >>> config.n_layers, config.n_feature_layers
    (2, 4)
    """

    n_layers: int = 2
    n_decoder_layers: int = 1
    d_state: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, {"d_state": (1, 1024)})

    @property
    def n_feature_layers(self) -> int:
        """Encoder layers before the tokens that features are made of.

        All of them: what comes before the layers over regions sees one region alone.
        """
        return 2 * self.n_layers


class HybridStateSpace(MaskedSignalNetwork):
    """State spaces over time, then attention over regions.

    The two stages of BrainMT [1]_, for (region, patch) tokens of MEG windows instead of
    volumes of functional MRI. First, selective state spaces go through the patches of
    each region in both directions. Then, the tokens of all regions attend to each other
    within each patch. The decoder has the same two stages. Operations and memory grow
    linearly with the number of patches; with attention over all tokens, as in
    ``MaskedSignalTransformer``, they grow with its square.

    Hidden tokens leave states as they are, and are not attended to. See
    ``MaskedSignalNetwork`` for how tokens are made and turned back to signal.

    Parameters
    ----------
    config : HybridConfig
        Sizes and scale.
    kernel : Tensor, shape (n_sensors, n_sensors), optional
        Gram matrix of the canonical lead fields with a mean diagonal of 1, needed
        for field interpolation. None stands for the identity: no physics.

    See Also
    --------
    StateSpaceBlock : The layer over time.

    References
    ----------
    .. [1] Kannan, Lindquist & Caffo (2025), "BrainMT: a hybrid Mamba-transformer
       architecture for modeling long-range dependencies in functional MRI data",
       MICCAI, arXiv:2506.22591.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import HybridConfig, HybridStateSpace
    >>> model = HybridStateSpace(HybridConfig(d_model=32, n_layers=1))
    >>> windows = torch.randn(2, 192, 250) * 1e-13
    >>> model.eval().encode(windows).shape
    torch.Size([2, 24, 10, 32])
    """

    config_class = HybridConfig

    def make_layers(self, n_layers: int) -> Iterable[nn.Module]:
        """Make layers over time, then as many over regions."""
        config = self.config
        over_time = [
            StateSpaceBlock(config.d_model, config.d_state) for _ in range(n_layers)
        ]
        over_regions = [
            Block(config.d_model, config.n_heads, config.mlp_ratio)
            for _ in range(n_layers)
        ]
        return [*over_time, *over_regions]

    def start_linear_layers(self) -> None:
        """Draw the weights of linear layers, but for those over time.

        What a state adds is a product of three projections of the input: drawn as small
        as the others, these would leave hardly any gradient. So they stay as drawn.
        """
        drawn = {
            layer
            for block in self.modules()
            if isinstance(block, StateSpaceBlock)
            for layer in block.modules()
        }
        for layer in self.modules():
            if layer not in drawn:
                initialize(layer)

    def mix(
        self, layers: Iterable[nn.Module], tokens: Tensor, hidden: Tensor | None = None
    ) -> Tensor:
        """Scan the patches of each region, then attend to regions within each patch."""
        n, n_regions, n_patches, _ = tokens.shape
        in_time = within = None
        if hidden is not None:
            # what is hidden may be NaN
            tokens = tokens.masked_fill(hidden[..., None], 0.0)
            in_time, within = ~hidden.flatten(0, 1), ~hidden.transpose(1, 2)
            # what attends to nothing is not finite; nothing sees what comes of it
            within = (within | hidden.all(1)[..., None]).flatten(0, 1)
        for layer in layers:
            if isinstance(layer, StateSpaceBlock):
                mixed, _ = layer(tokens.flatten(0, 1), in_time)
                tokens = mixed.view(n, n_regions, n_patches, -1)
            else:
                mixed = layer(tokens.transpose(1, 2).flatten(0, 1), within)
                tokens = mixed.view(n, n_patches, n_regions, -1).transpose(1, 2)
        return tokens
