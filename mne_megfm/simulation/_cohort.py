"""Simulate the recordings of participants, and cohorts of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import mne
import numpy as np
from joblib import Parallel, delayed
from mne.transforms import Transform
from mne.utils import logger
from scipy import fft

from ..utils.logs import verbose
from ._brain import Brain, draw_sources, draw_trials, filter_rows, response_rows
from ._forward import Cortex, _check_name, lead_field, make_array_info, make_head
from ._participant import (
    EYES,
    LABELS,
    MUSCLES,
    STATES,
    MigraineEffects,
    Participant,
    Settings,
    Surroundings,
    _check_number,
    check_label,
    draw_traits,
    make_epochs,
    make_raw,
)


# -- participants ----------------------------------------------------------------------
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


# -- cohorts ---------------------------------------------------------------------------
@dataclass
class Cohort:
    """A simulated cohort.

    Attributes
    ----------
    participants : list of Participant
        The participants, with their recordings and the truth about them.
    settings : dict
        What the cohort was made with, the seed included.
    """

    participants: list[Participant]
    settings: dict = field(repr=False)

    def __len__(self) -> int:
        return len(self.participants)

    def __iter__(self) -> Iterator[Participant]:
        return iter(self.participants)

    def __getitem__(self, index: int) -> Participant:
        return self.participants[index]

    @property
    def labels(self) -> np.ndarray:
        """Labels, array of shape (n_participants,)."""
        return np.array([person.label for person in self.participants])

    @property
    def names(self) -> np.ndarray:
        """Names, array of shape (n_participants,), fit for ``groups``."""
        return np.array([person.name for person in self.participants])

    def epochs(self, state: str | None = None) -> list[mne.BaseEpochs]:
        """Return one Epochs for each participant.

        Parameters
        ----------
        state : None | str
            The state; None joins all states of a participant. Participants
            without the state raise an error.

        Returns
        -------
        epochs : list of mne.Epochs
            In the order of ``labels``.
        """
        return [person.epochs(state) for person in self.participants]


@verbose
def simulate_cohort(
    n_participants: int = 20,
    *,
    patients: float = 0.5,
    states: Sequence[str] = ("rest", "auditory", "somatosensory"),
    arrays: str | Sequence[str] = ("neuromag306",),
    n_epochs: int | dict = 40,
    epoch_duration: float = 1.0,
    tmin: float = -0.2,
    sfreq: float = 250.0,
    effect_size: float = 1.0,
    effects: MigraineEffects | None = None,
    p_missing: float = 0.0,
    isi_jitter: float = 0.15,
    train_length: int = 10,
    train_gap: float = 1.0,
    raw_states: Sequence[str] = (),
    filters: str | tuple | None = None,
    line_freq: float | str | None = "random",
    brain: float = 1.0,
    noise: float = 1.0,
    artifacts: float = 1.0,
    head_pos: str | np.ndarray | Transform | None = "random",
    n_bads: int = 0,
    subjects_dir: str | Path | None = None,
    subject: str | None = None,
    trans: str | Path | Transform | None = None,
    first: int = 0,
    random_state: int | None = None,
    n_jobs: int | None = 1,
    verbose: bool | str | int | None = None,
) -> Cohort:
    """Simulate a cohort of patients with migraine and controls.

    Each participant has a head, a place in the array, ongoing activity with 1/f
    background and rhythms at individual frequencies, responses to sounds
    (P50m, N100m and P200m of both auditory cortices) and to stimuli of a median
    nerve (N20m, P35m, P60m of SI, both SII) that differ from trial to trial and
    habituate, artefacts of heart, eyes and muscles, and noise of sensors and
    surroundings.

    Parameters
    ----------
    n_participants : int
        Number of participants.
    patients : float
        Share of patients. Labels are spread evenly over the cohort.
    states : sequence of str
        Among ``'rest'``, ``'auditory'`` and ``'somatosensory'``.
    arrays : str | sequence of str
        MEG arrays, see ``make_array_info``; given to participants in equal
        shares, among patients as among controls.
    n_epochs : int | dict
        Epochs of each state, or a dict from state to number.
    epoch_duration, tmin : float
        Length of an epoch and its start relative to the stimulus, s. Epochs of
        rest are cut in the same way, so that the states can be joined.
    sfreq : float
        Sampling rate in Hz, at least 100.
    effect_size : float
        Factor on all differences between patients and controls; 0 means none.
    effects : None | MigraineEffects
        The differences; None for the defaults.
    p_missing : float
        Probability that a state of a participant is missing; one always stays.
    isi_jitter : float
        Largest random pause between epochs with stimuli, s.
    train_length : int
        Stimuli in a train; responses recover from one train to the next.
    train_gap : float
        Pause between trains, s.
    raw_states : sequence of str
        States to be returned as Raw, stimuli as annotations, instead of Epochs.
    filters : None | 'random' | tuple of (l_freq, h_freq)
        Filters that the recordings went through (zero phase; None in the pair
        for no edge), or for each participant one of those that are usual.
    line_freq : None | 'random' | float
        Mains frequency in Hz, None for no mains; ``'random'``: 50 or 60 or none.
    brain, noise, artifacts : float
        Factors on the fields of the brain, on noise (sensors, surroundings,
        mains) and on artefacts of the body.
    head_pos : None | 'random' | array of shape (4, 4)
        Position in the array, see ``make_array_info``.
    n_bads : int
        Number of bad channels, listed in ``info['bads']``.
    subjects_dir, subject : path-like, str
        Take sources from the cortical surface of this subject: a source space in
        its ``bem`` folder, or its white surface. A BEM solution in that folder is
        used in place of the sphere. All participants then have this head.
    trans : None | path-like | mne.transforms.Transform
        Transform between head and MRI of that subject. None looks for it in the
        subject's folder.
    first : int
        Number of the first participant; cohorts of one seed whose numbers do not
        overlap share no participant.
    random_state : None | int
        Seed. A participant depends on the seed, its number and its label and
        array alone, not on `n_jobs` or the size of the cohort.
    n_jobs : int | None
        Number of processes.
    %(verbose)s

    Returns
    -------
    cohort : Cohort
        Participants with recordings, labels and truth.

    Raises
    ------
    ValueError
        If a parameter cannot be used.

    Notes
    -----
    Amplitudes, spectra and their spread over the head were chosen so that a few
    real recordings (Neuromag, KIT, 4D, CTF) lie inside the simulated range. Means
    of the response sources are those of the MEG literature: auditory responses
    after [1]_, somatosensory ones after [2]_. Sources are
    current dipoles, alone or in patches. A simulation says nothing about migraine
    that was not put in.

    References
    ----------
    .. [1] Hämäläinen M, Hari R, Ilmoniemi RJ, Knuutila J, Lounasmaa OV (1993).
       Magnetoencephalography - theory, instrumentation, and applications to
       noninvasive studies of the working human brain. Rev Mod Phys 65:413-497.
       doi:10.1103/RevModPhys.65.413
    .. [2] Hari R, Forss N (1999). Magnetoencephalography in the study of human
       somatosensory cortical processing. Phil Trans R Soc B 354:1145-1154.
       doi:10.1098/rstb.1999.0470

    Examples
    --------
    >>> from mne_megfm.simulation import simulate_cohort
    >>> cohort = simulate_cohort(
    ...     4,
    ...     states=("rest", "auditory"),
    ...     arrays=("ctf151", "opm64"),
    ...     n_epochs=3,
    ...     random_state=0,
    ... )
    >>> [str(label) for label in cohort.labels]
    ['control', 'migraine', 'control', 'migraine']
    >>> cohort.epochs("auditory")[0].get_data(copy=False).shape[::2]
    (3, 250)
    """
    opts = Settings(
        states=states,
        n_epochs=n_epochs,
        epoch_duration=epoch_duration,
        tmin=tmin,
        sfreq=sfreq,
        isi_jitter=isi_jitter,
        train_length=train_length,
        train_gap=train_gap,
        raw_states=raw_states,
        filters=filters,
        line_freq=line_freq,
        brain=brain,
        noise=noise,
        artifacts=artifacts,
        head_pos=head_pos,
        n_bads=n_bads,
    )
    if not isinstance(n_participants, Integral) or n_participants < 1:
        raise ValueError(
            "Expected n_participants to be an integer of at least 1, got "
            f"{n_participants!r}."
        )
    for name, value in (("patients", patients), ("p_missing", p_missing)):
        _check_number(name, value, least=0.0)
        if value > 1.0:
            raise ValueError(f"Expected {name} between 0 and 1, got {value!r}.")
    _check_number("effect_size", effect_size)
    if effects is None:
        effects = MigraineEffects()
    elif not isinstance(effects, MigraineEffects):
        raise TypeError(f"Expected effects as MigraineEffects, got {type(effects)}.")
    arrays = (arrays,) if isinstance(arrays, str) else tuple(arrays)
    if not arrays:
        raise ValueError("Expected at least one array, got none.")
    for name in arrays:
        _check_name(name)
    if (subjects_dir is None) != (subject is None):
        raise ValueError(
            "Expected subjects_dir and subject together, got only one of them."
        )
    cortex = None if subject is None else Cortex(subjects_dir, subject, trans)
    if random_state is None:
        random_state = int(np.random.SeedSequence().generate_state(1)[0])
    settings = dict(
        vars(opts),
        n_participants=n_participants,
        patients=patients,
        arrays=arrays,
        effect_size=effect_size,
        effects=effects,
        p_missing=p_missing,
        subject=subject,
        first=first,
        random_state=random_state,
    )
    tasks = _assign(first + n_participants, patients, arrays, random_state)[first:]
    logger.info("Simulating %d participant(s)", n_participants)
    people = Parallel(n_jobs=n_jobs)(
        delayed(simulate)(
            first + ii,
            label,
            array,
            effects,
            effect_size,
            cortex,
            random_state,
            _leave_out(opts, p_missing, random_state, first + ii),
        )
        for ii, (label, array) in enumerate(tasks)
    )
    return Cohort(people, settings)


def _assign(
    n_participants: int, patients: float, arrays: tuple, random_state: int
) -> list[tuple[str, str]]:
    """Give each participant a label and an array.

    Arrays come in shuffled rounds within each label, so that an array says
    nothing about the label; a longer cohort starts like a shorter one.
    """
    counts, tasks = dict.fromkeys(LABELS, 0), []
    for ii in range(n_participants):
        # Rounded so that 0.1 + 0.2 does not lose a patient.
        steps = [int(np.floor(round(jj * patients, 9))) for jj in (ii, ii + 1)]
        label = LABELS[steps[1] > steps[0]]
        turn, place = divmod(counts[label], len(arrays))
        # Keys of three numbers never meet those of participants, which have one.
        seed = np.random.SeedSequence(
            random_state, spawn_key=(0, turn, LABELS.index(label))
        )
        order = np.random.default_rng(seed).permutation(len(arrays))
        counts[label] += 1
        tasks.append((label, arrays[order[place]]))
    return tasks


def _leave_out(
    opts: Settings, p_missing: float, random_state: int, index: int
) -> Settings:
    """Drop states of a participant at random, but not all."""
    if p_missing == 0.0:
        return opts
    seed = np.random.SeedSequence(random_state, spawn_key=(1, index, 0))
    draw = np.random.default_rng(seed).random(len(opts.states))
    kept = [s for s, d in zip(opts.states, draw, strict=True) if d >= p_missing]
    kept = kept or [opts.states[int(draw.argmax())]]
    values = {k: v for k, v in vars(opts).items() if k not in ("n_times", "n_before")}
    return Settings(**dict(values, states=kept))
