"""Decisions at thresholds: counts, operating points and net benefit.

All are of probabilities of people whom a model had not seen, a person counted once.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ._intervals import inflation_of, participant_interval

_WHO = ["participant", "y_true"]


def person_probabilities(predictions: pd.DataFrame, name: str) -> pd.DataFrame:
    """Average the probabilities of each person over repeats and sessions.

    Parameters
    ----------
    predictions : DataFrame
        A row a repeat and test participant, of one pipeline.
    name : str
        The pipeline, for the message.

    Returns
    -------
    people : DataFrame
        Columns ``participant``, ``y_true`` and ``proba``, a row a person (one for each
        label, of people who have several).

    Raises
    ------
    ValueError
        If there are no probabilities of two classes.
    """
    if "proba" not in predictions or predictions["proba"].isna().any():
        raise ValueError(
            f"Expected a pipeline that gives probabilities of two classes, got {name}, "
            "which gives none; end it with a classifier that has predict_proba, such "
            "as LogisticHead."
        )
    return predictions.groupby(_WHO, as_index=False, sort=False)["proba"].mean()


def check_share(value: float, what: str) -> float:
    """Check that a number is between 0 and 1."""
    if not isinstance(value, Real) or not 0.0 < value < 1.0:
        raise ValueError(
            f"Expected {what} between 0 and 1, got {value!r}; give a share, such as "
            "0.8."
        )
    return float(value)


def confusion_table(
    people: pd.DataFrame, classes: Sequence, threshold: float
) -> pd.DataFrame:
    """Count people by their class and by what is said of them."""
    threshold = check_share(threshold, "threshold")
    said = np.where(people["proba"] >= threshold, classes[1], classes[0])
    table = pd.crosstab(people["y_true"], said)
    table = table.reindex(index=classes, columns=classes, fill_value=0)
    return table.rename_axis(index="true", columns="predicted")


def highest_threshold(
    proba: NDArray[np.floating], positive: NDArray[np.bool_], sensitivity: float
) -> float:
    """Find the highest threshold at which so many of the positive are found.

    Parameters
    ----------
    proba : ndarray, shape (n,)
        Probabilities of the positive class.
    positive : ndarray of bool, shape (n,)
        Who is of it.
    sensitivity : float
        The share of them that is to be at or above the threshold, or more.

    Returns
    -------
    threshold : float
        One of the probabilities.
    """
    own = np.sort(proba[positive])[::-1]
    # 0.8 * 5 is a little more than 4 in floating point
    n_needed = int(np.ceil(sensitivity * len(own) - 1e-9))
    return float(own[max(n_needed, 1) - 1])


def operating_table(
    folds: pd.DataFrame,
    predictions: pd.DataFrame,
    classes: NDArray,
    sensitivity: float | Sequence[float],
    prevalence: float | None,
) -> pd.DataFrame:
    """Give what thresholds of some sensitivities lead to, as `Comparison` says."""
    wanted = np.atleast_1d(sensitivity).tolist()
    wanted = [check_share(value, "sensitivity") for value in wanted]
    truth = predictions["y_true"] == classes[1]
    if prevalence is None:
        people = predictions[_WHO].drop_duplicates()
        prevalence = float((people["y_true"] == classes[1]).mean())
    prevalence = check_share(prevalence, "prevalence")
    inflation = inflation_of(folds, predictions)
    rows = {}
    for value in wanted:
        threshold = _thresholds_of_others(predictions, truth.to_numpy(), value)
        decided = predictions.assign(threshold=threshold)
        decided = decided[decided["threshold"].notna()]
        if not len(decided):
            raise ValueError(
                "Expected two folds or more in a repeat, each with participants of the "
                "positive class outside of it, got none; a threshold is chosen on "
                "other folds than the one that it is used on."
            )
        said = decided["proba"] >= decided["threshold"]
        decided["y_pred"] = np.where(said, classes[1], classes[0])
        row = {
            "threshold": decided["threshold"].mean(),
            "threshold_sd": decided.groupby(["repeat", "fold"])["threshold"]
            .first()
            .std(),
        }
        for name, label in zip(
            ("sensitivity", "specificity"), classes[::-1], strict=True
        ):
            own = decided[decided["y_true"] == label]
            share = float((own["y_pred"] == label).mean()) if len(own) else np.nan
            low, high = np.nan, np.nan
            if len(own):
                low, high = participant_interval(
                    name, share, decided, classes, inflation
                )
            row |= {name: share, f"{name}_low": low, f"{name}_high": high}
        for end in ("", "_low", "_high"):
            row[f"ppv{end}"], row[f"npv{end}"] = predictive_values(
                row[f"sensitivity{end}"], row[f"specificity{end}"], prevalence
            )
        rows[value] = row | {"prevalence": prevalence}
    return pd.DataFrame(rows).T.rename_axis("target_sensitivity")


def _thresholds_of_others(
    predictions: pd.DataFrame, truth: NDArray[np.bool_], sensitivity: float
) -> NDArray[np.float64]:
    """Choose a threshold for each fold on the other folds of its repeat."""
    threshold = np.full(len(predictions), np.nan)
    proba = predictions["proba"].to_numpy()
    repeat, fold = (predictions[name].to_numpy() for name in ("repeat", "fold"))
    names = predictions["participant"].to_numpy()
    for key in dict.fromkeys(zip(repeat.tolist(), fold.tolist(), strict=True)):
        own = (repeat == key[0]) & (fold == key[1])
        # random splits may test a person in several folds
        others = (repeat == key[0]) & ~own & ~np.isin(names, names[own])
        if (others & truth).any():
            threshold[own] = highest_threshold(
                proba[others], truth[others], sensitivity
            )
    return threshold


def predictive_values(
    sensitivity: float, specificity: float, prevalence: float
) -> tuple[float, float]:
    """Give positive and negative predictive value by Bayes' theorem."""
    found = sensitivity * prevalence
    alarms = (1.0 - specificity) * (1.0 - prevalence)
    missed = (1.0 - sensitivity) * prevalence
    cleared = specificity * (1.0 - prevalence)
    ppv = found / (found + alarms) if found + alarms > 0.0 else np.nan
    npv = cleared / (cleared + missed) if cleared + missed > 0.0 else np.nan
    return ppv, npv


def net_benefit_table(
    people: pd.DataFrame, positive: object, thresholds: Sequence[float] | None
) -> pd.DataFrame:
    """Give the net benefit of the model, of treating all and of treating none."""
    if thresholds is None:
        thresholds = np.arange(1, 100) / 100.0
    thresholds = np.array([check_share(t, "thresholds") for t in thresholds])
    truth = (people["y_true"] == positive).to_numpy()
    said = people["proba"].to_numpy() >= thresholds[:, None]
    odds = thresholds / (1.0 - thresholds)
    right = np.mean(said & truth, axis=1)
    wrong = np.mean(said & ~truth, axis=1)
    return pd.DataFrame(
        {
            "model": right - odds * wrong,
            "all": truth.mean() - odds * (1.0 - truth.mean()),
            "none": 0.0,
        },
        pd.Index(thresholds, name="threshold"),
    )
