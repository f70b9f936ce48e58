"""Gradients of decisions with respect to signals on sensors, by captum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ._row_network import Row, RowNetwork

#: Noise of SmoothGrad, in standard deviations of each channel.
NOISE = 0.3
#: How many noisy copies, and steps from the mean of all rows.
N_COPIES, N_STEPS = 16, 64
_BATCH = 32


class _Standard(nn.Module):
    """The network as a function of signals in units of each channel's spread."""

    def __init__(self, network: RowNetwork, scale: Tensor) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, signals: Tensor) -> Tensor:
        return self.network(signals * self.scale)


def channel_scale(rows: Sequence[Row]) -> NDArray[np.float32]:
    """Give the standard deviation of each channel over rows and times, (n, 1)."""
    signals = np.stack([row.signal for row in rows]).astype(np.float64)
    scale = signals.std((0, 2))
    scale[scale == 0] = scale.max()  # flat in all rows: its matrix column is 0
    return scale[:, None].astype(np.float32)


def row_gradients(
    network: RowNetwork, rows: Sequence[Row], method: str, seed: int
) -> NDArray[np.float32]:
    """Attribute the decision of each row of a recording to its channels and times.

    Parameters
    ----------
    network : RowNetwork
        The pipeline.
    rows : sequence of Row
        Rows of one recording.
    method : {"gradient", "gradient_x_input", "smoothgrad", "integrated_gradients"}
        See :func:`~mne_megfm.interpret.attribute`.
    seed : int
        Seed of the noise.

    Returns
    -------
    maps : ndarray of float32, shape (n_rows, n_channels, n_times)
        In units of the decision: for gradients per standard deviation of a channel,
        otherwise of the whole change against the mean of all rows.
    """
    from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency

    scale = channel_scale(rows)
    standard = _Standard(network, torch.from_numpy(scale).to(network.weights))
    neutral = np.mean([row.signal for row in rows], 0) / scale
    neutral = torch.from_numpy(neutral).to(network.weights)[None]
    maps = np.empty((len(rows), *rows[0].signal.shape), np.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for out, row in zip(maps, rows, strict=True):
            network.look_at(row)
            signal = torch.from_numpy(row.signal / scale).to(neutral)[None]
            signal.requires_grad_()
            if method == "gradient":
                found = Saliency(standard).attribute(signal, abs=False)
            elif method == "gradient_x_input":
                found = InputXGradient(standard).attribute(signal)
            elif method == "smoothgrad":
                found = NoiseTunnel(Saliency(standard)).attribute(
                    signal,
                    nt_samples=N_COPIES,
                    nt_samples_batch_size=_BATCH,
                    stdevs=NOISE,
                    abs=False,
                )
            else:
                found = IntegratedGradients(standard).attribute(
                    signal, neutral, n_steps=N_STEPS, internal_batch_size=_BATCH
                )
            out[:] = found.detach().cpu().numpy()[0]
    return maps
