"""Attention and experts on the head: maps, and how well they point at sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral
from typing import Any

import mne
import numpy as np
import pandas as pd
import torch
from mne.io.constants import FIFF
from mne.utils import _validate_type
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation
from sklearn.utils.validation import check_is_fitted

from ..estimators import MEGFMTransformer
from ..estimators.extraction import iter_row_tokens
from ..inputs import Recordings, as_recordings
from ..models import RandomWalkExperts
from ..sensors import CanonicalArray, canonical_array, compute_mapping
from ..sensors.geometry import read_geometry
from ..utils.logs import verbose

#: Spread of a place on the canonical shell (m): half of the distance of regions.
SPREAD = 0.03
#: Regions between which attention is put halfway: neighbours, up to the distance
#: of the two poles of a deep source (m).
NEAR, FAR = 0.04, 0.13
#: Sensors closer than this are at one place (m).
SAME_PLACE = 2e-3
#: Tilt of turned heads (rad): the regions of all turns then cover the shell densely.
TILT = np.deg2rad(10.0)


def unit_vectors(
    pos: NDArray[np.float64], origin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Give directions of positions as seen from the centre of the head.

    Parameters
    ----------
    pos : ndarray, shape (n, 3)
        Positions in head coordinates (m).
    origin : ndarray, shape (3,)
        The centre (m).

    Returns
    -------
    unit : ndarray, shape (n, 3)
        Unit vectors.
    """
    rel = pos - origin
    return rel / np.linalg.norm(rel, axis=-1, keepdims=True)


def angles(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute angles between all pairs of unit vectors.

    Parameters
    ----------
    one, other : ndarray, shape (n, 3), (m, 3)
        Unit vectors.

    Returns
    -------
    angles : ndarray, shape (n, m)
        In rad.
    """
    return np.arccos(np.clip(one @ other.T, -1.0, 1.0))


@lru_cache(maxsize=4)
def turned_heads(n_turns: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Turn the head under the canonical array.

    Parameters
    ----------
    n_turns : int
        How many turns about the vertical axis, in even steps; the first is none. The
        others are tilted a little, each to another side.

    Returns
    -------
    rotations : ndarray, shape (n_turns, 3, 3)
        From the head to the turned head.
    matrices : ndarray, shape (n_turns, n_sensors, n_sensors)
        From the field of the head to the field of the turned head.
    """
    array = canonical_array()
    steps = np.arange(n_turns)[:, None]
    turn = 2 * np.pi * steps / n_turns * [0.0, 0.0, 1.0]
    side = np.pi * (1.0 + np.sqrt(5.0)) * steps
    tilt = TILT * np.hstack([np.cos(side), np.sin(side), 0.0 * side])
    tilt[0] = 0.0
    about = Rotation.from_rotvec(turn) * Rotation.from_rotvec(tilt)
    rotations = about.as_matrix()
    matrices = np.empty((n_turns, array.n_sensors, array.n_sensors), np.float32)
    matrices[0] = np.eye(array.n_sensors)
    for rotation, matrix in zip(rotations[1:], matrices[1:], strict=True):
        info = array.info(1.0)
        trans = np.eye(4)
        trans[:3, :3] = rotation
        trans[:3, 3] = array.origin - rotation @ array.origin
        # the array turned with the head, as seen from where it stands
        info["dev_head_t"] = mne.transforms.Transform("meg", "head", trans)
        matrix[:] = compute_mapping(info, verbose="error").to_canonical
    return rotations, matrices


def region_places(
    array: CanonicalArray, between: bool
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Say where attention of regions, or between two of them, is put.

    Parameters
    ----------
    array : CanonicalArray
        The array.
    between : bool
        Whether places are halfway between two regions.

    Returns
    -------
    places : ndarray, shape (n_places, 3)
        Directions from the centre of the array.
    used : ndarray of bool, shape (n_regions,) or (n_regions, n_regions)
        Which regions, or pairs, these are.
    """
    unit = unit_vectors(array.region_pos, array.origin)
    if not between:
        return unit, np.ones(len(unit), bool)
    apart = array.radius * angles(unit, unit)
    used = (apart > NEAR) & (apart < FAR)
    first, second = np.nonzero(used)
    return unit_vectors(unit[first] + unit[second], np.zeros(3)), used


def spread_matrix(
    targets: NDArray[np.float64],
    places: NDArray[np.float64],
    rotations: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Compute the weights that bring values at places to targets.

    A target has the mean of all places of all turns, weighted by a Gaussian of their
    distance on the shell (Nadaraya 1964): even attention stays even, wherever
    targets are and however many there are.

    Parameters
    ----------
    targets : ndarray, shape (n_targets, 3)
        Directions of sensors from the centre.
    places : ndarray, shape (n_places, 3)
        Directions of places in the turned heads.
    rotations : ndarray, shape (n_turns, 3, 3)
        From the head to the turned heads.

    Returns
    -------
    weights : ndarray, shape (n_targets, n_turns, n_places)
        Sums to 1 for each target.
    """
    width = SPREAD / canonical_array().radius
    # rows times a rotation are turned back
    turned = np.concatenate([places @ rotation for rotation in rotations])
    exponent = -0.5 * np.square(angles(targets, turned) / width)
    # far from all places the nearest decides, instead of 0 / 0
    weights = np.exp(exponent - exponent.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return weights.reshape(len(targets), len(rotations), len(places))


def sensor_info(info: mne.Info, sfreq: float) -> tuple[mne.Info, NDArray[np.float64]]:
    """Keep the places of the sensors of an info, for maps that are no field.

    Parameters
    ----------
    info : mne.Info
        Measurement info.
    sfreq : float
        Sampling rate of the maps (Hz).

    Returns
    -------
    info : mne.Info
        One channel for each place with a sensor, the magnetometer where there are
        several; bad ones too, since a map by place needs no signal. They count as
        point magnetometers, so that MNE plots all arrays alike and merges nothing, and
        have no projectors or compensation.
    pos : ndarray, shape (n_channels, 3)
        Their positions in head coordinates (m).
    """
    geometry = read_geometry(info)
    planar = np.array([kind.startswith("planar") for kind in geometry.kinds])
    kept: list[int] = []
    for index in np.argsort(planar, kind="stable"):
        apart = np.linalg.norm(geometry.pos[kept] - geometry.pos[index], axis=1)
        if not (apart < SAME_PLACE).any():
            kept.append(int(index))
    kept.sort()
    picks = [info["ch_names"].index(geometry.names[index]) for index in kept]
    with mne.utils.use_log_level("error"):
        info = mne.pick_info(info, picks)
    for ch in info["chs"]:
        ch["coil_type"] = FIFF.FIFFV_COIL_POINT_MAGNETOMETER
        ch["unit"] = FIFF.FIFF_UNIT_T
    with info._unlock():
        info.update(
            sfreq=sfreq, highpass=0.0, lowpass=sfreq / 2, bads=[], projs=[], comps=[]
        )
    return info, geometry.pos[kept]


#: Measures, and whether larger is better.
MEASURES = {"ratio": True, "level": True, "distance": False}


@dataclass(frozen=True, eq=False)
class AttentionScore:
    """Alignment of attention with sources.

    Attributes
    ----------
    scores : DataFrame
        A row for each participant, source and part (``"after"``, ``"before"``,
        ``"random_weights"``). ``share`` of all attention within the radius of the
        source, ``even_share`` that even attention would have there, ``ratio`` of these
        two, ``level`` of attention there, relative to its mean over places and times,
        and ``distance`` (m) of the attended centre.
    summary : DataFrame
        A row for each measure: mean and standard deviation over participants after the
        stimulus, mean before it and with random weights, and one-sided p values
        against sensors permuted (``p_sensors``), sources elsewhere (``p_places``),
        before (``p_before``) and random weights (``p_random_weights``). NaN where
        there is nothing to compare with.
    """

    scores: pd.DataFrame
    summary: pd.DataFrame


@verbose
def score_attention(
    attention: mne.Evoked | Sequence[mne.Evoked],
    sources: Any,
    *,
    window: tuple[float, float] = (0.0, 0.2),
    before: tuple[float, float] | None = None,
    random_weights: mne.Evoked | Sequence[mne.Evoked] | None = None,
    radius: float = 0.03,
    n_null: int = 1000,
    random_state: int = 0,
    verbose: bool | str | int | None = None,
) -> AttentionScore:
    """Score how well attention aligns with sources.

    Parameters
    ----------
    attention : Evoked | list of Evoked
        Maps of :func:`attention`, one a participant.
    sources : mapping | ndarray, shape (n_sources, 3) | Dipole | list of these
        Positions in head coordinates (m), by name if it is a mapping; a fitted
        dipole stands for its position where it fits best. One for each participant,
        or one for all.
    window : tuple of float
        Maps to score, from and to so many s.
    before : tuple of float | None
        Maps before the stimulus to compare with.
    random_weights : Evoked | list of Evoked | None
        Maps of a network with random weights for the same participants.
    radius : float
        What is near a source (m).
    n_null : int
        Draws of each null distribution.
    random_state : int
        Seed of these draws.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    score : AttentionScore
        Scores by participant and source, and their summary.

    Raises
    ------
    ValueError
        If lists differ in length, or no map falls into a window.

    Notes
    -----
    Sources are projected to the sensors from the centre of the head, (0, 0, 4) cm in
    head coordinates; distances are along the sphere with the sensors' mean distance
    from it. Where no sensor is within the radius, the nearest is. Each source has the
    sensors that are nearer to it than to other sources; its attended centre is
    the centre of the more attended half of these, weighted by what exceeds the median.

    Two spatial nulls: attention is permuted over sensors, which is easily beaten by
    any smooth map that is right by chance in one participant; or the sources are turned
    together to random other places under the sensors, which keeps the maps as they are
    (a spin test [1]_ with the parts exchanged). Against ``before`` and
    ``random_weights``, signs of the differences are flipped by participant.

    References
    ----------
    .. [1] Alexander-Bloch et al. (2018), "On testing for spatial correspondence
       between maps of human brain structure and function", NeuroImage 178:540-551.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import attention, score_attention
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=4,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> evoked = cohort.epochs("auditory")[0].average()
    >>> maps = attention(MEGFMTransformer().fit(evoked), evoked, n_turns=1)
    >>> score = score_attention(maps, {"lh": (-0.05, 0.01, 0.06)}, n_null=20)
    >>> score.summary.index.tolist()
    ['ratio', 'level', 'distance']
    """
    maps = _as_list(attention)
    places = _source_lists(sources, len(maps))
    parts = {"after": (maps, window)}
    if before is not None:
        parts["before"] = (maps, before)
    if random_weights is not None:
        others = _as_list(random_weights)
        if len(others) != len(maps):
            raise ValueError(
                f"Expected random_weights maps of {len(maps)} participants, got "
                f"{len(others)}; pass one for each."
            )
        parts["random_weights"] = (others, window)
    rng = np.random.default_rng(random_state)
    rows, nulls = [], {"sensors": [], "places": []}
    for number, by_name in enumerate(places):
        units = unit_vectors(np.array(list(by_name.values())), _origin())
        for part, (evokeds, span) in parts.items():
            helmet = _Helmet.of(evokeds[number], span)
            found = helmet.score(units, radius)
            for source, name in enumerate(by_name):
                own = {key: value[source] for key, value in found.items()}
                rows.append({"participant": number, "source": name, "part": part} | own)
            if part == "after":
                nulls["sensors"].append(helmet.permuted(units, radius, n_null, rng))
                nulls["places"].append(helmet.elsewhere(units, radius, n_null, rng))
    scores = pd.DataFrame(rows)
    return AttentionScore(scores, _summarise(scores, nulls, n_null, rng))


class _Helmet:
    """A map of attention, and where its sensors are."""

    def __init__(self, values: NDArray[np.float64], info: mne.Info) -> None:
        rel = read_geometry(info).pos - _origin()
        distance = np.linalg.norm(rel, axis=1)
        self.values, self.radius = values, distance.mean()
        self.units = rel / distance[:, None]

    @classmethod
    def of(cls, evoked: mne.Evoked, span: tuple[float, float]) -> _Helmet:
        """Average the maps of a span of time."""
        _validate_type(evoked, mne.Evoked, "attention")
        inside = (evoked.times >= span[0]) & (evoked.times <= span[1])
        if not inside.any():
            raise ValueError(
                f"Expected maps between {span[0]:g} and {span[1]:g} s, got maps from "
                f"{evoked.times[0]:g} to {evoked.times[-1]:g} s; widen the window."
            )
        return cls(evoked.data[:, inside].mean(1), evoked.info)

    def score(
        self,
        sources: NDArray[np.float64],
        radius: float,
        values: NDArray[np.float64] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Score sources, given as directions; ``values`` are others on the sensors."""
        values = self.values if values is None else values
        apart = self.radius * angles(sources, self.units)
        near = apart <= np.maximum(radius, apart.min(1, keepdims=True))
        share, even = near @ values / values.sum(), near.mean(1)
        owner = apart.argmin(0)
        centres = [
            self._centre(values, owner == source) for source in range(len(sources))
        ]
        cosine = np.clip((np.array(centres) * sources).sum(1), -1.0, 1.0)
        return {
            "share": share,
            "even_share": even,
            "ratio": share / even,
            "level": near @ values / near.sum(1),
            "distance": self.radius * np.arccos(cosine),
        }

    def _centre(
        self, values: NDArray[np.float64], own: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Find the centre of the sensors of a source that are attended most."""
        excess = np.where(own, np.clip(values - np.median(values[own]), 0.0, None), 0.0)
        if not excess.any():  # as even as can be: their middle
            excess = own.astype(float)
        return unit_vectors(excess @ self.units, np.zeros(3))

    def permuted(
        self, sources: Any, radius: float, n_null: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Score the map with its sensors exchanged; (n_null, n_measures)."""
        return np.array(
            [
                _means(self.score(sources, radius, rng.permutation(self.values)))
                for _ in range(n_null)
            ]
        )

    def elsewhere(
        self, sources: Any, radius: float, n_null: int, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Score the map with the sources elsewhere; (n_null, n_measures)."""
        out = []
        # nowhere else to go: sources that only fit where they are
        for _ in range(1000 * n_null):
            turned = sources @ Rotation.random(rng=rng).as_matrix()
            covered = self.radius * angles(turned, self.units).min(1) <= radius
            if covered.all():
                out.append(_means(self.score(turned, radius)))
                if len(out) == n_null:
                    break
        return np.array(out).reshape(-1, len(MEASURES))


def _origin() -> NDArray[np.float64]:
    return canonical_array().origin


def _means(found: dict[str, NDArray[np.float64]]) -> list[float]:
    return [float(found[measure].mean()) for measure in MEASURES]


def _summarise(
    scores: pd.DataFrame,
    nulls: dict[str, list[NDArray[np.float64]]],
    n_null: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Average over sources, then over participants, and test."""
    means = scores.groupby(["part", "participant"])[list(MEASURES)].mean()
    rows = {}
    for column, (measure, larger) in enumerate(MEASURES.items()):
        sign = 1.0 if larger else -1.0
        after = means.loc["after", measure].to_numpy()
        row = {"n": len(after), "mean": after.mean()}
        row["sd"] = after.std(ddof=1) if len(after) > 1 else np.nan
        for name, draws in nulls.items():
            short = min(map(len, draws))
            chance = np.mean([draw[:short, column] for draw in draws], 0)
            # a tie by rounding is a tie
            rounding = 1e-9 * max(np.abs(chance).max(initial=0.0), abs(after.mean()))
            beaten = np.sum(sign * (chance - after.mean()) >= -rounding)
            row[f"chance_{name}"] = chance.mean() if short else np.nan
            row[f"p_{name}"] = (1 + beaten) / (1 + short) if short else np.nan
        for part in ("before", "random_weights"):
            there = part in means.index
            other = means.loc[part, measure].to_numpy() if there else after * np.nan
            row[part] = other.mean()
            difference = sign * (after - other)
            row[f"p_{part}"] = _sign_flips(difference, n_null, rng) if there else np.nan
        rows[measure] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def _sign_flips(
    differences: NDArray[np.float64], n_null: int, rng: np.random.Generator
) -> float:
    """Test whether differences are larger than 0, by flipping their signs."""
    if len(differences) < 2:
        return np.nan
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=n_null,
        alternative="greater",
        rng=rng,
    )
    return float(test.pvalue)


def _as_list(maps: Any) -> list[mne.Evoked]:
    return [maps] if isinstance(maps, mne.Evoked) else list(maps)


def _source_lists(sources: Any, n: int) -> list[dict[str, NDArray[np.float64]]]:
    """Bring sources to one mapping of positions for each participant."""
    if not isinstance(sources, list):
        return [_by_name(sources)] * n
    if len(sources) != n:
        raise ValueError(
            f"Expected sources of {n} participants, got {len(sources)}; pass as many "
            "as there are maps, or one mapping, array or Dipole for all."
        )
    return [_by_name(one) for one in sources]


def _by_name(sources: Any) -> dict[str, NDArray[np.float64]]:
    if isinstance(sources, mne.Dipole):
        best = int(np.argmax(sources.gof))
        sources = {sources.name or "dipole": sources.pos[best]}
    elif not isinstance(sources, Mapping):
        positions = np.atleast_2d(np.asarray(sources, float))
        sources = {str(number): pos for number, pos in enumerate(positions)}
    found = {str(name): np.asarray(pos, float) for name, pos in sources.items()}
    for name, pos in found.items():
        if pos.shape != (3,) or not np.isfinite(pos).all() or np.abs(pos).max() > 0.3:
            raise ValueError(
                f"Expected the position of source {name!r} as three head coordinates "
                f"in m, got {pos}; convert mm to m, and MRI to head coordinates."
            )
    if not found:
        raise ValueError("Expected at least one source, got none; pass positions.")
    return found


# -- experts of a pooling --------------------------------------------------------------
@verbose
def expert_weights(
    transformer: MEGFMTransformer,
    X: Any,
    *,
    info: mne.Info | None = None,
    verbose: bool | str | int | None = None,
) -> dict[str, mne.Evoked]:
    """Map which regions and times the experts of a pooling serve.

    Parameters
    ----------
    transformer : MEGFMTransformer
        A fitted transformer with ``pooling="rwmoe"``.
    X : Epochs | Raw | Evoked | MEGSamples | list of these
        The recordings, in tesla. Gates are averaged over all rows, patch by patch of
        what was recorded.
    info : mne.Info | None
        The sensors to show experts on; by default those of the first recording.
    verbose : bool | str | int | None
        Verbosity, see :func:`mne.verbose`.

    Returns
    -------
    experts : dict of str to Evoked
        For each expert (``"expert00"``, ...) one map every 100 ms, with one channel for
        each place: its mean gate, relative to that over regions and times, so that 1
        is what an expert has that serves all alike. It has no unit. The comment tells
        its share of all tokens. Maps are spread to sensors by position, as those of
        :func:`attention`.

    Raises
    ------
    TypeError
        If the transformer has another pooling.

    See Also
    --------
    expert_reliability : Whether experts of other seeds serve the same regions.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import expert_weights
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=4,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> transformer = MEGFMTransformer(pooling="rwmoe", random_state=0).fit(epochs)
    >>> maps = expert_weights(transformer, epochs)
    >>> len(maps), maps["expert00"].data.shape
    (8, (64, 10))
    """
    recordings = _read_for_experts(transformer, X)
    gates = _mean_over_rows(transformer, recordings)
    config, array = transformer.config_, transformer.sensor_mapping_.array
    first = recordings[0]
    rate = config.sfreq / config.patch_length
    shown, pos = sensor_info(first.info if info is None else info, rate)
    places = unit_vectors(array.region_pos, array.origin)
    targets = unit_vectors(pos, array.origin)
    weights = spread_matrix(targets, places, np.eye(3)[None])[:, 0]
    share = gates.mean((1, 2))
    experts = {}
    for number, of_expert in enumerate(gates):
        evoked = mne.EvokedArray(
            weights @ (of_expert / max(share[number], 1e-12)),
            shown,
            comment=f"{100 * share[number]:.0f} % of tokens",
            nave=recordings.n_rows,
            verbose="error",
        )
        start = round(first.tmin + 0.5 / rate, 6) + 1e-9
        experts[f"expert{number:02d}"] = evoked.shift_time(start, relative=False)
    return experts


def expert_reliability(
    transformers: Sequence[MEGFMTransformer],
    X: Any,
    *,
    n_permutations: int = 200,
    random_state: int = 0,
) -> pd.DataFrame:
    """Say whether experts of other seeds serve the same regions and times.

    Experts have no order: those of each other transformer are assigned to those of the
    first one to one, so that correlations of their mean gates over regions and times
    are largest together [1]_. As an assignment finds some likeness in any maps, it is
    repeated with the regions of the others permuted. They are permuted before the
    random walk, which makes all maps smooth.

    Parameters
    ----------
    transformers : sequence of MEGFMTransformer
        At least two, fitted with ``pooling="rwmoe"`` and other seeds.
    X : Epochs | Raw | Evoked | MEGSamples | list of these
        The recordings, in tesla.
    n_permutations : int
        How often regions are permuted, 1 or more.
    random_state : int
        Seed of the permutations.

    Returns
    -------
    reliability : DataFrame
        A row for each expert of the first transformer: ``correlation`` with those of
        the others, on average, ``lowest`` of these, ``chance``, the 95th percentile of
        the average with permuted regions, and ``p_value``, one-sided.

    Raises
    ------
    TypeError
        If a transformer has another pooling.
    ValueError
        If there are fewer than two, they differ in the number of experts, or
        ``n_permutations`` is not a whole number from 1.

    References
    ----------
    .. [1] Kuhn (1955), "The Hungarian method for the assignment problem", Naval
       Research Logistics Quarterly 2:83-97.

    Examples
    --------
    >>> from mne_megfm import MEGFMTransformer, simulate_cohort
    >>> from mne_megfm.interpret import expert_reliability
    >>> cohort = simulate_cohort(
    ...     1,
    ...     states=("auditory",),
    ...     arrays=("opm64",),
    ...     n_epochs=4,
    ...     random_state=0,
    ...     verbose=False,
    ... )
    >>> epochs = cohort.epochs("auditory")[0]
    >>> fitted = [
    ...     MEGFMTransformer(pooling="rwmoe", random_state=seed).fit(epochs)
    ...     for seed in (0, 1)
    ... ]
    >>> expert_reliability(fitted, epochs).columns.tolist()
    ['correlation', 'lowest', 'chance', 'p_value']
    """
    if not isinstance(n_permutations, Integral) or n_permutations < 1:
        raise ValueError(
            "Expected n_permutations as a whole number from 1, got "
            f"{n_permutations!r}; 200 is usual."
        )
    preferences = [
        _mean_over_rows(t, _read_for_experts(t, X), walked=False) for t in transformers
    ]
    maps = [_walk(t, p) for t, p in zip(transformers, preferences, strict=True)]
    if len(maps) < 2 or len({m.shape for m in maps}) > 1:
        raise ValueError(
            "Expected two transformers or more with as many experts each, got "
            f"{[len(m) for m in maps]} experts; fit the same pooling with other seeds."
        )
    rng = np.random.default_rng(random_state)
    first, others = maps[0], maps[1:]
    found = np.array([_matched(first, other) for other in others])
    null = np.empty((n_permutations, len(first)))
    for number in range(n_permutations):
        order = rng.permutation(first.shape[1])
        permuted = [
            _walk(transformer, preference[:, order])
            for transformer, preference in zip(
                transformers[1:], preferences[1:], strict=True
            )
        ]
        null[number] = np.mean([_matched(first, other) for other in permuted], axis=0)
    mean = found.mean(0)
    return pd.DataFrame(
        {
            "correlation": mean,
            "lowest": found.min(0),
            "chance": np.quantile(null, 0.95, axis=0),
            "p_value": (1 + (null >= mean).sum(0)) / (1 + n_permutations),
        },
        index=pd.Index([f"expert{e:02d}" for e in range(len(first))], name="expert"),
    )


def _matched(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Correlate each map with the one that is assigned to it."""
    flat = [maps.reshape(len(maps), -1) for maps in (one, other)]
    flat = [maps - maps.mean(1, keepdims=True) for maps in flat]
    flat = [
        m / np.maximum(np.linalg.norm(m, axis=1, keepdims=True), 1e-12) for m in flat
    ]
    correlation = flat[0] @ flat[1].T
    rows, columns = linear_sum_assignment(-correlation)
    return correlation[rows, columns]


def _read_for_experts(transformer: MEGFMTransformer, X: Any) -> Recordings:
    check_is_fitted(transformer, "model_")
    if not isinstance(transformer.pooling_, RandomWalkExperts):
        raise TypeError(
            "Expected a transformer with pooling='rwmoe', got one with "
            f"{transformer.pooling_!r}; experts are those of this pooling."
        )
    return as_recordings(X, duration=transformer.duration, overlap=transformer.overlap)


def _walk(
    transformer: MEGFMTransformer, preferences: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Make gates of mean preferences; both (n_experts, n_regions, n_patches)."""
    pooling = transformer.pooling_
    given = torch.as_tensor(preferences).permute(1, 2, 0)[None]
    given = given.to(pooling.region_logits)
    recorded = torch.ones(1, given.shape[2], dtype=torch.bool, device=given.device)
    with torch.inference_mode():
        gates = pooling.average_over_walks(given, recorded)
    return gates[0].permute(2, 0, 1).double().cpu().numpy()


def _mean_over_rows(
    transformer: MEGFMTransformer, recordings: Recordings, walked: bool = True
) -> NDArray[np.float64]:
    """Average gates, or preferences before the walk, over rows.

    Returns an array of shape (n_experts, n_regions, n_patches).
    """
    pooling, device = transformer.pooling_, transformer.model_.kernel.device
    total, count = np.zeros((0, 0, 0)), np.zeros(0)
    for part in iter_row_tokens(
        recordings,
        transformer.sensor_mapping_,
        transformer.model_,
        batch_size=transformer.batch_size,
    ):
        tokens, recorded = part.tokens.to(device), part.recorded.to(device)
        with torch.inference_mode():
            gates = pooling.preferences(tokens)
            if walked:
                gates = pooling.average_over_walks(gates, recorded)
        gates = (gates * recorded[:, None, :, None]).sum(0).permute(2, 0, 1)
        gates, seen = gates.double().cpu().numpy(), part.recorded.sum(0).numpy()
        if not total.size:
            total = np.zeros((*gates.shape[:2], 0))
        more = max(0, len(seen) - len(count))
        total = np.pad(total, ((0, 0), (0, 0), (0, more)))
        count = np.pad(count, (0, more))
        total[..., : len(seen)] += gates
        count[: len(seen)] += seen
    used = count > 0
    return total[..., used] / count[used]
