"""Simulate cohorts of participants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path

import mne
import numpy as np
from joblib import Parallel, delayed
from mne.transforms import Transform
from mne.utils import logger, verbose

from ._anatomy import Cortex
from ._arrays import _check_name
from ._participant import LABELS, MigraineEffects, Participant, Settings, _check_number
from ._simulate import simulate


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
