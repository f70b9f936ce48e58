"""Why: features, averages and spectra of groups, and what decisions go with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.signal import welch

from .. import viz
from ..evaluation import group_differences, trials_by_state
from ..inputs import as_recordings
from ..sensors import canonical_array
from ._html import table
from ._page import Answer, Part, beside, embed, folded, paragraphs

if TYPE_CHECKING:
    from ..interpret import Attribution, Importance

_SFREQ = 250.0  # of canonical trials
_MOST_FREQ = 100.0
_SHOWN = 15
_MOST_ROWS = 100


@dataclass
class StateSignals:
    """Averages and spectra of one state, by the place of the participant."""

    averages: dict[int, mne.Evoked] = field(default_factory=dict)
    spectra: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    freqs: NDArray[np.float64] | None = None


def read_signals(X: Any) -> dict[str, StateSignals]:
    """Average the recordings of each participant on the canonical array.

    Parameters
    ----------
    X : list of dict | list of Epochs
        The participants. One is in memory at a time.

    Returns
    -------
    signals : dict of str to StateSignals
        From state to the averages around events (T, without the mean before them), and
        power spectral densities (T²/Hz, means over sensors and rows, by Welch's method
        in windows of 1 s or of a row).
    """
    found: dict[str, StateSignals] = {}
    lowpass = _MOST_FREQ
    for place, person in enumerate(X):
        recordings = as_recordings([person], verbose="error")
        lowpass = min([lowpass, *(part.inst.info["lowpass"] for part in recordings)])
        (own_states,) = trials_by_state(recordings)
        for state, trials in own_states.items():
            own = found.setdefault(state, StateSignals())
            if trials.locked:
                own.averages[place] = _average(trials.data, trials.tmin)
            own.freqs, own.spectra[place] = _spectrum(trials.data, own.freqs)
    for own in found.values():
        _make_alike(own, lowpass)
    return found


def _average(data: NDArray[np.float32], tmin: float) -> mne.Evoked:
    info = canonical_array().info(_SFREQ)
    evoked = mne.EvokedArray(
        data.mean(0, dtype=float), info, tmin, nave=len(data), verbose="error"
    )
    if tmin < 0.0:
        evoked.apply_baseline((None, 0.0), verbose="error")
    return evoked


def _spectrum(
    data: NDArray[np.float32], freqs: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean spectrum over rows and sensors, at the frequencies of the first person."""
    total = 0.0
    for row in data:
        own, power = welch(
            row.astype(float), _SFREQ, nperseg=min(int(_SFREQ), row.shape[-1])
        )
        total = total + power.mean(0)
    total = total / len(data)
    if freqs is not None and len(own) != len(freqs):
        total, own = np.interp(freqs, own, total), freqs
    return own, total


def _make_alike(signals: StateSignals, lowpass: float) -> None:
    """Cut averages to the times that all have, and spectra to what filters left."""
    averages = list(signals.averages.values())
    if averages:
        start = max(one.times[0] for one in averages)
        stop = min(one.times[-1] for one in averages)
        cut = [one.copy().crop(start, stop, verbose="error") for one in averages]
        n = min(len(one.times) for one in cut)
        signals.averages = {
            place: mne.EvokedArray(
                one.data[:, :n], one.info, cut[0].times[0], nave=one.nave,
                verbose="error",
            )
            for place, one in zip(signals.averages, cut, strict=True)
        }  # fmt: skip
    kept = (signals.freqs >= 1.0) & (signals.freqs <= lowpass)
    signals.freqs = signals.freqs[kept]
    signals.spectra = {place: one[kept] for place, one in signals.spectra.items()}


def signal_parts(
    signals: Mapping[str, StateSignals], y: Sequence, positive: Any
) -> list[Part]:
    """Show averages, topographies and spectra of two groups.

    Parameters
    ----------
    signals : dict of str to StateSignals
        From `read_signals`.
    y : sequence
        The labels, by place; others than the two are not shown.
    positive : object
        The group from which the other is subtracted; None for the last, sorted.

    Returns
    -------
    parts : list of Part
        The parts; none if there are not two groups.
    """
    order = two_groups(y, positive)
    if order is None:
        return []
    drawn = []
    for state, own in signals.items():
        groups = _by_group(own.averages, y, order)
        if all(groups.values()):
            figure = viz.plot_group_averages(groups, title=state, show=False)
            tested = figure.axes[0].get_title()
            drawn.append(
                embed(
                    figure,
                    f"{state}: global field power of {order[0]} and {order[1]} over "
                    f"time ({tested}), signals of all sensors, and topographies of "
                    "both and of their difference at the peaks.",
                )
            )
    parts = []
    if drawn:
        text = paragraphs(
            "Means over people, each an average over trials on the same virtual "
            "sensors, whatever the system. Field power is the spread over sensors. "
            "People with fewer trials have more noise in it. Differences are the first "
            "group minus the second, on the scale of the groups; topographies are not "
            "tested."
        )
        parts.append(Part("Averages and topographies", text + beside(*drawn)))
    drawn = []
    for state, own in signals.items():
        groups = _by_group(own.spectra, y, order)
        if all(groups.values()):
            figure = viz.plot_group_spectra(groups, own.freqs, title=state, show=False)
            drawn.append(
                embed(
                    figure,
                    f"{state}: mean power spectra of {order[0]} and {order[1]} with "
                    "95 % intervals, "
                    f"{own.freqs[0]:.0f} to {own.freqs[-1]:.0f} Hz.",
                )
            )
    if drawn:
        text = paragraphs(
            "Means over sensors, trials or windows, and people, with 95 % intervals "
            "over people, frequency by frequency (not corrected for their number), up "
            "to the lowest lowpass filter of all recordings."
        )
        parts.append(Part("Spectra", text + beside(*drawn)))
    return parts


def two_groups(y: Sequence, positive: Any) -> list | None:
    """Name the two labels, the positive one first; None if there are not two."""
    labels = sorted({label for label in y if not pd.isna(label)}, key=str)
    if len(labels) != 2:
        return None
    return labels if positive == labels[0] else labels[::-1]


def _by_group(own: Mapping[int, Any], y: Sequence, order: Sequence) -> dict[str, list]:
    return {
        str(label): [one for place, one in own.items() if y[place] == label]
        for label in order
    }


def difference_parts(
    features: pd.DataFrame, y: pd.Series, positive: Any
) -> tuple[list[Part], pd.DataFrame | None]:
    """Show which features differ between two groups.

    Parameters
    ----------
    features : DataFrame
        One row a person.
    y : Series
        Their labels, in the same order.
    positive : object
        The group that is compared with the other; None for the last, sorted.

    Returns
    -------
    parts : list of Part
        The parts; none if there are not two groups.
    differences : DataFrame | None
        From :func:`~mne_megfm.evaluation.group_differences`.
    """
    order = two_groups(y, positive)
    if order is None or (y.value_counts() < 2).any():
        return [], None
    found = group_differences(features, y.to_numpy(object), positive=order[0])
    if not found["g"].notna().any():
        return [], None
    n = int(found["p"].notna().sum())
    sure = int((found["p_corrected"] <= 0.05).sum())
    top = found.head(_SHOWN)
    listed = ", ".join(
        f"{name} {row['g']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        for name, row in top.head(5).iterrows()
    )
    html = paragraphs(
        f"{sure} of {n} features differ between {order[0]} and {order[1]} after "
        "correction for their number (Benjamini and Hochberg, 5 % false discoveries). "
        "Hedges' g is the difference of means in standard deviations: about 0.2 is "
        "small, 0.5 medium, 0.8 large. Of many features the largest effects look "
        "larger than they are. Not adjusted for age, sex or site."
    )
    html += embed(
        viz.plot_group_differences(found, _SHOWN, show=False),
        f"Hedges' g of the {len(top)} features that differ most, with 95 % intervals. "
        f"The largest: {listed}. Filled where significant after correction.",
    )
    html += folded("As a table", table(_readable(top)))
    if len(found) > _SHOWN:
        rest = found.iloc[_SHOWN : _SHOWN + _MOST_ROWS]
        more = len(found) - _SHOWN
        title = f"{more} more features"
        if more > _MOST_ROWS:
            title = f"The next {_MOST_ROWS} of {more} more features"
        html += folded(title, table(_readable(rest)))
    return [Part("Features that differ most", html)], found


def _readable(found: pd.DataFrame) -> pd.DataFrame:
    """Give a table of differences headings that are words."""
    names = {
        name: f"{kind} of {name[len(start) :]}"
        for start, kind in (("mean_", "mean"), ("sd_", "SD"), ("n_", "people"))
        for name in found.columns
        if name.startswith(start)
    }
    names |= {
        "g": "Hedges' g",
        "low": "95 % from",
        "high": "to",
        "p_corrected": "p, corrected",
    }
    first = ["g", "low", "high", "p", "p_corrected"]
    return found[[*first, *found.columns.difference(first, sort=False)]].rename(
        columns=names
    )


def why_answer(differences: pd.DataFrame | None, order: Sequence | None) -> Answer:
    """Say on the first screen which features differ."""
    question = "Why?"
    if differences is None:
        short = "Not asked: no features of two groups were added (add_features)."
        return Answer("why", question, short)
    n = int(differences["p"].notna().sum())
    sure = differences[differences["p_corrected"] <= 0.05]
    top = differences.iloc[0]
    found = (
        f"The largest effect: {differences.index[0]}, Hedges' g {top['g']:.2f} "
        f"(95 % interval {top['low']:.2f} to {top['high']:.2f}; above 0: higher in "
        f"{order[0]}), p = {top['p_corrected']:.2g} corrected."
    )
    short = f"{len(sure)} of {n} features differ between the groups"
    texts = [found]
    if not len(sure):
        texts.append("None is shown to differ after correction for their number.")
    texts.append("A difference is no cause: see the confounds.")
    return Answer("why", question, short, texts)


def map_parts(features: ArrayLike, by: Mapping[str, Any]) -> list[Part]:
    """Show people by their features, coloured by what may matter."""
    html = paragraphs(
        "The two leading principal axes of the features, found without labels. A map "
        "that separates arrays rather than groups warns of features that say where a "
        "person was recorded."
    )
    drawn = []
    for name, labels in by.items():
        labels = np.asarray(labels)
        figure = viz.plot_embedding(features, {name: labels}, show=False)
        kinds = ", ".join(str(kind) for kind in pd.unique(labels))
        drawn.append(
            embed(
                figure,
                f"Map of {len(labels)} people by the two leading principal axes of "
                f"their features, coloured by {name}: {kinds}.",
            )
        )
    return [Part("Map of people", html + beside(*drawn))]


def explanation_parts(
    attributions: Mapping[str, Attribution], importance: Importance | None
) -> list[Part]:
    """Show what decisions go with, and which states matter, beside chance."""
    said = paragraphs(
        "Of held-out decisions, and done again with permuted labels. What is within "
        "chance is grey."
    )
    parts = []
    if importance is not None:
        html = said + paragraphs(
            importance.in_words(),
            "How much each group of features adds to the score on held-out people: "
            "mean and standard deviation over folds, and the band of chance over all "
            "groups.",
        )
        html += embed(
            viz.plot_importance(importance, show=False),
            f"Importance of {', '.join(map(str, importance.summary.index))}, beside "
            f"the band of chance. {importance.in_words()}",
        )
        parts.append(Part("Which states matter", html + table(importance.summary)))
    for name, found in attributions.items():
        html = said + paragraphs(found.in_words())
        html += embed(viz.plot_attribution(found, show=False), found.in_words())
        parts.append(Part(name, html))
    return parts
