"""The four gates, against numbers worked out by hand and data of known truth."""

import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold

from mne_megfm.evaluation._verdicts import (
    Design,
    no_overlap,
    permuted_labels,
    random_weights,
    strongest_baseline,
)

ENOUGH = Design(ratio=0.25, n_repeats=1, few=False)
FEW = ENOUGH._replace(few=True)
RIDGE = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3)


def t_interval(values, ratio, level):
    """The corrected resampled t, written out for one repeat."""
    n = len(values)
    error = np.sqrt((1 / n + ratio) * values.var(ddof=1))
    half = stats.t.ppf(0.5 + level / 2, n - 1) * error
    return values.mean() - half, values.mean() + half


# -- the strongest baseline ------------------------------------------------------------
def test_all_baselines_must_be_beaten(rng):
    """The lower end is the least of all, also of one that is not the strongest."""
    steady = 0.20 + 0.01 * rng.standard_normal(10)
    wild = 0.40 + 0.6 * rng.standard_normal(10)
    gate = strongest_baseline({"steady": steady, "wild": wild}, ENOUGH)
    assert wild.mean() > steady.mean()  # so that steady is the strongest
    assert "compared with steady, the strongest of 2" in gate.reason
    assert_allclose(gate.gain, steady.mean())
    assert_allclose(gate.low, t_interval(wild, 0.25, 0.95)[0])
    highs = [t_interval(values, 0.25, 0.975)[1] for values in (steady, wild)]
    assert_allclose(gate.high, min(highs))
    assert gate.low < 0 and gate.result == "not passed"
    assert strongest_baseline({"steady": steady}, ENOUGH).result == "passed"


def test_few_participants_are_too_few_to_tell(rng):
    gain = 0.1 + 0.2 * rng.standard_normal(10)
    assert strongest_baseline({"a": gain}, FEW).reason.endswith(
        "too few participants to tell"
    )
    assert strongest_baseline({"a": gain}, ENOUGH).reason.endswith("may be none")
    clear = 0.3 + 0.01 * rng.standard_normal(10)
    gate = strongest_baseline({"a": clear}, FEW)
    assert gate.result == "passed" and "too few to tell by how much" in gate.reason
    worse = strongest_baseline({"a": -clear}, FEW)
    assert worse.result == "not passed" and "too few" not in worse.reason
    assert worse.reason.startswith(f"{-clear.mean():+.3f} compared with a")


def test_nothing_passes_that_was_not_computed(rng):
    """No baseline, one draw, few permutations, folds that do not differ."""
    gain = 0.3 + 0.01 * rng.standard_normal(10)
    assert strongest_baseline({}, ENOUGH).result == "not tested"
    assert random_weights(np.empty((0, 10)), ENOUGH).result == "not tested"
    one = random_weights(gain[None], ENOUGH)
    assert one.result == "not tested" and "two draws" in one.reason
    row = pd.Series(
        {"mean": 1.0, "low": 0.9, "high": 1.0, "permuted": 0.5, "p_permuted": 0.09}
    )
    few = permuted_labels(row, "roc_auc", 0.5, 10, False)
    assert few.result == "not tested" and "n_permutations=19" in few.reason
    # a gain without any spread has no interval, and so passes nothing
    same = strongest_baseline({"a": np.full(10, 0.3), "b": gain}, ENOUGH)
    assert same.result == "not passed" and "no interval" in same.reason
    assert strongest_baseline({"a": np.full(10, np.nan)}, ENOUGH).result != "passed"


# -- random weights --------------------------------------------------------------------
def test_draws_of_weights_widen_the_interval(rng):
    """Both variances add up, with Satterthwaite's degrees of freedom."""
    folds = 0.2 + 0.05 * rng.standard_normal(10)
    seeds = np.array([-0.06, 0.0, 0.06])[:, None]
    gate = random_weights(folds + seeds, ENOUGH)
    of_folds = (1 / 10 + 0.25) * folds.var(ddof=1)
    of_seeds = (1 + 1 / 3) * 0.06**2
    freedom = (of_folds + of_seeds) ** 2 / (of_folds**2 / 9 + of_seeds**2 / 2)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(of_folds + of_seeds)
    assert_allclose([gate.low, gate.high], folds.mean() + np.array([-half, half]))
    alike = random_weights(np.stack([folds, folds]), ENOUGH)
    assert_allclose([alike.low, alike.high], t_interval(folds, 0.25, 0.95))
    assert alike.result == "passed" and gate.result == "not passed"


# -- permuted labels -------------------------------------------------------------------
@pytest.mark.parametrize(
    ("metric", "row", "chance", "result"),
    [
        ("roc_auc", (0.8, 0.6, 0.9, 0.5, 0.05), 0.5, "passed"),
        ("roc_auc", (0.8, 0.6, 0.9, 0.5, 0.06), 0.5, "not passed"),
        ("roc_auc", (0.8, 0.4, 0.9, 0.5, 0.05), 0.5, "not passed"),
        ("brier", (0.1, 0.0, 0.2, 0.26, 0.05), 0.25, "passed"),
        ("brier", (0.1, 0.0, 0.3, 0.26, 0.05), 0.25, "not passed"),
        ("of_a_scorer", (0.8, 0.6, 0.9, 0.5, 0.05), np.nan, "passed"),
    ],
)
def test_permutations_and_interval_must_agree(metric, row, chance, result):
    names = ["mean", "low", "high", "permuted", "p_permuted"]
    row = pd.Series(row, index=names)
    gate = permuted_labels(row, metric, chance, 19, False)
    assert gate.result == result, gate.reason
    assert_allclose(gate.gain, abs(row["mean"] - row["permuted"]))
    assert gate.low <= gate.gain <= gate.high


# -- overlap ---------------------------------------------------------------------------
SIMULATED = {"data": "simulated recordings", "participants": 9, "stages": [{}]}


@pytest.mark.parametrize(
    ("seen", "result", "named"),
    [
        (SIMULATED | {"posterior": SIMULATED}, "passed", "simulated"),
        ({}, "passed", "each fold"),
        ({"name": "mine", "participants": 30}, "not tested", r"mine \(30 partic"),
        (SIMULATED | {"posterior": {"data": "OMEGA"}}, "not tested", "OMEGA"),
        (SIMULATED | {"fitted_on": {"rows": 3}}, "not tested", "an earlier fit"),
        (
            SIMULATED | {"fine_tuned_on_labels": {"strategy": "lora"}},
            "not tested",
            "labels of an earlier",
        ),
        ({"a 1": SIMULATED, "b 2": {"name": "other"}}, "not tested", "other"),
        ({"a 1": SIMULATED, "b 2": SIMULATED}, "passed", "simulated"),
        ({"a": SIMULATED, "b": {"random_weights": {}}}, "passed", "simulated"),
        (SIMULATED | {"participant_encoder": {}}, "not tested", "without a name"),
        (None, "not tested", "do not say"),
    ],
)
def test_what_is_not_known_is_not_passed(seen, result, named):
    gate = no_overlap(seen, [])
    assert gate.result == result
    assert re.search(named, gate.reason)
    assert no_overlap(seen, ["Pipeline"]).result == "not tested"


# -- levels, by simulation -------------------------------------------------------------
def scores(X, y, folds):
    """AUC of each fold."""
    return np.array(
        [
            roc_auc_score(y[b], RIDGE.fit(X[a], y[a]).decision_function(X[b]))
            for a, b in folds
        ]
    )


def share_passed(kind, n, n_sim):
    """How often a gate is passed where there is nothing to show."""
    rng = np.random.default_rng([n, len(kind)])
    design = Design(ratio=0.25, n_repeats=4, few=False)
    y = np.repeat([0, 1], n // 2)
    passed = 0
    for number in range(n_sim):
        cv = RepeatedStratifiedKFold(n_splits=5, n_repeats=4, random_state=number)
        folds = list(cv.split(y, y))
        if kind == "random":  # four networks with random weights on the same data
            X = rng.standard_normal((n, 10))
            X[:, :4] += 0.7 * y[:, None]
            found = [
                scores(X @ rng.standard_normal((10, 1)), y, folds) for _ in range(4)
            ]
            gate = random_weights(found[0] - np.array(found[1:]), design)
        else:  # the model, a baseline that is as good, and one as good or useless
            effects = (1.2, 1.2, 1.2 if kind == "equal" else 0.0)
            found = []
            for effect in effects:
                X = rng.standard_normal((n, 10))
                X[:, 0] += effect * y
                found.append(scores(X, y, folds))
            gains = {"a": found[0] - found[1], "b": found[0] - found[2]}
            gate = strongest_baseline(gains, design)
        passed += gate.result == "passed"
    return passed / n_sim


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "n"),
    [
        ("equal", 24),
        ("equal", 100),
        ("weak", 24),
        ("weak", 100),
        ("random", 24),
        ("random", 1000),  # where draws differ more than participants do
    ],
)
def test_gates_hold_their_level(kind, n):
    """Passed in 2.5 % of cohorts at most, plus three standard errors."""
    n_sim = 40
    allowed = 0.025 + 3 * np.sqrt(0.025 * 0.975 / n_sim)
    assert share_passed(kind, n, n_sim) <= allowed
