"""A participant's trials and windows as the level over trials takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

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

    Parameters
    ----------
    response : ndarray, shape (n, n_response)
        Coefficients of responses; zero where there is no stimulus.
    log_spectrum : ndarray, shape (n, n_regions, n_bands)
        Log power by region and band.
    kind : ndarray of int, shape (n,)
        Kind of state, an index into :data:`~mne_megfm.models.STATES`.
    position : ndarray, shape (n,)
        Place in the recording, from 0 to 1.
    recent : ndarray, shape (n, 2)
        How many stimuli came shortly before; NaN where not known.
    responds : ndarray of bool, shape (n,)
        Whether there is a stimulus.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.pretraining import PersonTrials
    >>> trials = PersonTrials.of_state(
    ...     "auditory", np.ones((6, 48)), np.zeros((6, 24, 19))
    ... )
    >>> len(trials), trials.noise
    (6, 0.001)
    """

    response: np.ndarray
    log_spectrum: np.ndarray
    kind: np.ndarray
    position: np.ndarray
    recent: np.ndarray
    responds: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)

    @classmethod
    def of_state(
        cls,
        state: str,
        response: np.ndarray | None,
        log_spectrum: np.ndarray,
        recent: np.ndarray | None = None,
        n_response: int = 48,
    ) -> PersonTrials:
        """Make the trials of one state.

        Parameters
        ----------
        state : str
            Its name; upper or lower case and what follows a slash do not matter.
        response : ndarray, shape (n, n_response), optional
            Coefficients in order of time; None where there are no stimuli.
        log_spectrum : ndarray, shape (n, n_regions, n_bands)
            Log power.
        recent : ndarray, shape (n, 2), optional
            As of `recent_stimuli`; not known by default.
        n_response : int
            Number of coefficients where ``response`` is None.

        Returns
        -------
        trials : PersonTrials
            At most `MOST_TRIALS` of them.
        """
        n = len(log_spectrum)
        responds = response is not None
        if not responds:
            response = np.zeros((n, n_response), np.float32)
        elif n > 3:
            size = np.sqrt(np.square(response).mean(1))
            limit = _LARGEST * np.median(size)
            response = (
                response * np.minimum(1.0, limit / np.maximum(size, 1e-9))[:, None]
            )
        if recent is None:
            recent = np.full((n, len(RECENT)), np.nan, np.float32)
        edges = np.linspace(0, n, min(n, MOST_TRIALS) + 1).round().astype(int)
        counts = np.diff(edges)

        def joined(values: np.ndarray) -> np.ndarray:
            total = np.add.reduceat(values, edges[:-1], axis=0)
            return (total / counts.reshape(-1, *[1] * (values.ndim - 1))).astype(
                np.float32
            )

        m = len(counts)
        return cls(
            joined(response),
            joined(log_spectrum),
            np.full(m, state_kind(state)),
            joined((np.arange(n) + 0.5) / n),
            joined(recent),
            np.full(m, responds),
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
        return cls(
            *(
                np.concatenate([getattr(p, name) for p in parts])
                for name in vars(parts[0])
            )
        )

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
    def noise(self) -> float:
        """Size of a trial's noise: what trials of a state differ from their mean."""
        squares = []
        for kind in np.unique(self.kind[self.responds]):
            z = self.response[self.responds & (self.kind == kind)]
            if len(z) > 1:
                rest = np.square(z - z.mean(0)).mean(1) * len(z) / (len(z) - 1)
                squares.append(rest)
        # 1 is a typical participant's
        if not squares:
            return 1.0
        return float(np.sqrt(max(np.median(np.concatenate(squares)), 1e-6)))


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
    n, most = len(people), max(len(person) for person in people)

    def padded(values: list[np.ndarray]) -> torch.Tensor:
        out = np.zeros((n, most, *values[0].shape[1:]), values[0].dtype)
        for row, value in zip(out, values, strict=True):
            row[: len(value)] = value
        return torch.from_numpy(out)

    spectra = padded([person.log_spectrum for person in people])
    with torch.no_grad():
        spectrum = inputs.spectrum(spectra.flatten(0, 1)).unflatten(0, (n, most))
    seen = padded([np.ones(len(person), bool) for person in people])
    return Trials(
        response=padded([person.response for person in people]),
        spectrum=spectrum * seen[..., None],
        state=padded([person.kind for person in people]),
        position=padded([person.position for person in people]),
        recent=padded([person.recent for person in people]),
        responds=padded([person.responds for person in people]),
        seen=seen,
        noise=torch.tensor([person.noise for person in people], dtype=torch.float32),
    )
