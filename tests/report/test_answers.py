"""What the report says, against what was worked out in another way."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from scipy.signal import welch
from sklearn.metrics import roc_auc_score

from mne_megfm import CanonicalSensors, simulate_cohort
from mne_megfm.inputs import recording_quality
from mne_megfm.report import MEGFMReport
from mne_megfm.report._data import confound_parts, data_answer
from mne_megfm.report._groups import read_signals
from mne_megfm.report._outcome import find_outcome, outcome_answer, question_of
from mne_megfm.report._people import (
    find_similar,
    find_unusual,
    list_people,
    people_answer,
    standing_out,
)


@pytest.fixture(scope="module")
def judged(comparison):
    """Return a comparison with a model, a baseline and random weights."""
    own = {"model": "<good>", "baselines": ["poor"], "seen_before": {"name": "mine"}}
    drawn = comparison.folds[comparison.folds["pipeline"] == "poor"]
    drawn = pd.concat([drawn.assign(seed=seed) for seed in (0, 1)])
    return dataclasses.replace(
        comparison, settings=comparison.settings | own, random_weights=drawn
    )


@pytest.fixture(scope="module")
def html(judged):
    """Return a page with this comparison."""
    report = MEGFMReport()
    report.add_comparison(judged)
    return report.html


def _auc(comparison, name):
    """Work out the mean AUC of folds from the predictions."""
    part = comparison.predictions
    part = part[part["pipeline"] == name]
    return np.mean(
        [
            roc_auc_score(fold["y_true"] == "migraine", fold["score"])
            for _, fold in part.groupby(["repeat", "fold"])
        ]
    )


def test_the_number_is_that_of_scikit_learn(judged, html):
    """With its interval, beside chance, the strongest simple method and the random."""
    first = html.partition("<nav")[0]
    good, poor = _auc(judged, "<good>"), _auc(judged, "poor")
    low, high = judged.summary().loc["<good>", ["low", "high"]]
    assert (
        f"Yes, better than by chance: ROC AUC {good:.2f} (95 % interval {low:.2f} to "
        f"{high:.2f})" in first
    )
    assert f"in {100 * good:.0f} of 100 such pairs" in first
    assert "chance 0.50" in first
    assert f"strongest simple method {poor:.2f} (poor)" in first
    assert f"random weights {poor:.2f} (mean of 2 draws)" in first
    gates = judged.gates()["result"]
    said = {"passed": "shown", "not passed": "not shown"}
    assert (
        f"Better than all simple methods: {said[gates.iloc[0]]}; better than random "
        f"weights: {said[gates.iloc[1]]}." in first
    )


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("poor", None, "Not shown: ROC AUC"),
        ("<good>", None, "Yes, better than by chance: ROC AUC"),
        ("<good>", "turned", "No, worse than by chance: ROC AUC"),
    ],
)
def test_words_follow_the_interval(comparison, name, values, said):
    """Above chance, around it, and below it."""
    found = dataclasses.replace(
        comparison, settings=comparison.settings | {"model": name, "baselines": []}
    )
    if values:
        folds, predictions = found.folds.copy(), found.predictions.copy()
        of_auc = folds["metric"] == "roc_auc"
        folds.loc[of_auc, "value"] = 1.0 - folds["value"][of_auc]
        predictions["score"] = -predictions["score"]
        found = dataclasses.replace(found, folds=folds, predictions=predictions)
    found = dataclasses.replace(
        found,
        settings=found.settings | {"seen_before": {"name": "mine"}},
    )
    low, high = found.summary().loc[name, ["low", "high"]]
    expected = "Not" if low <= 0.5 <= high else "Yes" if low > 0.5 else "No,"
    assert said.startswith(expected)
    assert outcome_answer(found).short.startswith(said)


def test_questions_have_the_labels(comparison):
    """Of two classes by name; of several, and of numbers, in general."""
    assert question_of(None) == "Can patients be distinguished from controls?"
    assert question_of(comparison) == "Can migraine be distinguished from control?"
    several = dataclasses.replace(comparison, classes=["a", "b", "c"])
    assert question_of(several) == "Can the groups be distinguished?"
    numbers = dataclasses.replace(comparison, classes=None)
    assert question_of(numbers) == "Can the numbers be predicted?"


def test_strongest_is_the_best_of_the_baselines(judged):
    """By its mean; of losses, the smallest."""
    both = dataclasses.replace(
        judged, settings=judged.settings | {"baselines": ["<good>", "poor"]}
    )
    assert find_outcome(both).strongest[0] == "poor"  # the model is no baseline
    other = both.settings | {"model": None}
    found = find_outcome(dataclasses.replace(both, settings=other, reference="poor"))
    assert found.model == "poor" and found.strongest[0] == "<good>"
    losses = dataclasses.replace(both, settings=other, metrics=["brier"])
    brier = losses.folds[losses.folds["metric"] == "brier"]
    least = brier.groupby("pipeline")["value"].mean().idxmin()
    losses = dataclasses.replace(
        losses, reference=next(n for n in losses.pipelines if n != least)
    )
    assert find_outcome(losses).strongest[0] == least


# -- for whom --------------------------------------------------------------------------
def test_people_are_out_of_fold_and_wrong_ones_first(judged):
    """Probabilities are means over repeats; the order is wrong, unsure, right."""
    people = list_people(judged, "poor")
    part = judged.predictions.query("pipeline == 'poor'")
    means = part.groupby("participant")["proba"].agg(["mean", "min", "max"])
    means.index = means.index.astype(str)
    np.testing.assert_allclose(
        people[["probability", "lowest", "highest"]], means.loc[people.index]
    )
    truth = people["label"] == "migraine"
    wrong = (people["probability"] >= 0.5) != truth
    assert (people["outcome"].str.startswith("wrong") == wrong).all()
    near = (people["probability"] - 0.5).abs() < 0.1
    apart = (people["lowest"] < 0.5) & (people["highest"] >= 0.5)
    assert (people["outcome"].str.contains("unsure") == (near | apart)).all()
    rank = people["outcome"].map(
        {"wrong": 0, "wrong, unsure": 1, "unsure": 2, "right": 3}
    )
    assert rank.is_monotonic_increasing and set(rank) == {0, 1, 2, 3}
    sure = people[people["outcome"] == "right"]["probability"]
    assert (sure - 0.5).abs().is_monotonic_increasing
    answer = people_answer(people, judged.excluded, "migraine")
    assert answer.short == f"{(~wrong).sum()} of 32 people are classified correctly"
    assert "Left out: <32> (no label (n/a))." in answer.texts


def test_confusion_is_that_of_the_people(judged, html):
    """The table of decisions and that of people are of the same decisions."""
    people = list_people(judged, "<good>")
    html = html.partition("At a threshold")[2].partition("</table>")[0]
    found = [int(cell) for cell in re.findall(r"<td>(\d+)</td>", html)]
    assert "truly control</th>" in html and "truly migraine</th>" in html
    expected = pd.crosstab(people["label"], people["predicted"]).to_numpy()
    assert found == expected.ravel().tolist()


def test_several_classes_and_numbers(comparison):
    """People have a share of right predictions, or an error."""
    several = dataclasses.replace(comparison, classes=["control", "migraine", "other"])
    people = list_people(several, "poor")
    part = several.predictions.query("pipeline == 'poor'")
    right = (part["y_true"] == part["y_pred"]).groupby(part["participant"]).mean()
    right.index = right.index.astype(str)
    np.testing.assert_allclose(people["share_right"], right[people.index])
    assert people["share_right"].is_monotonic_increasing
    numbers = part.assign(y_true=40.0 + part["participant"], y_pred=lambda t: t.y_true)
    numbers.loc[numbers["participant"] == 3, "y_pred"] = 20.0
    ages = dataclasses.replace(comparison, classes=None, predictions=numbers)
    people = list_people(ages, "poor")
    assert people.index[0] == "3" and people.loc["3", "error"] == -23.0
    answer = people_answer(people, ages.excluded, None)
    assert "The largest error is 23 (3)." in answer.texts


def test_similar_people_are_the_nearest(rng):
    """By features of equal variance; what is missing is average."""
    features = pd.DataFrame(
        rng.standard_normal((12, 3)), index=[f"s{n}" for n in range(12)]
    )
    features[0] *= 1e6  # a unit says nothing
    found = find_similar(features)
    scaled = ((features - features.mean()) / features.std()).to_numpy()
    for place, name in enumerate(features.index):
        distance = np.linalg.norm(scaled - scaled[place], axis=1)
        nearest = np.argsort(distance)[1:4]
        assert found[name] == [f"s{n}" for n in nearest]
    features.iloc[0, 1] = np.nan
    assert len(find_similar(features)["s0"]) == 3
    assert find_similar(features[:1]) == {}


def test_similar_people_come_with_their_probability(judged, rng):
    """On the page of each person, as in the table of all."""
    people = list_people(judged, "<good>")
    features = pd.DataFrame(rng.standard_normal((32, 3)))
    report = MEGFMReport()
    report.add_comparison(judged)
    report.add_features(features)
    first = people.index[0]
    html = report.html.partition('<div id="person-1">')[2].partition("</details>")[0]
    features.index = features.index.astype(str)
    for name in find_similar(features)[first]:
        cell = f">{name}</a></th>"
        row = html.partition(cell)[2].partition("</tr>")[0]
        assert f">{people.loc[name, 'probability']:.2f}</td>" in row
        assert f">{people.loc[name, 'label']}</td>" in row


def test_unusual_people_are_found(rng):
    """One far away has the least typicality that there can be; few have none."""
    values = rng.standard_normal((30, 4))
    values[7] += 12.0
    found = find_unusual(pd.DataFrame(values, index=range(30)))
    assert found.idxmin() == 7 and found[7] <= 1 / 27
    assert (found.drop(7) > 1 / 27).mean() > 0.8
    assert find_unusual(pd.DataFrame(values[:7])).isna().all()


def test_what_stands_out_is_measured_in_sd_of_the_group(rng):
    """Of the others, without the person."""
    features = pd.DataFrame(rng.standard_normal((20, 3)), columns=list("abc"))
    features.index = [f"s{n}" for n in range(20)]
    features.loc["s2", "b"] = 9.0
    group = pd.Series(np.arange(20) < 12, index=features.index)
    found = standing_out(features, group, "s2")
    others = features["b"].to_numpy()[:12][np.arange(12) != 2]
    assert found.index[0] == "b"
    expected = (9.0 - others.mean()) / others.std(ddof=1)
    assert found.loc["b", "z"] == pytest.approx(expected)
    assert standing_out(features, group[:5], "s2").empty


# -- why -------------------------------------------------------------------------------
def test_signals_are_those_of_canonical_sensors():
    """Averages and spectra of each person, without the mean before the event."""
    cohort = simulate_cohort(
        2, states=("auditory", "rest"), arrays=("opm64",), n_epochs=4, random_state=2
    )
    X = [person.recordings for person in cohort]
    found = read_signals(X)
    assert set(found) == {"auditory", "rest"}
    assert not found["rest"].averages  # nothing is time-locked
    epochs = CanonicalSensors().transform_inst(X[1]["auditory"])
    average = epochs.average().apply_baseline((None, 0))
    own = found["auditory"].averages[1]
    n = len(own.times)
    np.testing.assert_allclose(own.times, average.times[:n], atol=1e-9)
    np.testing.assert_allclose(own.data, average.data[:, :n], atol=1e-17)
    freqs, power = welch(epochs.get_data()[..., :n], 250.0, nperseg=n)
    shown = found["auditory"].freqs
    assert shown[0] == 1.0 and shown[-1] == 100.0
    kept = (freqs >= 1.0) & (freqs <= 100.0)
    np.testing.assert_allclose(
        found["auditory"].spectra[1], power.mean((0, 1))[kept], rtol=1e-4
    )


# -- what is wrong with the data -------------------------------------------------------
def test_bad_recordings_are_on_the_first_screen():
    """A planted fault is named, beside confounds that distinguish the groups."""
    cohort = simulate_cohort(
        3, states=("auditory",), arrays=("opm64",), n_epochs=12, random_state=4
    )
    X = [dict(person.recordings) for person in cohort]
    epochs = X[1]["auditory"].copy()
    epochs._data[:, 5] *= 60.0
    X[1]["auditory"] = epochs
    report = MEGFMReport()
    report.add_data(X, names=["a", "b", "c"])
    first = report.html.partition("<nav")[0]
    n = (recording_quality(X)["remarks"] != "").sum()
    assert f"{n} of 3 recordings have remarks" in first
    assert f"{epochs.ch_names[5]} is " in first


def test_confounds_that_tell_the_groups_are_a_warning(comparison):
    """Those whose interval does not hold chance."""
    columns = ["confound", "kind", "metric", "value", "low", "high", "chance", "n"]
    rows = [
        ("<age>", "number", "roc_auc", 0.9, 0.7, 1.0, 0.5, 32),
        ("sex", "category", "roc_auc", 0.6, 0.4, 0.8, 0.5, 32),
        ("array", "category", "", *[np.nan] * 4, 32),
    ]
    scores = pd.DataFrame(rows, columns=columns).assign(note="")
    scores.loc[2, "note"] = "the same in all: opm"
    result = dataclasses.replace(comparison, confound_scores=scores)
    (said,) = data_answer(None, None, result).texts
    assert (
        said == "Warning: these confounds alone distinguish the groups: <age> (0.90)."
    )
    (part,) = confound_parts(result)
    assert "0.60 (0.40 to 0.80)" in part.html and "the same in all: opm" in part.html
    assert "&lt;age&gt;" in part.html
    calm = dataclasses.replace(comparison, confound_scores=scores[1:])
    (said,) = data_answer(None, None, calm).texts
    assert said == "Confounds alone (sex): none is shown to distinguish the groups."
