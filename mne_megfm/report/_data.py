"""What is wrong with the data: quality of recordings, exclusions, confounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..inputs import Recordings, as_recordings, describe_array
from ._html import long_table, table
from ._page import Answer, Part, folded, listed, paragraphs

if TYPE_CHECKING:
    from ..evaluation import Comparison


def describe_data(
    X: Any, y: Any = None, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Tell what was recorded of each participant.

    Parameters
    ----------
    X : list of dict | list of Epochs | Epochs | Raw
        The participants, or one recording.
    y : array-like, shape (n_participants,) | None
        Their labels.
    names : list of str | None
        Their names; None for their places in `X`, from 0 on, as `compare` has them.

    Returns
    -------
    table : DataFrame
        One row a participant: ``label`` where given, ``array``, ``bad channels`` (the
        most in a recording), ``minutes`` of rows, and the number of rows (epochs, or
        windows of 1 s) of each state.

    Raises
    ------
    ValueError
        If lengths differ.
    """
    recordings = as_recordings(X, verbose="error")
    n = recordings.n_elements
    for what, values in (("y", y), ("names", names)):
        if values is not None and len(values) != n:
            raise ValueError(
                f"Expected {what} with one value a participant ({n}), got "
                f"{len(values)}; give one for each, in the order of X."
            )
    index = pd.Index(name_all(names, n), dtype=object)
    table = pd.DataFrame(index=index.rename("participant"))
    if y is not None:
        table["label"] = named_labels(y)
    table["array"] = _arrays(recordings)
    table["bad channels"] = _n_bads(recordings)
    seconds = np.zeros(n)
    for recording in recordings:
        length = recording.n_samples / recording.sfreq
        np.add.at(seconds, recordings.elements[recording.index], length)
    table["minutes"] = seconds / 60.0
    counts = pd.crosstab(recordings.elements, recordings.states)
    counts = counts.reindex(range(n), fill_value=0)
    return pd.concat([table, counts.set_index(table.index)], axis=1)


def name_all(names: Sequence | None, n: int) -> list[str]:
    """Write names as texts; without any, places from 0 on, as `compare` has them."""
    return [str(name) for name in (range(n) if names is None else names)]


def named_labels(y: Any) -> list[str]:
    """Write labels as texts; a missing one is ``n/a``, as in BIDS."""
    return ["n/a" if pd.isna(label) else str(label) for label in y]


def states_of(table: pd.DataFrame) -> pd.Index:
    """Name the states that a table of participants has columns of."""
    return table.columns[table.columns.get_loc("minutes") + 1 :]


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Count participants by label and array, with what they have of each state."""
    by = [name for name in ("label", "array") if name in table]
    states = states_of(table)
    groups = table.groupby(by, sort=True)
    out = groups.size().rename("participants").to_frame()
    out["bad channels, median"] = groups["bad channels"].median()
    for state in states:
        out[f"{state}: participants"] = groups[state].agg(lambda n: int((n > 0).sum()))
        out[f"{state}: rows, median"] = groups[state].agg(_median_of_present)
    return out.reset_index()


def _median_of_present(counts: pd.Series) -> float:
    present = counts[counts > 0]
    return float(present.median()) if len(present) else 0.0


def _arrays(recordings: Recordings) -> list[str]:
    """Name the array of each participant by its coils, which channel types do not."""
    found: list[dict] = [{} for _ in range(recordings.n_elements)]
    for recording in recordings:
        if len(recording.index):
            element = recordings.elements[recording.index[0]]
            found[element][describe_array(recording.inst.info)] = None
    return ["; ".join(systems) for systems in found]


def _n_bads(recordings: Recordings) -> NDArray[np.int_]:
    """Count the bad MEG channels of each participant, in the recording with most."""
    counts = np.zeros(recordings.n_elements, int)
    for recording in recordings:
        info = recording.inst.info
        meg = mne.pick_types(info, meg=True, ref_meg=False, exclude=())
        n_bads = len(set(info["bads"]) & {info["ch_names"][pick] for pick in meg})
        np.maximum.at(counts, recordings.elements[recording.index], n_bads)
    return counts


def recorded_by_person(described: pd.DataFrame) -> pd.DataFrame:
    """Say what was recorded of each person, for their pages.

    Parameters
    ----------
    described : DataFrame
        From `describe_data`.

    Returns
    -------
    recorded : DataFrame
        One row a person: ``array``, ``minutes``, ``bad channels``, ``rows`` (of each
        state, in words) and ``missing states``.
    """
    states = states_of(described)
    out = described[["array", "minutes", "bad channels"]].copy()
    out.index = out.index.astype(str)
    counts = described[states].to_numpy()
    out["rows"] = [
        ", ".join(f"{n} {state}" for n, state in zip(row, states, strict=True) if n)
        for row in counts
    ]
    out["missing states"] = [", ".join(states[row == 0]) or "–" for row in counts]
    return out


#: Columns of the table of quality that are shown, with their headings.
_QUALITY = {
    "participant": "person",
    "state": "state",
    "remarks": "remarks",
    "duration": "duration (s)",
    "n_trials": "trials",
    "n_dropped": "dropped",
    "n_bad": "marked bad",
    "n_flat": "flat",
    "n_noisy": "noisy",
    "n_weak": "weak",
    "n_intermittent": "at times",
    "strongest_ratio": "strongest / median",
    "head_position": "head position",
    "line_noise_50": "50 Hz (dB)",
    "line_noise_60": "60 Hz (dB)",
    "saturated": "saturated (s)",
    "artefacts": "artefacts (%)",
    "sfreq": "rate (Hz)",
    "highpass": "from (Hz)",
    "lowpass": "to (Hz)",
    "maxwell": "Maxwell",
    "n_projectors_active": "projectors",
    "array": "array",
}


def data_parts(described: pd.DataFrame, quality: pd.DataFrame) -> list[Part]:
    """Show what was recorded, and how good it is.

    Parameters
    ----------
    described : DataFrame
        From `describe_data`.
    quality : DataFrame
        From :func:`~mne_megfm.inputs.recording_quality`.

    Returns
    -------
    parts : list of Part
        The parts of the section.
    """
    shown = _shown_quality(quality)
    noted = shown[quality["remarks"].ne("").to_numpy()]
    html = paragraphs(
        f"{len(noted)} of {len(shown)} recordings have remarks. Nothing was changed or "
        "left out for them; look at the signals, and see whether these people are "
        "among those that are classified wrongly."
    )
    if len(noted):
        html += long_table(noted.set_index("person")[["state", "remarks"]])
    texts = [
        "Channels are counted: flat, noisy (more than 5 times as strong as their "
        "neighbours) and weak ones in at least half of the rows, and those that are so "
        "at times. Strongest / median: the strongest channel to the "
        "median of its kind. Mains: power to that of frequencies beside it. Rows are "
        "epochs, or windows of 1 s. Artefacts: rows far above the usual.",
    ]
    whole = paragraphs(*texts) + table(shown.set_index("person"), digits=1)
    html += folded(f"All {len(shown)} recordings", whole)
    count = paragraphs(
        f"{len(described)} people, {described['minutes'].sum():.1f} minutes; medians "
        "are over people who have the state."
    )
    count += table(summarise(described), digits=1)
    count += folded("By person", long_table(described, digits=1))
    return [Part("Quality of recordings", html), Part("What was recorded", count)]


def _shown_quality(quality: pd.DataFrame) -> pd.DataFrame:
    """Choose and name the columns that are shown; leave out what is nowhere known."""
    found = quality[list(_QUALITY)].copy()
    found["artefacts"] = 100.0 * found["artefacts"]
    for name in ("head_position", "maxwell"):
        found[name] = np.where(found[name], "yes", "no")
    for name in ("n_trials", "n_dropped"):
        found[name] = found[name].astype(float)
    return found.dropna(axis=1, how="all").rename(columns=_QUALITY)


def remarks_by_person(quality: pd.DataFrame) -> dict[str, str]:
    """Put the remarks on all recordings of a person together."""
    noted = quality[quality["remarks"] != ""]
    return {
        str(name): "; ".join(f"{r.state}: {r.remarks}" for r in part.itertuples())
        for name, part in noted.groupby("participant", sort=False)
    }


def exclusion_parts(excluded: pd.DataFrame) -> list[Part]:
    """List who was left out of a comparison."""
    if not len(excluded):
        text = paragraphs("Nothing was left out of the comparison.")
        return [Part("Exclusions", text)]
    text = paragraphs("Left out of the comparison, with reasons.")
    return [Part("Exclusions", text + long_table(excluded.set_index("name")))]


def confound_parts(result: Comparison) -> list[Part]:
    """Show how each known confound differs, and distinguishes the groups alone."""
    scores, groups = result.confound_scores, result.confound_groups
    if not len(scores):
        return []
    removed = result.settings.get("residualised")
    html = paragraphs(
        "What else differs between the groups may be what the model has learnt. Each "
        "of these alone, over the same folds: a value far from chance is a warning.",
        f"Features of all pipelines are without what is linear in {listed(removed)}. "
        "This is so in the comparison alone: differences between groups, and which "
        "states matter, are of features as they are."
        if removed
        else "Nothing was removed from features for them (confounds of compare).",
    )
    shown = pd.DataFrame(
        {
            "alone": [
                f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})"
                if pd.notna(row.value)
                else None
                for row in scores.itertuples()
            ],
            "chance": scores["chance"].to_numpy(),
            "people": scores["n"].to_numpy(),
            "note": [note or None for note in scores["note"]],
        },
        index=pd.Index(scores["confound"], name="confound"),
    )
    metric = [name for name in scores["metric"] if name]
    if metric:
        label = {"roc_auc": "ROC AUC", "pearson_r": "Pearson's r"}
        name = label.get(metric[0], metric[0])
        shown = shown.rename(columns={"alone": f"alone, {name} (95 % interval)"})
    html += table(shown, digits=2)
    if len(groups):
        by_group = long_table(groups.set_index("confound"), digits=2)
        html += folded("By group", by_group)
    return [Part("Confounds", html)]


def _telling(result: Comparison) -> list[str]:
    """Say in a sentence which confounds alone distinguish the groups."""
    scores = result.confound_scores
    known = scores.dropna(subset=["value", "low"]) if len(scores) else scores
    if not len(known):
        return []
    far = known[(known["low"] > known["chance"]) | (known["high"] < known["chance"])]
    if not len(far):
        names = listed(known["confound"])
        return [f"Confounds alone ({names}): none is shown to distinguish the groups."]
    said = ", ".join(f"{r.confound} ({r.value:.2f})" for r in far.itertuples())
    return [f"Warning: these confounds alone distinguish the groups: {said}."]


def revealed_parts(result: Comparison) -> list[Part]:
    """Show what features reveal besides the labels."""
    if not result._has_confounds():
        return []
    values, notes = _revealed(result)
    html = paragraphs(
        "Features that reveal the array or the site can pass for features of a "
        "disorder, where groups were recorded on different ones. Of array and site: "
        "balanced accuracy with 95 % intervals, by the same classifiers, "
        "cross-validated over participants; near chance is good. Of person: share of "
        "participants who are found again in the other half of their recordings; high "
        "is good, as features then belong to people."
    )
    html += table(values) + paragraphs(*notes)
    return [Part("What else can be read from the features", html)]


def _revealed(result: Comparison) -> tuple[pd.DataFrame, list[str]]:
    """Give what features reveal besides the labels, a column a target, and notes."""
    columns, notes = {}, []
    for target, rows in result.confounds.groupby("target", sort=False):
        for note, alike in rows.groupby("note", sort=False):
            untested = alike["value"].isna().all() and alike["pipeline"].any()
            whose = f" by {', '.join(alike['pipeline'])}" if untested else ""
            notes.append(f"{target.capitalize()}{whose}: {note}.")
        known = rows[rows["value"].notna()].set_index("pipeline")
        if not len(known):
            continue
        columns[target] = {"chance": f"{known['chance'].iloc[0]:.2f}"} | {
            name: f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
            for name, row in known.iterrows()
        }
    found = pd.DataFrame(columns)
    order = ["chance", *(name for name in result.pipelines if name in found.index)]
    return found.loc[order].rename_axis("features of"), notes


def data_answer(
    described: pd.DataFrame | None,
    quality: pd.DataFrame | None,
    result: Comparison | None,
) -> Answer:
    """Say on the first screen what is wrong with the data."""
    question = "What is wrong with the data?"
    if described is None:
        short = "Not asked: no recordings were added (add_data)."
        told = [] if result is None else _telling(result)
        return Answer("data", question, short, told)
    noted = quality[quality["remarks"] != ""]
    short = f"{len(noted)} of {len(quality)} recordings have remarks"
    texts = []
    if len(noted):
        first = noted.iloc[0]
        more = f" And {len(noted) - 1} more." if len(noted) > 1 else ""
        said = f"{first['participant']}, {first['state']}: {first['remarks']}.{more}"
        texts.append(said)
    lacking = described.index[(described[states_of(described)] == 0).any(axis=1)]
    if len(lacking):
        texts.append(f"Without a state that others have: {listed(lacking)}.")
    settings = quality[["sfreq", "highpass", "lowpass"]].drop_duplicates()
    if len(settings) > 1:
        texts.append("Sampling rates or filters differ between recordings.")
    arrays = described["array"].nunique()
    if arrays > 1:
        texts.append(f"Recorded on {arrays} MEG arrays.")
    if result is not None:
        texts += _telling(result)
    return Answer("data", question, short, texts)
