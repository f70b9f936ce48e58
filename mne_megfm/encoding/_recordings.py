"""Stimulus and recordings as users give them, checked once and made ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mne
import numpy as np
from mne.utils import warn
from numpy.typing import NDArray

from ._hemodynamics import is_image, sample_image, scan_samples
from ._source_space import SourceSpace

# what a participant may have
_KEYS = ("meg", "forward", "noise_cov", "fmri", "tr", "fmri_start")
# scans may go on for so long after the stimulus, in s
_AFTER = 20.0
# unit of sources inside: 1 nAm
NANO = 1e-9


@dataclass
class MegRun:
    """MEG of one story, the mean over repeats.

    Attributes
    ----------
    data : array of shape (n_times, n_channels)
        In units of the sensors, centred.
    good : array of bool, shape (n_times,)
        Samples that are recorded and not annotated as bad.
    counts : array of shape (n_times,)
        How many repeats each sample is the mean of; 0 where it is bad.
    repeats : array of shape (n_repeats, n_times, n_channels)
        Single repeats; NaN where bad.
    """

    data: NDArray[np.float64]
    good: NDArray[np.bool_]
    counts: NDArray[np.float64]
    repeats: NDArray[np.float64]


@dataclass
class FmriRun:
    """fMRI of one story, the mean over repeats.

    Attributes
    ----------
    data : array of shape (n_scans, n_sources)
        Without a linear trend.
    at : array of int, shape (n_scans,)
        Samples of the stimulus at which the scans were taken.
    repeats : array of shape (n_repeats, n_scans, n_sources)
        Single repeats.
    """

    data: NDArray[np.float64]
    at: NDArray[np.int_]
    repeats: NDArray[np.float64]


@dataclass
class Person:
    """What one participant has.

    Attributes
    ----------
    name : str
        Who it is.
    space : SourceSpace | None
        Their source space; None without a forward solution.
    ch_names : list of str
        MEG channels.
    gain : array of shape (n_channels, n_sources * n_orientations)
        Lead field in units of the sensors for 1 nAm.
    whitener : array of shape (n_components, n_channels)
        From sensors to whitened components.
    meg, fmri : dict
        Runs by story.
    tr : float
        Time between scans in s.
    laplacian_src : list
        The source space itself.
    """

    name: str
    space: SourceSpace | None = None
    ch_names: list[str] = field(default_factory=list)
    gain: NDArray[np.float64] | None = None
    whitener: NDArray[np.float64] | None = None
    meg: dict[str, MegRun] = field(default_factory=dict)
    fmri: dict[str, FmriRun] = field(default_factory=dict)
    tr: float = 0.0
    fmri_start: float = 0.0
    src: Any = None

    @property
    def whitened_gain(self) -> NDArray[np.float64]:
        """Whitener times lead field."""
        return self.whitener @ self.gain


def without_ends(
    people: Sequence[Person], stimulus: Mapping[str, NDArray], share: float
) -> list[Person]:
    """Leave the ends of stories out.

    Parameters
    ----------
    people : sequence of Person
        Their recordings.
    stimulus : dict of array
        Features by story.
    share : float
        Which part of each story is left out.

    Returns
    -------
    people : list of Person
        Copies; arrays are shared where they are the same.
    """
    out = []
    for person in people:
        meg, fmri = {}, {}
        for story, run in person.meg.items():
            last = int(len(stimulus[story]) * (1 - share))
            good = run.good.copy()
            good[last:] = False
            if not good.any():
                continue
            # repeats are for noise ceilings alone, and are large
            data = run.data - run.data[good].mean(axis=0)
            meg[story] = MegRun(data, good, run.counts * good, run.repeats)
        for story, run in person.fmri.items():
            inside = run.at < int(len(stimulus[story]) * (1 - share))
            repeats = run.repeats[:, inside]
            fmri[story] = FmriRun(run.data[inside], run.at[inside], repeats)
        out.append(replace(person, meg=meg, fmri=fmri))
    return out


# -- stimulus --------------------------------------------------------------------------
def check_stimulus(
    stimulus: Any, n_features: int | None = None
) -> dict[str, NDArray[np.float64]]:
    """Check features of stories.

    Parameters
    ----------
    stimulus : dict of array | array
        Features by story, shape (n_times, n_features). One array is ``'story'``.
    n_features : int | None
        How many there have to be.

    Returns
    -------
    stimulus : dict of array
        The same.

    Raises
    ------
    ValueError
        If shapes do not fit or values are not finite.
    """
    if not isinstance(stimulus, Mapping):
        stimulus = {"story": stimulus}
    if not stimulus:
        raise ValueError("Expected features of at least one story, got none.")
    out = {}
    for story, features in stimulus.items():
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or not features.size:
            raise ValueError(
                f"Expected features of {story!r} of shape (n_times, n_features), got "
                f"{features.shape}; a single feature is a column."
            )
        if not np.isfinite(features).all():
            raise ValueError(
                f"Expected finite features of {story!r}, got NaN or infinity in "
                f"{np.sum(~np.isfinite(features).all(axis=1))} samples; set what is "
                "missing to 0."
            )
        n_features = features.shape[1] if n_features is None else n_features
        if features.shape[1] != n_features:
            raise ValueError(
                f"Expected {n_features} features in {story!r}, got "
                f"{features.shape[1]}; give the same columns for all stories."
            )
        out[story] = features
    return out


# -- people ----------------------------------------------------------------------------
def prepare_people(
    recordings: Any,
    stimulus: Mapping[str, NDArray],
    sfreq: float,
    orientation: str,
    space: SourceSpace | None = None,
) -> list[Person]:
    """Check recordings of all people, and make them ready.

    Parameters
    ----------
    recordings : dict of dict
        For each person some of ``'meg'``, ``'forward'``, ``'noise_cov'``, ``'fmri'``,
        ``'tr'``, ``'fmri_start'``.
    stimulus : dict of array
        Features by story.
    sfreq : float
        Their rate in Hz.
    orientation : str
        ``'fixed'`` or ``'free'``.
    space : SourceSpace | None
        The source space that they have to have.

    Returns
    -------
    people : list of Person
        One for each.

    Raises
    ------
    ValueError
        If something does not fit; see the messages.
    """
    if not isinstance(recordings, Mapping) or not recordings:
        raise ValueError(
            "Expected recordings as a dict of the name of each person to a dict with "
            f"some of {', '.join(_KEYS)}, got {type(recordings).__name__}"
            f"{'' if recordings else ' without entries'}."
        )
    if set(recordings) & set(_KEYS):
        raise ValueError(
            "Expected recordings by the name of each person, got those of one person; "
            "give {'P1': {'meg': ..., ...}}."
        )
    people, src = [], None
    for name, given in recordings.items():
        _check_keys(name, given)
        person = Person(str(name))
        if given.get("forward") is not None:
            person.space = SourceSpace.of(given["forward"])
            if space is None:
                space = person.space
            space.check_same(person.space, person.name)
            person.src = src = given["forward"]["src"]
        people.append(person)
    if space is None:
        space = _regions(recordings)
        for person in people:
            person.space = space
    for person, given in zip(people, recordings.values(), strict=True):
        if given.get("meg") is not None:
            _prepare_meg(person, given, stimulus, sfreq, orientation)
        if given.get("fmri") is not None:
            person.src = person.src or src
            _prepare_fmri(person, given, stimulus, sfreq, space.n_sources)
    return people


def _regions(recordings: Mapping[str, Mapping[str, Any]]) -> SourceSpace:
    """Take the columns of fMRI as regions, where no person has a forward solution."""
    for name, given in recordings.items():
        runs = given["fmri"]
        runs = list(runs.values()) if isinstance(runs, Mapping) else [runs]
        first = runs[0] if runs else None
        if isinstance(first, list | tuple) and len(first):
            first = first[0]
        if first is None or is_image(first) or np.ndim(first) != 2:
            raise ValueError(
                f"Expected a forward solution of somebody, or fMRI of {name!r} as "
                "arrays (n_scans, n_regions), got neither; sample images at regions, "
                "as nilearn's NiftiLabelsMasker does."
            )
        return SourceSpace.of_regions(np.shape(first)[1])
    raise AssertionError("recordings are not empty")


def _check_keys(name: Any, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise ValueError(
            f"Expected a dict for {name!r}, got {type(given).__name__}; give "
            "{'meg': ..., 'forward': ..., 'noise_cov': ...} or {'fmri': ..., 'tr': "
            "..., 'forward': ...}."
        )
    if unknown := sorted(set(given) - set(_KEYS)):
        raise ValueError(
            f"Expected {', '.join(_KEYS)} for {name!r}, got {', '.join(unknown)}."
        )
    if not given.get("meg") and given.get("fmri") is None:
        raise ValueError(
            f"Expected MEG or fMRI of {name!r}, got neither; leave this person out."
        )
    needs = ("forward", "noise_cov") if given.get("meg") else ()
    needs += ("tr",) if given.get("fmri") is not None else ()
    for key in needs:
        if given.get(key) is None:
            raise ValueError(
                f"Expected {key!r} of {name!r}, who has "
                f"{'fMRI' if key == 'tr' else 'MEG'}, got none."
            )


def _by_story(runs: Any, stimulus: Mapping, name: str, what: str) -> dict[str, list]:
    """Make a list of repeats for each story."""
    if not isinstance(runs, Mapping):
        if len(stimulus) != 1:
            raise ValueError(
                f"Expected {what} of {name!r} by story ({', '.join(stimulus)}), got "
                f"{type(runs).__name__}."
            )
        runs = dict.fromkeys(stimulus, runs)
    if unknown := [s for s in runs if s not in stimulus]:
        raise ValueError(
            f"Expected {what} of {name!r} for stories with a stimulus "
            f"({', '.join(map(str, stimulus))}), got {', '.join(map(str, unknown))}."
        )
    out = {}
    for story, repeats in runs.items():
        repeats = repeats if isinstance(repeats, list | tuple) else [repeats]
        if len(repeats):
            out[story] = list(repeats)
    if not out:
        raise ValueError(f"Expected {what} of {name!r} for some story, got none.")
    return out


# -- MEG -------------------------------------------------------------------------------
def oriented_gain(
    forward: mne.Forward, orientation: str, name: str
) -> tuple[mne.Forward, NDArray[np.float64]]:
    """Orient a forward solution as the model has its sources.

    Parameters
    ----------
    forward : mne.Forward
        As it was computed.
    orientation : str
        ``'fixed'``: along the normals of the cortex; ``'free'``: along x, y and z of
        the head.
    name : str
        Whose it is, for messages.

    Returns
    -------
    forward : mne.Forward
        The oriented solution.
    gain : array of shape (n_channels, n_sources * n_orientations)
        Its lead field, SI units.
    """
    if orientation == "fixed" and any(s["type"] != "surf" for s in forward["src"]):
        raise ValueError(
            f"Expected a surface source space of {name!r} for orientation='fixed', got "
            "a volume, which has no normals; give orientation='free'."
        )
    is_free = forward["source_ori"] == mne.io.constants.FIFF.FIFFV_MNE_FREE_ORI
    if orientation == "free":
        if not is_free:
            raise ValueError(
                f"Expected a free forward solution of {name!r} for "
                "orientation='free', got a fixed one; give it as "
                "mne.make_forward_solution computes it."
            )
        forward = mne.convert_forward_solution(
            forward, surf_ori=False, force_fixed=False, verbose="error"
        )
    elif is_free:
        forward = mne.convert_forward_solution(
            forward, surf_ori=True, force_fixed=True, verbose="error"
        )
    gain = np.array(forward["sol"]["data"], dtype=np.float64)
    if not np.isfinite(gain).all():
        raise ValueError(
            f"Expected a finite forward solution of {name!r}, got NaN or infinity; "
            "leave sources out that are outside the brain (mindist)."
        )
    return forward, gain


def _prepare_meg(
    person: Person,
    given: Mapping[str, Any],
    stimulus: Mapping[str, NDArray],
    sfreq: float,
    orientation: str,
) -> None:
    runs = _by_story(given["meg"], stimulus, person.name, "MEG")
    forward, gain = oriented_gain(given["forward"], orientation, person.name)
    everything = [raw for repeats in runs.values() for raw in repeats]
    for raw in everything:
        if not isinstance(raw, mne.io.BaseRaw | mne.BaseEpochs):
            raise ValueError(
                f"Expected MEG of {person.name!r} as Raw or Epochs, got "
                f"{type(raw).__name__}."
            )
        if abs(raw.info["sfreq"] - sfreq) > 1e-6 * sfreq:
            raise ValueError(
                f"Expected MEG of {person.name!r} at the rate of the stimulus "
                f"({sfreq:g} Hz), got {raw.info['sfreq']:g} Hz; use "
                f"resample({sfreq:g}), or give sfreq="
                f"{raw.info['sfreq']:g} with features at this rate."
            )
    names = _channels(person.name, everything, forward, given["noise_cov"])
    rows = [forward["sol"]["row_names"].index(n) for n in names]
    person.ch_names, person.gain = names, NANO * gain[rows]
    person.whitener = _whitener(everything[0], names, given["noise_cov"], person.name)
    for story, repeats in runs.items():
        person.meg[story] = _meg_run(
            repeats, names, len(stimulus[story]), story, person.name, sfreq
        )


def _channels(
    name: str, raws: Sequence[Any], forward: mne.Forward, cov: mne.Covariance
) -> list[str]:
    """Find the MEG channels that all runs have and that are good in all."""
    per_run = []
    for raw in raws:
        picks = mne.pick_types(raw.info, meg=True, ref_meg=False, exclude=[])
        per_run.append([raw.ch_names[p] for p in picks])
    bads = {b for raw in raws for b in raw.info["bads"]}
    bads |= set(cov["bads"]) | set(forward["info"]["bads"])
    for names in per_run[1:]:
        if set(names) - bads != set(per_run[0]) - bads:
            raise ValueError(
                f"Expected the same MEG channels in all runs of {name!r}, got others: "
                f"{_some(set(names) ^ set(per_run[0]))}; mark missing ones as bad in "
                "all runs, or interpolate them."
            )
    names = [n for n in per_run[0] if n not in bads]
    for what, known in (
        ("forward solution", forward["sol"]["row_names"]),
        ("noise covariance", cov.ch_names),
    ):
        missing = [n for n in names if n not in set(known)]
        if missing:
            raise ValueError(
                f"Expected the {what} of {name!r} with all good MEG channels of the "
                f"recording, got none of {_some(missing)}; compute it from this "
                "recording's info, or mark these channels as bad."
            )
    if not names:
        raise ValueError(f"Expected good MEG channels of {name!r}, got none.")
    return names


def _some(names: Any) -> str:
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" * (len(names) > 4))


def _whitener(
    raw: Any, names: list[str], cov: mne.Covariance, name: str
) -> NDArray[np.float64]:
    """Compute the whitener of what the covariance has, whatever its rank."""
    info = mne.pick_info(raw.info, mne.pick_channels(raw.ch_names, names, ordered=True))
    cov = mne.pick_channels_cov(cov, names, ordered=True)
    if not np.isfinite(cov.data).all():
        raise ValueError(
            f"Expected a finite noise covariance of {name!r}, got NaN or infinity."
        )
    whitener, _, rank = mne.cov.compute_whitener(
        cov, info, rank=None, pca=True, return_rank=True, verbose="error"
    )
    if rank < 2:
        raise ValueError(
            f"Expected a noise covariance of {name!r} of rank 2 or more, got {rank}; "
            "estimate it from more data."
        )
    if rank < len(names) / 4:
        warn(
            f"The noise covariance of {name} has rank {rank} for {len(names)} channels;"
            " the rest of the recording is not used. Estimate it from more data, or "
            "with method='shrunk'."
        )
    return whitener


def _meg_run(
    repeats: list, names: list[str], n_times: int, story: str, name: str, sfreq: float
) -> MegRun:
    data: list[tuple[NDArray, NDArray]] = []
    for raw in repeats:
        picked = raw.get_data(picks=names, verbose="error")
        if isinstance(raw, mne.BaseEpochs):
            usable = np.ones(picked.shape[2], bool)
            data.extend((epoch.T, usable) for epoch in picked)
            continue
        _, times = raw.get_data(
            picks=names[:1],
            reject_by_annotation="omit",
            return_times=True,
            verbose="error",
        )
        usable = np.zeros(picked.shape[1], bool)
        usable[raw.time_as_index(times, use_rounding=True)] = True
        data.append((picked.T, usable))
    rows = []
    for one, usable in data:
        if not usable.any():
            raise ValueError(
                f"Expected good data of {name!r} in {story!r}, got annotations that "
                "mark all as bad; leave the run out."
            )
        if not np.isfinite(one[usable]).all():
            raise ValueError(
                f"Expected finite MEG of {name!r} in {story!r}, got NaN or infinity; "
                "annotate these times as BAD, or mark the channels as bad."
            )
        if len(one) > n_times + 1:
            raise ValueError(
                f"Expected a stimulus of {story!r} as long as the MEG of {name!r} "
                f"({len(one) / sfreq:.2f} s), got {n_times / sfreq:.2f} s; crop the "
                "recording to the story, or give its features to the end."
            )
        row = np.full((n_times, len(names)), np.nan)
        length = min(len(one), n_times)
        row[:length] = np.where(usable[:length, None], one[:length], np.nan)
        rows.append(row - np.nanmean(row, axis=0))
    stack = np.array(rows)
    known = np.isfinite(stack[:, :, 0])
    counts = known.sum(axis=0).astype(float)
    good = counts > 0
    if len(stack) == 1 and good.all():
        # centred, and not to be held twice
        return MegRun(stack[0], good, counts, stack)
    mean = np.where(np.isnan(stack), 0.0, stack).sum(axis=0)
    mean /= np.maximum(counts, 1)[:, None]
    mean[good] -= mean[good].mean(axis=0)
    return MegRun(mean, good, counts, stack)


# -- fMRI ------------------------------------------------------------------------------
def _prepare_fmri(
    person: Person,
    given: Mapping[str, Any],
    stimulus: Mapping[str, NDArray],
    sfreq: float,
    n_sources: int,
) -> None:
    name = person.name
    person.tr = tr = float(given["tr"])
    person.fmri_start = start = float(given.get("fmri_start") or 0.0)
    if not (np.isfinite(tr) and 0.1 <= tr <= 20.0):
        raise ValueError(
            f"Expected tr of {name!r} in seconds, from 0.1 to 20, got {given['tr']!r}; "
            "divide milliseconds by 1000."
        )
    if not np.isfinite(start) or start < 0:
        raise ValueError(
            f"Expected fmri_start of {name!r} as 0 s or more after the stimulus "
            f"starts, got {start}; leave scans out that are before it."
        )
    for story, repeats in _by_story(given["fmri"], stimulus, name, "fMRI").items():
        rows = []
        for scans in repeats:
            if is_image(scans):
                scans = sample_image(scans, _in_mri(person, given), tr, name)
            scans = np.asarray(scans, dtype=np.float64)
            _check_scans(scans, stimulus[story], sfreq, n_sources, person, story)
            rows.append(_detrend(scans))
        if len({len(r) for r in rows}) > 1:
            raise ValueError(
                f"Expected as many scans in each repeat of {story!r} of {name!r}, got "
                f"{', '.join(str(len(r)) for r in rows)}; cut them to the shortest."
            )
        stack = np.array(rows)
        at = scan_samples(stack.shape[1], tr, start, sfreq)
        person.fmri[story] = FmriRun(stack.mean(axis=0), at, stack)


def _in_mri(person: Person, given: Mapping[str, Any]) -> Any:
    """Give the source space in MRI coordinates, where images are."""
    forward = given.get("forward")
    if forward is None:
        raise ValueError(
            f"Expected a forward solution of {person.name!r} with images of fMRI, got "
            "none; it has the positions of sources in MRI coordinates."
        )
    trans = forward["mri_head_t"]
    src = forward["src"].copy()
    for s in src:
        mne.transform_surface_to(s, "mri", trans, copy=False)
    return src


def _check_scans(
    scans: NDArray,
    features: NDArray,
    sfreq: float,
    n_sources: int,
    person: Person,
    story: str,
) -> None:
    name, tr = person.name, person.tr
    if scans.ndim != 2 or scans.shape[1] != n_sources:
        raise ValueError(
            f"Expected fMRI of {name!r} in {story!r} of shape (n_scans, {n_sources}), "
            f"a column for each source or region, got {scans.shape}."
        )
    if not np.isfinite(scans).all():
        raise ValueError(
            f"Expected finite fMRI of {name!r} in {story!r}, got NaN or infinity; set "
            "sources without data to 0 in all scans."
        )
    last = person.fmri_start + tr * (len(scans) - 1)
    duration = len(features) / sfreq
    if last > duration + _AFTER or last < duration / 2:
        raise ValueError(
            f"Expected scans of {name!r} within the stimulus of {story!r} "
            f"({duration:.1f} s) and over half of it, got {len(scans)} with a TR of "
            f"{tr:g} s from {person.fmri_start:g} s to {last:.1f} s; check tr and "
            "fmri_start, or cut one of the two."
        )
    if len(scans) < 5:
        raise ValueError(
            f"Expected at least 5 scans of {name!r} in {story!r}, got {len(scans)}."
        )


def _detrend(scans: NDArray) -> NDArray[np.float64]:
    time = np.linspace(-1.0, 1.0, len(scans))
    design = np.c_[np.ones(len(scans)), time]
    return scans - design @ np.linalg.lstsq(design, scans, rcond=None)[0]


def keep_modalities(recordings: Any, modalities: tuple[str, ...]) -> Any:
    """Leave out recordings that are not asked for, and people who have no others.

    Parameters
    ----------
    recordings : dict of dict
        As users give them; what is no dict stays as it is, to be checked.
    modalities : tuple of str
        What is asked for.

    Returns
    -------
    recordings : dict of dict
        The rest.
    """
    if not isinstance(recordings, Mapping) or set(modalities) >= {"meg", "fmri"}:
        return recordings
    out = {}
    for name, given in recordings.items():
        if not isinstance(given, Mapping):
            return recordings
        (other,) = {"meg", "fmri"} - set(modalities)
        has = given.get(modalities[0]) is not None
        if has or given.get(other) is None:
            out[name] = {k: v for k, v in given.items() if k != other}
    return out
