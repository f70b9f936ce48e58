"""Principal axes of tokens, for compact pooling."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models import MaskedSignalTransformer


def fit_token_axes(
    model: MaskedSignalTransformer,
    windows: Tensor,
    n_valid: Tensor | None = None,
    *,
    batch_size: int = 64,
) -> None:
    """Find the principal axes of a model's tokens and keep them in it.

    Tokens have a mean of their own at every region and patch; the axes are those of
    what varies around it. Projections are scaled to unit variance in total, not
    each, so that strong axes stay strong.

    Parameters
    ----------
    model : MaskedSignalTransformer
        The model, changed in place.
    windows : Tensor, shape (n, n_sensors, n_times)
        Canonical field in tesla.
    n_valid : Tensor of int, shape (n,), optional
        Recorded samples of each window; all by default.
    batch_size : int
        Windows at a time.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.models import MaskedSignalTransformer, ModelConfig
    >>> from mne_megfm.pretraining import fit_token_axes
    >>> model = MaskedSignalTransformer(ModelConfig(d_model=32, n_layers=1))
    >>> fit_token_axes(model, torch.randn(8, 192, 250) * 1e-13)
    >>> model.token_axes.shape
    torch.Size([16, 32])
    """
    config = model.config
    device = next(model.parameters()).device
    shape = (config.n_regions, config.n_patches)
    count = torch.zeros(*shape, 1, dtype=torch.float64)
    total = torch.zeros(*shape, config.d_model, dtype=torch.float64)
    outer = torch.zeros(config.d_model, config.d_model, dtype=torch.float64)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(windows), batch_size):
            valid = None
            if n_valid is not None:
                valid = n_valid[start : start + batch_size].to(device)
            part = windows[start : start + batch_size].to(device)
            tokens = model.encode(part, valid).cpu().double()
            seen = (tokens != 0).any(-1, keepdim=True)
            count += seen.sum(0)
            total += tokens.sum(0)
            flat = tokens.flatten(0, 2)
            outer += flat.T @ flat
    mean = total / count.clamp(min=1)
    if len(windows) == 1:
        # one window does not vary around its own tokens, only from place to place
        mean = (total.sum((0, 1)) / count.sum()).expand_as(mean)
    covariance = (outer - torch.einsum("rpd,rpe->de", mean * count, mean)) / count.sum()
    values, vectors = torch.linalg.eigh(covariance)
    axes = vectors.flip(1)[:, : config.n_components].T
    # eigenvectors have no sign of their own: fix it, for reproducible features
    largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    axes = axes * largest.sign()
    spread = values.clamp(min=0).sum().sqrt().clamp(min=1e-12)
    model.set_token_axes(mean.float(), (axes / spread).float())
