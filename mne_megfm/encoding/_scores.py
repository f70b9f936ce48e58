"""Correlation of predictions with recordings, and how high it can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import KFold

from ._recordings import Person

# below it, a ceiling is too uncertain to divide by
_LEAST_CEILING = 0.1


def noise_ceiling(repeats: NDArray) -> NDArray[np.float64]:
    """Estimate how well a perfect model correlates with the mean over repeats.

    Parameters
    ----------
    repeats : array of shape (n_repeats, n_times, n_series)
        Recordings of the same stimulus; NaN where there is none.

    Returns
    -------
    ceiling : array of shape (n_series,)
        Root of the reliability of the mean: from the mean correlation of pairs of
        repeats by the formula of Spearman and Brown. NaN with one repeat, 0 where
        repeats do not correlate.

    References
    ----------
    .. [1] Hsu et al. (2004), "Quantifying variability in neural responses and its
       application for the validation of model predictions", Network 15:91-109.

    Examples
    --------
    >>> import numpy as np
    >>> from mne_megfm.encoding import noise_ceiling
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.standard_normal((1000, 1))
    >>> repeats = signal + rng.standard_normal((4, 1000, 1))  # reliability 0.8
    >>> noise_ceiling(repeats).round(1)
    array([0.9])
    """
    repeats = np.asarray(repeats, dtype=np.float64)
    n_repeats = len(repeats)
    if n_repeats < 2:
        return np.full(repeats.shape[2], np.nan)
    pairs = [
        correlation(repeats[i], repeats[j])
        for i in range(n_repeats)
        for j in range(i + 1, n_repeats)
    ]
    r = np.clip(np.nanmean(pairs, axis=0), 0.0, 1.0)
    return np.sqrt(n_repeats * r / (1 + (n_repeats - 1) * r))


def correlation(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Correlate columns over samples where both are known; 0 where one is constant."""
    known = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    if known.sum() < 3:
        return np.full(a.shape[1], np.nan)
    a, b = (x[known] - x[known].mean(axis=0) for x in (a, b))
    norm = np.sqrt(np.sum(a**2, axis=0) * np.sum(b**2, axis=0))
    return np.sum(a * b, axis=0) / np.maximum(norm, np.finfo(float).tiny)


def correlation_table(
    people: Sequence[Person],
    predict: Callable[[Person, str, str], NDArray],
) -> pd.DataFrame:
    """Compare predictions with recordings, per person and sensor or source.

    Parameters
    ----------
    people : sequence of Person
        The recordings.
    predict : callable
        From person, modality and story to a prediction of the shape of the data.

    Returns
    -------
    table : DataFrame
        Columns ``participant``, ``modality``, ``name`` (of the sensor, or the number of
        the source), ``correlation``, ``ceiling``, ``normalized`` (NaN without
        repeats, and where the ceiling is below 0.1). Stories follow one another,
        each centred.
    """
    rows = []
    for person in people:
        for modality, runs in (("meg", person.meg), ("fmri", person.fmri)):
            if not runs:
                continue
            given, said, ceilings, weights = [], [], [], []
            for story, run in runs.items():
                predicted = predict(person, modality, story)
                good = run.good if modality == "meg" else np.ones(len(run.data), bool)
                given.append(run.data[good] - run.data[good].mean(axis=0))
                said.append(predicted[good] - predicted[good].mean(axis=0))
                ceilings.append(noise_ceiling(run.repeats))
                weights.append(good.sum())
            r = correlation(np.vstack(given), np.vstack(said))
            ceiling = np.average(ceilings, axis=0, weights=weights)
            with np.errstate(invalid="ignore", divide="ignore"):
                normalized = np.where(ceiling >= _LEAST_CEILING, r / ceiling, np.nan)
            names = person.ch_names if modality == "meg" else map(str, range(len(r)))
            rows.append(
                pd.DataFrame(
                    {
                        "participant": person.name,
                        "modality": modality,
                        "name": list(names),
                        "correlation": r,
                        "ceiling": ceiling,
                        "normalized": normalized,
                    }
                )
            )
    return pd.concat(rows, ignore_index=True)


def cross_validate_stories(
    encoder: Any,
    stimulus: Mapping[str, NDArray],
    recordings: Mapping[str, Mapping[str, Any]],
    cv: int | Any = None,
) -> pd.DataFrame:
    """Score an encoder on stories that it was not fitted to.

    Parameters
    ----------
    encoder : LatentSourceEncoder
        Cloned and fitted in each fold.
    stimulus : dict of array
        Features by story.
    recordings : dict of dict
        As for ``LatentSourceEncoder.fit``.
    cv : int | cross-validation splitter | None
        How many folds, or what splits the list of stories. None leaves each story out
        once, but makes five folds at most.

    Returns
    -------
    table : DataFrame
        Tables of ``encoder.evaluate`` of all folds, with a column ``fold``.

    Raises
    ------
    ValueError
        If there are fewer than two stories.

    Examples
    --------
    >>> from mne_megfm.encoding import cross_validate_stories
    >>> cross_validate_stories(encoder, stimulus, recordings)  # doctest: +SKIP
    """
    stories = list(stimulus)
    if len(stories) < 2:
        raise ValueError(
            f"Expected at least two stories to leave some out, got {len(stories)}; cut "
            "the recording into parts that follow pauses."
        )
    if cv is None:
        cv = min(5, len(stories))
    splitter = KFold(cv) if isinstance(cv, int) else cv
    tables = []
    for fold, (train, test) in enumerate(splitter.split(stories)):
        parts = []
        for chosen in (train, test):
            names = {stories[i] for i in chosen}
            parts.append(
                (
                    {s: x for s, x in stimulus.items() if s in names},
                    select_stories(recordings, names),
                )
            )
        fitted = clone(encoder).fit(*parts[0])
        tables.append(fitted.evaluate(*parts[1]).assign(fold=fold))
    return pd.concat(tables, ignore_index=True)


def select_stories(
    recordings: Mapping[str, Mapping[str, Any]], stories: set[str] | Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Keep the recordings of some stories.

    Parameters
    ----------
    recordings : dict of dict
        As for ``LatentSourceEncoder.fit``.
    stories : set of str | sequence of str
        Which to keep.

    Returns
    -------
    selected : dict of dict
        The same without the others, and without people who then have nothing.

    Examples
    --------
    >>> from mne_megfm.encoding import select_stories
    >>> select_stories({"P1": {"fmri": {"a": 1, "b": 2}, "tr": 2.0}}, ["b"])
    {'P1': {'fmri': {'b': 2}, 'tr': 2.0}}
    """
    out = {}
    for name, given in recordings.items():
        kept = dict(given)
        for modality in ("meg", "fmri"):
            runs = given.get(modality)
            if runs is None:
                continue
            kept[modality] = {s: r for s, r in runs.items() if s in stories}
            if not kept[modality]:
                del kept[modality]
        if "meg" in kept or "fmri" in kept:
            out[name] = kept
    return out
