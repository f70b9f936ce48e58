"""The networks that are fine-tuned, and the rows and trials that they read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..inputs import Recordings
from ..models import (
    MaskedSignalTransformer,
    ParticipantTransformer,
    Trials,
    WindowArray,
    valid_patches,
)
from ..participants import PersonTrials, collate
from ..participants.trials import read_trials
from ._transformer import MEGFMTransformer
from .extraction import iter_row_tokens, window_blocks

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

    # -- windows to features ------------------------------------------------
    def extract(self, batch: Batch) -> Tensor:
        """Extract features of each sample; NaN where it lacks a state."""
        return self._pool(self._rows(batch), len(batch))

    def _rows(self, batch: Batch) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Encode the rows of each state: tokens, what was recorded, and whose."""
        config = self.encoder.config
        tokens = self.encoder.encode(batch.windows, batch.n_valid).float()
        recorded = valid_patches(batch.n_valid, config)
        tokens = (tokens - self.encoder.token_mean) * recorded[:, None, :, None]
        of_states = []
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
            of_states.append((*joined, batch.sample[rows]))
        return of_states

    def _pool(
        self, of_states: list[tuple[Tensor, Tensor, Tensor]], n_samples: int
    ) -> Tensor:
        pooled = [
            (self.pooling(*joined, self.encoder) if len(sample) else None, sample)
            for *joined, sample in of_states
        ]
        return self.summarize(pooled, n_samples)

    def summarize(self, pooled: list[tuple], n_samples: int) -> Tensor:
        """Summarize the pooled rows of each state of each sample.

        ``pooled`` has, for each state, the features of its rows (or None without
        rows) and the sample that each row is of.
        """
        out = []
        for width, (values, sample) in zip(self.widths, pooled, strict=True):
            if values is None:
                out.append(self._tensor(np.full((n_samples, width), np.nan)))
                continue
            count = torch.bincount(sample, minlength=n_samples)[:, None]
            zeros = values.new_zeros(n_samples, values.shape[1])
            mean = zeros.index_add(0, sample, values) / count.clamp(min=1)
            features = [mean]
            if self.spread:
                square = (values - mean[sample]).square()
                variance = zeros.index_add(0, sample, square)
                variance = variance / (count - 1).clamp(min=1)
                features.append((variance + _EPS).sqrt())
            out.append(torch.cat(features, 1).where(count > 0, torch.nan))
        return torch.cat(out, 1)

    @cached_property
    def widths(self) -> list[int]:
        """Number of features of each state, counted once: names take their time."""
        config = self.encoder.config
        return [
            (1 + self.spread)
            * len(self.pooling.names(config.n_regions, n, config.d_model, 0.1))
            for n in self.n_patches
        ]

    # -- features to outputs ------------------------------------------------
    def start_head(
        self,
        features: NDArray[np.float64],
        fit: Callable[[NDArray], tuple[NDArray, NDArray]],
    ) -> None:
        """Begin with the linear head that suits the encoder as it is.

        Parameters
        ----------
        features : ndarray, shape (n_samples, n_features)
            Features of the training samples.
        fit : callable
            Fits a linear head to complete features; gives coefficients of shape
            (n_outputs, n_features) and intercepts.
        """
        first = np.cumsum([0, *self.widths])[:-1]
        scale, centre = np.nanstd(features, axis=0), np.nanmean(features, axis=0)
        scale[scale <= 1e-6 * np.abs(centre)] = 1.0
        # rows get a norm near 1, so that a step of the optimizer moves outputs alike
        # whatever the number of features
        root = np.sqrt(len(scale) + len(first))
        buffers = {"centre": centre, "scale": scale * root, "mark": 1 / root}
        for name, values in buffers.items():
            self.register_buffer(name, self._tensor(values))
        self.first = first.tolist()
        coef, intercept = fit(self.complete(self._tensor(features)).cpu().numpy())
        self.head = nn.Linear(coef.shape[1], len(coef), device=self.centre.device)
        with torch.no_grad():
            self.head.weight.copy_(self._tensor(coef))
            self.head.bias.copy_(self._tensor(intercept))

    def _tensor(self, values: NDArray | float) -> Tensor:
        return torch.as_tensor(values).to(self.encoder.token_mean)

    def complete(self, features: Tensor) -> Tensor:
        """Scale features, fill in what is missing, and mark it."""
        lacking = torch.isnan(features[:, self.first])
        scaled = torch.nan_to_num((features - self.centre) / self.scale, nan=0.0)
        return torch.cat([scaled, lacking * self.mark], 1)

    def forward(self, batch: Batch) -> Tensor | tuple[Tensor, Tensor]:
        """Compute the outputs for each sample, shape (n_samples, n_outputs).

        In training also what the pooling adds to the loss, if it adds anything.
        """
        of_states = self._rows(batch)
        outputs = self.head(self.complete(self._pool(of_states, len(batch))))
        if not self.training or not hasattr(self.pooling, "penalty"):
            return outputs
        added = [self.pooling.penalty(*j) for *j, sample in of_states if len(sample)]
        return outputs, torch.stack(added).mean()


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
    recordings: Recordings, sample: str, states: list[str]
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Give the sample and the state of each row as numbers."""
    if sample == "participant":
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
    sample, state = rows_of_samples(recordings, transformer.sample_, network.states)
    left = np.bincount(sample)
    pooled: dict[int, list] = {}
    outputs = np.empty((len(left), network.head.out_features))
    device = network.encoder.token_mean.device
    n_states = len(network.n_patches)
    for part in iter_row_tokens(
        recordings,
        transformer.sensor_mapping_,
        network.encoder,
        batch_size=transformer.batch_size,
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
    features = network.summarize(pooled, 1)
    return network.head(network.complete(features))[0].cpu().numpy()


class RowStore:
    """Windows of some rows of each state of each sample, in memory.

    Parameters
    ----------
    recordings : Recordings
        The recordings.
    sample : ndarray of int, shape (n_rows,)
        Sample that each row is of.
    state : ndarray of int, shape (n_rows,)
        State of each row.
    n_rows : int
        Rows of each state of a sample that are kept at most, evenly spread over time.
    transformer : MEGFMTransformer
        The fitted transformer, for its array and windows.
    """

    def __init__(
        self,
        recordings: Recordings,
        sample: NDArray[np.int_],
        state: NDArray[np.int_],
        n_rows: int,
        transformer: MEGFMTransformer,
    ) -> None:
        config = transformer.config_
        kept = spread_rows(sample, state, n_rows)
        self.sample, self.state = sample[kept], state[kept]
        thinned = select_rows(recordings, kept)
        blocks = list(
            window_blocks(
                thinned, transformer.sensor_mapping_, config, transformer.batch_size
            )
        )
        # in pT, half precision holds what MEG has
        values = [(block.data / 1e-12).astype(np.float16) for block in blocks]
        self.windows = WindowArray(
            np.concatenate(values),
            unit=1e-12,
            n_valid=np.concatenate([block.n_valid for block in blocks]),
        )
        self.row = np.concatenate([block.row for block in blocks])
        self.start = np.concatenate([block.start for block in blocks])
        self.n_patches = [
            int(self.start[self.state[self.row] == s].max()) + config.n_patches
            for s in range(state.max() + 1)
        ]
        self._windows_of = np.split(
            np.argsort(self.row, kind="stable"),
            np.cumsum(np.bincount(self.row, minlength=len(kept)))[:-1],
        )
        self.rows_of = _rows_by(self.sample, self.state)

    def batch(self, rows: Sequence[NDArray[np.int_]]) -> Batch:
        """Gather the windows of some rows of some samples."""
        flat = np.concatenate(rows)
        windows = [self._windows_of[row] for row in flat]
        index = np.concatenate(windows)
        data, n_valid = self.windows.take(index)
        numbers = [
            np.repeat(np.arange(len(flat)), [len(w) for w in windows]),
            np.repeat(np.arange(len(rows)), [len(r) for r in rows]),
        ]
        row, sample = (torch.as_tensor(n) for n in numbers)
        return Batch(
            windows=data,
            n_valid=n_valid,
            start=torch.as_tensor(self.start[index]),
            row=row,
            sample=sample,
            state=torch.as_tensor(self.state[flat]),
            n_samples=len(rows),
        )


class RowDraws(Dataset):
    """Samples of a store, each seen through some of its rows.

    Parameters
    ----------
    store : RowStore
        The windows.
    samples : ndarray of int
        Samples of this data set.
    targets, weights : Tensor, shape (n_samples_in_store,)
        What to predict, and how much each counts.
    n_rows : int
        Rows of each state.
    seed : int | None
        Seed of the draws; None takes the same rows always, evenly spread.
    """

    def __init__(
        self,
        store: RowStore,
        samples: NDArray[np.int_],
        targets: Tensor,
        weights: Tensor,
        n_rows: int,
        seed: int | None = None,
    ) -> None:
        self.store = store
        self.samples = samples
        self.targets = targets
        self.weights = weights
        self.n_rows = n_rows
        self._rng = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple:
        sample, picked = int(self.samples[index]), []
        for rows in self.store.rows_of[sample]:
            if self._rng is None:
                picked.append(_spread(rows, self.n_rows))
            else:
                n_rows = min(self.n_rows, len(rows))
                picked.append(self._rng.choice(rows, n_rows, replace=False))
        return np.concatenate(picked), self.targets[sample], self.weights[sample]

    def collate(self, items: Sequence[tuple]) -> tuple[Batch, tuple]:
        """Make a batch."""
        rows, targets, weights = zip(*items, strict=True)
        return self.store.batch(rows), (torch.stack(targets), torch.stack(weights))


def _rows_by(sample: NDArray[np.int_], state: NDArray[np.int_]) -> list[list]:
    """List, for each sample, the rows of each state that it has."""
    rows = [[] for _ in range(sample.max() + 1)]
    order = np.lexsort((state, sample))  # stable: rows stay in their order
    changes = (np.diff(sample[order]) != 0) | (np.diff(state[order]) != 0)
    for group in np.split(order, np.flatnonzero(changes) + 1):
        rows[sample[group[0]]].append(group)
    return rows


def spread_rows(
    sample: NDArray[np.int_], state: NDArray[np.int_], n_rows: int
) -> NDArray[np.int_]:
    """Choose at most so many rows of each state of each sample, evenly spread."""
    chosen = [_spread(r, n_rows) for rows in _rows_by(sample, state) for r in rows]
    return np.sort(np.concatenate(chosen))


def _spread(rows: NDArray[np.int_], n_rows: int) -> NDArray[np.int_]:
    """Take at most so many rows, evenly spread."""
    n_rows = min(n_rows, len(rows))
    return rows[np.linspace(0, len(rows) - 1, n_rows).round().astype(int)]


def select_rows(recordings: Recordings, kept: NDArray[np.int_]) -> Recordings:
    """Restrict recordings to some rows, with new numbers."""
    number = np.full(recordings.n_rows, -1)
    number[kept] = np.arange(len(kept))
    parts = []
    for recording in recordings:
        at = np.flatnonzero(number[recording.index] >= 0)
        if len(at):
            parts.append(recording.select(at, number[recording.index[at]]))
    elements = recordings.elements[kept]
    return Recordings(parts, elements, recordings.n_elements, recordings.is_list)


# share of the trials of a state that a participant is seen through in an epoch
_SEEN = 0.5


@dataclass(frozen=True)
class ParticipantBatch:
    """Trials and features of some participants.

    Attributes
    ----------
    trials : Trials
        Their trials.
    features : Tensor, shape (n_participants, n_features)
        What the participant encoder as pretrained says of them, from all their trials.
    """

    trials: Trials
    features: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device) -> ParticipantBatch:
        """Move all tensors to a device."""
        trials = Trials(*(values.to(device) for values in self.trials))
        return ParticipantBatch(trials, self.features.to(device))


class ParticipantNetwork(nn.Module):
    """Participant encoder, features of participants, and a linear head on both.

    The head sees the frozen features, and the token of a participant encoder that is
    trained. It begins with the weights that suit the features, and with none on the
    token, so that it says at first what a linear head on frozen features says.

    Parameters
    ----------
    encoder : ParticipantTransformer
        The participant encoder.
    """

    def __init__(self, encoder: ParticipantTransformer) -> None:
        super().__init__()
        self.encoder = encoder
        self.head: nn.Linear | None = None

    def start_head(
        self,
        tokens: NDArray[np.float64],
        features: NDArray[np.float64],
        fit: Callable[[NDArray], tuple[NDArray, NDArray]],
    ) -> None:
        """Begin with the linear head that suits the features as they are.

        Parameters
        ----------
        tokens : ndarray, shape (n_participants, d_model)
            Tokens of the training participants, by the pretrained encoder.
        features : ndarray, shape (n_participants, n_features)
            Their features.
        fit : callable
            Fits a linear head to features; gives coefficients of shape
            (n_outputs, n_features) and intercepts.
        """
        coef, intercept = fit(features)
        d_model = tokens.shape[1]
        # a norm near 1, like that of the features
        scale = np.maximum(tokens.std(0), 1e-6) * np.sqrt(d_model)
        for name, values in {"centre": tokens.mean(0), "scale": scale}.items():
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32))
        self.head = nn.Linear(coef.shape[1] + d_model, len(coef))
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.weight[:, : coef.shape[1]] = torch.as_tensor(coef)
            self.head.bias.copy_(torch.as_tensor(intercept))

    def forward(self, batch: ParticipantBatch) -> Tensor:
        """Compute the outputs for each participant, shape (n, n_outputs)."""
        token = self.encoder.encode(batch.trials)[:, 0]
        features = [batch.features, (token - self.centre) / self.scale]
        return self.head(torch.cat(features, 1))


class ParticipantDraws(Dataset):
    """Participants, each seen through all trials or through some drawn at random.

    Parameters
    ----------
    people : list of PersonTrials
        Trials of all participants.
    features : ndarray, shape (n_participants, n_features)
        Their features.
    samples : ndarray of int
        Participants of this data set.
    targets, weights : Tensor, shape (n_participants,)
        What to predict, and how much each counts.
    encoder : ParticipantTransformer
        The participant encoder, which says how spectra become coefficients.
    n_rows : int
        Fewest trials of a state that are drawn, where there are as many.
    seed : int | None
        Seed of the draws; None takes all trials.
    """

    def __init__(
        self,
        people: list[PersonTrials],
        features: NDArray[np.float32],
        samples: NDArray[np.int_],
        targets: Tensor,
        weights: Tensor,
        encoder: ParticipantTransformer,
        n_rows: int = 1,
        seed: int | None = None,
    ) -> None:
        self.people = people
        self.features = torch.as_tensor(features, dtype=torch.float32)
        self.samples = samples
        self.targets = targets
        self.weights = weights
        self.n_rows = n_rows
        self._inputs = encoder.inputs
        self._rng = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple:
        sample = int(self.samples[index])
        person = self.people[sample]
        if self._rng is not None:
            person = person.take(self._draw(person))
        given = person, self.features[sample]
        return *given, self.targets[sample], self.weights[sample]

    def _draw(self, person: PersonTrials) -> NDArray[np.int_]:
        drawn = []
        for kind in np.unique(person.kind):
            at = np.flatnonzero(person.kind == kind)
            n = min(len(at), max(self.n_rows, round(_SEEN * len(at))))
            drawn.append(np.sort(self._rng.choice(at, n, replace=False)))
        return np.concatenate(drawn)

    def collate(self, items: Sequence[tuple]) -> tuple[ParticipantBatch, tuple]:
        """Make a batch."""
        people, features, targets, weights = zip(*items, strict=True)
        batch = ParticipantBatch(collate(people, self._inputs), torch.stack(features))
        return batch, (torch.stack(targets), torch.stack(weights))


def reads_trials(transformer: MEGFMTransformer) -> bool:
    """Say whether a fitted transformer has a participant encoder in use."""
    return (
        transformer.sample_ == "participant"
        and transformer.participant_encoder_ is not None
    )


def read_people(
    recordings: Recordings, transformer: MEGFMTransformer
) -> Iterator[PersonTrials]:
    """Read the trials of each participant, in order.

    Parameters
    ----------
    recordings : Recordings
        The recordings.
    transformer : MEGFMTransformer
        The fitted transformer with a participant encoder.

    Yields
    ------
    person : PersonTrials
        Trials of all states, as the participant encoder takes them.
    """
    for group in recordings.split_elements():
        states = read_trials(
            group,
            transformer.sensor_mapping_,
            transformer.config_,
            transformer.participant_encoder_.inputs,
            transformer.batch_size,
        )
        yield PersonTrials.join([states[name].trials for name in sorted(states)])


def participant_outputs(
    network: ParticipantNetwork,
    recordings: Recordings,
    features: NDArray[np.float32],
    transformer: MEGFMTransformer,
) -> NDArray[np.float64]:
    """Compute the outputs for participants one by one, from all their trials.

    Parameters
    ----------
    network : ParticipantNetwork
        The trained network.
    recordings : Recordings
        The recordings.
    features : ndarray, shape (n_participants, n_features)
        What the transformer makes of them.
    transformer : MEGFMTransformer
        The fitted transformer that the participant encoder is from.

    Returns
    -------
    outputs : ndarray, shape (n_participants, n_outputs)
        One row a participant.
    """
    outputs = []
    people = read_people(recordings, transformer)
    with torch.inference_mode():
        for person, row in zip(people, features, strict=True):
            trials = collate([person], network.encoder.inputs)
            batch = ParticipantBatch(trials, torch.as_tensor(row[None]))
            outputs.append(network(batch.to(network.centre.device)))
    return torch.cat(outputs).double().cpu().numpy()
