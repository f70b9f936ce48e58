"""A simulated participant and its MNE objects."""

from __future__ import annotations

from dataclasses import dataclass, field

import mne
import numpy as np

from ._settings import EVENT_ID, Settings


@dataclass
class Participant:
    """Recordings of one simulated participant, and the truth about them.

    Attributes
    ----------
    name : str
        As in ``'sub-0003'``.
    label : str
        ``'control'`` or ``'migraine'``.
    array : str
        The MEG array.
    recordings : dict
        From state to :class:`mne.EpochsArray` or :class:`mne.io.RawArray`.
    truth : dict
        What was simulated. Positions are in head coordinates (m), times in s,
        moments in A m:

        ``traits``
            The person's traits (see :class:`MigraineEffects`).
        ``head_origin``, ``brain_radius``, ``dev_head_t``
            Sphere and head position.
        ``sides``, ``eyes``
            Stimulated ear and wrist; positions of the eyes.
        ``rhythms``
            List of dicts: ``name``, ``hemi``, ``pos``, ``ori``, ``freq``,
            ``width``, ``moment`` (0 where the person has none), ``rate``.
        ``background``
            Exponents and knees of the 1/f spectra.
        ``filters``, ``line_freq``
            What the recording went through.
        ``states``
            For each state ``onsets`` (from the start of the recording),
            ``train`` (place in the train), ``sources`` (the responses, each with
            its place, latency, moment, and latency and size in each trial),
            ``bursts``, ``heartbeats``, ``blinks`` and ``saccades`` (times).
    """

    name: str
    label: str
    array: str
    recordings: dict
    truth: dict = field(repr=False)

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the recorded states."""
        return tuple(self.recordings)

    def epochs(self, state: str | None = None) -> mne.BaseEpochs:
        """Return the epochs of a state, or of all states in one object.

        Parameters
        ----------
        state : None | str
            A state; None joins all, told apart by ``event_id``.

        Returns
        -------
        epochs : mne.Epochs
            The epochs (a copy if states are joined).
        """
        chosen = self.states if state is None else (state,)
        for name in chosen:
            if name not in self.recordings:
                raise ValueError(
                    f"Expected a state of {self.name}, one of "
                    f"{', '.join(self.states)}, got {name!r}."
                )
            if not isinstance(self.recordings[name], mne.BaseEpochs):
                raise ValueError(
                    f"Expected epochs of state {name!r}, got a Raw; simulate it "
                    "without raw_states, or use participant.recordings."
                )
        parts = [self.recordings[name] for name in chosen]
        if len(parts) == 1:
            return parts[0]
        return mne.concatenate_epochs(parts, verbose="error")


def make_epochs(
    data: np.ndarray,
    info: mne.Info,
    state: str,
    onsets: np.ndarray,
    train: np.ndarray,
    person: Participant,
    opts: Settings,
) -> mne.EpochsArray:
    """Cut data of shape (n_channels, n_epochs * n_times) into epochs."""
    n_epochs = len(onsets)
    # Written in the order that EpochsArray wants, so that it need not copy.
    out = np.empty((n_epochs, len(data), opts.n_times))
    out[...] = data.reshape(len(data), n_epochs, opts.n_times).transpose(1, 0, 2)
    events = np.c_[onsets, np.zeros_like(onsets), np.full(n_epochs, EVENT_ID[state])]
    return mne.EpochsArray(
        out,
        info,
        events,
        tmin=-opts.n_before / opts.sfreq,
        event_id={state: EVENT_ID[state]},
        metadata=_metadata(state, train, person),
        proj=False,
        verbose="error",
    )


def make_raw(
    data: np.ndarray, info: mne.Info, state: str, onsets: np.ndarray
) -> mne.io.RawArray:
    """Wrap continuous data; stimuli become annotations."""
    raw = mne.io.RawArray(data.astype(np.float64), info.copy(), verbose="error")
    if state != "rest":
        times = onsets / info["sfreq"]
        raw.set_annotations(mne.Annotations(times, 0.0, state), verbose="error")
    return raw


def _metadata(state: str, train: np.ndarray, person: Participant):
    """Make the epochs' metadata; without pandas there is none."""
    try:
        import pandas as pd
    except ImportError:
        return None
    return pd.DataFrame(
        dict(
            participant=person.name,
            label=person.label,
            array=person.array,
            state=state,
            trial=np.arange(len(train)),
            train=train,
        )
    )
