"""Responses to stimuli whose embeddings are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real

import mne
import numpy as np
import pandas as pd

from ..utils.logs import verbose as at_level
from ._cohort import simulate_participant
from ._forward import Head, lead_field, tangential

# Sources per response; their moment (A m), and latencies and widths (s) in the range of
# responses to images in occipital and temporal cortex.
_N_SOURCES = 24
_MOMENT = 12e-9
_LATENCY, _WIDTH = (0.10, 0.40), (0.012, 0.030)


@dataclass
class StimulusResponses:
    """Recorded responses to stimuli, with the embedding of each.

    Attributes
    ----------
    epochs : mne.EpochsArray
        An epoch for each presentation, in random order. ``epochs.metadata`` has the
        column ``stimulus``.
    embeddings : array of shape (n_epochs, n_dims)
        The embedding of what was shown.
    stimulus : array of int, shape (n_epochs,)
        The number of what was shown.
    truth : dict
        Of the sources of the responses: ``pos`` (head coordinates, m), ``ori``,
        ``latency`` and ``width`` (s), ``moment`` (A m) and ``weights`` of shape
        (n_sources, n_dims), by which embeddings become amplitudes.
    """

    epochs: mne.BaseEpochs
    embeddings: np.ndarray
    stimulus: np.ndarray
    truth: dict = field(repr=False)


@at_level
def simulate_stimuli(
    n_stimuli: int = 100,
    *,
    n_repeats: int = 1,
    n_dims: int = 8,
    amplitude: float = 1.0,
    array: str = "ctf151",
    epoch_duration: float = 1.0,
    tmin: float = -0.2,
    sfreq: float = 250.0,
    filters: tuple | None = (0.5, 40.0),
    noise: float = 1.0,
    random_state: int | None = None,
    verbose: bool | str | int | None = None,
) -> StimulusResponses:
    """Simulate responses that are linear in embeddings of stimuli.

    One participant looks at images, say. Each image has an embedding, drawn from a
    normal distribution. The response is a sum of dipoles in the back of the head,
    each at its own place and latency, whose amplitudes are a linear map of the
    embedding; so all of the embedding is in the response, and nothing else is.
    Everything that else is in the recording is that of a participant at rest
    (:func:`mne_megfm.simulate_cohort`).

    Parameters
    ----------
    n_stimuli : int
        Number of different stimuli.
    n_repeats : int
        How often each is shown.
    n_dims : int
        Dimensions of an embedding.
    amplitude : float
        Factor on responses; 0 for recordings that know nothing of the stimuli.
    array : str
        The MEG array, see ``make_array_info``.
    epoch_duration, tmin : float
        Length of an epoch and its start relative to the stimulus, s.
    sfreq : float
        Sampling rate in Hz.
    filters : None | tuple of (l_freq, h_freq)
        Filters that the rest of the recording went through, Hz.
    noise : float
        Factor on noise of sensors and surroundings.
    random_state : None | int
        Seed.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`; None takes MNE's log level.

    Returns
    -------
    responses : StimulusResponses
        ``epochs``, ``embeddings``, ``stimulus`` and ``truth``.

    Raises
    ------
    ValueError
        If a number is out of range, or the array is not known.

    Examples
    --------
    >>> from mne_megfm.simulation import simulate_stimuli
    >>> shown = simulate_stimuli(5, n_repeats=2, n_dims=3, random_state=0)
    >>> len(shown.epochs), shown.embeddings.shape
    (10, (10, 3))
    """
    for name, value in (
        ("n_stimuli", n_stimuli),
        ("n_repeats", n_repeats),
        ("n_dims", n_dims),
    ):
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(
                f"Expected {name} to be a whole number of at least 1, got {value!r}; "
                "correct it."
            )
    if not isinstance(amplitude, Real) or not 0 <= amplitude < np.inf:
        raise ValueError(
            "Expected amplitude to be a finite factor of at least 0, got "
            f"{amplitude!r}; 1 is usual."
        )
    person = simulate_participant(
        array=array,
        random_state=random_state,
        states=("rest",),
        n_epochs=int(n_stimuli * n_repeats),
        epoch_duration=epoch_duration,
        tmin=tmin,
        sfreq=sfreq,
        filters=filters,
        noise=noise,
    )
    rest = person.epochs("rest")
    # a stream of its own: the rest of the recording is the same with any embeddings
    seed = np.random.SeedSequence(random_state, spawn_key=(1, 0))
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((n_stimuli, n_dims))
    stimulus = rng.permutation(np.repeat(np.arange(n_stimuli), n_repeats))
    sources = _draw_sources(rng, person.truth, n_dims)
    head = Head(
        person.truth["head_origin"],
        person.truth["brain_radius"],
        np.empty((0, 3)),
        np.empty((2, 0, 3)),
    )
    gain = lead_field(rest.info, sources["pos"], head)
    fields = np.einsum("csk,sk->cs", gain, sources["ori"]) * sources["moment"]
    after = rest.times - sources["latency"][:, None]
    courses = np.exp(-0.5 * (after / sources["width"][:, None]) ** 2)
    size = amplitude * embeddings @ sources["weights"].T
    responses = np.einsum("es,cs,st->ect", size, fields, courses)
    epochs = mne.EpochsArray(
        rest.get_data(copy=True) + responses[stimulus],
        rest.info,
        np.c_[rest.events[:, :2], np.ones(len(rest), int)],
        tmin=rest.tmin,
        event_id={"stimulus": 1},
        metadata=pd.DataFrame({"stimulus": stimulus}),
        proj=False,
        verbose="error",
    )
    return StimulusResponses(epochs, embeddings[stimulus], stimulus, sources)


def _draw_sources(rng: np.random.Generator, truth: dict, n_dims: int) -> dict:
    """Draw dipoles in the back half of the head, and what they know of embeddings."""
    unit = rng.standard_normal((20 * _N_SOURCES, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    behind = (unit[:, 1] < -0.2) & (unit[:, 2] > -0.3)
    unit = unit[behind][:_N_SOURCES]
    rel = unit * (truth["brain_radius"] * rng.uniform(0.75, 0.95, (_N_SOURCES, 1)))
    weights = rng.standard_normal((_N_SOURCES, n_dims)) / np.sqrt(n_dims)
    return dict(
        pos=rel + truth["head_origin"],
        ori=tangential(rel, rng.standard_normal(rel.shape)),
        latency=rng.uniform(*_LATENCY, _N_SOURCES),
        width=rng.uniform(*_WIDTH, _N_SOURCES),
        moment=_MOMENT * np.exp(0.2 * rng.standard_normal(_N_SOURCES)),
        weights=weights,
    )
