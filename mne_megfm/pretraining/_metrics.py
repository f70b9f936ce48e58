"""How well hidden signal is predicted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..models import (
    MaskedSignalTransformer,
    field_interpolation,
    time_interpolation,
    to_patches,
)
from ._masking import draw_masks

#: The field baseline is the best of these, chosen on the hidden truth itself.
BASELINE_REGULARIZATIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def masked_r2(
    model: MaskedSignalTransformer,
    windows: Tensor,
    masking: Callable[..., Tensor],
    region_pos: Tensor,
    *,
    n_valid: Tensor | None = None,
    n_draws: int = 1,
    seed: int = 0,
    batch_size: int = 64,
) -> dict[str, float]:
    """Explained share of the hidden signal, beside both interpolations.

    ``R2 = 1 - sum (b - b_hat)^2 / sum b^2`` over all hidden samples of all windows,
    b in tesla after taking gross offsets away (judged by visible samples alone).
    Predicting nothing gives 0.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The model.
    windows : Tensor, shape (n, n_sensors, n_times)
        Canonical field in tesla.
    masking : callable
        Draws masks, see :class:`~mne_megfm.pretraining.RandomMasking`.
    region_pos : Tensor, shape (n_regions, 3)
        Positions of the regions in m.
    n_valid : Tensor of int, shape (n,), optional
        Recorded samples of each window; all by default.
    n_draws : int
        Masks drawn for each window.
    seed : int
        Seed of the masks.
    batch_size : int
        Windows at a time.

    Returns
    -------
    r2 : dict
        ``"model"``, ``"field"`` (minimum-norm from the sensors visible at the same
        time, at the best of six regularisations: an advantage over the model) and
        ``"time"`` (straight lines between visible samples).

    Raises
    ------
    ValueError
        If the masks hide no recorded signal, or all of it is zero.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.pretraining import RandomMasking, masked_r2
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> windows = torch.linspace(-1e-13, 1e-13, 250).expand(4, 192, 250)
    >>> r2 = masked_r2(model, windows, RandomMasking(0.1), torch.randn(24, 3))
    >>> sorted(r2), r2["time"] > 0.9
    (['field', 'model', 'time'], True)
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    device = next(model.parameters()).device
    sums = dict.fromkeys(("model", "time", "total", *BASELINE_REGULARIZATIONS), 0.0)
    model.eval()
    with torch.inference_mode():
        for _ in range(n_draws):
            for start in range(0, len(windows), batch_size):
                part = windows[start : start + batch_size].to(device)
                valid = None
                if n_valid is not None:
                    valid = n_valid[start : start + batch_size].to(device)
                mask = draw_masks(
                    masking, len(part), valid, config, region_pos, generator
                ).to(device)
                scaled, hidden = model.scale(part, valid, mask)
                # squares of tesla underflow in float32: compare at network scale
                unit = (scaled.unit / config.scale)[..., None, None]
                target = to_patches(scaled.windows, config)
                recorded = mask & hidden
                if valid is not None:
                    patch = torch.arange(config.n_patches, device=device)
                    inside = (patch + 1) * config.patch_length <= valid[:, None]
                    recorded = recorded & inside[:, None]
                visible = torch.where(hidden[..., None, None], 0.0, target)
                completed = model.reconstruct(part, mask, valid)
                guesses = {
                    "model": to_patches(scaled.from_tesla(completed), config),
                    "time": time_interpolation(visible, hidden),
                    "total": torch.zeros_like(target),
                }
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
    sums["field"] = min(sums.pop(value) for value in BASELINE_REGULARIZATIONS)
    return {name: 1.0 - sums[name] / total for name in ("model", "field", "time")}
