"""What is hidden from the model, and how well it is predicted.

A masking draws ``(n, n_regions, n_patches)`` bool arrays, True where hidden. All
rows of one draw hide the same number of tokens, so that visible tokens pack without
padding. Blocks over all sensors, and over neighbouring regions at all times, cannot
be filled by copying a neighbour; isolated tokens often can. The loss is of all hidden
tokens, unless a masking has a method ``draw`` that says of which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from numbers import Integral, Real
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ._interpolation import field_interpolation, time_interpolation
from .backbone import BackboneConfig, Reconstructor, check_reconstructs
from .windows import to_patches


def _check_ratio(mask_ratio: float) -> float:
    if not isinstance(mask_ratio, Real) or not 0.0 < mask_ratio < 1.0:
        raise ValueError(
            f"Expected 0 < mask_ratio < 1, got {mask_ratio!r}; 0.5 hides half of the "
            "tokens."
        )
    return float(mask_ratio)


class Masks(NamedTuple):
    """What a draw hides, and what of it the loss is of.

    Parameters
    ----------
    hidden : Tensor of bool, shape (n, n_regions, n_patches)
        True where the model must not look.
    targets : Tensor of bool, shape (n, n_regions, n_patches)
        True where predictions are compared with the signal; all of them are hidden.
    """

    hidden: Tensor
    targets: Tensor


def _draw(
    masking: Callable[..., Tensor],
    n: int,
    n_patches: int,
    region_pos: Tensor,
    generator: torch.Generator,
    patch_duration: float,
) -> Masks:
    """Draw masks, and their targets where the masking has some of its own."""
    # a child of a masking with targets may hide something else by ``__call__`` alone
    makers = (vars(cls) for cls in type(masking).__mro__)
    if "draw" in next(names for names in makers if {"draw", "__call__"} & set(names)):
        return masking.draw(n, n_patches, region_pos, generator, patch_duration)
    hidden = masking(n, n_patches, region_pos, generator)
    return Masks(hidden, hidden)


class _Masking:
    """Shared face of the built-in maskings."""

    def __init__(self, mask_ratio: float) -> None:
        self.mask_ratio = _check_ratio(mask_ratio)

    def __repr__(self) -> str:
        args = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({args})"


def draw_masks(
    masking: Callable[..., Tensor],
    n: int,
    n_valid: Tensor | None,
    config: BackboneConfig,
    region_pos: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Draw masks over what was recorded.

    Masks cover the patches of the longest window, the last one in part if need be, so
    that they hide the same share of short windows as of full ones. With full windows
    this is ``masking`` itself.

    Parameters
    ----------
    masking : callable
        Draws masks, see :class:`RandomMasking`.
    n : int
        How many.
    n_valid : Tensor of int, shape (n_windows,), optional
        Recorded samples of the windows; all by default.
    config : BackboneConfig
        The sizes.
    region_pos : Tensor, shape (n_regions, 3)
        Positions of the regions in m.
    generator : torch.Generator
        Where random numbers come from.

    Returns
    -------
    masks : Tensor of bool, shape (n, n_regions, n_patches)
        True where hidden, on the CPU.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import ModelConfig
    >>> from mne_megfm.models import TimeBlockMasking, draw_masks
    >>> generator = torch.Generator().manual_seed(0)
    >>> half = torch.tensor([125])
    >>> mask = draw_masks(
    ...     TimeBlockMasking(0.4), 1, half, ModelConfig(), torch.randn(24, 3), generator
    ... )
    >>> mask[0, 0].sum().item(), mask[0, 0, 5:].any().item()
    (2, False)
    """
    drawn = draw_masks_and_targets(masking, n, n_valid, config, region_pos, generator)
    return drawn.hidden


def draw_masks_and_targets(
    masking: Callable[..., Tensor],
    n: int,
    n_valid: Tensor | None,
    config: BackboneConfig,
    region_pos: Tensor,
    generator: torch.Generator,
) -> Masks:
    """Draw masks over what was recorded, and say of which tokens the loss is.

    Parameters
    ----------
    masking, n, n_valid, config, region_pos, generator : object
        See :func:`draw_masks`. A masking with a method ``draw(n, n_patches,
        region_pos, generator, patch_duration)`` gives :class:`Masks`; of others, all
        hidden tokens are targets.

    Returns
    -------
    masks : Masks
        Hidden tokens and targets, both of shape (n, n_regions, n_patches), on the CPU.
    """
    whole = config.n_patches
    if n_valid is not None:
        # with the last patch in part: what is hidden in space is hidden to the end
        whole = max(1, -(-int(n_valid.max()) // config.patch_length))
    duration = config.patch_length / config.sfreq
    drawn = _draw(masking, n, whole, region_pos, generator, duration)
    return Masks(*(F.pad(m, (0, config.n_patches - whole)) for m in drawn))


class RandomMasking(_Masking):
    """Hide tokens anywhere, each as likely as another.

    Parameters
    ----------
    mask_ratio : float
        Share of the tokens to hide.

    Raises
    ------
    ValueError
        If ``mask_ratio`` is not between 0 and 1.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import RandomMasking
    >>> region_pos = torch.randn(24, 3)
    >>> generator = torch.Generator().manual_seed(0)
    >>> mask = RandomMasking(0.8)(2, 10, region_pos, generator)
    >>> mask.shape, mask.sum(dim=(1, 2)).tolist()
    (torch.Size([2, 24, 10]), [192, 192])
    """

    def __init__(self, mask_ratio: float = 0.8) -> None:
        super().__init__(mask_ratio)

    def __call__(
        self, n: int, n_patches: int, region_pos: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw masks for ``n`` windows."""
        n_tokens = len(region_pos) * n_patches
        n_hidden = min(max(1, round(self.mask_ratio * n_tokens)), n_tokens - 1)
        rank = torch.rand(n, n_tokens, generator=generator).argsort(1).argsort(1)
        return (rank < n_hidden).view(n, len(region_pos), n_patches)


class TimeBlockMasking(_Masking):
    """Hide all sensors during blocks of consecutive patches.

    Parameters
    ----------
    mask_ratio : float
        Share of the patches to hide. Of windows of a single patch nothing can be
        hidden, since nothing would be left to see.
    n_block_patches : int
        Length of a block in patches; blocks may touch.

    Raises
    ------
    ValueError
        If ``mask_ratio`` is not between 0 and 1, or ``n_block_patches`` below 1.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import TimeBlockMasking
    >>> generator = torch.Generator().manual_seed(0)
    >>> mask = TimeBlockMasking(0.3)(1, 10, torch.randn(24, 3), generator)
    >>> int(mask[0, 0].sum()), bool((mask == mask[:, :1]).all())
    (3, True)
    """

    def __init__(self, mask_ratio: float = 0.3, n_block_patches: int = 3) -> None:
        super().__init__(mask_ratio)
        if not isinstance(n_block_patches, Integral) or n_block_patches < 1:
            raise ValueError(
                f"Expected n_block_patches >= 1, got {n_block_patches!r}; 3 hides "
                "blocks of 300 ms."
            )
        self.n_block_patches = int(n_block_patches)

    def __call__(
        self, n: int, n_patches: int, region_pos: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw masks for ``n`` windows."""
        n_hidden = min(max(1, round(self.mask_ratio * n_patches)), n_patches - 1)
        hidden = torch.zeros(n, n_patches, dtype=torch.bool)
        for row in hidden:
            left = n_hidden
            while left:
                length = min(self.n_block_patches, left)
                starts = n_patches - length + 1
                start = int(torch.randint(starts, (1,), generator=generator))
                block = row[start : start + length]
                left -= int((~block).sum())
                block[:] = True
        return hidden[:, None].repeat(1, len(region_pos), 1)


class SpaceBlockMasking(_Masking):
    """Hide a patch of neighbouring regions during the whole window.

    Parameters
    ----------
    mask_ratio : float
        Share of the regions to hide.

    Raises
    ------
    ValueError
        If ``mask_ratio`` is not between 0 and 1.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import SpaceBlockMasking
    >>> generator = torch.Generator().manual_seed(0)
    >>> mask = SpaceBlockMasking(0.25)(1, 10, torch.randn(24, 3), generator)
    >>> int(mask[0, :, 0].sum()), bool((mask == mask[:, :, :1]).all())
    (6, True)
    """

    def __init__(self, mask_ratio: float = 0.25) -> None:
        super().__init__(mask_ratio)

    def __call__(
        self, n: int, n_patches: int, region_pos: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw masks for ``n`` windows."""
        n_regions = len(region_pos)
        n_hidden = min(max(1, round(self.mask_ratio * n_regions)), n_regions - 1)
        centre = torch.randint(n_regions, (n,), generator=generator)
        pos = region_pos.to("cpu", torch.float64)
        nearest = torch.cdist(pos, pos).argsort(1)[centre, :n_hidden]
        hidden = torch.zeros(n, n_regions, dtype=torch.bool)
        hidden.scatter_(1, nearest, True)
        return hidden[:, :, None].repeat(1, 1, n_patches)


def _check_radius(name: str, value: float, usual: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < inf:
        raise ValueError(
            f"Expected {name} to be a number of 0 or more, got {value!r}; {usual}."
        )
    return float(value)


class LocalMasking(_Masking):
    """Hide tokens together with their neighbours in space and time.

    The field of a source is seen by neighbouring regions, and slow or filtered signals
    by neighbouring patches: they give a hidden token away. Tokens are drawn at random,
    and each is hidden with all tokens whose region centre is within ``radius_space``
    and whose patch centre is within ``radius_time`` of its own, as [1]_ does for the
    slow responses of functional MRI.

    The loss is of the *targets* alone: the hidden tokens without a visible token within
    both radii. Those that were drawn are among them, and neighbours of which all
    neighbours are hidden too. Other hidden tokens, at the edge of what is hidden, are
    neither seen nor predicted. What lies outside the window, or beyond the
    longest window of the batch, is no visible token.

    Parameters
    ----------
    mask_ratio : float
        Share of the tokens to hide, targets and neighbours together. All rows hide
        ``round(mask_ratio * n_tokens)`` tokens, or as many as the smallest
        neighbourhood has where that is more. Tokens that are left when no whole
        neighbourhood fits any more are hidden at random. On the canonical array, with
        the default radii and windows of 1 s, 0.8 hides 192 of 240 tokens, of which
        about 72 are targets; 0.5 hides 120, of which about 23 are.
    radius_space : float
        Largest distance between centres of regions, in m. The nearest neighbours are
        0.06 to 0.08 m apart; with 0.09 m, 4 to 6 regions are hidden together. With 0,
        each region is hidden alone.
    radius_time : float
        Largest distance between centres of patches, in s. With 0.2 s and patches of
        100 ms, two patches before and two after are hidden.

    Raises
    ------
    ValueError
        If ``mask_ratio`` is not between 0 and 1, a radius is negative, or, in a draw,
        the smallest neighbourhood is the whole window.

    References
    ----------
    .. [1] "Bridging foundation models and efficient architectures: a modular brain
       imaging framework with local masking and pretrained representation learning"
       (2025), arXiv:2508.16597 (local masked autoencoder).

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import LocalMasking
    >>> from mne_megfm.sensors import canonical_array
    >>> region_pos = torch.tensor(canonical_array().region_pos)
    >>> generator = torch.Generator().manual_seed(0)
    >>> masks = LocalMasking(0.8).draw(2, 10, region_pos, generator, 0.1)
    >>> masks.hidden.sum((1, 2)).tolist()
    [192, 192]
    >>> bool((masks.targets & ~masks.hidden).any())
    False
    """

    def __init__(
        self,
        mask_ratio: float = 0.8,
        radius_space: float = 0.09,
        radius_time: float = 0.2,
    ) -> None:
        super().__init__(mask_ratio)
        self.radius_space = _check_radius(
            "radius_space", radius_space, "0.09 hides what is within 9 cm"
        )
        self.radius_time = _check_radius(
            "radius_time", radius_time, "0.2 hides what is within 200 ms"
        )

    def __call__(
        self, n: int, n_patches: int, region_pos: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw masks for ``n`` windows, with patches of 100 ms."""
        return self.draw(n, n_patches, region_pos, generator).hidden

    def draw(
        self,
        n: int,
        n_patches: int,
        region_pos: Tensor,
        generator: torch.Generator,
        patch_duration: float = 0.1,
    ) -> Masks:
        """Draw masks and targets for ``n`` windows.

        Parameters
        ----------
        n : int
            How many.
        n_patches : int
            Patches in a window.
        region_pos : Tensor, shape (n_regions, 3)
            Positions of the regions in m.
        generator : torch.Generator
            Where random numbers come from.
        patch_duration : float
            Length of a patch in s.

        Returns
        -------
        masks : Masks
            Hidden tokens and targets.

        Raises
        ------
        ValueError
            If the smallest neighbourhood is the whole window.
        """
        near = self._neighbours(region_pos, n_patches, patch_duration)
        n_tokens = len(near)
        n_hidden = max(round(self.mask_ratio * n_tokens), int(near.sum(1).min()))
        if n_hidden >= n_tokens > 1:
            n_hidden = n_tokens - 1
            if near.sum(1).min() > n_hidden:
                raise ValueError(
                    "Expected radii that leave tokens visible, got radius_space="
                    f"{self.radius_space:g} m and radius_time={self.radius_time:g} s, "
                    f"which take in all {n_tokens} tokens of a window of "
                    f"{n_patches * patch_duration:g} s; lower one of them."
                )
        order = torch.rand(n, n_tokens, generator=generator).argsort(1)
        hidden = torch.zeros(n, n_tokens, dtype=torch.bool)
        left = torch.full((n,), n_hidden)
        # whole neighbourhoods as long as any fits, then single tokens
        for neighbourhood in (near, torch.eye(n_tokens, dtype=torch.bool)):
            for tokens in order.T:
                new = neighbourhood[tokens] & ~hidden
                fits = new.sum(1) <= left
                hidden |= new & fits[:, None]
                left = left - new.sum(1) * fits
        seen = (~hidden).float() @ near.float() > 0
        shape = (n, len(region_pos), n_patches)
        return Masks(hidden.view(shape), (hidden & ~seen).view(shape))

    def _neighbours(
        self, region_pos: Tensor, n_patches: int, patch_duration: float
    ) -> Tensor:
        """Say which tokens are within both radii of which, (n_tokens, n_tokens)."""
        pos = region_pos.to("cpu", torch.float64)
        time = patch_duration * torch.arange(n_patches, dtype=torch.float64)
        apart = torch.linalg.vector_norm(pos[:, None] - pos, dim=-1)
        # a distance that is the radius is within it, whatever it is rounded to
        space = apart <= self.radius_space + 1e-9
        near = (time[:, None] - time).abs() <= self.radius_time + 1e-9
        return torch.kron(space.int(), near.int()).bool()


class MixedMasking(_Masking):
    """Draw one of several kinds of masks in each call.

    Parameters
    ----------
    mask_ratio : float
        Share of the tokens to hide in random masks, where ``kinds`` is None. Time
        blocks hide three eighths as much, since hiding all sensors is harder, and
        space blocks half as much. Windows of a single patch get no time blocks.
    kinds : sequence of callable, optional
        The maskings to draw from. None stands for random masks, time blocks and space
        blocks.
    weights : sequence of float, optional
        How often each kind is drawn, relative to the others; equally often by default.

    Raises
    ------
    ValueError
        If ``mask_ratio`` is not between 0 and 1, there are no kinds, or there are not
        as many weights as kinds, all of at least 0 and one above.

    Examples
    --------
    >>> from mne_megfm.models import MixedMasking, RandomMasking, TimeBlockMasking
    >>> MixedMasking(0.6)
    MixedMasking(mask_ratio=0.6)
    >>> kinds = [RandomMasking(0.6), TimeBlockMasking(0.3)]
    >>> MixedMasking(kinds=kinds, weights=[3, 1]).weights
    [3, 1]
    """

    def __init__(
        self,
        mask_ratio: float = 0.8,
        kinds: Sequence[Callable[..., Tensor]] | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(mask_ratio)
        self.kinds, self.weights = kinds, weights
        n_kinds = 3 if kinds is None else len(kinds)
        if not n_kinds or not all(callable(kind) for kind in kinds or ()):
            raise ValueError(
                f"Expected maskings in kinds, got {kinds!r}; give instances, such as "
                "[RandomMasking(0.8), TimeBlockMasking(0.3)]."
            )
        if weights is not None:
            fits = len(weights) == n_kinds and all(0 <= w < inf for w in weights)
            if not fits or not sum(weights):
                raise ValueError(
                    f"Expected a weight of 0 or more for each of {n_kinds} kinds, and "
                    f"one above 0, got {weights!r}; correct them."
                )

    def __repr__(self) -> str:
        given = {
            "mask_ratio": self.mask_ratio if self.kinds is None else None,
            "kinds": self.kinds,
            "weights": self.weights,
        }
        args = ", ".join(f"{k}={v!r}" for k, v in given.items() if v is not None)
        return f"MixedMasking({args})"

    def __call__(
        self, n: int, n_patches: int, region_pos: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Draw masks for ``n`` windows, with patches of 100 ms."""
        return self.draw(n, n_patches, region_pos, generator).hidden

    def draw(
        self,
        n: int,
        n_patches: int,
        region_pos: Tensor,
        generator: torch.Generator,
        patch_duration: float = 0.1,
    ) -> Masks:
        """Draw masks and targets of one kind for ``n`` windows.

        Parameters
        ----------
        n, n_patches, region_pos, generator, patch_duration : object
            See :meth:`LocalMasking.draw`.

        Returns
        -------
        masks : Masks
            Hidden tokens, and the targets of the kind.
        """
        kinds = self.kinds or (
            RandomMasking(self.mask_ratio),
            TimeBlockMasking(self.mask_ratio * 0.375),
            SpaceBlockMasking(self.mask_ratio * 0.5),
        )
        weights = self.weights
        if n_patches == 1:
            kept = [
                i for i, k in enumerate(kinds) if not isinstance(k, TimeBlockMasking)
            ]
            left = None if weights is None else [weights[i] for i in kept]
            if kept and (left is None or sum(left)):
                kinds, weights = [kinds[i] for i in kept], left
        if weights is None:
            number = torch.randint(len(kinds), (1,), generator=generator)
        else:
            number = torch.multinomial(
                torch.tensor(weights, dtype=torch.float64), 1, generator=generator
            )
        kind = kinds[int(number)]
        return _draw(kind, n, n_patches, region_pos, generator, patch_duration)


#: The field baseline is the best of these, chosen on the hidden truth itself.
BASELINE_REGULARIZATIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def masked_r2(
    model: Reconstructor,
    windows: Tensor,
    masking: Callable[..., Tensor],
    region_pos: Tensor,
    *,
    n_valid: Tensor | None = None,
    n_draws: int = 1,
    random_state: int = 0,
    batch_size: int = 64,
    interpolate: bool = True,
) -> dict[str, float]:
    """Explained share of the hidden signal, beside both interpolations.

    ``R2 = 1 - sum (b - b_hat)^2 / sum b^2`` over all hidden samples of all windows,
    b in tesla after taking gross offsets away (judged by visible samples alone).
    Predicting nothing gives 0.

    Parameters
    ----------
    model : Reconstructor
        The model.
    windows : Tensor, shape (n, n_sensors, n_times)
        Canonical field in tesla.
    masking : callable
        Draws masks, see :class:`~mne_megfm.models.RandomMasking`.
    region_pos : Tensor, shape (n_regions, 3)
        Positions of the regions in m.
    n_valid : Tensor of int, shape (n,), optional
        Recorded samples of each window; all by default.
    n_draws : int
        Masks drawn for each window.
    random_state : int
        Seed of the masks.
    batch_size : int
        Windows at a time.
    interpolate : bool
        Whether to score both interpolations too, which takes most of the time.

    Returns
    -------
    r2 : dict
        ``"model"``, ``"field"`` (minimum-norm from the sensors visible at the same
        time, at the best of six regularisations: an advantage over the model) and
        ``"time"`` (straight lines between visible samples).

    Raises
    ------
    TypeError
        If the model predicts no signal.
    ValueError
        If the masks hide no recorded signal, or all of it is zero.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.models import RandomMasking, masked_r2
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> windows = torch.linspace(-1e-13, 1e-13, 250).expand(4, 192, 250)
    >>> r2 = masked_r2(model, windows, RandomMasking(0.1), torch.randn(24, 3))
    >>> sorted(r2), r2["time"] > 0.9
    (['field', 'model', 'time'], True)
    """
    check_reconstructs(model)
    generator = torch.Generator().manual_seed(random_state)
    config = model.config
    device = next(model.parameters()).device
    names = ("model", "field", "time") if interpolate else ("model",)
    sums: dict[str | float, float] = {"model": 0.0, "total": 0.0}
    if interpolate:
        sums |= dict.fromkeys(("time", *BASELINE_REGULARIZATIONS), 0.0)
    model.eval()
    with torch.inference_mode():
        for _ in range(n_draws):
            for start in range(0, len(windows), batch_size):
                part = windows[start : start + batch_size].to(device)
                valid = None
                if n_valid is not None:
                    valid = n_valid[start : start + batch_size].to(device)
                drawn = draw_masks_and_targets(
                    masking, len(part), valid, config, region_pos, generator
                )
                mask, compared = (m.to(device) for m in drawn)
                scaled, hidden = model.scale(part, valid, mask)
                # squares of tesla underflow in float32: compare at network scale
                unit = (scaled.unit / config.scale)[..., None, None]
                target = to_patches(scaled.windows, config)
                recorded = compared & hidden
                if valid is not None:
                    patch = torch.arange(config.n_patches, device=device)
                    inside = (patch + 1) * config.patch_length <= valid[:, None]
                    recorded = recorded & inside[:, None]
                visible = torch.where(hidden[..., None, None], 0.0, target)
                completed = model.reconstruct(part, mask, valid)
                guesses: dict[str | float, Tensor] = {
                    "model": to_patches(scaled.from_tesla(completed), config),
                    "total": torch.zeros_like(target),
                }
                if interpolate:
                    guesses["time"] = time_interpolation(visible, hidden)
                    for value in BASELINE_REGULARIZATIONS:
                        guesses[value] = field_interpolation(
                            visible, hidden, model.kernel, value
                        )
                for name, guess in guesses.items():
                    error = ((guess - target) * unit)[recorded]
                    sums[name] += float(error.square().sum(dtype=torch.float64))
    total = sums.pop("total")
    if not total:
        raise ValueError(
            "Expected some recorded signal where the masks hide it, got none; the "
            "windows may be too short or all zero."
        )
    if interpolate:
        sums["field"] = min(sums.pop(value) for value in BASELINE_REGULARIZATIONS)
    return {name: 1.0 - sums[name] / total for name in names}
