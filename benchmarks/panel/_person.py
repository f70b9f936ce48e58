"""People of the panel, as recordings of MNE-Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mne
import numpy as np
from numpy.typing import NDArray

from ._anatomy import (
    ARRAYS,
    SFREQ,
    compute_fields,
    draw_places,
    noise_levels,
    place_head,
)
from ._ongoing import draw_habits, ongoing_sources
from ._responses import (
    N_BEFORE,
    N_TIMES,
    N_TRIALS,
    TIMES,
    add_responses,
    draw_onsets,
    draw_shapes,
)
from ._traits import draw_traits

RESPONDING = ("auditory", "somatosensory")
_REST = 60.0  # s


@dataclass
class PanelPerson:
    """A simulated person.

    Attributes
    ----------
    number : int
        Number in the cohort.
    seed : int
        Seed of the cohort.
    array : str
        The MEG system.
    recordings : dict
        ``"rest"``: Raw of 60 s; ``"auditory"`` and ``"somatosensory"``: Epochs of 40
        trials from -0.3 to 0.9 s, in trains of eight with pauses of 5 s.
    values : dict of str to float
        True value of each trait.
    classes : dict of str to int
        Class of each trait, 0 or 1.

    See Also
    --------
    simulate_panel_person : What makes it.
    """

    number: int
    seed: int
    array: str
    recordings: dict[str, mne.io.BaseRaw | mne.BaseEpochs]
    values: dict[str, float]
    classes: dict[str, int]


def simulate_panel_person(
    number: int,
    seed: int,
    *,
    array: str | None = None,
    n_trials: int = N_TRIALS,
    visit: int = 0,
) -> PanelPerson:
    """Simulate a person of the panel.

    Parameters
    ----------
    number : int
        Number of the person in the cohort.
    seed : int
        Seed of the cohort.
    array : {"vectorview", "ctf275", "kit160"} | None
        The MEG system; None takes them in turn.
    n_trials : int
        So many trials of each evoked state are kept, the first ones, and as large a
        share of rest.
    visit : int
        Number of the visit: the same brain with another head position, other
        background and other trials.

    Returns
    -------
    person : PanelPerson
        Recordings at 250 Hz as they come from the device, and what is true of them.

    Raises
    ------
    ValueError
        If there is no such array, `n_trials` is not between 1 and 40, or `visit` is
        below 0.

    See Also
    --------
    simulate_panel : People one after the other.

    Notes
    -----
    The panel shares no code with the recordings that pretraining is done on
    (:func:`mne_megfm.simulate_cohort`), and nothing of its sources, waves and noise:
    20 dipoles in a sphere respond or carry rhythms (noise-driven damped oscillators,
    bursts of a thresholded process, envelopes that go together), 140 more have
    fractional noise; responses are gamma-shaped; fields are those of MNE-Python's
    forward solution for the person's head position. All is SIMULATED.

    Examples
    --------
    >>> from panel import simulate_panel_person
    >>> person = simulate_panel_person(0, seed=1, array="kit160", n_trials=8)
    >>> person.recordings["auditory"].get_data().shape
    (8, 160, 300)
    >>> len(person.classes)
    31
    """
    if array is None:
        array = ARRAYS[number % len(ARRAYS)]
    if array not in ARRAYS:
        raise ValueError(f"Expected array among {', '.join(ARRAYS)}, got {array!r}.")
    if not 1 <= n_trials <= N_TRIALS:
        raise ValueError(f"Expected n_trials from 1 to {N_TRIALS}, got {n_trials!r}.")
    if visit < 0:
        raise ValueError(f"Expected visit to be 0 or more, got {visit!r}.")
    # parts have streams of their own: what one draws does not move the others
    streams = np.random.SeedSequence([seed, number]).spawn(8)
    who, where, what, how, *runs = map(np.random.default_rng, streams)
    values, classes = draw_traits(who)
    habits, shapes = draw_habits(what), draw_shapes(how)
    info = place_head(array, where)
    if visit:  # the places of sources, which are drawn next, stay the same
        again = np.random.SeedSequence([seed, number, visit]).spawn(1 + len(runs))
        head, *runs = map(np.random.default_rng, again)
        info = place_head(array, head)
    fields = compute_fields(info, *draw_places(where, values["n100m_place"]))
    noise = noise_levels(info)[:, None] * np.float32(np.sqrt(SFREQ / 2))

    def measure(moments: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
        n_times = moments.shape[1]
        signals = fields @ moments
        shape = (len(fields), n_times)
        signals += noise * rng.standard_normal(shape, dtype=np.float32)
        return signals.astype(float)

    # all is made and then cut, so that fewer trials are the same trials
    n_rest = int(_REST * SFREQ)
    moments, _ = ongoing_sources(runs[0], n_rest, values, habits, rest=True)
    signals = measure(moments, runs[1])[:, : n_rest * n_trials // N_TRIALS]
    recordings: dict = {"rest": mne.io.RawArray(signals, info, verbose="error")}
    for state, rng in zip(RESPONDING, runs[2:], strict=True):
        moments, onsets = response_sources(rng, state, values, habits, shapes)
        signals = measure(moments.reshape(len(moments), -1), rng)
        trials = signals.reshape(len(signals), N_TRIALS, N_TIMES).transpose(1, 0, 2)
        ones = np.ones(n_trials, int)
        recordings[state] = mne.EpochsArray(
            trials[:n_trials],
            info,
            np.c_[onsets[:n_trials], 0 * ones, ones],
            tmin=float(TIMES[0]),
            event_id={state: 1},
            verbose="error",
        )
    return PanelPerson(number, seed, array, recordings, values, classes)


def response_sources(
    rng: np.random.Generator,
    state: str,
    values: dict[str, float],
    habits: dict[str, float],
    shapes: dict[str, float],
) -> tuple[NDArray[np.float32], NDArray[np.int_]]:
    """Make the moments of all sources in the trials of a state.

    Returns
    -------
    moments : ndarray of float32, shape (n_sources, n_trials, n_times)
        In Am.
    onsets : ndarray of int, shape (n_trials,)
        Samples of the stimuli.
    """
    onsets = draw_onsets(rng)
    n_times = onsets[-1] + N_TIMES
    moments, log_alpha = ongoing_sources(rng, n_times, values, habits, rest=False)
    index = onsets[:, None] + np.arange(N_TIMES) - N_BEFORE
    trials = moments[:, index]
    before = log_alpha[index[:, :N_BEFORE]].mean(1)
    add_responses(rng, state, trials, before, values, shapes)
    return trials, onsets


def simulate_panel(
    n_people: int, seed: int, *, first: int = 0, n_trials: int = N_TRIALS
) -> Iterator[PanelPerson]:
    """Simulate people of the panel, one after the other.

    Parameters
    ----------
    n_people : int
        How many.
    seed : int
        Seed of the cohort.
    first : int
        Number of the first.
    n_trials : int
        Trials of each evoked state, see `simulate_panel_person`.

    Yields
    ------
    person : PanelPerson
        Recordings and truth.

    Examples
    --------
    >>> from panel import simulate_panel
    >>> [person.array for person in simulate_panel(3, seed=1, n_trials=4)]
    ['vectorview', 'ctf275', 'kit160']
    """
    for number in range(first, first + n_people):
        yield simulate_panel_person(number, seed, n_trials=n_trials)
