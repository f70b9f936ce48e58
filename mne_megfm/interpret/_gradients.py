"""Gradients of decisions with respect to signals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..estimators.extraction import window_blocks
from ..estimators.finetuning_modules import (
    Batch,
    ParticipantBatch,
    ParticipantNetwork,
    TunedNetwork,
)
from ..inputs import Recording, window_starts
from ..models import ModelConfig
from ..participants import PersonTrials, collate
from ..participants.aggregation import StateAggregator
from ..participants.trials import TimedWindows, Timing, Windows, split_states
from ..utils.extras import needs_extra
from ._decisions import OutputsOnly, SplitPipeline, affine_head, decide


@dataclass(frozen=True, eq=False)
class Row:
    """A row on its own sensors, as the network takes it.

    Attributes
    ----------
    signal : ndarray of float32, shape (n_channels, n_times)
        Good channels of the recording at the model's rate (T or T/m); those that are
        flat in this row are 0.
    matrix : ndarray of float32, shape (n_canonical, n_channels)
        To the canonical array; 0 for flat channels.
    starts : tuple of int
        First patch of each window.
    n_valid : tuple of int
        Recorded samples of each window.
    """

    signal: NDArray[np.float32]
    matrix: NDArray[np.float32]
    starts: tuple[int, ...]
    n_valid: tuple[int, ...]


class _OwnSensors:
    """A way to no other array, which remembers what the mapping would do."""

    def __init__(self, sensor_mapping: Any, names: list[str]) -> None:
        self.sensor_mapping = sensor_mapping
        self.names = {name: i for i, name in enumerate(names)}
        self.matrix: NDArray[np.float32] | None = None

    def __call__(self, recording: Recording) -> tuple[NDArray, list[str]]:
        matrix, used = self.sensor_mapping(recording)
        at = [self.names[name] for name in used]
        self.matrix = np.zeros((len(matrix), len(self.names)), np.float32)
        self.matrix[:, at] = matrix
        return np.eye(len(self.names))[:, at], used


def iter_rows(recording: Recording, transformer: Any) -> Iterator[Row]:
    """Read the rows of a recording at the model's rate, on its own sensors.

    They go through the steps of the estimators in their order but for the mapping,
    which commutes with resampling.

    Parameters
    ----------
    recording : Recording
        The recording.
    transformer : MEGFMTransformer
        The fitted transformer.

    Yields
    ------
    row : Row
        One row after the other.
    """
    config = transformer.config_
    for position in range(len(recording.rows)):
        single = recording.select(np.array([position]), np.zeros(1, int)).alone()
        own = _OwnSensors(transformer.sensor_mapping_, recording.ch_names)
        blocks = list(window_blocks(single, own, config, transformer.batch_size, False))
        data = np.concatenate([block.data for block in blocks])
        starts, n_valid = (
            tuple(np.concatenate([getattr(b, name) for b in blocks]).tolist())
            for name in ("start", "n_valid")
        )
        ends = [s * config.patch_length + n for s, n in zip(starts, n_valid)]  # noqa: B905
        signal = np.zeros((data.shape[1], max(ends)), np.float32)
        for window, start, end in zip(data, starts, ends, strict=True):
            first = start * config.patch_length
            signal[:, first:end] = window[:, : end - first]
        yield Row(signal, own.matrix, starts, n_valid)


class RowNetwork(nn.Module):
    """A fitted epoch-wise pipeline as a function of signals on sensors.

    Parameters
    ----------
    parts : SplitPipeline
        The fitted pipeline.
    target : label | None
        Class whose decision is computed.
    """

    def __init__(self, parts: SplitPipeline, target: Any = None) -> None:
        super().__init__()
        self.transformer = transformer = parts.transformer
        self.config = transformer.config_
        tuned = getattr(parts.whole, "network_", None)
        self.network = tuned or TunedNetwork(
            transformer.model_,
            transformer.pooling_,
            [""],
            [transformer.n_patches_],
            spread=False,
        )
        weights, bias = affine_head(
            lambda features: parts.decide(features, target),
            transformer._n_features_out,
        )
        device = transformer.model_.token_mean.device
        self.weights = torch.as_tensor(weights, dtype=torch.float32, device=device)
        self.bias = bias
        self.denoising: Tensor | None = None
        if transformer.denoising_ is not None:
            matrix = transformer.denoising_.matrix
            self.denoising = torch.from_numpy(matrix).to(self.weights)
        self.row: Row | None = None
        self.matrix: Tensor | None = None

    def look_at(self, row: Row) -> None:
        """Take the matrix and the windows of a row for what comes next."""
        n_patches = max(row.starts) + self.config.n_patches
        if n_patches != self.network.n_patches[0]:
            step = self.config.patch_length / self.config.sfreq
            raise ValueError(
                f"Expected rows of {self.network.n_patches[0] * step:.1f} s as in fit, "
                f"got {n_patches * step:.1f} s; crop all epochs to the same length."
            )
        self.row = row
        self.matrix = torch.from_numpy(row.matrix).to(self.weights)

    def forward(self, signals: Tensor) -> Tensor:
        """Compute decisions.

        Parameters
        ----------
        signals : Tensor, shape (n, n_channels, n_times)
            Signals on the sensors of the row that is looked at (T or T/m).

        Returns
        -------
        decisions : Tensor, shape (n,)
            As the pipeline has them.
        """
        canonical = self.matrix @ signals
        features = self._features(canonical)
        if self.denoising is not None:
            denoised = self._features(self.denoising @ canonical)
            features = torch.cat([features, denoised], 1)
        return features @ self.weights + self.bias

    def _features(self, canonical: Tensor) -> Tensor:
        """Extract the features of rows on the canonical array."""
        canonical = canonical - canonical.mean(-1, keepdim=True)  # as rows are centred
        config, row = self.config, self.row
        n, device = len(canonical), canonical.device
        windows = []
        for start, n_valid in zip(row.starts, row.n_valid, strict=True):
            first = start * config.patch_length
            window = canonical[..., first : first + n_valid]
            windows.append(nn.functional.pad(window, (0, config.n_times - n_valid)))
        number = torch.arange(n, device=device)
        batch = Batch(
            windows=torch.stack(windows, 1).flatten(0, 1),
            n_valid=torch.tensor(row.n_valid, device=device).repeat(n),
            start=torch.tensor(row.starts, device=device).repeat(n),
            row=number.repeat_interleave(len(row.starts)),
            sample=number,
            state=torch.zeros_like(number),
            n_samples=n,
        )
        return self.network.extract(batch)


def own_info(recording: Recording, sfreq: float) -> mne.Info:
    """Make the info of the good channels of a recording at the model's rate."""
    info = mne.pick_info(recording.inst.info, recording.picks, verbose="error")
    with info._unlock():
        info["sfreq"] = sfreq
        info["lowpass"] = min(info["lowpass"] or sfreq / 2, sfreq / 2)
    return info


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
        self.aggregator = aggregator = transformer.aggregator_
        if not isinstance(aggregator, StateAggregator):
            raise ValueError(
                "Expected features of participants from a network or measures, got "
                f"{aggregator!r}, which has no gradients here; use "
                "mne_megfm.interpret.occlude, or aggregation='measures'."
            )
        self.config = transformer.config_
        self.averages: dict[str, Tensor] = {}
        self.scale: dict[str, Tensor] = {}
        self._infos: dict[str, tuple[mne.Info, float, int]] = {}
        self._rests: dict[str, list[_Rest]] = {}
        self._recordings: dict[str, list[Recording]] = {}
        self._fixed: dict[str, Any] = {}
        for state, recordings in split_states(group).items():
            self._add(state, recordings)
        names = [*self.averages, *self._fixed]
        transformer.aggregator_.check_states([names])
        if not self.averages:
            raise ValueError(
                f"Expected a state with stimuli, got {names}; gradients are taken by "
                "responses: give Epochs around stimuli, or use "
                "mne_megfm.interpret.occlude."
            )
        self.tuned: ParticipantNetwork | None = getattr(parts.whole, "network_", None)
        if self.tuned is None:
            n_values = transformer._n_features_out
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
        sfreq = self.config.sfreq
        encoder = self.transformer.participant_encoder_
        n_after = sfreq // 2 if encoder is None else encoder.inputs.n_after
        timings = [Timing.of(r, state, sfreq, int(n_after)) for r in recordings]
        timed = [
            (recording, timing)
            for recording, timing in zip(recordings, timings, strict=True)
            if timing.responds
        ]
        if not timed:
            self._fixed[state] = self.aggregator.read_state(
                state, recordings, self.transformer._rows()
            )
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
        self._recordings[state] = [one for one, _ in timed]
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
                TimedWindows(one, rest.timing, rest.windows(average, self.config))
                for one, rest in zip(
                    self._recordings[state], self._rests[state], strict=True
                )
            ]
            states[state] = self.aggregator.gather(state, parts)
        values = self.aggregator.differentiable_row(states)
        if self.tuned is not None:
            some = [self.aggregator.trials_of(states[name]) for name in sorted(states)]
            person = PersonTrials.join(some)
            trials = collate([person], self.tuned.encoder.inputs)
            batch = ParticipantBatch(trials, values[None]).to(self.tuned.centre.device)
            values = self.tuned(batch)[0].cpu()
        return values.double() @ self.weights + self.bias

    def evoked(self, state: str, data: Any, comment: str) -> mne.EvokedArray:
        """Put a map of a state on its sensors and times."""
        info, tmin, n_trials = self._infos[state]
        return mne.EvokedArray(
            data, info, tmin, comment, nave=n_trials, verbose="error"
        )


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
    with needs_extra("interpret", "gradients of decisions"):
        from captum.attr import (
            InputXGradient,
            IntegratedGradients,
            NoiseTunnel,
            Saliency,
        )

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
    network: RowNetwork, rows: Sequence[Row], method: str, random_state: int
) -> NDArray[np.float32]:
    """Attribute the decision of each row of a recording to its channels and times.

    Parameters
    ----------
    network : RowNetwork
        The pipeline.
    rows : sequence of Row
        Rows of one recording.
    method : {"gradient", "gradient_x_input", "smoothgrad", "integrated_gradients"}
        See ``mne_megfm.interpret.decision_map``.
    random_state : int
        Seed of the noise.

    Returns
    -------
    maps : ndarray of float32, shape (n_rows, n_channels, n_times)
        In units of the decision: for gradients per standard deviation of a channel,
        otherwise of the whole change against the mean of all rows.
    """
    own = network.weights.detach().clone()[None]
    found = iter_row_gradients(network, rows, method, random_state, [own] * len(rows))
    return np.stack([maps[0] for maps in found])


def iter_row_gradients(
    network: RowNetwork,
    rows: Sequence[Row],
    method: str,
    random_state: int,
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
        See ``mne_megfm.interpret.decision_map``.
    random_state : int
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
                torch.manual_seed(random_state + number)
                (out[:],) = _attributed(standard, *given, method, (NOISE,), _BATCH)
        network.weights = before
        yield maps


def person_gradients(
    network: PersonNetwork, method: str, random_state: int
) -> dict[str, NDArray[np.float32]]:
    """Attribute the decision of a participant to the average responses.

    Parameters
    ----------
    network : PersonNetwork
        The pipeline and the participant.
    method : {"gradient", "gradient_x_input", "smoothgrad", "integrated_gradients"}
        See ``mne_megfm.interpret.decision_map``.
    random_state : int
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
        torch.manual_seed(random_state)
        # all trials at once are a batch
        found = _attributed(
            _Standard(network, *scales), signals, neutral, method, noise, 1
        )
    return dict(zip(network.averages, found, strict=True))
