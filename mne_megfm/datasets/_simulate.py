"""Simulate the recordings of one participant."""

from __future__ import annotations

from dataclasses import dataclass, field

import mne
import numpy as np
from scipy import fft

from . import _evoked
from ._anatomy import lead_field, make_head
from ._arrays import make_array_info
from ._artifacts import EYES, MUSCLES, Surroundings
from ._brain import Brain
from ._effects import MigraineEffects, draw_traits
from ._signals import filter_rows

STATES = ("rest", "auditory", "somatosensory")
EVENT_ID = {name: ii + 1 for ii, name in enumerate(STATES)}
LABELS = ("control", "migraine")


@dataclass
class Participant:
    """Recordings of one simulated participant, and the truth about them."""

    name: str
    label: str
    array: str
    recordings: dict
    truth: dict = field(repr=False)

    def epochs(self, state: str | None = None) -> mne.BaseEpochs:
        """Return the epochs of a state, or of all states in one object."""
        if state is not None:
            return self.recordings[state]
        return mne.concatenate_epochs(list(self.recordings.values()), verbose="error")


def simulate_participant(
    index: int = 0,
    label: str = "control",
    *,
    array: str = "neuromag306",
    states: tuple = STATES,
    n_epochs: int = 40,
    epoch_duration: float = 1.0,
    tmin: float = -0.2,
    sfreq: float = 250.0,
    effect_size: float = 1.0,
    effects: MigraineEffects | None = None,
    isi_jitter: float = 0.15,
    train_length: int = 10,
    train_gap: float = 1.0,
    filters=None,
    line_freq="random",
    noise: float = 1.0,
    artifacts: float = 1.0,
    brain: float = 1.0,
    head_pos="random",
    cortex=None,
    random_state: int | None = None,
) -> Participant:
    """Simulate the recordings of one participant."""
    effects = MigraineEffects() if effects is None else effects
    seed = np.random.SeedSequence(random_state, spawn_key=(index,))
    streams = [np.random.default_rng(s) for s in seed.spawn(3 + len(STATES))]
    trait_rng, head_rng, room_rng = streams[:3]
    info = make_array_info(array, sfreq, head_pos=head_pos, random_state=head_rng)
    traits = draw_traits(trait_rng, label, effects, effect_size)
    l_freq, h_freq = _draw_filters(trait_rng, filters, sfreq)
    mains = _draw_line(trait_rng, line_freq)
    head = make_head(head_rng, info, cortex)
    person = Brain(trait_rng, head, traits)
    sides = {
        "auditory": trait_rng.choice(["both", "left", "right"]),
        "somatosensory": trait_rng.choice(["left", "right"]),
    }
    evoked = {
        name: _evoked.draw_sources(
            trait_rng, name, head, traits["amplitude"], sides[name]
        )
        for name in ("auditory", "somatosensory")
    }
    # One forward solution serves all sources of the person.
    points = [head.background, person.positions, head.origin + EYES]
    points += [head.origin + MUSCLES]
    points += [np.array([src.pos for src in evoked[name]]) for name in evoked]
    gain = lead_field(info, np.concatenate(points), head)
    edges = np.cumsum([len(p) for p in points])[:-1]
    parts = np.split(gain, edges, axis=1)
    person.set_gains(parts[0], parts[1], info)
    room = Surroundings(
        room_rng, info, head, parts[2], parts[3], mains, noise, artifacts
    )
    evoked_gain = {
        name: np.einsum(
            "csk,sk->cs", part, [src.ori * src.moment for src in evoked[name]]
        )
        for name, part in zip(evoked, parts[4:])
    }
    with info._unlock():
        info["highpass"] = 0.0 if l_freq is None else l_freq
        info["lowpass"] = sfreq / 2.0 if h_freq is None else h_freq
        info["line_freq"] = mains
    n_win = int(round(epoch_duration * sfreq))
    n_pre = int(round(-tmin * sfreq))
    truth = dict(
        traits=traits,
        head_origin=head.origin,
        brain_radius=head.radius,
        dev_head_t=info["dev_head_t"]["trans"].copy(),
        sides=sides,
        rhythms=person.truth,
        filters=(l_freq, h_freq),
        line_freq=mains,
        states={},
    )
    recordings = {}
    for state, rng in zip(STATES, streams[3:]):
        if state not in states:
            continue
        filtered = l_freq is not None or h_freq is not None
        margin = int(2.0 * sfreq) if filtered else int(0.1 * sfreq)
        starts, train = _epoch_starts(
            rng, n_epochs, n_win, sfreq, margin, state, isi_jitter, train_length, train_gap
        )
        onsets = starts + n_pre
        n_times = fft.next_fast_len(int(starts[-1]) + n_win + margin, real=True)
        mine = dict(onsets=onsets / sfreq, train=train)
        stim = onsets if state != "rest" else None
        gains, rows = person.rows(rng, state, n_times, sfreq, stim, sides, mine)
        gains = [g * brain for g in gains]
        if state in evoked:
            _evoked.draw_trials(
                rng, evoked[state], train, traits["habituation"], traits["adaptation"]
            )
            gains.append(evoked_gain[state] * brain)
            rows.append(
                _evoked.response_rows(evoked[state], onsets, n_times, sfreq)
            )
            mine["sources"] = evoked[state]
        more = room.rows(rng, n_times, sfreq, mine)
        gains, rows = np.hstack(gains + more[0]), np.vstack(rows + more[1])
        if filtered:
            rows = filter_rows(rows, sfreq, l_freq, h_freq)
        idx = (starts[:, None] + np.arange(n_win)).ravel()
        data = gains.astype(np.float32) @ rows[:, idx]
        room.add_sensor_noise(rng, data, sfreq, (l_freq, h_freq))
        data = data.reshape(len(data), n_epochs, n_win).transpose(1, 0, 2)
        events = np.c_[onsets, np.zeros_like(onsets), np.full(n_epochs, EVENT_ID[state])]
        recordings[state] = mne.EpochsArray(
            data.astype(np.float64),
            info,
            events,
            tmin=-n_pre / sfreq,
            event_id={state: EVENT_ID[state]},
            baseline=None,
            proj=False,
            verbose="error",
        )
        truth["states"][state] = mine
    return Participant(f"sub-{index:04d}", label, array, recordings, truth)


def _draw_filters(rng, filters, sfreq):
    """Return (l_freq, h_freq), drawn if asked."""
    choices = [
        (None, None),
        (None, None),
        (None, None),
        (0.1, None),
        (0.1, 80.0),
        (0.3, 100.0),
        (0.5, None),
        (1.0, None),
        (1.0, 45.0),
        (None, 80.0),
        (0.5, 40.0),
        (1.0, 100.0),
    ]
    drawn = choices[rng.integers(len(choices))]
    if filters is None:
        return None, None
    if filters != "random":
        return tuple(filters)
    low, high = drawn
    return low, (None if high is None or high >= 0.48 * sfreq else high)


def _draw_line(rng, line_freq):
    """Return the mains frequency or None, drawn if asked."""
    present, which = rng.random() < 0.8, rng.random() < 0.5
    if line_freq == "random":
        return (50.0 if which else 60.0) if present else None
    return line_freq


def _epoch_starts(
    rng, n_epochs, n_win, sfreq, margin, state, isi_jitter, train_length, train_gap
):
    """Return the first sample of each epoch and the place in its train."""
    train = np.arange(n_epochs) % train_length
    gaps = np.full(n_epochs, n_win)
    if state != "rest":
        gaps = gaps + (rng.random(n_epochs) * isi_jitter * sfreq).astype(int)
        gaps[train == train_length - 1] += int(train_gap * sfreq)
    return margin + np.r_[0, np.cumsum(gaps)[:-1]], train
