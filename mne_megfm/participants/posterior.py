"""Parameters of physiology of a participant, inferred by a network."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..inputs import Recording, Recordings
from ..models import (
    PARAMETERS,
    STATES,
    Backbone,
    ParticipantPosterior,
    ParticipantTransformer,
    PosteriorConfig,
    StateComponents,
    StateWindows,
    WindowArray,
    state_kind,
)
from ..weights import POSTERIOR
from .aggregation import RowEncoder, StateAggregator
from .features import (
    MeasuresAggregator,
    ParticipantMeasures,
    mean_measures,
    measure_person,
)
from .response_features import BAND_MEASURES, RESPONSE_MEASURES
from .trials import (
    PersonTrials,
    StateTrials,
    TimedWindows,
    Timing,
    Windows,
    read_windows,
    split_states,
)

if TYPE_CHECKING:
    import pandas as pd

SFREQ, N_TIMES, _PATCH = 250.0, 250, 25


#: Spread of a feature that recordings give exactly: of many features few matter, and a
#: ridge that suits the hand-made measures suits the parameters at this scale.
GAIN = 0.25


class StateReading(NamedTuple):
    """What was read of one state of one participant.

    Parameters
    ----------
    kind : str
        Kind of state; ``'rest'`` for all recordings without events.
    components : StateComponents | None
        Of all windows; None if the rows are too short.
    trials : StateTrials | None
        What hand-made measures need, where they are asked for.
    """

    kind: str
    components: StateComponents | None
    trials: StateTrials | None


@dataclass
class InferredParameters(Mapping):
    """Posterior of the parameters of one participant; a mapping by state.

    Parameters
    ----------
    mean, variance : ndarray, shape (n_parameters,)
        In units of the standard deviation of the prior.
    states : dict of str | None
        Kind of each recorded state; None where events are missing.
    measured : ParticipantMeasures | None
        What hand-made measures are made of, where they are asked for.
    """

    mean: NDArray[np.float32]
    variance: NDArray[np.float32]
    states: dict[str, str | None]
    measured: ParticipantMeasures | None

    def __getitem__(self, state: str) -> str | None:
        return self.states[state]

    def __iter__(self) -> Iterator[str]:
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)


class ParametersAggregator(StateAggregator):
    """Posterior means of parameters of a participant's physiology.

    A network that was trained on simulated participants, of whom every parameter is
    known, gives mean and variance of each parameter given all that was recorded
    (amortised inference, [1]_): sizes, latencies, places and sides of responses, how
    they change over trials, frequencies, sizes and bursts of rhythms, what a stimulus
    induces, slope of the background, coupling. A feature is the posterior mean, in
    units of the standard deviation of the prior, times `GAIN`: what recordings say
    little of is near zero for all participants, so that features weigh what they are
    worth. A state that is missing costs certainty, and a column marks it.

    Names of states count: rest, auditory and somatosensory are read as such. Of any
    other state, what is not time-locked to the events is read as rest.

    Parameters
    ----------
    measures : bool
        Whether hand-made measures come first: those of the spectrum, and those of the
        responses, as means over states (see `MeasuresAggregator`).

    Attributes
    ----------
    posterior : ParticipantPosterior | None
        The network, once there are weights.
    hand_made : MeasuresAggregator | None
        What gives the measures.
    states : list of str
        States of the training data, sorted.

    References
    ----------
    .. [1] Cranmer K, Brehmer J, Louppe G (2020). The frontier of simulation-based
       inference. PNAS 117:30055-30062. doi:10.1073/pnas.1912789117
    """

    frozen = ("posterior", "hand_made")

    def __init__(self, measures: bool = False) -> None:
        super().__init__()
        self.measures = measures
        self.posterior: ParticipantPosterior | None = None
        self.hand_made = MeasuresAggregator() if measures else None
        self.states: list[str] = []

    @property
    def encoder(self) -> ParticipantTransformer | None:
        """The participant encoder that measures lean on."""
        return None if self.hand_made is None else self.hand_made.encoder

    # -- weights ------------------------------------------------------------
    def load(self, directory: Path, model: Backbone) -> dict | None:
        """Take the posterior encoder that comes with weights, see `Aggregator.load`."""
        loaded = POSTERIOR.load(directory, model.kernel)
        if loaded is None:
            return None
        seen = {POSTERIOR.key: loaded[1]}
        if self.hand_made is not None:
            measured = self.hand_made.load(directory, model)
            if measured is None:
                return None
            seen = measured | seen
        self.posterior = loaded[0]
        return seen

    def draw(self, fields: WindowArray, model: Backbone, seed: int) -> bool:
        """Take a posterior encoder with random weights, see `Aggregator.draw`.

        Its components are those of most power in the (random) fields, and its places
        those of the virtual sensors.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            posterior = ParticipantPosterior(PosteriorConfig())
        if len(model.kernel) != posterior.whiten.shape[1]:
            return False
        _draw_components(posterior, fields.unit * fields.values)
        self.posterior = posterior.eval()
        return self.hand_made is None or self.hand_made.draw(fields, model, seed)

    def save(self, directory: Path, model: Backbone, seen: dict) -> None:
        """Write the posterior encoder into a checkpoint, see `Aggregator.save`."""
        own = seen.get(POSTERIOR.key)
        POSTERIOR.save(directory, self.posterior, model.kernel, own)
        if self.hand_made is not None:
            self.hand_made.save(directory, model, seen)

    # -- participants -------------------------------------------------------
    def read_state(
        self, state: str, parts: list[Recording], encoder: RowEncoder
    ) -> StateReading:
        """Read one state, see `StateAggregator.read_state`."""
        kind, kept = _kind_of(state, parts)
        config, n_sensors = encoder.model.config, len(encoder.model.kernel)
        data = {id(rows): _empty_rows(rows, n_sensors) for rows in kept}
        trials = None
        # not inference_mode: the participant encoder may be trained on these
        with torch.no_grad():
            read = {id(rows): _read_into(data, rows, encoder) for rows in parts}
            form = config.sfreq, config.n_times, config.patch_length
            if self.hand_made is not None and form == (SFREQ, N_TIMES, _PATCH):
                # the same windows serve the measures: recordings are read once
                n_after = self.encoder.inputs.n_after
                trials = self.hand_made.gather_blocks(
                    state,
                    (
                        (Timing.of(rows, state, SFREQ, n_after), read[id(rows)])
                        for rows in parts
                    ),
                )
            else:
                for rows in kept:
                    deque(read[id(rows)], maxlen=0)
                if self.hand_made is not None:
                    trials = self.hand_made.read_state(state, parts, encoder)
        windows = [_timed(data[id(rows)], rows) for rows in kept]
        return StateReading(kind, self._components(kind, kept, windows), trials)

    def _components(
        self, kind: str, recordings: list[Recording], windows: list[StateWindows]
    ) -> StateComponents | None:
        if kind in ("rest", "other"):
            has_events, kind = kind == "other", "rest"
            windows = [
                _as_rest(one, has_events and rows.kind != "raw")
                for rows, one in zip(recordings, windows, strict=True)
            ]
        found = [self.posterior.components(kind, one) for one in windows]
        found = [one for one in found if one is not None]
        return StateComponents.join(found) if found else None

    def gather(self, state: str, parts: Sequence[TimedWindows]) -> StateReading:
        """Make a reading of windows of one state, through which derivatives go.

        See `StateAggregator.gather`.
        """
        kind, recordings = _kind_of(state, [one.recording for one in parts])
        windows = []
        for one in parts:
            data = _empty_rows(one.recording, one.windows.data.shape[1])
            _place(data, one.windows)
            windows.append(_timed(data, one.recording))
        components = self._components(kind, recordings, windows)
        trials = None
        if self.hand_made is not None:
            trials = self.hand_made.gather(state, parts)
        return StateReading(kind, components, trials)

    def differentiable_row(self, read: Mapping[str, StateReading]) -> Tensor:
        """Make a row of features of one participant, through which derivatives go.

        See `StateAggregator.differentiable_row`.
        """
        mean, _ = self.posterior.infer(_by_kind(read))
        parts = [GAIN * mean, self._missing(read)]
        if self.hand_made is not None:
            trials = {name: one.trials for name, one in read.items()}
            entry = measure_person(self.encoder, trials)
            parts.insert(0, mean_measures(entry))
        return torch.cat(parts)

    def trials_of(self, one: StateReading) -> PersonTrials:
        """Get what the participant encoder takes of one state."""
        return one.trials.trials

    def combine(
        self, read: Sequence[Mapping[str, StateReading]]
    ) -> list[InferredParameters]:
        """Infer the parameters of each participant, by itself.

        See `Aggregator.combine`.
        """
        return [self._infer(states) for states in read]

    def _infer(self, states: Mapping[str, StateReading]) -> InferredParameters:
        with torch.inference_mode():
            mean, variance = self.posterior.infer(_by_kind(states))
        measured = None
        if self.hand_made is not None:
            trials = {name: one.trials for name, one in states.items()}
            (measured,) = self.hand_made.combine([trials])
        kinds = {
            name: None if one.kind == "rest" != STATES[state_kind(name)] else one.kind
            for name, one in states.items()
        }
        return InferredParameters(mean.numpy(), variance.numpy(), kinds, measured)

    def fit(self, extracted: Sequence[InferredParameters]) -> ParametersAggregator:
        """Learn which states there are, and nothing else.

        Parameters
        ----------
        extracted : sequence of InferredParameters
            The training participants.

        Returns
        -------
        self : ParametersAggregator
            The fitted aggregator.
        """
        self.states = sorted({state for entry in extracted for state in entry})
        return self

    def fit_unread(self, recordings: Recordings, encoder: RowEncoder) -> bool:
        """Learn which states there are: all there is to learn.

        See `Aggregator.fit_unread`.
        """
        groups = recordings.split_elements()
        self.know({state for group in groups for state in split_states(group)})
        return True

    def know(self, states: Iterable[str]) -> ParametersAggregator:
        """Take states as they were learnt before.

        Parameters
        ----------
        states : iterable of str
            Names of states.

        Returns
        -------
        self : ParametersAggregator
            The aggregator, as `fit` leaves it.
        """
        self.states = sorted(states)
        return self

    def transform(self, extracted: Sequence[InferredParameters]) -> NDArray[np.float32]:
        """Give the measures, if asked for, the posterior means and what is missing.

        Parameters
        ----------
        extracted : sequence of InferredParameters
            The participants.

        Returns
        -------
        features : ndarray of float32, shape (n_elements, n_features)
            One row a participant.

        Raises
        ------
        ValueError
            If a state is not known from the training data.
        """
        self.check_states(extracted)
        self.warn_of_missing(extracted, "what the other states say")
        return np.stack([self._row(entry) for entry in extracted])

    def _row(self, entry: InferredParameters) -> NDArray[np.float32]:
        parts = [
            GAIN * entry.mean,
            [float(state not in entry) for state in self.states],
        ]
        if entry.measured is not None:
            parts.insert(0, mean_measures(entry.measured).numpy())
        return np.concatenate(parts).astype(np.float32)

    def tabulate(
        self, extracted: Sequence[InferredParameters], interval: float
    ) -> pd.DataFrame:
        """Make a table of parameters in their units.

        Parameters
        ----------
        extracted : sequence of InferredParameters
            The participants.
        interval : float
            Posterior probability of the interval.

        Returns
        -------
        table : DataFrame
            See ``MEGFMTransformer.estimate_parameters``.
        """
        import pandas as pd

        if not 0.0 < interval < 1.0:
            raise ValueError(
                f"Expected interval between 0 and 1, got {interval!r}; give the "
                "probability of the interval, for instance 0.8."
            )
        half = NormalDist().inv_cdf(0.5 + interval / 2)
        rows, index = [], []
        for number, entry in enumerate(extracted):
            spread = half * np.sqrt(entry.variance)
            scores = np.stack([entry.mean, entry.mean - spread, entry.mean + spread])
            known = np.clip(1.0 - entry.variance, 0.0, 1.0)
            for place, parameter in enumerate(PARAMETERS):
                values = parameter.value(torch.from_numpy(scores[:, place]))
                rows.append([*values.tolist(), parameter.unit, float(known[place])])
                index.append((number, parameter.name))
        columns = ["median", "low", "high", "unit", "reliability"]
        names = ["participant", "parameter"]
        return pd.DataFrame(
            rows, pd.MultiIndex.from_tuples(index, names=names), columns
        )

    def _missing(self, known: Iterable[str]) -> Tensor:
        return torch.tensor([float(state not in known) for state in self.states])

    def names(self, encoder: RowEncoder | None = None) -> list[str]:
        """Name the features, see `Aggregator.names`."""
        measures = [
            *(f"spectrum_{name}" for name in BAND_MEASURES),
            *(f"responses_{name}" for name in RESPONSE_MEASURES),
        ]
        return [
            *(measures if self.measures else []),
            *(parameter.name for parameter in PARAMETERS),
            *(f"{state}_missing" for state in self.states),
        ]


def aggregate_with_measures() -> ParametersAggregator:
    """Make the aggregator ``"parameters+measures"``: posterior means, and measures.

    Returns
    -------
    aggregator : ParametersAggregator
        One with hand-made measures before the parameters.
    """
    return ParametersAggregator(measures=True)


def _kind_of(state: str, parts: list[Recording]) -> tuple[str, list[Recording]]:
    """Find what a state is read as, and by which of its recordings."""
    name = STATES[state_kind(state)]
    timed = [part for part in parts if part.kind != "raw"]
    if name == "rest" or not timed:
        return "rest", parts
    # recordings without stimuli stay out where others of the state have them
    return name, timed


def _by_kind(states: Mapping[str, StateReading]) -> dict[str, StateComponents]:
    """Join the states that are read as the same."""
    parts: dict[str, list[StateComponents]] = {}
    for name in sorted(states):
        kind, components, _ = states[name]
        if components is not None:
            kind = "rest" if kind == "other" else kind
            parts.setdefault(kind, []).append(components)
    return {kind: StateComponents.join(some) for kind, some in parts.items()}


def _empty_rows(rows: Recording, n_sensors: int) -> Tensor:
    """Make room for the rows of a recording, (n_rows, n_sensors, n_times)."""
    length = max(1, round(rows.n_samples / rows.sfreq * SFREQ))
    return torch.zeros(len(rows.rows), n_sensors, length)


def _read_into(
    data: Mapping[int, Tensor], rows: Recording, encoder: RowEncoder
) -> Iterator[Windows]:
    """Read windows at the network's rate, and keep them in their rows on the way."""
    for block in read_windows(
        rows,
        encoder.sensor_mapping,
        sfreq=SFREQ,
        n_times=N_TIMES,
        patch=_PATCH,
        batch_size=encoder.batch_size,
    ):
        if id(rows) in data:
            _place(data[id(rows)], block)
        yield block


def _place(data: Tensor, block: Windows) -> None:
    """Copy windows to where they are in their rows."""
    length = data.shape[2]
    # windows that begin at the same sample of their rows are equally long
    for start in block.start.unique().tolist():
        here = block.start == start
        stop = min(start + int(block.n_valid[here][0]), length)
        data[block.row[here], :, start:stop] = block.data[
            here, :, : stop - start
        ].float()


def _timed(data: Tensor, rows: Recording) -> StateWindows:
    times = rows.event_times
    if times is None:
        times = np.arange(len(data)) * data.shape[2] / SFREQ
    return StateWindows(data, rows.tmin, torch.as_tensor(np.asarray(times)))


def _as_rest(windows: StateWindows, has_events: bool) -> StateWindows | None:
    """Cut what is not locked to events into windows of one second."""
    data, _, times = windows
    if has_events and len(data) > 1:
        data = data - data.mean(0)
    n_cut = max(1, data.shape[2] // N_TIMES)
    if data.shape[2] > N_TIMES:
        data = data[..., : n_cut * N_TIMES].unflatten(2, (n_cut, N_TIMES))
        data = data.transpose(1, 2).flatten(0, 1)
        later = torch.arange(n_cut) * N_TIMES / SFREQ
        times = (times[:, None] + later).flatten()
    return StateWindows(data, 0.0, times)


def _draw_components(posterior: ParticipantPosterior, fields: NDArray) -> None:
    """Take components and places from random fields, in tesla."""
    flat = np.moveaxis(fields, 1, 0).reshape(fields.shape[1], -1)
    covariance = flat @ flat.T / flat.shape[1]
    power, axes = np.linalg.eigh(covariance)
    n_components, n_places = posterior.place_gain.shape[:2]
    index = np.argsort(-power)[:n_components]
    whiten = axes[:, index].T / np.sqrt(power[index].mean())
    posterior.whiten.copy_(torch.from_numpy(whiten))
    # the fields that vary together with one virtual sensor each
    sensors = np.linspace(0, len(covariance) - 1, n_places).round().astype(int)
    gain = whiten @ covariance[:, sensors]
    scale = np.abs(gain).max()
    both = np.stack([gain, np.roll(gain, 1, 1)], -1)
    posterior.place_gain.copy_(torch.from_numpy(both / scale * 1e7))
