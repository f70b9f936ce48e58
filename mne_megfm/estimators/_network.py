"""The network that is fine-tuned: encoder, description of samples, linear head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..inputs import Recordings
from ..models import MaskedSignalTransformer, valid_patches
from ._extraction import iter_row_tokens
from ._transformer import MEGFMTransformer

# under the root of a variance, whose gradient is infinite at 0
_EPS = 1e-6


@dataclass(frozen=True)
class Batch:
    """Windows of some samples, and where each belongs.

    Attributes
    ----------
    windows : Tensor, shape (n_windows, n_sensors, n_times)
        Canonical field in tesla.
    n_valid : Tensor of int, shape (n_windows,)
        Recorded samples of each window.
    start : Tensor of int, shape (n_windows,)
        First patch of each window in its row.
    row : Tensor of int, shape (n_windows,)
        Row of each window, counted within the batch.
    sample : Tensor of int, shape (n_rows,)
        Sample of each row, counted within the batch.
    state : Tensor of int, shape (n_rows,)
        State of each row.
    n_samples : int
        Number of samples.
    """

    windows: Tensor
    n_valid: Tensor
    start: Tensor
    row: Tensor
    sample: Tensor
    state: Tensor
    n_samples: int

    def __len__(self) -> int:
        return self.n_samples

    def to(self, device: torch.device) -> Batch:
        """Move all tensors to a device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if k != "n_samples"}
        return replace(self, **moved)


class TunedNetwork(nn.Module):
    """Encoder, mean and spread over the rows of each state, and a linear head.

    A state that a sample lacks is filled with the mean over training samples, and
    marked by an indicator.

    Parameters
    ----------
    encoder : MaskedSignalTransformer
        The encoder.
    pooling : callable
        How the tokens of a row become features.
    states : list of str
        The states, sorted; one without a name where samples are rows.
    n_patches : list of int
        Length of the rows of each state, in patches.
    spread : bool
        Whether samples have several rows, whose spread is a feature.
    """

    def __init__(
        self,
        encoder: MaskedSignalTransformer,
        pooling: Callable,
        states: list[str],
        n_patches: list[int],
        spread: bool,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.states = states
        self.n_patches = n_patches
        self.spread = spread
        self.head: nn.Linear | None = None

    # -- windows to descriptions --------------------------------------------
    def describe(self, batch: Batch) -> Tensor:
        """Describe each sample; NaN where it lacks a state."""
        config = self.encoder.config
        tokens = self.encoder.encode(batch.windows, batch.n_valid).float()
        recorded = valid_patches(batch.n_valid, config)
        tokens = (tokens - self.encoder.token_mean) * recorded[:, None, :, None]
        pooled: list[tuple[Tensor, Tensor]] = []
        for state, n_patches in enumerate(self.n_patches):
            rows = torch.nonzero(batch.state == state)[:, 0]
            number = torch.full_like(batch.state, -1)
            number[rows] = torch.arange(len(rows), device=rows.device)
            of_state = torch.nonzero(number[batch.row] >= 0)[:, 0]
            joined = _join(
                tokens[of_state],
                recorded[of_state],
                number[batch.row[of_state]],
                batch.start[of_state],
                (len(rows), n_patches),
            )
            values = self.pooling(*joined, self.encoder) if len(rows) else None
            pooled.append((values, batch.sample[rows]))
        return self.summarize(pooled, len(batch))

    def summarize(self, pooled: list[tuple], n_samples: int) -> Tensor:
        """Describe samples by the pooled rows of each state.

        ``pooled`` has, for each state, the features of its rows (or None without
        rows) and the sample that each row is of.
        """
        out = []
        for width, (values, sample) in zip(self.widths(), pooled, strict=True):
            if values is None:
                out.append(self._tensor(np.full((n_samples, width), np.nan)))
                continue
            count = torch.bincount(sample, minlength=n_samples)[:, None]
            zeros = values.new_zeros(n_samples, values.shape[1])
            mean = zeros.index_add(0, sample, values) / count.clamp(min=1)
            described = [mean]
            if self.spread:
                square = (values - mean[sample]).square()
                variance = zeros.index_add(0, sample, square)
                variance = variance / (count - 1).clamp(min=1)
                described.append((variance + _EPS).sqrt())
            out.append(torch.cat(described, 1).where(count > 0, torch.nan))
        return torch.cat(out, 1)

    def widths(self) -> list[int]:
        """Give the number of features of each state."""
        config = self.encoder.config
        return [
            (1 + self.spread)
            * len(self.pooling.names(config.n_regions, n, config.d_model, 0.1))
            for n in self.n_patches
        ]

    # -- descriptions to outputs --------------------------------------------
    def start_head(
        self,
        described: NDArray[np.float64],
        fit: Callable[[NDArray], tuple[NDArray, NDArray]],
    ) -> None:
        """Begin with the linear head that suits the encoder as it is.

        Parameters
        ----------
        described : ndarray, shape (n_samples, n_features)
            Descriptions of the training samples.
        fit : callable
            Fits a linear head to complete features; gives coefficients of shape
            (n_outputs, n_features) and intercepts.
        """
        first = np.cumsum([0, *self.widths()])[:-1]
        scale, centre = np.nanstd(described, axis=0), np.nanmean(described, axis=0)
        scale[scale <= 1e-6 * np.abs(centre)] = 1.0
        # rows get a norm near 1, so that a step of the optimizer moves outputs alike
        # whatever the number of features
        root = np.sqrt(len(scale) + len(first))
        buffers = {"centre": centre, "scale": scale * root, "mark": 1 / root}
        for name, values in buffers.items():
            self.register_buffer(name, self._tensor(values))
        self.first = first.tolist()
        coef, intercept = fit(self.complete(self._tensor(described)).cpu().numpy())
        self.head = nn.Linear(coef.shape[1], len(coef), device=self.centre.device)
        with torch.no_grad():
            self.head.weight.copy_(self._tensor(coef))
            self.head.bias.copy_(self._tensor(intercept))

    def _tensor(self, values: NDArray | float) -> Tensor:
        return torch.as_tensor(values).to(self.encoder.token_mean)

    def complete(self, described: Tensor) -> Tensor:
        """Scale descriptions, fill in what is missing, and mark it."""
        lacking = torch.isnan(described[:, self.first])
        scaled = torch.nan_to_num((described - self.centre) / self.scale, nan=0.0)
        return torch.cat([scaled, lacking * self.mark], 1)

    def forward(self, batch: Batch) -> Tensor:
        """Compute the outputs for each sample, shape (n_samples, n_outputs)."""
        return self.head(self.complete(self.describe(batch)))


def _join(
    tokens: Tensor,
    recorded: Tensor,
    row: Tensor,
    start: Tensor,
    shape: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Join the windows of each row; where they overlap, tokens are averaged."""
    n_rows, n_patches = shape
    n_regions, step, width = tokens.shape[1:]
    at = row[:, None] * n_patches + start[:, None]
    at = (at + torch.arange(step, device=row.device)).flatten()
    flat = tokens.transpose(1, 2).reshape(-1, n_regions * width)
    total = flat.new_zeros(n_rows * n_patches, flat.shape[1]).index_add(0, at, flat)
    count = flat.new_zeros(len(total)).index_add(0, at, recorded.flatten().to(flat))
    joined = total / count.clamp(min=1)[:, None]
    joined = joined.view(n_rows, n_patches, n_regions, width).transpose(1, 2)
    return joined, (count > 0).view(n_rows, n_patches)


def rows_of_samples(
    recordings: Recordings, unit: str, states: list[str]
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Give the sample and the state of each row as numbers."""
    if unit == "participant":
        return recordings.elements, np.searchsorted(states, recordings.states)
    return np.arange(recordings.n_rows), np.zeros(recordings.n_rows, int)


def network_outputs(
    network: TunedNetwork, recordings: Recordings, transformer: MEGFMTransformer
) -> NDArray[np.float64]:
    """Compute the outputs for samples from all their rows, in bounded memory.

    Parameters
    ----------
    network : TunedNetwork
        The trained network.
    recordings : Recordings
        The recordings.
    transformer : MEGFMTransformer
        The fitted transformer that the encoder is from.

    Returns
    -------
    outputs : ndarray, shape (n_samples, n_outputs)
        One row a sample.
    """
    sample, state = rows_of_samples(recordings, transformer.unit_, network.states)
    left = np.bincount(sample)
    pooled: dict[int, list] = {}
    outputs = np.empty((len(left), network.head.out_features))
    device = network.encoder.token_mean.device
    n_states = len(network.n_patches)
    for part in iter_row_tokens(
        recordings,
        transformer.frontend_,
        network.encoder,
        batch_size=transformer.batch_size,
        bf16=transformer.bf16,
    ):
        with torch.inference_mode():
            tokens, recorded = part.tokens.to(device), part.recorded.to(device)
            values = network.pooling(tokens, recorded, network.encoder)
            for row, of_row in zip(part.row, values, strict=True):
                number = int(sample[row])
                rows = pooled.setdefault(number, [[] for _ in range(n_states)])
                rows[state[row]].append(of_row)
                left[number] -= 1
                if left[number] == 0:
                    outputs[number] = _output(network, pooled.pop(number))
    return outputs


def _output(network: TunedNetwork, rows: list[list[Tensor]]) -> NDArray[np.float32]:
    """Compute the output for one sample from its pooled rows, state by state."""
    nowhere = network.encoder.token_mean.new_zeros(0, dtype=torch.long)
    pooled = [
        (torch.stack(of_state), nowhere.new_zeros(len(of_state)))
        if of_state
        else (None, nowhere)
        for of_state in rows
    ]
    described = network.summarize(pooled, 1)
    return network.head(network.complete(described))[0].cpu().numpy()
