"""What decisions lose when a part of the recordings is taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mne
import numpy as np
import pandas as pd
from mne.io import BaseRaw
from mne.utils import ProgressBar, _check_option, warn
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from ..inputs import Recording, as_recordings
from ..sensors import canonical_array
from ..sensors.geometry import read_geometry
from ..utils.logs import verbose
from ._decisions import decide
from ._refits import HeldOutScore, NullDistribution, Refits, null_distributions

#: Usual bands in Hz.
BANDS = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "beta": (13.0, 30.0),
    "gamma": (30.0, 80.0),
}
_OVER = ("regions", "times", "bands", "states")
_STEP = 0.1
_SETTINGS = ("duration", "overlap", "reject_by_annotation")

Change = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What held-out decisions lose without each part, beside chance.

    Attributes
    ----------
    over : str
        What was taken away.
    table : DataFrame
        One row for each ``part`` and ``sample``: the held-out ``decision`` on the whole
        and what of it is ``lost`` without the part, in units of the
        decision. Parts are numbers of regions, times of beginning (s from the event),
        or names of bands and states.
    null : NullDistribution
        The mean evidence for the own label that is lost with each part, in the order of
        `summary`, and the same with permuted labels.
    score : HeldOutScore
        How well the pipeline that is explained predicts held-out samples.
    target : label | None
        The class that decisions in ``table`` are for; None for numbers.

    See Also
    --------
    occlude : Makes it.
    mne_megfm.viz.plot_occlusion : Plots it.

    Examples
    --------
    See `occlude`.
    """

    over: str
    table: pd.DataFrame
    null: NullDistribution
    score: HeldOutScore
    target: Any = None

    @property
    def summary(self) -> pd.DataFrame:
        """One row a part: evidence ``lost``, ``low``, ``high``, ``z``, ``p_value``.

        ``lost`` is the mean over samples of what the decision for their own label
        loses, in standard deviations of held-out decisions. Between ``low`` and
        ``high`` it is within chance, over all parts.
        """
        low, high = self.null.band
        values = {"lost": self.null.observed, "low": low, "high": high}
        values |= {"z": self.null.z, "p_value": self.null.p_values}
        parts = pd.Index(self.table["part"].unique(), name="part")
        return pd.DataFrame(values, index=parts)

    def in_words(self) -> str:
        """Say which parts stand out above chance, or that none does.

        Returns
        -------
        text : str
            A few sentences.
        """
        unit = " s from the event" if self.over == "times" else ""
        return tested_in_words(self.score, self.null, self.summary, self.over, unit)


def tested_in_words(
    score: HeldOutScore,
    null: NullDistribution,
    summary: pd.DataFrame,
    what: str,
    unit: str,
) -> str:
    """Say what of a summary stands out."""
    above = f"above chance (p < {null.alpha:g}, {null.family})"
    found = summary[null.significant]
    text = f"{score}. "
    if not len(found):
        return text + (
            f"Nothing stands out {above}; the smallest p is {null.p_value:.2g}."
        )
    names = [
        (f"{part:.3f}" if isinstance(part, float) else str(part))
        + f" (p = {p_value:.2g})"
        for part, p_value in found["p_value"].items()
    ]
    text += f"Of {what}, stands out {above}: {', '.join(names)}{unit}."
    if what == "times" and (found.index < -_STEP / 2).any():
        text += (
            " What stands out before the event is unexpected: check for leakage, such "
            "as filters that reach back, or a baseline that differs between classes."
        )
    return text


@verbose
def occlude(
    pipeline: Any,
    X: Any,
    y: Any,
    over: str = "regions",
    *,
    groups: Any = None,
    target: Any = None,
    bands: Mapping[str, tuple[float, float]] | None = None,
    cv: Any = None,
    scoring: str | Callable | None = None,
    n_permutations: int = 99,
    alpha: float = 0.05,
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> Occlusion:
    """Take away one part of the recordings after the other, and decide again.

    Parameters
    ----------
    pipeline : estimator
        Any pipeline with frozen weights that takes MNE objects, fitted or not; it is
        not changed.
    X : Epochs | list
        The samples: Epochs with a decision each, or a list of participants, each an
        Epochs or a dict from state to recording. In tesla.
    y : array-like, shape (n_samples,)
        Their labels or numbers.
    over : {"regions", "times", "bands", "states"}
        What is taken away: the sensors of each of the 24 regions of the canonical
        array, each 100 ms, each frequency band, or (of participants) each state.
    groups : array-like, shape (n_samples,) | None
        Groups that no fold separates, see `attribute`.
    target : label | None
        The class whose decision is looked at; None takes the positive class of a
        `MEGFMClassifier`, or else the second of two; or the number that a regressor
        predicts.
    bands : dict of str to tuple | None
        Bands in Hz, for ``over="bands"``; None for delta (from 1 Hz) to gamma (to
        80 Hz), as far as the sampling rate has them.
    cv : int | splitter | None
        Folds that hold each sample out once; None takes 5, shuffled, stratified for
        classifiers.
    scoring : str | callable | None
        A score of scikit-learn, or a scorer; None takes ``"roc_auc"`` for two classes,
        ``"balanced_accuracy"`` for several and ``"r2"`` for numbers.
    n_permutations : int
        Permutations of the labels. The smallest p value is one by this and 1.
    alpha : float
        Level of the thresholds.
    random_state : int
        Seed of folds, permutations and exchanges.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    occlusion : Occlusion
        What is lost, its null distribution and the held-out score.

    Raises
    ------
    TypeError
        If ``X`` is neither Epochs nor a list of participants.
    ValueError
        If there is nothing to take away, such as a band above half of the sampling
        rate, or too few epochs to exchange, weights are not frozen, or there are too
        few permutations for ``alpha``.

    See Also
    --------
    attribute : A map over sensors and times.

    Notes
    -----
    Of epochs, a part is replaced by the same part of another one, drawn at random, so
    that what the pipeline sees stays usual [1]_. Of participants, whose recordings do
    not fit each other, it is left out: channels are marked as bad (the mapping to the
    canonical array goes without, so that neighbours have some of it), straight lines
    are drawn in time (in Epochs and Evoked; a Raw has no time that counts), bands are
    cut out, and states are missing, as the pipeline deals with that.

    Decisions are of pipelines that were not fitted on the sample. A part stands out
    where the evidence for the own label that is lost without it differs more from that
    with permuted labels than any part does by chance (see `NullDistribution`).

    Each part needs all features again: with 40 participants of two minutes, expect
    minutes for the regions.

    References
    ----------
    .. [1] Fisher et al. (2019), "All models are wrong, but many are useful", J Mach
       Learn Res 20, section 3 (exchanged parts).

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import occlude
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=8,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> model = make_pipeline(MEGFMTransformer(), LogisticRegression())
    >>> lost = occlude(
    ...     model, epochs, [0, 1] * 4, "bands", cv=2, n_permutations=19, verbose=False
    ... )
    >>> lost.summary.index.tolist()
    ['delta', 'theta', 'alpha', 'beta', 'gamma']
    """
    _check_option("over", over, _OVER)
    if over == "bands":
        bands = _bands_there(bands, as_recordings(X, **takes_windows(pipeline)))
    if isinstance(X, list | tuple):
        changes = _of_participants(X, over, bands, takes_windows(pipeline))
    else:
        if over == "states":
            raise ValueError(
                "Expected a list of participants for over='states', got "
                f"{type(X).__name__}; a single epoch has one state."
            )
        exchange = Exchange(as_recordings(X)[0], random_state)
        parts = _parts(exchange.epochs.info, exchange.epochs.times, over, bands)
        changes = [
            (part, lambda change=change: exchange(change)) for part, change in parts
        ]
        X = exchange.epochs
    refits = Refits(
        pipeline,
        X,
        y,
        groups=groups,
        target=target,
        cv=cv,
        scoring=scoring,
        n_permutations=n_permutations,
        alpha=alpha,
        random_state=random_state,
    )
    names, tables, means = [], [], []
    for part, change in ProgressBar(changes, mesg="Occluding"):
        lost = refits.lost(change())
        names.append(part)
        means.append((refits.side * lost).mean(1))
        tables.append(
            pd.DataFrame(
                {
                    "part": part,
                    "sample": np.arange(lost.shape[1]),
                    "decision": refits.whole[0],
                    "lost": lost[0] * refits.scale[0],
                }
            )
        )
    family = f"max over {len(names)} {over}"
    null = null_distributions({"": np.transpose(means)}, family, alpha)[""]
    table = pd.concat(tables, ignore_index=True)
    return Occlusion(over, table, null, refits.score, refits.target)


def takes_windows(pipeline: Any) -> dict[str, Any]:
    """Look up how a pipeline cuts a Raw, where it says so."""
    first = pipeline[0] if isinstance(pipeline, Pipeline) else pipeline
    return {name: getattr(first, name) for name in _SETTINGS if hasattr(first, name)}


# -- epochs: parts of another one ------------------------------------------
class Exchange:
    """Epochs, and the same with a part of each from another one."""

    def __init__(self, recording: Recording, random_state: int) -> None:
        if recording.kind != "epochs":
            raise TypeError(
                f"Expected Epochs for occlusion, got a {recording.kind}; cut it by "
                "mne.make_fixed_length_epochs."
            )
        if len(recording.rows) < 2:
            raise ValueError(
                "Expected at least 2 epochs, to exchange parts of, got 1; give more."
            )
        self.epochs = recording.inst[recording.rows].load_data()
        self.picks = recording.picks
        rng = np.random.default_rng(random_state)
        # round a circle in random order: none gets its own
        order = rng.permutation(len(recording.rows))
        self.other = np.empty_like(order)
        self.other[order] = np.roll(order, 1)

    def __call__(self, change: Change) -> mne.BaseEpochs:
        changed = self.epochs.copy()
        data = changed.get_data(copy=False)
        own = data[:, self.picks]
        data[:, self.picks] = change(own, own[self.other])
        return changed


def occlusion_maps(
    pipeline: Any, recording: Recording, target: Any, random_state: int
) -> NDArray[np.float64]:
    """Occlude regions for 100 ms each; give what each row loses, on its sensors."""
    exchange = Exchange(recording, random_state)
    whole = decide(pipeline, exchange.epochs, target)
    region = sensor_regions(exchange.epochs.info, recording.ch_names)
    blocks = time_blocks(exchange.epochs.times)
    maps = np.zeros((len(whole), len(region), recording.n_samples))
    for number in np.unique(region):
        for block in blocks:
            at = np.ix_(np.arange(len(whole)), np.flatnonzero(region == number), block)
            changed = exchange(lambda own, other, at=at: put(own, other, at))
            lost = whole - decide(pipeline, changed, target)
            maps[at] = lost[:, None, None]
    return maps


def put(own: NDArray, other: NDArray, at: Any) -> NDArray:
    own = own.copy()
    own[at] = other[at]
    return own


def _parts(
    info: mne.Info,
    times: NDArray[np.float64],
    over: str,
    bands: Mapping[str, tuple[float, float]] | None,
) -> Iterator[tuple[Any, Change]]:
    """Name parts, with what exchanges them."""
    if over == "bands":
        for name, band in bands.items():
            yield (
                name,
                lambda own, other, band=band: (
                    own + _band(other - own, band, info["sfreq"])
                ),
            )
    elif over == "times":
        for block in time_blocks(times):
            at = np.s_[:, :, block]
            yield float(times[block[0]]), lambda own, other, at=at: put(own, other, at)
    else:
        picks = mne.pick_types(info, meg=True, ref_meg=False)
        region = sensor_regions(info, [info["ch_names"][pick] for pick in picks])
        for number in np.unique(region):
            at = np.s_[:, region == number]
            yield int(number), lambda own, other, at=at: put(own, other, at)


def time_blocks(times: NDArray[np.float64]) -> list[NDArray[np.int_]]:
    """Cut times into blocks of 100 ms; a rest of less than half of that is joined."""
    n_blocks = max(round((times[-1] - times[0]) / _STEP), 1)
    return np.array_split(np.arange(len(times)), n_blocks)


def _bands_there(
    bands: Mapping[str, tuple[float, float]] | None, recordings: Any
) -> dict[str, tuple[float, float]]:
    """Refuse bands that a recording has nothing of; leave out usual ones."""
    given = BANDS if bands is None else bands
    there = dict(given)
    for recording in recordings:
        sfreq, n_times = recording.sfreq, len(recording.inst.times)
        freqs = np.fft.rfftfreq(n_times, 1 / sfreq)
        for name, (low, high) in given.items():
            if name not in there or ((freqs >= low) & (freqs < high)).any():
                continue
            facts = (
                f"{name} ({low:g} to {high:g} Hz) for a recording at {sfreq:g} Hz with "
                f"{n_times} samples, which has nothing of it"
            )
            if bands is not None:
                raise ValueError(
                    "Expected bands below half of the sampling rate that hold a "
                    f"frequency of the spectrum, got {facts}; change the band, or take "
                    "longer epochs."
                )
            warn(f"Left out: {facts}.")
            del there[name]
    return there


def _band(
    data: NDArray[np.float64], band: tuple[float, float], sfreq: float
) -> NDArray[np.float64]:
    """Give what lies in a band (lower edge inclusive), without a change of phase."""
    n_times = data.shape[-1]
    freqs = np.fft.rfftfreq(n_times, 1 / sfreq)
    inside = (freqs >= band[0]) & (freqs < band[1])
    return np.fft.irfft(np.fft.rfft(data) * inside, n_times)


def sensor_regions(info: mne.Info, ch_names: list[str]) -> NDArray[np.int_]:
    """Find the region of the canonical array whose sensors are nearest."""
    geometry, array = read_geometry(info), canonical_array()
    pos = geometry.pos[[geometry.names.index(name) for name in ch_names]]
    nearest = np.square(pos[:, None] - array.pos).sum(-1).argmin(1)
    return array.region[nearest]


# -- participants: parts left out ------------------------------------------
def _of_participants(
    X: list,
    over: str,
    bands: Mapping[str, tuple[float, float]] | None,
    settings: dict,
) -> list[tuple[Any, Callable[[], list]]]:
    """Name parts, with what gives all participants without them."""
    recordings = as_recordings(X, **settings)

    def without(change: Callable) -> Callable[[], list]:
        return lambda: [_each(element, change) for element in X]

    if over == "states":
        names = sorted(set(recordings.states))
        if len(names) < 2:
            raise ValueError(
                f"Expected at least 2 states, to take one away, got {names}; occlude "
                "regions, times or bands."
            )
        return [
            (name, lambda name=name: [_without_state(element, name) for element in X])
            for name in names
        ]
    if over == "bands":
        return [
            (name, without(lambda inst, band=band: _without_band(inst, band)))
            for name, band in bands.items()
        ]
    if over == "regions":
        return [
            (number, without(lambda inst, n=number: _without_region(inst, n)))
            for number in range(canonical_array().n_regions)
        ]
    first = next((r.inst for r in recordings if r.kind != "raw"), None)
    if first is None:
        raise ValueError(
            "Expected Epochs or Evoked for over='times', got only Raw; occlude "
            "regions, bands or states."
        )
    spans = [
        (float(first.times[block[0]]), float(first.times[block[-1]]))
        for block in time_blocks(first.times)
    ]
    return [
        (span[0], without(lambda inst, span=span: _without_time(inst, span)))
        for span in spans
    ]


def _each(element: Any, change: Callable) -> Any:
    """Change all recordings of a participant."""
    if isinstance(element, Mapping):
        return {state: _each(inst, change) for state, inst in element.items()}
    if isinstance(element, list | tuple):
        return [_each(inst, change) for inst in element]
    return change(element.copy())


def _without_state(element: Any, state: str) -> Any:
    """Leave a state out; a participant who has no other keeps it."""
    if isinstance(element, Mapping):
        kept = {name: inst for name, inst in element.items() if name != state}
    elif isinstance(element, list | tuple):
        kept = [i for i in element if as_recordings(i)[0].states[0] != state]
    else:
        kept = element[[name for name in element.event_id if name != state]]
    return kept if len(kept) else element


def _loaded(inst: Any) -> tuple[Any, NDArray[np.float64], NDArray[np.int_]]:
    """Load a recording; give its data, to write to, and its MEG channels."""
    picks = mne.pick_types(inst.info, meg=True, ref_meg=False)
    if isinstance(inst, mne.Evoked):
        return inst, inst.data, picks
    inst.load_data()
    if isinstance(inst, BaseRaw):
        return inst, inst._data, picks
    return inst, inst.get_data(copy=False), picks


def _without_band(inst: Any, band: tuple[float, float]) -> Any:
    inst, data, picks = _loaded(inst)
    part = data[..., picks, :]
    data[..., picks, :] = part - _band(part, band, inst.info["sfreq"])
    return inst


def _without_region(inst: Any, region: int) -> Any:
    names = [inst.ch_names[p] for p in mne.pick_types(inst.info, meg=True)]
    of = sensor_regions(inst.info, names)
    inst.info["bads"] += [n for n, r in zip(names, of, strict=True) if r == region]
    return inst


def _without_time(inst: Any, span: tuple[float, float]) -> Any:
    if isinstance(inst, BaseRaw):
        return inst
    inst, data, picks = _loaded(inst)
    at = np.flatnonzero((inst.times >= span[0]) & (inst.times <= span[1]))
    if not len(at):
        return inst
    ends = max(at[0] - 1, 0), min(at[-1] + 1, len(inst.times) - 1)
    first, last = (data[..., picks, :][..., [end]] for end in ends)
    share = (at - ends[0]) / max(ends[1] - ends[0], 1)
    data[..., picks[:, None], at] = first + (last - first) * share
    return inst
