"""From the average responses of a participant to a decision, as one torch module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
import torch
from torch import Tensor, nn

from ..estimators._level import describe_person
from ..estimators._level_network import LevelBatch, LevelNetwork
from ..estimators._trials import (
    StateTrials,
    Timing,
    Windows,
    gather_rows,
    join_parts,
    read_trials,
    split_states,
)
from ..inputs import Recording, window_starts
from ..models import ModelConfig
from ..pretraining import PersonTrials, collate
from ._decisions import OutputsOnly, SplitPipeline, affine_head, decide
from ._gradients import channel_scale
from ._row_network import Row, iter_rows, own_info


@dataclass(frozen=True, eq=False)
class _Rest:
    """The rows of one recording without the average of their state.

    Attributes
    ----------
    canonical : Tensor, shape (n_rows, n_canonical, n_times)
        What is left, on the canonical array.
    matrices : Tensor, shape (n_matrices, n_canonical, n_channels)
        From the recording's channels to the canonical array; one for each set of
        channels that are flat.
    which : Tensor of int, shape (n_rows,)
        Matrix of each row.
    timing : Timing
        When stimuli are.
    """

    canonical: Tensor
    matrices: Tensor
    which: Tensor
    timing: Timing

    @classmethod
    def of(cls, rows: list[Row], average: Tensor, timing: Timing) -> _Rest:
        """Subtract the average from rows."""
        kinds: dict[bytes, int] = {}
        which = [kinds.setdefault(row.matrix.tobytes(), len(kinds)) for row in rows]
        first = [which.index(kind) for kind in range(len(kinds))]
        matrices = torch.from_numpy(np.stack([rows[at].matrix for at in first]))
        canonical = torch.stack(
            [
                matrices[kind] @ (torch.from_numpy(row.signal) - average)
                for row, kind in zip(rows, which, strict=True)
            ]
        )
        return cls(canonical, matrices, torch.tensor(which), timing)

    def windows(self, average: Tensor, config: ModelConfig) -> Windows:
        """Add an average, and cut the rows into windows."""
        rows = self.canonical + (self.matrices @ average)[self.which]
        n, _, length = rows.shape
        first = window_starts(length, config.n_times, config.patch_length)
        starts = (first * config.patch_length).tolist()
        pieces = [rows[..., start : start + config.n_times] for start in starts]
        n_valid = [piece.shape[-1] for piece in pieces]
        padded = [
            nn.functional.pad(piece, (0, config.n_times - valid))
            for piece, valid in zip(pieces, n_valid, strict=True)
        ]
        return Windows(
            torch.cat(padded),
            torch.arange(n).repeat(len(starts)),
            torch.tensor(starts).repeat_interleave(n),
            torch.tensor(n_valid).repeat_interleave(n),
        )


class PersonNetwork(nn.Module):
    """A fitted pipeline of participants as a function of one's average responses.

    Trials keep what they differ by from the average of their state, so that a change
    of the average is one that all trials have in common. States without stimuli stay
    as they are.

    Parameters
    ----------
    parts : SplitPipeline
        The fitted pipeline.
    group : list of Recording
        The participant's recordings.
    target : label | None
        Class whose decision is computed.

    Attributes
    ----------
    averages : dict of Tensor, shape (n_channels, n_times)
        Average of the trials of each state with stimuli, on good channels, at the
        model's rate (T or T/m).
    scale : dict of Tensor, shape (n_channels, 1)
        Standard deviation of each channel over trials and times.
    """

    def __init__(
        self, parts: SplitPipeline, group: list[Recording], target: Any = None
    ) -> None:
        super().__init__()
        self.transformer = transformer = parts.transformer
        if transformer.level_ is None:
            raise ValueError(
                "Expected participants described by the level over trials, got "
                "statistics of their rows, which have no gradients here; use "
                "mne_megfm.interpret.occlude, or participants='level'."
            )
        self.config, self.level = transformer.config_, transformer.level_
        self.averages: dict[str, Tensor] = {}
        self.scale: dict[str, Tensor] = {}
        self._infos: dict[str, tuple[mne.Info, float, int]] = {}
        self._rests: dict[str, list[_Rest]] = {}
        self._fixed: dict[str, StateTrials] = {}
        for state, recordings in split_states(group).items():
            self._add(state, recordings)
        names = [*self.averages, *self._fixed]
        transformer._participants.check_states(names)
        if not self.averages:
            raise ValueError(
                f"Expected a state with stimuli, got {names}; gradients are taken by "
                "responses: give Epochs around stimuli, or use "
                "mne_megfm.interpret.occlude."
            )
        self.tuned: LevelNetwork | None = getattr(parts.whole, "network_", None)
        if self.tuned is None:
            n_values = transformer.n_features_out_
            weights, self.bias = affine_head(
                lambda features: parts.decide(features, target), n_values
            )
        else:
            head = OutputsOnly(parts.whole)
            n_values = self.tuned.head.out_features
            weights, self.bias = affine_head(
                lambda outputs: decide(head, outputs, target), n_values
            )
        self.weights = torch.from_numpy(weights)

    def _add(self, state: str, recordings: list[Recording]) -> None:
        """Take in a state."""
        sfreq, inputs = self.config.sfreq, self.level.inputs
        timings = [Timing.of(r, state, sfreq, inputs.n_after) for r in recordings]
        timed = [
            (recording, timing)
            for recording, timing in zip(recordings, timings, strict=True)
            if timing.responds
        ]
        if not timed:
            read = read_trials(
                recordings,
                self.transformer.frontend_,
                self.config,
                inputs,
                self.transformer.batch_size,
            )
            self._fixed[state] = read[state]
            return
        rows = [list(iter_rows(one, self.transformer)) for one, _ in timed]
        first = timed[0][0]
        for (one, timing), some in zip(timed, rows, strict=True):
            same = one.ch_names == first.ch_names and timing.onset == timed[0][1].onset
            if not same or some[0].signal.shape != rows[0][0].signal.shape:
                raise ValueError(
                    f"Expected recordings of state {state!r} that have the same good "
                    "channels and times, of which there can be one map, got others; "
                    "mark the same channels as bad, crop all to the same times, or "
                    "give one recording."
                )
        everything = [row for some in rows for row in some]
        average = np.mean([row.signal for row in everything], 0)
        self.averages[state] = average = torch.from_numpy(average)
        self.scale[state] = torch.from_numpy(channel_scale(everything))
        self._rests[state] = [
            _Rest.of(some, average, timing)
            for (_, timing), some in zip(timed, rows, strict=True)
        ]
        self._infos[state] = own_info(first, sfreq), first.tmin, len(everything)

    def forward(self, *averages: Tensor) -> Tensor:
        """Compute decisions.

        Parameters
        ----------
        *averages : Tensor, shape (n, n_channels, n_times)
            Average responses in the order of `averages`, instead of its own (T or
            T/m).

        Returns
        -------
        decisions : Tensor of float64, shape (n,)
            As the pipeline has them of the participant with such responses.
        """
        each = zip(*averages, strict=True)
        return torch.stack([self._decide(one) for one in each])

    def _decide(self, averages: tuple[Tensor, ...]) -> Tensor:
        states = dict(self._fixed)
        for state, average in zip(self.averages, averages, strict=True):
            parts = [
                gather_rows(
                    [rest.windows(average, self.config)],
                    rest.timing,
                    self.level.inputs,
                )
                for rest in self._rests[state]
            ]
            states[state] = join_parts(state, parts, self.level.inputs)
        evoked = self.transformer.append_evoked
        described = describe_person(self.level, states, evoked)
        values = self.transformer._participants.row(described)
        if self.tuned is not None:
            person = PersonTrials.join([states[name].trials for name in sorted(states)])
            trials = collate([person], self.tuned.encoder.inputs)
            batch = LevelBatch(trials, values[None]).to(self.tuned.centre.device)
            values = self.tuned(batch)[0].cpu()
        return values.double() @ self.weights + self.bias

    def evoked(self, state: str, data: Any, comment: str) -> mne.EvokedArray:
        """Put a map of a state on its sensors and times."""
        info, tmin, n_trials = self._infos[state]
        return mne.EvokedArray(
            data, info, tmin, comment, nave=n_trials, verbose="error"
        )
