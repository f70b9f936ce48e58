"""The network that is fine-tuned on participants: level, its features, linear head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..inputs import Recordings
from ..models import ParticipantTransformer, Trials
from ..pretraining import PersonTrials, collate
from ._transformer import MEGFMTransformer
from ._trials import read_trials, split_elements

# share of the trials of a state that a participant is seen through in an epoch
_SEEN = 0.5


@dataclass(frozen=True)
class LevelBatch:
    """Trials and features of some participants.

    Attributes
    ----------
    trials : Trials
        Their trials.
    features : Tensor, shape (n_participants, n_features)
        What the level as pretrained says of them, from all their trials.
    """

    trials: Trials
    features: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device) -> LevelBatch:
        """Move all tensors to a device."""
        trials = Trials(*(values.to(device) for values in self.trials))
        return LevelBatch(trials, self.features.to(device))


class LevelNetwork(nn.Module):
    """Level over trials, features of participants, and a linear head on both.

    The head sees the frozen features, and the participant token of a level that is
    trained. It begins with the weights that suit the features, and with none on the
    token, so that it says at first what a linear head on frozen features says.

    Parameters
    ----------
    encoder : ParticipantTransformer
        The level.
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
            Tokens of the training participants by the level as pretrained.
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

    def forward(self, batch: LevelBatch) -> Tensor:
        """Compute the outputs for each participant, shape (n, n_outputs)."""
        token = self.encoder.encode(batch.trials)[:, 0]
        described = [batch.features, (token - self.centre) / self.scale]
        return self.head(torch.cat(described, 1))


class LevelDraws(Dataset):
    """Participants, each seen through all trials or through some drawn anew.

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
        The level, which says how spectra become coefficients.
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

    def collate(self, items: Sequence[tuple]) -> tuple[LevelBatch, tuple]:
        """Make a batch."""
        people, features, targets, weights = zip(*items, strict=True)
        batch = LevelBatch(collate(people, self._inputs), torch.stack(features))
        return batch, (torch.stack(targets), torch.stack(weights))


def reads_trials(transformer: MEGFMTransformer) -> bool:
    """Say whether a fitted transformer describes participants by the level."""
    return transformer.unit_ == "participant" and transformer.level_ is not None


def read_people(
    recordings: Recordings, transformer: MEGFMTransformer
) -> Iterator[PersonTrials]:
    """Read the trials of each participant, in order.

    Parameters
    ----------
    recordings : Recordings
        The recordings.
    transformer : MEGFMTransformer
        The fitted transformer with a level.

    Yields
    ------
    person : PersonTrials
        Trials of all states, as the level takes them.
    """
    for group in split_elements(recordings):
        states = read_trials(
            group,
            transformer.frontend_,
            transformer.config_,
            transformer.level_.inputs,
            transformer.batch_size,
        )
        yield PersonTrials.join([states[name].trials for name in sorted(states)])


def level_outputs(
    network: LevelNetwork,
    recordings: Recordings,
    features: NDArray[np.float32],
    transformer: MEGFMTransformer,
) -> NDArray[np.float64]:
    """Compute the outputs for participants one by one, from all their trials.

    Parameters
    ----------
    network : LevelNetwork
        The trained network.
    recordings : Recordings
        The recordings.
    features : ndarray, shape (n_participants, n_features)
        What the transformer makes of them.
    transformer : MEGFMTransformer
        The fitted transformer that the level is from.

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
            batch = LevelBatch(trials, torch.as_tensor(row[None]))
            outputs.append(network(batch.to(network.centre.device)))
    return torch.cat(outputs).double().cpu().numpy()
