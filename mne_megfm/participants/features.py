"""Features of a participant, shrunk towards the participant encoder's prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..inputs import Recording, Recordings
from ..models import (
    STATES,
    Backbone,
    ParticipantConfig,
    ParticipantTransformer,
    Trials,
    WindowArray,
    state_kind,
)
from ..weights import (
    PARTICIPANT_ENCODER,
)
from .aggregation import RowEncoder, StateAggregator
from .response_features import (
    BAND_MEASURES,
    RESPONSE_MEASURES,
    USUAL_BANDS,
    USUAL_RESPONSES,
    measure_bands,
    measure_responses,
)
from .trials import (
    PersonTrials,
    StateTrials,
    TimedWindows,
    Timing,
    Windows,
    collate,
    fit_untrained_inputs,
    gather_rows,
    join_parts,
    read_trials,
    split_states,
)

#: Prior weight of the encoder's prediction, in trials.
WORTH = 10
#: Samples in a step of a response map.
MAP_STEP = 12
# response maps are relative to this field in tesla, and what is below hardly counts
_MAP_UNIT, _MAP_FLOOR = 1e-15, 0.1
#: Every so many samples of averages are kept.
EVOKED_STEP = 2
_EVOKED_UNIT = 1e-13  # field in tesla
_FURTHEST = 4.0  # standard deviations
_RIDGE = 30.0


@dataclass
class ParticipantMeasures(Mapping):
    """What the participant encoder finds in one participant; a mapping by state.

    All are arrays, or tensors where derivatives are asked for.

    Parameters
    ----------
    bands : ndarray
        Measures of the spectrum.
    inferred : ndarray, shape (n_kinds, n_measures)
        Prediction from the token of the responses in each kind of state: the measures
        that participants with such tokens had in pretraining.
    inferred_maps : ndarray, shape (n_kinds, n_regions, n_steps)
        Log amplitude of the responses by place and time that is predicted in each kind
        of state.
    states : dict
        Measures of the responses of each recorded state; None without stimuli.
    maps : dict
        Log amplitude of the average response of each recorded state with stimuli, by
        place and time, shrunk towards the prediction.
    counts : dict
        Number of trials of each recorded state.
    evoked : dict
        Average of each state on the canonical sensors, where asked for.
    """

    bands: NDArray[np.float32]
    inferred: NDArray[np.float32]
    inferred_maps: NDArray[np.float32]
    states: dict[str, NDArray[np.float32] | None]
    maps: dict[str, NDArray[np.float32]]
    counts: dict[str, int]
    evoked: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def to_numpy(self) -> ParticipantMeasures:
        """Give the same as arrays of float32."""
        plain = {"counts": self.counts}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                plain[name] = value.numpy()
            elif name not in plain:
                plain[name] = {
                    state: None if one is None else one.numpy()
                    for state, one in value.items()
                }
        return ParticipantMeasures(**plain)

    def __getitem__(self, state: str) -> NDArray[np.float32] | None:
        return self.states[state]

    def __iter__(self):
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)


def _expected(encoder: ParticipantTransformer, token: Tensor, noise: Tensor) -> Tensor:
    """Predict the mean response in each kind of state from the token."""
    n = len(STATES)
    at = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    asked = Trials(
        response=torch.zeros(1, n * len(at), 0),
        spectrum=torch.zeros(1, n * len(at), 0),
        state=torch.arange(n).repeat_interleave(len(at))[None],
        position=at.repeat(n)[None],
        recent=torch.full((1, n * len(at), 2), float("nan")),
        responds=torch.ones(1, n * len(at), dtype=torch.bool),
        seen=torch.ones(1, n * len(at), dtype=torch.bool),
        noise=noise[None],
    )
    predicted = encoder.predict_from_token(token, asked)
    predicted = predicted[0, :, : encoder.config.n_response] * noise
    return predicted.unflatten(0, (n, len(at))).mean(1)


def _raw_measures(
    encoder: ParticipantTransformer, states: Mapping[str, StateTrials]
) -> tuple[Tensor, Tensor, dict[str, Tensor | None], Tensor]:
    """Token, measures of spectrum and responses as they are, expected responses."""
    person = PersonTrials.join([states[name].trials for name in sorted(states)])
    token = encoder.encode(collate([person], encoder.inputs))[:, 0]
    expected = _expected(encoder, token, person.noise)
    spectra = [state.trials.log_spectrum.mean(0) for state in states.values()]
    measures = {
        name: None
        if state.components is None
        else measure_responses(
            state.components, state.recent, expected[state_kind(name)], encoder.inputs
        )
        for name, state in states.items()
    }
    return token[0], measure_bands(torch.stack(spectra).mean(0)), measures, expected


def map_responses(encoder: ParticipantTransformer, response: ArrayLike) -> Tensor:
    """Turn responses to the logarithm of their size by region and step in time.

    Parameters
    ----------
    encoder : ParticipantTransformer
        The participant encoder, whose components lead back to the canonical field.
    response : array-like, shape (n, n_response)
        Coefficients of responses.

    Returns
    -------
    maps : Tensor, shape (n, n_regions, n_steps)
        Logarithm of the root mean square over the sensors of a region and a step of
        48 ms, in fT.
    """
    field = encoder.inputs.field(torch.as_tensor(response))
    steps = field.unflatten(1, (encoder.inputs.n_regions, -1)).unfold(
        -1, MAP_STEP, MAP_STEP
    )
    # in units of the map: squares of tesla would underflow
    size = (steps / _MAP_UNIT).square().mean((2, 4)).sqrt()
    return (size + _MAP_FLOOR).log()


def measure_person(
    encoder: ParticipantTransformer,
    states: Mapping[str, StateTrials],
    evoked: bool = False,
) -> ParticipantMeasures:
    """Measure one participant.

    Parameters
    ----------
    encoder : ParticipantTransformer
        The participant encoder.
    states : dict of StateTrials
        The participant's trials by name of the state.
    evoked : bool
        Whether to keep averages, too.

    Returns
    -------
    measures : ParticipantMeasures
        In units of the spread over participants of pretraining, as tensors, from which
        derivatives lead back to the trials.
    """
    token, bands, measures, expected = _raw_measures(encoder, states)
    maps = {}
    for name, state in states.items():
        if state.components is not None:
            response, predicted = state.trials.response, expected[state_kind(name)]
            mean = (response.sum(0) + WORTH * predicted) / (len(response) + WORTH)
            maps[name] = map_responses(encoder, mean[None])[0]

    def standard(values: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        return ((values - mean) / scale).clamp(-_FURTHEST, _FURTHEST).float()

    return ParticipantMeasures(
        bands=standard(bands, encoder.bands_mean, encoder.bands_scale),
        inferred=encoder.measures_map @ (token - encoder.token_mean),
        inferred_maps=map_responses(encoder, expected),
        states={
            name: None
            if values is None
            else standard(
                values,
                encoder.measures_mean[state_kind(name)],
                encoder.measures_scale[state_kind(name)],
            )
            for name, values in measures.items()
        },
        maps=maps,
        counts={name: len(state.trials) for name, state in states.items()},
        evoked={
            name: state.evoked[:, ::EVOKED_STEP] / _EVOKED_UNIT
            for name, state in states.items()
            if evoked and state.evoked is not None
        },
    )


def measure_population(
    encoder: ParticipantTransformer, people: Sequence[Mapping[str, StateTrials]]
) -> None:
    """Find how participants of pretraining differ, and keep it in the encoder.

    Parameters
    ----------
    encoder : ParticipantTransformer
        The trained participant encoder, changed in place.
    people : sequence of dict
        Trials of each participant by state.
    """
    with torch.no_grad():
        raw = [_raw_measures(encoder, states) for states in people]
    tokens = torch.stack([token for token, *_ in raw]).double()
    mean = tokens.mean(0)
    around = tokens - mean
    encoder.token_mean.copy_(mean)

    bands = torch.stack([bands for _, bands, *_ in raw])
    encoder.bands_mean.copy_(bands.mean(0))
    encoder.bands_scale.copy_(bands.std(0).clamp(min=1e-6))

    known = []
    for kind in range(1, len(STATES) - 1):
        index, measures = [], []
        for number, (_, _, by_state, _) in enumerate(raw):
            for name, values_ in by_state.items():
                if state_kind(name) == kind and values_ is not None:
                    index.append(number)
                    measures.append(values_)
        if len(index) < 2:
            continue
        known.append(kind)
        measures = torch.stack(measures)
        encoder.measures_mean[kind] = measures.mean(0)
        encoder.measures_scale[kind] = measures.std(0).clamp(min=1e-6)
        target = (measures - measures.mean(0)) / encoder.measures_scale[kind]
        x = around[index]
        gram = x.T @ x + _RIDGE * torch.eye(x.shape[1])
        encoder.measures_map[kind] = torch.linalg.solve(gram, x.T @ target).T
    # of states that pretraining never had, no more is known than of the others
    for kind in set(range(len(STATES))) - set(known):
        for table in (
            encoder.measures_mean,
            encoder.measures_scale,
            encoder.measures_map,
        ):
            if known:
                table[kind] = table[known].mean(0)


#: Spread of features over people, such that the ridge of a linear classifier of 100
#: people suits them as they are.
GAIN = 0.5
#: Weight of what a state differs by from the mean over states.
DIFFERENCE = 0.2
#: Weight of a value in a response map: those of two states vary together about as
#: much as one measure.
MAP_GAIN = 0.055


def _shrunk_measures(entry: ParticipantMeasures, state: str) -> Tensor:
    """Shrink the measures of a state towards the prediction."""
    predicted = torch.as_tensor(entry.inferred[state_kind(state)])
    measured = entry.states.get(state)
    if measured is None:
        return predicted
    n = entry.counts[state]
    return (n * torch.as_tensor(measured) + WORTH * predicted) / (n + WORTH)


def mean_measures(entry: ParticipantMeasures) -> Tensor:
    """Give measures of the spectrum, and of the responses as means over states.

    Parameters
    ----------
    entry : ParticipantMeasures
        The participant, as arrays or tensors.

    Returns
    -------
    measures : Tensor, shape (n_measures,)
        At the scale of features. Without responses they are those that the
        participant encoder predicts.
    """
    measured = [state for state, one in entry.states.items() if one is not None]
    states = measured or [state for state in STATES if state != "rest"]
    mean = torch.stack([_shrunk_measures(entry, s) for s in states]).mean(0)
    # as much as two states would together, were they all the same
    return GAIN * torch.cat([torch.as_tensor(entry.bands), np.sqrt(2) * mean])


class MeasuresAggregator(StateAggregator):
    """Features of participants from what the participant encoder finds in each.

    Traits of a person show in all states: for each measure of the responses there is
    the mean over states, and where each state differs from it, with less weight. Maps
    of the size of responses by place and time follow, each value with little weight.

    Each measure of the responses of a state is shrunk towards the prediction of the
    participant encoder, which has seen all states: the mean of both, weighted by the
    number of trials and by `WORTH`. For a missing state the prediction is used, and a
    column marks it.

    Parameters
    ----------
    evoked : bool
        Whether averages of each state on the canonical sensors follow.

    Attributes
    ----------
    encoder : ParticipantTransformer | None
        The participant encoder, once there are weights.
    states : list of str
        States of the training data, sorted.
    responding : list of str
        Those among them with stimuli.
    averages : dict
        Mean average of each state over the training data, where those are appended.
    """

    frozen = ("encoder",)

    def __init__(self, evoked: bool = False) -> None:
        super().__init__()
        self.evoked = evoked
        self.encoder: ParticipantTransformer | None = None
        self.states: list[str] = []
        self.responding: list[str] = []
        self.averages: dict[str, NDArray[np.float32]] = {}

    # -- weights ------------------------------------------------------------
    def load(self, directory: Path, model: Backbone) -> dict | None:
        """Take the participant encoder that comes with weights.

        See `Aggregator.load`.
        """
        loaded = PARTICIPANT_ENCODER.load(directory, model.kernel)
        if loaded is None:
            return None
        self.encoder, seen = loaded
        return {PARTICIPANT_ENCODER.key: seen}

    def draw(self, fields: WindowArray, model: Backbone, seed: int) -> bool:
        """Take a participant encoder with random weights, see `Aggregator.draw`.

        Its components are those of most power in the (random) fields, and what is
        usual in adults stands for what participants of pretraining were like.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = ParticipantTransformer(ParticipantConfig())
        inputs, config = encoder.inputs, model.config
        sizes = len(inputs.space), inputs.n_regions, inputs.sfreq
        if sizes != (config.n_sensors, config.n_regions, config.sfreq):
            return False
        fit_untrained_inputs(inputs, fields.unit * fields.values)
        for name, (mean, scale) in (
            ("measures", USUAL_RESPONSES),
            ("bands", USUAL_BANDS),
        ):
            getattr(encoder, f"{name}_mean").copy_(torch.tensor(mean))
            getattr(encoder, f"{name}_scale").copy_(torch.tensor(scale))
        self.encoder = encoder.eval()
        return True

    def save(self, directory: Path, model: Backbone, seen: dict) -> None:
        """Write the participant encoder into a checkpoint, see `Aggregator.save`."""
        own = seen.get(PARTICIPANT_ENCODER.key)
        PARTICIPANT_ENCODER.save(directory, self.encoder, model.kernel, own)

    # -- participants -------------------------------------------------------
    def read_state(
        self, state: str, parts: list[Recording], encoder: RowEncoder
    ) -> StateTrials:
        """Read the trials of one state, see `StateAggregator.read_state`."""
        return read_trials(
            parts,
            encoder.sensor_mapping,
            encoder.model.config,
            self.encoder.inputs,
            encoder.batch_size,
        )[state]

    def gather(self, state: str, parts: Sequence[TimedWindows]) -> StateTrials:
        """Make trials of windows of one state, through which derivatives go.

        See `StateAggregator.gather`.
        """
        return self.gather_blocks(state, ((one.timing, [one.windows]) for one in parts))

    def gather_blocks(
        self, state: str, parts: Iterable[tuple[Timing, Iterable[Windows]]]
    ) -> StateTrials:
        """Make trials of windows of one state, that come a few at a time.

        Parameters
        ----------
        state : str
            Its name.
        parts : iterable of tuple of Timing and iterable of Windows
            For each of its recordings when stimuli are, and all windows.

        Returns
        -------
        trials : StateTrials
            As of `read_state`.
        """
        inputs = self.encoder.inputs
        found = [gather_rows(blocks, timing, inputs) for timing, blocks in parts]
        return join_parts(state, found, inputs)

    def differentiable_row(self, read: Mapping[str, StateTrials]) -> Tensor:
        """Make a row of features of one participant, through which derivatives go.

        See `StateAggregator.differentiable_row`.
        """
        return self.row(measure_person(self.encoder, read, self.evoked))

    def trials_of(self, one: StateTrials) -> PersonTrials:
        """Get what the participant encoder takes of one state."""
        return one.trials

    def fit_unread(self, recordings: Recordings, encoder: RowEncoder) -> bool:
        """Learn which states there are, and which have responses.

        See `Aggregator.fit_unread`.
        """
        if self.evoked:  # averages are learnt from the data
            return False
        sfreq, n_after = encoder.model.config.sfreq, self.encoder.inputs.n_after
        states: dict[str, bool] = {}
        for group in recordings.split_elements():
            for state, rows in split_states(group).items():
                responds = any(
                    Timing.of(one, state, sfreq, n_after).responds for one in rows
                )
                states[state] = states.get(state, False) or responds
        self.know(states)
        return True

    def combine(
        self, read: Sequence[Mapping[str, StateTrials]]
    ) -> list[ParticipantMeasures]:
        """Measure participants by their trials, each by itself.

        See `Aggregator.combine`.
        """
        with torch.inference_mode():
            return [
                measure_person(self.encoder, states, self.evoked).to_numpy()
                for states in read
            ]

    def fit(self, extracted: Sequence[ParticipantMeasures]) -> MeasuresAggregator:
        """Learn which states there are.

        Nothing else depends on the training data, but for what fills a missing
        average.

        Parameters
        ----------
        extracted : sequence of ParticipantMeasures
            The training participants.

        Returns
        -------
        self : MeasuresAggregator
            The fitted step.
        """
        found = {state for entry in extracted for state in entry}
        self.know(
            {
                state: any(e.states.get(state) is not None for e in extracted)
                for state in found
            }
        )
        kept = {state for entry in extracted for state in entry.evoked}
        self.averages = {
            state: np.mean([e.evoked[state] for e in extracted if state in e.evoked], 0)
            for state in sorted(kept)
        }
        return self

    def know(self, states: Mapping[str, bool]) -> MeasuresAggregator:
        """Take states as they were learnt before.

        Parameters
        ----------
        states : dict
            Whether there are responses, by name of the state.

        Returns
        -------
        self : MeasuresAggregator
            The step, as `fit` leaves it, but for averages that are appended.
        """
        self.states = sorted(states)
        self.responding = [state for state in self.states if states[state]]
        return self

    def transform(
        self, extracted: Sequence[ParticipantMeasures]
    ) -> NDArray[np.float32]:
        """Make a row of features of each participant.

        Parameters
        ----------
        extracted : sequence of ParticipantMeasures
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
        self.warn_of_missing(
            extracted, "what the participant encoder expects from the other states,"
        )
        return np.stack([self.row(entry).numpy() for entry in extracted])

    def row(self, entry: ParticipantMeasures) -> Tensor:
        """Make a row of features of one participant.

        Parameters
        ----------
        entry : ParticipantMeasures
            The participant, as arrays or tensors.

        Returns
        -------
        row : Tensor, shape (n_features,)
            The features; derivatives lead back to measures that are tensors.
        """
        parts = [GAIN * torch.as_tensor(entry.bands)]
        if self.responding:
            shrunk = torch.stack([_shrunk_measures(entry, s) for s in self.responding])
            mean = shrunk.mean(0)
            # as much as the states would together, were they all the same
            parts.append(GAIN * np.sqrt(len(shrunk)) * mean)
            if len(shrunk) > 1:
                parts.append(GAIN * DIFFERENCE * (shrunk - mean).ravel())
        for state in self.responding:
            seen = entry.maps.get(state)
            map_ = entry.inferred_maps[state_kind(state)] if seen is None else seen
            parts.append(MAP_GAIN * torch.as_tensor(map_).ravel())
        parts.append(torch.tensor([float(s not in entry) for s in self.states]))
        for state, mean in self.averages.items():
            # all values of an average together weigh like one measure or so
            gain = GAIN / np.sqrt(mean.size)
            own = torch.as_tensor(entry.evoked.get(state, mean))
            parts.append(gain * own.ravel())
        return torch.cat(parts)

    def names(self, encoder: RowEncoder | None = None) -> list[str]:
        """Name the features, see `Aggregator.names`."""
        inputs = self.encoder.inputs
        seconds, step = EVOKED_STEP / inputs.sfreq, MAP_STEP / inputs.sfreq
        n_steps = inputs.n_after // MAP_STEP
        return [
            *(f"spectrum_{name}" for name in BAND_MEASURES),
            *(f"responses_{name}" for name in RESPONSE_MEASURES if self.responding),
            *(
                f"{state}_{name}_difference"
                for state in self.responding
                for name in RESPONSE_MEASURES
                if len(self.responding) > 1
            ),
            *(
                f"{state}_response_region{region:02d}_{1e3 * step * at:03.0f}ms"
                for state in self.responding
                for region in range(inputs.n_regions)
                for at in range(n_steps)
            ),
            *(f"{state}_missing" for state in self.states),
            *(
                f"{state}_evoked_sensor{sensor:03d}_{1e3 * seconds * at:04.0f}ms"
                for state, mean in self.averages.items()
                for sensor in range(mean.shape[0])
                for at in range(mean.shape[1])
            ),
        ]


def aggregate_with_evoked() -> MeasuresAggregator:
    """Make the aggregator ``"measures+evoked"``: measures, and averages of trials.

    Returns
    -------
    aggregator : MeasuresAggregator
        One that appends averages.
    """
    return MeasuresAggregator(evoked=True)
