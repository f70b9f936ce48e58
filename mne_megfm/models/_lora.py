"""Low-rank adapters: small corrections of a model whose weights stay as they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .backbone import is_within


class LowRankLinear(nn.Module):
    """A linear layer with a low-rank correction.

    Computes ``base(x) + up @ down @ x`` [1]_ with a scale of 1; ``up`` begins at 0, so
    the layer begins as it was.

    Parameters
    ----------
    base : torch.nn.Linear
        The layer, which is kept and frozen.
    rank : int
        Rank of the correction.

    References
    ----------
    .. [1] Hu et al. (2022), "LoRA: low-rank adaptation of large language models",
       ICLR, eq. 3.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import LowRankLinear
    >>> layer = LowRankLinear(torch.nn.Linear(6, 4), rank=2)
    >>> layer(torch.zeros(3, 6)).shape
    torch.Size([3, 4])
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        if not 1 <= rank <= min(base.weight.shape):
            raise ValueError(
                f"Expected a rank from 1 to {min(base.weight.shape)}, the rank of the "
                f"layer, got {rank}; lower it."
            )
        self.base = base.requires_grad_(False)
        self.down = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.up = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the layer with its correction.

        Parameters
        ----------
        x : Tensor, shape (..., in_features)
            Input.

        Returns
        -------
        y : Tensor, shape (..., out_features)
            Output.
        """
        return self.base(x) + F.linear(F.linear(x, self.down), self.up)

    def merged(self) -> nn.Linear:
        """Add the correction to the weights.

        Returns
        -------
        layer : torch.nn.Linear
            A plain layer that computes the same.
        """
        layer = nn.Linear(
            self.base.in_features,
            self.base.out_features,
            bias=self.base.bias is not None,
            device=self.base.weight.device,
        )
        with torch.no_grad():
            layer.weight.copy_(self.base.weight + self.up @ self.down)
            if self.base.bias is not None:
                layer.bias.copy_(self.base.bias)
        return layer


def add_adapters(model: nn.Module, rank: int) -> nn.Module:
    """Freeze a model and put adapters on the linear layers of its encoder.

    Those of the first of its ``layer_groups``, the embedding, stay as they are.

    Parameters
    ----------
    model : Backbone | ParticipantTransformer
        The model; changed in place.
    rank : int
        Rank of the adapters.

    Returns
    -------
    model : torch.nn.Module
        The same model, of which only the adapters are trained.

    Raises
    ------
    ValueError
        If the rank is larger than that of a layer, or there is no such layer.

    Examples
    --------
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig, add_adapters
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> model = add_adapters(model, rank=2)
    >>> sum(p.numel() for p in model.parameters() if p.requires_grad)
    896
    """
    model.requires_grad_(False)
    parts = [name for group in model.layer_groups()[1:] for name in group]
    _replace(
        model,
        nn.Linear,
        lambda layer: LowRankLinear(layer, rank),
        lambda name: is_within(name, parts),
    )
    if not any(isinstance(layer, LowRankLinear) for layer in model.modules()):
        raise ValueError(
            "Expected linear layers after the first of the layer groups to put "
            f"adapters on, got none in {type(model).__name__}; fine-tune without "
            "adapters (strategy='finetune')."
        )
    return model


def merge_adapters(model: nn.Module) -> nn.Module:
    """Turn adapters into changes of the weights that they stand beside.

    Parameters
    ----------
    model : torch.nn.Module
        A model with or without adapters; changed in place.

    Returns
    -------
    model : torch.nn.Module
        The same model with plain layers, whose arrays have their first names again.
    """
    _replace(model, LowRankLinear, LowRankLinear.merged)
    return model


def _replace(
    model: nn.Module,
    kind: type[nn.Module],
    make: Callable[..., nn.Module],
    wanted: Callable[[str], bool] = lambda name: True,
) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, kind) and wanted(name):
            above, _, own = name.rpartition(".")
            setattr(model.get_submodule(above), own, make(module))
