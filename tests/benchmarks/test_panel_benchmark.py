"""The benchmark of the panel: what it keeps, and what it makes of scores."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from panel import TRAITS, simulate_panel_person

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location(
            "bench_panel", BENCHMARKS / "bench_panel.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_what_is_kept_is_not_computed_again(bench, tmp_path, monkeypatch):
    """A second run reads; a further maker computes that maker alone."""
    calls = []

    class Person:
        recordings = {}
        values = dict.fromkeys(TRAITS, 1.5)
        classes = dict.fromkeys(TRAITS, 1)

    monkeypatch.setattr(bench, "simulate_panel_person", lambda *a, **k: Person)

    def maker(name):
        def make(recordings):
            calls.append(name)
            return {"features": np.full(3, len(calls))}

        return make

    makers = {"a": maker("a")}
    bench.compute(tmp_path, 7, bench.CHUNK, 40, makers)
    assert calls == ["a"] * bench.CHUNK
    bench.compute(tmp_path, 7, bench.CHUNK, 40, makers)
    assert len(calls) == bench.CHUNK
    bench.compute(tmp_path, 7, 2 * bench.CHUNK, 40, makers | {"b": maker("b")})
    assert calls.count("a") == 2 * bench.CHUNK == calls.count("b")
    found = bench.load(tmp_path, 7, bench.CHUNK + 5, 40, "a")["features"]
    assert found.shape == (bench.CHUNK + 5, 3)
    assert found[: bench.CHUNK, 0].tolist() == list(range(1, bench.CHUNK + 1))
    truth = bench.load(tmp_path, 7, bench.CHUNK, 40, "truth")
    assert (truth["values"] == 1.5).all() and truth["values"].dtype == np.float64
    assert not list(tmp_path.rglob("*.tmp"))


def test_table_takes_the_better_ridge_and_pairs_differences(bench):
    names = ["habituation", "n100m_latency"]  # the first one is named

    def scores(plain, scaled):
        columns = {"ridge": plain, "scaled ridge": scaled}
        columns |= dict.fromkeys(bench.LOGISTICS, [0.5, 0.5])
        return pd.DataFrame(columns, index=names)

    table = bench.summarise(
        {
            1: {
                "ours": scores([0.9, 0.6], [0.5, 0.5]),
                "theirs": scores([0.5, 0.5], [0.8, 0.5]),
                bench.TRUTH: scores([1.0, 1.0], [1.0, 1.0]),
            }
        },
        reference="ours",
    )
    line = table.loc["ours"]
    assert [line["named"], line["other"], line["all"]] == pytest.approx(
        [0.9, 0.6, 0.75]
    )
    assert line["scaled ridge"] == 0.5
    assert table.loc["theirs", "all"] == pytest.approx(0.65)
    assert table.loc["theirs", "ahead of it by"] == pytest.approx(0.1)
    best = table.iloc[-1]  # the truth is no candidate
    assert [best["named"], best["other"]] == pytest.approx([0.9, 0.6])


def test_own_functions_are_found_by_name(bench):
    found = bench.read_own(["mine=numpy:atleast_2d"])
    assert found["mine"]([1.0, 2.0])["features"].tolist() == [1.0, 2.0]
    with pytest.raises(SystemExit, match="NAME=module:function"):
        bench.read_own(["numpy.atleast_2d"])
    with pytest.raises(ValueError, match="one row for a list of one participant"):
        bench.own({}, np.zeros_like)


def test_measures_that_know_the_generator_see_traits(bench):
    """Frequency of alpha to a few tenths of a hertz; a name for each trait but one."""
    people = [simulate_panel_person(n, 5, array="kit160") for n in range(3)]
    found = [bench.matched_measures(person.recordings) for person in people]
    assert set(found[0]) == set(TRAITS) - {"n100m_place"}
    for person, measures in zip(people, found, strict=True):
        assert np.isfinite(list(measures.values())).all()
        true = np.clip(person.values["alpha_frequency"], 7.8, 12.2)
        assert measures["alpha_frequency"] == pytest.approx(true, abs=0.5)
