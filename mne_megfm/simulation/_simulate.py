"""Simulate the recordings of one participant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
from mne.transforms import Transform
from scipy import fft

from ._anatomy import Cortex, lead_field, make_head
from ._arrays import make_array_info
from ._artifacts import EYES, MUSCLES, Surroundings
from ._brain import Brain, draw_sources, draw_trials, filter_rows, response_rows
from ._participant import (
    STATES,
    MigraineEffects,
    Participant,
    Settings,
    check_label,
    draw_traits,
    make_epochs,
    make_raw,
)


def simulate_participant(
    index: int = 0,
    label: str = "control",
    *,
    array: str = "neuromag306",
    effects: MigraineEffects | None = None,
    effect_size: float = 1.0,
    subjects_dir: str | Path | None = None,
    subject: str | None = None,
    trans: str | Path | Transform | None = None,
    random_state: int | None = None,
    **settings: Any,
) -> Participant:
    """Simulate the recordings of one participant.

    Parameters
    ----------
    index : int
        Number of the participant. All that is random depends on `random_state`
        and `index` alone.
    label : str
        ``'control'`` or ``'migraine'``. The label draws nothing at random: the
        patient with a number is the control with that number, its traits shifted.
    array : str
        The MEG array, see ``make_array_info``.
    effects : None | MigraineEffects
        How patients differ; None for the defaults.
    effect_size : float
        Factor on all effects; with 0 a patient equals a control bit for bit.
    subjects_dir, subject : path-like, str
        A cortical surface, see :func:`simulate_cohort`.
    trans : None | path-like | mne.transforms.Transform
        Transform between head and MRI, see :func:`simulate_cohort`.
    random_state : None | int
        Seed; None draws one.
    **settings
        The recordings and the noise, see :func:`simulate_cohort`: `states`,
        `n_epochs`, `epoch_duration`, `tmin`, `sfreq`, `isi_jitter`,
        `train_length`, `train_gap`, `raw_states`, `filters`, `line_freq`,
        `brain`, `noise`, `artifacts`, `head_pos`, `n_bads`.

    Returns
    -------
    participant : Participant
        Recordings and the truth about them.

    Raises
    ------
    ValueError, TypeError
        If a parameter cannot be used.

    Examples
    --------
    >>> from mne_megfm.simulation import simulate_participant
    >>> sub = simulate_participant(
    ...     3,
    ...     "migraine",
    ...     array="ctf151",
    ...     states=("auditory",),
    ...     n_epochs=4,
    ...     random_state=0,
    ... )
    >>> sub.recordings["auditory"].get_data(copy=False).shape
    (4, 151, 250)
    """
    check_label(label)
    cortex = None
    if subject is not None or subjects_dir is not None:
        if subject is None or subjects_dir is None:
            raise ValueError(
                "Expected subjects_dir and subject together, got only one of them."
            )
        cortex = Cortex(subjects_dir, subject, trans)
    effects = MigraineEffects() if effects is None else effects
    opts = Settings.from_kwargs(settings)
    return simulate(
        index, label, array, effects, effect_size, cortex, random_state, opts
    )


def simulate(
    index: int,
    label: str,
    array: str,
    effects: MigraineEffects,
    effect_size: float,
    cortex: Cortex | None,
    random_state: int | None,
    opts: Settings,
) -> Participant:
    """Simulate a participant with checked settings."""
    seed = np.random.SeedSequence(random_state, spawn_key=(index,))
    # One stream for each thing, so that leaving one out changes no other.
    streams = [np.random.default_rng(s) for s in seed.spawn(5 + len(STATES))]
    trait_rng, head_rng, brain_rng, room_rng, filter_rng = streams[:5]
    info = make_array_info(
        array, opts.sfreq, head_pos=opts.head_pos, random_state=head_rng
    )
    traits = draw_traits(trait_rng, label, effects, effect_size)
    mains, filters = opts.draw_line(filter_rng), opts.draw_filters(filter_rng)
    head = make_head(head_rng, info, cortex)
    brain = Brain(brain_rng, head, traits)
    sides = {
        "auditory": str(brain_rng.choice(["both", "left", "right"])),
        "somatosensory": str(brain_rng.choice(["left", "right"])),
    }
    evoked = {
        state: draw_sources(brain_rng, state, head, traits["amplitude"], side)
        for state, side in sides.items()
    }
    # One forward solution serves all sources of the person.
    points = [head.background, brain.positions]
    points += [np.array([src.pos for src in evoked[state]]) for state in evoked]
    scale = head.radius / 0.076
    eyes, muscles = head.origin + EYES * scale, head.origin + MUSCLES * scale
    points += [eyes, muscles]
    n_outside = len(EYES) + len(MUSCLES)
    gain = lead_field(info, np.concatenate(points), head, n_outside)
    gain = np.split(gain, np.cumsum([len(p) for p in points])[:-1], axis=1)
    brain.set_gains(gain[0], gain[1], info)
    evoked_gain = {
        state: np.einsum("csk,sk->cs", g, [s.ori * s.moment for s in evoked[state]])
        for state, g in zip(evoked, gain[2:-2], strict=True)
    }
    room = Surroundings(
        room_rng, info, gain[-2], gain[-1], mains, opts.noise, opts.artifacts
    )
    bads = room.spoil(room_rng, min(opts.n_bads, len(info["chs"]) - 1))
    info["bads"] = [info["ch_names"][ii] for ii in bads]
    l_freq, h_freq = filters
    with info._unlock():
        info["highpass"] = 0.0 if l_freq is None else l_freq
        info["lowpass"] = opts.sfreq / 2.0 if h_freq is None else h_freq
        info["line_freq"] = mains
    truth = dict(
        traits=traits,
        head_origin=head.origin,
        brain_radius=head.radius,
        dev_head_t=info["dev_head_t"]["trans"].copy(),
        sides=sides,
        eyes=eyes,
        rhythms=brain.rhythms,
        background=dict(exponents=brain.exponents, knees=brain.knees),
        filters=filters,
        line_freq=mains,
        states={},
    )
    person = Participant(f"sub-{index:04d}", label, array, {}, truth)
    for state, rng in zip(STATES, streams[5:], strict=True):
        if state not in opts.states:
            continue
        found = dict(sources=evoked.get(state, []))
        parts = (brain, room, evoked.get(state), evoked_gain.get(state))
        person.recordings[state] = _record(
            rng, state, person, info, parts, filters, opts, found
        )
        truth["states"][state] = found
    return person


def _record(
    rng: np.random.Generator,
    state: str,
    person: Participant,
    info: mne.Info,
    parts: tuple,
    filters: tuple,
    opts: Settings,
    found: dict,
) -> mne.BaseEpochs | mne.io.BaseRaw:
    """Simulate one recording; times and trials are written to `found`."""
    brain, room, sources, evoked_gain = parts
    sfreq, traits, sides = opts.sfreq, person.truth["traits"], person.truth["sides"]
    n_epochs, n_win = opts.n_epochs[state], opts.n_times
    filtered = filters != (None, None)
    # Filters need something before the first and after the last epoch.
    margin = int((2.0 if filtered else 0.1) * sfreq)
    starts, train = _epoch_starts(rng, state, n_epochs, margin, opts)
    onsets = starts + opts.n_before
    n_times = fft.next_fast_len(int(starts[-1]) + n_win + margin, real=True)
    stimuli = None if state == "rest" else onsets
    gains, rows = brain.rows(rng, state, n_times, sfreq, stimuli, sides, found)
    if sources:
        draw_trials(rng, sources, train, traits["habituation"], traits["adaptation"])
        gains.append(evoked_gain)
        rows.append(response_rows(sources, onsets, n_times, sfreq))
    gains = [gain * opts.brain for gain in gains]
    more_gains, more_rows = room.rows(rng, n_times, sfreq, found)
    gains, rows = np.hstack(gains + more_gains), np.vstack(rows + more_rows)
    if filtered:
        rows = filter_rows(rows, sfreq, *filters)
    as_raw = state in opts.raw_states
    if as_raw:
        rows = rows[:, starts[0] : starts[-1] + n_win]
    else:
        rows = rows[:, (starts[:, None] + np.arange(n_win)).ravel()]
    data = gains.astype(np.float32) @ rows.astype(np.float32, copy=False)
    room.add_sensor_noise(rng, data, sfreq, filters)
    onsets = onsets - starts[0]
    _to_recording_time(
        found, starts[0] / sfreq, (starts[-1] - starts[0] + n_win) / sfreq
    )
    found.update(onsets=onsets / sfreq, train=train)
    if as_raw:
        return make_raw(data, info, state, onsets)
    return make_epochs(data, info, state, onsets, train, person, opts)


def _epoch_starts(
    rng: np.random.Generator, state: str, n_epochs: int, margin: int, opts: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the first sample of each epoch; number the trials of each train."""
    train = np.arange(n_epochs) % opts.train_length
    gaps = np.full(n_epochs, opts.n_times)
    if state != "rest":
        # Without jitter the mains would be in step with the stimuli.
        jitter = rng.random(n_epochs) * opts.isi_jitter * opts.sfreq
        gaps = gaps + jitter.astype(int)
        gaps[train == opts.train_length - 1] += int(opts.train_gap * opts.sfreq)
    return margin + np.r_[0, np.cumsum(gaps)[:-1]], train


def _to_recording_time(found: dict, start: float, duration: float) -> None:
    """Count the times of what happened from the start of the recording."""

    def shift(times):
        times = times - start
        return times[(times >= 0) & (times < duration)]

    for name in ("heartbeats", "blinks", "saccades"):
        found[name] = shift(found[name])
    found["bursts"] = {key: shift(val) for key, val in found["bursts"].items()}
