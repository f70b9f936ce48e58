"""From tokens to one row of features.

Every pooling takes tokens ``(n, n_regions, n_patches, d_model)``, centred on the mean
token at their place, and gives ``(n, n_features)`` with a name for every feature.
Patches that were not recorded are zero, and left out of means.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._masked_transformer import MaskedSignalTransformer


def _check_count(name: str, value: int) -> int:
    """Refuse what would give no feature."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ValueError(
            f"Expected a whole number of 1 or more for {name}, got {value!r}; correct "
            "it."
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


class _Pooling:
    """Shared face of the built-in poolings."""

    def __repr__(self) -> str:
        args = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({args})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None


class _BinnedPooling(_Pooling):
    """Keep time in runs of patches, at most ``max_bins`` of them."""

    def __init__(self, max_bins: int = 20) -> None:
        self.max_bins = _check_count("max_bins", max_bins)

    def _in_bins(self, tokens: Tensor, recorded: Tensor) -> Tensor:
        bins = _bins(tokens.shape[2], self.max_bins)
        if len(bins) == tokens.shape[2]:
            return tokens
        return torch.stack(
            [_mean(tokens[:, :, a:b], recorded[:, a:b], (2,)) for a, b in bins], 2
        )


class ProjectionPooling(_BinnedPooling):
    """Keep where and when: the leading axes of every token.

    Tokens are projected on the leading axes of their region that are stored with the
    weights (see ``fit_token_projection``). All axes of a token
    together have unit variance: a linear classifier needs no scaling before it.

    Parameters
    ----------
    n_components : int
        Axes to keep; at most as many as the weights hold.
    max_bins : int
        Longer rows are averaged into this many runs of patches.

    Raises
    ------
    ValueError
        If a number is below 1, and when called with more components than the weights
        hold.

    Examples
    --------
    >>> from mne_megfm.models import ProjectionPooling
    >>> ProjectionPooling(n_components=4)
    ProjectionPooling(max_bins=20, n_components=4)
    """

    def __init__(self, n_components: int = 16, max_bins: int = 20) -> None:
        super().__init__(max_bins)
        self.n_components = _check_count("n_components", n_components)

    def __call__(
        self, tokens: Tensor, recorded: Tensor, model: MaskedSignalTransformer
    ) -> Tensor:
        """Pool tokens; ``recorded (n, n_patches)`` marks patches with samples."""
        axes = model.token_axes
        if self.n_components > axes.shape[1]:
            raise ValueError(
                f"Expected n_components <= {axes.shape[1]} (what the weights hold), "
                f"got {self.n_components}; lower it or use pooling='tokens'."
            )
        projected = torch.einsum("nrpd,rkd->nrpk", tokens, axes[:, : self.n_components])
        return self._in_bins(projected, recorded).flatten(1)

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features as region, time and axis.

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
        return [
            f"region{r:02d}_{t}_axis{c:02d}"
            for r in range(n_regions)
            for t in _bin_names(n_patches, self.max_bins, seconds)
            for c in range(self.n_components)
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

    def __call__(
        self, tokens: Tensor, recorded: Tensor, model: MaskedSignalTransformer
    ) -> Tensor:
        """Pool tokens; ``recorded (n, n_patches)`` marks patches with samples."""
        return self._in_bins(tokens, recorded).flatten(1)

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features as region, time and token dimension.

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

    def __call__(
        self, tokens: Tensor, recorded: Tensor, model: MaskedSignalTransformer
    ) -> Tensor:
        """Pool tokens; ``recorded (n, n_patches)`` marks patches with samples."""
        return self._in_bins(tokens, recorded).mean(1).flatten(1)

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features as time and token dimension.

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
        return [
            f"{t}_dim{d:03d}"
            for t in _bin_names(n_patches, self.max_bins, seconds)
            for d in range(d_model)
        ]


class SpacePooling(_Pooling):
    """Keep where, average over time.

    Examples
    --------
    >>> from mne_megfm.models import SpacePooling
    >>> SpacePooling().names(24, 10, 128, 0.1)[0]
    'region00_dim000'
    """

    def __call__(
        self, tokens: Tensor, recorded: Tensor, model: MaskedSignalTransformer
    ) -> Tensor:
        """Pool tokens; ``recorded (n, n_patches)`` marks patches with samples."""
        return _mean(tokens, recorded, (2,)).flatten(1)

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features as region and token dimension.

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
        return [
            f"region{r:02d}_dim{d:03d}"
            for r in range(n_regions)
            for d in range(d_model)
        ]


class MeanPooling(_Pooling):
    """Average over everything; kept for comparison, it loses where and when.

    Examples
    --------
    >>> from mne_megfm.models import MeanPooling
    >>> MeanPooling().names(24, 10, 128, 0.1)[-1]
    'dim127'
    """

    def __call__(
        self, tokens: Tensor, recorded: Tensor, model: MaskedSignalTransformer
    ) -> Tensor:
        """Pool tokens; ``recorded (n, n_patches)`` marks patches with samples."""
        return _mean(tokens, recorded, (1, 2))

    def names(
        self, n_regions: int, n_patches: int, d_model: int, seconds: float
    ) -> list[str]:
        """Name the features by token dimension.

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
        return [f"dim{d:03d}" for d in range(d_model)]
