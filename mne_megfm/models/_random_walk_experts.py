"""Pooling by experts that each gather tokens over space and time.

Which tokens an expert serves follows from what tokens say, smoothed by a random walk on
a learnt sparse graph over regions and times. No public code of the method exists; the
walk is tested against powers of the matrix of the whole graph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._pooling import Pooling, check_count
from .backbone import Backbone

#: Steps, rows in a batch, and rate of the fit without labels.
_FIT_STEPS, _FIT_ROWS, _FIT_RATE = 150, 32, 0.05


class RandomWalkExperts(Pooling):
    r"""Mixture of experts whose gates come from a random walk over regions and times.

    A token :math:`x_i` of a region and a patch has a preference for each expert,
    :math:`S_i = \operatorname{softmax}(R x_i + b)`. The gate of a token is the
    preference where a random walk of *k* steps that begins at it ends, on average:
    :math:`G = W^k S`, with the row-stochastic matrix *W* of a learnt graph [1]_. As the
    rows of *W* sum to 1, so do gates. The graph is a product of a graph over regions
    and one over patches, :math:`W = A \otimes B`, so that it serves rows of any length:

    - *A* keeps the ``n_neighbours`` largest weights of each region and is their
      softmax. It begins with shares of similarity of the canonical lead fields.
    - *B* has a weight for each lag of up to ``n_lags`` patches, and leads to recorded
      patches alone.

    An expert gathers the mean of all recorded tokens, weighted by its gates, and adds
    to it what a small network of its own makes of that mean. The features of a row are
    those of all experts.

    ``fit`` trains all parameters without labels: half of the tokens are hidden, and
    experts have to be near the hidden tokens that they serve, by
    :math:`\sum_{ie} G_{ie} \lVert x_i - z_e \rVert^2` over hidden tokens, with what
    expert *e* made of the others, :math:`z_e`, while the load is balanced [2]_. The
    gates of hidden tokens know their region, and by the walk their neighbours.

    If the weights contain fitted experts, these are used unchanged. Otherwise ``fit``
    of the estimator, or pretraining from a store, trains them on its data; the same
    ``random_state`` gives the same experts. Fine-tuning trains them further, with the
    labels and the same balance.

    Parameters
    ----------
    n_experts : int
        Experts.
    n_steps : int
        Steps *k* of the walk; 0 for gates of each token by itself.
    n_neighbours : int
        Regions that a step may lead to, the region itself among them.
    n_lags : int
        Patches forth and back that a step may lead to.
    d_hidden : int
        Hidden units of the network of each expert.
    balance : float
        Weight of the load-balancing loss, as :math:`\alpha` in [2]_, eq. 4.

    Raises
    ------
    ValueError
        If a number is out of range; when called before ``build``, or with tokens of
        another backbone.

    Notes
    -----
    Parameters (after ``build``): ``region_logits`` (n_regions, n_regions),
    ``lag_logits`` (2 ``n_lags`` + 1,), ``router`` (n_experts, d_model),
    ``region_bias`` (n_regions, n_experts), ``down`` (n_experts, d_hidden, d_model) and
    ``up`` (n_experts, d_model, d_hidden), which begins with zeros; and the buffer
    ``unit``, the root mean square of tokens.

    References
    ----------
    .. [1] "Bridging foundation models and efficient architectures: a modular brain
       imaging framework with local masking and pretrained representation learning"
       (2025), arXiv:2508.16597 (random walk mixture of experts; the separable graph
       and the fit without labels are this package's).
    .. [2] Fedus, Zoph & Shazeer (2022), "Switch transformers: scaling to trillion
       parameter models with simple and efficient sparsity", JMLR 23(120), eq. 4-6.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.models import RandomWalkExperts
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> pooling = RandomWalkExperts(n_experts=4)
    >>> pooling.build(model)
    >>> recorded = torch.ones(2, 10, dtype=torch.bool)
    >>> tokens = torch.randn(2, 24, 10, 32)
    >>> pooling(tokens, recorded, model).shape
    torch.Size([2, 128])
    >>> gates = pooling.gates(tokens, recorded)
    >>> bool(torch.allclose(gates.sum(-1), torch.ones(2, 24, 10)))
    True
    """

    def __init__(
        self,
        n_experts: int = 8,
        n_steps: int = 2,
        n_neighbours: int = 6,
        n_lags: int = 2,
        d_hidden: int = 16,
        balance: float = 0.1,
    ) -> None:
        super().__init__()
        self.n_experts = check_count("n_experts", n_experts)
        self.n_steps = check_count("n_steps", n_steps, least=0)
        self.n_neighbours = check_count("n_neighbours", n_neighbours)
        self.n_lags = check_count("n_lags", n_lags, least=0)
        self.d_hidden = check_count("d_hidden", d_hidden)
        if not isinstance(balance, Real) or not 0 <= balance < math.inf:
            raise ValueError(
                f"Expected balance to be a number of 0 or more, got {balance!r}; 0.1 "
                "is usual."
            )
        self.balance = float(balance)

    # -- sizes --------------------------------------------------------------
    def build(self, model: Backbone) -> None:
        """Make parameters for the tokens of a backbone; those that suit it stay.

        Parameters
        ----------
        model : Backbone
            The backbone. Its kernel says which regions have similar lead fields.

        Raises
        ------
        ValueError
            If the parameters were made for a backbone of other sizes.
        """
        config = model.config
        n_regions, d_model = config.n_regions, config.d_model
        sizes = (self.n_experts, d_model), (n_regions, n_regions)
        if hasattr(self, "router"):
            found = tuple(self.router.shape), tuple(self.region_logits.shape)
            if found != sizes:
                raise ValueError(
                    f"Expected a pooling for {n_regions} regions and tokens of width "
                    f"{d_model}, got one that was made for {found[1][0]} and "
                    f"{found[0][1]}; make a new one, or give its name."
                )
            return
        n_experts, d_hidden = self.n_experts, self.d_hidden
        start = {
            "region_logits": _similarity(model).clamp(min=1e-3).log(),
            "lag_logits": -torch.arange(-self.n_lags, self.n_lags + 1.0).abs(),
            "router": torch.randn(n_experts, d_model) / math.sqrt(d_model),
            "region_bias": 0.1 * torch.randn(n_regions, n_experts),
            "down": torch.randn(n_experts, d_hidden, d_model) / math.sqrt(d_model),
            "up": torch.zeros(n_experts, d_model, d_hidden),
        }
        for name, values in start.items():
            setattr(self, name, nn.Parameter(values))
        self.register_buffer("unit", torch.tensor(1.0))

    # -- the walk -----------------------------------------------------------
    def region_transitions(self) -> Tensor:
        """Compute the probabilities of a step between regions, *A*.

        Returns
        -------
        transitions : Tensor, shape (n_regions, n_regions)
            Rows sum to 1 and have at most ``n_neighbours`` numbers above 0.
        """
        logits = self.region_logits
        n_kept = min(self.n_neighbours, logits.shape[1])
        kept = logits.topk(n_kept, dim=1).indices
        far = torch.full_like(logits, -math.inf).scatter(1, kept, 0.0)
        return (logits + far).softmax(1)

    def time_transitions(self, recorded: Tensor) -> Tensor:
        """Compute the probabilities of a step between patches, *B*, of each row.

        Parameters
        ----------
        recorded : Tensor of bool, shape (n, n_patches)
            Patches with samples.

        Returns
        -------
        transitions : Tensor, shape (n, n_patches, n_patches)
            Rows sum to 1 and have at most ``2 * n_lags + 1`` numbers above 0. A patch
            that was not recorded leads to itself, and no other leads to it.
        """
        patch = torch.arange(recorded.shape[1], device=recorded.device)
        lag = patch - patch[:, None]
        logits = self.lag_logits[lag.clamp(-self.n_lags, self.n_lags) + self.n_lags]
        open_ = (lag.abs() <= self.n_lags) & recorded[:, None] & recorded[:, :, None]
        open_ = open_ | (lag == 0)
        return torch.where(open_, logits, -math.inf).softmax(2)

    def walk(self, recorded: Tensor) -> Tensor:
        """Compute where walks of ``n_steps`` steps end, on the whole graph.

        Parameters
        ----------
        recorded : Tensor of bool, shape (n, n_patches)
            Patches with samples.

        Returns
        -------
        ends : Tensor, shape (n, n_regions * n_patches, n_regions * n_patches)
            :math:`W^k`, with the nodes region by region. Rows sum to 1.
        """
        regions, times = self._powers(recorded)
        ends = torch.einsum("rs,ntu->nrtsu", regions, times)
        return ends.flatten(3, 4).flatten(1, 2)

    def _powers(self, recorded: Tensor) -> tuple[Tensor, Tensor]:
        """Powers of both factors, whose product is the power of the product."""
        steps = self.region_transitions(), self.time_transitions(recorded)
        return tuple(torch.linalg.matrix_power(step, self.n_steps) for step in steps)

    def gates(self, tokens: Tensor, recorded: Tensor) -> Tensor:
        """Compute the share of each expert in each token.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_regions, n_patches, d_model)
            Tokens around the mean token at their place.
        recorded : Tensor of bool, shape (n, n_patches)
            Patches with samples.

        Returns
        -------
        gates : Tensor, shape (n, n_regions, n_patches, n_experts)
            They sum to 1 over experts.
        """
        return self.average_over_walks(self.preferences(tokens), recorded)

    def preferences(self, tokens: Tensor) -> Tensor:
        """Compute what tokens prefer by themselves, before the walk.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_regions, n_patches, d_model)
            Tokens around the mean token at their place.

        Returns
        -------
        preferences : Tensor, shape (n, n_regions, n_patches, n_experts)
            They sum to 1 over experts.
        """
        self._check_built(tokens)
        logits = F.linear(tokens / self.unit, self.router)
        return (logits + self.region_bias[:, None]).softmax(3)

    def average_over_walks(self, preferences: Tensor, recorded: Tensor) -> Tensor:
        """Average preferences over where walks end.

        Parameters
        ----------
        preferences : Tensor, shape (n, n_regions, n_patches, n_experts)
            What tokens prefer.
        recorded : Tensor of bool, shape (n, n_patches)
            Patches with samples.

        Returns
        -------
        gates : Tensor, shape (n, n_regions, n_patches, n_experts)
            :math:`W^k S`.
        """
        regions, times = self._powers(recorded)
        by_region = torch.einsum("rs,nsue->nrue", regions, preferences)
        return torch.einsum("ntu,nrue->nrte", times, by_region)

    # -- experts ------------------------------------------------------------
    def forward(self, tokens: Tensor, recorded: Tensor, model: Backbone) -> Tensor:
        """Pool the tokens of rows, see `Pooling.forward`."""
        gates = self.gates(tokens, recorded)
        weight = gates * recorded[:, None, :, None].to(gates.dtype)
        return self._gather(tokens, weight).flatten(1)

    def _gather(self, tokens: Tensor, weight: Tensor) -> Tensor:
        """Gather what each expert serves, and transform it; (n, n_experts, d_model)."""
        total = torch.einsum("nrte,nrtd->ned", weight, tokens)
        mean = total / weight.sum((1, 2)).clamp(min=1e-6)[..., None]
        hidden = F.gelu(torch.einsum("ned,ehd->neh", mean / self.unit, self.down))
        return mean + self.unit * torch.einsum("neh,edh->ned", hidden, self.up)

    def penalty(self, tokens: Tensor, recorded: Tensor) -> Tensor:
        """Compute the weighted load-balancing loss, for fine-tuning.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_regions, n_patches, d_model)
            Tokens around the mean token at their place.
        recorded : Tensor of bool, shape (n, n_patches)
            Patches with samples.

        Returns
        -------
        penalty : Tensor, shape ()
            ``balance`` times :func:`balance_loss`.
        """
        return self.balance * balance_loss(self.gates(tokens, recorded), recorded)

    def fit(self, tokens: Tensor, recorded: Tensor, groups: Tensor) -> None:
        """Train experts and graph to explain tokens by what experts gathered.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_regions, n_patches, d_model)
            Tokens of windows around their mean.
        recorded : Tensor of bool, shape (n, n_patches)
            Patches with samples.
        groups : Tensor of int, shape (n,)
            Recording or participant of each window; not used.
        """
        self._check_built(tokens)
        n_regions, d_model = tokens.shape[1], tokens.shape[3]
        n_values = recorded.sum() * n_regions * d_model
        power = tokens.square().sum() / n_values.clamp(min=1)
        self.unit.copy_(power.sqrt().clamp(min=1e-6))
        optimizer = torch.optim.Adam(self.parameters(), lr=_FIT_RATE)
        for step, index in enumerate(_batches(len(tokens))):
            for group in optimizer.param_groups:
                done = step / _FIT_STEPS
                group["lr"] = _FIT_RATE * 0.5 * (1 + math.cos(math.pi * done))
            given, seen = tokens[index] / self.unit, recorded[index]
            hidden = torch.rand(given.shape[:3]) < 0.5
            # of hidden tokens, preferences know the region alone, and the walk the rest
            gates = self.gates(tokens[index] * ~hidden[..., None], seen)
            there = seen[:, None].expand_as(hidden)
            shown = (there & ~hidden)[..., None] * gates
            means = self._gather(tokens[index], shown) / self.unit
            error = (
                given.square().sum(3, keepdim=True)
                - 2 * torch.einsum("nrtd,ned->nrte", given, means)
                + means.square().sum(2)[:, None, None]
            )
            error = (gates * error).sum(3) * (there & hidden)
            error = error.sum() / ((there & hidden).sum() * d_model).clamp(min=1)
            optimizer.zero_grad()
            (error + self.balance * balance_loss(gates, seen)).backward()
            optimizer.step()
        optimizer.zero_grad()

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features by expert and token dimension, see `Pooling.names`."""
        return [
            f"expert{e:02d}_dim{d:03d}"
            for e in range(self.n_experts)
            for d in range(d_model)
        ]

    def _check_built(self, tokens: Tensor) -> None:
        if not hasattr(self, "router"):
            raise ValueError(
                "Expected build(model) to be called before tokens are pooled, got a "
                f"new {self!r}; estimators and pretraining call it."
            )
        expected = len(self.region_bias), self.router.shape[1]
        found = tokens.shape[1], tokens.shape[3]
        if found != expected:
            raise ValueError(
                f"Expected tokens of {expected[0]} regions and width {expected[1]}, "
                f"got {found[0]} and {found[1]}; make the pooling for this backbone."
            )


def balance_loss(gates: Tensor, recorded: Tensor) -> Tensor:
    r"""Compute the load-balancing loss of Switch transformers, without its weight.

    :math:`N \sum_e f_e P_e` over N experts, with the share :math:`f_e` of tokens whose
    largest gate is that of the expert, and its mean gate :math:`P_e` [1]_. It is 1 for
    an even load, and N where one expert has all.

    Parameters
    ----------
    gates : Tensor, shape (n, n_regions, n_patches, n_experts)
        Shares of the experts in tokens.
    recorded : Tensor of bool, shape (n, n_patches)
        Patches with samples; others do not count.

    Returns
    -------
    loss : Tensor, shape ()
        The loss; 0 where nothing was recorded.

    References
    ----------
    .. [1] Fedus, Zoph & Shazeer (2022), JMLR 23(120), eq. 4-6.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import balance_loss
    >>> one = torch.nn.functional.one_hot(torch.zeros(1, 24, 10, dtype=torch.long), 4)
    >>> float(balance_loss(one.float(), torch.ones(1, 10, dtype=torch.bool)))
    4.0
    """
    n_experts = gates.shape[-1]
    chosen = gates.transpose(1, 2)[recorded].flatten(0, 1)
    if not len(chosen):
        return gates.sum() * 0.0
    served = F.one_hot(chosen.argmax(1), n_experts).to(gates.dtype).mean(0)
    return n_experts * (served * chosen.mean(0)).sum()


def _similarity(model: Backbone) -> Tensor:
    """Compare the lead fields of regions: 1 of a region with itself."""
    n_regions = model.config.n_regions
    blocks = model.kernel.detach().cpu().abs().unflatten(0, (n_regions, -1))
    shared = blocks.mean(1).unflatten(1, (n_regions, -1)).mean(2)
    own = shared.diagonal().clamp(min=1e-12).sqrt()
    return (shared / own / own[:, None]).clamp(max=1.0)


def _batches(n_rows: int) -> Iterator[Tensor]:
    """Draw rows for each step of the fit, in passes through all of them."""
    size = min(n_rows, _FIT_ROWS)
    order = torch.randperm(n_rows)
    for _ in range(_FIT_STEPS):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(n_rows)])
        yield order[:size]
        order = order[size:]
