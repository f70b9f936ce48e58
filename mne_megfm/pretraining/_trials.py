"""A participant's trials and windows as the level over trials takes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.nn.utils.rnn import pad_sequence

from ..models import STATES, Trials
from ..models._participant import RECENT

#: Trials of a state beyond this number are averaged with their neighbours.
MOST_TRIALS = 128
# a trial is shrunk to so many times the size of the median trial: artefacts
_LARGEST = 2.5
# stimuli that seem closer than this, in s, were not timed
_CLOSEST = 0.1


@dataclass
class PersonTrials:
    """Trials and windows of one participant, state by state in their order.

    They are tensors, through which derivatives find their way to the signals.

    Parameters
    ----------
    response : Tensor, shape (n, n_response)
        Coefficients of responses; zero where there is no stimulus.
    log_spectrum : Tensor, shape (n, n_regions, n_bands)
        Log power by region and band.
    kind : Tensor of int, shape (n,)
        Kind of state, an index into :data:`~mne_megfm.models.STATES`.
    position : Tensor, shape (n,)
        Place in the recording, from 0 to 1.
    recent : Tensor, shape (n, 2)
        How many stimuli came shortly before; NaN where not known.
    responds : Tensor of bool, shape (n,)
        Whether there is a stimulus.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.pretraining import PersonTrials
    >>> trials = PersonTrials.of_state(
    ...     "auditory", np.ones((6, 48)), np.zeros((6, 24, 19))
    ... )
    >>> len(trials), trials.response.shape
    (6, torch.Size([6, 48]))
    """

    response: torch.Tensor
    log_spectrum: torch.Tensor
    kind: torch.Tensor
    position: torch.Tensor
    recent: torch.Tensor
    responds: torch.Tensor

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def of_state(
        cls,
        state: str,
        response: ArrayLike | None,
        log_spectrum: ArrayLike,
        recent: ArrayLike | None = None,
        n_response: int = 48,
    ) -> PersonTrials:
        """Make the trials of one state.

        Parameters
        ----------
        state : str
            Its name; upper or lower case and what follows a slash do not matter.
        response : array-like, shape (n, n_response), optional
            Coefficients in order of time; None where there are no stimuli.
        log_spectrum : array-like, shape (n, n_regions, n_bands)
            Log power.
        recent : array-like, shape (n, 2), optional
            As of `recent_stimuli`; not known by default.
        n_response : int
            Number of coefficients where ``response`` is None.

        Returns
        -------
        trials : PersonTrials
            At most `MOST_TRIALS` of them.
        """
        log_spectrum = torch.as_tensor(log_spectrum)
        n = len(log_spectrum)
        responds = response is not None
        if responds:
            response = limit_trials(torch.as_tensor(response))
        else:
            response = torch.zeros(n, n_response)
        if recent is None:
            recent = torch.full((n, len(RECENT)), math.nan)
        edges = np.linspace(0, n, min(n, MOST_TRIALS) + 1).round().astype(int)
        counts = torch.as_tensor(np.diff(edges))
        m = len(counts)
        belongs = torch.arange(m).repeat_interleave(counts)

        def joined(values: torch.Tensor) -> torch.Tensor:
            total = values.new_zeros(m, *values.shape[1:])
            total = total.index_add(0, belongs, values)
            return (total / counts.reshape(-1, *[1] * (values.ndim - 1))).float()

        return cls(
            joined(response),
            joined(log_spectrum),
            torch.full((m,), state_kind(state)),
            joined((torch.arange(n, dtype=torch.float64) + 0.5) / n),
            joined(torch.as_tensor(recent)),
            torch.full((m,), responds),
        )

    @classmethod
    def join(cls, parts: Sequence[PersonTrials]) -> PersonTrials:
        """Join the states of one participant.

        Parameters
        ----------
        parts : sequence of PersonTrials
            Trials of each state.

        Returns
        -------
        trials : PersonTrials
            All of them.
        """
        fields = ([getattr(p, name) for p in parts] for name in vars(parts[0]))
        return cls(*(torch.cat(values) for values in fields))

    def take(self, index: np.ndarray) -> PersonTrials:
        """Take some of the trials.

        Parameters
        ----------
        index : ndarray of int
            Which.

        Returns
        -------
        trials : PersonTrials
            Those trials.
        """
        return PersonTrials(*(values[index] for values in vars(self).values()))

    @property
    def noise(self) -> torch.Tensor:
        """Size of a trial's noise: what trials of a state differ from their mean."""
        squares = []
        for kind in self.kind[self.responds].unique():
            z = self.response[self.responds & (self.kind == kind)]
            if len(z) > 1:
                rest = (z - z.mean(0)).square().mean(1) * len(z) / (len(z) - 1)
                squares.append(rest)
        # 1 is a typical participant's
        if not squares:
            return torch.tensor(1.0)
        return torch.cat(squares).quantile(0.5).clamp(min=1e-6).sqrt()


def limit_trials(response: torch.Tensor) -> torch.Tensor:
    """Shrink trials that are much larger than the others: artefacts.

    Parameters
    ----------
    response : Tensor, shape (n_trials, n_values)
        What is known of trials.

    Returns
    -------
    limited : Tensor, shape (n_trials, n_values)
        The same, but for trials of more than 2.5 times the size of the median one,
        which get that size. Of up to three trials none is shrunk.

    Examples
    --------
    >>> import torch
    >>> from mne_megfm.pretraining import limit_trials
    >>> limit_trials(torch.tensor([[1.0], [-1.0], [1.0], [100.0]])).ravel()
    tensor([ 1.0000, -1.0000,  1.0000,  2.5000])
    """
    if len(response) <= 3:
        return response
    size = response.square().mean(1).sqrt()
    limit = _LARGEST * size.quantile(0.5)
    return response * (limit / size.clamp(min=1e-9)).clamp(max=1.0)[:, None]


def state_kind(name: str) -> int:
    """Find the kind of a state by its name.

    Parameters
    ----------
    name : str
        The user's name.

    Returns
    -------
    kind : int
        Index into :data:`~mne_megfm.models.STATES`; unknown names are "other".

    Examples
    --------
    >>> from mne_megfm.pretraining import state_kind
    >>> state_kind("Auditory/left"), state_kind("pain")
    (1, 3)
    """
    plain = name.partition("/")[0].strip().lower()
    return STATES.index(plain) if plain in STATES else STATES.index("other")


def recent_stimuli(times: np.ndarray) -> np.ndarray:
    """Count the stimuli before each, those long ago for less.

    Parameters
    ----------
    times : ndarray, shape (n,)
        When stimuli were, in s, in order.

    Returns
    -------
    recent : ndarray of float32, shape (n, 2)
        Sums of ``exp(-delay / tau)`` for short and long ``tau``; NaN if the times
        cannot be those of stimuli (as of epochs that were made from an array).
    """
    if len(times) < 2 or np.diff(times).min() < _CLOSEST:
        return np.full((len(times), len(RECENT)), np.nan, np.float32)
    delay = times[:, None] - times[None]
    delay = np.where(delay > 0, delay, np.inf)
    counts = [np.exp(-delay / tau).sum(1) for tau in RECENT]
    return np.stack(counts, 1).astype(np.float32)


def collate(people: Sequence[PersonTrials], inputs: torch.nn.Module) -> Trials:
    """Pad the trials of some participants to a common number.

    Parameters
    ----------
    people : sequence of PersonTrials
        The participants.
    inputs : TrialInputs
        Gives coefficients of spectra.

    Returns
    -------
    trials : Trials
        Tensors of shape (n_people, n_trials, ...).
    """

    def padded(values: list[torch.Tensor]) -> torch.Tensor:
        return pad_sequence(values, batch_first=True)

    spectra = padded([person.log_spectrum for person in people])
    seen = padded([torch.ones(len(person), dtype=torch.bool) for person in people])
    spectrum = inputs.spectrum(spectra.flatten(0, 1)).unflatten(0, seen.shape)
    return Trials(
        response=padded([person.response for person in people]),
        spectrum=spectrum * seen[..., None],
        state=padded([person.kind for person in people]),
        position=padded([person.position for person in people]),
        recent=padded([person.recent for person in people]),
        responds=padded([person.responds for person in people]),
        seen=seen,
        noise=torch.stack([person.noise for person in people]),
    )
