"""Gradients of decisions with respect to signals on sensors, by captum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ._row_network import Row, RowNetwork

if TYPE_CHECKING:
    from ._person_network import PersonNetwork

#: Noise of SmoothGrad, in standard deviations of each channel.
NOISE = 0.3
#: How many noisy copies, and steps from what is neutral.
N_COPIES, N_STEPS = 16, 64
_BATCH = 32


class _Standard(nn.Module):
    """A network as a function of signals in units of each channel's spread."""

    def __init__(self, network: nn.Module, *scales: Tensor) -> None:
        super().__init__()
        self.network, self.scales = network, scales

    def forward(self, *signals: Tensor) -> Tensor:
        pairs = zip(signals, self.scales, strict=True)
        return self.network(*(signal * scale for signal, scale in pairs))


def channel_scale(rows: Sequence[Row]) -> NDArray[np.float32]:
    """Give the standard deviation of each channel over rows and times, (n, 1)."""
    signals = np.stack([row.signal for row in rows]).astype(np.float64)
    scale = signals.std((0, 2))
    scale[scale == 0] = scale.max()  # flat in all rows: its matrix column is 0
    return scale[:, None].astype(np.float32)


def _attributed(
    standard: _Standard,
    signals: tuple[Tensor, ...],
    neutral: tuple[Tensor, ...],
    method: str,
    noise: tuple[float, ...],
    batch: int,
) -> tuple[NDArray[np.float32], ...]:
    """Attribute the output for some signals to each of them."""
    from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency

    for signal in signals:
        signal.requires_grad_()
    if method == "gradient":
        found = Saliency(standard).attribute(signals, abs=False)
    elif method == "gradient_x_input":
        found = InputXGradient(standard).attribute(signals)
    elif method == "smoothgrad":
        found = NoiseTunnel(Saliency(standard)).attribute(
            signals,
            nt_samples=N_COPIES,
            nt_samples_batch_size=batch,
            stdevs=noise,
            abs=False,
        )
    else:
        found = IntegratedGradients(standard).attribute(
            signals, neutral, n_steps=N_STEPS, internal_batch_size=batch
        )
    return tuple(one.detach().cpu().numpy()[0] for one in found)


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
        See :func:`~mne_megfm.interpret.decision_map`.
    seed : int
        Seed of the noise.

    Returns
    -------
    maps : ndarray of float32, shape (n_rows, n_channels, n_times)
        In units of the decision: for gradients per standard deviation of a channel,
        otherwise of the whole change against the mean of all rows.
    """
    own = network.weights.detach().clone()[None]
    found = iter_row_gradients(network, rows, method, seed, [own] * len(rows))
    return np.stack([maps[0] for maps in found])


def iter_row_gradients(
    network: RowNetwork,
    rows: Sequence[Row],
    method: str,
    seed: int,
    weights: Sequence[Tensor],
) -> Iterator[NDArray[np.float32]]:
    """Attribute decisions by several weights of features, row by row.

    All methods are linear in these weights.

    Parameters
    ----------
    network : RowNetwork
        The pipeline.
    rows : sequence of Row
        Rows of one recording.
    method : {"gradient", "gradient_x_input", "smoothgrad", "integrated_gradients"}
        See :func:`~mne_megfm.interpret.decision_map`.
    seed : int
        Seed of the noise, which is the same for all weights.
    weights : sequence of Tensor, shape (n_weights, n_features)
        Weights of features for each row.

    Yields
    ------
    maps : ndarray of float32, shape (n_weights, n_channels, n_times)
        Maps of one row.
    """
    scale = channel_scale(rows)
    standard = _Standard(network, torch.from_numpy(scale).to(network.weights))
    neutral = np.mean([row.signal for row in rows], 0) / scale
    neutral = torch.from_numpy(neutral).to(network.weights)[None]
    before = network.weights
    for number, (row, some) in enumerate(zip(rows, weights, strict=True)):
        network.look_at(row)
        maps = np.empty((len(some), *row.signal.shape), np.float32)
        for out, one in zip(maps, some, strict=True):
            network.weights = one.to(before)
            signal = torch.from_numpy(row.signal / scale).to(neutral)[None]
            given = (signal,), (neutral,)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed + number)
                (out[:],) = _attributed(standard, *given, method, (NOISE,), _BATCH)
        network.weights = before
        yield maps


def person_gradients(
    network: PersonNetwork, method: str, seed: int
) -> dict[str, NDArray[np.float32]]:
    """Attribute the decision of a participant to the average responses.

    Parameters
    ----------
    network : PersonNetwork
        The pipeline and the participant.
    method : {"gradient", "gradient_x_input", "smoothgrad", "integrated_gradients"}
        See :func:`~mne_megfm.interpret.decision_map`.
    seed : int
        Seed of the noise.

    Returns
    -------
    maps : dict of ndarray of float32, shape (n_channels, n_times)
        For each state with stimuli, in units of the decision: for gradients per
        standard deviation of a channel over trials and times, otherwise of the whole
        change against trials without their average.
    """
    scales = tuple(network.scale.values())
    signals = tuple(
        average[None] / scale
        for average, scale in zip(network.averages.values(), scales, strict=True)
    )
    neutral = tuple(torch.zeros_like(signal) for signal in signals)
    noise = tuple(NOISE * float(signal.std()) for signal in signals)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # all trials at once are a batch
        found = _attributed(
            _Standard(network, *scales), signals, neutral, method, noise, 1
        )
    return dict(zip(network.averages, found, strict=True))
