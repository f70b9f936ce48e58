"""For whom: each person out of fold, who is like them, and what they lack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from markupsafe import Markup
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .. import viz
from ..estimators.novelty import Novelty
from ._html import table
from ._page import Answer, Part, embed, folded, listed, paragraphs

if TYPE_CHECKING:
    from ..evaluation import Comparison

#: Nearer to the threshold than this, a person is unsure.
NEAR = 0.1
_N_SIMILAR = 3
_N_STANDING_OUT = 5
#: Fewer people say nothing about who is unusual, or about the spread of a group.
_FEWEST = 8
_MOST_LISTED = 12


def list_people(
    result: Comparison, pipeline: str, threshold: float = 0.5
) -> pd.DataFrame:
    """Put the out-of-fold predictions of each person together.

    Parameters
    ----------
    result : Comparison
        The comparison.
    pipeline : str
        Whose predictions.
    threshold : float
        Where the decision changes, of two classes.

    Returns
    -------
    people : DataFrame
        One row a person, by name, wrong and unsure ones first: ``label``,
        ``predicted``, ``n`` (predictions, one a repeat), and ``outcome``. Of two
        classes also ``probability`` of the positive one (the mean over repeats; where
        there are no probabilities, the share of repeats that predict it), with
        ``lowest`` and ``highest`` if there are several. Of more classes
        ``share_right``; of numbers ``lowest``, ``highest`` and ``error``.
    """
    part = result.predictions
    part = part[part["pipeline"] == pipeline].copy()
    part["participant"] = part["participant"].astype(str)
    grouped = part.groupby("participant", sort=False)
    people = pd.DataFrame({"label": grouped["y_true"].first(), "n": grouped.size()})
    if result.classes is None:
        people = _of_numbers(people, grouped)
    elif result.positive is None:
        right = part["y_true"] == part["y_pred"]
        people["predicted"] = grouped["y_pred"].agg(lambda y: y.mode().iloc[0])
        people["share_right"] = right.groupby(part["participant"], sort=False).mean()
        people["outcome"] = np.where(
            people["predicted"] == people["label"], "right", "wrong"
        )
        unsure = (people["share_right"] > 0) & (people["share_right"] < 1)
        people["outcome"] += np.where(unsure, ", unsure", "")
        people = people.sort_values("share_right", kind="stable")
    else:
        people = _of_two(people, part, result, threshold)
    return people.rename_axis("participant")


def _of_numbers(people: pd.DataFrame, grouped: object) -> pd.DataFrame:
    predicted = grouped["y_pred"]
    people["predicted"] = predicted.mean()
    people["lowest"], people["highest"] = predicted.min(), predicted.max()
    people["error"] = people["predicted"] - people["label"]
    order = np.argsort(-people["error"].abs().to_numpy(), kind="stable")
    return people.iloc[order].assign(outcome="")


def _of_two(
    people: pd.DataFrame, part: pd.DataFrame, result: Comparison, threshold: float
) -> pd.DataFrame:
    named = part["y_pred"] == result.positive
    known = "proba" in part and part["proba"].notna().all()
    values = part["proba"] if known else named.astype(float)
    by = values.groupby(part["participant"], sort=False)
    people["probability"] = by.mean()
    if known and people["n"].max() > 1:
        people["lowest"], people["highest"] = by.min(), by.max()
    side = people["probability"] >= threshold
    other = result.classes[0]
    people["predicted"] = np.where(side, result.positive, other)
    wrong = side != (people["label"] == result.positive)
    if known:
        low, high = by.min(), by.max()
        disagree = (low < threshold) & (high >= threshold)
        unsure = disagree | ((people["probability"] - threshold).abs() < NEAR)
    else:
        unsure = people["probability"].between(0, 1, inclusive="neither")
    people["outcome"] = np.select(
        [wrong & ~unsure, wrong, unsure], ["wrong", "wrong, unsure", "unsure"], "right"
    )
    rank = people["outcome"].map(
        {"wrong": 0, "wrong, unsure": 1, "unsure": 2, "right": 3}
    )
    apart = (people["probability"] - threshold).abs()
    apart = apart.mask(rank == 0, -apart)  # of the wrong ones the surest first
    return people.iloc[np.lexsort([apart, rank])]


def find_similar(features: pd.DataFrame) -> dict[str, list[str]]:
    """Find for each person the nearest others by scaled features.

    Parameters
    ----------
    features : DataFrame
        One row a person, by name.

    Returns
    -------
    similar : dict of str to list of str
        From each name to up to three, the nearest first.
    """
    n = min(_N_SIMILAR, len(features) - 1)
    if n < 1:
        return {}
    values = make_pipeline(SimpleImputer(), StandardScaler()).fit_transform(features)
    places = (
        NearestNeighbors(n_neighbors=n).fit(values).kneighbors()[1]
    )  # but themselves
    names = features.index.to_numpy()
    return {name: list(names[row]) for name, row in zip(names, places, strict=True)}


def find_unusual(features: pd.DataFrame) -> pd.Series:
    """Say how usual the features of each person are, among the others.

    Parameters
    ----------
    features : DataFrame
        One row a person, by name.

    Returns
    -------
    typicality : Series
        The share of other people who are as unlike the rest, as
        `~mne_megfm.MEGFMClassifier` has it for new ones; NaN of fewer than eight.
    """
    out = pd.Series(np.nan, index=features.index, name="typicality")
    if len(features) < _FEWEST:
        return out
    values = features.to_numpy(float)
    folds = KFold(min(10, len(values)), shuffle=True, random_state=0)
    for train, test in folds.split(values):
        novelty = Novelty().fit([values[train]], np.arange(len(train)))
        out.iloc[test] = novelty.score([values[test]])
    return out


def standing_out(
    features: pd.DataFrame, reference: pd.Series, name: str
) -> pd.DataFrame:
    """Find the features by which a person differs most from a reference group.

    Parameters
    ----------
    features : DataFrame
        One row a person, by name.
    reference : Series of bool
        Who is in the group, by name; the person is left out of it.
    name : str
        The person.

    Returns
    -------
    table : DataFrame
        One row a feature: ``value``, ``mean`` and ``sd`` of the group, and ``z``.
        Empty if there are fewer than eight in the group.
    """
    group = features[reference.reindex(features.index, fill_value=False)]
    group = group.drop(index=name, errors="ignore")
    if len(group) < _FEWEST:
        return pd.DataFrame(columns=["value", "mean", "sd", "z"])
    found = pd.DataFrame(
        {"value": features.loc[name], "mean": group.mean(), "sd": group.std()}
    )
    found = found[found["sd"] > 1e-9 * found["mean"].abs()]
    found["z"] = (found["value"] - found["mean"]) / found["sd"]
    order = np.argsort(-found["z"].abs().to_numpy(), kind="stable")
    return found.iloc[order[:_N_STANDING_OUT]].rename_axis("feature")


def people_answer(
    people: pd.DataFrame | None, excluded: pd.DataFrame, positive: object
) -> Answer:
    """Say on the first screen how many are on the wrong side."""
    question = "For whom?"
    if people is None:
        return Answer("people", question, "Not asked: no person was classified.")
    n = len(people)
    if "error" in people:
        worst = people["error"].abs()
        text = f"Predicted with a median error of {worst.median():.3g} in {n} people"
        most = f"The largest error is {worst.iloc[0]:.3g} ({people.index[0]})."
        return Answer("people", question, text, [most, *_left_out(excluded)])
    wrong = people["outcome"].str.startswith("wrong")
    unsure = people["outcome"].str.contains("unsure")
    texts = []
    if wrong.any():
        texts.append(f"Wrong: {listed(people.index[wrong])}.")
    if (unsure & ~wrong).any():
        texts.append(f"Right, but unsure: {listed(people.index[unsure & ~wrong])}.")
    texts += _left_out(excluded)
    if positive is not None:
        by = (~wrong).groupby(people["label"]).agg(["sum", "size"])
        shares = ", ".join(f"{k} of {m} {label}" for label, (k, m) in by.iterrows())
        texts.insert(0, f"Right: {shares}.")
    short = f"{(~wrong).sum()} of {n} people are classified correctly"
    return Answer("people", question, short, texts)


def _left_out(excluded: pd.DataFrame) -> list[str]:
    if not len(excluded):
        return []
    found = excluded[excluded["kind"] == "participant"]
    found = found.rename(columns={"name": "name_"})
    if not len(found):
        return []
    who = [f"{row.name_} ({row.reason})" for row in found.itertuples()]
    return [f"Left out: {listed(who)}."]


def people_parts(
    people: pd.DataFrame,
    *,
    positive: object,
    pipeline: str,
    threshold: float,
    recorded: pd.DataFrame,
    remarks: Mapping[str, str],
    features: pd.DataFrame | None,
    other: object,
) -> list[Part]:
    """Write the table of people, and what is known of each.

    Parameters
    ----------
    people : DataFrame
        From `list_people`.
    positive, other : object
        The two classes; None where there are not two.
    pipeline : str
        Whose predictions.
    threshold : float
        Where the decision changes.
    recorded : DataFrame
        What was recorded, one row a person; empty if that is not known.
    remarks : dict of str to str
        Remarks on the quality of recordings.
    features : DataFrame | None
        Features by name, for similar people.

    Returns
    -------
    parts : list of Part
        The parts of the section.
    """
    known = None if features is None else find_unusual(features)
    similar = {} if features is None else find_similar(features)
    ids = {name: f"person-{number}" for number, name in enumerate(people.index, 1)}
    shown = _overview(people, ids, positive, recorded, known)
    urgent = people["outcome"].ne("right").to_numpy()
    n_open = (
        len(people) if len(people) <= _MOST_LISTED else max(int(urgent.sum()), _FEWEST)
    )
    if "error" in people and len(people) > _MOST_LISTED:
        n_open = _MOST_LISTED
    html = paragraphs(*_how_to_read(people, positive, pipeline, threshold, known))
    if "probability" in people:
        figure = viz.plot_people(people, threshold, positive=str(positive), show=False)
        counts = people.groupby("label")["probability"].median()
        medians = ", ".join(f"{label} {value:.2f}" for label, value in counts.items())
        html += embed(
            figure,
            f"Dots, one a person: probability of {positive} out of fold, a row a "
            f"group, with the threshold {threshold:g}. Medians: {medians}. The same "
            "numbers are in the table of people.",
        )
    html += table(shown.iloc[:n_open], digits=2)
    if n_open < len(people):
        rest = len(people) - n_open
        html += folded(f"{rest} more people", table(shown.iloc[n_open:], digits=2))
    reference = None if other is None else people["label"] == other
    pages = [
        _page_of(
            name, row, ids, people, similar, recorded, remarks, features, reference,
            known, other,
        )
        for name, row in people.iterrows()
    ]  # fmt: skip
    html += Markup("<h3>One by one</h3>") + Markup("").join(pages[:n_open])
    if n_open < len(people):
        html += folded(
            f"{len(people) - n_open} more people", Markup("").join(pages[n_open:])
        )
    return [Part("People, wrong and unsure first", html)]


def _how_to_read(
    people: pd.DataFrame,
    positive: object,
    pipeline: str,
    threshold: float,
    known: pd.Series | None,
) -> list[str]:
    """Say where the columns come from."""
    texts = [
        f"Predictions of {pipeline} for people who were not among those that it was "
        "trained on. Choose a name for all that is known of a person."
    ]
    if "probability" in people:
        texts[0] += (
            f" Above {threshold:g} a person is classified as {positive}. Unsure: less "
            f"than {NEAR:g} from there, or on different sides in different repeats."
        )
    if people["n"].max() > 1:
        texts.append(
            "From lowest to highest is the range over repeats of the cross-validation, "
            "each with other people in training. It shows how much the prediction "
            "depends on them, and is no confidence interval."
        )
    if known is not None and known.notna().any():
        texts.append(
            "Typicality is the share of other people whose features are as unlike "
            "those of the rest. A person with a small one (0.05 or less) is unlike "
            "those that the model was trained on; see the quality of the recording."
        )
    return texts


def _overview(
    people: pd.DataFrame,
    ids: Mapping[str, str],
    positive: object,
    recorded: pd.DataFrame,
    known: pd.Series | None,
) -> pd.DataFrame:
    """Make the table that is shown, with a link to each person."""
    out = pd.DataFrame(index=people.index)
    out.index = pd.Index(
        [Markup('<a href="#{}">{}</a>').format(ids[n], n) for n in people.index],
        name="person",
        dtype=object,
    )
    out["label"] = people["label"].astype(object).to_numpy()
    if "error" not in people:
        cells = [_coloured(outcome) for outcome in people["outcome"]]
        # as objects, or pandas makes plain text of them
        out["outcome"] = pd.Series(cells, out.index, dtype=object)
    if "probability" in people:
        out[f"probability of {positive}"] = people["probability"].to_numpy()
    else:
        out["predicted"] = people["predicted"].to_numpy()
    for column in ("share_right", "lowest", "highest", "error"):
        if column in people:
            out[column.replace("_", " ")] = people[column].to_numpy()
    if known is not None and known.notna().any():
        out["typicality"] = known.reindex(people.index).to_numpy()
    if len(recorded):
        there = recorded.reindex(people.index)
        out["missing states"] = there["missing states"].to_numpy()
        out["bad channels"] = there["bad channels"].to_numpy()
    return out


def _coloured(outcome: str) -> Markup:
    kind = "wrong" if outcome.startswith("wrong") else outcome
    return Markup('<span class="{}">{}</span>').format(kind, outcome)


def _page_of(
    name: str,
    row: pd.Series,
    ids: Mapping[str, str],
    people: pd.DataFrame,
    similar: Mapping[str, list[str]],
    recorded: pd.DataFrame,
    remarks: Mapping[str, str],
    features: pd.DataFrame | None,
    reference: pd.Series | None,
    known: pd.Series | None,
    other: object,
) -> Markup:
    """Write what is known of one person."""
    facts = [f"Label: {row['label']}. Classified as: {row['predicted']}"]
    if "error" in people:
        facts = [f"Value: {row['label']:.3g}. Predicted: {row['predicted']:.3g}"]
    if "probability" in people:
        facts[0] += f", probability {row['probability']:.2f}"
    if "lowest" in people:
        facts[0] += f" ({row['lowest']:.2f} to {row['highest']:.2f})"
    facts[0] += f", in {row['n']:.0f} " + (
        "prediction out of fold." if row["n"] == 1 else "predictions out of fold."
    )
    if known is not None and pd.notna(known.get(name)):
        unusual = " This person is unlike the others." if known[name] <= 0.05 else ""
        facts.append(f"Typicality of the features: {known[name]:.2f}.{unusual}")
    if name in recorded.index:
        own = recorded.loc[name]
        counts = own["rows"]
        lacks = own["missing states"]
        facts.append(
            f"Recorded on {own['array']}: {own['minutes']:.1f} minutes; rows: {counts}."
            + (f" Missing: {lacks}." if lacks != "–" else "")
            + f" Bad channels: {own['bad channels']}."
        )
    if remarks.get(name):
        facts.append(f"Quality: {remarks[name]}")
    html = paragraphs(*facts)
    near = similar.get(name, [])
    if near:
        html += table(
            _of_similar(near, ids, people),
            digits=2,
            caption="Most similar people, by the model's features",
        )
    if features is not None and reference is not None and name in features.index:
        found = standing_out(features, reference, name)
        found = found.rename(
            columns={"mean": f"mean of {other}", "sd": f"SD of {other}"}
        )
        if len(found):
            caption = (
                f"Features that differ most from those of {other}, in their standard "
                "deviations (z)"
            )
            html += table(found, caption=caption)
    summary = Markup("{} ({}, {})").format(
        name, row["label"], _coloured(row["outcome"] or f"{row['predicted']:.3g}")
    )
    # within what is folded, or a browser does not unfold it on the way to it
    return Markup(
        '<details class="person"><summary>{}</summary><div id="{}">{}</div></details>'
    ).format(summary, ids[name], html)


def _of_similar(
    near: list[str], ids: Mapping[str, str], people: pd.DataFrame
) -> pd.DataFrame:
    rows = []
    for one in near:
        if one in people.index:
            link = Markup('<a href="#{}">{}</a>').format(ids[one], one)
            row = people.loc[one]
            value = row["predicted"]
            if "probability" in people:
                value = f"{row['probability']:.2f}"
            rows.append((link, row["label"], value, _coloured(row["outcome"])))
        else:  # without a label, for instance
            rows.append((one, None, None, None))
    value = "probability" if "probability" in people else "predicted"
    columns = ["person", "label", value, "outcome"]
    return pd.DataFrame(rows, columns=columns, dtype=object).set_index("person")
