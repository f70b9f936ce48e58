"""From tokens to one row of features.

Every pooling takes tokens ``(n, n_regions, n_patches, d_model)``, centred on the mean
token at their place, and gives ``(n, n_features)`` with a name for every feature.
Patches that were not recorded are zero, and left out of means.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from ._token_projection import log_power
from .backbone import Backbone
from .windows import WindowArray, valid_patches

#: Windows whose tokens a pooling is fitted to at most: 120 MB for the default sizes.
FIT_WINDOWS = 1000


def check_count(name: str, value: int, least: int = 1) -> int:
    """Refuse what would give no feature."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(
            f"Expected a whole number of {least} or more for {name}, got {value!r}; "
            "correct it."
        )
    return int(value)


def _mean(tokens: Tensor, recorded: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Average over patches that were recorded (and over regions, if asked)."""
    weight = recorded[:, None, :, None].to(tokens.dtype).expand_as(tokens)
    return (tokens * weight).sum(dims) / weight.sum(dims).clamp(min=1.0)


def _bins(n_patches: int, most: int) -> list[tuple[int, int]]:
    """Cut patches into at most ``most`` runs of nearly equal length."""
    n_bins = min(n_patches, most)
    edges = [round(i * n_patches / n_bins) for i in range(n_bins + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def _bin_names(n_patches: int, most: int, seconds: float) -> list[str]:
    """Name each run by the milliseconds it covers since the row's first sample."""
    return [
        f"t{round(a * seconds * 1e3):04d}-{round(b * seconds * 1e3):04d}ms"
        for a, b in _bins(n_patches, most)
    ]


class Pooling(nn.Module):
    """From the tokens of a row to its features.

    A child writes ``forward`` and ``names``. Parameters and buffers that it registers
    are its state: they are saved in the checkpoint, and parameters are trained in
    fine-tuning. A child that learns from tokens without labels also writes
    ``fit(tokens, recorded, groups)``, with tokens of windows of shape
    (n, n_regions, n_patches, d_model), what was recorded of shape (n, n_patches), and
    the number of the recording or participant of each window, shape (n,). It is called
    once, with up to 1000 windows of the training data, and changes buffers or
    parameters.

    ``build(model)`` makes parameters whose sizes follow from the backbone. A child with
    ``penalty(tokens, recorded)`` has what it gives added to the loss of fine-tuning.

    The parameters of its constructor are attributes of the same names. Two poolings of
    one class with equal ``repr`` can take each other's state.

    See Also
    --------
    mne_megfm.testing.plugin_checks : Checks of a pooling.

    Examples
    --------
    The mean token of regions, weighted by how much each region varies:

    >>> import torch
    >>> from mne_megfm.models import Pooling
    >>> class WeightedPooling(Pooling):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.register_buffer("weight", torch.ones(24))
    ...
    ...     def fit(self, tokens, recorded, groups):
    ...         self.weight.copy_(tokens.var((0, 2)).mean(1))
    ...
    ...     def forward(self, tokens, recorded, model):
    ...         return torch.einsum("nrpd,r->nd", tokens, self.weight)
    ...
    ...     def names(self, n_regions, n_patches, d_model, seconds):
    ...         return [f"dim{d}" for d in range(d_model)]
    >>> recorded = torch.ones(2, 10, dtype=torch.bool)
    >>> WeightedPooling()(torch.ones(2, 24, 10, 4), recorded, None).shape
    torch.Size([2, 4])
    """

    def __init__(self) -> None:
        super().__init__()

    def build(self, model: Backbone) -> None:  # noqa: B027
        """Make parameters whose sizes follow from the backbone; here there are none.

        It is called once, before weights are loaded.

        Parameters
        ----------
        model : Backbone
            The backbone whose tokens are to be pooled.
        """

    @abstractmethod
    def forward(self, tokens: Tensor, recorded: Tensor, model: Backbone) -> Tensor:
        """Pool the tokens of rows.

        Parameters
        ----------
        tokens : Tensor, shape (n, n_regions, n_patches, d_model)
            Tokens around the mean token at their place; zero where not recorded.
        recorded : Tensor of bool, shape (n, n_patches)
            Patches with samples. Rows may have any number of patches.
        model : Backbone
            The backbone that the tokens are of.

        Returns
        -------
        features : Tensor, shape (n, n_features)
            Finite, also for rows of which nothing was recorded.
        """
        raise NotImplementedError

    @abstractmethod
    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features.

        Parameters
        ----------
        n_regions : int
            Regions.
        n_patches : int
            Patches in a row.
        d_model : int
            Width of a token.
        seconds : float
            Length of a patch in s.

        Returns
        -------
        names : list of str
            One name a feature, in their order.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        args = ", ".join(
            f"{name}={getattr(self, name)!r}"
            for name in inspect.signature(type(self)).parameters
        )
        return f"{type(self).__name__}({args})"


def build_pooling(pooling: nn.Module, model: Backbone) -> None:
    """Make a pooling for a backbone; one without ``build`` stays as it is.

    Parameters
    ----------
    pooling : Pooling
        The pooling, changed in place.
    model : Backbone
        The backbone whose tokens are to be pooled.
    """
    if hasattr(pooling, "build"):
        pooling.build(model)


def fit_pooling(
    pooling: nn.Module,
    model: Backbone,
    windows: WindowArray,
    *,
    index: np.ndarray | None = None,
    batch_size: int = 64,
    random_state: int = 0,
) -> None:
    """Fit a pooling to tokens; one without ``fit`` stays as it is.

    Parameters
    ----------
    pooling : Pooling
        The pooling, changed in place.
    model : Backbone
        Makes the tokens.
    windows : WindowArray | WindowStore
        Windows in tesla, with their recordings.
    index : array of int, optional
        Windows to choose from; all by default.
    batch_size : int
        Windows at a time.
    random_state : int
        Seed of the choice of at most 1000 windows, and of what is drawn in the fit.

    Raises
    ------
    ValueError
        If the fitted state is not finite.
    """
    if not hasattr(pooling, "fit"):
        return
    index = np.arange(len(windows)) if index is None else np.asarray(index)
    if len(index) > FIT_WINDOWS:
        rng = np.random.default_rng(random_state)
        index = np.sort(rng.choice(index, FIT_WINDOWS, replace=False))
    device = model.kernel.device
    tokens, recorded = [], []
    with torch.inference_mode():
        for start in range(0, len(index), batch_size):
            data, n_valid = map(
                torch.as_tensor, windows.take(index[start : start + batch_size])
            )
            inside = valid_patches(n_valid, model.config)
            encoded = model.encode(data.to(device), n_valid.to(device)).float()
            encoded = (encoded - model.token_mean).cpu() * inside[:, None, :, None]
            tokens.append(encoded)
            recorded.append(inside)
    groups = torch.from_numpy(
        np.unique(np.asarray(windows.recording)[index], return_inverse=True)[1]
    )
    # tensors of inference mode cannot take part in training
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        pooling.cpu().fit(torch.cat(tokens).clone(), torch.cat(recorded), groups)
    pooling.to(device)
    damaged = [k for k, v in pooling.state_dict().items() if not v.isfinite().all()]
    if damaged:
        raise ValueError(
            f"Expected a finite state of {pooling!r} after its fit, got NaN or "
            f"infinity in {', '.join(damaged)}; look at its fit."
        )


class _BinnedPooling(Pooling):
    """Keep time in runs of patches, at most ``max_bins`` of them."""

    def __init__(self, max_bins: int = 20) -> None:
        super().__init__()
        self.max_bins = check_count("max_bins", max_bins)

    def _in_bins(self, tokens: Tensor, recorded: Tensor) -> Tensor:
        bins = _bins(tokens.shape[2], self.max_bins)
        if len(bins) == tokens.shape[2]:
            return tokens
        return torch.stack(
            [_mean(tokens[:, :, a:b], recorded[:, a:b], (2,)) for a, b in bins], 2
        )


class ProjectionPooling(_BinnedPooling):
    """Keep where and when, and the spectrum: the leading axes of every token.

    Tokens are projected on the leading axes of their region that are stored with the
    weights (see ``fit_token_projection``). All axes of a token
    together have unit variance: a linear classifier needs no scaling before it. The
    spectral features of a region, which are projections of the log power of its tokens
    over all patches of the row, have as much variance together as all tokens of the
    region in a window.

    Parameters
    ----------
    n_components : int
        Axes to keep; at most as many as the weights hold.
    max_bins : int
        Longer rows are averaged into this many runs of patches.
    n_spectral : int
        Spectral axes of each region to keep; 0 for none.

    Raises
    ------
    ValueError
        If a number is too small, and when called with more components than the weights
        hold.

    Examples
    --------
    >>> from mne_megfm.models import ProjectionPooling
    >>> ProjectionPooling(n_components=4)
    ProjectionPooling(n_components=4, max_bins=20, n_spectral=6)
    """

    def __init__(
        self, n_components: int = 16, max_bins: int = 20, n_spectral: int = 6
    ) -> None:
        super().__init__(max_bins)
        self.n_components = check_count("n_components", n_components)
        self.n_spectral = check_count("n_spectral", n_spectral, least=0)

    def forward(self, tokens: Tensor, recorded: Tensor, model: Backbone) -> Tensor:
        """Pool the tokens of rows, see `Pooling.forward`."""
        axes, spectral_axes = model.token_axes, model.spectral_axes
        for name, held in (("n_components", axes), ("n_spectral", spectral_axes)):
            if getattr(self, name) > held.shape[1]:
                raise ValueError(
                    f"Expected {name} <= {held.shape[1]} (what the weights hold), "
                    f"got {getattr(self, name)}; lower it or use pooling='tokens'."
                )
        projected = torch.einsum("nrpd,rkd->nrpk", tokens, axes[:, : self.n_components])
        power = log_power(_mean(tokens.square(), recorded, (2,)), model.token_power)
        # no product of matrices, whose rounding depends on the number of rows
        spectral = (power[:, :, None] * spectral_axes[:, : self.n_spectral]).sum(-1)
        spectral = spectral - model.spectral_offset[:, : self.n_spectral]
        in_time = self._in_bins(projected, recorded)
        return torch.cat([in_time.flatten(1), spectral.flatten(1)], 1)

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features as region, time and axis, see `Pooling.names`."""
        return [
            f"region{r:02d}_{t}_axis{c:02d}"
            for r in range(n_regions)
            for t in _bin_names(n_patches, self.max_bins, seconds)
            for c in range(self.n_components)
        ] + [
            f"region{r:02d}_spectrum{c:02d}"
            for r in range(n_regions)
            for c in range(self.n_spectral)
        ]


class TokenPooling(_BinnedPooling):
    """Keep every value of every token.

    Parameters
    ----------
    max_bins : int
        Longer rows are averaged into this many runs of patches.

    Raises
    ------
    ValueError
        If ``max_bins`` is below 1.

    Examples
    --------
    >>> from mne_megfm.models import TokenPooling
    >>> len(TokenPooling().names(24, 10, 128, 0.1))
    30720
    """

    def forward(self, tokens: Tensor, recorded: Tensor, model: Backbone) -> Tensor:
        """Pool the tokens of rows, see `Pooling.forward`."""
        return self._in_bins(tokens, recorded).flatten(1)

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features as region, time and token dimension.

        See `Pooling.names`.
        """
        return [
            f"region{r:02d}_{t}_dim{d:03d}"
            for r in range(n_regions)
            for t in _bin_names(n_patches, self.max_bins, seconds)
            for d in range(d_model)
        ]


class TimePooling(_BinnedPooling):
    """Keep when, average over regions.

    Parameters
    ----------
    max_bins : int
        Longer rows are averaged into this many runs of patches.

    Raises
    ------
    ValueError
        If ``max_bins`` is below 1.

    Examples
    --------
    >>> from mne_megfm.models import TimePooling
    >>> TimePooling().names(24, 10, 128, 0.1)[0]
    't0000-0100ms_dim000'
    """

    def forward(self, tokens: Tensor, recorded: Tensor, model: Backbone) -> Tensor:
        """Pool the tokens of rows, see `Pooling.forward`."""
        return self._in_bins(tokens, recorded).mean(1).flatten(1)

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features as time and token dimension, see `Pooling.names`."""
        return [
            f"{t}_dim{d:03d}"
            for t in _bin_names(n_patches, self.max_bins, seconds)
            for d in range(d_model)
        ]


class SpacePooling(Pooling):
    """Keep where, average over time.

    Examples
    --------
    >>> from mne_megfm.models import SpacePooling
    >>> SpacePooling().names(24, 10, 128, 0.1)[0]
    'region00_dim000'
    """

    def forward(self, tokens: Tensor, recorded: Tensor, model: Backbone) -> Tensor:
        """Pool the tokens of rows, see `Pooling.forward`."""
        return _mean(tokens, recorded, (2,)).flatten(1)

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features as region and token dimension, see `Pooling.names`."""
        return [
            f"region{r:02d}_dim{d:03d}"
            for r in range(n_regions)
            for d in range(d_model)
        ]


class MeanPooling(Pooling):
    """Average over everything; kept for comparison, it loses where and when.

    Examples
    --------
    >>> from mne_megfm.models import MeanPooling
    >>> MeanPooling().names(24, 10, 128, 0.1)[-1]
    'dim127'
    """

    def forward(self, tokens: Tensor, recorded: Tensor, model: Backbone) -> Tensor:
        """Pool the tokens of rows, see `Pooling.forward`."""
        return _mean(tokens, recorded, (1, 2))

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features by token dimension, see `Pooling.names`."""
        return [f"dim{d:03d}" for d in range(d_model)]
