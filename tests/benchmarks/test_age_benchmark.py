"""The benchmark of age: what is planted, and what it makes of predictions."""

import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.dummy import DummyRegressor

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location(
            "bench_age", BENCHMARKS / "bench_age.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_effects_of_age_are_those_stated(bench):
    """Regressions on age give the slopes and spreads of the docstring."""
    rng = np.random.default_rng(0)
    people = [bench.draw_person(rng) for _ in range(4000)]
    age = np.array([person["age"] for person in people])
    assert age.min() > 18 and age.max() < 88
    for name, slope, at_18, spread in (
        ("alpha", -0.053, 11.95 - 0.053 * 18, 1.0),
        ("exponent", -0.006, 1.5, 0.2),
        ("latency", 0.00025, 0.095, 0.007),
    ):
        values = np.array([person[name] for person in people])
        found = stats.linregress(age - 18, values)
        assert abs(found.slope - slope) < 4 * found.stderr
        assert abs(found.intercept - at_18) < 4 * found.intercept_stderr
        left = values - found.intercept - found.slope * (age - 18)
        assert left.std() == pytest.approx(spread, rel=0.05)
    score = np.array([person["score"] for person in people])
    assert np.corrcoef(age, score)[0, 1] < -0.6


def test_recordings_have_what_was_drawn(bench):
    """Alpha of rest is at the person's frequency; the response at its latency."""
    person, recordings = bench.simulate_person(3, 3, 200)
    again, _ = bench.simulate_person(3, 3, 2)
    assert again == person
    rest = recordings["rest"].get_data(copy=False)
    power = np.square(np.abs(np.fft.rfft(rest))).sum((0, 1))
    frequencies = np.fft.rfftfreq(rest.shape[2], 1 / 250.0)
    band = (frequencies >= 5) & (frequencies <= 14)
    peak = frequencies[band][(power * frequencies ** person["exponent"])[band].argmax()]
    assert abs(peak - person["alpha"]) <= 1.0
    evoked = recordings["auditory"].average()
    at = (evoked.times > 0.05) & (evoked.times < 0.16)
    course = np.square(evoked.data).mean(0)
    assert abs(evoked.times[at][course[at].argmax()] - person["latency"]) < 0.01


def test_done_is_not_done_again(bench, tmp_path, monkeypatch):
    """A second run reads; the table has the errors and correlations of NumPy."""
    fits = []

    class Means(DummyRegressor):
        def fit(self, X, y):
            fits.append(len(X))
            return super().fit(np.zeros((len(X), 1)), y)

        def predict(self, X):
            return super().predict(np.zeros((len(X), 1))) + np.arange(len(X))

    monkeypatch.setattr(bench, "pipelines", lambda folder, options: {"means": Means()})
    monkeypatch.setattr(
        bench,
        "simulate_person",
        lambda seed, number, n: ({"age": 20.0 + number**2 + seed}, {}),
    )
    options = Namespace(
        seeds=[1, 2], participants=9, epochs=1, folds=3, targets=["age"]
    )
    table = bench.summarize(bench.run(tmp_path, options), options)
    assert fits == [6] * 6
    again = bench.summarize(bench.run(tmp_path, options), options)
    assert fits == [6] * 6
    assert again.equals(table)
    lines = (tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()
    maes, rs = [], []
    for seed in (1, 2):
        entries = [e for e in map(json.loads, lines) if e["seed"] == seed]
        y = np.concatenate([e["y"] for e in entries])
        predicted = np.concatenate([e["predicted"] for e in entries])
        assert sorted(y) == [20.0 + n**2 + seed for n in range(9)]
        maes.append(np.abs(y - predicted).mean())
        rs.append(np.corrcoef(y, predicted)[0, 1])
    row = table.iloc[0]
    assert row["MAE"] == pytest.approx(np.mean(maes))
    assert row["SD"] == pytest.approx(np.std(maes, ddof=1))
    assert row["r"] == pytest.approx(np.mean(rs)) and row["n"] == 18
